//! An event: one thing that happened on the platform.
//!
//! Owns the attributes that the contract names. Refuses to find them in a message: that is
//! [`crate::logic::intake`]. Read [`super::delivery`] next.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::names::normal_form;

/// Which of the two shapes the bus body had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"event": "operation.completed", "data": {…}, …}`; the payload is `data`.
    Named,
    /// Any other object; the payload is the body.
    Plain,
}

/// Who runs the platform, for the Metadata block. Unknown is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Organization {
    /// The organization's identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its address on the web.
    pub url: String,
}

/// The places and things of ISA-95 that a topic may name, in the order of the contract.
pub const CONTEXT_FIELDS: [&str; 8] =
    ["enterprise", "site", "area", "cell", "line", "operation", "job_number", "part_number"];

/// Where an event happened: values by the names in [`CONTEXT_FIELDS`]. No value is empty.
pub type Context = BTreeMap<String, String>;

/// One event, with every attribute found. Immutable; shared by all its routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Unique; partners deduplicate on it. Never empty.
    pub id: String,
    /// The type as it arrived. Never empty.
    pub event_type: String,
    /// The trigger as it arrived. Never empty.
    pub event_trigger: String,
    /// RFC 3339, UTC, three digits of milliseconds, `Z`.
    pub created_at: String,
    /// For Metadata.
    pub created_by: String,
    /// For Metadata and for `{organization}` in topics.
    pub organization: Organization,
    /// For Metadata.
    pub source_environment: String,
    /// From headers and body; an endpoint may add its own fields when it renders a topic.
    pub context: Context,
    /// The shape of `body`.
    pub shape: Shape,
    /// The bus body's bytes as they arrived: UTF-8, one JSON object.
    pub body: Bytes,
    /// The payload's bytes, a slice of `body`: one JSON object.
    pub payload: Bytes,
}

impl Event {
    /// The dotted name in normal form: `operation.completed`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}.{}", normal_form(&self.event_type), normal_form(&self.event_trigger))
    }
}
