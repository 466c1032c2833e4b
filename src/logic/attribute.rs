//! Attributes: what they are called, and where each of them may stand.
//!
//! Owns the contract's order of sources and the text form of orders of one's own. Refuses to look
//! into a message: that is [`super::intake`], which to read next.

use std::fmt;
use std::str::FromStr;

use crate::domain::delivery::Properties;

/// An attribute of an event that has an order of sources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Attribute {
    /// `id`
    Id,
    /// `event_type`
    EventType,
    /// `event_trigger`
    EventTrigger,
    /// `created_at`
    CreatedAt,
    /// `created_by`
    CreatedBy,
    /// `organization_id`
    OrganizationId,
    /// `organization_name`
    OrganizationName,
    /// `organization_url`
    OrganizationUrl,
    /// `source_environment`
    SourceEnvironment,
}

impl Attribute {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Id,
        Self::EventType,
        Self::EventTrigger,
        Self::CreatedAt,
        Self::CreatedBy,
        Self::OrganizationId,
        Self::OrganizationName,
        Self::OrganizationUrl,
        Self::SourceEnvironment,
    ];

    /// Its name: the key in `[source.attributes]`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::EventType => "event_type",
            Self::EventTrigger => "event_trigger",
            Self::CreatedAt => "created_at",
            Self::CreatedBy => "created_by",
            Self::OrganizationId => "organization_id",
            Self::OrganizationName => "organization_name",
            Self::OrganizationUrl => "organization_url",
            Self::SourceEnvironment => "source_environment",
        }
    }

    /// The contract's order, without what comes at last.
    pub(super) fn order(self) -> &'static [Place<'static>] {
        use Place::{Body, Exchange, Header, NamedBody, Property, RoutingKey};
        match self {
            Self::Id => &[
                Body("/event_id"),
                Body("/EventID"),
                NamedBody("/id"),
                Header("event_id"),
                Property("message_id"),
            ],
            Self::EventType => &[
                Header("event_type"),
                Body("/event_type"),
                Body("/EventType"),
                Body("/Metadata/EventType"),
                Property("type"),
                Exchange,
            ],
            Self::EventTrigger => &[
                Header("event_trigger"),
                Body("/event_trigger"),
                Body("/EventTrigger"),
                Body("/Metadata/EventTrigger"),
                Property("type"),
                RoutingKey,
            ],
            Self::CreatedAt => &[
                Header("created_at"),
                NamedBody("/timestamp"),
                Body("/CreationDateTime"),
                Body("/Metadata/CreationDateTime"),
                Property("timestamp"),
            ],
            Self::CreatedBy => {
                &[Header("created_by"), Body("/created_by"), Body("/Metadata/CreatedBy")]
            }
            Self::OrganizationId => &[
                Header("organization_id"),
                Body("/organization_id"),
                Body("/Metadata/OrganizationID"),
            ],
            Self::OrganizationName => &[
                Header("organization_name"),
                Body("/organization_name"),
                Body("/Metadata/OrganizationName"),
            ],
            Self::OrganizationUrl => &[
                Header("organization_url"),
                Body("/organization_url"),
                Body("/Metadata/OrganizationURL"),
            ],
            Self::SourceEnvironment => &[
                Header("source_environment"),
                Body("/source_environment"),
                Body("/Metadata/SourceEnvironment"),
            ],
        }
    }
}

/// One place where an attribute may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeSource {
    /// `header:NAME`
    Header(String),
    /// `body:/json/pointer`
    Body(String),
    /// `property:NAME`: `message_id`, `type`, `timestamp`, …
    Property(String),
    /// `exchange`
    Exchange,
    /// `routing_key`
    RoutingKey,
}

/// A text that is no [`AttributeSource`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadAttributeSource {
    /// It begins like none of them.
    #[error(
        "{0:?} is no source: header:NAME, body:/POINTER, property:NAME, exchange or routing_key"
    )]
    Unknown(String),
    /// A header without a name.
    #[error("a header source needs a name: header:NAME")]
    NoHeader,
    /// One of lockgate's own headers.
    #[error("header {0:?} is lockgate's own, which is ignored on bus messages")]
    OwnHeader(String),
    /// No JSON pointer to a part of the body.
    #[error("{0:?} is no JSON pointer: it begins with /, and ~ stands only in ~0 and ~1")]
    Pointer(String),
    /// No property of this name can be a source.
    #[error("{0:?} is no property: {list}", list = PROPERTIES.join(", "))]
    Property(String),
}

impl FromStr for AttributeSource {
    type Err = BadAttributeSource;

    fn from_str(text: &str) -> Result<Self, BadAttributeSource> {
        match text.split_once(':') {
            None if text == "exchange" => Ok(Self::Exchange),
            None if text == "routing_key" => Ok(Self::RoutingKey),
            Some(("header", "")) => Err(BadAttributeSource::NoHeader),
            Some(("header", name)) if name.starts_with("lockgate-") => {
                Err(BadAttributeSource::OwnHeader(name.into()))
            }
            Some(("header", name)) => Ok(Self::Header(name.into())),
            Some(("body", pointer)) if is_pointer(pointer) => Ok(Self::Body(pointer.into())),
            Some(("body", pointer)) => Err(BadAttributeSource::Pointer(pointer.into())),
            Some(("property", name)) if PROPERTIES.contains(&name) => {
                Ok(Self::Property(name.into()))
            }
            Some(("property", name)) => Err(BadAttributeSource::Property(name.into())),
            _ => Err(BadAttributeSource::Unknown(text.into())),
        }
    }
}

impl AttributeSource {
    /// The source that a text names, as [`FromStr`] does.
    ///
    /// # Errors
    /// When it names none.
    pub fn parse(text: &str) -> Result<Self, BadAttributeSource> {
        text.parse()
    }
}

impl fmt::Display for AttributeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header:{name}"),
            Self::Body(pointer) => write!(f, "body:{pointer}"),
            Self::Property(name) => write!(f, "property:{name}"),
            Self::Exchange => f.write_str("exchange"),
            Self::RoutingKey => f.write_str("routing_key"),
        }
    }
}

/// Whether this is a JSON pointer to a part of a document.
fn is_pointer(text: &str) -> bool {
    text.starts_with('/')
        && text.split('~').skip(1).all(|rest| rest.starts_with('0') || rest.starts_with('1'))
}

/// An [`AttributeSource`] or a source that only the contract's own orders have.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'a> {
    Header(&'a str),
    Body(&'a str),
    /// In the body of a named event.
    NamedBody(&'a str),
    Property(&'a str),
    Exchange,
    RoutingKey,
}

impl<'a> From<&'a AttributeSource> for Place<'a> {
    fn from(source: &'a AttributeSource) -> Self {
        match source {
            AttributeSource::Header(name) => Self::Header(name),
            AttributeSource::Body(pointer) => Self::Body(pointer),
            AttributeSource::Property(name) => Self::Property(name),
            AttributeSource::Exchange => Self::Exchange,
            AttributeSource::RoutingKey => Self::RoutingKey,
        }
    }
}

/// The properties that can be a source: those that are text, and the time.
pub const PROPERTIES: [&str; 11] = [
    "message_id",
    "type",
    "timestamp",
    "correlation_id",
    "app_id",
    "user_id",
    "reply_to",
    "content_type",
    "content_encoding",
    "expiration",
    "cluster_id",
];

/// The text of a property of this name.
pub(super) fn property<'a>(properties: &'a Properties, name: &str) -> Option<&'a str> {
    let value = match name {
        "message_id" => properties.message_id(),
        "type" => properties.kind(),
        "correlation_id" => properties.correlation_id(),
        "app_id" => properties.app_id(),
        "user_id" => properties.user_id(),
        "reply_to" => properties.reply_to(),
        "content_type" => properties.content_type(),
        "content_encoding" => properties.content_encoding(),
        "expiration" => properties.expiration(),
        "cluster_id" => properties.cluster_id(),
        _ => return None,
    };
    Some(value.as_ref()?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_read_and_written_in_one_form() {
        for text in [
            "header:event_type",
            "header:a:b",
            "body:/a/b~1c~0/0",
            "body:/",
            "property:message_id",
            "property:timestamp",
            "exchange",
            "routing_key",
        ] {
            let source = AttributeSource::parse(text).map(|source| source.to_string());
            assert_eq!(source.as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_is_no_source_is_refused_with_the_reason() {
        let check = |text: &str, wanted: &str| {
            let error = AttributeSource::parse(text).expect_err(text).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        };
        check("", "is no source");
        check("Exchange", "is no source");
        check("exchange:", "is no source");
        check("cookie:x", "\"cookie:x\" is no source");
        check("header:", "needs a name");
        check("header:lockgate-event-id", "lockgate's own");
        check("body:", "is no JSON pointer");
        check("body:event_id", "is no JSON pointer");
        check("body:/a~2", "is no JSON pointer");
        check("property:headers", "message_id, type, timestamp");
    }
}
