//! TLS for every transport and the bus: roots, an extra CA file, relaxed verification.
//!
//! Owns whom we trust and how a failed handshake is explained. Refuses ALPN, which its callers add.
//! The provider is always ring, named here and never taken from the process. Read
//! [`seen`] and [`certificate`] next.

pub mod certificate;
mod seen;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

use self::certificate::Peer;
use self::seen::{See, Watched};
pub(super) use self::seen::{trouble, watched};
use super::BuildError;
use crate::domain::delivery::Failure;
use crate::logic::classify;

/// The `tls` table of a transport or of the source.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// `false` accepts any certificate. Default `true`.
    pub verify: bool,
    /// A PEM file with certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self { verify: true, ca_file: None }
    }
}

/// The rustls configuration for these settings, without ALPN.
///
/// # Errors
/// When the CA file cannot be read or holds no certificate; when there is nobody to trust: no CA
/// file and a system without certificates. The message names the file.
pub fn client_config(settings: &TlsSettings) -> Result<Arc<ClientConfig>, BuildError> {
    config(settings, |verifier| verifier)
}

/// The same, and what certificate `peer` shows in each full handshake is noted in the metrics.
///
/// # Errors
/// As [`client_config`].
pub fn client_config_noting(
    settings: &TlsSettings,
    peer: Peer,
) -> Result<Arc<ClientConfig>, BuildError> {
    let note: See = Arc::new(move |certificate, server| peer.note(certificate, server));
    config(settings, |judge| Arc::new(Watched { judge, see: note }))
}

/// As [`client_config`], with what `around` makes of its verifier.
fn config(
    settings: &TlsSettings,
    around: impl FnOnce(Arc<dyn ServerCertVerifier>) -> Arc<dyn ServerCertVerifier>,
) -> Result<Arc<ClientConfig>, BuildError> {
    let wrong = |cause: String| BuildError(format!("TLS: {cause}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|cause| wrong(cause.to_string()))?;
    let own = settings.ca_file.as_deref().map(read_ca).transpose()?;
    let verifier: Arc<dyn ServerCertVerifier> = if settings.verify {
        let roots = trusted(system_roots(), own)?;
        WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|cause| wrong(cause.to_string()))?
    } else {
        Arc::new(AnyCertificate(provider))
    };
    let builder = builder.dangerous().with_custom_certificate_verifier(around(verifier));
    Ok(Arc::new(builder.with_no_client_auth()))
}

/// The certificates of a CA file.
///
/// # Errors
/// When it cannot be read, is not PEM, or holds no certificate.
pub fn read_ca(path: &Path) -> Result<Vec<CertificateDer<'static>>, BuildError> {
    let shown = path.display();
    let text = std::fs::read(path)
        .map_err(|cause| BuildError(format!("cannot read the CA file {shown}: {cause}")))?;
    let certificates = CertificateDer::pem_slice_iter(&text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|cause| BuildError(format!("the CA file {shown} is not valid PEM: {cause}")))?;
    if certificates.is_empty() {
        return Err(BuildError(format!("the CA file {shown} holds no certificate")));
    }
    let mut store = RootCertStore::empty();
    for certificate in &certificates {
        store.add(certificate.clone()).map_err(|cause| {
            BuildError(format!("the CA file {shown} holds a certificate that is none: {cause}"))
        })?;
    }
    Ok(certificates)
}

/// The system's certificates and, besides, these.
fn trusted(
    system: Arc<RootCertStore>,
    own: Option<Vec<CertificateDer<'static>>>,
) -> Result<Arc<RootCertStore>, BuildError> {
    match own {
        Some(own) => {
            let mut store = RootCertStore::clone(&system);
            store.add_parsable_certificates(own);
            Ok(Arc::new(store))
        }
        None if system.is_empty() => Err(BuildError(
            "this system has no trusted certificates: install them (ca-certificates) or name \
             some in tls.ca_file"
                .into(),
        )),
        None => Ok(system),
    }
}

/// The system's certificates, read once per process; empty where there are none.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    Arc::clone(ROOTS.get_or_init(|| {
        let mut store = RootCertStore::empty();
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Arc::new(store)
    }))
}

/// `verify = false`: any certificate will do, but the peer still has to own its key.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// The TLS error inside an I/O error, if there is one: that is how tokio-rustls reports it.
#[must_use]
pub fn inside(error: &std::io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// The failure that a TLS error is. Misconfigured where the two sides do not accept each other,
/// which no repetition mends; transient where the conversation merely went wrong.
#[must_use]
pub fn failure(error: &Error, what: &str) -> Failure {
    let cause = format!("{what}: {}", describe(error));
    match error {
        Error::InvalidCertificate(_)
        | Error::InvalidCertRevocationList(_)
        | Error::NoCertificatesPresented
        | Error::UnsupportedNameType
        | Error::InvalidMessage(_)
        | Error::PeerIncompatible(_)
        | Error::NoApplicationProtocol => classify::tls(&cause),
        Error::AlertReceived(alert) if rejects(*alert) => classify::tls(&cause),
        _ => Failure::transient("tls_broken", format!("TLS broke off: {cause}")),
    }
}

/// The peer says that it will not talk to us, not that something just broke.
fn rejects(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::HandshakeFailure
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::UnrecognisedName
            | AlertDescription::NoApplicationProtocol
    )
}

/// A TLS error for people, with a remedy where there is one.
#[must_use]
pub fn describe(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(cause) => describe_certificate(cause),
        Error::InvalidMessage(_) => "the peer does not speak TLS on this port".into(),
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "the peer wants a client certificate, which is not supported".into()
        }
        Error::AlertReceived(alert) => format!("the peer refused the handshake: {alert:?}"),
        other => other.to_string(),
    }
}

fn describe_certificate(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::UnknownIssuer => {
            "the certificate has an unknown issuer: name its authority in tls.ca_file".into()
        }
        E::Expired | E::ExpiredContext { .. } => "the certificate has expired".into(),
        E::NotValidYet | E::NotValidYetContext { .. } => {
            "the certificate is not valid yet: check the clocks".into()
        }
        E::NotValidForName => "the certificate is for another name".into(),
        E::NotValidForNameContext { expected, presented } => {
            let mut text =
                format!("the certificate is for another name than {}", expected.to_str());
            if !presented.is_empty() {
                // Writing into a String cannot fail.
                let _ = write!(text, ": it is for {}", presented.join(", "));
            }
            text
        }
        E::Revoked => "the certificate has been revoked".into(),
        E::BadSignature => {
            "the certificate's signature is not that of the authority it names: check tls.ca_file"
                .into()
        }
        other => format!("the certificate is not acceptable: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::delivery::Class;

    fn settings(verify: bool, ca_file: Option<PathBuf>) -> TlsSettings {
        TlsSettings { verify, ca_file }
    }

    #[test]
    fn an_error_about_a_ca_file_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in [
            ("empty.pem", String::new()),
            ("text.pem", "not a certificate".to_owned()),
            ("broken.pem", pem("%%%")),
            ("none.pem", pem("AAAA")),
        ] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            let error = client_config(&settings(true, Some(path))).unwrap_err();
            assert!(error.0.contains(name), "{error}");
        }
        let error = client_config(&settings(false, Some("/nowhere/ca.pem".into()))).unwrap_err();
        assert!(error.0.contains("/nowhere/ca.pem"), "{error}");
    }

    fn pem(inside: &str) -> String {
        format!("-----BEGIN CERTIFICATE-----\n{inside}\n-----END CERTIFICATE-----\n")
    }

    #[test]
    fn a_system_without_certificates_needs_a_ca_file() {
        let nobody = || Arc::new(RootCertStore::empty());
        let error = trusted(nobody(), None).unwrap_err();
        assert!(error.0.contains("tls.ca_file"), "{error}");
        let own = rcgen::generate_simple_self_signed(["own".to_owned()]).unwrap();
        let store = trusted(nobody(), Some(vec![own.cert.der().clone()])).unwrap();
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn without_verification_no_certificates_are_needed_and_no_alpn_is_offered() {
        let config = client_config(&settings(false, None)).unwrap();
        assert!(config.alpn_protocols.is_empty());
    }

    #[test]
    fn a_failure_says_what_is_wrong_with_the_certificate() {
        let name = ServerName::try_from("erp.example").unwrap();
        for (error, words) in [
            (CertificateError::UnknownIssuer, "unknown issuer"),
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidYet, "not valid yet"),
            (
                CertificateError::NotValidForNameContext {
                    expected: name,
                    presented: vec!["other.example".into()],
                },
                "another name than erp.example: it is for other.example",
            ),
        ] {
            let failure = failure(&Error::InvalidCertificate(error), "connect to h:1");
            assert_eq!(failure.class, Class::Misconfigured);
            assert!(failure.detail.contains(words), "{}", failure.detail);
        }
    }

    #[test]
    fn a_handshake_that_merely_broke_is_transient() {
        let broken = Error::AlertReceived(AlertDescription::InternalError);
        assert_eq!(failure(&broken, "x").class, Class::Transient);
        let refused = Error::AlertReceived(AlertDescription::CertificateRequired);
        assert_eq!(failure(&refused, "x").class, Class::Misconfigured);
    }
}
