//! The API: what is answered at which path, and the document that says so.
//!
//! Owns the one table of routes, from which the listener is built and to which the document is held.
//! Handlers unpack, ask, and answer with a value of [`view`] or a problem. Refuses to decide who may
//! ask: that was done at the door. Read [`view`] next, then [`request`], then any handler.

mod attempts;
mod dead_letters;
mod document;
mod endpoints;
mod plain;
mod reload;
mod request;
mod status;
mod stream;
pub mod view;

use std::sync::Arc;

use actix_web::http::{Method, header};
use actix_web::{HttpResponse, ResponseError as _, Route, guard, web};
use tokio::sync::{Mutex, Semaphore};

pub use document::openapi;

use super::AdminState;
use super::problem::Problem;

/// What all handlers answer from. Cheap to clone.
#[derive(Clone)]
pub(super) struct Shared(Arc<Inner>);

struct Inner {
    state: AdminState,
    /// Places for streams.
    streams: Arc<Semaphore>,
    /// The status that streams were sent last.
    latest: std::sync::Mutex<Option<stream::Latest>>,
    /// One reload at a time.
    reloading: Arc<Mutex<()>>,
}

impl Shared {
    pub(super) fn new(state: AdminState) -> Self {
        Self(Arc::new(Inner {
            state,
            streams: Arc::new(Semaphore::new(stream::AT_ONCE)),
            latest: std::sync::Mutex::default(),
            reloading: Arc::default(),
        }))
    }
}

impl std::ops::Deref for Shared {
    type Target = AdminState;

    fn deref(&self) -> &AdminState {
        &self.0.state
    }
}

/// One thing that is answered.
struct Served {
    method: Method,
    path: &'static str,
    route: Route,
}

/// Everything that is answered, in the order in which paths are compared.
fn table() -> Vec<Served> {
    let read = |path, route: Route| {
        let route = route.guard(guard::Any(guard::Get()).or(guard::Head()));
        Served { method: Method::GET, path, route }
    };
    let change = |path, route: Route| Served {
        method: Method::POST,
        path,
        route: route.guard(guard::Post()),
    };
    let to = web::route;
    vec![
        read("/healthz", to().to(plain::healthz)),
        read("/readyz", to().to(plain::readyz)),
        read("/metrics", to().to(plain::metrics)),
        read("/api/openapi.json", to().to(document::document)),
        read("/api/status", to().to(status::status)),
        read("/api/stream", to().to(stream::stream)),
        read("/api/endpoints", to().to(endpoints::list)),
        read("/api/endpoints/{name}", to().to(endpoints::one)),
        change("/api/endpoints/{name}/pause", to().to(endpoints::pause)),
        change("/api/endpoints/{name}/resume", to().to(endpoints::resume)),
        change("/api/endpoints/{name}/test", to().to(endpoints::test)),
        read("/api/endpoints/{name}/attempts", to().to(attempts::attempts)),
        read("/api/dead-letters", to().to(dead_letters::list)),
        change("/api/dead-letters/replay", to().to(dead_letters::replay)),
        change("/api/dead-letters/purge", to().to(dead_letters::purge)),
        read("/api/dead-letters/{event_id}", to().to(dead_letters::one)),
        change("/api/reload", to().to(reload::reload)),
    ]
}

/// Puts the table into the listener. What is not in it is not there; another method than the
/// table's is told which one it is.
pub(super) fn routes(app: &mut web::ServiceConfig, shared: &Shared) {
    app.app_data(web::Data::new(shared.clone()));
    for Served { method, path, route } in table() {
        let allow = if method == Method::GET { "GET, HEAD" } else { "POST" };
        let mut resource = web::resource(path).route(route);
        if path == "/api/dead-letters/replay" || path == "/api/dead-letters/purge" {
            // An event may be called so: reading it goes on to the next path.
            resource = resource.guard(guard::Not(guard::Any(guard::Get()).or(guard::Head())));
        }
        let refusal = move || async move { not_allowed(allow) };
        app.service(resource.default_service(web::to(refusal)));
    }
    app.default_service(web::to(|| async {
        Problem::not_found("nothing is here").error_response()
    }));
}

fn not_allowed(allow: &'static str) -> HttpResponse {
    let detail = format!("this path takes {allow} only");
    let status = actix_web::http::StatusCode::METHOD_NOT_ALLOWED;
    let mut answer = Problem::new(status, detail).error_response();
    answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allow));
    answer
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_document_has_every_route_and_no_other() {
        let served: BTreeSet<(String, String)> = table()
            .iter()
            .map(|served| (served.path.to_owned(), served.method.as_str().to_lowercase()))
            .collect();
        let document = serde_json::to_value(openapi()).unwrap();
        let mut documented = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                documented.insert((path.clone(), method.clone()));
            }
        }
        assert!(served.len() > 10, "{served:?}");
        assert_eq!(served, documented);
    }
}
