//! `[factors]`: what is asked of people beside their password.

use super::reader::Section;
use crate::oidc::authentication::Demand;

/// Second factors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactorsConfig {
    /// Whether everybody must have one, unless a client says otherwise for itself.
    pub second_factor: Demand,
}

impl FactorsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { second_factor: section.parsed_or("second_factor", Demand::Optional, "optional", "\"optional\" or \"required\"") }
    }
}
