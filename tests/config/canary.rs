//! The canary hunt: a credential in every place, with errors of every kind around it, and it is
//! never printed.

use lockgate::config::Environment;

use crate::support::load_with;

const CANARY: &str = "canary-7f3b";

/// Every place where a credential may stand, each with a canary in it.
fn credential_places() -> Vec<(&'static str, String)> {
    let text = |value: &str| format!("{value:?}");
    vec![
        ("source.url", text(&format!("amqp://u:{CANARY}@h/%2f?x={CANARY}"))),
        ("source.password", text(CANARY)),
        ("admin.token", text(CANARY)),
        ("endpoints.r.rest.url", text(&format!("https://u:{CANARY}@h/?x={CANARY}"))),
        ("endpoints.r.rest.auth.basic.password", text(CANARY)),
        ("endpoints.r.rest.auth.api_key.value", text(CANARY)),
        ("endpoints.r.rest.headers.X-Key", text(CANARY)),
        ("endpoints.w.webhook.url", text(&format!("https://h/?x={CANARY}"))),
        ("endpoints.w.webhook.secret", text(CANARY)),
        ("endpoints.w.webhook.secrets", format!("[{CANARY:?}, 5]")),
        ("endpoints.w.webhook.headers.X-Key", text(&format!("{CANARY}\\n"))),
        ("endpoints.m.mqtt.url", text(&format!("mqtt://u:{CANARY}@h/"))),
        ("endpoints.m.mqtt.password", text(CANARY)),
        ("endpoints.a.amqp.url", text(&format!("amqps://u:{CANARY}@h/v"))),
        ("endpoints.a.amqp.password", text(CANARY)),
        ("telemetry.otlp.endpoint", text(&format!("https://u:{CANARY}@h/?x={CANARY}"))),
        ("telemetry.otlp.headers.authorization", text(&format!("Bearer {CANARY}"))),
        // In the wrong place altogether.
        ("source.heartbeat", text(CANARY)),
        ("source.prefix", text(&format!("{CANARY} "))),
        ("source.topology", text(CANARY)),
        ("admin.listen", text(CANARY)),
        ("endpoints.r.rate_limit", text(CANARY)),
        ("endpoints.r.rest.timeout", text(CANARY)),
        ("endpoints.r.rest.auth", text(CANARY)),
        ("endpoints.r.rest", text(CANARY)),
        ("endpoints.r.body", text(CANARY)),
        ("endpoints.m.mqtt.session", text(CANARY)),
        ("endpoints.w.webhook.signature", text(CANARY)),
        ("secrets.require_sealed", text(CANARY)),
        ("organization", text(CANARY)),
    ]
}

/// Spoils a value without touching the canary in it.
fn spoilt(value: &str) -> Vec<String> {
    vec![
        value.to_owned(),
        format!("[{value}]"),
        format!("{{ x = {value} }}"),
        value.replacen('"', "\"sealed:", 1),
        value.replacen('"', "\"sealed:v1:k:", 1),
        value.replacen('"', "\"no url ", 1),
        value.replacen("://", ":/ /", 1),
        value.replacen("@h", "@h:999999", 1),
        value.trim_end_matches('"').to_owned(),
    ]
}

/// A sound configuration, key by key.
const SOUND: [(&str, &str); 13] = [
    ("source.url", "'amqp://h/%2f'"),
    ("source.queue", "'q'"),
    ("source.username", "'u'"),
    ("endpoints.r.events", "['a/b']"),
    ("endpoints.r.rest.url", "'https://h/'"),
    ("endpoints.r.rest.auth.basic.username", "'u'"),
    ("endpoints.r.rest.auth.basic.password", "'p'"),
    ("endpoints.w.webhook.url", "'https://h/'"),
    ("endpoints.w.webhook.secret", "'s'"),
    ("endpoints.m.mqtt.url", "'mqtt://h/'"),
    ("endpoints.m.mqtt.username", "'u'"),
    ("endpoints.a.amqp.url", "'amqps://h/v'"),
    ("endpoints.a.amqp.username", "'u'"),
];

/// The sound configuration with this value in this place, and with what is beside it.
fn planted(path: &str, value: &str, beside: &str) -> String {
    let apart = |key: &str| {
        let inner = format!("{key}.");
        key != path && !path.starts_with(&inner) && !key.starts_with(&format!("{path}."))
    };
    let credentials_in_url = path.rsplit('.').next() == Some("url");
    let sound = SOUND.iter().filter(|(key, _)| {
        apart(key)
            && !(credentials_in_url && (key.contains(".basic.") || key.ends_with(".username")))
            && !(path.ends_with("api_key.value") && key.contains(".basic."))
            && !(path.ends_with(".secrets") && key.ends_with(".secret"))
    });
    let mut lines: Vec<String> = sound.map(|(key, value)| format!("{key} = {value}")).collect();
    if path.ends_with("api_key.value") {
        lines.push("endpoints.r.rest.auth.api_key.header = 'X-Key'".into());
    }
    lines.push(format!("{path} = {value}"));
    format!("{}\n{beside}", lines.join("\n"))
}

#[test]
fn no_credential_is_printed_whatever_else_is_wrong() {
    let beside = "[endpoints.z]\nptience = 1\n[telemetry]\nlog_format = 5\n";
    let (mut whole, mut wrong) = (0, 0);
    for (path, value) in credential_places() {
        for value in spoilt(&value) {
            for beside in ["", beside] {
                let text = planted(path, &value, beside);
                let variable = [("LOCKGATE__ADMIN__HOSTS", CANARY)];
                for variables in [&[][..], &variable] {
                    let environment = variables.iter().copied().collect::<Environment>();
                    let result = load_with(&text, "production", &environment);
                    let shown = match &result {
                        Ok(config) => format!("{config:?} {:?}", config.warnings),
                        Err(problems) => format!("{problems} {problems:?}"),
                    };
                    *if result.is_ok() { &mut whole } else { &mut wrong } += 1;
                    assert!(!shown.contains(CANARY), "{text}\nshows it: {shown}");
                }
            }
        }
    }
    assert!(whole > 30 && wrong > 500, "{whole} whole, {wrong} wrong: the hunt missed its prey");
}
