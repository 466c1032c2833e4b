//! **lockgate** bridges a platform's RabbitMQ bus to its partners' endpoints.

pub mod bus;
pub mod config;
pub mod domain;
pub mod logic;
pub mod transport;
pub mod world;
