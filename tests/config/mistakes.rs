//! What operators get wrong, and what they are told.

use crate::support::{BASE, ENDPOINT, complaints, loaded};

/// A mistake: what is added to a sound beginning, where the complaint stands, a part of what it says.
type Mistake = (&'static str, &'static str, &'static str);

fn check(mistakes: &[Mistake]) {
    for (text, path, message) in mistakes {
        let text = format!("{BASE}{text}");
        let found = complaints(&text);
        let hit = found.iter().any(|p| p.path == *path && p.to_string().contains(message));
        assert!(hit, "{text}\nshould say {message:?} at {path}, said {found:#?}");
        assert_eq!(found.len(), 1, "{text}\nsays more than it should: {found:#?}");
        assert_eq!(found[0].file, "test.toml", "{text}");
    }
}

#[test]
fn unknown_keys_are_errors_with_the_nearest_known_one() {
    check(&[
        ("[sauce]\n", "sauce", "did you mean `source`?"),
        ("[admin]\nlisten_on = 1\n", "admin.listen_on", "unknown key"),
        (
            "[telemetry]\nlog_fromat = \"json\"\n",
            "telemetry.log_fromat",
            "did you mean `log_format`?",
        ),
        (
            "[endpoints.a]\nptience = \"1s\"\n[endpoints.a.rest]\nurl = \"http://h/\"\n",
            "endpoints.a.ptience",
            "did you mean `patience`?",
        ),
        (
            "[endpoints.a.rest]\nurl = \"http://h/\"\ntimout = \"1s\"\n",
            "endpoints.a.rest.timout",
            "did you mean `timeout`?",
        ),
        (
            "[endpoints.a]\nretry = { schedul = [] }\n[endpoints.a.rest]\nurl = \"http://h/\"\n",
            "endpoints.a.retry.schedul",
            "did you mean `schedule`?",
        ),
        (
            "[event_configurations.x]\nevents = [\"a/b\"]\nendpoint = [\"erp\"]\nendpoints = [\"erp\"]\n[endpoints.erp.rest]\nurl = \"http://h/\"\n",
            "event_configurations.x.endpoint",
            "did you mean `endpoints`?",
        ),
    ]);
}

#[test]
fn an_endpoint_has_exactly_one_transport() {
    check(&[
        ("[endpoints.a]\nevents = [\"a/b\"]\n", "endpoints.a", "has no transport"),
        (
            "[endpoints.a.rest]\nurl = \"http://h/\"\n[endpoints.a.webhook]\nurl = \"http://h/\"\nsecret = \"s\"\n",
            "endpoints.a",
            "has 2 transports: rest, webhook",
        ),
    ]);
}

#[test]
fn names_are_checked() {
    check(&[
        ("[endpoints.A_b.rest]\nurl = \"http://h/\"\n", "endpoints.A_b", "not a name"),
        ("[event_configurations.-x]\nevents = []\n", "event_configurations.-x", "not a name"),
        ("[endpoints]\nerp = 5\n", "endpoints.erp", "expected a table, found a number"),
    ]);
}

#[test]
fn urls_must_fit_their_transport() {
    check(&[
        ("[endpoints.a.rest]\nurl = \"mqtt://h/\"\n", "endpoints.a.rest.url", ""),
        ("[endpoints.a.mqtt]\nurl = \"http://h/\"\n", "endpoints.a.mqtt.url", ""),
        ("[endpoints.a.amqp]\nurl = \"http://h/\"\n", "endpoints.a.amqp.url", ""),
        (
            "[endpoints.a.webhook]\nurl = \"ftp://h/\"\nsecret = \"s\"\n",
            "endpoints.a.webhook.url",
            "",
        ),
        ("[endpoints.a.rest]\nurl = \"no url\"\n", "endpoints.a.rest.url", "write the URL whole"),
        ("[endpoints.a.rest]\n", "endpoints.a.rest.url", "missing"),
        ("[endpoints.a.rest]\nurl = 5\n", "endpoints.a.rest.url", "found a number"),
    ]);
}

#[test]
fn event_configurations_are_checked() {
    let with = |line: &str| format!("{BASE}{ENDPOINT}[event_configurations.x]\n{line}\n");
    for (lines, path, message) in [
        (
            "events = [\"nodot\"]\nendpoints = [\"erp\"]",
            "events.0",
            "type/trigger or a dotted name",
        ),
        ("events = [\"a/b\"]\nendpoints = [\"erq\"]", "endpoints.0", "did you mean `erp`?"),
        ("events = [\"a/b\"]\nendpoints = [\"zzzzzz\"]", "endpoints.0", "there are: erp"),
        ("events = [\"a/b\"]\nendpoints = [\"erp\", \"erp\"]", "endpoints.1", "named twice"),
        ("events = [\"a/b\", \"A.B\"]\nendpoints = [\"erp\"]", "events.1", "named twice"),
        ("events = []\nendpoints = [\"erp\"]", "events", "names no event"),
        ("events = [\"a/b\"]\nendpoints = []", "endpoints", "names no endpoint"),
        ("events = [\"a/b\"]", "endpoints", "missing"),
        (
            "events = [\"Batch/x\"]\nendpoints = [\"erp\"]\npayload = \".\"",
            "payload",
            "printing events only",
        ),
        (
            "events = [\"Printing/x\", \"*/y\"]\nendpoints = [\"erp\"]\npayload = \".\"",
            "payload",
            "printing events only",
        ),
        (
            "events = [\"Printing/*\"]\nendpoints = [\"erp\"]\npayload = \"{a: \"",
            "payload",
            "does not compile",
        ),
        ("events = [5]\nendpoints = [\"erp\"]", "events.0", "expected a text, found a number"),
        ("events = \"a/b\"\nendpoints = [\"erp\"]", "events", "expected a list, found a text"),
    ] {
        let found = complaints(&with(lines));
        let path = format!("event_configurations.x.{path}");
        let hit = found.iter().any(|p| p.path == path && p.to_string().contains(message));
        assert!(hit && found.len() == 1, "{lines}: {found:#?}");
    }
}

#[test]
fn bounds_and_types_are_checked_and_told_without_the_value() {
    let endpoint = |line: &str| {
        format!(
            "{BASE}[endpoints.erp]\n{line}\nevents = [\"a/b\"]\n[endpoints.erp.rest]\nurl = \"http://h/\"\n"
        )
    };
    for (line, path, message) in [
        ("patience = 10", "patience", "expected a duration like \"10s\", found a number"),
        ("patience = \"soon\"", "patience", "expected a duration like \"10s\", found another text"),
        ("patience = \"10m\"", "patience", "must be from 1ms to 5m"),
        ("enabled = \"yes\"", "enabled", "expected true or false, found a text"),
        ("body = \"raw\"", "body", "expected one of \"event\", \"named\""),
        ("max_in_flight = 0", "max_in_flight", "must be from 1 to 1000"),
        ("max_in_flight = 70000", "max_in_flight", "expected a whole number from 0 to 65535"),
        ("rate_limit = \"fast\"", "rate_limit", "\"50/s\""),
        ("rate_limit = \"0/s\"", "rate_limit", "\"50/s\""),
        ("retry = { schedule = [] }", "retry.schedule", "1 to 32 delays"),
        ("retry = { schedule = [\"5s\", \"1s\"] }", "retry.schedule", "ascending"),
        ("retry = { schedule = [\"10ms\"] }", "retry.schedule.0", "must be from 100ms to 1day"),
        ("retry = { schedule = [\"1s 5us\"] }", "retry.schedule.0", "whole milliseconds"),
        ("retry = { schedule = [5] }", "retry.schedule", "a duration"),
        ("retry = { max_age = \"0s\" }", "retry.max_age", "must be from 1s"),
        ("retry = { max_attempts = 0 }", "retry.max_attempts", "1 or more"),
        ("breaker = { failure_ratio = 1.5 }", "breaker.failure_ratio", "at most 1"),
        ("breaker = { failures = 0 }", "breaker.failures", "from 1"),
        ("breaker = { min_attempts = 0 }", "breaker.min_attempts", "from 1"),
        ("breaker = { open = \"10m\" }", "breaker.open", "not be longer than breaker.open_max"),
    ] {
        let found = complaints(&endpoint(line));
        let path = format!("endpoints.erp.{path}");
        let hit =
            found.iter().any(|p| p.path.starts_with(&path) && p.to_string().contains(message));
        assert!(hit && found.len() == 1, "{line}: {found:#?}");
    }
}

#[test]
fn the_fixed_tables_are_checked() {
    check(&[
        ("[admin]\nlisten = \"here\"\n", "admin.listen", "127.0.0.1:8080"),
        ("[admin]\nlisten = \"0.0.0.0:80\"\n", "admin.token", "required"),
        ("[admin]\nhosts = [\"http://h/\"]\n", "admin.hosts.0", "no host name"),
        ("[admin]\nattempt_log = 10001\n", "admin.attempt_log", "0 to 10000"),
        ("[runtime]\nthreads = 0\n", "runtime.threads", "from 1 to 64"),
        ("[runtime]\nshutdown_grace = \"1h\"\n", "runtime.shutdown_grace", "to 5m"),
        ("[telemetry]\nlog_format = \"xml\"\n", "telemetry.log_format", "\"text\", \"json\""),
        ("[organization]\nid = 5\n", "organization.id", "expected a text, found a number"),
        ("[secrets]\nkey_files = [\"/nowhere/key\"]\n", "secrets.key_files.0", "cannot read"),
    ]);
}

// Without the feature the whole table is complained about besides.
#[cfg(feature = "otlp")]
#[test]
fn the_export_of_traces_is_checked() {
    check(&[
        (
            "[telemetry.otlp]\nendpoint = \"grpc://c:4317\"\n",
            "telemetry.otlp.endpoint",
            "write http:// or https://",
        ),
        ("[telemetry.otlp]\nsample = 1\n", "telemetry.otlp.endpoint", "missing"),
        (
            "[telemetry.otlp]\nendpoint = \"http://c/\"\nsample = 1.5\n",
            "telemetry.otlp.sample",
            "from 0 to 1",
        ),
        (
            "[telemetry.otlp]\nendpoint = \"http://c/\"\ntimeout = \"1h\"\n",
            "telemetry.otlp.timeout",
            "between 1ms and 5m",
        ),
        (
            "[telemetry.otlp]\nendpoint = \"http://c/\"\nheaders = { Host = \"x\" }\n",
            "telemetry.otlp.headers.Host",
            "already set",
        ),
    ]);
}

#[test]
fn the_source_is_checked() {
    for (lines, path, message) in [
        ("url = \"http://h/\"\nqueue = \"q\"", "source.url", "amqp:// or amqps://"),
        ("queue = \"q\"", "source.url", "missing"),
        ("url = \"amqp://h/%2f\"", "source.queue", "missing"),
        (
            "url = \"amqp://u:p@h/%2f\"\nqueue = \"q\"\nusername = \"u\"",
            "source.username",
            "excluded by the user part",
        ),
        ("SOUND password = \"p\"", "source.username", "missing"),
        ("SOUND prefetch = 0", "source.prefetch", "from 1 to 65535"),
        ("SOUND prefetch = \"much\"", "source.prefetch", "\"auto\""),
        ("SOUND prefix = \"a b\"", "source.prefix", "letters, digits"),
        ("SOUND max_event_bytes = \"big\"", "source.max_event_bytes", "a size like"),
        ("SOUND max_event_bytes = \"1GiB\"", "source.max_event_bytes", "to 128MiB"),
        ("SOUND heartbeat = \"1500ms\"", "source.heartbeat", "whole seconds"),
        ("SOUND topology = \"make\"", "source.topology", "\"declare\""),
        (
            "SOUND bindings = [{ exchange = \"e\", type = \"topik\" }]",
            "source.bindings.0.type",
            "did you mean `topic`?",
        ),
        ("SOUND bindings = [{ type = \"topic\" }]", "source.bindings.0.exchange", "missing"),
        (
            "SOUND attributes = { event_typ = [\"exchange\"] }",
            "source.attributes.event_typ",
            "did you mean `event_type`?",
        ),
        (
            "SOUND attributes = { event_type = [\"cookie:x\"] }",
            "source.attributes.event_type.0",
            "header:NAME",
        ),
    ] {
        let lines = lines.replace("SOUND ", "url = \"amqp://h/%2f\"\nqueue = \"q\"\n");
        let found = complaints(&format!("[source]\n{lines}\n"));
        let hit = found.iter().any(|p| p.path == path && p.to_string().contains(message));
        assert!(hit && found.len() == 1, "{lines}: {found:#?}");
    }
}

#[test]
fn a_text_that_is_no_toml_is_told_with_line_and_column_and_without_its_text() {
    let found = complaints("[source]\nurl = \"canary-7f3\n");
    assert_eq!(found[0].file, "test.toml, line 2, column 18", "{found:#?}");
    assert!(found[0].message.starts_with("not TOML"), "{found:#?}");
    assert!(!format!("{found:?}").contains("canary"), "{found:#?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let text = "
        [sauce]
        [source]
        queue = 5
        prefetch = 0
        [organization]
        id = true
        [endpoints.a]
        patience = 7
        ptience = 8
        [endpoints.a.rest]
        timout = 5
        auth = { basic = {} }
        [endpoints.b]
        [endpoints.c.mqtt]
        url = \"http://h\"
        [event_configurations.x]
        events = [\"nodot\", 5]
        endpoints = [\"d\"]
    ";
    let found = complaints(text);
    let mut paths: Vec<&str> = found.iter().map(|p| p.path.as_str()).collect();
    paths.sort_unstable();
    let expected = [
        "endpoints.a.patience",
        "endpoints.a.ptience",
        "endpoints.a.rest.auth.basic.password",
        "endpoints.a.rest.auth.basic.username",
        "endpoints.a.rest.timout",
        "endpoints.a.rest.url",
        "endpoints.b",
        "endpoints.c.mqtt.url",
        "event_configurations.x.endpoints.0",
        "event_configurations.x.events.0",
        "event_configurations.x.events.1",
        "organization.id",
        "sauce",
        "source.prefetch",
        "source.queue",
        "source.url",
    ];
    assert_eq!(paths, expected, "{found:#?}");
}

#[test]
fn what_should_be_known_is_a_warning() {
    for (lines, path, message) in [
        (
            "[endpoints.a]\nevents = [\"Batch/batch_run_statsu\"]\n[endpoints.a.rest]\nurl = \"http://h/\"",
            "endpoints.a.events.0",
            "did you mean `batch/batch_run_status`?",
        ),
        (
            "[endpoints.a]\nevents = [\"operation.complete\"]\n[endpoints.a.rest]\nurl = \"http://h/\"",
            "endpoints.a.events.0",
            "did you mean `operation/completed`?",
        ),
        (
            "[endpoints.a]\nevents = [\"Prnting/*\"]\n[endpoints.a.rest]\nurl = \"http://h/\"",
            "endpoints.a.events.0",
            "did you mean `printing`?",
        ),
        (
            "[endpoints.a]\nevents = [\"Custom Event/custom_event\"]\n[endpoints.a.rest]\nurl = \"http://h/\"",
            "endpoints.a.events.0",
            "deprecated",
        ),
        (
            "[endpoints.a.rest]\nurl = \"http://h/\"",
            "endpoints.a",
            "no enabled event configuration",
        ),
        (
            "[endpoints.a]\nevents = [\"a/b\"]\n[endpoints.a.mqtt]\nurl = \"mqtt://h\"\ntopic_pattern = \"{event}\"\ntopic_pattern_for = \"all\"",
            "endpoints.a.mqtt.topic_pattern_for",
            "extension",
        ),
        (
            "[endpoints.a]\nevents = [\"a/b\"]\n[endpoints.a.rest]\nurl = \"https://h/\"\ntls = { verify = false }",
            "endpoints.a.rest.tls.verify",
            "not verified",
        ),
        (
            "[event_configurations.a]\nevents = [\"*/*\"]\nendpoints = [\"e\"]\n[event_configurations.b]\nevents = [\"x/y\"]\nendpoints = [\"e\"]\n[endpoints.e.rest]\nurl = \"http://h/\"",
            "event_configurations.b",
            "sends nothing to e: a takes all its events",
        ),
        ("", "endpoints", "there is no endpoint"),
    ] {
        let config = loaded(&format!("{BASE}{lines}\n"));
        let hit = config.warnings.iter().any(|w| w.path == path && w.to_string().contains(message));
        assert!(hit && config.warnings.len() == 1, "{lines}: {:#?}", config.warnings);
    }
    let quiet = "[endpoints.a]\nevents = [\"a/b\", \"operation.completed\", \"Batch/*\"]\n\
                 [endpoints.a.rest]\nurl = \"http://h/\"\nnon_2xx = \"accept\"\n";
    assert_eq!(loaded(&format!("{BASE}{quiet}")).warnings, []);
}
