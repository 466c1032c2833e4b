//! What handlers unpack, and the audit line that each change leaves.
//!
//! Owns the bounds of a body, how a name is read, and where a request came from. Refuses to answer.
//! Read [`super::endpoints`] next.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, web};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::timeout;

use crate::admin::problem::Problem;
use crate::domain::names::Name;

/// The largest body, in bytes.
const MAX_BODY: usize = 65_536;
/// How long a caller may take over its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The body, read as what is asked; an empty one is an empty object.
pub(super) async fn body<T: DeserializeOwned>(payload: web::Payload) -> Result<T, Problem> {
    let problem = |status, detail: String| Problem::new(status, detail);
    let read = timeout(BODY_TIMEOUT, payload.to_bytes_limited(MAX_BODY)).await;
    let late = |_| problem(StatusCode::REQUEST_TIMEOUT, "the body does not come".into());
    let large = |_| {
        let detail = format!("a body has at most {MAX_BODY} bytes");
        problem(StatusCode::PAYLOAD_TOO_LARGE, detail)
    };
    let broken = |cause| problem(StatusCode::BAD_REQUEST, format!("cannot read the body: {cause}"));
    let read = read.map_err(late)?.map_err(large)?.map_err(broken)?;
    let text = if read.trim_ascii().is_empty() { b"{}" } else { &*read };
    // An object, first of all: an array of nothing would pass for one without keys.
    let object: Result<Map<String, Value>, _> = serde_json::from_slice(text);
    object.and_then(|object| T::deserialize(Value::Object(object))).map_err(|cause| {
        let status = match cause.classify() {
            serde_json::error::Category::Data => StatusCode::UNPROCESSABLE_ENTITY,
            _ => StatusCode::BAD_REQUEST,
        };
        problem(status, format!("cannot read the body: {cause}"))
    })
}

/// What stands behind the `?`, read as what is asked.
pub(super) fn query<T: DeserializeOwned>(request: &HttpRequest) -> Result<T, Problem> {
    web::Query::from_query(request.query_string())
        .map(web::Query::into_inner)
        .map_err(|cause| Problem::unprocessable(format!("cannot read the query: {cause}")))
}

/// An endpoint's name. What is no name is the name of nothing.
pub(super) fn name(text: &str) -> Result<Name, Problem> {
    text.parse().map_err(|_| unknown(text))
}

/// There is no such endpoint.
pub(super) fn unknown(name: &str) -> Problem {
    Problem::not_found(format!("no endpoint is called {name:?}"))
        .hint("GET /api/endpoints lists them")
}

/// Who asks for a change, and for which.
pub(super) struct Change {
    action: &'static str,
    from: String,
}

impl Change {
    pub(super) fn new(action: &'static str, request: &HttpRequest) -> Self {
        let from = request.peer_addr().map_or_else(|| "?".to_owned(), |peer| peer.to_string());
        Self { action, from }
    }

    /// The audit line: what came of it. `fields` are counts or an event's id, never a secret.
    pub(super) fn came_to(&self, endpoint: Option<&Name>, result: Result<String, &Problem>) {
        let endpoint = endpoint.map(Name::as_str);
        let (action, from) = (self.action, self.from.as_str());
        let (result, about) = match result {
            Ok(about) => ("ok", about),
            Err(problem) => ("refused", format!("{} {}", problem.status, problem.title)),
        };
        tracing::info!(target: "lockgate::audit", action, endpoint, from, result, about, "change");
    }
}
