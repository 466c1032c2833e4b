//! Names: how endpoints, event configurations and kinds of events are called.
//!
//! Owns the normal form, the name types of the configuration and the catalogue of known events.
//! Refuses to route by them: that is [`crate::logic::routing`]. Read that next.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of an endpoint or an event configuration, in bytes.
pub const MAX_NAME: usize = 63;

/// The name of an endpoint or of an event configuration: `[a-z0-9][a-z0-9-]{0,62}`.
///
/// Cheap to clone. Ordered by bytes, which is the order in which configurations are tried.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// A text that is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a name")]
pub struct NotAName(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(plain);
        if first && text.len() <= MAX_NAME && bytes.all(|b| plain(b) || b == b'-') {
            Ok(Self(text.into()))
        } else {
            Err(NotAName(text.into()))
        }
    }
}

impl schemars::JsonSchema for Name {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Name".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let pattern = format!("^[a-z0-9][a-z0-9-]{{0,{}}}$", MAX_NAME - 1);
        schemars::json_schema!({ "type": "string", "pattern": pattern })
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Name {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// The normal form of a type, a trigger or a dotted name: Unicode lower case, each space to `_`.
#[must_use]
pub fn normal_form(text: &str) -> String {
    text.to_lowercase().replace(' ', "_")
}

/// One kind of event that the platform is known to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// What the kind is about, in words.
    pub domain: &'static str,
    /// The type as the platform writes it.
    pub event_type: &'static str,
    /// The trigger as the platform writes it.
    pub event_trigger: &'static str,
    /// Still sent, but not to be built upon.
    pub deprecated: bool,
}

const fn known(
    domain: &'static str,
    event_type: &'static str,
    event_trigger: &'static str,
) -> Known {
    Known { domain, event_type, event_trigger, deprecated: false }
}

/// The known kinds of events. Others pass too; these have standard topics that nobody can change.
pub const KNOWN: [Known; 17] = [
    known("Batch run status", "Batch", "batch_run_status"),
    known("Procedure run state", "Procedure Run", "procedure_run_state"),
    known("Procedure step execution", "Procedure Run", "step_execution"),
    known("Material inventory movement", "Material Inventory", "material_inventory_movement"),
    Known {
        domain: "Custom event",
        event_type: "Custom Event",
        event_trigger: "custom_event",
        deprecated: true,
    },
    known("Exception sync", "Exception", "exception_sync"),
    known("Printing, material sublot", "Printing", "printing_material_sublot"),
    known("Printing, dispense", "Printing", "printing_dispense"),
    known("Printing, material output (primary)", "Printing", "printing_material_output_primary"),
    known(
        "Printing, material output (by-product)",
        "Printing",
        "printing_material_output_bi_product",
    ),
    known(
        "Printing, material output (intermediate)",
        "Printing",
        "printing_material_output_intermediate",
    ),
    known("Printing, equipment", "Printing", "printing_equipment"),
    known("Printing, create kit", "Printing", "printing_create_kit"),
    known("Printing, sample", "Printing", "printing_sample"),
    known("Printing, load array", "Printing", "printing_load_array"),
    known("Printing, create label", "Printing", "printing_create_label"),
    known("Equipment status", "Equipment", "equipment_status"),
];

/// The usual named events, for typo hints.
pub const NAMED: [&str; 8] = [
    "job.created",
    "job.completed",
    "operation.started",
    "operation.paused",
    "operation.resumed",
    "operation.completed",
    "part.created",
    "issue.created",
];

/// The known kind with this type and trigger, compared in normal form.
#[must_use]
pub fn find_known(event_type: &str, event_trigger: &str) -> Option<&'static Known> {
    let (wanted_type, wanted_trigger) = (normal_form(event_type), normal_form(event_trigger));
    KNOWN.iter().find(|kind| {
        normal_form(kind.event_type) == wanted_type
            && normal_form(kind.event_trigger) == wanted_trigger
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_letters_digits_and_inner_hyphens() {
        for good in ["a", "0", "erp-2", &"a".repeat(63)] {
            assert_eq!(good.parse::<Name>().map(|n| n.to_string()).as_deref(), Ok(good));
        }
        for bad in ["", "-a", "A", "a_b", "ä", "a b", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn known_events_are_found_in_any_spelling() {
        let found = find_known("PROCEDURE RUN", "Step Execution").map(|k| k.domain);
        assert_eq!(found, Some("Procedure step execution"));
        assert_eq!(find_known("Batch", "nothing"), None);
    }
}
