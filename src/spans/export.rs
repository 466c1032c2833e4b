//! Spans that have ended, on their way to the collector.
//!
//! Owns the pipeline: a bounded queue, batches on a thread of OpenTelemetry's, the sampler, what the
//! process says of itself, and the two lines of the log: when the export begins to fail, and when it
//! works again. A span that finds no room, or whose batch is given up, is counted. Refuses the wire:
//! that is [`super::sender`].
//!
//! Of the environment, `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` count, and no other variable
//! that could change where spans go: the configuration has the last word.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, Span, SpanData,
    SpanExporter, SpanProcessor,
};
use tokio::time::Instant;

use super::recorded::Recorder;
use super::sender::Sender;
use crate::logic::telling::{Telling, Told};
use crate::meter;
use crate::transport::BuildError;
use crate::transport::collector::Settings;

/// Spans that may wait for the collector.
const QUEUE: usize = 8_192;
/// Spans in one request.
const BATCH: usize = 512;
/// How long a span waits for others to go with it.
const DELAY: Duration = Duration::from_secs(1);
/// How long the last spans may take at an orderly end.
const LAST: Duration = Duration::from_secs(2);
const SERVICE_NAME: &str = "service.name";

/// The export of spans, at work.
pub struct Exporting {
    provider: SdkTracerProvider,
}

/// Spans are recorded and exported from now on. `instance` tells this process from others; `queue` is
/// the source's.
///
/// # Errors
/// When the collector's settings cannot be used, or spans are exported already.
pub fn start(settings: &Settings, instance: &str, queue: &str) -> Result<Exporting, BuildError> {
    let sender = Sender::start(settings)?;
    let inner = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(sender.clone())
        // The sender knows where to; this one is never asked.
        .with_endpoint("http://localhost/")
        .with_protocol(Protocol::HttpBinary)
        .with_timeout(settings.timeout)
        .build()
        .map_err(|error| BuildError(error.to_string()))?;
    let way = Arc::new(Way::new(sender));
    let batches = BatchConfigBuilder::default()
        .with_max_queue_size(QUEUE)
        .with_max_export_batch_size(BATCH)
        .with_scheduled_delay(DELAY)
        .build();
    let exporter = Watched { inner, way: Arc::clone(&way) };
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(batches).build();
    let share = Sampler::TraceIdRatioBased(settings.sample);
    let provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(share)))
        .with_resource(resource(instance))
        .with_span_processor(Bounded { inner: processor, way })
        .build();
    let tracer = provider.tracer("lockgate");
    if Recorder::install(Recorder { tracer, queue: queue.to_owned() }) {
        Ok(Exporting { provider })
    } else {
        Err(BuildError("spans are exported already".into()))
    }
}

impl Exporting {
    /// Sends what still waits, and records no more. Bounded to two seconds.
    pub async fn finish(self) {
        let last = move || self.provider.shutdown_with_timeout(LAST);
        let done = tokio::task::spawn_blocking(last).await;
        if !matches!(done, Ok(Ok(()))) {
            tracing::warn!("the last spans may not have reached the collector");
        }
    }
}

/// What this process says of itself.
fn resource(instance: &str) -> Resource {
    let found = Resource::builder().build();
    let name = found.get(&Key::new(SERVICE_NAME)).map(|name| name.to_string());
    // What the detector makes up where nobody says a name.
    let unnamed = name.is_none_or(|name| name.starts_with("unknown_service"));
    let ours = Resource::builder().with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", instance.to_owned()),
    ]);
    if unnamed { ours.with_service_name("lockgate").build() } else { ours.build() }
}

/// What queue and exporter both know.
struct Way {
    sender: Sender,
    /// Spans that have ended and are in no batch yet.
    waiting: AtomicUsize,
    /// Spans lost since the export last worked.
    lost: AtomicU64,
    told: Mutex<State>,
    began: Instant,
}

#[derive(Default)]
struct State {
    fails: bool,
    telling: Telling<Result<(), String>>,
}

impl Way {
    fn new(sender: Sender) -> Self {
        let (waiting, lost, told) = Default::default();
        Self { sender, waiting, lost, told, began: Instant::now() }
    }

    fn drop_spans(&self, spans: usize) {
        meter::spans_dropped(spans as u64);
        self.lost.fetch_add(spans as u64, Ordering::Relaxed);
    }

    /// A batch has gone, or has not: tells what has changed by it.
    fn exported(&self, spans: usize, done: &OTelSdkResult) {
        if done.is_err() {
            self.drop_spans(spans);
        }
        let mut state = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.began.elapsed();
        let due = if state.fails == done.is_err() {
            state.telling.due(now)
        } else {
            state.fails = done.is_err();
            let change = done.as_ref().map_err(|_| self.sender.trouble()).copied();
            state.telling.change(change, now)
        };
        let Some(Told { change, left_out }) = due else { return };
        match change {
            Ok(()) => {
                let lost = self.lost.swap(0, Ordering::Relaxed);
                tracing::info!(lost, left_out, "the export of spans works again");
            }
            Err(error) => {
                tracing::warn!(
                    error,
                    left_out,
                    "the export of spans fails; events are not concerned"
                );
            }
        }
    }
}

/// The queue's bound, where what finds no room is counted.
struct Bounded {
    inner: BatchSpanProcessor,
    way: Arc<Way>,
}

impl std::fmt::Debug for Bounded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bounded")
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        // Never less than what is in the queue itself, which so never drops one without a word.
        if self.way.waiting.fetch_add(1, Ordering::AcqRel) < QUEUE {
            return self.inner.on_end(span);
        }
        self.way.waiting.fetch_sub(1, Ordering::AcqRel);
        self.way.drop_spans(1);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The exporter, and what comes of its batches.
struct Watched {
    inner: opentelemetry_otlp::SpanExporter,
    way: Arc<Way>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watched")
    }
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.way.waiting.fetch_sub(spans, Ordering::AcqRel);
        let done = self.inner.export(batch).await;
        self.way.exported(spans, &done);
        done
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::Tracer as _;
    use opentelemetry_sdk::error::OTelSdkError;

    use super::*;

    /// The names of the spans that came through.
    #[derive(Clone, Debug, Default)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    impl SpanExporter for Kept {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            self.0.lock().unwrap().extend(batch.into_iter().map(|span| span.name.into_owned()));
            Ok(())
        }
    }

    fn way() -> Arc<Way> {
        Arc::new(Way::new(Sender::unconnected("no way")))
    }

    fn exported(way: &Way, spans: usize, well: bool) -> (bool, u64) {
        let failed = || Err(OTelSdkError::InternalFailure("HTTP export failed".into()));
        way.exported(spans, &if well { Ok(()) } else { failed() });
        (way.told.lock().unwrap().fails, way.lost.load(Ordering::Relaxed))
    }

    #[test]
    fn a_span_that_finds_no_room_is_dropped_and_counted() {
        let (way, kept) = (way(), Kept::default());
        let inner = BatchSpanProcessor::builder(kept.clone()).build();
        let bounded = Bounded { inner, way: Arc::clone(&way) };
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::AlwaysOn)
            .with_span_processor(bounded)
            .build();
        let tracer = provider.tracer("test");
        way.waiting.store(QUEUE - 1, Ordering::Relaxed);
        drop(tracer.start("the last that fits"));
        drop(tracer.start("one too many"));
        assert_eq!(way.lost.load(Ordering::Relaxed), 1);
        assert_eq!(way.waiting.load(Ordering::Relaxed), QUEUE);
        provider.force_flush().unwrap();
        assert_eq!(*kept.0.lock().unwrap(), ["the last that fits"]);
    }

    #[test]
    fn what_a_collector_did_not_take_is_counted_until_it_takes_again() {
        let way = way();
        assert_eq!(exported(&way, 5, true), (false, 0));
        assert_eq!(exported(&way, 5, false), (true, 5));
        assert_eq!(exported(&way, 7, false), (true, 12));
        assert_eq!(exported(&way, 5, true), (false, 0));
    }
}
