//! The certificate by which a program proves who it is.
//!
//! Invariant: the key is read from a file that only its owner can read, and never shown.

use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::cluster::read_secret_file;
use crate::{Error, Result};

/// The largest file of a key, in bytes.
const KEY_MAX: usize = 1 << 16;

/// Reads a certificate and its key.
///
/// # Errors
/// When one cannot be read, others can read the key, or they do not belong together.
pub(super) fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let refused =
        |path: &Path, what: String| Error::Usage(format!("{} for HTTPS: {what}", path.display()));
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| {
            refused(certificate, format!("it is no PEM file of certificates: {error}"))
        })?;
    if chain.is_empty() {
        return Err(refused(certificate, "it has no CERTIFICATE section".to_string()));
    }
    let bytes = read_secret_file("the key of --http-key", key, KEY_MAX)?;
    let secret = PrivateKeyDer::from_pem_slice(&bytes)
        .map_err(|_| refused(key, "it has no PRIVATE KEY section".to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, secret))
        .map_err(|error| refused(certificate, format!("it and its key are of no use: {error}")))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
