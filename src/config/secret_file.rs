//! Files that hold one secret: readable by their owner, not by everybody.

use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::secret::Secret;

/// No secret is longer than this, in bytes.
const LONGEST: u64 = 64 * 1024;

/// Why a secret file was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("the secret file {} cannot be read: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error("the secret file {} may be read by every user of this machine (mode {mode:03o})", path.display())]
    WorldReadable { path: PathBuf, mode: u32 },
    #[error("the secret file {} is empty", path.display())]
    Empty { path: PathBuf },
    #[error("the secret file {} is larger than 64 KiB", path.display())]
    TooLarge { path: PathBuf },
    #[error("the secret file {} is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
}

impl SecretFileError {
    /// What to do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreadable { .. } => "the user that runs the server must be able to read it".to_owned(),
            Self::WorldReadable { path, .. } => {
                format!("chmod 0400 {}; for a Kubernetes secret set defaultMode: 0400", path.display())
            }
            Self::Empty { .. } | Self::TooLarge { .. } | Self::NotText { .. } => {
                "the file holds the secret and nothing else".to_owned()
            }
        }
    }
}

/// Reads a secret from its file, without the line break at its end. The mode that is checked is that of the file that is read, so a
/// swap between the two cannot slip in another.
pub fn read(path: &Path) -> Result<Secret<String>, SecretFileError> {
    let unreadable = |error| SecretFileError::Unreadable { path: path.to_owned(), error };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let metadata = file.metadata().map_err(unreadable)?;
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o007 != 0 && metadata.is_file() {
        return Err(SecretFileError::WorldReadable { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > LONGEST {
        return Err(SecretFileError::TooLarge { path: path.to_owned() });
    }
    let text = Secret::new(String::from_utf8(bytes).map_err(|_| SecretFileError::NotText { path: path.to_owned() })?);
    let trimmed = text.expose().trim_end_matches(['\r', '\n']);
    if trimmed.is_empty() {
        return Err(SecretFileError::Empty { path: path.to_owned() });
    }
    Ok(Secret::new(trimmed.to_owned()))
}

/// Whether users other than the owner and the group may read or write the file.
pub fn is_world_readable(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o007 != 0)
}
