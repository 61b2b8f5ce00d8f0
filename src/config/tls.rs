//! `[tls]`: the server's own certificate.

use std::path::{Path, PathBuf};

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
        let certificate_file = section.optional("certificate_file").map(PathBuf::from);
        let private_key_file = section.optional("private_key_file").map(PathBuf::from);
        match (&certificate_file, &private_key_file) {
            (Some(_), None) => {
                section.contradiction("certificate_file", "certificate_file stands without private_key_file".to_owned())
            }
            (None, Some(_)) => {
                section.contradiction("private_key_file", "private_key_file stands without certificate_file".to_owned())
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        Self { certificate_file, private_key_file }
    }

    /// Certificate and key, if the server is to speak TLS itself.
    pub fn files(&self) -> Option<(&Path, &Path)> {
        self.certificate_file.as_deref().zip(self.private_key_file.as_deref())
    }
}
