//! Where the master key comes from (design 4.6): the configuration, or for SQLite a file in the data folder that the first start makes.
//!
//! It is never made for a database that has keys already: whoever lost the key must learn it now, not when nothing opens any more.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::config::{Config, SecretFileError, read_secret_file};
use crate::entropy::{self, Entropy};
use crate::seal::{MasterKey, SealError};

/// The name of the generated key's file in the data folder.
pub const FILE_NAME: &str = "master.key";

/// Why there is no master key.
#[derive(Debug, thiserror::Error)]
pub enum MasterKeyError {
    #[error("{place}: {error}")]
    Malformed { place: String, error: SealError },
    #[error("PostgreSQL needs a master key, and none is given: set CHANCERY_MASTER_KEY or CHANCERY_MASTER_KEY_FILE")]
    Required,
    #[error(
        "the database has keys, but {} is missing: bring the file back, or set CHANCERY_MASTER_KEY. A new one could open nothing",
        path.display()
    )]
    Lost { path: PathBuf },
    #[error("{error} ({hint})", hint = error.hint())]
    File {
        #[from]
        error: SecretFileError,
    },
    #[error("the master key cannot be written to {}: {error}", path.display())]
    Unwritable { path: PathBuf, error: io::Error },
}

/// The master key of this installation, as it is: none is made. `None` if a first start would make one.
///
/// # Errors
/// As [`load_or_make`].
pub fn load(config: &Config, has_keys: bool) -> Result<Option<MasterKey>, MasterKeyError> {
    if let Some(text) = &config.keys.master_key {
        let place = "the master key of the configuration".to_owned();
        return MasterKey::parse(text).map(Some).map_err(|error| MasterKeyError::Malformed { place, error });
    }
    if !config.database.is_sqlite() {
        return Err(MasterKeyError::Required);
    }
    let path = config.server.data_dir.join(FILE_NAME);
    if !path.exists() {
        return if has_keys { Err(MasterKeyError::Lost { path }) } else { Ok(None) };
    }
    let text = read_secret_file(&path)?;
    MasterKey::parse(&text).map(Some).map_err(|error| MasterKeyError::Malformed { place: path.display().to_string(), error })
}

/// The master key of this installation. `has_keys` says whether the database holds keys already.
///
/// # Errors
/// When it is missing, malformed, lost, or in a file that everybody may read.
pub fn load_or_make(config: &Config, has_keys: bool, entropy: &dyn Entropy) -> Result<MasterKey, MasterKeyError> {
    if let Some(master) = load(config, has_keys)? {
        return Ok(master);
    }
    let path = config.server.data_dir.join(FILE_NAME);
    make(&path, entropy).map_err(|error| MasterKeyError::Unwritable { path: path.clone(), error })?;
    load(config, true)?.ok_or(MasterKeyError::Lost { path })
}

/// Writes a new key so that the file appears whole or not at all. When two processes start at once, the first wins and both read it.
fn make(path: &Path, entropy: &dyn Entropy) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let (_, text) = MasterKey::generate(entropy).map_err(io::Error::other)?;
    let draft = folder.join(format!(".{FILE_NAME}.{}", entropy::alphanumeric(entropy, 12)));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
        file.write_all(text.expose().as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        }?;
        File::open(folder)?.sync_all()
    })();
    let removed = fs::remove_file(&draft);
    written.and(removed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::config::Sources;
    use crate::entropy::SystemEntropy;

    fn config(folder: &Path, env: &[(&str, &str)]) -> Config {
        let env: BTreeMap<String, String> = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let flags = vec![("server.data_dir", folder.display().to_string())];
        Config::load(Sources { file: None, env, flags }).unwrap()
    }

    #[test]
    fn the_first_start_makes_a_private_file_and_the_second_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("chancery-data");
        let config = config(&data, &[]);
        let first = load_or_make(&config, false, &SystemEntropy).unwrap();
        let path = data.join(FILE_NAME);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&data).unwrap().permissions().mode() & 0o777, 0o700);
        let sealed = first.seal(&SystemEntropy, b"test", b"plain");
        let second = load_or_make(&config, true, &SystemEntropy).unwrap();
        assert_eq!(second.open(b"test", &sealed).unwrap().expose().as_slice(), b"plain");
        assert_eq!(fs::read_dir(&data).unwrap().count(), 1);
    }

    #[test]
    fn a_lost_key_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let error = load_or_make(&config(folder.path(), &[]), true, &SystemEntropy).err().unwrap();
        assert!(matches!(error, MasterKeyError::Lost { .. }), "{error}");
        assert!(!folder.path().join(FILE_NAME).exists());
    }

    #[test]
    fn postgres_needs_a_key_and_a_malformed_one_is_refused_without_being_shown() {
        let folder = tempfile::tempdir().unwrap();
        let postgres = ("CHANCERY_DATABASE_URL", "postgres://localhost/x");
        assert!(matches!(load_or_make(&config(folder.path(), &[postgres]), false, &SystemEntropy), Err(MasterKeyError::Required)));
        let error =
            load_or_make(&config(folder.path(), &[("CHANCERY_MASTER_KEY", "hunter2")]), false, &SystemEntropy).err().unwrap();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn a_key_file_that_everybody_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[]);
        load_or_make(&config, false, &SystemEntropy).unwrap();
        fs::set_permissions(folder.path().join(FILE_NAME), fs::Permissions::from_mode(0o644)).unwrap();
        assert!(load_or_make(&config, true, &SystemEntropy).is_err());
    }

    #[test]
    fn processes_that_start_together_agree_on_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[]);
        let sealed: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| load_or_make(&config, false, &SystemEntropy).unwrap().seal(&SystemEntropy, b"test", b"plain"))
                })
                .collect();
            started.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let key = load_or_make(&config, true, &SystemEntropy).unwrap();
        assert!(sealed.iter().all(|sealed| key.open(b"test", sealed).is_ok()));
    }
}
