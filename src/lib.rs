//! **lockgate** bridges a platform's RabbitMQ bus to its partners' endpoints: MQTT brokers, REST
//! endpoints, webhooks, exchanges on another RabbitMQ.
//!
//! ```text
//!  platform ─▶ source │ Ingress ──▶ Router ──▶ Endpoint "erp"   (rest) ──▶ partner
//!    bus       queue  │    ▲          └──────▶ Endpoint "scada" (mqtt) ──▶ partner
//!              ◀─ack──│    └── settled ──────────────┤
//!                     │                              └─ cannot go now ─▶ Parking ─▶ its own queue
//! ```
//!
//! A message is acknowledged when every route of it is settled: delivered, parked in the endpoint's
//! own durable queue, or dead-lettered there. An endpoint that fails, fails alone.
//!
//! The house has floors; a file uses its own and lower ones, which `tests/architecture` enforces:
//!
//! | floor | module | what |
//! | --- | --- | --- |
//! | 0 | [`domain`] | the nouns, as plain data |
//! | 1 | [`logic`] | every decision, as pure functions and state machines |
//! | 2 | [`transport`], [`bus`] | the wire to partners; where events come from and are parked |
//! | 2 | [`world`], [`meter`], [`spans`], [`failpoint`] | time, chance and identity; what is counted; what is traced; where tests make it panic |
//! | 3 | [`config`] | what the operator wrote, as types that cannot be wrong |
//! | 4 | [`actors`] | thin shells around the logic |
//! | 5 | [`admin`] | the HTTP listener for operators |
//! | 6 | [`app`], [`cli`], [`telemetry`], [`samples`], `demo` | composition, commands, the log |
//!
//! Reading order: [`domain::event`], [`domain::delivery`], [`logic`] and what its head names,
//! [`transport`], [`bus`], [`actors::route`], then the other actors, [`app`].

pub mod actors;
pub mod admin;
pub mod app;
pub mod bus;
pub mod cli;
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
pub mod domain;
pub mod failpoint;
pub mod logic;
pub mod meter;
pub mod samples;
pub mod spans;
pub mod telemetry;
pub mod transport;
pub mod world;
