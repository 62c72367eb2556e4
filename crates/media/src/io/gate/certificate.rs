//! The certificate of TURN over TLS, from files that may be replaced while calls go on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

pub(super) struct Certificate {
    files: [PathBuf; 2],
    /// Of the files when they were last read.
    modified: [Option<SystemTime>; 2],
    current: Arc<ServerConfig>,
}

impl Certificate {
    /// Reads a chain and its key, both PEM.
    ///
    /// # Errors
    /// The text names the setting and the file.
    pub(super) fn load(chain: &Path, key: &Path) -> io::Result<Self> {
        let files = [chain.to_owned(), key.to_owned()];
        Ok(Self {
            modified: modified(&files),
            current: read(&files)?,
            files,
        })
    }

    /// For a new connection: read again if the files have changed. What is not usable leaves the old one.
    pub(super) fn current(&mut self) -> Arc<ServerConfig> {
        let modified = modified(&self.files);
        if modified != self.modified {
            self.modified = modified;
            match read(&self.files) {
                Ok(config) => {
                    log::info!(
                        "TURN/TLS has a new certificate from {}",
                        self.files[0].display()
                    );
                    self.current = config;
                }
                Err(error) => log::error!("{error}; the old certificate stays in use"),
            }
        }
        Arc::clone(&self.current)
    }
}

fn modified(files: &[PathBuf; 2]) -> [Option<SystemTime>; 2] {
    files
        .each_ref()
        .map(|file| file.metadata().and_then(|it| it.modified()).ok())
}

fn read([chain, key]: &[PathBuf; 2]) -> io::Result<Arc<ServerConfig>> {
    let fail = |setting: &str, file: &Path, error: &dyn std::fmt::Display| {
        io::Error::other(format!("cannot use {setting} {}: {error}", file.display()))
    };
    let chain_of = || CertificateDer::pem_file_iter(chain)?.collect::<Result<Vec<_>, _>>();
    let certificates = chain_of().map_err(|error| fail("turn.cert_file", chain, &error))?;
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| fail("turn.key_file", key, &error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|it| {
            it.with_no_client_auth()
                .with_single_cert(certificates, private)
        })
        .map_err(|error| fail("turn.cert_file", chain, &error))?;
    Ok(Arc::new(config))
}
