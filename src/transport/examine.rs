//! Examining a peer: the way to it step by step, each timed, until one fails.
//!
//! Owns the chain of steps, and those that all peers share: DNS, TCP, TLS, a test event. What is
//! peculiar to a protocol stands in its transport. Every failure is what a delivery would meet: the
//! steps are those of [`super::way`] and the transports, the words those of
//! [`crate::logic::classify`]. Refuses to send anything unasked. Read [`super::mqtt`] next.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use futures_util::FutureExt as _;
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::tls::{self, TlsSettings};
use super::{BuildError, Instance, Transport, render, way};
use crate::domain::delivery::{Failure, Outcome};
use crate::domain::event::Event;
use crate::domain::names::Name;
use crate::logic::body::{BodyForm, Rendering};
use crate::logic::classify;
use crate::logic::diagnosis::{Finding, Seen, Step, Told};
use crate::logic::remedy::remedy;
use crate::world;

/// Why a step is not made when one before it failed.
const EARLIER: &str = "an earlier step failed";

/// A connection as far as it came.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What a step hands to the next one, and what it came to. `Err` ends the chain.
pub(crate) type Made<T> = Result<(T, Finding), Finding>;

/// The steps so far.
#[derive(Debug, Default)]
pub(crate) struct Examination {
    steps: Vec<Step>,
}

impl Examination {
    /// Makes one step with what the one before it gave, unless that one failed. `limit` bounds it;
    /// `what` names it for a timeout.
    pub(crate) async fn step<P, T>(
        &mut self,
        name: &'static str,
        before: Option<P>,
        (limit, what): (Duration, &str),
        work: impl AsyncFnOnce(P) -> Made<T>,
    ) -> Option<T> {
        let Some(before) = before else {
            self.steps.push(Step::skipped(name, EARLIER));
            return None;
        };
        let began = Instant::now();
        let made = tokio::time::timeout(limit, work(before))
            .await
            .unwrap_or_else(|_| Err(classify::timeout(what, limit).into()));
        let (value, finding) = match made {
            Ok((value, finding)) => (Some(value), finding),
            Err(finding) => (None, finding),
        };
        self.steps.push(Step::made(name, began.elapsed(), finding));
        value
    }

    /// A step that is not made, and why.
    pub(crate) fn skip(&mut self, name: &'static str, why: &str) {
        self.steps.push(Step::skipped(name, why));
    }

    /// All steps, in order.
    pub(crate) fn into_steps(self) -> Vec<Step> {
        self.steps
    }
}

/// Settings that cannot be used are a failure of the step that needs them.
pub(crate) fn not_prepared(error: &BuildError) -> Finding {
    Failure::misconfigured("not_prepared", error.0.clone()).into()
}

/// Where a way leads.
pub(crate) struct Way<'a> {
    /// A name, or an address without brackets.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// `None` without TLS.
    pub tls: Option<&'a TlsSettings>,
    /// The protocol that is offered in the handshake, if any.
    pub alpn: Option<&'static [u8]>,
    /// Bounds each step.
    pub limit: Duration,
    /// The peer for people: its URL without secrets.
    pub target: &'a str,
}

/// DNS, TCP and, where it is spoken, TLS.
pub(crate) async fn walk(exam: &mut Examination, to: &Way<'_>) -> Option<Box<dyn Stream>> {
    let what = format!("connect to {}", to.target);
    let bound = (to.limit, what.as_str());
    let addresses = exam.step("dns", Some(()), bound, async |()| resolve(to).await).await;
    let tcp = exam.step("tcp", addresses, bound, async |found| reach(to, found, &what).await).await;
    let Some(settings) = to.tls else { return tcp.map(|tcp| Box::new(tcp) as Box<dyn Stream>) };
    exam.step("tls", tcp, bound, async |tcp| secure(to, settings, tcp, &what).await).await
}

async fn resolve(to: &Way<'_>) -> Made<Vec<SocketAddr>> {
    let found = way::lookup(to.host, to.port).await;
    let addresses = found.map_err(|cause| classify::lookup(&cause, to.host))?;
    if addresses.is_empty() {
        return Err(classify::dns(to.host).into());
    }
    let shown: Vec<String> = addresses.iter().map(|address| address.ip().to_string()).collect();
    Ok((addresses, Finding::ok(vec![("addresses", shown.join(", "))])))
}

async fn reach(to: &Way<'_>, addresses: Vec<SocketAddr>, what: &str) -> Made<TcpStream> {
    let done = way::reach(&addresses, to.limit).await;
    let tcp = done.map_err(|cause| classify::io(cause.kind(), what))?;
    let seen = tcp.peer_addr().map(|address| vec![("address", address.to_string())]);
    Ok((tcp, Finding::ok(seen.unwrap_or_default())))
}

async fn secure(
    to: &Way<'_>,
    settings: &TlsSettings,
    tcp: TcpStream,
    what: &str,
) -> Made<Box<dyn Stream>> {
    let (config, witness) = tls::watched(settings).map_err(|error| not_prepared(&error))?;
    let mut config = (*config).clone();
    config.alpn_protocols = to.alpn.map(<[u8]>::to_vec).into_iter().collect();
    let done = way::secure(config.into(), to.host, tcp).await;
    let now = world::now();
    let certificate = witness.certificate();
    let mut seen = certificate.as_ref().map(|leaf| leaf.seen(now)).unwrap_or_default();
    let stream = match done {
        Ok(stream) => stream,
        Err(cause) => return Err(Finding::Failed { seen, told: unverified(&cause, to, what) }),
    };
    if let Some(version) = stream.get_ref().1.protocol_version() {
        seen.insert(0, ("version", name_of(version)));
    }
    let finding = if settings.verify {
        match certificate.and_then(|leaf| leaf.warning(now)) {
            Some(told) => Finding::Warning { seen, told },
            None => Finding::ok(seen),
        }
    } else {
        let told = Told::new("tls_not_verified", "tls.verify = false: whoever answers is believed");
        Finding::Warning { seen, told }
    };
    Ok((Box::new(stream), finding))
}

fn unverified(cause: &io::Error, to: &Way<'_>, what: &str) -> Told {
    match tls::inside(cause) {
        Some(error) => {
            let advice = tls::trouble(error).and_then(remedy).map(str::to_owned);
            Told { remedy: advice, ..tls::failure(error, what).into() }
        }
        None if cause.kind() == io::ErrorKind::InvalidInput => {
            classify::tls(&format!("{} is no name that a certificate can have", to.host)).into()
        }
        None => classify::io(cause.kind(), what).into(),
    }
}

fn name_of(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_3 => "TLS 1.3".into(),
        ProtocolVersion::TLSv1_2 => "TLS 1.2".into(),
        other => format!("{other:?}"),
    }
}

/// How an endpoint renders what it sends.
#[derive(Clone, Copy, Debug)]
pub struct Addressee<'a> {
    /// The endpoint.
    pub name: &'a Name,
    /// Its body's form, where it names one.
    pub form: Option<BodyForm>,
    /// This process.
    pub instance: &'a Instance,
}

/// What is sent to an endpoint that is examined.
#[derive(Debug)]
pub enum Sending<'a> {
    /// This event, once.
    Event(&'a Event),
    /// Nothing, for this reason.
    Nothing(&'a str),
}

/// Examines an endpoint: the way to it, its login and, where asked for, one event through its own
/// publisher. Bounded by the endpoint's own timeouts, each step by itself.
pub async fn examine(transport: &Transport, to: Addressee<'_>, sending: Sending<'_>) -> Vec<Step> {
    let mut exam = Examination::default();
    let sends = matches!(sending, Sending::Event(_));
    let (name, instance) = (to.name, to.instance);
    let ready = match transport {
        Transport::Mqtt(settings) => settings.examine(&mut exam, name, instance, sends).await,
        Transport::Rest(settings) => settings.examine(&mut exam).await,
        Transport::Webhook(settings) => settings.examine(&mut exam).await,
        Transport::Amqp(settings) => settings.examine(&mut exam, name, instance).await,
    };
    match sending {
        Sending::Nothing(why) => exam.skip("send", why),
        Sending::Event(event) => {
            // Its publisher has timeouts of its own.
            let bound = (Duration::MAX, "send");
            exam.step("send", ready, bound, async |()| send(transport, to, event).await).await;
        }
    }
    exam.into_steps()
}

async fn send(transport: &Transport, to: Addressee<'_>, event: &Event) -> Made<()> {
    let outgoing = render(transport, to.name, to.form, &Rendering::default(), event)?;
    let publisher =
        transport.publisher(to.name.as_str(), to.instance).map_err(|error| not_prepared(&error))?;
    let publishing = Rc::clone(&publisher).publish(Rc::new(outgoing));
    let outcome = std::panic::AssertUnwindSafe(publishing).catch_unwind().await;
    publisher.close().await;
    let outcome = outcome.unwrap_or_else(|_| {
        Failure::transient("panicked", "the attempt panicked: a fault of lockgate").into()
    });
    let mut seen: Seen = vec![("event_id", event.id.clone()), ("event", event.name())];
    match outcome {
        Outcome::Failed(failure) => Err(Finding::Failed { seen, told: failure.into() }),
        Outcome::Delivered { status: None } => Ok(((), Finding::ok(seen))),
        Outcome::Delivered { status: Some(status) } => {
            seen.push(("status", status.to_string()));
            accepted(status, &transport.target(), seen)
        }
    }
}

/// An answer that counts as delivered. With `non_2xx = "accept"` that is any answer; but where no
/// event gets in at all, nobody wants to hear that all is well.
fn accepted(status: u16, target: &str, seen: Seen) -> Made<()> {
    use crate::domain::delivery::Class::{Misconfigured, Permanent, Transient};
    let Some(failure) = classify::http::failure(status, &format!("POST {target}"), None) else {
        return Ok(((), Finding::ok(seen)));
    };
    let class = failure.class;
    let mut told = Told::from(failure);
    told.detail += " (it counts as delivered: non_2xx = \"accept\")";
    match class {
        Misconfigured => Err(Finding::Failed { seen, told }),
        Permanent | Transient => Ok(((), Finding::Warning { seen, told })),
    }
}
