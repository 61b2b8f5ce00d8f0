//! Passkeys: challenges that are good for one answer on one page in one browser, and what answers them. A passkey is a second factor
//! after the password; one that verifies its person is all that it takes to sign in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use url::{Host, Url};
use uuid::Uuid;

use super::{Finished, Proved, Step, digests, finish, told};
use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::factors::recovery::{self, RecoveryCode};
use crate::factors::webauthn::{self, Assertion, Expected, Wrong};
use crate::oauth::refusal::{FactorBranch, Reason};
use crate::oidc::authentication::Method;
use crate::oidc::user::User;
use crate::seal::Purpose;
use crate::secret::{Digest, Secret, constant_time_eq};
use crate::service::address::Prefix;
use crate::service::audit::{self, Actor};
use crate::service::browser::Browser;
use crate::service::login::{self, Begun, SecondProof, SignedIn};
use crate::service::throttle::Subject;
use crate::storage::audit::AuditEvent;
use crate::storage::factors::{self as store, Change, Passkey, Spent};
use crate::storage::users;

/// How long a page may be open before its challenge is worth nothing.
const CHALLENGE_LIFETIME: std::time::Duration = std::time::Duration::from_secs(1800);
/// More passkeys than that nobody needs.
pub const MOST: u64 = 20;

/// What the sign-in page's challenge is about.
pub const SIGN_IN: &str = "sign-in page";

/// What an authenticator said, and to which challenge of ours.
#[derive(Debug, Clone)]
pub struct Answer {
    /// As our script sends it.
    pub json: String,
    /// [`Challenge::token`], as the page's form brings it back.
    pub challenge: String,
}

/// Given to the browser with a page.
#[derive(Debug)]
pub struct Challenge {
    /// What the authenticator signs, base64url.
    pub value: String,
    /// For the page's form: the same with its time and a MAC over them, the browser and the page's subject.
    pub token: Secret<String>,
}

/// The host that passkeys are bound to; `None` where browsers make none: an address instead of a name.
pub fn rp_id(app: &App) -> Option<String> {
    match Url::parse(app.config.issuer.as_str()).ok()?.host()? {
        Host::Domain(name) => Some(name.to_owned()),
        Host::Ipv4(_) | Host::Ipv6(_) => None,
    }
}

/// A new challenge for a page about `about`, bound to this browser.
pub fn challenge(app: &App, binding: &Secret<String>, about: &str, now: Timestamp) -> Challenge {
    let value = entropy::token(app.entropy.as_ref()).expose().clone();
    let issued = now.micros().to_string();
    let (key_id, mac) = app.keys.data().mac(Purpose::Cookie, &parts(binding, about, &issued, &value));
    let token = Secret::new(format!("{issued}.{value}.{key_id}.{}", URL_SAFE_NO_PAD.encode(mac)));
    Challenge { value, token }
}

fn parts<'a>(binding: &'a Secret<String>, about: &'a str, issued: &'a str, value: &'a str) -> [&'a [u8]; 5] {
    [b"passkey challenge", binding.expose().as_bytes(), about.as_bytes(), issued.as_bytes(), value.as_bytes()]
}

/// The challenge behind a token of ours, if it is of this browser and page, and young.
fn answered(app: &App, token: &str, about: &str, browser: &Browser, now: Timestamp) -> Option<(Vec<u8>, Spent)> {
    let mut fields = token.splitn(4, '.');
    let (issued, value, key_id, mac) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (key_id, mac) = (key_id.parse().ok()?, URL_SAFE_NO_PAD.decode(mac).ok()?);
    let keys = app.keys.data();
    let ours = browser.bindings.iter().any(|binding| {
        let expected = keys.mac_with(Purpose::Cookie, key_id, &parts(binding, about, issued, value));
        expected.is_some_and(|expected| constant_time_eq(&expected, &mac))
    });
    let expires_at = Timestamp::from_micros(issued.parse().ok()?).plus(CHALLENGE_LIFETIME);
    if !ours || expires_at <= now {
        return None;
    }
    Some((URL_SAFE_NO_PAD.decode(value).ok()?, Spent { digest: Digest::of(value.as_bytes()), expires_at }))
}

/// The passkey that an answer names, if it holds at this moment. That it counts once is for the write to see to.
pub(super) async fn check(
    app: &App,
    answer: &Answer,
    about: &str,
    browser: &Browser,
    now: Timestamp,
) -> Result<Result<(Passkey, Proved), FactorBranch>, Reason> {
    let Ok(assertion) = Assertion::read(&answer.json) else { return Ok(Err(FactorBranch::PasskeyMalformed)) };
    let Some(passkey) = store::passkey(&app.db, &assertion.credential_id).await? else {
        return Ok(Err(FactorBranch::PasskeyUnknown));
    };
    let Some((challenge, spent)) = answered(app, &answer.challenge, about, browser, now) else {
        return Ok(Err(FactorBranch::PasskeyElsewhere));
    };
    let Some(rp_id) = rp_id(app) else { return Ok(Err(FactorBranch::PasskeyElsewhere)) };
    let expected = Expected { origin: app.config.issuer.origin(), rp_id: &rp_id, challenge: &challenge };
    let last_count = u32::try_from(passkey.sign_count).unwrap_or(u32::MAX);
    Ok(match assertion.check(passkey.algorithm, &passkey.public_key, last_count, &expected) {
        Ok(asserted) => {
            let method = Method::Passkey { verified: asserted.verified, synced: asserted.synced };
            let change = Change::SpendPasskey { id: passkey.id, sign_count: asserted.sign_count.into(), challenge: spent };
            Ok((passkey, Proved { method, change }))
        }
        Err(wrong) => Err(branch(wrong)),
    })
}

fn branch(wrong: Wrong) -> FactorBranch {
    match wrong {
        Wrong::Form => FactorBranch::PasskeyMalformed,
        Wrong::Context => FactorBranch::PasskeyElsewhere,
        Wrong::Presence => FactorBranch::PasskeyNotVerified,
        Wrong::Signature => FactorBranch::PasskeySignature,
        Wrong::Counter => FactorBranch::PasskeyCopied,
    }
}

/// Signs in with a passkey alone: it is something that the person has, and it verified them.
///
/// # Errors
/// [`Reason::FactorFailed`], [`Reason::SignInThrottled`], or the database is away.
pub async fn sign_in(app: &App, answer: &Answer, browser: &Browser, address: Prefix, now: Timestamp) -> Result<SignedIn, Reason> {
    let found = check(app, answer, SIGN_IN, browser, now).await?;
    let user = match &found {
        Ok((passkey, _)) => users::find(&app.db, passkey.user_id).await?,
        Err(_) => None,
    };
    let mut subjects = vec![Subject::Address(address.to_string()), Subject::Everybody];
    subjects.extend(user.as_ref().map(|user| Subject::Account(users::canonical(&user.username))));
    let _attempt = app.throttle.check(&app.db, &subjects, now).await?;
    let sub = user.as_ref().map_or_else(|| "nobody".to_owned(), |user| user.sub.clone());
    let outcome = match (found, user) {
        (Ok(_), Some(user)) if !user.enabled => Err(FactorBranch::PasskeyOfDisabled),
        (Ok((_, Proved { method: Method::Passkey { verified: false, .. }, .. })), _) => Err(FactorBranch::PasskeyNotVerified),
        (Ok((_, Proved { method, change })), Some(user)) => {
            let proof = SecondProof { sign_in: None, change, events: Vec::new() };
            match login::begin_session(app, user, &[method], (None, Some(proof)), browser, now).await? {
                Begun::Yes(signed_in) => return Ok(*signed_in),
                Begun::Spent => Err(FactorBranch::PasskeyReplayed),
                Begun::Changed | Begun::FactorDue => Err(FactorBranch::PasskeyOfDisabled),
            }
        }
        (Ok(_), None) => Err(FactorBranch::PasskeyUnknown),
        (Err(branch), _) => Err(branch),
    };
    match outcome {
        Ok(signed_in) => Ok(signed_in),
        Err(branch) => {
            app.throttle.failure(&app.db, &subjects, now).await?;
            metrics::counter!("chancery_sign_in_failures_total").increment(1);
            Err(Reason::FactorFailed { branch, sub })
        }
    }
}

/// What an authenticator keeps of a person in place of a name: says nothing, and is the same for all of their passkeys.
pub fn user_handle(user: &User) -> String {
    URL_SAFE_NO_PAD.encode(Digest::of(format!("passkey user handle {}", user.sub).as_bytes()).as_bytes())
}

/// The credential ids of a person, base64url.
///
/// # Errors
/// When the database is away.
pub async fn credential_ids(app: &App, user: &User) -> Result<Vec<String>, Reason> {
    Ok(ids(&list(app, user).await?))
}

/// Their credential ids, base64url.
pub fn ids(passkeys: &[Passkey]) -> Vec<String> {
    passkeys.iter().map(|passkey| URL_SAFE_NO_PAD.encode(&passkey.credential_id)).collect()
}

/// A person's passkeys, oldest first.
///
/// # Errors
/// When the database is away.
pub async fn list(app: &App, user: &User) -> Result<Vec<Passkey>, Reason> {
    Ok(store::passkeys(&app.db, user.id).await?)
}

/// Enrols a passkey at a step that [`Step::may_change`]: in a session, or in the middle of a sign-in that needs a second factor. Answers with the session under its new cookie, and recovery codes if the
/// person has none.
///
/// # Errors
/// [`Reason::FactorFailed`] if it is not what it should be, [`Reason::InteractionUnknown`] if the session is over.
pub async fn enrol(
    app: &App,
    step: Step,
    answer: &Answer,
    browser: &Browser,
    now: Timestamp,
) -> Result<(Box<SignedIn>, Vec<RecoveryCode>), Reason> {
    let refused = |branch| Reason::FactorFailed { branch, sub: step.user.sub.clone() };
    let (challenge, spent) =
        answered(app, &answer.challenge, &step.about(), browser, now).ok_or_else(|| refused(FactorBranch::PasskeyElsewhere))?;
    let rp_id = rp_id(app).ok_or_else(|| refused(FactorBranch::PasskeyElsewhere))?;
    let expected = Expected { origin: app.config.issuer.origin(), rp_id: &rp_id, challenge: &challenge };
    let new = webauthn::register(&answer.json, &expected).map_err(|wrong| refused(branch(wrong)))?;
    if step.factors.passkeys >= MOST {
        return Err(refused(FactorBranch::PasskeyMalformed));
    }
    let user_id = step.user.id;
    let recovery_codes = if step.factors.recovery_codes == 0 { recovery::generate(app.entropy.as_ref()) } else { Vec::new() };
    let passkey = Passkey {
        id: entropy::row_id(app.entropy.as_ref(), now),
        user_id,
        credential_id: new.credential_id,
        algorithm: new.algorithm,
        public_key: new.public_key,
        sign_count: new.sign_count.into(),
        synced: new.synced,
        device: browser.device.clone(),
        created_at: now,
        last_used_at: now,
    };
    let method = Method::Passkey { verified: new.verified, synced: new.synced };
    let events = vec![told(
        app,
        now,
        &step.user,
        "factor.add",
        json!({ "factor": "passkey", "id": passkey.id, "synced": passkey.synced, "device": passkey.device }),
    )];
    let first = !step.factors.any();
    let change = Change::EnrolPasskey { passkey, first, challenge: spent, recovery_codes: digests(user_id, &recovery_codes) };
    let sub = step.user.sub.clone();
    match finish(app, step, Proved { method, change }, events, browser, now).await? {
        Finished::SignedIn(signed_in) => Ok((signed_in, recovery_codes)),
        Finished::Spent => Err(Reason::FactorFailed { branch: FactorBranch::PasskeyReplayed, sub }),
    }
}

/// Takes a passkey away. One that is not this person's stays.
///
/// # Errors
/// When the database is away.
pub async fn remove(app: &App, user: &User, id: Uuid, now: Timestamp) -> Result<(), Reason> {
    let event = AuditEvent {
        was: Some(json!({ "factor": "passkey", "id": id }).to_string()),
        ..audit::event(app, now, &Actor::User(user.id), "factor.remove", &user.id.to_string())
    };
    Ok(store::remove_passkey(&app.db, user.id, id, &event).await.map(drop)?)
}
