//! Scopes in words for the consent page, grouped by the API that they belong to.

use crate::oauth::client::Client;
use crate::oauth::resource::{Catalogue, Resource};
use crate::printable::honest;

use super::i18n::{Lang, ScopeWords};

/// The scopes of one API, or those of the person's own account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeGroup {
    /// The API's name, or "Your account".
    pub title: String,
    /// The API's identifier; nothing for the person's own account.
    pub identifier: Option<String>,
    pub scopes: Vec<ScopeLine>,
}

/// One scope in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScopeLine {
    /// As the protocol calls it.
    pub scope: String,
    pub title: String,
    /// May be empty.
    pub description: String,
}

/// What is asked for: first what concerns the person's own account (OpenID Connect Core §5.4, §11), then API by API in the order
/// of the catalogue. A scope that none of them knows stands with the account under its own name: nothing is hidden.
pub fn groups(lang: Lang, scopes: &[String], catalogue: &Catalogue) -> Vec<ScopeGroup> {
    group(lang, scopes, catalogue.resources())
}

fn group(lang: Lang, scopes: &[String], resources: &[Resource]) -> Vec<ScopeGroup> {
    let mut own = ScopeGroup { title: lang.texts().consent_this_service.to_owned(), identifier: None, scopes: Vec::new() };
    let mut others: Vec<ScopeGroup> = resources
        .iter()
        .map(|api| ScopeGroup { title: tame(&api.name), identifier: Some(api.identifier.clone()), scopes: vec![] })
        .collect();
    for scope in scopes {
        let place = resources.iter().zip(&mut others).find_map(|(api, group)| {
            let known = api.scopes.iter().find(|known| known.name == *scope)?;
            Some((known, group))
        });
        match (in_words(lang, scope), place) {
            (Some(words), None) => own.scopes.push(ScopeLine {
                scope: scope.clone(),
                title: words.title.to_owned(),
                description: words.description.to_owned(),
            }),
            (Some(words), Some((_, group))) => group.scopes.push(ScopeLine {
                scope: scope.clone(),
                title: words.title.to_owned(),
                description: words.description.to_owned(),
            }),
            (None, Some((known, group))) => {
                let description = tame(&known.description);
                let title = if description.is_empty() { scope.clone() } else { description };
                group.scopes.push(ScopeLine { scope: scope.clone(), title, description: String::new() });
            }
            (None, None) => own.scopes.push(ScopeLine { scope: scope.clone(), title: scope.clone(), description: String::new() }),
        }
    }
    std::iter::once(own).chain(others).filter(|group| !group.scopes.is_empty()).collect()
}

/// The same, and what the client is told beside its scopes: the claims that it asked for by name, and which groups and roles the person
/// has here.
pub fn groups_for(lang: Lang, (scopes, claims): (&[String], &[String]), client: &Client, catalogue: &Catalogue) -> Vec<ScopeGroup> {
    let mut groups = groups(lang, scopes, catalogue);
    let mut lines: Vec<ScopeLine> = claims.iter().map(|claim| claim_line(lang, claim)).collect();
    if !client.metadata.claims.is_empty() {
        let words = lang.texts().consent_memberships;
        let (title, description) = (words.title.to_owned(), words.description.to_owned());
        lines.push(ScopeLine { scope: "claims".to_owned(), title, description });
    }
    if lines.is_empty() {
        return groups;
    }
    match groups.first_mut().filter(|group| group.identifier.is_none()) {
        Some(own) => own.scopes.append(&mut lines),
        None => {
            let title = lang.texts().consent_this_service.to_owned();
            groups.insert(0, ScopeGroup { title, identifier: None, scopes: lines });
        }
    }
    groups
}

fn claim_line(lang: Lang, claim: &str) -> ScopeLine {
    ScopeLine { scope: claim.to_owned(), title: claim_title(lang, claim), description: String::new() }
}

/// One claim in words (OpenID Connect Core §5.1); one without words stands under its own name.
pub fn claim_title(lang: Lang, claim: &str) -> String {
    let words = lang.texts().consent_claims.iter().find(|(name, _)| *name == claim);
    words.map_or(claim, |(_, title)| *title).to_owned()
}

/// Our own words for the scopes that the specifications or this server define.
fn in_words(lang: Lang, scope: &str) -> Option<ScopeWords> {
    let texts = lang.texts();
    match scope {
        "openid" => Some(texts.scope_openid),
        "profile" => Some(texts.scope_profile),
        "email" => Some(texts.scope_email),
        "phone" => Some(texts.scope_phone),
        "address" => Some(texts.scope_address),
        "offline_access" => Some(texts.scope_offline_access),
        "admin:read" => Some(texts.scope_admin_read),
        "admin:write" => Some(texts.scope_admin_write),
        _ => None,
    }
}

fn tame(text: &str) -> String {
    honest(text).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jose::Alg;
    use crate::oauth::resource::{ResourceScope, TokenFormat};

    #[test]
    fn every_claim_has_words_in_every_language() {
        for lang in Lang::ALL {
            for claim in crate::oidc::claims::BY_SCOPE.iter().flat_map(|(_, names)| *names) {
                assert_ne!(claim_line(lang, claim).title, *claim, "{lang:?}");
            }
        }
    }

    #[test]
    fn scopes_are_grouped_by_api_and_none_is_hidden() {
        let orders = Resource {
            identifier: "https://api.example.com".into(),
            name: "Orders".into(),
            scopes: vec![
                ResourceScope { name: "orders:read".into(), description: "Read your orders".into() },
                ResourceScope { name: "orders:write".into(), description: String::new() },
            ],
            access_token_lifetime: None,
            access_token_signing_alg: Alg::RS256,
            access_token_format: TokenFormat::Jwt,
            introspection_clients: vec![],
            claims: Default::default(),
        };
        let asked: Vec<String> = ["openid", "orders:write", "odd", "orders:read"].map(String::from).to_vec();
        let groups = group(Lang::En, &asked, &[orders]);
        let shown: Vec<(&str, Vec<&str>)> =
            groups.iter().map(|g| (g.title.as_str(), g.scopes.iter().map(|s| s.title.as_str()).collect())).collect();
        assert_eq!(
            shown,
            [("Your account", vec!["Know who you are", "odd"]), ("Orders", vec!["orders:write", "Read your orders"])]
        );
    }
}
