//! The log never carries what libraries print about frames, headers and bodies.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "this crate is tests from end to end"
)]

use std::io::Write;
use std::sync::{Arc, Mutex};

use lockgate::config::LogFormat;
use lockgate::telemetry::{TelemetryError, subscriber};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Keeps what is written.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Page {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What is in the log when these directives are given and `body` runs.
fn logged(format: LogFormat, directives: Option<&str>, body: impl FnOnce()) -> String {
    let page = Page::default();
    let subscriber = subscriber(format, directives, false, page.clone()).unwrap();
    tracing::subscriber::with_default(subscriber, body);
    page.text()
}

fn everybody_speaks() {
    tracing::trace!(target: "lockgate::actors", "own trace");
    tracing::debug!(target: "lockgate", "own debug");
    tracing::info!(target: "lockgate::app", "own info");
    tracing::trace!(target: "lapin::channel", "frame of lapin");
    tracing::debug!(target: "rumqttc::state", "frame of rumqttc");
    tracing::trace!(target: "hyper::proto::h1", "frame of hyper");
    tracing::trace!(target: "lockgatekeeper", "frame of a namesake");
    tracing::debug_span!(target: "awc", "call", header = "frame of a span")
        .in_scope(|| tracing::info!(target: "awc", "info of awc"));
    tracing::warn!(target: "rumqttc::io", "warning of rumqttc");
    tracing::error!(target: "lapin::io_loop", "frame in an error of lapin");
    tracing::error!(target: "opentelemetry-otlp", "frame in an error of OpenTelemetry");
    tracing::error!(target: "opentelemetry_sdk", "frame in an error of its SDK");
}

#[test]
fn trace_for_everything_shows_no_frames_of_libraries() {
    for directives in [
        "trace",
        "lapin=trace,rumqttc=trace,hyper=trace,lockgate=trace,awc=trace,lockgatekeeper=trace",
    ] {
        let text = logged(LogFormat::Text, Some(directives), everybody_speaks);
        for wanted in ["own trace", "own debug", "own info", "info of awc", "warning of rumqttc"] {
            assert!(text.contains(wanted), "{directives}: no {wanted:?} in\n{text}");
        }
        assert!(!text.contains("frame"), "{directives}:\n{text}");
    }
}

#[test]
fn without_directives_the_level_is_info() {
    for directives in [None, Some(""), Some("  ")] {
        let text = logged(LogFormat::Text, directives, everybody_speaks);
        assert!(text.contains("own info") && text.contains("warning of rumqttc"), "{text}");
        assert!(!text.contains("own debug") && !text.contains("own trace"), "{text}");
    }
}

#[test]
fn directives_can_also_silence() {
    let text = logged(LogFormat::Text, Some("warn,lockgate::actors=trace"), everybody_speaks);
    assert!(text.contains("own trace") && text.contains("warning of rumqttc"), "{text}");
    assert!(!text.contains("own info") && !text.contains("info of awc"), "{text}");
}

#[test]
fn what_a_library_calls_an_error_without_need_is_heard_only_by_its_name() {
    let closed = || tracing::error!(target: "rumqttd::router", "client gone");
    for directives in [None, Some("info"), Some("trace"), Some("info,lockgate=debug")] {
        let text = logged(LogFormat::Text, directives, closed);
        assert_eq!(text, "", "{directives:?}");
    }
    let text = logged(LogFormat::Text, Some("info,rumqttd=info"), closed);
    assert!(text.contains("client gone"), "{text}");
}

#[test]
fn json_is_one_object_a_line_with_the_fields_at_its_top() {
    let text = logged(LogFormat::Json, None, || {
        tracing::info!(target: "lockgate::app", endpoint = "erp", attempt = 2, "endpoint degraded");
    });
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(line["message"], "endpoint degraded");
    assert_eq!(line["endpoint"], "erp");
    assert_eq!(line["attempt"], 2);
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["target"], "lockgate::app");
}

/// An attempt as endpoints log it.
fn an_attempt() {
    let trace_id = Some("0af7651916cd43dd8448eb211c80319c");
    let span = tracing::debug_span!(
        target: "lockgate::actors", "attempt", endpoint = "erp", event_id = "e-1", trace_id
    );
    span.in_scope(|| {
        tracing::debug!(target: "lockgate::actors", "said at debug");
        tracing::warn!(target: "lockgate::transport", "said at warn");
    });
}

#[test]
fn lines_of_an_attempt_carry_its_span_where_debug_is_logged_and_elsewhere_there_is_none() {
    let debug = Some("lockgate=debug");
    let text = logged(LogFormat::Json, debug, an_attempt);
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 2, "{text}");
    for line in &lines {
        let span = &line["span"];
        assert_eq!((&span["endpoint"], &span["event_id"]), (&"erp".into(), &"e-1".into()));
        assert_eq!(span["trace_id"], "0af7651916cd43dd8448eb211c80319c", "{line}");
    }
    let text = logged(LogFormat::Text, debug, an_attempt);
    let spans = text.lines().filter(|line| line.contains("attempt{endpoint=\"erp\" event_id"));
    assert_eq!(spans.count(), 2, "{text}");
    let text = logged(LogFormat::Json, None, an_attempt);
    let line: serde_json::Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!((&line["message"], &line["span"]), (&"said at warn".into(), &().into()));
}

#[test]
fn text_without_a_terminal_has_no_colours() {
    let text = logged(LogFormat::Text, None, everybody_speaks);
    assert!(!text.contains('\u{1b}'), "{text:?}");
}

#[test]
fn directives_that_cannot_be_read_are_an_error_that_says_where_they_stand() {
    let refused = subscriber(LogFormat::Text, Some("lockgate=loud"), false, Page::default()).err();
    let Some(refused @ TelemetryError::Directives(_)) = refused else { panic!("{refused:?}") };
    assert!(refused.to_string().contains("RUST_LOG"), "{refused}");
}

// Some libraries speak through the older `log`, which only a process-wide log hears.
#[test]
fn what_libraries_say_through_the_older_facade_is_capped_too() {
    let page = Page::default();
    subscriber(LogFormat::Text, Some("trace"), false, page.clone()).unwrap().try_init().unwrap();
    log::trace!(target: "rumqttc::state", "frame of rumqttc");
    log::debug!(target: "rustls::client", "frame of rustls");
    log::info!(target: "mio", "info of mio");
    log::trace!(target: "lockgate::older", "own trace");
    let text = page.text();
    assert!(text.contains("info of mio") && text.contains("own trace"), "{text}");
    assert!(!text.contains("frame"), "{text}");
}
