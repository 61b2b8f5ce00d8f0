//! The rule that was broken, by name and source. Rule ids are stable: decision records, metrics and the documentation use them.

use serde::Serialize;

/// A rule of a specification or of this server's design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Stable, lower case with hyphens.
    pub id: &'static str,
    /// The rule in a few words.
    pub title: &'static str,
    /// Where it stands.
    pub spec: &'static str,
}
