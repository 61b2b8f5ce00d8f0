//! What the person has to see before a code is issued: sign in, choose an account, consent, nothing, or never
//! (OpenID Connect Core §3.1.2.3, §3.1.2.4, §3.1.2.6; design 4.1, 4.2, 7).
//!
//! The same function is asked at the first request and after every page, so no page can be skipped and nothing is issued on the
//! strength of an earlier look at the world.

use std::time::Duration;

use super::{Prompt, ValidatedAuthorize};
use crate::clock::Timestamp;
use crate::oauth::client::{Client, GrantType};
use crate::oauth::redirect_uri;
use crate::oauth::refusal::{LoginBecause, Reason};
use crate::oauth::resource::{self, Catalogue};
use crate::oauth::scope;
use crate::oidc::authentication::{Acr, Demand};
use crate::oidc::claims::scope_of;
use crate::oidc::claims_request::ClaimsRequest;
use crate::oidc::session::Session;
use crate::oidc::user::User;

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

/// A browser session and its person, as far as the decision needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionFacts {
    /// As the client knows the person.
    pub sub: String,
    pub enabled: bool,
    /// May be granted admin scopes.
    pub admin: bool,
    pub auth_time: Timestamp,
    /// What was proved at sign-in and since.
    pub level: Acr,
    pub state: SessionState,
}

/// Is a session alive?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    Live,
    /// Idle for too long, or past its absolute end.
    Expired {
        expired_at: Timestamp,
    },
    Ended,
}

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
    fn gives(&self, claim: &str) -> bool {
        let with_scope = scope_of(claim).is_some_and(|of| self.scopes.iter().any(|scope| scope == of));
        with_scope || self.claims.iter().any(|given| given == claim)
    }
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

impl SessionFacts {
    /// The facts of a session; `sub` is how the client knows its person, `idle` is `[lifetimes] session_idle`.
    pub fn of(session: &Session, user: &User, sub: String, idle: Duration, now: Timestamp) -> Self {
        let expired_at = session.expires_at.min(session.last_used_at.plus(idle));
        let state = match session.ended_at {
            Some(_) => SessionState::Ended,
            None if now >= expired_at => SessionState::Expired { expired_at },
            None => SessionState::Live,
        };
        Self {
            sub,
            enabled: user.enabled,
            admin: user.admin,
            auth_time: session.auth_time,
            level: Acr::of(session.acr.as_deref()),
            state,
        }
    }
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

/// The session, if nobody has to sign in for this request.
fn usable_session<'a>(
    request: &ValidatedAuthorize,
    known: &Known<'a>,
    progress: &Progress,
    now: Timestamp,
) -> Result<&'a SessionFacts, LoginBecause> {
    let session = known.session.ok_or(LoginBecause::NoSession)?;
    match session.state {
        SessionState::Live => {}
        SessionState::Expired { expired_at } => return Err(LoginBecause::SessionExpired { expired_at, now }),
        SessionState::Ended => return Err(LoginBecause::SessionEnded),
    }
    if !session.enabled {
        return Err(LoginBecause::UserDisabled);
    }
    // OpenID Connect Core §3.1.2.2: never an answer about somebody else than the request names.
    let is_named = request.subs.is_empty() || request.subs.contains(&session.sub);
    if !is_named || known.hint_sub.is_some_and(|sub| sub != session.sub) {
        return Err(LoginBecause::OtherUser);
    }
    // A sign-in within this interaction answers both prompt=login and max_age, however long the consent page then takes.
    if signed_in_here(known, progress) {
        return Ok(session);
    }
    if request.prompts(Prompt::Login) {
        return Err(LoginBecause::PromptLogin);
    }
    if let Some(max_age) = request.max_age {
        let age = now.since(session.auth_time);
        // OpenID Connect Core §3.1.2.1: max_age=0 is prompt=login.
        if max_age == 0 || age > Duration::from_secs(max_age) {
            return Err(LoginBecause::MaxAge { max_age, age: age.as_secs() });
        }
    }
    Ok(session)
}

/// The present session was begun by signing in within this interaction.
fn signed_in_here(known: &Known<'_>, progress: &Progress) -> bool {
    matches!((known.session, progress.signed_in_at), (Some(session), Some(at)) if session.auth_time >= at)
}

/// Why a second factor is asked for.
enum Wanted {
    Demanded,
    Wished,
    /// It is a condition, and this person cannot meet it, or did not when asked.
    Unmet,
}

/// Must, or should, a second factor be proved for this request?
fn missing_factor(asked: &Asked<'_>, known: &Known<'_>, progress: &Progress, session: &SessionFacts) -> Option<Wanted> {
    if session.level < asked.demand.level() {
        return Some(Wanted::Demanded);
    }
    // §5.5.1.1: one of these, or no answer.
    if let Some(least) = Acr::least_of(&asked.request.essential_acr) {
        if session.level >= least {
            return None;
        }
        let can = Acr::wished(&asked.request.essential_acr, known.reachable).is_some();
        return Some(if can && !progress.stepped_up { Wanted::Demanded } else { Wanted::Unmet });
    }
    // Asked once: whoever could have proved more and did not is not asked for ever.
    if progress.stepped_up {
        return None;
    }
    let wished = Acr::wished(&asked.request.acr_values, known.reachable.max(session.level))?;
    (session.level < wished).then_some(Wanted::Wished)
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

/// Must the consent page be shown? (design 4.1, 7; security.md R-24)
///
/// `offline_access` counts wherever this lets a code be issued: the person saw it named on the page, now or before, or the page may be
/// skipped (OpenID Connect Core §11).
fn needs_consent(
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::scene::{self, NOW};
    use super::*;

    fn session() -> SessionFacts {
        SessionFacts {
            sub: "alice".to_owned(),
            enabled: true,
            admin: false,
            auth_time: NOW.minus(Duration::from_secs(100)),
            level: Acr::Password,
            state: SessionState::Live,
        }
    }

    fn consent(scopes: &str) -> Consent {
        Consent { scopes: scope::parse(scopes).unwrap(), resources: Vec::new(), claims: Vec::new(), metadata_version: 1 }
    }

    /// A request with its surroundings, to be bent one by one.
    struct Scene {
        client: Client,
        scope: &'static str,
        more: &'static str,
        session: Option<SessionFacts>,
        consent: Option<Consent>,
        hint_sub: Option<&'static str>,
        progress: Progress,
        demand: Demand,
        reachable: Acr,
    }

    fn a_scene(more: &'static str) -> Scene {
        Scene {
            client: scene::web(),
            scope: "openid email",
            more,
            session: Some(session()),
            consent: Some(consent("openid email")),
            hint_sub: None,
            progress: Progress::default(),
            demand: Demand::Optional,
            reachable: Acr::Password,
        }
    }

    fn a_scene_like(scene: &Scene) -> Scene {
        Scene { client: scene.client.clone(), session: scene.session.clone(), consent: scene.consent.clone(), ..*scene }
    }

    impl Scene {
        fn next(&self) -> Next {
            let request = scene::request(&self.client, self.scope, self.more);
            let catalogue = scene::catalogue();
            let asked = Asked { request: &request, client: &self.client, catalogue: &catalogue, demand: self.demand };
            let known = Known {
                session: self.session.as_ref(),
                consent: self.consent.as_ref(),
                hint_sub: self.hint_sub,
                reachable: self.reachable,
            };
            decide(&asked, &known, &self.progress, NOW)
        }

        fn issues(&self) -> bool {
            matches!(self.next(), Next::Issue { .. })
        }

        fn asks_consent(&self) -> bool {
            matches!(self.next(), Next::Consent { .. })
        }

        fn error(&self) -> &'static str {
            match self.next() {
                Next::Refuse(reason) => reason.wire().error,
                other => panic!("not refused: {other:?}"),
            }
        }

        fn login(&self) -> LoginBecause {
            match self.next() {
                Next::Login { because } => because,
                other => panic!("no login: {other:?}"),
            }
        }

        fn after_sign_in(mut self) -> Self {
            self.progress.signed_in_at = Some(NOW);
            self.session = Some(SessionFacts { auth_time: NOW, ..session() });
            self
        }
    }

    #[test]
    fn a_known_person_with_consent_sees_no_page() {
        assert_eq!(
            a_scene("").next(),
            Next::Issue { scopes: vec!["openid".into(), "email".into()], claims: ClaimsRequest::default() }
        );
        assert!(a_scene("&prompt=none").issues());
    }

    #[test]
    fn who_is_not_signed_in_signs_in() {
        let expired_at = NOW;
        for (session, because) in [
            (None, LoginBecause::NoSession),
            (Some(SessionFacts { state: SessionState::Ended, ..session() }), LoginBecause::SessionEnded),
            (
                Some(SessionFacts { state: SessionState::Expired { expired_at }, ..session() }),
                LoginBecause::SessionExpired { expired_at, now: NOW },
            ),
            (Some(SessionFacts { enabled: false, ..session() }), LoginBecause::UserDisabled),
        ] {
            let mut scene = a_scene("");
            scene.session = session;
            assert_eq!(scene.login(), because);
            scene.more = "&prompt=none";
            assert_eq!(scene.error(), "login_required");
        }
    }

    #[test]
    fn a_session_expires_when_idle_or_old() {
        let idle = Duration::from_secs(60);
        let session = Session {
            id: uuid::Uuid::nil(),
            sid: String::new(),
            user_id: uuid::Uuid::nil(),
            auth_time: NOW,
            acr: None,
            amr: Vec::new(),
            created_at: NOW,
            last_used_at: NOW,
            expires_at: NOW.plus(Duration::from_secs(100)),
            ended_at: None,
            confirmed_at: None,
            device: None,
            address: None,
        };
        let user = User {
            id: uuid::Uuid::nil(),
            sub: "alice".to_owned(),
            username: "alice".to_owned(),
            enabled: true,
            admin: false,
            groups: Vec::new(),
            claims: crate::oidc::user::Claims::default(),
            created_at: NOW,
            updated_at: NOW,
        };
        let state = |session: &Session, after: u64| {
            SessionFacts::of(session, &user, user.sub.clone(), idle, NOW.plus(Duration::from_secs(after))).state
        };
        assert_eq!(state(&session, 59), SessionState::Live);
        assert_eq!(state(&session, 60), SessionState::Expired { expired_at: NOW.plus(idle) });
        let used = Session { last_used_at: NOW.plus(Duration::from_secs(90)), ..session.clone() };
        assert_eq!(state(&used, 99), SessionState::Live);
        assert_eq!(state(&used, 100), SessionState::Expired { expired_at: used.expires_at });
        assert_eq!(state(&Session { ended_at: Some(NOW), ..session }, 0), SessionState::Ended);
    }

    /// openid.md C 39.
    #[test]
    fn prompt_login_asks_once_within_the_interaction() {
        assert_eq!(a_scene("&prompt=login").login(), LoginBecause::PromptLogin);
        assert!(a_scene("&prompt=login").after_sign_in().issues());
        let mut elsewhere = a_scene("&prompt=login");
        elsewhere.progress.signed_in_at = Some(NOW);
        assert_eq!(elsewhere.login(), LoginBecause::PromptLogin, "the session is older than the sign-in: another one");
    }

    /// openid.md C 40, 41, 43.
    #[test]
    fn max_age_looks_at_the_sign_in_and_not_at_the_pages_after_it() {
        assert!(a_scene("&max_age=10000").issues());
        assert!(a_scene("&max_age=100").issues(), "exactly as old as allowed");
        assert_eq!(a_scene("&max_age=99").login(), LoginBecause::MaxAge { max_age: 99, age: 100 });
        let mut slow = a_scene("&max_age=1").after_sign_in();
        let long_ago = NOW.minus(Duration::from_secs(600));
        slow.progress.signed_in_at = Some(long_ago);
        slow.session = Some(SessionFacts { auth_time: long_ago, ..session() });
        assert!(slow.issues(), "the consent page took ten minutes");
    }

    #[test]
    fn max_age_zero_always_asks() {
        let mut scene = a_scene("&max_age=0");
        scene.session = Some(SessionFacts { auth_time: NOW, ..session() });
        assert_eq!(scene.login(), LoginBecause::MaxAge { max_age: 0, age: 0 });
        assert!(a_scene("&max_age=0").after_sign_in().issues());
    }

    #[test]
    fn max_age_with_prompt_none_is_an_error() {
        assert_eq!(a_scene("&max_age=1&prompt=none").error(), "login_required");
    }

    /// openid.md C 44.
    #[test]
    fn the_hint_names_who_must_be_signed_in() {
        let mut scene = a_scene("&prompt=none&id_token_hint=x");
        scene.hint_sub = Some("alice");
        assert!(scene.issues());
        scene.hint_sub = Some("bob");
        assert_eq!(scene.error(), "login_required");
        scene.more = "&id_token_hint=x";
        assert_eq!(scene.login(), LoginBecause::OtherUser);
        let again = scene.after_sign_in();
        assert_eq!(again.error(), "login_required", "alice signed in again, and bob was asked for");
    }

    #[test]
    fn select_account_asks_once_and_a_sign_in_is_a_choice() {
        assert_eq!(a_scene("&prompt=select_account").next(), Next::SelectAccount);
        let mut chosen = a_scene("&prompt=select_account");
        chosen.progress.selected = true;
        assert!(chosen.issues());
        assert!(a_scene("&prompt=select_account").after_sign_in().issues());
        let mut nobody = a_scene("&prompt=select_account");
        nobody.session = None;
        assert_eq!(nobody.login(), LoginBecause::NoSession);
        assert_eq!(a_scene("&prompt=login+select_account").login(), LoginBecause::PromptLogin);
    }

    /// openid.md C 45, 46.
    #[test]
    fn consent_is_asked_when_it_is_not_remembered_or_when_asked_for() {
        let mut scene = a_scene("");
        scene.consent = None;
        assert_eq!(scene.next(), Next::Consent { scopes: vec!["openid".into(), "email".into()], claims: Vec::new() });
        scene.more = "&prompt=none";
        assert_eq!(scene.error(), "consent_required");
        assert!(a_scene("&prompt=consent").asks_consent(), "although it is remembered");
        let mut done = a_scene("&prompt=consent");
        done.progress.consented = true;
        assert!(done.issues());
    }

    /// R-24.
    #[test]
    fn consent_is_remembered_for_these_scopes_resources_and_this_version_of_the_client() {
        let mut grown = a_scene("");
        grown.scope = "openid email orders:read";
        assert!(grown.asks_consent());
        let mut fewer = a_scene("");
        fewer.scope = "openid";
        assert!(fewer.issues());
        let mut changed = a_scene("");
        changed.client.metadata_version = 2;
        assert!(changed.asks_consent());
        let mut resource = a_scene("&resource=https://orders.example");
        resource.scope = "openid orders:read";
        resource.consent = Some(consent("openid orders:read"));
        assert!(resource.asks_consent());
        resource.consent = Some(Consent { resources: vec!["https://orders.example".to_owned()], ..consent("openid orders:read") });
        assert!(resource.issues());
    }

    #[test]
    fn a_smaller_consent_takes_nothing_back_from_a_larger_one() {
        let before = Consent { resources: vec!["https://orders.example".to_owned()], ..consent("openid email orders:read") };
        let both = consent("openid profile").and_before(Some(&before));
        assert_eq!(both.scopes, ["openid", "profile", "email", "orders:read"]);
        assert_eq!(both.resources, before.resources);
        let other_version = Consent { metadata_version: 2, ..consent("openid") };
        assert_eq!(other_version.clone().and_before(Some(&before)), other_version);
        assert_eq!(consent("openid").and_before(None), consent("openid"));
    }

    /// Design 7 and R-24: whoever can pose as the client is asked every time.
    #[test]
    fn public_clients_on_the_device_are_asked_every_time() {
        for (redirect_uri, asked) in [
            ("http://127.0.0.1/cb", true),
            ("https://localhost/cb", true),
            ("com.example.app:/cb", true),
            ("https://spa.example/", false),
        ] {
            let mut client = scene::spa();
            client.metadata.redirect_uris = vec![redirect_uri.to_owned()];
            for first_party in [false, true] {
                client.metadata.first_party = first_party;
                let mut request = scene::request(&scene::web(), "openid email", "");
                request.redirect_uri = redirect_uri.to_owned();
                let (consent, catalogue, session) = (consent("openid email"), scene::catalogue(), session());
                let known = Known { session: Some(&session), consent: Some(&consent), hint_sub: None, reachable: Acr::Password };
                let next = |request: &ValidatedAuthorize, progress: Progress| {
                    let asked = Asked { request, client: &client, catalogue: &catalogue, demand: Demand::Optional };
                    decide(&asked, &known, &progress, NOW)
                };
                assert_eq!(
                    matches!(next(&request, Progress::default()), Next::Consent { .. }),
                    asked,
                    "{redirect_uri} {first_party}"
                );
                let consented = Progress { consented: true, ..Progress::default() };
                assert!(matches!(next(&request, consented), Next::Issue { .. }));
                request.prompt = vec![Prompt::None];
                let refused = matches!(next(&request, Progress::default()), Next::Refuse(Reason::ConsentRequired { .. }));
                assert_eq!(refused, asked, "{redirect_uri}");
            }
        }
    }

    /// Design 7.
    #[test]
    fn a_first_party_client_skips_the_page_but_not_with_prompt_consent_or_admin_scopes() {
        let mut scene = a_scene("");
        scene.client.metadata.first_party = true;
        scene.client.metadata.scope = Some("openid email offline_access admin:write".to_owned());
        scene.consent = None;
        assert!(scene.issues());
        scene.scope = "openid offline_access";
        assert_eq!(
            scene.next(),
            Next::Issue { scopes: vec!["openid".into(), "offline_access".into()], claims: ClaimsRequest::default() }
        );
        scene.more = "&prompt=consent";
        assert!(scene.asks_consent());
        scene.more = "";
        scene.scope = "openid admin:read";
        scene.session = Some(SessionFacts { admin: true, ..session() });
        assert!(scene.asks_consent());
    }

    /// A request with a claims parameter.
    fn asking(json: &str) -> &'static str {
        let encoded: String = url::form_urlencoded::byte_serialize(json.as_bytes()).collect();
        Box::leak(format!("&claims={encoded}").into_boxed_str())
    }

    /// Design 4.1: consent remembers claims.
    #[test]
    fn claims_that_nobody_agreed_to_are_asked_for() {
        let mut scene =
            a_scene(asking(r#"{"userinfo": {"name": null, "email": null}, "id_token": {"name": null, "phone_number": null}}"#));
        let (scopes, claims) = (vec!["openid".into(), "email".into()], vec!["name".to_owned()]);
        // Phone is not the client's to ask for, and the address comes with its scope.
        assert_eq!(scene.next(), Next::Consent { scopes: scopes.clone(), claims: claims.clone() });
        let silent = Scene { more: Box::leak(format!("{}&prompt=none", scene.more).into_boxed_str()), ..a_scene_like(&scene) };
        assert_eq!(silent.next(), Next::Refuse(Reason::ConsentRequired { missing: claims.clone() }));
        let granted = ClaimsRequest { userinfo: vec!["name".to_owned(), "email".to_owned()], id_token: claims.clone() };
        for consent in [Consent { claims, ..consent("openid email") }, consent("openid email profile")] {
            scene.consent = Some(consent);
            assert_eq!(scene.next(), Next::Issue { scopes: scopes.clone(), claims: granted.clone() });
        }
        let before = Consent { claims: vec!["name".to_owned()], ..consent("openid") };
        let both = Consent { claims: vec!["picture".to_owned()], ..consent("openid") }.and_before(Some(&before));
        assert_eq!(both.claims, ["picture", "name"]);
    }

    #[test]
    fn a_person_who_is_asked_for_by_value_is_the_one_or_nobody() {
        assert!(a_scene(asking(r#"{"id_token": {"sub": {"value": "alice"}}}"#)).issues());
        let other = a_scene(asking(r#"{"userinfo": {"sub": {"values": ["bob", "carol"]}}}"#));
        assert_eq!(other.login(), LoginBecause::OtherUser);
        assert_eq!(other.after_sign_in().error(), "login_required");
    }

    /// OpenID Connect Core §5.5.1.1.
    #[test]
    fn an_essential_level_is_reached_or_there_is_no_answer() {
        let essential = asking(r#"{"id_token": {"acr": {"essential": true, "values": ["urn:gold", "urn:chancery:acr:mfa"]}}}"#);
        let mut scene = a_scene(essential);
        assert_eq!(scene.error(), "unmet_authentication_requirements", "there is nothing to reach it with");
        scene.reachable = Acr::MultiFactor;
        assert_eq!(scene.next(), Next::SecondFactor);
        let silent = Scene { more: Box::leak(format!("{essential}&prompt=none").into_boxed_str()), ..a_scene_like(&scene) };
        assert_eq!(silent.error(), "login_required");
        scene.progress.stepped_up = true;
        assert_eq!(scene.error(), "unmet_authentication_requirements", "asked once");
        for level in [Acr::MultiFactor, Acr::PhishingResistant] {
            scene.session = Some(SessionFacts { level, ..session() });
            assert!(scene.issues());
        }
        let wish = a_scene(asking(r#"{"id_token": {"acr": {"values": ["urn:chancery:acr:mfa"]}}}"#));
        assert!(wish.issues(), "a wish stays a wish");
    }

    #[test]
    fn a_demanded_factor_is_never_left_out() {
        let mut scene = a_scene("");
        scene.demand = Demand::Required;
        for (stepped_up, reachable) in [(false, Acr::Password), (true, Acr::MultiFactor)] {
            (scene.progress.stepped_up, scene.reachable) = (stepped_up, reachable);
            assert_eq!(scene.next(), Next::SecondFactor);
            assert_eq!(Scene { more: "&prompt=none", ..a_scene_like(&scene) }.error(), "login_required");
        }
        scene.session = Some(SessionFacts { level: Acr::MultiFactor, ..session() });
        assert!(scene.issues());
        // It comes after signing in and after choosing whose factor it is.
        let mut before = a_scene("&prompt=select_account");
        before.demand = Demand::Required;
        assert_eq!(before.next(), Next::SelectAccount);
        before.session = None;
        assert_eq!(before.login(), LoginBecause::NoSession);
    }

    /// OpenID Connect Core §3.1.2.1: acr_values are voluntary.
    #[test]
    fn a_wished_level_is_asked_for_once_and_where_it_can_be_reached() {
        let mut scene = a_scene("&acr_values=urn:chancery:acr:mfa");
        assert!(scene.issues(), "nobody is made to enrol by a wish");
        scene.reachable = Acr::MultiFactor;
        assert_eq!(scene.next(), Next::SecondFactor);
        scene.progress.stepped_up = true;
        assert!(scene.issues());
        scene.progress.stepped_up = false;
        scene.session = Some(SessionFacts { level: Acr::MultiFactor, ..session() });
        assert!(scene.issues());
        scene.session = Some(session());
        scene.more = "&acr_values=urn:chancery:acr:password+urn:chancery:acr:mfa";
        assert!(scene.issues(), "the client is content with what there is");
        scene.more = "&acr_values=urn:chancery:acr:mfa&prompt=none";
        assert!(scene.issues(), "the answer says which level it was");
    }

    #[test]
    fn admin_scopes_are_granted_to_administrators_alone() {
        let mut scene = a_scene("");
        scene.client.metadata.scope = Some("openid admin:write".to_owned());
        scene.scope = "openid admin:write admin:read";
        scene.progress.consented = true;
        assert_eq!(scene.next(), Next::Issue { scopes: vec!["openid".into()], claims: ClaimsRequest::default() });
        scene.session = Some(SessionFacts { admin: true, ..session() });
        assert_eq!(
            scene.next(),
            Next::Issue {
                scopes: vec!["openid".into(), "admin:write".into(), "admin:read".into()],
                claims: ClaimsRequest::default()
            }
        );
        scene.scope = "admin:read";
        scene.session = Some(session());
        assert_eq!(scene.error(), "invalid_scope");
    }

    #[test]
    fn a_scope_that_the_client_lost_meanwhile_is_not_granted() {
        let request = scene::request(&scene::web(), "openid email", "");
        let mut client = scene::web();
        client.metadata.scope = Some("openid".to_owned());
        let (catalogue, session, consent) = (scene::catalogue(), session(), consent("openid email"));
        let known = Known { session: Some(&session), consent: Some(&consent), hint_sub: None, reachable: Acr::Password };
        let asked = Asked { request: &request, client: &client, catalogue: &catalogue, demand: Demand::Optional };
        let next = decide(&asked, &known, &Progress::default(), NOW);
        assert_eq!(next, Next::Issue { scopes: vec!["openid".into()], claims: ClaimsRequest::default() });
    }

    proptest! {
        /// Whatever comes together: prompt=none never leads to a page; nothing is issued without a live session of an enabled
        /// person, nor more than was asked for; prompt=consent and prompt=login are never issued without their page.
        #[test]
        fn the_promises_hold_in_every_combination(
            prompts in proptest::sample::subsequence(vec![Prompt::Login, Prompt::Consent, Prompt::SelectAccount], 0..=3),
            silent: bool, max_age in proptest::option::of(0u64..300), hint in proptest::option::of(prop_oneof!["alice", "bob"]),
            has_session: bool, enabled: bool, admin: bool, state in 0u8..3, remembered: bool, public: bool, first_party: bool,
            signed_in in proptest::option::of(0u64..200), consented: bool, selected: bool, stepped_up: bool,
            demanded: bool, multi_factor: bool, wish in 0usize..3, can: bool,
        ) {
            let mut client = if public { scene::native() } else { scene::web() };
            client.metadata.first_party = first_party;
            let mut request = scene::request(&client, "openid email offline_access", "");
            request.prompt = if silent { vec![Prompt::None] } else { prompts };
            request.max_age = max_age;
            let state = match state {
                0 => SessionState::Live,
                1 => SessionState::Expired { expired_at: NOW },
                _ => SessionState::Ended,
            };
            let level = if multi_factor { Acr::MultiFactor } else { Acr::Password };
            let wishes = ["urn:unknown", Acr::Password.as_str(), Acr::MultiFactor.as_str()];
            request.acr_values = wishes.get(wish).map(|wish| (*wish).to_owned()).into_iter().collect();
            let facts = SessionFacts { enabled, admin, state, level, ..session() };
            let given = consent("openid email offline_access");
            let known = Known { session: has_session.then_some(&facts), consent: remembered.then_some(&given), hint_sub: hint.as_deref(),
                reachable: if can { Acr::MultiFactor } else { Acr::Password } };
            let signed_in_at = signed_in.map(|ago| NOW.minus(Duration::from_secs(ago)));
            let progress = Progress { signed_in_at, consented, selected, stepped_up };
            let catalogue = scene::catalogue();
            let demand = if demanded { Demand::Required } else { Demand::Optional };
            match decide(&Asked { request: &request, client: &client, catalogue: &catalogue, demand }, &known, &progress, NOW) {
                Next::Login { .. } | Next::SelectAccount | Next::Consent { .. } => prop_assert!(!silent),
                Next::SecondFactor => prop_assert!(!silent && !multi_factor && (demanded || (wish == 2 && can && !stepped_up))),
                Next::Refuse(reason) => {
                    let other_user = matches!(reason, Reason::LoginRequired { because: LoginBecause::OtherUser });
                    prop_assert!(silent || other_user);
                },
                Next::Issue { scopes, .. } => {
                    prop_assert!(has_session && enabled && facts.state == SessionState::Live);
                    prop_assert!(!demanded || multi_factor, "what is demanded was proved");
                    prop_assert!(silent || stepped_up || multi_factor || wish != 2 || !can, "what is wished for and possible was asked");
                    prop_assert!(scope::is_subset(&scopes, &request.scopes));
                    prop_assert!(hint.is_none_or(|sub| sub == facts.sub));
                    prop_assert!(!request.prompts(Prompt::Consent) || consented);
                    prop_assert!(!public || consented, "a client on the device is asked every time");
                    let fresh = progress.signed_in_at.is_some_and(|at| facts.auth_time >= at);
                    prop_assert!(!request.prompts(Prompt::Login) || fresh);
                    prop_assert!(max_age.is_none_or(|max_age| fresh || (max_age >= 100)));
                    prop_assert!(consented || first_party || remembered);
                }
            }
        }
    }
}
