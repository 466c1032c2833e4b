//! A publisher over HTTP: one exchange an event, with the headers that its transport makes.
//!
//! Owns what [`crate::transport::rest`] and [`crate::transport::webhook`] do alike when they
//! publish. Refuses to know a header. Read [`crate::transport::rest`] next.

use std::rc::Rc;

use futures_util::future::{LocalBoxFuture, ready};

use super::{Exchange, Header, Terms};
use crate::domain::delivery::{Outcome, Outgoing};
use crate::transport::{BuildError, Complaint, Publisher};

struct Poster<H> {
    exchange: Exchange,
    headers: H,
}

impl<H: Fn(&Outgoing) -> Vec<Header> + 'static> Publisher for Poster<H> {
    fn publish(self: Rc<Self>, outgoing: Rc<Outgoing>) -> LocalBoxFuture<'static, Outcome> {
        Box::pin(async move {
            let headers = (self.headers)(&outgoing);
            self.exchange.deliver(&headers, &outgoing.body).await
        })
    }

    fn close(self: Rc<Self>) -> LocalBoxFuture<'static, ()> {
        // HTTP has no goodbye: idle connections close when the client is dropped.
        Box::pin(ready(()))
    }
}

/// A publisher on these terms; `headers` makes those of one attempt.
///
/// # Errors
/// When there are complaints about the settings, or what they name cannot be loaded.
pub(in crate::transport) fn publisher(
    complaints: Vec<Complaint>,
    terms: &Terms<'_>,
    headers: impl Fn(&Outgoing) -> Vec<Header> + 'static,
) -> Result<Rc<dyn Publisher>, BuildError> {
    if let Some((key, message, _)) = complaints.into_iter().next() {
        return Err(BuildError(format!("{key}: {message}")));
    }
    Ok(Rc::new(Poster { exchange: Exchange::new(terms)?, headers }))
}
