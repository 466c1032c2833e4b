//! `[event_configurations.*]`
