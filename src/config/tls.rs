//! `[tls]`: the server's own certificate.

use std::path::PathBuf;

use super::reader::Section;

/// Certificate and key for serving https without a proxy.
#[derive(Debug, Clone)]
pub struct Tls {
    /// PEM file with the certificate and its chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM file with its private key.
    pub private_key_file: Option<PathBuf>,
}

impl Tls {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self {
            certificate_file: section.optional("certificate_file").map(PathBuf::from),
            private_key_file: section.optional("private_key_file").map(PathBuf::from),
        }
    }

    /// Why a server with this configuration must not start: silently serving http to somebody who asked for https would be worse.
    pub fn unserved(&self) -> Option<&'static str> {
        (self.certificate_file.is_some() || self.private_key_file.is_some())
            .then_some("this build does not serve TLS itself; remove the section and let a reverse proxy terminate TLS")
    }
}
