//! The document: what the API answers, in the words of `OpenAPI`.
//!
//! Owns the list of paths and schemas. Each schema is made from the very type that is answered, so the
//! two cannot differ; a test holds the paths to the table of routes. Read [`super::view`] next.

use actix_web::{HttpResponse, web};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::{attempts, dead_letters, endpoints, plain, reload, status, stream, view};
use crate::admin::problem::{ConfigurationProblem, Problem};
use crate::logic::dead_view::LetterView;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "lockgate",
        description = "What an operator may ask one instance, and do to it. Times are RFC 3339 UTC \
                       with milliseconds; what is unknown is null. Every refusal is an \
                       application/problem+json (RFC 9457). Changes are POSTs with Content-Type: \
                       application/json, also without a body; bodies are at most 64 KiB.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    paths(
        plain::healthz, plain::readyz, plain::metrics, document,
        status::status, stream::stream,
        endpoints::list, endpoints::one, endpoints::pause, endpoints::resume, endpoints::test,
        attempts::attempts,
        dead_letters::list, dead_letters::one, dead_letters::replay, dead_letters::purge,
        reload::reload,
    ),
    components(schemas(
        view::Status, view::Endpoints, view::Endpoint, view::Paused, view::TestRequest, view::Tested,
        view::Attempts, view::DeadLetters, view::DeadLetter, view::LettersRequest, view::Moved,
        view::Reloaded, LetterView, Problem, ConfigurationProblem,
    )),
    modifiers(&Token),
    security(("bearer" = []), ("basic" = [])),
)]
struct Document;

/// The two ways to send the token.
struct Token;

impl Modify for Token {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let components = document.components.get_or_insert_default();
        let bearer =
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("admin.token"));
        let basic = HttpBuilder::new()
            .scheme(HttpAuthScheme::Basic)
            .description(Some("any user, admin.token as the password"));
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer.build()));
        components.add_security_scheme("basic", SecurityScheme::Http(basic.build()));
    }
}

/// The document itself.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = "/api/openapi.json", tag = "instance",
    responses((status = 200, description = "OpenAPI 3.1.", body = serde_json::Value)))]
pub(super) async fn document() -> HttpResponse {
    HttpResponse::Ok().json(web::Json(openapi()).into_inner())
}
