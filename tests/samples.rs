//! Every sample is an event, and together they show every known kind.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

use std::collections::{BTreeMap, BTreeSet};

use lockgate::domain::event::{Event, Organization, Shape};
use lockgate::domain::names::{KNOWN, NAMED, find_known};
use lockgate::logic::intake::{IntakeSettings, intake};
use lockgate::samples;

const RECEIVED: &str = "2031-01-01T00:00:00Z";

fn settings() -> IntakeSettings {
    IntakeSettings {
        attributes: BTreeMap::new(),
        organization: Organization::default(),
        environment: "test".into(),
        max_event_bytes: 1024 * 1024,
    }
}

fn events() -> Vec<Event> {
    let received = RECEIVED.parse().unwrap();
    let all = samples::all().unwrap();
    all.iter().map(|message| intake(message, &settings(), received).unwrap()).collect()
}

#[test]
fn every_sample_is_an_event_with_an_id_and_a_time_of_its_own() {
    let events = events();
    let ids: BTreeSet<&str> = events.iter().map(|event| event.id.as_str()).collect();
    assert_eq!(ids.len(), events.len());
    for event in &events {
        assert!(event.id.starts_with("5a3b1e00-"), "{event:?}");
        assert_eq!(event.created_at, "2026-06-18T06:00:00.000Z", "{event:?}");
    }
}

#[test]
fn every_known_kind_and_five_named_events_are_among_them() {
    let events = events();
    let known: BTreeSet<&str> = events
        .iter()
        .filter_map(|event| find_known(&event.event_type, &event.event_trigger))
        .map(|kind| kind.domain)
        .collect();
    assert_eq!(known, KNOWN.iter().map(|kind| kind.domain).collect());
    let named: BTreeSet<String> =
        events.iter().filter(|e| e.shape == Shape::Named).map(Event::name).collect();
    let usual = NAMED.iter().filter(|name| named.contains(**name)).count();
    assert!(usual >= 5, "{named:?}");
}

#[test]
fn a_fresh_sample_differs_in_its_id_and_its_time_alone() {
    let at = "2027-01-02T03:04:05.678Z".parse().unwrap();
    for (n, original) in events().into_iter().enumerate() {
        let fresh = samples::sample(n, "fresh-id", at).unwrap();
        let fresh = intake(&fresh, &settings(), RECEIVED.parse().unwrap()).unwrap();
        assert_eq!(fresh.id, "fresh-id");
        // The property `timestamp` has no fractions.
        assert!(fresh.created_at.starts_with("2027-01-02T03:04:05."), "{fresh:?}");
        let same =
            |event: &Event| (event.name(), event.context.clone(), event.organization.clone());
        assert_eq!(same(&fresh), same(&original));
    }
}
