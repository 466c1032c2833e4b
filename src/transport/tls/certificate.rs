//! When the certificates end that peers show, as a metric.
//!
//! Owns a look at the handshake: whatever library makes it, rustls asks its verifier, so this stands
//! around the one that decides, also where nothing is verified. A resumed session shows no
//! certificate; what was noted before holds on. Refuses to judge: a certificate is noted even if the
//! handshake fails over it, since an operator wants to see just that. Read [`super`] for who judges.

use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::meter;

/// Whose certificates are noted.
#[derive(Clone, Debug)]
pub struct Peer {
    /// `None` is the bus.
    endpoint: Option<String>,
    /// The configured host. A redirect may lead to others, which are not the endpoint's to renew.
    host: Option<ServerName<'static>>,
}

impl Peer {
    /// An endpoint at this host: a name, or an address without brackets.
    #[must_use]
    pub fn endpoint(name: &str, host: &str) -> Self {
        Self { endpoint: Some(name.to_owned()), host: server_name(host) }
    }

    /// The bus at this host.
    #[must_use]
    pub fn bus(host: &str) -> Self {
        Self { endpoint: None, host: server_name(host) }
    }

    pub(super) fn note(&self, certificate: &CertificateDer<'_>, server: &ServerName<'_>) {
        if self.host.as_ref() != Some(server) {
            return;
        }
        match (not_after(certificate), &self.endpoint) {
            (Some(end), Some(endpoint)) => meter::certificate_expiry(endpoint, end),
            (Some(end), None) => meter::bus_certificate_expiry(end),
            (None, _) => {}
        }
    }
}

fn server_name(host: &str) -> Option<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).ok()
}

/// The last moment at which a certificate is valid, since 1970; `None` when it cannot be read.
#[must_use]
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<Duration> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metrics_exporter_prometheus::PrometheusBuilder;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::UnixTime;
    use rustls::{Error, RootCertStore};

    use super::super::seen::Watched;
    use super::*;

    /// The first sample that `work` leaves in the metrics.
    fn noted(work: impl FnOnce()) -> Option<String> {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, work);
        let text = recorder.handle().render();
        text.lines().find(|line| line.starts_with("lockgate_")).map(str::to_owned)
    }

    /// A certificate for `erp.example` that ends with this year.
    fn until(year: i32) -> CertificateDer<'static> {
        let mut parameters = rcgen::CertificateParams::new(["erp.example".to_owned()]).unwrap();
        parameters.not_after = rcgen::date_time_ymd(year, 12, 31);
        let key = rcgen::KeyPair::generate().unwrap();
        parameters.self_signed(&key).unwrap().der().clone()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_forms_that_it_may_have() {
        let check = |certificate: &CertificateDer<'_>, end: Option<u64>| {
            assert_eq!(not_after(certificate).map(|end| end.as_secs()), end);
        };
        // Until 2049 two digits of the year, later four.
        check(&until(2026), Some(1_798_675_200));
        check(&until(2052), Some(2_619_216_000));
        check(&CertificateDer::from(b"no certificate".to_vec()), None);
        check(&CertificateDer::from(Vec::new()), None);
    }

    #[test]
    fn what_the_configured_host_shows_is_noted_and_nothing_else() {
        let check = |peer: &Peer, server: &'static str, expected: Option<&str>| {
            let server = ServerName::try_from(server).unwrap();
            let found = noted(|| peer.note(&until(2026), &server));
            assert_eq!(found.as_deref(), expected, "{peer:?} {server:?}");
        };
        let erp = Peer::endpoint("erp", "erp.example");
        let of_erp = "lockgate_certificate_expiry_timestamp_seconds{endpoint=\"erp\"} 1798675200";
        check(&erp, "erp.example", Some(of_erp));
        check(&erp, "ERP.example", Some(of_erp));
        check(&erp, "elsewhere.example", None);
        check(&Peer::endpoint("erp", "[::1]"), "::1", Some(of_erp));
        check(&Peer::endpoint("erp", "not a host"), "erp.example", None);
        let of_bus = "lockgate_bus_certificate_expiry_timestamp_seconds 1798675200";
        check(&Peer::bus("127.0.0.1"), "127.0.0.1", Some(of_bus));
    }

    #[test]
    fn a_certificate_that_is_refused_is_noted_too() {
        let mut roots = RootCertStore::empty();
        roots.add(until(2030)).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let peer = Peer::endpoint("erp", "erp.example");
        let noting = Watched {
            judge: verifier.build().unwrap(),
            see: Arc::new(move |certificate, server| peer.note(certificate, server)),
        };
        let server = ServerName::try_from("erp.example").unwrap();
        let line = noted(|| {
            let now = UnixTime::since_unix_epoch(Duration::from_secs(1_790_000_000));
            let verdict = noting.verify_server_cert(&until(2026), &[], &server, &[], now);
            assert!(matches!(verdict, Err(Error::InvalidCertificate(_))), "{verdict:?}");
        });
        assert!(line.is_some_and(|line| line.ends_with(" 1798675200")));
    }
}
