//! **lockgate** bridges a platform's RabbitMQ bus to its partners' endpoints.

pub mod actors;
pub mod admin;
pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod domain;
pub mod logic;
pub mod meter;
pub mod samples;
pub mod telemetry;
pub mod transport;
pub mod world;
