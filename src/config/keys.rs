//! `[keys]`: the master key, and how long a signing key signs (design 4.5, 4.6).

use std::time::Duration;

use super::MaybeSecret;
use super::reader::Section;

/// The key that seals all others, and the rhythm of rotation.
#[derive(Debug, Clone)]
pub struct KeysConfig {
    /// base64url of 32 bytes; two separated by a comma, newest first, while a rotation is under way.
    pub master_key: MaybeSecret,
    /// After this time an active signing key makes room for the next.
    pub rotate_after: Duration,
}

impl KeysConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let days = |days: u64| Duration::from_secs(days * 86_400);
        Self {
            master_key: section.secret("master_key"),
            rotate_after: section.duration("rotate_after", days(90), Duration::from_secs(3600), days(3650)),
        }
    }
}
