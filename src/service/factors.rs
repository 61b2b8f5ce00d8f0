//! Second factors: who is asked for one, proving one, enrolling one. A person is asked after the password was right and before a session
//! begins, or in a session that was begun with less than is asked for now; both are a [`Step`].
//!
//! Every try is counted and slowed down together with the password's (security.md R-55), and nothing here is reached by who did not
//! prove the password first.

pub mod passkeys;

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use uuid::Uuid;

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::factors::recovery::{self, RecoveryCode};
use crate::factors::totp::{TotpSecret, Verdict};
use crate::oauth::client::Client;
use crate::oauth::refusal::{FactorBranch, Reason};
use crate::oidc::authentication::{self, Acr, Demand, Method};
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::seal::Purpose;
use crate::secret::{Digest, Secret};
use crate::service::address::Prefix;
use crate::service::audit::{self, Actor};
use crate::service::browser::{self, Browser};
use crate::service::login::{self, SignedIn};
use crate::service::throttle::Subject;
use crate::storage::audit::AuditEvent;
use crate::storage::factors::{self as store, Change, Summary};
use crate::storage::second_step::{self, Outcome, Raise};
use crate::storage::sign_ins::{self, SignIn};
use crate::storage::users;

/// From the right password to the second factor: time to find a phone.
const STEP_LIFETIME: Duration = Duration::from_secs(600);
/// How long a secret that was shown waits for its first code.
const ENROLMENT_LIFETIME: Duration = Duration::from_secs(1800);
/// Changing one's own factors needs a proof that is not older than this.
const RECENT: Duration = Duration::from_secs(600);

/// Whether a second factor is asked of everybody here: the client's own word, else the server's.
pub fn demand(app: &App, client: Option<&Client>) -> Demand {
    client.and_then(|client| client.metadata.second_factor).unwrap_or(app.config.factors.second_factor)
}

/// The level that a person can reach with what they have.
///
/// # Errors
/// When the database is away.
pub async fn reachable(app: &App, user: &User) -> Result<Acr, Reason> {
    let factors = store::summary(&app.db, user.id).await?;
    Ok(match (factors.passkeys > 0, factors.any()) {
        (true, _) => Acr::PhishingResistant,
        (false, true) => Acr::MultiFactor,
        (false, false) => Acr::Password,
    })
}

/// Somebody who is asked for a second factor, or about to enrol one.
#[derive(Debug, Clone)]
pub struct Step {
    pub user: User,
    pub factors: Summary,
    standing: Standing,
}

#[derive(Debug, Clone)]
enum Standing {
    /// The password was right, and no session has begun.
    SigningIn { id: Secret<String>, password_hash: Secret<String> },
    /// Signed in.
    SignedIn { session: Box<Session>, cookie: Digest },
}

/// What somebody typed.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A code of the authenticator app.
    Code(Secret<String>),
    RecoveryCode(Secret<String>),
    Passkey(passkeys::Answer),
}

/// A factor that was proved, and what must be spent for it.
#[derive(Debug)]
struct Proved {
    method: Method,
    change: Change,
}

impl Step {
    /// What a page of this step is about: a form that was shown for another is not answered for this one.
    pub fn about(&self) -> String {
        match &self.standing {
            Standing::SigningIn { id, .. } => format!("sign-in {}", id.expose()),
            Standing::SignedIn { session, .. } => format!("session {}", session.id),
        }
    }

    /// The id of the sign-in that waits, for the page's form.
    pub fn sign_in(&self) -> Option<&str> {
        match &self.standing {
            Standing::SigningIn { id, .. } => Some(id.expose().as_str()),
            Standing::SignedIn { .. } => None,
        }
    }

    /// May factors be enrolled and removed here? Only by who proved lately that it is them, and with a second factor where they have
    /// one: a session that somebody left open, or that was begun with a password alone, is not enough.
    pub fn may_change(&self, now: Timestamp) -> bool {
        match &self.standing {
            Standing::SigningIn { .. } => !self.factors.any(),
            Standing::SignedIn { session, .. } => {
                let proved = !self.factors.any() || Acr::of(session.acr.as_deref()) >= Acr::MultiFactor;
                proved && now.since(session.proved_at()) <= RECENT
            }
        }
    }

    /// Is this somebody who is signed in, but has not proved the second factor that they have?
    pub fn is_below(&self) -> bool {
        match &self.standing {
            Standing::SigningIn { .. } => true,
            Standing::SignedIn { session, .. } => self.factors.any() && Acr::of(session.acr.as_deref()) < Acr::MultiFactor,
        }
    }
}

/// Notes that a password was right where more is needed, and gives the id of the step that follows, bound to this browser.
pub(super) async fn wait(
    app: &App,
    user: &User,
    password_hash: &str,
    browser: &Browser,
    now: Timestamp,
) -> Result<Secret<String>, Reason> {
    // The form that brought the password was bound to it already.
    let binding = browser.binding().ok_or(Reason::CsrfMismatch)?;
    let id = entropy::token(app.entropy.as_ref());
    let sign_in = SignIn {
        browser: binding.digest(),
        user_id: user.id,
        password_digest: Digest::of(password_hash.as_bytes()),
        created_at: now,
        expires_at: now.plus(STEP_LIFETIME),
        consumed_at: None,
    };
    sign_ins::insert(&app.db, &id.digest(), &sign_in).await?;
    Ok(id)
}

/// Who is at this step: by the sign-in that waits, if one is named, else by the session of this browser.
///
/// # Errors
/// [`Reason::InteractionUnknown`] and [`Reason::InteractionExpired`]: nobody, or not in this browser.
pub async fn step(app: &App, sign_in: Option<&str>, browser: &Browser, now: Timestamp) -> Result<Step, Reason> {
    let (user, standing) = match sign_in {
        Some(id) => waiting(app, Secret::new(id.to_owned()), browser, now).await?,
        None => {
            let cookie = browser.session.as_ref().map(Secret::digest).ok_or(Reason::InteractionUnknown)?;
            let (session, user) = browser::session(app, browser).await?.ok_or(Reason::InteractionUnknown)?;
            if !user.enabled || !session.is_live(app.config.lifetimes.session_idle, now) {
                return Err(Reason::InteractionUnknown);
            }
            (user, Standing::SignedIn { session: Box::new(session), cookie })
        }
    };
    let factors = store::summary(&app.db, user.id).await?;
    Ok(Step { user, factors, standing })
}

async fn waiting(app: &App, id: Secret<String>, browser: &Browser, now: Timestamp) -> Result<(User, Standing), Reason> {
    let found = sign_ins::find(&app.db, &id.digest()).await?.ok_or(Reason::InteractionUnknown)?;
    if !browser.began(&found.browser) || found.consumed_at.is_some() {
        return Err(Reason::InteractionUnknown);
    }
    if found.expires_at <= now {
        return Err(Reason::InteractionExpired { expired_at: found.expires_at, now });
    }
    let user = users::find(&app.db, found.user_id).await?.filter(|user| user.enabled).ok_or(Reason::InteractionUnknown)?;
    // With another password by now it is over: changing it ended everything that was begun with the old one (security.md R-46).
    let hash = users::password_hash(&app.db, user.id).await?.unwrap_or_default();
    if Digest::of(hash.as_bytes()) != found.password_digest {
        return Err(Reason::InteractionUnknown);
    }
    Ok((user, Standing::SigningIn { id, password_hash: Secret::new(hash) }))
}

/// Checks a factor, and begins the session or raises the one that there is.
///
/// # Errors
/// [`Reason::FactorFailed`], [`Reason::SignInThrottled`], [`Reason::InteractionUnknown`] if the step is over, or the database is away.
pub async fn prove(
    app: &App,
    step: Step,
    answer: &Answer,
    browser: &Browser,
    address: Prefix,
    now: Timestamp,
) -> Result<SignedIn, Reason> {
    let accepted = |_: &Proved| true;
    checked(app, step, (answer, accepted), browser, address, now).await
}

/// Proves once more, with a factor in place of the password, that the person at this browser is the one who signed in here. A passkey
/// that was only touched says nothing about who touched it.
///
/// # Errors
/// As [`prove`].
pub async fn confirm(
    app: &App,
    step: Step,
    answer: &Answer,
    browser: &Browser,
    address: Prefix,
    now: Timestamp,
) -> Result<SignedIn, Reason> {
    checked(app, step, (answer, is_about_the_person), browser, address, now).await
}

/// Does it tell who is there, and not only what?
fn is_about_the_person(proved: &Proved) -> bool {
    !matches!(proved.method, Method::Passkey { verified: false, .. })
}

async fn checked(
    app: &App,
    step: Step,
    (answer, accepted): (&Answer, impl Fn(&Proved) -> bool),
    browser: &Browser,
    address: Prefix,
    now: Timestamp,
) -> Result<SignedIn, Reason> {
    let subjects = login::subjects(&users::canonical(&step.user.username), &address.to_string());
    let _attempt = app.throttle.check(&app.db, &subjects, now).await?;
    let proved = match check(app, &step, answer, browser, now).await? {
        Ok(proved) if accepted(&proved) => proved,
        Ok(_) => return Err(failed(app, &step.user, FactorBranch::PasskeyNotVerified, &subjects, now).await?),
        Err(branch) => return Err(failed(app, &step.user, branch, &subjects, now).await?),
    };
    let user = step.user.clone();
    let spent = match &proved.change {
        Change::SpendRecoveryCode { .. } => FactorBranch::RecoveryCodeUsed,
        Change::SpendTotp { .. } | Change::EnrolTotp { .. } => FactorBranch::CodeReplayed,
        Change::SpendPasskey { .. } | Change::EnrolPasskey { .. } => FactorBranch::PasskeyReplayed,
    };
    match finish(app, step, proved, Vec::new(), browser, now).await? {
        Finished::SignedIn(signed_in) => Ok(*signed_in),
        // Two sent the same code at the same moment, and the other was first.
        Finished::Spent => Err(failed(app, &user, spent, &subjects, now).await?),
    }
}

async fn failed(app: &App, user: &User, branch: FactorBranch, subjects: &[Subject], now: Timestamp) -> Result<Reason, Reason> {
    app.throttle.failure(&app.db, subjects, now).await?;
    metrics::counter!("chancery_sign_in_failures_total").increment(1);
    Ok(Reason::FactorFailed { branch, sub: user.sub.clone() })
}

/// Whether the answer is right at this moment. That it counts once is for the write to see to.
async fn check(
    app: &App,
    step: &Step,
    answer: &Answer,
    browser: &Browser,
    now: Timestamp,
) -> Result<Result<Proved, FactorBranch>, Reason> {
    let user = &step.user;
    match answer {
        Answer::Passkey(answer) => {
            let found = passkeys::check(app, answer, &step.about(), browser, now).await?;
            Ok(found.and_then(
                |(passkey, proved)| if passkey.user_id == user.id { Ok(proved) } else { Err(FactorBranch::PasskeyUnknown) },
            ))
        }
        Answer::Code(typed) => {
            let Some(totp) = store::totp(&app.db, user.id).await? else { return Ok(Err(FactorBranch::NoApp)) };
            let opened = app.keys.data().open(Purpose::Factor, &totp_context(user.id), &totp.sealed);
            let Some(secret) = opened.ok().and_then(|plain| TotpSecret::from_bytes(plain.expose().clone())) else {
                return Ok(Err(FactorBranch::SecretLost));
            };
            Ok(match secret.check(typed.expose(), Some(totp.last_step), now) {
                Verdict::Accepted { step } => Ok(Proved { method: Method::Totp, change: Change::SpendTotp { step } }),
                Verdict::Replayed { .. } => Err(FactorBranch::CodeReplayed),
                Verdict::Wrong => Err(FactorBranch::WrongCode),
            })
        }
        Answer::RecoveryCode(typed) => {
            let digest = RecoveryCode::read(typed.expose()).map(|code| code.digest(user.id));
            let Some(digest) = digest else { return Ok(Err(FactorBranch::WrongRecoveryCode)) };
            Ok(match store::recovery_code(&app.db, user.id, &digest).await? {
                Some(None) => Ok(Proved { method: Method::RecoveryCode, change: Change::SpendRecoveryCode { digest } }),
                Some(Some(_)) => Err(FactorBranch::RecoveryCodeUsed),
                None => Err(FactorBranch::WrongRecoveryCode),
            })
        }
    }
}

enum Finished {
    SignedIn(Box<SignedIn>),
    Spent,
}

/// Spends the factor, and begins or raises the session, in one write.
async fn finish(
    app: &App,
    step: Step,
    proved: Proved,
    mut events: Vec<AuditEvent>,
    browser: &Browser,
    now: Timestamp,
) -> Result<Finished, Reason> {
    let Step { user, standing, .. } = step;
    match standing {
        Standing::SigningIn { id, password_hash } => {
            let methods = [Method::Password, proved.method];
            let proof = login::SecondProof { sign_in: Some(id.digest()), change: proved.change, events };
            match login::begin_session(app, user, &methods, (Some(password_hash.expose()), Some(proof)), browser, now).await? {
                login::Begun::Yes(signed_in) => Ok(Finished::SignedIn(signed_in)),
                login::Begun::Spent => Ok(Finished::Spent),
                login::Begun::Changed | login::Begun::FactorDue => Err(Reason::InteractionUnknown),
            }
        }
        Standing::SignedIn { session, cookie: old_cookie } => {
            let (acr, amr) = authentication::raised(Acr::of(session.acr.as_deref()), &session.amr, proved.method);
            let raised = acr > Acr::of(session.acr.as_deref());
            // A factor that is new proves nothing about who brought it.
            let confirms = proved.change.spends() && is_about_the_person(&proved);
            let session = Session {
                acr: Some(acr.as_str().to_owned()),
                amr,
                last_used_at: now,
                confirmed_at: if confirms { Some(now) } else { session.confirmed_at },
                device: browser.device.clone(),
                address: browser.address.map(|prefix| prefix.to_string()),
                ..*session
            };
            let cookie = entropy::token(app.entropy.as_ref());
            if raised {
                let now_is = json!({ "sid": session.sid, "acr": session.acr, "amr": session.amr });
                events.push(told(app, now, &user, "session.step_up", now_is));
            } else if confirms {
                let now_is = json!({ "sid": session.sid, "amr": authentication::amr(&[proved.method]) });
                events.push(told(app, now, &user, "session.confirm", now_is));
            }
            let raise = Raise { session: session.clone(), old_cookie, cookie: cookie.digest(), change: proved.change, events };
            match second_step::raise(&app.db, raise, now).await? {
                Outcome::Done => Ok(Finished::SignedIn(Box::new(SignedIn { cookie, session, user, raised: true }))),
                Outcome::Spent => Ok(Finished::Spent),
                Outcome::Changed => Err(Reason::InteractionUnknown),
            }
        }
    }
}

/// An authenticator app that is being enrolled: shown, and not kept anywhere but in the page itself, sealed.
#[derive(Debug)]
pub struct Enrolment {
    pub secret: TotpSecret,
    /// For the page's form. Opens for this person at this step alone, and for half an hour.
    pub sealed: Secret<String>,
}

/// A new secret to be shown.
pub fn begin_enrolment(app: &App, step: &Step, now: Timestamp) -> Enrolment {
    let secret = TotpSecret::generate(app.entropy.as_ref());
    let plain = Secret::new([&now.micros().to_be_bytes(), secret.expose()].concat());
    let sealed = app.keys.data().seal(Purpose::Factor, app.entropy.as_ref(), &enrolment_context(step), plain.expose());
    Enrolment { secret, sealed: Secret::new(URL_SAFE_NO_PAD.encode(sealed)) }
}

/// The secret that a form brings back. `None` if it was shown to somebody else, or too long ago.
pub fn resume_enrolment(app: &App, step: &Step, sealed: &str, now: Timestamp) -> Option<Enrolment> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let plain = app.keys.data().open(Purpose::Factor, &enrolment_context(step), &bytes).ok()?;
    let (shown_at, secret) = plain.expose().split_first_chunk::<8>()?;
    let shown_at = Timestamp::from_micros(i64::from_be_bytes(*shown_at));
    if now.since(shown_at) > ENROLMENT_LIFETIME {
        return None;
    }
    Some(Enrolment { secret: TotpSecret::from_bytes(secret.to_vec())?, sealed: Secret::new(sealed.to_owned()) })
}

/// What came of confirming an enrolment.
#[derive(Debug)]
pub enum Enrolled {
    /// The app is enrolled, and the session has begun or risen. The recovery codes are shown now and never again; none if the person has
    /// some already.
    Yes { signed_in: Box<SignedIn>, recovery_codes: Vec<RecoveryCode> },
    /// The code does not fit: shown again, with the same secret.
    WrongCode,
    /// There is an app already: enrolled elsewhere meanwhile.
    Already,
}

/// Enrols the app, if the code shows that it holds the secret.
///
/// # Errors
/// [`Reason::InteractionUnknown`] if the step is over, or the database is away.
pub async fn confirm_enrolment(
    app: &App,
    step: Step,
    enrolment: &Enrolment,
    code: &str,
    browser: &Browser,
    now: Timestamp,
) -> Result<Enrolled, Reason> {
    let Verdict::Accepted { step: time_step } = enrolment.secret.check(code, None, now) else { return Ok(Enrolled::WrongCode) };
    let user_id = step.user.id;
    let recovery_codes = if step.factors.recovery_codes == 0 { recovery::generate(app.entropy.as_ref()) } else { Vec::new() };
    let sealed = app.keys.data().seal(Purpose::Factor, app.entropy.as_ref(), &totp_context(user_id), enrolment.secret.expose());
    let first = !step.factors.any();
    let change = Change::EnrolTotp { sealed, first, step: time_step, recovery_codes: digests(user_id, &recovery_codes) };
    let events = vec![told(app, now, &step.user, "factor.add", json!({ "factor": "totp" }))];
    Ok(match finish(app, step, Proved { method: Method::Totp, change }, events, browser, now).await? {
        Finished::SignedIn(signed_in) => Enrolled::Yes { signed_in, recovery_codes },
        Finished::Spent => Enrolled::Already,
    })
}

/// Takes the authenticator app away.
///
/// # Errors
/// When the database is away.
pub async fn remove_totp(app: &App, user: &User, now: Timestamp) -> Result<(), Reason> {
    let event = AuditEvent {
        was: Some(json!({ "factor": "totp" }).to_string()),
        ..audit::event(app, now, &Actor::User(user.id), "factor.remove", &user.id.to_string())
    };
    Ok(store::remove_totp(&app.db, user.id, &event).await.map(drop)?)
}

/// A new list of recovery codes, shown now and never again; the old one is worth nothing any more.
///
/// # Errors
/// When the person was disabled meanwhile, or the database is away.
pub async fn renew_recovery_codes(app: &App, user: &User, now: Timestamp) -> Result<Vec<RecoveryCode>, Reason> {
    let codes = recovery::generate(app.entropy.as_ref());
    let event = told(app, now, user, "factor.recovery_codes", json!({ "codes": codes.len() }));
    if store::replace_recovery_codes(&app.db, user.id, digests(user.id, &codes), now, &event).await? {
        Ok(codes)
    } else {
        Err(Reason::UserGone)
    }
}

fn told(app: &App, now: Timestamp, user: &User, action: &'static str, is_now: serde_json::Value) -> AuditEvent {
    AuditEvent { is_now: Some(is_now.to_string()), ..audit::event(app, now, &Actor::User(user.id), action, &user.id.to_string()) }
}

fn digests(user_id: Uuid, codes: &[RecoveryCode]) -> Vec<Digest> {
    codes.iter().map(|code| code.digest(user_id)).collect()
}

fn totp_context(user_id: Uuid) -> Vec<u8> {
    format!("totp secret of {user_id}").into_bytes()
}

fn enrolment_context(step: &Step) -> Vec<u8> {
    format!("totp enrolment of {} at {}", step.user.id, step.about()).into_bytes()
}
