//! The attempts: what an endpoint's last ones came to, in this instance.
//!
//! Owns the handler. Read [`super::view`] for what is answered.

use std::sync::Arc;

use actix_web::{HttpRequest, web};
use serde::Deserialize;

use super::Shared;
use super::request::{name, query, unknown};
use super::view::{Attempt, Attempts, Phase, milliseconds};
use crate::admin::problem::Problem;
use crate::logic::{attempt_log, moment};

/// Attempts that are shown where nobody says how many.
const USUAL: u16 = 200;
/// Attempts that are shown at most.
const MOST: u16 = 10_000;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Those of this event only.
    event_id: Option<String>,
    /// At most so many; default 200, at most 10000.
    limit: Option<u16>,
}

/// The endpoint's last attempts in this instance, newest first.
#[utoipa::path(get, path = "/api/endpoints/{name}/attempts", tag = "endpoints",
    params(("name" = String, Path, description = "The endpoint's name."), Wanted),
    responses(
        (status = 200, description = "Newest first.", body = Attempts),
        (status = 404, description = "There is no endpoint of this name.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The query cannot be read.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn attempts(
    shared: web::Data<Shared>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<web::Json<Attempts>, Problem> {
    let name = name(&path)?;
    let wanted: Wanted = query(&request)?;
    let limit = wanted.limit.unwrap_or(USUAL);
    if !(1..=MOST).contains(&limit) {
        return Err(Problem::unprocessable(format!("limit must be from 1 to {MOST}")));
    }
    let shown = shared.controls.board().endpoint(&name).ok_or_else(|| unknown(name.as_str()))?;
    let log = shown.attempts();
    let asked = |attempt: &&Arc<attempt_log::Attempt>| {
        wanted.event_id.as_ref().is_none_or(|event_id| attempt.is_of(event_id))
    };
    let asked = log.iter().filter(asked).take(usize::from(limit));
    let attempts = asked.map(|attempt| of(attempt)).collect();
    Ok(web::Json(Attempts { endpoint: name.to_string(), attempts }))
}

fn of(attempt: &attempt_log::Attempt) -> Attempt {
    Attempt {
        at: moment::format(attempt.at),
        event_id: attempt.event_id.clone(),
        event: attempt.event.clone(),
        attempt: attempt.number,
        lane: attempt.lane.as_str(),
        outcome: attempt.outcome,
        error_type: attempt.error_type.clone(),
        detail: attempt.detail.clone(),
        status: attempt.status,
        took_ms: milliseconds(attempt.took),
        phases: Phase::all(&attempt.phases),
    }
}
