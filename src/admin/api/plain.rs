//! What probes and scrapers ask: plain text.
//!
//! Owns `/healthz`, `/readyz` and `/metrics`. Read [`crate::admin::metrics`] next.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};

use super::Shared;
use crate::admin::Readiness;

/// Says that the process lives. The one path that needs no token.
#[utoipa::path(get, path = "/healthz", tag = "probes", security(()),
    responses((status = 200, description = "It lives.", body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Says whether events are consumed now. A partner that is down changes nothing here.
#[utoipa::path(get, path = "/readyz", tag = "probes", responses(
    (status = 200, description = "They are.", body = String, content_type = "text/plain"),
    (status = 503, description = "They are not, and why.", body = String, content_type = "text/plain"),
))]
pub(super) async fn readyz(shared: web::Data<Shared>) -> HttpResponse {
    match (shared.readiness)() {
        Readiness::Consuming => plain(StatusCode::OK, "consuming\n".into()),
        Readiness::NotConsuming(reason) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, format!("not consuming: {reason}\n"))
        }
    }
}

/// Everything that is counted, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "probes",
    responses((status = 200, description = "Prometheus text.", body = String, content_type = "text/plain")))]
pub(super) async fn metrics(shared: web::Data<Shared>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(crate::admin::metrics::render(&shared.metrics))
}

fn plain(status: StatusCode, text: String) -> HttpResponse {
    HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(text)
}
