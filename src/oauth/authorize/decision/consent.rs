//! What a person has agreed to, and whether they have to be asked (OpenID Connect Core §3.1.2.4; design 4.1, 7).

use super::{Asked, Progress};
use crate::oauth::authorize::Prompt;
use crate::oauth::redirect_uri;
use crate::oauth::resource;
use crate::oauth::scope;
use crate::oidc::claims::scope_of;

/// Remembered consent (design 4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Consent {
    pub scopes: Vec<String>,
    pub resources: Vec<String>,
    /// Asked for by name, beside the scopes.
    pub claims: Vec<String>,
    /// Holds for this version of the client's redirects and keys alone (security.md R-24).
    pub metadata_version: i64,
}

impl Consent {
    /// What is remembered once a person has agreed to this as well. A consent is kept until it is withdrawn (design 4.1), so what was
    /// agreed to before stays; only what was agreed to for another version of the client counts no longer.
    #[must_use]
    pub fn and_before(mut self, before: Option<&Self>) -> Self {
        if let Some(before) = before.filter(|before| before.metadata_version == self.metadata_version) {
            let more =
                |own: &[String], others: &[String]| others.iter().filter(|text| !own.contains(text)).cloned().collect::<Vec<_>>();
            self.scopes.extend(more(&self.scopes, &before.scopes));
            self.resources.extend(more(&self.resources, &before.resources));
            self.claims.extend(more(&self.claims, &before.claims));
        }
        self
    }

    /// Was this claim agreed to, by its name or with its scope?
    pub(super) fn gives(&self, claim: &str) -> bool {
        let with_scope = scope_of(claim).is_some_and(|of| self.scopes.iter().any(|scope| scope == of));
        with_scope || self.claims.iter().any(|given| given == claim)
    }
}

/// Must the consent page be shown? (design 4.1, 7; security.md R-24)
///
/// `offline_access` counts wherever this lets a code be issued: the person saw it named on the page, now or before, or the page may be
/// skipped (OpenID Connect Core §11).
pub(super) fn needs_consent(
    asked: &Asked<'_>,
    remembered: Option<&Consent>,
    progress: &Progress,
    scopes: &[String],
    claims: &[String],
) -> bool {
    if progress.consented {
        return false;
    }
    if asked.request.prompts(Prompt::Consent) {
        return true;
    }
    let client = asked.client;
    // Anybody on the device may pose as a public client with such a redirect (RFC 8252 §8.6), so nothing is remembered for it.
    let anybody = client.is_public() && redirect_uri::is_interceptable(&asked.request.redirect_uri);
    if anybody {
        return true;
    }
    if client.metadata.first_party && !scopes.iter().any(|scope| resource::is_admin(scope)) {
        return false;
    }
    !remembered.is_some_and(|consent| {
        consent.metadata_version == client.metadata_version
            && scope::is_subset(scopes, &consent.scopes)
            && asked.request.resources.iter().all(|resource| consent.resources.contains(resource))
            && claims.iter().all(|claim| consent.gives(claim))
    })
}
