//! Routing: which endpoints get an event, by which event configuration.
//!
//! Owns patterns, the order of configurations and the one route that an endpoint gets. Refuses to
//! ask whether an endpoint is enabled: a disabled one has routes too, which are parked. Read
//! [`super::body`] next.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::body::Rendering;
use crate::domain::event::Event;
use crate::domain::names::{Name, normal_form};

/// `type/trigger` or a dotted name, in normal form; `*` stands for one whole part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// `None` is `*`.
    pub event_type: Option<String>,
    /// `None` is `*`.
    pub event_trigger: Option<String>,
}

/// A text that is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadPattern {
    /// Nothing at all.
    #[error("a pattern must not be empty")]
    Empty,
    /// Neither a `/` nor a dot.
    #[error("{0:?} has one part only: write type/trigger or a dotted name; * stands for a part")]
    OnePart(String),
    /// Nothing before or after the separator.
    #[error("{0:?} has an empty part: write * for any")]
    EmptyPart(String),
    /// A `*` with something beside it.
    #[error("{0:?} has a * inside a part: it stands for a whole part only")]
    InnerStar(String),
}

impl FromStr for Pattern {
    type Err = BadPattern;

    fn from_str(text: &str) -> Result<Self, BadPattern> {
        if text.is_empty() {
            return Err(BadPattern::Empty);
        }
        let (event_type, event_trigger) = text
            .split_once('/')
            .or_else(|| text.split_once('.'))
            .ok_or_else(|| BadPattern::OnePart(text.into()))?;
        let part = |part: &str| match part {
            "" => Err(BadPattern::EmptyPart(text.into())),
            "*" => Ok(None),
            part if part.contains('*') => Err(BadPattern::InnerStar(text.into())),
            part => Ok(Some(normal_form(part))),
        };
        Ok(Self { event_type: part(event_type)?, event_trigger: part(event_trigger)? })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".into());
        write!(f, "{}/{}", part(&self.event_type), part(&self.event_trigger))
    }
}

impl Pattern {
    /// Whether it matches a type and a trigger that are in normal form.
    #[must_use]
    pub fn matches(&self, event_type: &str, event_trigger: &str) -> bool {
        self.event_type.as_deref().is_none_or(|part| part == event_type)
            && self.event_trigger.as_deref().is_none_or(|part| part == event_trigger)
    }

    /// Whether it matches every event that the other one matches.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        (self.event_type.is_none() || self.event_type == other.event_type)
            && (self.event_trigger.is_none() || self.event_trigger == other.event_trigger)
    }
}

/// These events go to these endpoints, rendered so.
#[derive(Clone, Debug)]
pub struct EventConfiguration {
    /// Its name; for an endpoint's own `events`, the endpoint's.
    pub name: Name,
    /// Only enabled ones publish.
    pub enabled: bool,
    /// Which events.
    pub patterns: Vec<Pattern>,
    /// To whom.
    pub endpoints: Vec<Name>,
    /// How.
    pub rendering: Rendering,
    /// It is an endpoint's own `events`: comes after all others.
    pub own: bool,
}

impl EventConfiguration {
    /// Whether one of its patterns matches this event. Says nothing of `enabled`.
    #[must_use]
    pub fn wants(&self, event: &Event) -> bool {
        self.wants_kind(&normal_form(&event.event_type), &normal_form(&event.event_trigger))
    }

    fn wants_kind(&self, event_type: &str, event_trigger: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.matches(event_type, event_trigger))
    }
}

/// One route: an endpoint and the configuration that sends the event there.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The endpoint.
    pub endpoint: &'a Name,
    /// The first configuration that matches for it.
    pub configuration: &'a Arc<EventConfiguration>,
}

/// What one configuration means for one of its endpoints and one event.
#[derive(Clone, Debug)]
pub struct Verdict<'a> {
    /// The configuration.
    pub configuration: &'a EventConfiguration,
    /// One of its endpoints.
    pub endpoint: &'a Name,
    /// What becomes of the event there.
    pub why: Why,
}

/// Why an event goes, or does not go, to an endpoint by a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It goes there by this configuration.
    Matched,
    /// It matches, but this earlier configuration sends it there.
    ShadowedBy(Name),
    /// It matches, but the configuration is not enabled.
    Disabled,
    /// No pattern matches it.
    NoMatch,
}

/// All event configurations, in the order in which they are tried.
#[derive(Clone, Debug, Default)]
pub struct RoutingTable {
    configurations: Vec<Arc<EventConfiguration>>,
    index: Index,
}

impl RoutingTable {
    /// A table of these configurations; puts them in order: by the bytes of their names, the
    /// endpoints' own after all others.
    #[must_use]
    pub fn new(mut configurations: Vec<EventConfiguration>) -> Self {
        configurations.sort_by(|a, b| (a.own, &a.name).cmp(&(b.own, &b.name)));
        let configurations: Vec<_> = configurations.into_iter().map(Arc::new).collect();
        let index = Index::of(&configurations);
        Self { configurations, index }
    }

    /// The configurations, in the order in which they are tried.
    #[must_use]
    pub fn configurations(&self) -> &[Arc<EventConfiguration>] {
        &self.configurations
    }

    /// The event's routes, at most one for each endpoint, ordered by endpoint.
    #[must_use]
    pub fn routes(&self, event: &Event) -> Vec<Route<'_>> {
        let (event_type, event_trigger) = kind(event);
        let hits = self.index.hits(&event_type, &event_trigger);
        hits.iter().filter_map(|hit| self.route(*hit)).collect()
    }

    fn route(&self, hit: Hit) -> Option<Route<'_>> {
        Some(Route {
            endpoint: self.index.endpoints.get(hit.endpoint)?,
            configuration: self.configurations.get(hit.configuration)?,
        })
    }

    /// The configuration by which a parked event goes: the one named when it was parked, if that
    /// is still enabled and names the endpoint, else today's first match; `None`: nobody wants it.
    ///
    /// Should an event configuration and the endpoint's own have this name both, the one that
    /// matches the event is meant.
    #[must_use]
    pub fn resume(
        &self,
        event: &Event,
        endpoint: &Name,
        parked_by: Option<&str>,
    ) -> Option<&Arc<EventConfiguration>> {
        let (event_type, event_trigger) = kind(event);
        let enabled = || {
            let configurations = self.configurations.iter().filter(|c| c.enabled);
            configurations.filter(|c| c.endpoints.contains(endpoint))
        };
        let named = || enabled().filter(|c| Some(c.name.as_str()) == parked_by);
        let wants = |c: &&Arc<EventConfiguration>| c.wants_kind(&event_type, &event_trigger);
        named().find(wants).or_else(|| named().next()).or_else(|| enabled().find(wants))
    }

    /// What every configuration means for every endpoint that it names, in the order in which
    /// they are tried.
    #[must_use]
    pub fn explain(&self, event: &Event) -> Vec<Verdict<'_>> {
        let (event_type, event_trigger) = kind(event);
        let mut taken: BTreeMap<&Name, &Name> = BTreeMap::new();
        let mut verdicts = Vec::new();
        for configuration in &self.configurations {
            let wanted = configuration.wants_kind(&event_type, &event_trigger);
            for endpoint in configuration.endpoints.iter().collect::<BTreeSet<_>>() {
                let why = match taken.get(endpoint) {
                    _ if !wanted => Why::NoMatch,
                    _ if !configuration.enabled => Why::Disabled,
                    Some(earlier) => Why::ShadowedBy((*earlier).clone()),
                    None => Why::Matched,
                };
                if why == Why::Matched {
                    taken.insert(endpoint, &configuration.name);
                }
                verdicts.push(Verdict { configuration, endpoint, why });
            }
        }
        verdicts
    }

    /// Configurations that never send anything to one of their endpoints, because each of their
    /// patterns is covered by a pattern of an earlier one: configuration, endpoint, and the first
    /// of those that come before it. Disabled configurations neither shadow nor are shadowed.
    #[must_use]
    pub fn wholly_shadowed(&self) -> Vec<(Name, Name, Name)> {
        let mut earlier: BTreeMap<&Name, Vec<&EventConfiguration>> = BTreeMap::new();
        let mut shadowed = Vec::new();
        for configuration in self.configurations.iter().filter(|c| c.enabled) {
            for endpoint in configuration.endpoints.iter().collect::<BTreeSet<_>>() {
                let before = earlier.entry(endpoint).or_default();
                let cover = |pattern: &Pattern| {
                    before.iter().find(|c| c.patterns.iter().any(|p| p.covers(pattern)))
                };
                let covers: Option<Vec<_>> = configuration.patterns.iter().map(cover).collect();
                if let Some(by) = covers.as_ref().and_then(|covers| covers.first()) {
                    let names = (&configuration.name, endpoint, &by.name);
                    shadowed.push((names.0.clone(), names.1.clone(), names.2.clone()));
                }
                before.push(configuration);
            }
        }
        shadowed
    }
}

/// An event's type and trigger in normal form.
fn kind(event: &Event) -> (String, String) {
    (normal_form(&event.event_type), normal_form(&event.event_trigger))
}

/// An endpoint and the configuration that is its first for some pattern, both as positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    endpoint: usize,
    configuration: usize,
}

/// The patterns of all enabled configurations, to be looked up instead of tried one by one.
#[derive(Clone, Debug, Default)]
struct Index {
    /// All endpoints that are named, in order.
    endpoints: Vec<Name>,
    by_type: HashMap<String, ByTrigger>,
    any_type: ByTrigger,
}

/// The patterns of one type, or of any.
#[derive(Clone, Debug, Default)]
struct ByTrigger {
    by_trigger: HashMap<String, Vec<Hit>>,
    any_trigger: Vec<Hit>,
}

impl Index {
    fn of(configurations: &[Arc<EventConfiguration>]) -> Self {
        let named: BTreeSet<&Name> = configurations.iter().flat_map(|c| &c.endpoints).collect();
        let endpoints = named.into_iter().cloned().collect();
        let mut index = Self { endpoints, ..Self::default() };
        for (configuration, settings) in configurations.iter().enumerate() {
            if settings.enabled {
                index.insert(configuration, settings);
            }
        }
        index
    }

    fn insert(&mut self, configuration: usize, settings: &EventConfiguration) {
        let position = |name: &Name| self.endpoints.binary_search(name).ok();
        let endpoints: Vec<usize> = settings.endpoints.iter().filter_map(position).collect();
        for pattern in &settings.patterns {
            let triggers = match &pattern.event_type {
                Some(part) => self.by_type.entry(part.clone()).or_default(),
                None => &mut self.any_type,
            };
            let hits = match &pattern.event_trigger {
                Some(part) => triggers.by_trigger.entry(part.clone()).or_default(),
                None => &mut triggers.any_trigger,
            };
            for endpoint in &endpoints {
                // Configurations come in order: the first one for an endpoint is its best.
                if !hits.iter().any(|hit| hit.endpoint == *endpoint) {
                    hits.push(Hit { endpoint: *endpoint, configuration });
                }
            }
        }
    }

    /// The best hit of each endpoint, ordered by endpoint.
    fn hits(&self, event_type: &str, event_trigger: &str) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        for triggers in self.by_type.get(event_type).into_iter().chain([&self.any_type]) {
            hits.extend(triggers.by_trigger.get(event_trigger).into_iter().flatten());
            hits.extend(&triggers.any_trigger);
        }
        hits.sort_unstable();
        hits.dedup_by_key(|hit| hit.endpoint);
        hits
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::domain::event::{Context, Organization, Shape};

    fn name(text: &str) -> Name {
        text.parse().expect("a name")
    }

    fn event(event_type: &str, event_trigger: &str) -> Event {
        Event {
            id: "1".into(),
            event_type: event_type.into(),
            event_trigger: event_trigger.into(),
            created_at: String::new(),
            created_by: String::new(),
            organization: Organization::default(),
            source_environment: String::new(),
            context: Context::new(),
            shape: Shape::Plain,
            body: Bytes::new(),
            payload: Bytes::new(),
        }
    }

    fn configuration(called: &str, patterns: &[&str], endpoints: &[&str]) -> EventConfiguration {
        EventConfiguration {
            name: name(called),
            enabled: true,
            patterns: patterns.iter().map(|text| text.parse().expect("a pattern")).collect(),
            endpoints: endpoints.iter().map(|text| name(text)).collect(),
            rendering: Rendering::default(),
            own: false,
        }
    }

    fn own(endpoint: &str, patterns: &[&str]) -> EventConfiguration {
        EventConfiguration { own: true, ..configuration(endpoint, patterns, &[endpoint]) }
    }

    fn disabled(configuration: EventConfiguration) -> EventConfiguration {
        EventConfiguration { enabled: false, ..configuration }
    }

    fn shown(table: &RoutingTable, event: &Event) -> Vec<String> {
        let routes = table.routes(event);
        routes.iter().map(|r| format!("{} by {}", r.endpoint, r.configuration.name)).collect()
    }

    #[test]
    fn a_pattern_is_split_once_and_compared_in_normal_form() {
        let check = |text: &str, wanted: &str| {
            let pattern = text.parse::<Pattern>().map(|pattern| pattern.to_string());
            assert_eq!(pattern.as_deref(), Ok(wanted));
        };
        check("Procedure Run/step_execution", "procedure_run/step_execution");
        check("operation.completed", "operation/completed");
        check("a.b.c", "a/b.c");
        check("a.b/c.d/e", "a.b/c.d/e");
        check("job.*", "job/*");
        check("*/*", "*/*");
        check("*.Created", "*/created");
    }

    #[test]
    fn a_text_that_is_no_pattern_is_refused_with_the_reason() {
        let check = |text: &str, wanted: &str| {
            let error = text.parse::<Pattern>().expect_err(text).to_string();
            assert!(error.contains(wanted), "{text}: {error}");
        };
        check("", "must not be empty");
        check("Batch", "one part only");
        check("*", "one part only");
        for text in ["/", "a/", "/b", "a.", ".b", "/a.b"] {
            check(text, "an empty part");
        }
        for text in ["ba*/x", "a/**", "a/b*", "*.x*"] {
            check(text, "inside a part");
        }
    }

    #[test]
    fn an_endpoint_gets_an_event_once_by_the_first_configuration_in_byte_order() {
        let table = RoutingTable::new(vec![
            own("erp", &["*/*"]),
            configuration("b", &["Batch/*"], &["erp", "scada"]),
            configuration("a-late", &["batch/Batch Run", "*/*"], &["scada", "scada"]),
            disabled(configuration("0", &["*/*"], &["erp", "scada"])),
            configuration("zz", &["*/batch_run"], &["line", "erp"]),
        ]);
        let order: Vec<&str> = table.configurations().iter().map(|c| c.name.as_str()).collect();
        assert_eq!(order, ["0", "a-late", "b", "zz", "erp"]);
        let check = |event: Event, wanted: &[&str]| assert_eq!(shown(&table, &event), wanted);
        check(event("BATCH", "Batch Run"), &["erp by b", "line by zz", "scada by a-late"]);
        check(event("Batch", "x"), &["erp by b", "scada by a-late"]);
        check(event("x", "y"), &["erp by erp", "scada by a-late"]);
        assert!(RoutingTable::default().routes(&event("x", "y")).is_empty());
    }

    #[test]
    fn a_parked_event_goes_by_its_configuration_while_that_is_enabled_and_names_the_endpoint() {
        let table = RoutingTable::new(vec![
            configuration("a", &["x/y"], &["erp"]),
            configuration("b", &["p/q"], &["erp"]),
            disabled(configuration("c", &["x/y"], &["erp"])),
            configuration("erp", &["p/q"], &["erp"]),
            own("erp", &["x/y"]),
        ]);
        let check = |event: &Event, parked_by: Option<&str>, wanted: Option<(&str, bool)>| {
            let found = table.resume(event, &name("erp"), parked_by);
            assert_eq!(found.map(|c| (c.name.as_str(), c.own)), wanted, "{parked_by:?}");
        };
        let known = event("X", "Y");
        check(&known, Some("a"), Some(("a", false)));
        check(&known, Some("b"), Some(("b", false)));
        check(&known, Some("c"), Some(("a", false)));
        check(&known, Some("gone"), Some(("a", false)));
        check(&known, None, Some(("a", false)));
        check(&known, Some("erp"), Some(("erp", true)));
        check(&event("p", "q"), Some("erp"), Some(("erp", false)));
        check(&event("n", "n"), Some("c"), None);
        assert!(table.resume(&known, &name("scada"), Some("a")).is_none());
    }

    #[test]
    fn explain_says_why_for_every_configuration_and_endpoint() {
        let table = RoutingTable::new(vec![
            configuration("a", &["x/*"], &["erp"]),
            configuration("b", &["x/y"], &["erp", "line"]),
            disabled(configuration("c", &["x/y"], &["line"])),
            configuration("d", &["p/q"], &["line"]),
        ]);
        let found = table.explain(&event("x", "y"));
        let found: Vec<_> = found
            .iter()
            .map(|v| (v.configuration.name.as_str(), v.endpoint.as_str(), v.why.clone()))
            .collect();
        let wanted = [
            ("a", "erp", Why::Matched),
            ("b", "erp", Why::ShadowedBy(name("a"))),
            ("b", "line", Why::Matched),
            ("c", "line", Why::Disabled),
            ("d", "line", Why::NoMatch),
        ];
        assert_eq!(found, wanted);
    }

    #[test]
    fn a_configuration_is_shadowed_when_each_pattern_is_covered_for_that_endpoint() {
        let table = RoutingTable::new(vec![
            disabled(configuration("0", &["*/*"], &["erp"])),
            configuration("a", &["x/*"], &["erp"]),
            configuration("b", &["p/q"], &["erp"]),
            configuration("c", &["p/q", "x/y"], &["erp", "line"]),
            configuration("d", &["p/q", "x/y", "m/n"], &["erp"]),
            configuration("e", &["*/q"], &["erp"]),
            configuration("f", &[], &["erp"]),
            own("erp", &["x/*"]),
        ]);
        let found = table.wholly_shadowed();
        let found: Vec<_> =
            found.iter().map(|(c, e, by)| (c.as_str(), e.as_str(), by.as_str())).collect();
        assert_eq!(found, [("c", "erp", "b"), ("erp", "erp", "a")]);
    }

    fn any_configuration() -> impl Strategy<Value = EventConfiguration> {
        let pattern =
            (prop::sample::select(vec!["a", "b", "*"]), prop::sample::select(vec!["x", "y", "*"]));
        let patterns = prop::collection::vec(pattern, 0..4);
        let endpoints = prop::collection::vec(prop::sample::select(vec!["e", "f", "g"]), 0..4);
        ("[a-d]{1,2}", any::<bool>(), any::<bool>(), patterns, endpoints).prop_map(
            |(called, enabled, own, patterns, endpoints)| {
                let patterns: Vec<String> =
                    patterns.iter().map(|(t, g)| format!("{t}/{g}")).collect();
                let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
                let plain = configuration(&called, &patterns, &endpoints);
                EventConfiguration { enabled, own, ..plain }
            },
        )
    }

    proptest! {
        #[test]
        fn the_index_finds_what_trying_one_by_one_finds(
            configurations in prop::collection::vec(any_configuration(), 0..8),
            event_type in "[a-c]",
            event_trigger in "[x-z]",
        ) {
            let table = RoutingTable::new(configurations);
            let event = event(&event_type, &event_trigger);
            let mut wanted = Vec::new();
            for endpoint in ["e", "f", "g"].map(name) {
                let mut all = table.configurations().iter().enumerate();
                let first = all.find(|(_, c)| c.enabled && c.endpoints.contains(&endpoint) && c.wants(&event));
                wanted.extend(first.map(|(position, _)| (endpoint, position)));
            }
            let position = |c: &EventConfiguration| {
                table.configurations().iter().position(|other| std::ptr::eq(Arc::as_ptr(other), c))
            };
            let routes = table.routes(&event);
            let found: Vec<_> = routes
                .iter()
                .filter_map(|r| Some((r.endpoint.clone(), position(r.configuration)?)))
                .collect();
            prop_assert_eq!(&found, &wanted);
            let explained = table.explain(&event);
            prop_assert_eq!(explained.iter().filter(|v| v.why == Why::Matched).count(), wanted.len());
            for (shadowed, endpoint, _) in table.wholly_shadowed() {
                // Names may repeat here; a shadowed one that is alone with its name never wins.
                let alone = table.configurations().iter().filter(|c| c.name == shadowed).count() == 1;
                let wins = routes.iter().any(|r| *r.endpoint == endpoint && r.configuration.name == shadowed);
                prop_assert!(!(alone && wins));
            }
        }
    }
}
