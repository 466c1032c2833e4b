//! Integration tests: real RabbitMQ, Mosquitto and HTTP servers, each a private process or thread
//! that the tests start themselves on a free port. Read [`support`] first.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

mod admin;
mod amqp;
mod bus;
mod bus_faults;
mod canary;
mod compose;
mod dead;
mod doctor;
mod faults;
mod floods;
mod http;
mod late;
mod main_job;
mod metrics;
mod mqtt;
mod node;
mod otlp;
mod page;
mod panics;
mod phases;
mod proxy;
mod rotation;
#[allow(dead_code, reason = "the tests under load use the rest")]
mod support;
mod traces;
mod transport_contract;
