//! The main job, end to end: the product as a process, RabbitMQ on one side, ten partners on the
//! other, every kind of event, exact to the byte.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate::domain::delivery::Message;
use lockgate::domain::names::{KNOWN, normal_form};

use super::support::certs;
use super::support::http::HttpServer;
use super::support::lockgate::{Configuration, Lockgate};
use super::support::mosquitto::Mosquitto;
use super::support::rabbitmq::Rabbit;
use super::support::{eventually, on_system};

/// How long everything may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(60);
