//! Examining a RabbitMQ: the way to it, the login, the virtual host.
//!
//! Owns what the bus and amqp endpoints have in common. The login is made on a connection of its own,
//! by [`super::dial`], as every link is. Refuses to declare, publish or consume. Read
//! [`crate::bus::rabbitmq`] next.

use super::{Link, LinkError, LinkSettings};
use crate::logic::diagnosis::{Finding, Seen};
use crate::transport::examine::{Examination, Way, walk};
use crate::transport::tls::TlsSettings;

/// Examines the server; gives the open link when something could follow. `tls` is what
/// `settings.tls` was made of; `target` the URL without secrets.
pub(crate) async fn examine(
    exam: &mut Examination,
    settings: &LinkSettings,
    tls: &TlsSettings,
    target: &str,
) -> Option<Link> {
    let authority = &settings.uri.authority;
    let way = Way {
        host: &authority.host,
        port: authority.port,
        tls: settings.tls.is_some().then_some(tls),
        alpn: None,
        limit: settings.timeout,
        target,
    };
    let stream = walk(exam, &way).await;
    let what = format!("log in at {target}");
    // A link bounds itself; its own words are the better ones.
    let bound = (settings.timeout.saturating_mul(2), what.as_str());
    let login = async |_| match Link::open(settings).await {
        Ok(link) => Ok((Ok(link), Finding::ok(Seen::new()))),
        // Only who is known is told about the virtual host.
        Err(error) if of_vhost(&error) => Ok((Err(error), Finding::ok(Seen::new()))),
        Err(error) => Err(error.failure(&what).into()),
    };
    let logged_in = exam.step("login", stream, bound, login).await;
    let vhost = async |found: Result<Link, LinkError>| {
        let link = found.map_err(|error| error.failure(&what))?;
        Ok((link, Finding::ok(vec![("vhost", settings.uri.vhost.clone())])))
    };
    exam.step("vhost", logged_in, bound, vhost).await
}

/// The server knows the user, but not the virtual host, or not the user's right to it.
fn of_vhost(error: &LinkError) -> bool {
    let LinkError::Reply { code, text } = error else { return false };
    let reason = crate::logic::classify::amqp::reply(*code, text).reason;
    matches!(reason.as_str(), "vhost_missing" | "not_allowed")
}
