//! The lockgate command: installs the one TLS provider, then hands over to [`lockgate::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // Fails only where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    // Reads FAILPOINTS; in tests alone.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    lockgate::cli::main()
}
