//! TLS for clients: which certificates are trusted.
//!
//! Invariant: a server is always verified, by Mozilla's roots or by the ones the user names;
//! there is no switch that turns it off.

use std::path::Path;
use std::sync::Arc;

use anabranch::{Error, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A client configuration that trusts the certificates in the PEM file `roots` alone, or without
/// one Mozilla's.
///
/// # Errors
/// When the file cannot be read or holds no certificate.
pub fn tls_client(roots: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let mut store = RootCertStore::empty();
    match roots {
        None => store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => add_file(&mut store, path)?,
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::Connector(format!("TLS cannot be set up: {e}")))?
        .with_root_certificates(store)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn add_file(store: &mut RootCertStore, path: &Path) -> Result<()> {
    let refused = |why: String| {
        Error::Usage(format!(
            "certificates of `ca={}`: {why}; name a PEM file with one or more CERTIFICATE sections",
            path.display()
        ))
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|e| refused(e.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|e| refused(e.to_string()))?;
        store.add(certificate).map_err(|e| refused(e.to_string()))?;
    }
    if store.is_empty() {
        return Err(refused("none found".into()));
    }
    Ok(())
}
