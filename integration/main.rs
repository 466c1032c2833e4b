//! Integration tests: real RabbitMQ, Mosquitto and HTTP servers, each a private process or thread
//! that the tests start themselves on a free port. Read [`support`] first.

mod amqp;
mod bus;
mod http;
mod mqtt;
mod support;
