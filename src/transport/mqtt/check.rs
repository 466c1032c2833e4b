//! The rules of the `mqtt` table beyond its grammar.
//!
//! Owns every complaint about one endpoint's table. Refuses rules between tables, which are the
//! configuration's. Read [`super::dial`] next: what these rules make safe.

use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::Settings;
use super::dial::Scheme;
use crate::domain::event::CONTEXT_FIELDS;
use crate::logic::schema;
use crate::logic::secret::has_user;
use crate::transport::{BuildError, Complaint, tls};

const TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_secs(300);
const PACKET_SIZES: std::ops::RangeInclusive<u64> = 1 << 10..=256 << 20;
/// MQTT counts the bytes of a text in 16 bits.
const MAX_TEXT: usize = 65_535;
/// Room for the suffix that makes an identifier unique, and for people who read logs.
const MAX_CLIENT_ID: usize = 200;

/// What the `url` looks like.
pub(super) fn url_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schema::url(&["mqtt", "mqtts", "tcp", "tls", "ws", "wss"])
}

/// What the keys of `topic_defaults` and `topic_fields` may be.
pub(super) fn context_fields() -> serde_json::Value {
    serde_json::json!({ "enum": CONTEXT_FIELDS })
}

impl Settings {
    /// Everything that is wrong with the table: the key below it, what is wrong, what to do.
    /// Reads the CA file. No text holds a credential.
    #[must_use]
    pub fn validate(&self) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        self.check_url(&mut complaints);
        self.check_credentials(&mut complaints);
        self.check_client_id(&mut complaints);
        self.check_bounds(&mut complaints);
        self.check_topic_values(&mut complaints);
        if let Some(path) = &self.tls.ca_file
            && let Err(BuildError(cause)) = tls::read_ca(path)
        {
            complaints.push(complaint(
                "tls.ca_file",
                cause,
                "name a PEM file with certificates that lockgate may read",
            ));
        }
        complaints
    }

    /// The keys of this table that hold a credential.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let password = self.password.as_ref().map(|_| "password".to_owned());
        let url = has_user(self.url.expose()).then(|| "url".to_owned());
        password.into_iter().chain(url).collect()
    }

    fn check_url(&self, complaints: &mut Vec<Complaint>) {
        let url = self.url.expose();
        if Scheme::of(url).is_none() {
            complaints.push(complaint(
                "url",
                format!("{} is not a scheme of MQTT", url.scheme()),
                "use mqtt, mqtts, tcp, tls, ws or wss",
            ));
        }
        if url.host_str().is_none_or(str::is_empty) {
            complaints.push(complaint(
                "url",
                "the URL names no host".into(),
                "write it as mqtt://broker.example.com:1883",
            ));
        }
    }

    fn check_credentials(&self, complaints: &mut Vec<Complaint>) {
        let url = self.url.expose();
        if has_user(self.url.expose()) && (self.username.is_some() || self.password.is_some()) {
            complaints.push(complaint(
                "url",
                "credentials stand both in the URL and beside it".into(),
                "keep username and password, take the user part out of the URL",
            ));
        }
        if url.username().is_empty() && url.password().is_some() {
            complaints.push(complaint(
                "url",
                "a password without a username".into(),
                "MQTT has no password without a username: write both",
            ));
        }
        let parts = [url.username(), url.password().unwrap_or_default()];
        if parts.iter().any(|part| percent_decode_str(part).decode_utf8().is_err()) {
            complaints.push(complaint(
                "url",
                "the user part is not UTF-8".into(),
                "use username and password instead",
            ));
        }
        if self.password.is_some() && self.username.as_ref().is_none_or(String::is_empty) {
            complaints.push(complaint(
                "username",
                "a password without a username".into(),
                "MQTT has no password without a username: set one",
            ));
        }
        let long = |text: Option<&str>| text.is_some_and(|text| text.len() > MAX_TEXT);
        for (key, value) in [
            ("username", self.username.as_deref()),
            ("password", self.password.as_ref().map(crate::logic::secret::Secret::expose)),
        ] {
            if long(value) {
                let message = format!("longer than {MAX_TEXT} bytes");
                complaints.push((key.into(), message, None));
            }
        }
    }

    fn check_client_id(&self, complaints: &mut Vec<Complaint>) {
        match &self.client_id {
            None if self.client_id_exact => complaints.push(complaint(
                "client_id_exact",
                "there is no client_id to take exactly".into(),
                "set client_id, or leave client_id_exact out",
            )),
            Some(id)
                if id.is_empty() || id.len() > MAX_CLIENT_ID || id.contains(char::is_control) =>
            {
                complaints.push(complaint(
                    "client_id",
                    "not a client identifier".into(),
                    "use 1 to 200 bytes without control characters",
                ));
            }
            _ => {}
        }
    }

    fn check_bounds(&self, complaints: &mut Vec<Complaint>) {
        for (key, value) in
            [("connect_timeout", self.connect_timeout), ("publish_timeout", self.publish_timeout)]
        {
            if !TIMEOUTS.contains(&value) {
                let message = format!("{value:?} is out of bounds");
                complaints.push(complaint(key, message, "use 1ms to 5m"));
            }
        }
        if !PACKET_SIZES.contains(&self.max_packet_size.as_u64()) {
            let message = format!("{} bytes is out of bounds", self.max_packet_size.as_u64());
            complaints.push(complaint("max_packet_size", message, "use 1KiB to 256MiB"));
        }
    }

    fn check_topic_values(&self, complaints: &mut Vec<Complaint>) {
        for (table, keys) in
            [("topic_defaults", &self.topic_defaults), ("topic_fields", &self.topic_fields)]
        {
            for key in keys.keys().filter(|key| !CONTEXT_FIELDS.contains(&key.as_str())) {
                complaints.push((
                    format!("{table}.{key}"),
                    format!("{key} is no variable of a topic that can be filled in"),
                    Some(format!("use {}", CONTEXT_FIELDS.join(", "))),
                ));
            }
        }
        for (key, pointer) in &self.topic_fields {
            if !pointer.starts_with('/') {
                complaints.push((
                    format!("topic_fields.{key}"),
                    format!("{pointer:?} is not a JSON pointer"),
                    Some(format!("write \"/{pointer}\"")),
                ));
            }
        }
    }
}

fn complaint(key: &str, message: String, hint: &str) -> Complaint {
    (key.into(), message, Some(hint.into()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::settings;

    /// Checks which keys are complained about.
    fn check(table: &str, keys: &[&str]) {
        let complaints = settings(table).validate();
        let found: Vec<&str> = complaints.iter().map(|(key, _, _)| key.as_str()).collect();
        assert_eq!(found, keys, "{table}: {complaints:?}");
    }

    #[test]
    fn all_six_schemes_are_taken_and_no_other() {
        for scheme in ["mqtt", "mqtts", "tcp", "tls", "ws", "wss"] {
            check(&format!("url = '{scheme}://broker'"), &[]);
        }
        check("url = 'http://broker'", &["url"]);
        check("url = 'MQTT://broker'", &[]);
        check("url = 'mqtt:broker'", &["url"]);
        check("url = 'mqtt:///path'", &["url"]);
    }

    #[test]
    fn credentials_stand_in_one_place_and_are_whole() {
        check("url = 'mqtt://b'\nusername = 'u'", &[]);
        check("url = 'mqtt://b'\nusername = 'u'\npassword = 'p'", &[]);
        check("url = 'mqtt://u:p@b'", &[]);
        check("url = 'mqtt://b'\npassword = 'p'", &["username"]);
        check("url = 'mqtt://u:p@b'\nusername = 'u'", &["url"]);
        check("url = 'mqtt://u@b'\nusername = 'u'\npassword = 'p'", &["url"]);
        check("url = 'mqtt://:p@b'", &["url"]);
        check("url = 'mqtt://%ff:p@b'", &["url"]);
        check(&format!("url = 'mqtt://b'\nusername = '{}'", "u".repeat(65_536)), &["username"]);
    }

    #[test]
    fn an_exact_client_id_needs_an_id() {
        check("url = 'mqtt://b'\nclient_id_exact = true", &["client_id_exact"]);
        check("url = 'mqtt://b'\nclient_id_exact = true\nclient_id = 'line-1'", &[]);
        check("url = 'mqtt://b'\nclient_id = ''", &["client_id"]);
        check(&format!("url = 'mqtt://b'\nclient_id = '{}'", "i".repeat(201)), &["client_id"]);
    }

    #[test]
    fn times_and_sizes_have_bounds() {
        for good in ["1ms", "5m"] {
            check(&format!("url = 'mqtt://b'\nconnect_timeout = '{good}'"), &[]);
        }
        check("url = 'mqtt://b'\nconnect_timeout = '0s'", &["connect_timeout"]);
        check("url = 'mqtt://b'\npublish_timeout = '301s'", &["publish_timeout"]);
        for good in ["1KiB", "256MiB"] {
            check(&format!("url = 'mqtt://b'\nmax_packet_size = '{good}'"), &[]);
        }
        for bad in ["1023", "'257MiB'"] {
            check(&format!("url = 'mqtt://b'\nmax_packet_size = {bad}"), &["max_packet_size"]);
        }
    }

    #[test]
    fn topic_values_are_for_known_variables_and_found_by_pointers() {
        check(
            "url = 'mqtt://b'\ntopic_fields = { cell = '/cell', line = '' }",
            &["topic_fields.line"],
        );
        check(
            "url = 'mqtt://b'\ntopic_defaults = { plant = 'x', site = 'y' }",
            &["topic_defaults.plant"],
        );
    }

    #[test]
    fn a_ca_file_that_is_not_there_is_said_before_anything_connects() {
        check("url = 'mqtts://b'\ntls = { ca_file = '/nowhere/ca.pem' }", &["tls.ca_file"]);
    }

    #[test]
    fn the_keys_that_hold_credentials_are_known() {
        let secrets = |table: &str| settings(table).secrets();
        assert_eq!(secrets("url = 'mqtt://b'\nusername = 'u'\npassword = 'p'"), ["password"]);
        assert_eq!(secrets("url = 'mqtt://u:p@b'"), ["url"]);
        assert!(secrets("url = 'mqtt://b'").is_empty());
    }
}
