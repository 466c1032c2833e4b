//! The stream: the status as server-sent events, at once and then every second.
//!
//! Owns how many listen at once and how often the status is made for them. Each stream ends with its
//! connection or with the listener. Read [`super::status`] for what is sent.

use std::convert::Infallible;
use std::sync::PoisonError;
use std::time::Duration;

use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use futures_util::stream;
use tokio::time::{Instant, MissedTickBehavior};

use super::{Shared, status};
use crate::admin::problem::Problem;
use crate::world;

/// Streams at once.
pub(super) const AT_ONCE: usize = 32;
/// How often each is sent the status.
const EVERY: Duration = Duration::from_secs(1);
/// What was made for one stream serves the others so long: with many of them it is made four times a
/// second, not once for each.
const FRESH: Duration = Duration::from_millis(250);

/// A status that was made for a stream.
pub(super) struct Latest {
    at: Instant,
    event: Bytes,
}

/// Server-sent events: `status`, whose data is the object of `/api/status`, at once and then every
/// second. At most 32 streams at once.
#[utoipa::path(get, path = "/api/stream", tag = "instance", responses(
    (status = 200, description = "Events of one kind, `status`.", body = super::view::Status,
        content_type = "text/event-stream"),
    (status = 503, description = "Too many streams.", body = Problem,
        content_type = "application/problem+json"),
))]
pub(super) async fn stream(
    shared: web::Data<Shared>,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    let mut answer = HttpResponse::Ok();
    answer.insert_header((header::CONTENT_TYPE, "text/event-stream"));
    // A reverse proxy shall not keep it back.
    answer.insert_header(("X-Accel-Buffering", "no"));
    if request.method() == Method::HEAD {
        return Ok(answer.finish());
    }
    let place = shared.0.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = format!("{AT_ONCE} streams are open");
        Problem::unavailable(detail).hint("close one, or ask /api/status instead")
    })?;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let events = stream::unfold((shared, place, ticks), async |(shared, place, mut ticks)| {
        ticks.tick().await;
        let event = event(&shared);
        Some((Ok::<_, Infallible>(event), (shared, place, ticks)))
    });
    Ok(answer.streaming(events))
}

fn event(shared: &Shared) -> Bytes {
    let now = Instant::now();
    let mut latest = shared.0.latest.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(latest) = latest.as_ref().filter(|latest| now - latest.at < FRESH) {
        return latest.event.clone();
    }
    let status = status::of(shared, world::now());
    let data = serde_json::to_string(&status).unwrap_or_default();
    let event = Bytes::from(format!("event: status\ndata: {data}\n\n"));
    *latest = Some(Latest { at: now, event: event.clone() });
    event
}
