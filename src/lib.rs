//! **lockgate** bridges a platform's RabbitMQ bus to its partners' endpoints.

pub mod actors;
pub mod app;
pub mod bus;
pub mod config;
pub mod domain;
pub mod logic;
pub mod meter;
pub mod transport;
pub mod world;
