//! What the person has to see before a code is issued: sign in, choose an account, consent, nothing, or never
//! (OpenID Connect Core §3.1.2.3, §3.1.2.4, §3.1.2.6; design 4.1, 4.2, 7).
//!
//! The same function is asked at the first request and after every page, so no page can be skipped and nothing is issued on the
//! strength of an earlier look at the world.

mod consent;
mod factor;
mod session;
#[cfg(test)]
mod tests;

use super::{Prompt, ValidatedAuthorize};
use crate::clock::Timestamp;
use crate::oauth::client::{Client, GrantType};
use crate::oauth::refusal::{LoginBecause, Reason};
use crate::oauth::resource::{self, Catalogue};
use crate::oauth::scope;
use crate::oidc::authentication::{Acr, Demand};
use crate::oidc::claims_request::ClaimsRequest;

use consent::needs_consent;
use factor::{Wanted, missing_factor};
use session::{signed_in_here, usable_session};

pub use consent::Consent;
pub use session::{SessionFacts, SessionState};

/// What is asked, of whom.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    pub request: &'a ValidatedAuthorize,
    pub client: &'a Client,
    pub catalogue: &'a Catalogue,
    /// Whether a second factor is asked for: the client's own word, else the server's.
    pub demand: Demand,
}

/// What is known about the browser and the person in front of it.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// The session behind the browser's cookie, whatever its state.
    pub session: Option<&'a SessionFacts>,
    /// What this person has consented to for this client before.
    pub consent: Option<&'a Consent>,
    /// `sub` of the id_token_hint, which was verified.
    pub hint_sub: Option<&'a str>,
    /// The level that this person can reach with the factors that they have.
    pub reachable: Acr,
}

/// What the person has done within this interaction, in the present session.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// When they signed in here.
    pub signed_in_at: Option<Timestamp>,
    /// They said yes on the consent page, and everything that [`Next::Consent`] named was on it.
    pub consented: bool,
    /// They chose to go on with the account that is signed in.
    pub selected: bool,
    /// They were asked for a second factor, and proved one.
    pub stepped_up: bool,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The sign-in page.
    Login { because: LoginBecause },
    /// The page that asks which account to use.
    SelectAccount,
    /// The page that asks for a second factor; who has none enrols one there, if it is demanded.
    SecondFactor,
    /// The consent page, which shows exactly these scopes, and these claims beside them.
    Consent { scopes: Vec<String>, claims: Vec<String> },
    /// A code for exactly these scopes and claims.
    Issue { scopes: Vec<String>, claims: ClaimsRequest },
    /// An error for the client.
    Refuse(Reason),
}

/// Decides the next step.
pub fn decide(asked: &Asked<'_>, known: &Known<'_>, progress: &Progress, now: Timestamp) -> Next {
    let request = asked.request;
    let silent = request.prompts(Prompt::None);

    let session = match usable_session(request, known, progress, now) {
        Ok(session) => session,
        // OpenID Connect Core §3.1.2.1: prompt=none never shows a page. And whoever signed in here just now although the hint
        // names somebody else would be asked for ever.
        Err(because) if silent || (because == LoginBecause::OtherUser && signed_in_here(known, progress)) => {
            return Next::Refuse(Reason::LoginRequired { because });
        }
        Err(because) => return Next::Login { because },
    };
    // Signing in was choosing.
    if request.prompts(Prompt::SelectAccount) && !progress.selected && !signed_in_here(known, progress) {
        return Next::SelectAccount;
    }
    match missing_factor(asked, known, progress, session) {
        Some(Wanted::Unmet) => {
            let (wanted, present) = (request.essential_acr.clone(), Some(session.level.as_str().to_owned()));
            return Next::Refuse(Reason::AcrUnmet { wanted, present });
        }
        // Nothing that the client or the server demands is ever left out.
        Some(Wanted::Demanded) if silent => return Next::Refuse(Reason::LoginRequired { because: LoginBecause::SecondFactor }),
        // acr_values are a wish (OpenID Connect Core §3.1.2.1), and prompt=none comes before it. The answer says what is true.
        Some(Wanted::Wished) if silent => {}
        Some(Wanted::Demanded | Wanted::Wished) => return Next::SecondFactor,
        None => {}
    }

    let scopes = grantable(&request.scopes, asked.client, asked.catalogue, session.admin);
    if let (true, Some(first)) = (scopes.is_empty(), request.scopes.first()) {
        return Next::Refuse(Reason::ScopeNotAllowed { scope: first.clone(), allowed: Vec::new() });
    }
    // Without openid nobody is signed in anywhere, and there is nothing to tell.
    let openid = scopes.iter().any(|scope| scope == scope::OPENID);
    let allowed = if openid { asked.client.allowed_scopes(asked.catalogue.resources()) } else { Vec::new() };
    let asked_claims = request.asked_claims.within(&allowed);
    let claims = asked_claims.beyond(&scopes);
    if !needs_consent(asked, known.consent, progress, &scopes, &claims) {
        return Next::Issue { scopes, claims: asked_claims };
    }
    if silent {
        let is_given = |scope: &String| known.consent.is_some_and(|consent| consent.scopes.contains(scope));
        let is_told = |claim: &String| known.consent.is_some_and(|consent| consent.gives(claim));
        let mut missing: Vec<String> = scopes.into_iter().filter(|scope| !is_given(scope)).collect();
        missing.extend(claims.into_iter().filter(|claim| !is_told(claim)));
        return Next::Refuse(Reason::ConsentRequired { missing });
    }
    Next::Consent { scopes, claims }
}

/// What this person can grant this client now: the client's registration and the resources may have changed since the request
/// was checked, and admin scopes are for administrators.
pub fn grantable(scopes: &[String], client: &Client, catalogue: &Catalogue, is_admin: bool) -> Vec<String> {
    let allowed = client.allowed_scopes(catalogue.resources());
    let grants = |scope: &&String| {
        allowed.contains(scope)
            && (is_admin || !resource::is_admin(scope))
            && (client.uses(GrantType::RefreshToken) || *scope != scope::OFFLINE_ACCESS)
    };
    scopes.iter().filter(grants).cloned().collect()
}
