//! Every page and every refusal, one scene bent at a time.

use std::time::Duration;

use proptest::prelude::*;

use super::super::scene::{self, NOW};
use super::*;
use crate::oidc::session::Session;
use crate::oidc::user::User;

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
    assert_eq!(a_scene("").next(), Next::Issue { scopes: vec!["openid".into(), "email".into()], claims: ClaimsRequest::default() });
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
            assert_eq!(matches!(next(&request, Progress::default()), Next::Consent { .. }), asked, "{redirect_uri} {first_party}");
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
        Next::Issue { scopes: vec!["openid".into(), "admin:write".into(), "admin:read".into()], claims: ClaimsRequest::default() }
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
