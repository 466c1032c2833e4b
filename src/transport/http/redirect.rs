//! Where a redirect leads, and what goes along.
//!
//! Owns the contract's rules for redirects. Refuses to send: that is [`super`]. Read
//! [`super::rules`] next.

use awc::http::Uri;
use url::{Origin, Url};

use crate::domain::delivery::Failure;
use crate::logic::secret::redact;

/// Redirects followed in one exchange.
pub const MAX_REDIRECTS: usize = 10;

/// One request of an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hop {
    /// Where it goes: no user part, no fragment.
    pub url: Url,
    /// `true`: the POST with its body. `false`: a GET without one, after a 303.
    pub posts: bool,
    /// It is still at the first origin: what is bound to it may be sent.
    pub at_first_origin: bool,
}

/// What follows from an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It is the last word.
    Final,
    /// One more request.
    Follow(Hop),
    /// It leads where we do not go.
    Refused(Failure),
}

impl Hop {
    /// The first request.
    pub fn first(url: &Url) -> Self {
        Self { url: bare(url.clone()), posts: true, at_first_origin: true }
    }

    /// What follows from an answer with this status and `Location`.
    pub fn next(&self, status: u16, location: Option<&[u8]>) -> Next {
        if !matches!(status, 301 | 302 | 303 | 307 | 308) {
            return Next::Final;
        }
        let text = location.and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim);
        let target = text.filter(|text| !text.is_empty());
        let Some(url) = target.and_then(|text| self.url.join(text).ok()).map(bare) else {
            return Next::Final;
        };
        if let Some(why) = self.refusal(&url) {
            let detail = format!("{status} from {} refused: {why}", redact(&self.url));
            return Next::Refused(Failure::misconfigured("redirect_refused", detail));
        }
        if uri(&url).is_none() {
            return Next::Final;
        }
        let same = same_origin(&self.url, &url);
        Next::Follow(Self {
            posts: self.posts && status != 303,
            at_first_origin: self.at_first_origin && same,
            url,
        })
    }

    fn refusal(&self, to: &Url) -> Option<String> {
        match (self.url.scheme(), to.scheme()) {
            ("https", "http") => Some(format!("from https to http at {}", redact(to))),
            (_, "http" | "https") => None,
            (_, other) => Some(format!("it leads to a {other} address")),
        }
    }
}

/// The failure for an exchange with more than [`MAX_REDIRECTS`].
pub(super) fn too_many(first: &Url, last: &Url) -> Failure {
    let detail = format!(
        "POST {}: more than {MAX_REDIRECTS} redirects, the last one to {}: configure the place \
         they should lead to",
        redact(first),
        redact(last)
    );
    Failure::misconfigured("redirect_loop", detail)
}

/// Whether scheme, host and port are the same.
fn same_origin(one: &Url, other: &Url) -> bool {
    match (one.origin(), other.origin()) {
        (Origin::Opaque(_), _) | (_, Origin::Opaque(_)) => false,
        (one, other) => one == other,
    }
}

/// Without user part and fragment, neither of which is ever sent.
fn bare(mut url: Url) -> Url {
    // Both fail only for URLs that cannot have a user part at all.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url
}

/// The address as awc gets it: always `http`, as TLS is ours, and always with its port.
pub(super) fn uri(url: &Url) -> Option<Uri> {
    let (host, port) = (url.host_str()?, url.port_or_known_default()?);
    let path = url.path();
    let text = match url.query() {
        Some(query) => format!("http://{host}:{port}{path}?{query}"),
        None => format!("http://{host}:{port}{path}"),
    };
    text.parse().ok()
}

/// The value of `Host`: with a port where it is not the scheme's own.
pub(super) fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hop(url: &str) -> Hop {
        Hop::first(&url.parse().unwrap())
    }

    fn follow(from: &Hop, status: u16, location: &str) -> Hop {
        match from.next(status, Some(location.as_bytes())) {
            Next::Follow(hop) => hop,
            other => panic!("{status} to {location}: {other:?}"),
        }
    }

    #[test]
    fn a_location_is_resolved_against_the_address_it_came_from() {
        let from = hop("http://h:81/a/b?q=1#part");
        for (location, expected) in [
            ("/c", "http://h:81/c"),
            ("c", "http://h:81/a/c"),
            ("?x=2", "http://h:81/a/b?x=2"),
            ("//other/c", "http://other/c"),
            (" https://user:pass@other/c#x ", "https://other/c"),
        ] {
            assert_eq!(follow(&from, 307, location).url.as_str(), expected);
        }
    }

    #[test]
    fn a_3xx_that_leads_nowhere_is_the_last_word() {
        let from = hop("http://h/a");
        for status in [300, 304, 305, 306, 200, 404] {
            assert_eq!(from.next(status, Some(b"/b")), Next::Final, "{status}");
        }
        for location in [None, Some(&b""[..]), Some(&b"http://["[..]), Some(&b"\xff"[..])] {
            assert_eq!(from.next(302, location), Next::Final, "{location:?}");
        }
    }

    #[test]
    fn what_is_bound_to_the_first_origin_stays_away_once_it_was_left() {
        let first = hop("http://h/a");
        assert!(follow(&first, 302, "http://h:80/b").at_first_origin);
        for other in ["https://h/b", "http://h:81/b", "http://x.h/b"] {
            assert!(!follow(&first, 302, other).at_first_origin, "{other}");
        }
        let away = follow(&first, 302, "http://h:81/b");
        let back = follow(&away, 302, "http://h/c");
        assert!(!back.at_first_origin);
    }

    #[test]
    fn after_a_303_it_stays_a_get() {
        let get = follow(&hop("http://h/a"), 303, "/b");
        assert!(!get.posts);
        assert!(!follow(&get, 307, "/c").posts);
    }

    #[test]
    fn from_https_to_http_and_to_other_schemes_is_refused_without_showing_the_query() {
        for (from, to) in [
            ("https://h/a?token=1", "http://h/b?token=2"),
            ("http://h/a?token=1", "ftp://h/b?token=2"),
            ("http://h/a?token=1", "javascript:token"),
        ] {
            match hop(from).next(307, Some(to.as_bytes())) {
                Next::Refused(failure) => {
                    assert_eq!(failure.reason, "redirect_refused");
                    assert!(!failure.detail.contains("token"), "{}", failure.detail);
                }
                other => panic!("{to}: {other:?}"),
            }
        }
    }

    #[test]
    fn awc_gets_an_address_with_its_port_and_the_host_header_one_without_the_usual_port() {
        for (url, address, host_header) in [
            ("https://h/a?b=c", "http://h:443/a?b=c", "h"),
            ("http://h", "http://h:80/", "h"),
            ("http://h:443/", "http://h:443/", "h:443"),
            ("http://[::1]:8080/x", "http://[::1]:8080/x", "[::1]:8080"),
        ] {
            let url: Url = url.parse().unwrap();
            assert_eq!(uri(&url).map(|u| u.to_string()).as_deref(), Some(address));
            assert_eq!(host(&url), host_header);
        }
    }
}
