//! The library's errors, read as failures of an attempt.
//!
//! Owns knowledge of which library error means what. Refuses the tables themselves, which are in
//! [`crate::logic::classify`]. Read that next.

use std::io;

use async_tungstenite::tungstenite;
use rumqttc::{ConnectionError, StateError, TlsError, mqttbytes};

use crate::domain::delivery::Failure;
use crate::logic::classify::{self, mqtt};
use crate::transport::tls;

/// The failure of a connection that came to no CONNACK. `target` is the endpoint's URL without
/// credentials, `host` the name in it.
pub(super) fn connecting(error: &ConnectionError, target: &str, host: &str) -> Failure {
    match error {
        // Only the lookup and TCP end here. What the operating system said about a socket has a
        // number, what the resolver said has none.
        ConnectionError::Io(cause) if cause.raw_os_error().is_none() => {
            classify::lookup(cause, host)
        }
        ConnectionError::Io(cause) | ConnectionError::Tls(TlsError::Io(cause)) => {
            io_or_tls(cause, target)
        }
        ConnectionError::Tls(TlsError::TLS(cause)) => tls::failure(cause, target),
        ConnectionError::Tls(TlsError::DNSName(_)) => {
            classify::tls(&format!("{host} is no name that a certificate can have"))
        }
        ConnectionError::Tls(cause) => classify::tls(&cause.to_string()),
        ConnectionError::Websocket(cause) => websocket(cause, target, host),
        ConnectionError::ResponseValidation(_) => mqtt::subprotocol(target),
        ConnectionError::ConnectionRefused(code) => mqtt::connack(*code as u8, target),
        ConnectionError::NotConnAck(_) => mqtt::protocol(target, "another packet than CONNACK"),
        ConnectionError::MqttState(cause) => before_connack(cause, target),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => {
            Failure::transient("timeout", format!("connect to {target}: no answer in time"))
        }
        ConnectionError::RequestsDone => mqtt::lost(target, "closed by lockgate"),
        ConnectionError::WsConnect(_) | ConnectionError::InvalidUrl(_) => {
            Failure::misconfigured("url", format!("{target} is no URL for a WebSocket"))
        }
    }
}

/// The failure of what was under way when an established connection ended.
pub(super) fn connected(error: &ConnectionError, target: &str) -> Failure {
    let cause = match error {
        ConnectionError::MqttState(StateError::ConnectionAborted) => {
            "closed by the broker".to_owned()
        }
        ConnectionError::MqttState(StateError::AwaitPingResp) => "no answer to a ping".to_owned(),
        ConnectionError::MqttState(
            StateError::Deserialization(mqttbytes::Error::Io(cause)) | StateError::Io(cause),
        )
        | ConnectionError::Io(cause) => io_words(cause),
        other => other.to_string(),
    };
    mqtt::lost(target, &cause)
}

fn before_connack(cause: &StateError, target: &str) -> Failure {
    match cause {
        StateError::Deserialization(mqttbytes::Error::InvalidConnectReturnCode(code)) => {
            mqtt::connack(*code, target)
        }
        StateError::Io(cause) | StateError::Deserialization(mqttbytes::Error::Io(cause)) => {
            io_or_tls(cause, target)
        }
        StateError::Deserialization(cause) => mqtt::protocol(target, &cause.to_string()),
        _ => mqtt::lost(target, "closed before CONNACK"),
    }
}

/// The failure of a WebSocket handshake.
pub(super) fn websocket(error: &tungstenite::Error, target: &str, host: &str) -> Failure {
    match error {
        tungstenite::Error::Http(answer) => mqtt::handshake(answer.status().as_u16(), target),
        tungstenite::Error::Io(cause) => io_or_tls(cause, target),
        tungstenite::Error::Tls(tungstenite::error::TlsError::InvalidDnsName) => {
            classify::tls(&format!("{host} is no name that a certificate can have"))
        }
        tungstenite::Error::Tls(cause) => classify::tls(&cause.to_string()),
        tungstenite::Error::ConnectionClosed
        | tungstenite::Error::AlreadyClosed
        | tungstenite::Error::Protocol(tungstenite::error::ProtocolError::HandshakeIncomplete) => {
            mqtt::lost(target, "closed during the WebSocket handshake")
        }
        tungstenite::Error::Protocol(
            tungstenite::error::ProtocolError::SecWebSocketSubProtocolError(_),
        ) => mqtt::subprotocol(target),
        other => mqtt::protocol(target, &other.to_string()),
    }
}

/// An error of the stream. rustls hides its own inside one.
fn io_or_tls(error: &io::Error, target: &str) -> Failure {
    match tls::inside(error) {
        Some(cause) => tls::failure(cause, target),
        // Half a packet, for instance: the kind says nothing, the text does.
        None if error.kind() == io::ErrorKind::Other => mqtt::lost(target, &error.to_string()),
        None => classify::io(error.kind(), &format!("connect to {target}")),
    }
}

fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::Other => error.to_string(),
        kind => kind.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::domain::delivery::Class;

    #[track_caller]
    fn check(error: &ConnectionError, class: Class, reason: &str) -> Failure {
        let failure = connecting(error, "mqtts://broker", "broker");
        let found = (failure.class, failure.reason.as_str());
        assert_eq!(found, (class, reason), "{error:?}: {}", failure.detail);
        failure
    }

    fn unverified(error: rustls::CertificateError) -> io::Error {
        io::Error::new(ErrorKind::InvalidData, rustls::Error::InvalidCertificate(error))
    }

    #[test]
    fn sockets_and_names_are_told_apart() {
        let refused = io::Error::from_raw_os_error(111);
        check(&ConnectionError::Io(refused), Class::Transient, "connection_refused");
        let unknown = "failed to lookup address information: Name or service not known";
        check(&ConnectionError::Io(io::Error::other(unknown)), Class::Misconfigured, "dns_unknown");
        let busy = "failed to lookup address information: Temporary failure in name resolution";
        check(&ConnectionError::Io(io::Error::other(busy)), Class::Transient, "dns_unavailable");
    }

    #[test]
    fn certificates_that_do_not_verify_are_misconfigured_and_say_why() {
        use rustls::CertificateError as Bad;
        let table = [
            (Bad::UnknownIssuer, "unknown issuer"),
            (Bad::Expired, "has expired"),
            (Bad::NotValidForName, "another name"),
        ];
        for (bad, words) in table {
            for error in [
                ConnectionError::Tls(TlsError::Io(unverified(bad.clone()))),
                ConnectionError::Websocket(tungstenite::Error::Io(unverified(bad.clone()))),
            ] {
                let failure = check(&error, Class::Misconfigured, "tls_failed");
                assert!(failure.detail.contains(words), "{}", failure.detail);
            }
        }
    }

    #[test]
    fn a_handshake_without_an_answer_is_transient() {
        let closed = io::Error::new(ErrorKind::UnexpectedEof, "tls handshake eof");
        check(&ConnectionError::Tls(TlsError::Io(closed)), Class::Transient, "connection_lost");
        let aborted = ConnectionError::MqttState(StateError::ConnectionAborted);
        check(&aborted, Class::Transient, "connection_lost");
        check(&ConnectionError::NetworkTimeout, Class::Transient, "timeout");
    }

    #[test]
    fn answers_that_are_no_mqtt_are_misconfigured() {
        let garbage = StateError::Deserialization(mqttbytes::Error::InvalidPacketType(0));
        check(&ConnectionError::MqttState(garbage), Class::Misconfigured, "mqtt_protocol");
        let code = StateError::Deserialization(mqttbytes::Error::InvalidConnectReturnCode(7));
        check(&ConnectionError::MqttState(code), Class::Misconfigured, "mqtt_protocol");
    }
}
