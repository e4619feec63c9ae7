//! TLS set-up from a certificate and key file.
//!
//! A connection that asked for TLS gets TLS or ends: nothing here falls back to plaintext.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use x509_certificate::X509Certificate;

/// The server's identity, and whose certificates it takes.
#[derive(Clone)]
pub struct Tls {
    /// Does the handshake.
    pub acceptor: TlsAcceptor,
    /// The certificate chain as PEM, for SCRAM channel binding.
    pub certificate_pem: Arc<[u8]>,
    /// Whether clients have to show a certificate. One that cannot be verified fails the handshake; that none was
    /// shown is told to the client afterwards, as an error of PostgreSQL's protocol.
    pub asks_clients: bool,
}

impl Tls {
    /// Reads a PEM certificate chain, its PEM private key, and the PEM certificates that sign those of clients.
    pub fn load(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Self, String> {
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
        let provider = Arc::new(default_provider());
        let clients = match client_ca {
            Some(path) => {
                let roots = Arc::new(roots(path)?);
                WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| format!("{}: {error}", path.display()))?
            }
            None => WebPkiClientVerifier::no_client_auth(),
        };
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| error.to_string())?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key_der)
            .map_err(|error| format!("the TLS certificate and key do not fit: {error}"))?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            certificate_pem: pem.into(),
            asks_clients: client_ca.is_some(),
        })
    }
}

/// The certificates that sign those of clients.
fn roots(path: &Path) -> Result<RootCertStore, String> {
    let failed = |error: &dyn std::fmt::Display| {
        format!("cannot read the TLS client CA {}: {error}", path.display())
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(format!("{} holds no PEM certificate", path.display()));
    }
    Ok(roots)
}

/// The common name of the subject of a certificate that was verified.
pub fn common_name(certificate: &[u8]) -> Option<String> {
    let certificate = X509Certificate::from_der(certificate).ok()?;
    certificate.subject_common_name()
}
