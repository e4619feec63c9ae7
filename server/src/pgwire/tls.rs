//! TLS set-up from a certificate and key file.
//!
//! A connection that asked for TLS gets TLS or ends: nothing here falls back to plaintext.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};

/// The server's identity.
#[derive(Clone)]
pub struct Tls {
    /// Does the handshake.
    pub acceptor: TlsAcceptor,
    /// The certificate chain as PEM, for SCRAM channel binding.
    pub certificate_pem: Arc<[u8]>,
}

impl Tls {
    /// Reads a PEM certificate chain and its PEM private key.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, String> {
        let pem = std::fs::read(certificate).map_err(|error| {
            format!(
                "cannot read the TLS certificate {}: {error}",
                certificate.display()
            )
        })?;
        let chain = CertificateDer::pem_slice_iter(&pem)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("{}: {error}", certificate.display()))?;
        if chain.is_empty() {
            return Err(format!(
                "{} holds no PEM certificate",
                certificate.display()
            ));
        }
        let key_der = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| format!("cannot read the TLS key {}: {error}", key.display()))?;
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?
            .with_no_client_auth()
            .with_single_cert(chain, key_der)
            .map_err(|error| format!("the TLS certificate and key do not fit: {error}"))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate_pem: pem.into(),
        })
    }
}
