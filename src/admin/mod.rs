//! Floor 5: the admin listener. What an operator and a scraper may ask over HTTP.
//!
//! Owns the listener and who may ask: `Host` must name this listener, so that no web page can
//! reach it through a name of its own; where it listens beyond loopback, or a token is
//! configured, the bearer token must come along. `/healthz` alone is free of both, because it says
//! nothing. Refuses to know how events flow: readiness comes in as a function. Read [`metrics`]
//! next.

pub mod metrics;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{Server, ServiceRequest, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{DefaultHeaders, Next, from_fn};
use actix_web::{App, HttpResponse, HttpServer, guard, web};
use futures_util::future::BoxFuture;
use metrics_exporter_prometheus::PrometheusHandle;
use subtle::ConstantTimeEq as _;

use crate::config::{self, Problems};
use crate::domain::names::Name;
use crate::logic::secret::Secret;

/// Connections at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 256;
/// How long a caller may take over its request's head.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How often recorded durations are folded into their histograms, scraped or not.
const UPKEEP: Duration = Duration::from_secs(5);

/// Whether events are consumed now. A partner that is down changes nothing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They are.
    Consuming,
    /// They are not, for this reason; it holds no secret.
    NotConsuming(String),
}

/// What a reload has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Endpoints that are new.
    pub added: Vec<Name>,
    /// Endpoints that are there no more. Their queues stay.
    pub removed: Vec<Name>,
    /// Endpoints with other settings.
    pub changed: Vec<Name>,
    /// How many stay as they are.
    pub unchanged: usize,
    /// Of the configuration that is in force now.
    pub digest: String,
}

/// Asks for a reload. What is wrong with the new configuration comes back, and nothing has changed.
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<Reloaded, Problems>> + Send + Sync>;

/// What the listener answers from.
#[derive(Clone)]
pub struct AdminState {
    /// Asked at each `/readyz`; must not block.
    pub readiness: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// Renders `/metrics`.
    pub metrics: PrometheusHandle,
    /// Takes the configuration over anew.
    pub reload: Reload,
}

/// Binds the listener. The server runs when it is awaited or spawned, and handles no signals of
/// its own. The address tells the port where `listen` left it to the system. Must be called on an
/// actix system.
///
/// # Errors
/// When the address cannot be bound, or is not loopback and there is no token.
pub fn serve(admin: &config::Admin, state: AdminState) -> io::Result<(Server, SocketAddr)> {
    if !admin.listen.ip().is_loopback() && admin.token.is_none() {
        let message = format!("admin.listen {} is not loopback: set admin.token", admin.listen);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let handle = state.metrics.clone();
    let door = web::Data::new(Door::new(admin));
    let state = web::Data::new(state);
    let server = HttpServer::new(move || {
        App::new()
            .app_data(state.clone())
            .app_data(door.clone())
            .wrap(from_fn(at_the_door))
            .wrap(security_headers())
            .route("/healthz", reading().to(healthz))
            .route("/readyz", reading().to(readyz))
            .route("/metrics", reading().to(scrape))
    })
    .workers(1)
    .max_connections(MAX_CONNECTIONS)
    .client_request_timeout(REQUEST_TIMEOUT)
    .shutdown_timeout(1)
    .disable_signals()
    .bind(admin.listen)?;
    let address = server.addrs().first().copied().unwrap_or(admin.listen);
    actix_rt::spawn(async move {
        loop {
            tokio::time::sleep(UPKEEP).await;
            handle.run_upkeep();
        }
    });
    Ok((server.run(), address))
}

fn reading() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn security_headers() -> DefaultHeaders {
    DefaultHeaders::new()
        .add((header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"))
        .add((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .add((header::X_FRAME_OPTIONS, "DENY"))
        .add((header::REFERRER_POLICY, "no-referrer"))
        .add((header::CACHE_CONTROL, "no-store"))
}

async fn healthz() -> &'static str {
    "ok\n"
}

async fn readyz(state: web::Data<AdminState>) -> HttpResponse {
    match (state.readiness)() {
        Readiness::Consuming => plain(StatusCode::OK, "consuming\n".into()),
        Readiness::NotConsuming(reason) => {
            plain(StatusCode::SERVICE_UNAVAILABLE, format!("not consuming: {reason}\n"))
        }
    }
}

async fn scrape(state: web::Data<AdminState>) -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(state.metrics.render())
}

fn plain(status: StatusCode, text: String) -> HttpResponse {
    HttpResponse::build(status).content_type("text/plain; charset=utf-8").body(text)
}

/// Who may come in.
struct Door {
    hosts: Vec<String>,
    token: Option<Secret>,
}

impl Door {
    fn new(admin: &config::Admin) -> Self {
        let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "[::1]"].map(String::from).into();
        hosts.push(host_of(&admin.listen.to_string()));
        hosts.extend(admin.hosts.iter().map(|host| host_of(host)));
        Self { hosts, token: admin.token.clone() }
    }

    /// Every name by which the request calls this listener is one of its own, and there is one.
    fn is_called_rightly(&self, request: &ServiceRequest) -> bool {
        let in_the_line = request.uri().host().map(host_of);
        let in_headers = request.headers().get_all(header::HOST);
        let mut names =
            in_headers.map(|value| value.to_str().map_or_else(|_| String::new(), host_of));
        let mut called = in_the_line.into_iter().chain(&mut names).peekable();
        called.peek().is_some() && called.all(|name| self.hosts.contains(&name))
    }

    fn has_the_token(&self, request: &ServiceRequest) -> bool {
        let Some(token) = &self.token else { return true };
        let given = request.headers().get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        given
            .and_then(|text| text.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .is_some_and(|(_, given)| {
                token.expose().as_bytes().ct_eq(given.trim().as_bytes()).into()
            })
    }
}

/// The host of `host:port`, in lower case; `[::1]` keeps its brackets.
fn host_of(authority: &str) -> String {
    let end = match authority.find(']') {
        Some(bracket) => bracket + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    authority.get(..end).unwrap_or(authority).to_ascii_lowercase()
}

async fn at_the_door(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, actix_web::Error> {
    let refused = match request.app_data::<web::Data<Door>>() {
        _ if request.path() == "/healthz" => None,
        Some(door) if !door.is_called_rightly(&request) => Some(plain(
            StatusCode::MISDIRECTED_REQUEST,
            "this listener is not called so: add the name to admin.hosts\n".into(),
        )),
        Some(door) if door.has_the_token(&request) => None,
        _ => {
            let mut answer = plain(StatusCode::UNAUTHORIZED, "the admin token is missing\n".into());
            let challenge = header::HeaderValue::from_static("Bearer realm=\"lockgate\"");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
            Some(answer)
        }
    };
    match refused {
        Some(answer) => Ok(request.into_response(answer)),
        None => next.call(request).await.map(ServiceResponse::map_into_boxed_body),
    }
}

#[cfg(test)]
mod tests {
    use super::host_of;

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
}
