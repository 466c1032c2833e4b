//! Examining a broker: the way to it, the WebSocket where there is one, the login.
//!
//! Owns what is peculiar to MQTT. The WebSocket's handshake is made once on the examined connection,
//! as the library makes it; the login on one of its own, by [`super::dial`], as every delivery makes
//! it. Publishes nothing. Read [`crate::transport::amqp_link`] next.

use async_tungstenite::tokio::client_async;
use async_tungstenite::tungstenite::client::IntoClientRequest as _;
use async_tungstenite::tungstenite::http::HeaderValue;
use tokio::time::timeout;

use super::dial::{Dialer, Scheme};
use super::{Settings, failure, per_event};
use crate::domain::names::Name;
use crate::logic::classify;
use crate::logic::diagnosis::{Finding, Seen};
use crate::transport::Instance;
use crate::transport::examine::{Examination, Made, Stream, Way, not_prepared, walk};

/// The subprotocol's header.
const SUBPROTOCOL: &str = "Sec-WebSocket-Protocol";

impl Settings {
    /// Examines the broker; gives something when a publish could follow. A login with an exact
    /// client identifier ends the connection of whoever has it: it is made for a publish alone.
    pub(in crate::transport) async fn examine(
        &self,
        exam: &mut Examination,
        endpoint: &Name,
        instance: &Instance,
        sending: bool,
    ) -> Option<()> {
        let bound = (self.connect_timeout, "connect");
        let dialer = match Dialer::new(self, endpoint.as_str(), instance) {
            Ok(dialer) => dialer,
            Err(error) => {
                let refused = async |()| Err(not_prepared(&error));
                return exam.step("prepare", Some(()), bound, refused).await;
            }
        };
        let place = &dialer.place;
        let encrypted = matches!(place.scheme, Scheme::Tls | Scheme::WebSocketTls);
        let upgraded = matches!(place.scheme, Scheme::WebSocket | Scheme::WebSocketTls);
        let way = Way {
            host: &place.host,
            port: place.port,
            tls: encrypted.then_some(&self.tls),
            alpn: None,
            limit: self.connect_timeout,
            target: &dialer.target,
        };
        let stream = walk(exam, &way).await;
        let what = format!("connect to {}", dialer.target);
        let bound = (self.connect_timeout, what.as_str());
        let ready = if upgraded {
            exam.step("websocket", stream, bound, async |stream| upgrade(&dialer, stream).await)
                .await
        } else {
            // Before the login, which makes a connection of its own: some brokers allow but one.
            stream.map(drop)
        };
        if self.client_id_exact && !sending && ready.is_some() {
            let why = "a login with an exact client_id would end the connection of a bridge that \
                       runs: made with --send only";
            exam.skip("login", why);
            return ready;
        }
        exam.step("login", ready, bound, async |()| login(&dialer).await).await
    }
}

async fn upgrade(dialer: &Dialer, stream: Box<dyn Stream>) -> Made<()> {
    let (target, host) = (&dialer.target, &dialer.place.host);
    let wrong = |error| Finding::from(failure::websocket(&error, target, host));
    let mut request = dialer.place.address.as_str().into_client_request().map_err(wrong)?;
    request.headers_mut().insert(SUBPROTOCOL, HeaderValue::from_static("mqtt"));
    let (_, answer) = client_async(request, stream).await.map_err(wrong)?;
    let agreed = answer.headers().get(SUBPROTOCOL).and_then(|value| value.to_str().ok());
    if agreed.map(str::trim) != Some("mqtt") {
        return Err(classify::mqtt::subprotocol(target).into());
    }
    Ok(((), Finding::ok(vec![("subprotocol", "mqtt".into())])))
}

async fn login(dialer: &Dialer) -> Made<()> {
    let (client, mut events) = dialer.client(1, 1);
    dialer.connect(&mut events).await?;
    let _ = timeout(per_event::GOODBYE, per_event::goodbye(&client, &mut events)).await;
    Ok(((), Finding::ok(Seen::new())))
}
