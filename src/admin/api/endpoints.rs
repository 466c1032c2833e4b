//! The endpoints: listed, paused, resumed, tested.
//!
//! Owns the handlers. What is done stands in [`crate::actors::controls`]; what is shown in
//! [`super::status`]. Read [`super::dead_letters`] next.

use actix_web::{HttpRequest, web};

use super::request::{Change, body, name, unknown};
use super::view::{Endpoint, Endpoints, Paused, Phase, TestRequest, Tested, milliseconds};
use super::{Shared, status};
use crate::actors::controls::ControlError;
use crate::actors::endpoint::Tried;
use crate::admin::problem::Problem;
use crate::domain::delivery::Outcome;
use crate::domain::names::Name;
use crate::logic::remedy::remedy;
use crate::logic::test_event::{TRIGGER, TYPE, test_event};
use crate::world;

/// Every configured endpoint.
#[utoipa::path(get, path = "/api/endpoints", tag = "endpoints",
    responses((status = 200, description = "By name.", body = Endpoints)))]
pub(super) async fn list(shared: web::Data<Shared>) -> web::Json<Endpoints> {
    web::Json(Endpoints { endpoints: status::endpoints(&shared) })
}

/// One endpoint.
#[utoipa::path(get, path = "/api/endpoints/{name}", tag = "endpoints",
    params(("name" = String, Path, description = "The endpoint's name.")),
    responses(
        (status = 200, description = "How it is.", body = Endpoint),
        (status = 404, description = "There is none of this name.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn one(
    shared: web::Data<Shared>,
    path: web::Path<String>,
) -> Result<web::Json<Endpoint>, Problem> {
    let name = name(&path)?;
    let config = shared.config.load();
    let configured = config.endpoints.get(&name);
    let shown = shared.controls.board().endpoint(&name);
    let (configured, shown) = configured.zip(shown).ok_or_else(|| unknown(name.as_str()))?;
    Ok(web::Json(status::endpoint(configured, &shown)))
}

/// From now on what comes for the endpoint is parked and nothing is attempted, in this instance and
/// until it is resumed or restarted. Attempts under way end.
#[utoipa::path(post, path = "/api/endpoints/{name}/pause", tag = "endpoints",
    params(("name" = String, Path, description = "The endpoint's name.")),
    responses(
        (status = 200, description = "It is paused.", body = Paused),
        (status = 404, description = "There is none of this name.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn pause(
    shared: web::Data<Shared>,
    path: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Paused>, Problem> {
    let _: Nothing = body(payload).await?;
    switch(&shared, &name(&path)?, &Change::new("pause", &request), true)
}

/// Ends a pause: what was parked comes first.
#[utoipa::path(post, path = "/api/endpoints/{name}/resume", tag = "endpoints",
    params(("name" = String, Path, description = "The endpoint's name.")),
    responses(
        (status = 200, description = "It is not paused.", body = Paused),
        (status = 404, description = "There is none of this name.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn resume(
    shared: web::Data<Shared>,
    path: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Paused>, Problem> {
    let _: Nothing = body(payload).await?;
    switch(&shared, &name(&path)?, &Change::new("resume", &request), false)
}

/// A body that says nothing.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

fn switch(
    shared: &Shared,
    name: &Name,
    change: &Change,
    paused: bool,
) -> Result<web::Json<Paused>, Problem> {
    let controls = &shared.controls;
    let done = if paused { controls.pause(name) } else { controls.resume(name) };
    let done = done.map_err(|error| refused(&error));
    let about = done.as_ref().map(|changed| if *changed { "changed" } else { "unchanged" }.into());
    change.came_to(Some(name), about);
    Ok(web::Json(Paused { endpoint: name.to_string(), paused, changed: done? }))
}

fn refused(error: &ControlError) -> Problem {
    match error {
        ControlError::Unknown(name) => unknown(name),
        ControlError::Busy(_) => Problem::conflict(error.to_string()),
    }
}

/// Sends a test event to the endpoint, past its window, breaker and queues, and says what came of it.
/// It changes no counter and is never repeated. Takes as long as the endpoint's own timeouts allow.
#[utoipa::path(post, path = "/api/endpoints/{name}/test", tag = "endpoints",
    params(("name" = String, Path, description = "The endpoint's name.")),
    request_body = TestRequest,
    responses(
        (status = 200, description = "What came of it, a failure too.", body = Tested),
        (status = 404, description = "There is none of this name.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "A test is under way, or it cannot be tested now.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "A type without a trigger, or the other way round.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn test(
    shared: web::Data<Shared>,
    path: web::Path<String>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Tested>, Problem> {
    let wanted: TestRequest = body(payload).await?;
    let name = name(&path)?;
    let kind = match (&wanted.event_type, &wanted.event_trigger) {
        (None, None) => (TYPE, TRIGGER),
        (Some(kind), Some(trigger)) if !kind.is_empty() && !trigger.is_empty() => {
            (kind.as_str(), trigger.as_str())
        }
        _ => {
            let detail = "event_type and event_trigger: both, neither of them empty, or none";
            return Err(Problem::unprocessable(detail));
        }
    };
    let intake = shared.config.load().intake.clone();
    let id = world::unique();
    let event = test_event(kind, id, world::now(), intake.organization, intake.environment);
    let change = Change::new("test", &request);
    let done = shared.controls.test(&name, event).await.map_err(|error| refused(&error));
    let tested = done.map(|tried| tested(&name, tried));
    let about = tested.as_ref().map(|tested| format!("{} {}", tested.event_id, tested.outcome));
    change.came_to(Some(&name), about);
    tested.map(web::Json)
}

fn tested(name: &Name, tried: Tried) -> Tested {
    let (outcome, status, failure) = match tried.outcome {
        Outcome::Delivered { status } => ("delivered", status, None),
        Outcome::Failed(failure) => (failure.class.as_str(), None, Some(failure)),
    };
    let remedy = failure.as_ref().and_then(|failure| remedy(&failure.reason));
    let (error_type, detail) = failure.map(|failure| (failure.reason, failure.detail)).unzip();
    Tested {
        endpoint: name.to_string(),
        event_id: tried.event_id,
        outcome,
        error_type,
        detail,
        remedy,
        status,
        took_ms: milliseconds(tried.took),
        phases: Phase::all(&tried.phases),
    }
}
