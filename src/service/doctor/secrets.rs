//! Files that nobody else may read. Those that the configuration names as `…_file` are refused before anything starts, and reported with
//! the configuration.

use std::path::{Path, PathBuf};

use super::{Check, Finding, Report};
use crate::config::{Config, is_world_readable};
use crate::service::master_key;

/// Looks at the mode of each.
pub fn examine(config: &Config) -> Report {
    let mut report = Report::default();
    for path in files(config).iter().filter(|path| is_world_readable(path)) {
        let finding = Finding::error(Check::SecretFileReadable, "every user of this machine may read it, or write to it");
        report.found(finding.about(path.display().to_string()).mended_by(format!("chmod o-rwx {}", path.display())));
    }
    report
}

fn files(config: &Config) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = config.tls.files().map(|(_, key)| key.to_owned()).into_iter().collect();
    if config.database.is_sqlite() {
        if config.keys.master_key.is_none() {
            files.push(config.server.data_dir.join(master_key::FILE_NAME));
        }
        let database = sqlite_file(config);
        let beside = |suffix: &str| {
            let mut path = database.clone().into_os_string();
            path.push(suffix);
            PathBuf::from(path)
        };
        files.extend(["", "-wal", "-shm"].map(beside));
    }
    files
}

/// The file that a `sqlite:` URL names.
pub fn sqlite_file(config: &Config) -> PathBuf {
    let url = config.database.url.expose();
    let rest = url.strip_prefix("sqlite:").unwrap_or(url);
    let file = rest.strip_prefix("//").unwrap_or(rest);
    Path::new(file.split('?').next().unwrap_or(file)).to_owned()
}
