//! Certificates made for one test run: a private authority and servers that it vouches for.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// A certificate authority with one server certificate for `localhost` and `127.0.0.1`, as PEM files.
pub struct Certs {
    /// The authority's certificate: what `tls.ca_file` names.
    pub ca: PathBuf,
    /// The server's certificate.
    pub cert: PathBuf,
    /// The server's key.
    pub key: PathBuf,
}

/// Makes an authority and a server certificate in `folder`.
pub fn make(folder: &Path) -> Certs {
    make_for(folder, &["localhost", "127.0.0.1"])
}

/// As [`make`], for other names.
pub fn make_for(folder: &Path, names: &[&str]) -> Certs {
    sign(folder, names, |_| {})
}

/// As [`make`], but the server's certificate was valid until 2001 only.
pub fn make_expired(folder: &Path) -> Certs {
    sign(folder, &["localhost", "127.0.0.1"], |server| {
        server.not_before = rcgen::date_time_ymd(2000, 1, 1);
        server.not_after = rcgen::date_time_ymd(2001, 1, 1);
    })
}

fn sign(folder: &Path, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Certs {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(rcgen::DnType::CommonName, "lockgate test authority");
    let ca_cert = ca.self_signed(&ca_key).unwrap();
    let issuer = Issuer::new(ca, ca_key);

    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let cert = params.signed_by(&key, &issuer).unwrap();

    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    Certs {
        ca: write("ca.pem", ca_cert.pem()),
        cert: write("cert.pem", cert.pem()),
        key: write("key.pem", key.serialize_pem()),
    }
}

/// As [`make`], but the server's certificate ends at the beginning of the day that is so many days
/// ahead.
pub fn make_ending(folder: &Path, days: i64) -> Certs {
    let now = lockgate::world::now().to_zoned(jiff::tz::TimeZone::UTC);
    let day = now.saturating_add(jiff::Span::new().days(days)).date();
    sign(folder, &["localhost", "127.0.0.1"], |server| {
        let (month, day_of_month) = (day.month().unsigned_abs(), day.day().unsigned_abs());
        server.not_after = rcgen::date_time_ymd(day.year().into(), month, day_of_month);
    })
}
