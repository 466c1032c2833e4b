//! The exporter: everything that [`crate::meter`] counts, as Prometheus text.
//!
//! Owns the process's one recorder and the histogram buckets, and leaves out what is withdrawn.
//! Refuses to name metrics. Read [`crate::meter`] next.

use std::sync::{Mutex, PoisonError};

use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::{meter, world};

/// How a sample ends that is no number: a gauge that is withdrawn.
const WITHDRAWN: &str = " NaN\n";

/// Upper bounds of the attempt durations, in seconds: from a broker next door to the longest
/// usual timeout.
const BUCKETS: [f64; 13] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Upper bounds of the latency of delivered routes, in seconds. Up to 10 s as an attempt is measured;
/// above, by the rungs of the default schedule, so that a bucket says how often an event was tried
/// again. What took longer than an hour was parked for long: how long exactly says no bucket.
const LATENCY_BUCKETS: [f64; 15] =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0, 3_600.0];

/// The recorder could not be made or installed.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The exporter refused its settings, or another recorder is installed.
    #[error("cannot set up the metrics")]
    Exporter(#[from] metrics_exporter_prometheus::BuildError),
    /// Another recorder is installed.
    #[error("the process has another recorder of metrics")]
    Installed(#[from] metrics::SetRecorderError<PrometheusRecorder>),
}

static INSTALLED: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// A recorder that is not installed: for tests, which record into it locally.
///
/// # Errors
/// When the exporter refuses its settings.
pub fn recorder() -> Result<PrometheusRecorder, MetricsError> {
    let whole_name = |name: &str| Matcher::Full(name.to_owned());
    let builder = PrometheusBuilder::new()
        .set_buckets_for_metric(whole_name(meter::ATTEMPT_DURATION), &BUCKETS)?
        .set_buckets_for_metric(whole_name(meter::ROUTE_LATENCY), &LATENCY_BUCKETS)?;
    Ok(builder.build_recorder())
}

/// Everything counted, as Prometheus text; without the gauges that [`meter::forget`] withdrew.
#[must_use]
pub fn render(handle: &PrometheusHandle) -> String {
    let text = handle.render();
    if !text.contains(WITHDRAWN) {
        return text;
    }
    text.split_inclusive('\n').filter(|line| !line.ends_with(WITHDRAWN)).collect()
}

/// Installs the process's recorder and describes every metric; later calls give the same handle.
/// Somebody must call [`PrometheusHandle::run_upkeep`] regularly: [`super::serve`] does.
///
/// # Errors
/// When the exporter refuses its settings, or another recorder is installed.
pub fn install() -> Result<PrometheusHandle, MetricsError> {
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = installed.as_ref() {
        return Ok(handle.clone());
    }
    let recorder = recorder()?;
    let handle = recorder.handle();
    metrics::set_global_recorder(recorder)?;
    meter::describe();
    meter::started(world::now());
    *installed = Some(handle.clone());
    Ok(handle)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::delivery::Settlement;

    fn rendered(record: impl FnOnce()) -> String {
        let recorder = recorder().unwrap();
        metrics::with_local_recorder(&recorder, || {
            meter::describe();
            record();
        });
        render(&recorder.handle())
    }

    #[test]
    fn everything_counted_is_rendered_with_its_labels() {
        let text = rendered(|| {
            meter::received();
            meter::received();
            meter::acknowledged(2);
            meter::stale(1);
            meter::rejected();
            meter::unwanted();
            meter::routed("erp");
            meter::resumed("erp");
            meter::settled("erp", Settlement::Delivered);
            meter::settled("erp", Settlement::Parked);
            meter::settled("erp", Settlement::Dead);
            meter::settled("erp", Settlement::Suppressed);
            meter::routes_stale("erp", 3);
            meter::attempt("erp", "transient", "http_503", Duration::from_millis(30));
            meter::attempt("erp", "delivered", "", Duration::from_secs(90));
            meter::in_flight("erp", 4);
            meter::breaker("erp", crate::logic::breaker::State::HalfOpen);
            meter::orphaned(5);
            meter::bus_connected(true);
            meter::oldest_unsettled(Duration::from_millis(1_500));
            meter::source_depth(6);
        });
        for line in [
            "lockgate_events_received_total 2",
            "lockgate_events_acknowledged_total 2",
            "lockgate_events_stale_total 1",
            "lockgate_events_rejected_total 1",
            "lockgate_events_unwanted_total 1",
            "lockgate_routed_total{endpoint=\"erp\"} 1",
            "lockgate_resumed_total{endpoint=\"erp\"} 1",
            "lockgate_routes_total{endpoint=\"erp\",settlement=\"delivered\"} 1",
            "lockgate_routes_total{endpoint=\"erp\",settlement=\"parked\"} 1",
            "lockgate_routes_total{endpoint=\"erp\",settlement=\"dead\"} 1",
            "lockgate_routes_total{endpoint=\"erp\",settlement=\"suppressed\"} 1",
            "lockgate_routes_stale_total{endpoint=\"erp\"} 3",
            "lockgate_attempts_total{endpoint=\"erp\",outcome=\"transient\",error_type=\"http_503\"} 1",
            "lockgate_attempts_total{endpoint=\"erp\",outcome=\"delivered\",error_type=\"\"} 1",
            "lockgate_attempt_duration_seconds_bucket{endpoint=\"erp\",le=\"0.025\"} 0",
            "lockgate_attempt_duration_seconds_bucket{endpoint=\"erp\",le=\"0.05\"} 1",
            "lockgate_attempt_duration_seconds_bucket{endpoint=\"erp\",le=\"+Inf\"} 2",
            "lockgate_in_flight{endpoint=\"erp\"} 4",
            "lockgate_breaker_state{endpoint=\"erp\"} 1",
            "lockgate_orphaned 5",
            "lockgate_bus_connected 1",
            "lockgate_oldest_unsettled_age_seconds 1.5",
            "lockgate_source_depth 6",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
        let version = format!("lockgate_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        assert!(text.contains(&version), "{text}");
    }

    fn at(text: &str) -> jiff::Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn times_and_latencies_are_in_seconds() {
        let text = rendered(|| {
            meter::started(at("2026-06-18T00:00:00.500Z"));
            meter::route_latency("erp", at("2026-06-18T00:00:00Z"), at("2026-06-18T00:01:00Z"));
            meter::route_latency("erp", at("2026-06-18T00:00:01Z"), at("2026-06-18T00:00:00Z"));
            meter::certificate_expiry("erp", Duration::from_secs(1_790_000_000));
            meter::bus_certificate_expiry(Duration::from_secs(1_790_000_001));
        });
        for line in [
            "lockgate_route_latency_seconds_bucket{endpoint=\"erp\",le=\"0.005\"} 1",
            "lockgate_route_latency_seconds_bucket{endpoint=\"erp\",le=\"30\"} 1",
            "lockgate_route_latency_seconds_bucket{endpoint=\"erp\",le=\"120\"} 2",
            "lockgate_route_latency_seconds_sum{endpoint=\"erp\"} 60",
            "lockgate_certificate_expiry_timestamp_seconds{endpoint=\"erp\"} 1790000000",
            "lockgate_bus_certificate_expiry_timestamp_seconds 1790000001",
            "lockgate_start_time_seconds 1781740800.5",
        ] {
            assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn an_endpoint_that_is_forgotten_leaves_its_counters_and_no_gauge() {
        let text = rendered(|| {
            for endpoint in ["gone", "stays", "back"] {
                meter::routed(endpoint);
                meter::endpoint_state(endpoint, "open");
                meter::in_flight(endpoint, 0);
                meter::breaker(endpoint, crate::logic::breaker::State::Closed);
                meter::parked_depth(endpoint, 1);
                meter::dead_depth(endpoint, 2);
                meter::certificate_expiry(endpoint, Duration::from_secs(1));
            }
            meter::forget("gone");
            meter::forget("back");
            meter::in_flight("back", 3);
        });
        let of = |endpoint: &str| {
            let label = format!("{{endpoint=\"{endpoint}\"");
            text.lines().filter(|line| line.contains(&label)).count()
        };
        assert_eq!((of("stays"), of("gone"), of("back")), (11, 1, 2), "{text}");
        assert!(text.contains("lockgate_in_flight{endpoint=\"back\"} 3"), "{text}");
        assert!(text.contains("lockgate_routed_total{endpoint=\"gone\"} 1"), "{text}");
        assert!(!text.contains("NaN"), "{text}");
    }

    #[test]
    fn what_was_never_counted_is_served_as_0_from_the_start() {
        let text = rendered(|| {
            meter::started(at("2026-06-18T00:00:00Z"));
            meter::introduce("erp");
            meter::endpoint_state("erp", "misconfigured");
        });
        let lines: std::collections::BTreeSet<&str> =
            text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()).collect();
        let zeros = lines.iter().filter(|line| line.ends_with(" 0")).count();
        assert_eq!((zeros, lines.len()), (6 + 3 + 7 + 4, 23), "{text}");
        for line in [
            "lockgate_routes_total{endpoint=\"erp\",settlement=\"dead\"} 0",
            "lockgate_events_stale_total 0",
            "lockgate_endpoint_state{endpoint=\"erp\",state=\"open\"} 0",
            "lockgate_endpoint_state{endpoint=\"erp\",state=\"misconfigured\"} 1",
        ] {
            assert!(lines.contains(line), "no line {line:?} in\n{text}");
        }
    }

    #[test]
    fn every_metric_has_a_help_text() {
        let text = rendered(|| {
            meter::received();
            meter::attempt("erp", "delivered", "", Duration::from_millis(3));
        });
        let typed: Vec<&str> = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")).collect();
        assert!(typed.len() >= 4, "{text}");
        for metric in typed {
            let name = metric.split(' ').next().unwrap();
            assert!(text.contains(&format!("# HELP {name} ")), "{name} in\n{text}");
        }
    }

    #[test]
    fn the_recorder_is_installed_once() {
        let (first, second) = (install().unwrap(), install().unwrap());
        meter::orphaned(7);
        // The order of the metrics is any.
        for handle in [first, second] {
            assert!(handle.render().contains("lockgate_orphaned 7"));
        }
    }
}
