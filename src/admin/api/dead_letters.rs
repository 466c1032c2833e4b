//! Dead letters: listed, shown, replayed, purged.
//!
//! Owns the handlers and their bounds. Letters are looked at and moved by [`crate::bus::dead`] through
//! [`crate::admin::orders`], exactly as the command line does it. Read that next.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use actix_web::{HttpRequest, web};
use serde::Deserialize;

use super::Shared;
use super::request::{Change, body, name, query};
use super::view::{DeadLetter, DeadLetters, LettersRequest, Moved};
use crate::admin::orders::{Done, OrderError};
use crate::admin::problem::Problem;
use crate::bus::dead::{Act, DeadError, LOOK, Order, look};
use crate::domain::names::Name;
use crate::logic::dead::{Filter, Letter};
use crate::logic::dead_view::{LetterView, original, written};

/// Letters that are looked at at most.
const FURTHEST: u16 = 1_000;
/// Event ids that one request names at most.
const MOST_IDS: usize = 1_000;

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Whose letters; also of an endpoint that is no longer configured.
    endpoint: String,
    /// Looks at so many letters from the head of the queue; default 100, at most 1000.
    limit: Option<u16>,
    /// This event's only.
    event_id: Option<String>,
    /// Those with exactly this reason only.
    reason: Option<String>,
    /// Those of this type only, or of this pattern `type/trigger`, where `*` stands for a whole part.
    event_type: Option<String>,
}

#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Whose {
    /// Whose letter; also of an endpoint that is no longer configured.
    endpoint: String,
}

/// An endpoint's dead letters, from the head of its queue. Looking changes nothing.
#[utoipa::path(get, path = "/api/dead-letters", tag = "dead letters", params(Wanted),
    responses(
        (status = 200, description = "Oldest first.", body = DeadLetters),
        (status = 404, description = "There is no such queue.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "A replay or a purge is under way.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The query cannot be read.", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "The bus does not answer, and why.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn list(
    shared: web::Data<Shared>,
    request: HttpRequest,
) -> Result<web::Json<DeadLetters>, Problem> {
    let wanted: Wanted = query(&request)?;
    let endpoint = name(&wanted.endpoint)?;
    let limit = wanted.limit.unwrap_or(LOOK);
    if !(1..=FURTHEST).contains(&limit) {
        return Err(Problem::unprocessable(format!("limit must be from 1 to {FURTHEST}")));
    }
    let filter = Filter {
        event_ids: wanted.event_id.map(|id| [id].into()),
        kind: wanted.event_type.as_deref().map(kind).transpose()?,
        reason: wanted.reason,
        ..Filter::default()
    };
    let mut letters = Vec::new();
    let looking = look(&*shared.bus, &endpoint, limit, |message| {
        let letter = Letter::of(&message);
        if filter.matches(&letter) {
            letters.push(letter);
        }
        ControlFlow::Continue(())
    });
    let looked = shared.orders.look(&*shared.bus, &endpoint, looking).await;
    let looked = looked.map_err(|error| refused(&error))?;
    letters.sort_by_key(|letter| letter.dead_since);
    let letters = letters.into_iter().map(|letter| LetterView::new(&endpoint, letter)).collect();
    let endpoint = endpoint.to_string();
    Ok(web::Json(DeadLetters { endpoint, ready: looked.ready, seen: looked.seen, letters }))
}

/// A type alone means all its triggers.
fn kind(text: &str) -> Result<crate::logic::routing::Pattern, Problem> {
    let whole = if text.contains(['/', '.']) { text.to_owned() } else { format!("{text}/*") };
    whole.parse().map_err(|cause| Problem::unprocessable(format!("event_type: {cause}")))
}

/// One dead letter, whole: the first with this id among the first 1000.
#[utoipa::path(get, path = "/api/dead-letters/{event_id}", tag = "dead letters",
    params(("event_id" = String, Path, description = "The event's id."), Whose),
    responses(
        (status = 200, description = "Headers and body.", body = DeadLetter),
        (status = 404, description = "It is not there.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "A replay or a purge is under way.", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "The bus does not answer, and why.", body = Problem,
            content_type = "application/problem+json"),
    ))]
pub(super) async fn one(
    shared: web::Data<Shared>,
    path: web::Path<String>,
    request: HttpRequest,
) -> Result<web::Json<DeadLetter>, Problem> {
    let Whose { endpoint } = query(&request)?;
    let (endpoint, event_id) = (name(&endpoint)?, path.into_inner());
    let mut found = None;
    let looking = look(&*shared.bus, &endpoint, FURTHEST, |message| {
        if Letter::of(&message).event_id.as_deref() == Some(event_id.as_str()) {
            found = Some(message);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    let looked = shared.orders.look(&*shared.bus, &endpoint, looking).await;
    let looked = looked.map_err(|error| refused(&error))?;
    let Some(letter) = found else {
        let (seen, ready) = (looked.seen, looked.ready);
        let detail =
            format!("event {event_id:?} is not among the {seen} looked at, of {ready} dead");
        let problem = Problem::not_found(detail);
        return Err(if seen < ready {
            problem.hint("`lockgate dead show` looks further with --limit")
        } else {
            problem
        });
    };
    Ok(web::Json(DeadLetter {
        letter: LetterView::new(&endpoint, Letter::of(&letter)),
        headers: written(&letter),
        message: original(&letter),
    }))
}

/// Sends dead letters to their endpoint once more, as if never attempted. None is lost, whatever
/// interrupts it; it goes on when the caller goes away.
#[utoipa::path(post, path = "/api/dead-letters/replay", tag = "dead letters",
    request_body = LettersRequest,
    responses(
        (status = 200, description = "How many.", body = Moved),
        (status = 404, description = "No such endpoint, or it has no such queue.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "A replay or a purge is under way.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "It is not said which ones, or in two ways.", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "The bus does not answer, why, and how many until then.",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn replay(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Moved>, Problem> {
    let (endpoint, filter) = asked(body(payload).await?)?;
    let there = shared.config.load().endpoints.contains_key(&endpoint);
    if !there {
        let detail =
            format!("no endpoint is called {endpoint}: nobody would take what is replayed");
        return Err(Problem::not_found(detail).hint("configure it again, or purge"));
    }
    carry_out(&shared, &Change::new("replay", &request), endpoint, filter, Act::Replay).await
}

/// Deletes dead letters, for good.
#[utoipa::path(post, path = "/api/dead-letters/purge", tag = "dead letters",
    request_body = LettersRequest,
    responses(
        (status = 200, description = "How many.", body = Moved),
        (status = 404, description = "There is no such queue.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "A replay or a purge is under way.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "It is not said which ones, or in two ways.", body = Problem,
            content_type = "application/problem+json"),
        (status = 503, description = "The bus does not answer, why, and how many until then.",
            body = Problem, content_type = "application/problem+json"),
    ))]
pub(super) async fn purge(
    shared: web::Data<Shared>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<web::Json<Moved>, Problem> {
    let (endpoint, filter) = asked(body(payload).await?)?;
    carry_out(&shared, &Change::new("purge", &request), endpoint, filter, Act::Purge).await
}

/// Whose letters are meant, and which.
fn asked(request: LettersRequest) -> Result<(Name, Filter), Problem> {
    let endpoint = name(&request.endpoint)?;
    match (request.event_ids, request.all) {
        (None, true) => Ok((endpoint, Filter::default())),
        (Some(ids), false) if (1..=MOST_IDS).contains(&ids.len()) => {
            let ids: BTreeSet<String> = ids.into_iter().collect();
            Ok((endpoint, Filter { event_ids: Some(ids), ..Filter::default() }))
        }
        (Some(_), false) => {
            Err(Problem::unprocessable(format!("event_ids: from 1 to {MOST_IDS} of them")))
        }
        (Some(_), true) | (None, false) => {
            Err(Problem::unprocessable("either event_ids or \"all\": true says which are meant"))
        }
    }
}

async fn carry_out(
    shared: &Shared,
    change: &Change,
    endpoint: Name,
    filter: Filter,
    act: Act,
) -> Result<web::Json<Moved>, Problem> {
    let order = Order { endpoint: endpoint.clone(), filter, act, pace: None };
    let done = shared.orders.carry_out(Arc::clone(&shared.bus), order).await;
    let done = done.map_err(|error| refused(&error));
    let about = |Done { moved, left }: &Done| {
        let left = left.map_or_else(|| "?".into(), |left| left.to_string());
        format!("{} of {} moved, {left} left", moved.moved, moved.meant)
    };
    change.came_to(Some(&endpoint), done.as_ref().map(about));
    let Done { moved, left } = done?;
    let (matched, moved) = (moved.meant, moved.moved);
    Ok(web::Json(Moved { endpoint: endpoint.to_string(), matched, moved, left }))
}

fn refused(error: &OrderError) -> Problem {
    let detail = error.to_string();
    match error {
        OrderError::UnderWay(_) | OrderError::Dead(DeadError::NoParkedQueue(_)) => {
            Problem::conflict(detail)
        }
        OrderError::Dead(DeadError::NoQueue(_)) => Problem::not_found(detail),
        OrderError::Dead(DeadError::Bus(error)) => Problem::bus(error),
        OrderError::Failed(error, _) => Problem { detail, ..Problem::bus(error) },
        OrderError::Silent { .. } => {
            Problem::unavailable(detail).hint("is RabbitMQ down, frozen, or under an alarm?")
        }
        OrderError::TooMany | OrderError::Stopped(_) | OrderError::Lost => {
            Problem::unavailable(detail)
        }
    }
}
