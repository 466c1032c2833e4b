//! Remedies: what somebody can do about a failure, by the word of its reason.
//!
//! Owns the advice, for `lockgate check --connect` and for whoever shows a last error. Covers every
//! word that [`super::classify`], the transports and the actors produce, which a test holds it to.
//! Refuses to judge: what a failure means for the event is [`super::classify`].

/// What can be done about a failure of this reason, in one sentence that begins in lower case and
/// has no full stop. `None` for a word that nobody produces. Holds nothing of the configuration.
#[must_use]
pub fn remedy(reason: &str) -> Option<&'static str> {
    let number = |prefix| reason.strip_prefix(prefix)?.parse::<u16>().ok();
    [network, certificate, mqtt, rabbitmq, event, ours]
        .into_iter()
        .find_map(|table| table(reason))
        .or_else(|| number("http_").map(status_remedy))
        .or_else(|| {
            number("amqp_").map(|_| "an answer that is in no standard: see the broker's log")
        })
}

/// Names, sockets, and what is no answer.
fn network(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "dns_unknown" => {
            "check the host in the URL for a typing error; if it is right, the name \
                          is not known to the name server that this machine asks"
        }
        "dns_unavailable" => {
            "no name server answered: check this machine's name service \
                              (/etc/resolv.conf) and its network"
        }
        "connection_refused" => {
            "nothing listens there: check the host and the port in the URL, \
                                 and that the server runs; a firewall may refuse too"
        }
        "timeout" => {
            "no answer in time: check the host and the port, firewalls between here and \
                      there, and whether the server is overloaded; a slow one needs a longer timeout"
        }
        "connection_lost" => {
            "the other side, or something between, ended the connection: check \
                              that the port speaks this protocol (with or without TLS), and the \
                              server's log"
        }
        "bad_answer" => {
            "what listens there does not speak HTTP/1.1: check the scheme and the port \
                         in the URL"
        }
        "bad_url" | "url" => "the URL cannot be called: correct it",
        "redirect_refused" => {
            "the endpoint redirects to where events must not go: configure the \
                               place itself as the URL"
        }
        "redirect_loop" => {
            "the endpoint redirects without end: configure the place that the \
                            redirects should lead to as the URL"
        }
        "not_prepared" => {
            "a file that the endpoint's settings name cannot be used: mend it, then reload or restart"
        }
        _ => return None,
    })
}

/// TLS. `tls_failed` is what an attempt meets; the finer words are what the doctor finds in it.
fn certificate(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "tls_failed" => {
            "the certificate must come from an authority that this system or \
                         tls.ca_file trusts, be for the host in the URL, and not have expired"
        }
        "tls_broken" => {
            "the TLS handshake broke off: try again, then ask whoever runs the server \
                         for its log"
        }
        "tls_unknown_issuer" => {
            "name the file with the certificate of its authority in tls.ca_file"
        }
        "tls_wrong_name" => {
            "write the host in the URL as the certificate names it, or have the \
                             certificate issued for this name too"
        }
        "tls_expired" => {
            "whoever runs the server has to renew its certificate; check this \
                          machine's clock too"
        }
        "tls_not_yet_valid" => {
            "check this machine's clock; if it is right, the certificate was \
                                issued for a later time"
        }
        "tls_expires_soon" => "have the certificate renewed before that day",
        "tls_not_spoken" => {
            "the port does not speak TLS: check the port, or write the scheme \
                             without TLS if the partner means it"
        }
        "tls_client_certificate" => {
            "the server wants a client certificate, which lockgate does \
                                     not have: ask for another way to log in"
        }
        "tls_not_verified" => "set tls.verify = true, and name a private authority in tls.ca_file",
        _ => return None,
    })
}

/// What MQTT brokers refuse.
fn mqtt(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "mqtt_protocol_version" => "the broker must take MQTT 3.1.1: ask whoever runs it",
        "mqtt_identifier_rejected" => {
            "set client_id to what the broker allows, with \
                                       client_id_exact = true if it has to be exactly that"
        }
        "mqtt_server_busy" => "the broker's MQTT service is down or full: ask whoever runs it",
        "mqtt_bad_credentials" => "check username and password",
        "mqtt_not_authorized" => {
            "check username and password, and that the broker lets this user \
                                  connect with this client_id"
        }
        "mqtt_protocol" => {
            "what listens there is no MQTT broker: check the scheme, the port and, \
                            for ws and wss, the path in the URL"
        }
        "mqtt_subprotocol" => {
            "the WebSocket server does not offer MQTT at this path: check the \
                               path in the URL"
        }
        _ => return None,
    })
}

/// What a RabbitMQ refuses.
fn rabbitmq(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "amqp_unknown" => "an answer that is in no standard: see the broker's log",
        "access_refused" => {
            "check username and password; if the login succeeds, the user lacks a \
                             permission, which rabbitmqctl set_permissions gives"
        }
        "vhost_missing" => "check the virtual host at the end of the URL, or have it created",
        "not_allowed" => {
            "the user has no permission on this virtual host: rabbitmqctl \
                          set_permissions gives it"
        }
        "exchange_missing" => {
            "whoever runs that RabbitMQ has to create an exchange of that name; \
                               it is the event's type, exactly as written"
        }
        "unroutable" => {
            "whoever runs that RabbitMQ has to bind a queue to the exchange for this \
                         routing key"
        }
        "queue_missing" => {
            "start lockgate with topology = \"declare\", or import what `lockgate \
                            topology` prints"
        }
        "no_dead_letter_exchange" => {
            "RabbitMQ 4 drops what it has delivered 20 times, and every lost connection counts: give \
             the queue a higher x-delivery-limit, or a dead-letter exchange. AMQP does not show the \
             limit, nor what a policy adds: rabbitmqctl list_queues name arguments \
             effective_policy_definition"
        }
        "not_implemented" => {
            "the server does not support what publishing needs (confirms): check \
                              that it is a RabbitMQ"
        }
        "peer_limit" => {
            "the server's limit on connections or channels is reached: have it raised, \
                         or lower max_in_flight"
        }
        "blocked" | "resource_error" => {
            "the server is short of memory or disk: whoever runs it \
                                         has to make room"
        }
        "nack" => {
            "a queue there is full or has lost its majority: whoever runs the server has to \
                   see to it"
        }
        "no_consumers" | "resource_locked" | "connection_forced" | "internal_error" => {
            "it may pass; if it stays, ask whoever runs the server for its log"
        }
        "protocol_error" => {
            "what listens there may be no RabbitMQ, or something between changes \
                             what is sent: check the port"
        }
        "precondition_failed" => "the broker does not take this message as it is: its log says why",
        _ => return None,
    })
}

/// What is wrong with one event.
fn event(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "too_large" => {
            "the event is larger than the partner, or max_packet_size, allows: have \
                        the limit raised, or the event made smaller"
        }
        "unrenderable" => {
            "the event's body cannot be rendered for this endpoint: look at it with \
                           `lockgate dead show`"
        }
        "illegal_topic" => {
            "the event's type, trigger or context makes no legal topic: see with \
                            `lockgate explain`, then correct topic_pattern or the event"
        }
        "illegal_header_value" => {
            "the event's id or name holds a control character: correct \
                                   where the event is made"
        }
        "illegal_property" | "exchange_too_long" | "routing_key_too_long" => {
            "the event's type, trigger, name or id is longer than the 255 bytes that AMQP takes: \
             correct where the event is made"
        }
        "payload_filter" => {
            "the payload filter does not give exactly one object for this event: \
                             try it with `lockgate explain`"
        }
        "no_longer_configured" => {
            "no event configuration sends this event to this endpoint any \
                                   more: add one and replay it, or purge it"
        }
        "delivery_limit" => {
            "RabbitMQ delivered it too often without an acknowledgement: replay \
                             it, and see why instances ended"
        }
        "rejected" | "expired" | "maxlen" => {
            "RabbitMQ itself moved it, by an argument or a policy \
                                              of the queue: remove that, then replay it"
        }
        _ => return None,
    })
}

/// What lockgate did itself.
fn ours(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "panicked" => "a fault of lockgate: report it with the log",
        "abandoned" | "endpoint_restarting" => {
            "a fault of lockgate ended the endpoint's work; it \
                                                goes on by itself; report it with the log"
        }
        "endpoint_behind" => {
            "nothing: the endpoint's own queue is worked off as fast as the \
                              endpoint takes it"
        }
        "endpoint_removed" => {
            "the endpoint is no longer configured, and its queues are kept: configure it again, or \
             empty them"
        }
        "stopping" | "sent_back" | "replayed" => "nothing: it is tried again by itself",
        _ => return None,
    })
}

/// What can be done about an HTTP status that was not expected; a success is one of a WebSocket
/// handshake.
#[must_use]
pub fn status_remedy(status: u16) -> &'static str {
    match status {
        ..200 => "an interim status is no answer",
        200..=299 => {
            "the server answers with a page where MQTT over WebSocket is wanted: check the \
                      path in the URL"
        }
        300..=399 => "a redirect that is not followed: configure the place it leads to",
        400 | 422 => "the endpoint does not accept this body",
        401 => "check the configured credentials",
        403 => "the credentials lack the right to do this",
        404 => "check the path of the configured URL",
        405 | 501 => "the URL does not take POST: check it",
        407 => "a proxy on the way wants credentials",
        410 => "the endpoint is gone: ask the partner for the new URL",
        413 => "the body is too large for the endpoint",
        415 => "the endpoint does not take application/json",
        426 => "the server wants another protocol at this path: check the URL",
        431 => "a header is too large for the endpoint",
        429 => "the endpoint wants fewer requests: a rate_limit may help",
        505 => "the endpoint does not speak HTTP/1.1",
        408 | 425 | 421 | 500 | 502..=504 | 506..=599 => {
            "a fault on the endpoint's side: it may pass; if it stays, ask the partner"
        }
        402 | 406 | 409 | 411 | 412 | 414 | 416..=420 | 423 | 424 | 427 | 428 | 430 | 432..=499 => {
            "the endpoint does not accept this event: ask the partner why"
        }
        600.. => "no status of HTTP: check what listens at the URL",
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::{ConnectionRefused, Other, TimedOut};

    use super::*;
    use crate::logic::classify;

    /// What the parts above the tables produce; `tests/remedies` finds every one in the source.
    const WORDS: [&str; 34] = [
        "endpoint_removed",
        "queue_missing",
        "no_dead_letter_exchange",
        "tls_broken",
        "url",
        "bad_url",
        "bad_answer",
        "redirect_refused",
        "redirect_loop",
        "not_prepared",
        "unrenderable",
        "illegal_topic",
        "illegal_header_value",
        "illegal_property",
        "exchange_too_long",
        "routing_key_too_long",
        "payload_filter",
        "no_longer_configured",
        "panicked",
        "abandoned",
        "endpoint_restarting",
        "endpoint_behind",
        "stopping",
        "sent_back",
        "replayed",
        "delivery_limit",
        "tls_unknown_issuer",
        "tls_wrong_name",
        "tls_expired",
        "tls_not_yet_valid",
        "tls_expires_soon",
        "tls_not_spoken",
        "tls_client_certificate",
        "tls_not_verified",
    ];

    #[track_caller]
    fn check(reason: &str) {
        let remedy = remedy(reason).unwrap_or_else(|| panic!("no remedy for {reason}"));
        assert!(remedy.len() > 10 && !remedy.ends_with('.'), "{reason}: {remedy}");
        assert!(remedy.starts_with(char::is_lowercase) || remedy.starts_with("RabbitMQ"));
        assert!(!remedy.contains("  "), "{reason}: {remedy}");
    }

    #[test]
    fn every_answer_of_every_protocol_has_a_remedy() {
        for code in 0..=u16::MAX {
            for text in ["", "message size", "limit", "not found"] {
                check(&classify::amqp::reply(code, text).reason);
            }
            if let Some(failure) = classify::http::failure(code, "POST", None) {
                check(&failure.reason);
            }
        }
        for status in 200..=599 {
            check(&classify::mqtt::handshake(status, "ws://h").reason);
        }
        for code in 1..=u8::MAX {
            check(&classify::mqtt::connack(code, "mqtt://h").reason);
        }
        for failure in [
            classify::io(ConnectionRefused, ""),
            classify::io(TimedOut, ""),
            classify::io(Other, ""),
            classify::timeout("", std::time::Duration::ZERO),
            classify::dns(""),
            classify::dns_unavailable(""),
            classify::tls(""),
            classify::amqp::nack(),
            classify::amqp::blocked(""),
            classify::mqtt::protocol("", ""),
            classify::mqtt::subprotocol(""),
            classify::mqtt::lost("", ""),
            classify::mqtt::too_large(1, 0),
        ] {
            check(&failure.reason);
        }
    }

    #[test]
    fn every_word_of_the_transports_and_actors_has_a_remedy() {
        WORDS.into_iter().for_each(check);
    }

    #[test]
    fn a_word_that_nobody_produces_has_none() {
        for word in ["", "nonsense", "http_", "http_x", "amqp_", "http_99999"] {
            assert_eq!(remedy(word), None, "{word}");
        }
    }
}
