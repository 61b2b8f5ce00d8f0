//! Signing in with a password: the same work, the same writes and the same answer on every branch that fails (security.md R-54).

use serde_json::json;

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::oauth::refusal::{Reason, SignInBranch};
use crate::oidc::authentication::{self, Acr, Demand, Method};
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::secret::{Digest, Secret};
use crate::service::address::Prefix;
use crate::service::audit;
use crate::service::browser::{Browser, session};
use crate::service::factors as second_factor;
use crate::service::passwords::PasswordError;
use crate::service::throttle::{self, Subject};
use crate::storage::audit::AuditEvent;
use crate::storage::factors::Change;
use crate::storage::failures::{self, Credentials};
use crate::storage::second_step::{self, Begin, Outcome};
use crate::storage::sessions::{self, WithPassword};
use crate::storage::users;

/// How often a password is checked before the write must find the account unchanged.
const ATTEMPTS: usize = 2;

/// What the person typed, and from where.
pub struct Attempt {
    pub username: String,
    pub password: Secret<String>,
    /// The address prefix that failures are counted under.
    pub address: Prefix,
}

/// A person has signed in: the browser's new session cookie.
#[derive(Debug)]
pub struct SignedIn {
    pub cookie: Secret<String>,
    pub session: Session,
    pub user: User,
    /// The session was there before: a second factor was proved in it, no more.
    pub raised: bool,
}

/// What a right password leads to.
#[derive(Debug)]
pub enum Progress {
    /// A session.
    SignedIn(Box<SignedIn>),
    /// The person has a second factor, or must have one: the id of the step that follows, see [`factors::step`].
    SecondFactor { sign_in: Secret<String> },
}

/// Checks the password and begins a session, or renews the one that the same person has in this browser. Where the person has a second
/// factor, or one is demanded, none begins yet.
///
/// # Errors
/// [`Reason::SignInFailed`], [`Reason::SignInThrottled`], [`Reason::Overloaded`], or the database is away.
pub async fn sign_in(app: &App, attempt: Attempt, demand: Demand, browser: &Browser, now: Timestamp) -> Result<Progress, Reason> {
    let mut guess = Guess::admit(app, &attempt.username, &attempt.address.to_string(), now).await?;
    for _ in 0..ATTEMPTS {
        let (user, hash) = guess.check(app, &attempt.password, now).await?;
        let begun = match demand {
            Demand::Required => Begun::FactorDue,
            Demand::Optional => begin_session(app, user.clone(), &[Method::Password], (Some(&hash), None), browser, now).await?,
        };
        match begun {
            Begun::Yes(signed_in) => {
                renew_hash(app, &user, hash, attempt.password).await;
                return Ok(Progress::SignedIn(signed_in));
            }
            Begun::FactorDue => {
                let hash = renew_hash(app, &user, hash, attempt.password).await;
                let sign_in = second_factor::wait(app, &user, &hash, browser, now).await?;
                return Ok(Progress::SecondFactor { sign_in });
            }
            // The write repeats what was checked. If it finds that changed, everything is looked at once more.
            Begun::Changed | Begun::Spent => {}
        }
    }
    Err(Reason::StateChanged)
}

/// Proves once more, with the password, that the person at this browser is the one who signed in here: counted, slowed down and paid for
/// like a sign-in, on every branch. The session goes on under the new cookie that is the answer.
///
/// # Errors
/// As [`sign_in`]; [`Reason::SessionEnded`] if there is nothing to go on with.
pub async fn confirm(
    app: &App,
    session: &Session,
    user: &User,
    password: Secret<String>,
    browser: &Browser,
    address: Prefix,
    now: Timestamp,
) -> Result<Secret<String>, Reason> {
    let mut guess = Guess::admit(app, &user.username, &address.to_string(), now).await?;
    let session = Session { device: browser.device.clone(), address: Some(address.to_string()), ..session.clone() };
    for _ in 0..ATTEMPTS {
        let (found, hash) = guess.check(app, &password, now).await?;
        if found.id != user.id {
            // The name belongs to somebody else by now, and so does the password.
            break;
        }
        let cookie = entropy::token(app.entropy.as_ref());
        let event = audit::event(app, now, &audit::Actor::User(user.id), "session.confirm", &user.id.to_string());
        let event = audit::with_now(event, json!({ "sid": session.sid, "amr": ["pwd"] }));
        if sessions::confirm(&app.db, &session, &cookie.digest(), &hash, now, &event).await? {
            renew_hash(app, user, hash, password).await;
            return Ok(cookie);
        }
    }
    Err(Reason::SessionEnded)
}

/// Whom a try is counted for: the account by its canonical name, the address by its prefix, and everybody.
pub(super) fn subjects(username: &str, address: &str) -> [Subject; 3] {
    [Subject::Account(username.to_owned()), Subject::Address(address.to_owned()), Subject::Everybody]
}

/// A guess at somebody's password that may be checked. While it lives it counts as if it had failed.
pub(super) struct Guess {
    /// In canonical form.
    username: String,
    subjects: [Subject; 3],
    /// What was looked up beside the failures, for the first check.
    found: Option<Option<Credentials>>,
    _attempt: throttle::Attempt,
}

impl Guess {
    /// Before any hashing: a guess that is refused must cost nothing.
    pub(super) async fn admit(app: &App, username: &str, address: &str, now: Timestamp) -> Result<Self, Reason> {
        let username = users::canonical(username);
        let subjects = subjects(&username, address);
        let look = app.throttle.look(&subjects);
        let (failures, found) = failures::find_with_person(&app.db, &look.keys, &username).await?;
        let attempt = app.throttle.admit(&subjects, look, &failures, now)?;
        Ok(Self { username, subjects, found: Some(found), _attempt: attempt })
    }

    /// The person with this name, if this is their password, and the hash that says so.
    pub(super) async fn check(&mut self, app: &App, password: &Secret<String>, now: Timestamp) -> Result<(User, String), Reason> {
        let found = match self.found.take() {
            Some(found) => found,
            None => users::credentials(&app.db, &self.username).await?,
        };
        let stored = found.as_ref().and_then(|(_, hash)| hash.clone());
        let verified = app.passwords.verify(password.clone(), stored).await;
        let matches = match verified {
            Ok(matches) => matches,
            Err(PasswordError::Overloaded { retry_after }) => return Err(Reason::Overloaded { retry_after }),
            Err(PasswordError::Failed(detail)) => return Err(Reason::Internal { detail }),
        };
        let branch = match &found {
            None => Some(SignInBranch::UnknownUser),
            Some((_, None)) => Some(SignInBranch::NoPassword),
            Some(_) if password.expose().is_empty() => Some(SignInBranch::EmptyPassword),
            Some(_) if !matches => Some(SignInBranch::WrongPassword),
            Some((user, _)) if !user.enabled => Some(SignInBranch::UserDisabled),
            Some(_) => None,
        };
        match (branch, found) {
            (None, Some((user, Some(hash)))) => Ok((user, hash)),
            (branch, _) => {
                app.throttle.failure(&app.db, &self.subjects, now).await?;
                metrics::counter!("chancery_sign_in_failures_total").increment(1);
                let branch = branch.unwrap_or(SignInBranch::UnknownUser);
                Err(Reason::SignInFailed { branch, identifier: app.decisions.keyed(&self.username) })
            }
        }
    }
}

/// Hashes a password anew that was hashed with other parameters than those configured now: the moment of a successful sign-in is the
/// only one at which it is known. Not being able to is no reason to turn the person away. Answers with the hash that stands.
async fn renew_hash(app: &App, user: &User, stored: String, password: Secret<String>) -> String {
    if !app.passwords.needs_rehash(&stored) {
        return stored;
    }
    match app.passwords.hash(password).await {
        Ok(fresh) => match users::rehash(&app.db, user.id, &stored, &fresh).await {
            Ok(true) => {
                tracing::debug!("a password was hashed anew with the configured parameters");
                return fresh;
            }
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "a password hash could not be renewed"),
        },
        Err(error) => tracing::debug!(%error, "a password hash is renewed another time"),
    }
    stored
}

/// What a session rests on that begins with a second factor.
#[derive(Debug)]
pub(super) struct SecondProof {
    /// The step that it was proved at; none where a passkey was all that there was.
    pub sign_in: Option<Digest>,
    pub change: Change,
    /// What is to be told beside the session's own event.
    pub events: Vec<AuditEvent>,
}

/// Whether a session began.
#[derive(Debug)]
pub(super) enum Begun {
    Yes(Box<SignedIn>),
    /// The person was disabled or has another password by now, or the step is over.
    Changed,
    /// The second factor was spent meanwhile.
    Spent,
    /// There is a second factor, and none was proved.
    FactorDue,
}

/// Begins a session for who proved these methods: the password of this hash if there was one, and a second factor or a passkey.
pub(super) async fn begin_session(
    app: &App,
    user: User,
    methods: &[Method],
    (hash, second): (Option<&str>, Option<SecondProof>),
    browser: &Browser,
    now: Timestamp,
) -> Result<Begun, Reason> {
    let entropy = app.entropy.as_ref();
    let cookie = entropy::token(entropy);
    let before = session(app, browser).await?;
    let acr = Acr::reached_by(methods).as_str().to_owned();
    let amr = authentication::amr(methods);
    let event = audit::event(app, now, &audit::Actor::User(user.id), "session.begin", &user.id.to_string());
    let fresh = Session {
        id: entropy::row_id(entropy, now),
        sid: entropy::token(entropy).expose().clone(),
        user_id: user.id,
        auth_time: now,
        acr: Some(acr),
        amr,
        created_at: now,
        last_used_at: now,
        expires_at: now.plus(app.config.lifetimes.session),
        ended_at: None,
        confirmed_at: None,
        device: browser.device.clone(),
        address: browser.address.map(|prefix| prefix.to_string()),
    };
    // Proving oneself again renews a live session under a new cookie: what hangs on it stays (OpenID Connect Core §3.1.2.1, prompt=login).
    // One that has expired is not brought back to life: what hung on it is over (design 4.2).
    let renewed =
        before.as_ref().filter(|(session, owner)| owner.id == user.id && session.is_live(app.config.lifetimes.session_idle, now));
    let renewed = renewed.map(|(session, _)| Session {
        id: session.id,
        sid: session.sid.clone(),
        created_at: session.created_at,
        ..fresh.clone()
    });
    for session in renewed.into_iter().chain([fresh]) {
        let Session { sid, acr, amr, device, address, .. } = &session;
        let told = json!({ "sid": sid, "acr": acr, "amr": amr, "device": device, "address": address });
        let event = audit::with_now(event.clone(), told);
        // The write repeats what this rests on: the person is enabled and has that password, the session to renew has not ended, and
        // the second factor was not spent.
        let outcome = match &second {
            // Nothing was proved but a password.
            None => match hash {
                Some(hash) => match sessions::begin_with_password(&app.db, &session, &cookie.digest(), hash, &event).await? {
                    WithPassword::Begun => Outcome::Done,
                    WithPassword::SecondFactor => return Ok(Begun::FactorDue),
                    WithPassword::Changed => Outcome::Changed,
                },
                None => Outcome::Changed,
            },
            Some(SecondProof { sign_in, change, events }) => {
                let begin = Begin {
                    session: session.clone(),
                    cookie: cookie.digest(),
                    sign_in: *sign_in,
                    password_hash: hash.map(str::to_owned),
                    change: change.clone(),
                    events: events.iter().cloned().chain([event.clone()]).collect(),
                };
                second_step::begin(&app.db, begin, now).await?
            }
        };
        match outcome {
            Outcome::Done => {}
            Outcome::Changed => continue,
            Outcome::Spent => return Ok(Begun::Spent),
        }
        if let Some((before, owner)) = before.filter(|(before, _)| before.id != session.id && before.ended_at.is_none()) {
            let event = |because| audit::session_end(app, now, &audit::Actor::Server, &before, because);
            if owner.id == user.id {
                let because = "signed in anew after it expired";
                sessions::replace(&app.db, before.id, now, because, &event(because)).await?;
            } else {
                let because = "another person signed in";
                sessions::end(&app.db, before.id, now, because, Some(&event(because))).await?;
            }
        }
        metrics::counter!("chancery_sign_ins_total").increment(1);
        return Ok(Begun::Yes(Box::new(SignedIn { cookie, session, user, raised: false })));
    }
    Ok(Begun::Changed)
}
