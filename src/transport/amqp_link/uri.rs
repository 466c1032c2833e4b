//! URLs of RabbitMQ servers, read as the AMQP URI specification says.
//!
//! Owns the parts of such a URL and what may be wrong with them. Refuses to connect. Read
//! [`super::lanes`] next.

use std::time::Duration;

use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// Who logs in where RabbitMQ's URL names nobody.
const GUEST: &str = "guest";

/// A URL that is no address of a RabbitMQ: what is wrong, and what to do. Holds nothing of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UriProblem {
    /// What is wrong.
    pub message: &'static str,
    /// What to do.
    pub hint: &'static str,
}

const fn problem(message: &'static str, hint: &'static str) -> UriProblem {
    UriProblem { message, hint }
}

/// The text of a URL with its scheme: `amqps` unless one is written out.
#[must_use]
pub fn with_scheme(text: &str) -> String {
    if text.contains("://") { text.to_owned() } else { format!("amqps://{text}") }
}

/// The parts of a URL. `username` and `password`, where given, stand for those in the URL;
/// `heartbeat` counts where the URL has none.
///
/// # Errors
/// When it is no `amqp://` or `amqps://` URL that RabbitMQ understands.
pub fn parse(
    url: &Url,
    username: Option<&str>,
    password: Option<&str>,
    heartbeat: Duration,
) -> Result<AMQPUri, UriProblem> {
    let scheme = match url.scheme() {
        "amqp" => AMQPScheme::AMQP,
        "amqps" => AMQPScheme::AMQPS,
        _ => return Err(problem("the scheme is unknown", "write amqps://host or amqp://host")),
    };
    let bad_host = problem("the host is missing or unreadable", "write amqps://host/vhost");
    let host = match url.host().ok_or(bad_host)? {
        Host::Domain(name) => decode(name).filter(|name| !name.is_empty()).ok_or(bad_host)?,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    if url.fragment().is_some() {
        return Err(problem("a fragment (`#…`) has no meaning here", "write `#` as %23"));
    }
    let bad_user = problem("user or password are not UTF-8", "percent-encode them as UTF-8");
    let own = |given: Option<&str>, written: &str| match given {
        Some(text) => Some(text.to_owned()),
        None if written.is_empty() => Some(GUEST.to_owned()),
        None => decode(written),
    };
    let userinfo = AMQPUserInfo {
        username: own(username, url.username()).ok_or(bad_user)?,
        password: own(password, url.password().unwrap_or_default()).ok_or(bad_user)?,
    };
    let port = url.port().unwrap_or_else(|| scheme.default_port());
    let authority = AMQPAuthority { userinfo, host, port };
    Ok(AMQPUri { scheme, authority, vhost: vhost(url)?, query: query(url, heartbeat)? })
}

fn decode(text: &str) -> Option<String> {
    percent_decode_str(text).decode_utf8().ok().map(Into::into)
}

/// No path is the virtual host `/`; a path of `/` alone would be one with an empty name.
fn vhost(url: &Url) -> Result<String, UriProblem> {
    let hint = "leave the path out for the default virtual host, or write it as /%2f";
    let Some(path) = url.path().strip_prefix('/') else { return Ok("/".into()) };
    match decode(path) {
        Some(name) if name.is_empty() => Err(problem("the virtual host has no name", hint)),
        Some(name) if name.len() > 255 => Err(problem("the virtual host is too long", hint)),
        Some(name) => Ok(name),
        None => Err(problem("the virtual host is not UTF-8", hint)),
    }
}

fn query(url: &Url, heartbeat: Duration) -> Result<AMQPQueryString, UriProblem> {
    let own = u16::try_from(heartbeat.as_secs().max(1)).unwrap_or(u16::MAX);
    let mut query = AMQPQueryString { heartbeat: Some(own), ..AMQPQueryString::default() };
    let bad = problem("a parameter of the URL is no number", "see the AMQP URI specification");
    for (key, value) in url.query_pairs() {
        match key.as_ref() {
            "heartbeat" => query.heartbeat = Some(value.parse().map_err(|_| bad)?),
            "channel_max" => query.channel_max = Some(value.parse().map_err(|_| bad)?),
            "frame_max" => query.frame_max = Some(value.parse().map_err(|_| bad)?),
            _ => {
                let hint = "known are heartbeat, channel_max and frame_max";
                return Err(problem("a parameter of the URL is unknown", hint));
            }
        }
    }
    Ok(query)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AMQPUri, UriProblem> {
        parse(&Url::parse(&with_scheme(text)).unwrap(), None, None, Duration::from_secs(10))
    }

    #[test]
    fn a_url_is_read_as_the_specification_says() {
        for (text, scheme, host, port, vhost, user) in [
            ("amqp://h", "amqp", "h", 5672, "/", "guest:guest"),
            ("h", "amqps", "h", 5671, "/", "guest:guest"),
            ("h/v", "amqps", "h", 5671, "v", "guest:guest"),
            ("h:7/v", "amqps", "h", 7, "v", "guest:guest"),
            ("user:pass@h/%2f", "amqps", "h", 5671, "/", "user:pass"),
            ("amqp://us%40er:p%3Ass@h:9/a%2fb", "amqp", "h", 9, "a/b", "us@er:p:ss"),
            ("amqps://u@127.0.0.1/x%20y", "amqps", "127.0.0.1", 5671, "x y", "u:guest"),
            ("amqp://[::1]:5", "amqp", "::1", 5, "/", "guest:guest"),
        ] {
            let uri = read(text).unwrap();
            let AMQPUserInfo { username, password } = &uri.authority.userinfo;
            let found = (uri.scheme.to_string(), uri.authority.host.clone(), uri.authority.port);
            assert_eq!(found, (scheme.to_owned(), host.to_owned(), port), "{text}");
            assert_eq!(
                (uri.vhost.as_str(), format!("{username}:{password}")),
                (vhost, user.into())
            );
        }
    }

    #[test]
    fn what_is_given_apart_stands_for_the_user_part() {
        let url = Url::parse("amqp://h").unwrap();
        let uri = parse(&url, Some("a"), Some(""), Duration::from_secs(30)).unwrap();
        assert_eq!(uri.authority.userinfo.username, "a");
        assert_eq!(uri.authority.userinfo.password, "");
        assert_eq!(uri.query.heartbeat, Some(30));
    }

    #[test]
    fn what_rabbitmq_would_not_understand_is_refused_without_repeating_it() {
        for text in [
            "http://h",
            "amqp://",
            "amqp:///v",
            "amqp://h/",
            "amqp://h/%ff",
            "amqp://%ff:secret@h",
            "amqp://h/v#x",
            "amqp://h?heartbeat=often",
            "amqp://h?colour=red",
        ] {
            let found = read(text);
            assert!(found.is_err(), "{text}");
            assert!(!format!("{found:?}").contains("secret"));
        }
    }
}
