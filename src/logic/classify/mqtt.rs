//! Classification of what an MQTT broker answers: CONNACK return codes, the answers of a WebSocket
//! handshake, a publish that is too large.
//!
//! Owns the tables. Refuses to read a library's errors: the transport does that. Read
//! [`super::http`] for the HTTP answers to whole requests.

use crate::domain::delivery::Failure;

/// The failure for a CONNACK with a return code of MQTT 3.1.1 other than 0. `broker` is the
/// endpoint's URL without credentials.
///
/// Codes that the standard does not know are misconfigured too: such a broker speaks another
/// protocol, and no event will pass until somebody looks.
#[must_use]
pub fn connack(code: u8, broker: &str) -> Failure {
    let (reason, words) = match code {
        1 => ("mqtt_protocol_version", "does not speak MQTT 3.1.1"),
        2 => ("mqtt_identifier_rejected", "rejects the client identifier"),
        3 => {
            let detail = format!("{broker} says that its MQTT service is unavailable");
            return Failure::transient("mqtt_server_busy", detail);
        }
        4 => ("mqtt_bad_credentials", "rejects the username or password"),
        5 => ("mqtt_not_authorized", "does not authorise this client"),
        _ => return protocol(broker, &format!("unknown CONNACK return code {code}")),
    };
    Failure::misconfigured(reason, format!("{broker} {words} (CONNACK return code {code})"))
}

/// The failure for a peer that answers something that is no MQTT.
#[must_use]
pub fn protocol(broker: &str, what: &str) -> Failure {
    Failure::misconfigured("mqtt_protocol", format!("{broker} does not answer in MQTT: {what}"))
}

/// The failure for a WebSocket handshake that ended with this HTTP status.
///
/// The handshake knows no event, so a status never condemns one: what is not worth a repeat is
/// misconfigured.
#[must_use]
pub fn handshake(status: u16, broker: &str) -> Failure {
    let detail = format!("{broker} refused the WebSocket handshake with HTTP status {status}");
    let reason = format!("http_{status}");
    match status {
        501 | 505 => Failure::misconfigured(reason, detail),
        408 | 421 | 425 | 429 | 500..=599 => Failure::transient(reason, detail),
        _ => Failure::misconfigured(reason, detail),
    }
}

/// The failure for a WebSocket server that does not take the subprotocol `mqtt`.
#[must_use]
pub fn subprotocol(broker: &str) -> Failure {
    let detail = format!("{broker} does not take the WebSocket subprotocol mqtt");
    Failure::misconfigured("mqtt_subprotocol", detail)
}

/// The failure for a connection that ended before an acknowledgement. Whether the broker has
/// taken the event is not known.
#[must_use]
pub fn lost(broker: &str, cause: &str) -> Failure {
    Failure::transient("connection_lost", format!("the connection to {broker} was lost: {cause}"))
}

/// The failure for a PUBLISH packet of `size` bytes where `limit` are allowed.
#[must_use]
pub fn too_large(size: u64, limit: u64) -> Failure {
    let detail = format!("the MQTT packet has {size} bytes, max_packet_size allows {limit}");
    Failure::permanent("too_large", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Class;

    #[test]
    fn every_connack_return_code_has_its_class_and_reason() {
        let check = |code, class, reason| {
            let failure = connack(code, "mqtt://broker");
            assert_eq!((failure.class, failure.reason.as_str()), (class, reason), "code {code}");
        };
        check(1, Class::Misconfigured, "mqtt_protocol_version");
        check(2, Class::Misconfigured, "mqtt_identifier_rejected");
        check(3, Class::Transient, "mqtt_server_busy");
        check(4, Class::Misconfigured, "mqtt_bad_credentials");
        check(5, Class::Misconfigured, "mqtt_not_authorized");
        check(6, Class::Misconfigured, "mqtt_protocol");
        check(255, Class::Misconfigured, "mqtt_protocol");
    }

    #[test]
    fn a_refused_handshake_never_condemns_an_event() {
        let check = |status, class| {
            assert_eq!(handshake(status, "ws://broker").class, class, "status {status}");
        };
        for status in [200, 301, 400, 401, 403, 404, 405, 407, 410, 426, 501, 505] {
            check(status, Class::Misconfigured);
        }
        for status in [408, 421, 425, 429, 500, 502, 503, 504, 599] {
            check(status, Class::Transient);
        }
    }

    #[test]
    fn too_large_names_both_sizes() {
        let failure = too_large(2_000, 1_024);
        assert_eq!(failure.class, Class::Permanent);
        assert!(failure.detail.contains("2000") && failure.detail.contains("1024"));
    }
}
