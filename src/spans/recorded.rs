//! Spans while they last: that of a message, that of an attempt.
//!
//! Owns which span is the parent of which. An event that comes with a trace: the platform's span is
//! the parent of both kinds, and its `sampled` flag decides. One that comes with none: the message's
//! span is the root, if the share says so, and the router writes it into the headers of what is an event,
//! so that each attempt finds it there, also after a wait in a queue. Refuses to send. Read [`super::export`] next.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, TraceFlags,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue, SpanId, TraceId};
use opentelemetry_sdk::trace::{SdkTracer, Span};

use crate::domain::delivery::{Message, TraceContext};
use crate::logic::span::{self, Attribute, Beginning, Ended, Value};
use crate::logic::trace_context;

/// Where spans are made, once there is an export of them.
static RECORDER: OnceLock<Recorder> = OnceLock::new();

/// Makes the spans of this process.
pub(super) struct Recorder {
    pub(super) tracer: SdkTracer,
    /// The source queue.
    pub(super) queue: String,
}

impl Recorder {
    /// From now on spans are recorded here. `false`: they are already, elsewhere.
    pub(super) fn install(self) -> bool {
        RECORDER.set(self).is_ok()
    }

    fn begin(
        &self,
        beginning: Beginning,
        kind: SpanKind,
        at: SystemTime,
        parent: Option<&TraceContext>,
    ) -> Option<Span> {
        let builder = SpanBuilder::from_name(beginning.name)
            .with_kind(kind)
            .with_start_time(at)
            .with_attributes(beginning.attributes.into_iter().map(key_value));
        // Never the thread's present context: it is nobody's here.
        let context = match parent.and_then(remote) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let span = self.tracer.build_with_context(builder, &context);
        span.is_recording().then_some(span)
    }

    fn process(&self, at: SystemTime, message: &Message) -> Option<Recorded> {
        let came = trace_context::of(message);
        let beginning = span::process(&self.queue, message);
        let span = self.begin(beginning, SpanKind::Consumer, at, came.as_ref())?;
        let root = came.is_none().then(|| below(&span, None));
        Some(Recorded { root, failed: AtomicBool::new(false), span: Mutex::new(span) })
    }

    fn attempt(
        &self,
        (endpoint, transport, event_id): (&str, &'static str, &str),
        came: &TraceContext,
    ) -> Option<Span> {
        let beginning = span::send(endpoint, transport, event_id);
        let client = span::is_client(transport);
        let kind = if client { SpanKind::Client } else { SpanKind::Producer };
        self.begin(beginning, kind, SystemTime::from(crate::world::now()), Some(came))
    }
}

fn key_value((name, value): Attribute) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(name, text),
        Value::Whole(number) => KeyValue::new(name, number),
        Value::Seconds(seconds) => KeyValue::new(name, seconds),
    }
}

fn remote(trace: &TraceContext) -> Option<SpanContext> {
    let (id, span, flags) = trace_context::ids(trace)?;
    let (id, span) = (TraceId::from_bytes(id), SpanId::from_bytes(span));
    let state = trace.state.as_ref().and_then(|state| state.parse::<TraceState>().ok());
    Some(SpanContext::new(id, span, TraceFlags::new(flags), true, state.unwrap_or_default()))
}

fn below(span: &Span, state: Option<String>) -> TraceContext {
    let context = span.span_context();
    trace_context::below(context.trace_id().to_bytes(), context.span_id().to_bytes(), state)
}

fn fail(span: &mut Span, words: &str) {
    span.set_status(Status::error(words.to_owned()));
}

/// When a message arrives; `None` where no span needs to know.
#[must_use]
pub fn arrival() -> Option<SystemTime> {
    RECORDER.get().map(|_| SystemTime::from(crate::world::now()))
}

/// The span of one message from the source: from its arrival until the last of its routes is
/// settled, upon which it is acknowledged. Clones are the same span, which ends with the last of them.
#[derive(Clone, Default)]
pub struct Process(Option<Arc<Recorded>>);

struct Recorded {
    /// The trace that begins with it.
    root: Option<TraceContext>,
    failed: AtomicBool,
    span: Mutex<Span>,
}

impl Process {
    /// A message has arrived `at` this time.
    #[must_use]
    pub fn begin(at: Option<SystemTime>, message: &Message) -> Self {
        let recorder = RECORDER.get().zip(at);
        Self(recorder.and_then(|(recorder, at)| recorder.process(at, message)).map(Arc::new))
    }

    /// The trace that begins with it, where the message came without one and it is recorded.
    #[must_use]
    pub fn root(&self) -> Option<&TraceContext> {
        self.0.as_ref()?.root.as_ref()
    }

    /// It holds this event.
    pub fn is(&self, event_id: &str) {
        self.with(|span| span.set_attribute(key_value(span::id(event_id))));
    }

    /// It failed for this reason, in these words: the first ones count.
    pub fn failed(&self, reason: &'static str, words: &str) {
        let Some(recorded) = &self.0 else { return };
        if recorded.failed.swap(true, Ordering::Relaxed) {
            return;
        }
        self.with(|span| {
            span.set_attribute(key_value(span::error_type(reason)));
            fail(span, words);
        });
    }

    fn with(&self, work: impl FnOnce(&mut Span)) {
        if let Some(recorded) = &self.0 {
            work(&mut recorded.span.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "recorded" } else { "unrecorded" })
    }
}

/// The span of one attempt. One that is dropped before its end was abandoned.
pub struct Attempt(Option<Span>);

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(span) = &mut self.0 {
            span.set_attributes(span::abandoned().into_iter().map(key_value));
            fail(span, "abandoned before its end");
        }
    }
}

impl Attempt {
    /// An attempt begins, and what is passed on to the partner: where it is recorded, its own span
    /// as the parent; else what `came`.
    #[must_use]
    pub fn begin(
        endpoint: &str,
        transport: &'static str,
        event_id: &str,
        came: Option<TraceContext>,
    ) -> (Self, Option<TraceContext>) {
        let parts = RECORDER.get().zip(came.as_ref());
        let span = parts
            .and_then(|(recorder, came)| recorder.attempt((endpoint, transport, event_id), came));
        let passed = match &span {
            Some(span) => came.map(|came| below(span, came.state)),
            None => came,
        };
        (Self(span), passed)
    }

    /// It has ended.
    pub fn end(mut self, ended: &Ended<'_>) {
        let Some(mut span) = self.0.take() else { return };
        let ending = span::sent(ended);
        span.set_attributes(ending.attributes.into_iter().map(key_value));
        if let Some(words) = ending.error {
            fail(&mut span, &words);
        }
        span.end();
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};

    use super::*;

    /// The spans that have ended.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<SpanData>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch);
            Ok(())
        }
    }

    fn recorder() -> (Recorder, Kept) {
        let kept = Kept::default();
        let provider = SdkTracerProvider::builder().with_simple_exporter(kept.clone()).build();
        (Recorder { tracer: provider.tracer("test"), queue: "events".into() }, kept)
    }

    fn ended(kept: &Kept) -> SpanData {
        let mut kept = kept.0.lock().unwrap();
        assert_eq!(kept.len(), 1);
        kept.remove(0)
    }

    fn values(span: &SpanData, name: &str) -> Vec<String> {
        let named = span.attributes.iter().filter(|attribute| attribute.key.as_str() == name);
        named.map(|attribute| attribute.value.to_string()).collect()
    }

    #[test]
    fn an_attempt_that_comes_to_no_end_says_so() {
        let (recorder, kept) = recorder();
        let came = trace_context::below([7; 16], [9; 8], None);
        drop(Attempt(recorder.attempt(("erp", "rest", "e-1"), &came)));
        let span = ended(&kept);
        assert_eq!(values(&span, "lockgate.outcome"), ["abandoned"]);
        assert_eq!(values(&span, "error.type"), ["abandoned"]);
        assert!(matches!(span.status, Status::Error { .. }), "{span:?}");
    }

    #[test]
    fn a_message_fails_once_and_ends_with_the_last_of_its_clones() {
        let (recorder, kept) = recorder();
        let message = Message::default();
        let process = Process(recorder.process(SystemTime::UNIX_EPOCH, &message).map(Arc::new));
        assert!(process.root().is_some());
        let clone = process.clone();
        process.failed("stale", "one");
        clone.failed("stale", "two");
        drop(process);
        assert!(kept.0.lock().unwrap().is_empty());
        drop(clone);
        let span = ended(&kept);
        assert_eq!(values(&span, "error.type"), ["stale"]);
        assert_eq!(span.status, Status::error("one"));
    }

    #[test]
    fn a_message_with_a_trace_begins_none() {
        let (recorder, _kept) = recorder();
        let mut message = Message::default();
        trace_context::write(&mut message, &trace_context::below([7; 16], [9; 8], None));
        let process = Process(recorder.process(SystemTime::UNIX_EPOCH, &message).map(Arc::new));
        assert_eq!(process.root(), None);
    }
}
