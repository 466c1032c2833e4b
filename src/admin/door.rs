//! The door: who may come in.
//!
//! Owns four questions, asked in this order: does the request call this listener by one of its own
//! names, has it the token, does a web page of somebody else send it, is it a change that says it is
//! JSON. `/healthz` alone is asked none of them, because it says nothing. Refuses to answer anything
//! else. Read [`super::problem`] next.

use std::sync::Arc;

use actix_web::ResponseError as _;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{self, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::middleware::Next;
use actix_web::web;
use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq as _;

use super::problem::Problem;
use crate::config::Config;

/// What a caller without the token is told: how a program, and how a browser, may send it.
const CHALLENGES: [&str; 2] =
    ["Bearer realm=\"lockgate\"", "Basic realm=\"lockgate\", charset=\"UTF-8\""];

/// The names of this machine for itself.
const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "[::1]"];

/// Who may come in, by the configuration that is in force: a reload may bring another token.
pub(super) struct Door(Arc<ArcSwap<Config>>);

impl Door {
    pub(super) fn new(config: Arc<ArcSwap<Config>>) -> Self {
        Self(config)
    }

    /// Why this request may not come in.
    fn refuses(&self, request: &ServiceRequest) -> Option<Problem> {
        if !self.is_called_rightly(request) {
            let detail = "this listener is not called so: add the name to admin.hosts";
            return Some(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        }
        if !self.has_the_token(request) {
            let detail = "the admin token is missing or wrong";
            let hint = "as a bearer token, or as the password of any user";
            return Some(Problem::new(StatusCode::UNAUTHORIZED, detail).hint(hint));
        }
        if is_of_another_page(request) {
            let detail = "a web page of another origin may not ask this";
            return Some(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        let change = request.method() == Method::POST && is_of_the_api(request);
        if change && !says_json(request) {
            let hint = "send Content-Type: application/json, also without a body";
            let detail = "a change is asked for in JSON";
            return Some(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail).hint(hint));
        }
        None
    }

    /// Every name by which the request calls this listener is one of its own, and there is one.
    fn is_called_rightly(&self, request: &ServiceRequest) -> bool {
        let in_the_line = request.uri().host().map(host_of);
        let in_headers = request.headers().get_all(header::HOST);
        let mut names =
            in_headers.map(|value| value.to_str().map_or_else(|_| String::new(), host_of));
        let mut called = in_the_line.into_iter().chain(&mut names).peekable();
        let config = self.0.load();
        let listener = host_of(&config.admin.listen.to_string());
        let own = |name: String| {
            LOOPBACK.contains(&name.as_str())
                || name == listener
                || config.admin.hosts.iter().any(|host| host_of(host) == name)
        };
        called.peek().is_some() && called.all(own)
    }

    fn has_the_token(&self, request: &ServiceRequest) -> bool {
        let config = self.0.load();
        let Some(token) = &config.admin.token else { return true };
        let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        given
            .and_then(given_token)
            .is_some_and(|given| token.expose().as_bytes().ct_eq(&given).into())
    }
}

/// The token in an `Authorization`: a bearer's, or anybody's password.
fn given_token(authorization: &str) -> Option<Vec<u8>> {
    let (scheme, given) = authorization.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(given.trim().as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(given.trim()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.get(colon + 1..).map(<[u8]>::to_vec)
}

/// A browser says from whose page a request comes. None but this listener's own may change anything
/// or read the API.
fn is_of_another_page(request: &ServiceRequest) -> bool {
    let guarded = !request.method().is_safe() || is_of_the_api(request);
    let own = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let authority = |origin: &HeaderValue| {
        let text = origin.to_str().ok()?;
        Some(text.split_once("://")?.1.to_ascii_lowercase())
    };
    let own = own.map(str::to_ascii_lowercase);
    guarded
        && request
            .headers()
            .get_all(header::ORIGIN)
            .any(|origin| authority(origin).is_none_or(|page| Some(page) != own))
}

fn is_of_the_api(request: &ServiceRequest) -> bool {
    request.path().starts_with("/api/")
}

fn says_json(request: &ServiceRequest) -> bool {
    let given = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let essence = given.and_then(|text| text.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// The host of `host:port`, in lower case; `[::1]` keeps its brackets.
fn host_of(authority: &str) -> String {
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    authority.get(..end).unwrap_or(authority).to_ascii_lowercase()
}

/// Lets in who may; the others are told why not. A listener without a door lets nobody in.
pub(super) async fn at_the_door(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let refused = match request.app_data::<web::Data<Door>>() {
        _ if request.path() == "/healthz" => None,
        Some(door) => door.refuses(&request),
        None => Some(Problem::unavailable("the listener is not set up")),
    };
    let Some(problem) = refused else {
        return next.call(request).await.map(ServiceResponse::map_into_boxed_body);
    };
    let mut answer = problem.error_response();
    if problem.status == StatusCode::UNAUTHORIZED.as_u16() {
        for challenge in CHALLENGES {
            answer
                .headers_mut()
                .append(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
    }
    Ok(request.into_response(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_compared_without_its_port_and_case() {
        for (authority, host) in [
            ("LocalHost", "localhost"),
            ("localhost:8080", "localhost"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host);
        }
    }

    #[test]
    fn the_token_is_a_bearers_or_anybodys_password() {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for (authorization, token) in [
            ("Bearer t".to_owned(), Some("t")),
            ("bEARER  t ".to_owned(), Some("t")),
            (basic("me:t"), Some("t")),
            (basic(":t"), Some("t")),
            (basic("me:t:u"), Some("t:u")),
            (basic("me:"), Some("")),
            (basic("t"), None),
            ("Basic t".to_owned(), None),
            ("Digest t".to_owned(), None),
            ("t".to_owned(), None),
            (String::new(), None),
        ] {
            let found = given_token(&authorization);
            assert_eq!(found.as_deref(), token.map(str::as_bytes), "{authorization}");
        }
    }
}
