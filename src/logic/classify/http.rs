//! Classification of HTTP answers: what a status means for the event.
//!
//! Owns the table of the contract. Refuses to see a connection or a header: what never became an
//! answer is judged in [`super`], and following redirects is [`crate::transport::http`]. Read
//! [`super::mqtt`] next.

use std::time::Duration;

use crate::domain::delivery::{Class, Failure};
use crate::logic::remedy::status_remedy;

/// What a final status means; `None` is success (2xx).
///
/// A 3xx is final when it is not followed: every one of a webhook, and one of a REST endpoint
/// that names no place to go. A 1xx is never final, so as the last word it is no answer at all.
#[must_use]
pub fn class(status: u16) -> Option<Class> {
    match status {
        200..=299 => None,
        300..=399 | 401 | 403 | 404 | 405 | 407 | 410 | 501 | 505 => Some(Class::Misconfigured),
        408 | 421 | 425 | 429 => Some(Class::Transient),
        400..=499 => Some(Class::Permanent),
        _ => Some(Class::Transient),
    }
}

/// The failure that a final status is; `None` is success (2xx).
///
/// `what` names the step: `POST https://host/path`. `retry_after` is what the answer asked for; it
/// is kept for transient failures alone.
#[must_use]
pub fn failure(status: u16, what: &str, retry_after: Option<Duration>) -> Option<Failure> {
    let class = class(status)?;
    let detail = match told(status) {
        Some(remedy) => format!("{what}: answered {status}: {remedy}"),
        None => format!("{what}: answered {status}"),
    };
    let mut failure = Failure::new(class, format!("http_{status}"), detail);
    failure.retry_after = retry_after.filter(|_| class == Class::Transient);
    Some(failure)
}

/// The remedy of a status that says something of its own.
fn told(status: u16) -> Option<&'static str> {
    let telling = matches!(
        status,
        100..=401 | 403..=405 | 407 | 410 | 413 | 415 | 422 | 429 | 431 | 501 | 505
    );
    telling.then(|| status_remedy(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_the_class_of_the_contract() {
        let transient = [408, 421, 425, 429];
        let misconfigured = [401, 403, 404, 405, 407, 410, 501, 505];
        for status in 100..=599_u16 {
            let expected = match status {
                100..=199 => Some(Class::Transient),
                200..=299 => None,
                300..=399 => Some(Class::Misconfigured),
                _ if misconfigured.contains(&status) => Some(Class::Misconfigured),
                _ if status >= 500 || transient.contains(&status) => Some(Class::Transient),
                _ => Some(Class::Permanent),
            };
            assert_eq!(class(status), expected, "{status}");
            let failure = failure(status, "POST http://h/", None);
            assert_eq!(failure.as_ref().map(|f| f.class), expected, "{status}");
            if let Some(failure) = failure {
                assert_eq!(failure.reason, format!("http_{status}"));
                assert!(failure.detail.contains(&status.to_string()), "{}", failure.detail);
            }
        }
    }

    #[test]
    fn the_statuses_that_the_contract_names_as_permanent_are() {
        for status in [400, 406, 409, 411, 413, 414, 415, 422, 431, 402, 418, 451, 499] {
            assert_eq!(class(status), Some(Class::Permanent), "{status}");
        }
    }

    #[test]
    fn a_status_outside_the_known_hundreds_is_tried_again() {
        for status in [600, 999] {
            assert_eq!(class(status), Some(Class::Transient), "{status}");
        }
    }

    #[test]
    fn a_wish_to_wait_counts_for_transient_statuses_alone() {
        let wish = Some(Duration::from_secs(7));
        for (status, kept) in [(429, wish), (503, wish), (500, wish), (401, None), (400, None)] {
            let failure = failure(status, "POST http://h/", wish);
            assert_eq!(failure.and_then(|f| f.retry_after), kept, "{status}");
        }
    }
}
