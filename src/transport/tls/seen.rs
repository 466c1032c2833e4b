//! What is seen of a peer's certificate, for whoever examines it.
//!
//! Owns a verifier that looks on while another one judges, and the finer words for what is wrong.
//! Refuses to judge itself. Read [`super::super::examine`] next.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::{BuildError, TlsSettings, config};
use crate::logic::diagnosis::Certificate;

/// Holds the leaf certificate that the peer showed last, accepted or not.
#[derive(Clone, Debug, Default)]
pub(in crate::transport) struct Witness(Arc<Mutex<Option<CertificateDer<'static>>>>);

impl Witness {
    /// What it says of itself; `None` where the peer showed none, or one that cannot be read.
    pub(in crate::transport) fn certificate(&self) -> Option<Certificate> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        read(seen.as_ref()?)
    }
}

fn read(der: &[u8]) -> Option<Certificate> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.iter().flat_map(|names| &names.value.general_names);
    let names = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    Some(Certificate {
        issuer: certificate.issuer().to_string(),
        names: names.collect(),
        not_after: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?,
    })
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|four| std::net::Ipv4Addr::from(four).to_string());
    let sixteen = || <[u8; 16]>::try_from(bytes).map(std::net::Ipv6Addr::from);
    four.ok().or_else(|| sixteen().ok().map(|address| address.to_string()))
}

/// As [`super::client_config`], with a witness.
///
/// # Errors
/// The same.
pub(in crate::transport) fn watched(
    settings: &TlsSettings,
) -> Result<(Arc<ClientConfig>, Witness), BuildError> {
    let witness = Witness::default();
    let theirs = witness.clone();
    let see: See = Arc::new(move |certificate, _| {
        let mut seen = theirs.0.lock().unwrap_or_else(PoisonError::into_inner);
        *seen = Some(certificate.clone().into_owned());
    });
    let config = config(settings, move |judge| Arc::new(Watched { judge, see }))?;
    Ok((config, witness))
}

/// Who is told of each leaf certificate, and for which server it was shown.
pub(super) type See = Arc<dyn Fn(&CertificateDer<'_>, &ServerName<'_>) + Send + Sync>;

/// A verifier that judges, and somebody who looks on, whatever the judgement.
pub(super) struct Watched {
    pub(super) judge: Arc<dyn ServerCertVerifier>,
    pub(super) see: See,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("judge", &self.judge).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Watched {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        (self.see)(certificate, name);
        self.judge.verify_server_cert(certificate, intermediates, name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.judge.supported_verify_schemes()
    }
}

/// The finer word for a TLS error, which [`crate::logic::remedy`] knows; `None` where the failure's
/// own word says it all.
pub(in crate::transport) fn trouble(error: &Error) -> Option<&'static str> {
    use CertificateError as E;
    Some(match error {
        Error::InvalidCertificate(E::UnknownIssuer) => "tls_unknown_issuer",
        Error::InvalidCertificate(E::Expired | E::ExpiredContext { .. }) => "tls_expired",
        Error::InvalidCertificate(E::NotValidYet | E::NotValidYetContext { .. }) => {
            "tls_not_yet_valid"
        }
        Error::InvalidCertificate(E::NotValidForName | E::NotValidForNameContext { .. }) => {
            "tls_wrong_name"
        }
        Error::InvalidMessage(_) => "tls_not_spoken",
        Error::AlertReceived(AlertDescription::CertificateRequired) => "tls_client_certificate",
        _ => return None,
    })
}
