//! Clients that register themselves (RFC 7591), look after themselves (RFC 7592), and go by themselves if nobody uses them.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::clock::Timestamp;
use crate::config::RegistrationMode;
use crate::entropy::{self, Entropy, Seeded};
use crate::oauth::bearer;
use crate::oauth::client::{Client, ClientMetadata, MetadataCode, MetadataError, Policy, WHOLE, validate};
use crate::oauth::params::Params;
use crate::oauth::refusal::Reason;
use crate::oauth::registration::{self as rules, AccessFault, InitialAccessToken, Limits, Registered, TokenFault};
use crate::seal::{DataKeys, Purpose};
use crate::secret::{Digest, Secret};
use crate::service::address::Prefix;
use crate::service::audit::{self, Actor};
use crate::service::clients::{self, WithSecret, document};
use crate::service::document::{Document, DocumentError};
use crate::service::keys;
use crate::service::operator::Operator;
use crate::service::token::Refused;
use crate::storage::registrations::{self as store, Outcome, Register, Turn};
use crate::storage::{StoreError, clients as client_store, initial_access_tokens};

/// The stretch of time in which `[registration] open_per_address` is counted.
pub const HOUR: Duration = Duration::from_secs(3600);
/// How often a client may change itself in this time: each change stays in the audit log, and is told to every replica (security.md R-77).
pub const CHANGES: u64 = 20;
/// How long the registration access token before the latest may be presented once more, if nobody has used the latest: its answer may be lost.
pub const RETRY: Duration = Duration::from_secs(3600);
/// How the audit log calls those who register without a token.
const NOBODY: &str = "anonymous";
/// How often a change is decided anew after somebody else was faster.
const ATTEMPTS: usize = 8;
/// Clients removed in one unit of work, and in one round.
const BATCH: usize = 50;
const MOST_BATCHES: usize = 200;
/// Between two of them.
const REST: Duration = Duration::from_millis(20);

/// A client as the registration endpoint tells of it (RFC 7591 §3.2.1, RFC 7592 §3).
pub struct Told {
    pub client: Client,
    /// Made just now, and told this once.
    pub secret: Option<Secret<String>>,
    pub registration_access_token: Secret<String>,
}

/// RFC 7591 §3.1.
///
/// # Errors
/// Nobody let the client in, its metadata is not acceptable, or there are too many.
pub async fn register(
    app: &App,
    headers: &[&[u8]],
    query: &Params,
    body: &[u8],
    address: Prefix,
    now: Timestamp,
) -> Result<Told, Reason> {
    let initial = initial_access_token(app, headers, query, now).await?;
    let limits = initial.as_ref().map_or_else(Limits::default, |token| token.limits.clone());
    let metadata = acceptable(read(body)?, &limits, app.config.registration.allowed(), &policy(app))?;
    if initial.is_none() {
        room(app, address, now)?;
    }
    let actor = initial.as_ref().map_or_else(|| NOBODY.to_owned(), |token| format!("initial_access_token:{}", token.id));
    let operator = operator(app, actor, now);
    let WithSecret { client, secret } = clients::made(&operator, clients::new_id(&operator), metadata);
    let config = &app.config.registration;
    let lifetime = if initial.is_some() { config.unused_lifetime } else { config.open_unused_lifetime };
    let registered = Registered {
        initial_access_token: initial.as_ref().map(|token| token.id),
        address: address.to_string(),
        at: now,
        limits,
        unused_until: Some(now.plus(lifetime)),
    };
    let client = Client { registered: Some(registered), ..client };
    let registration_access_token = entropy::token(app.entropy.as_ref());
    let event = operator.event("client.register", &client.client_id, None, Some(Value::Object(written(&client))));
    let most_unused = app.config.registration.open_unused;
    let register = Register { client: client.clone(), digest: registration_access_token.digest(), most_unused, event };
    match (store::register(&app.db, register).await?, initial) {
        (Outcome::Done, _) => {
            metrics::counter!("chancery_clients_registered_total").increment(1);
            want_keys(app, &client, now).await;
            Ok(Told { client, secret, registration_access_token })
        }
        (Outcome::Spent, Some(token)) => Err(token.spent()),
        (Outcome::Spent, None) => Err(Reason::InitialAccessTokenRefused { because: TokenFault::Unknown }),
        (Outcome::Full, _) => Err(too_many("server", most_unused.into(), HOUR.as_secs())),
    }
}

/// The token that lets the client in; `None` where everybody may.
async fn initial_access_token(
    app: &App,
    headers: &[&[u8]],
    query: &Params,
    now: Timestamp,
) -> Result<Option<InitialAccessToken>, Reason> {
    let token = match (bearer::token(headers, query, None), app.config.registration.mode) {
        (Ok(token), RegistrationMode::Token | RegistrationMode::Open) => token,
        (Err(Reason::TokenMissing), RegistrationMode::Open) => return Ok(None),
        (Err(reason), RegistrationMode::Token | RegistrationMode::Open) => return Err(reason),
        (_, RegistrationMode::Off) => return Err(Reason::NotFound { path: "/register".to_owned() }),
    };
    let found = initial_access_tokens::find_by_digest(&app.db, &token.digest()).await?;
    let found = found.ok_or(Reason::InitialAccessTokenRefused { because: TokenFault::Unknown })?;
    found.check(now)?;
    Ok(Some(found))
}

/// security.md R-77: rows that nobody vouches for are few.
fn room(app: &App, address: Prefix, now: Timestamp) -> Result<(), Reason> {
    app.registration_quotas.take(Some(address), NOBODY, now).map_err(rationed)
}

fn rationed(reason: Reason) -> Reason {
    match reason {
        Reason::TooManyOpenRequests { scope, limit, retry_after } => too_many(&scope, limit, retry_after),
        other => other,
    }
}

fn too_many(scope: &str, limit: u64, retry_after: u64) -> Reason {
    Reason::TooManyRegistrations { scope: scope.to_owned(), limit, retry_after }
}

/// RFC 7592 §2.1: the client looks at itself. The token that it is to use is told once more, since that is all that is left of it here.
///
/// # Errors
/// `RegistrationAccessRefused`, or the token is not sent as one.
pub async fn show(app: &App, client_id: &str, headers: &[&[u8]], query: &Params, now: Timestamp) -> Result<Told, Refused> {
    let Opened { client, presented, next, repeated, .. } = opened(app, client_id, headers, query, now).await?;
    Ok(match repeated {
        None => Told { client, secret: None, registration_access_token: presented },
        Some(Repeated { secret }) => Told { client, secret, registration_access_token: next.token },
    })
}

/// RFC 7592 §2.2: the client replaces what it may set of itself, and its registration access token is another one from now on. A client that
/// never got the answer sends its request once more with the token that it has, and is told the same.
///
/// # Errors
/// As [`show`], or the metadata is not acceptable.
pub async fn update(
    app: &App,
    client_id: &str,
    headers: &[&[u8]],
    query: &Params,
    body: &[u8],
    now: Timestamp,
) -> Result<Told, Refused> {
    for attempt in 0..ATTEMPTS {
        let opened = opened(app, client_id, headers, query, now).await?;
        if attempt == 0 {
            // By the client alone, and once its token was right: nobody else uses up what it has.
            app.registration_changes.take(None, client_id, now).map_err(|reason| of_client(client_id, rationed(reason)))?;
        }
        if let Some(told) = update_from(app, opened, body, now).await.map_err(|reason| of_client(client_id, reason))? {
            return Ok(told);
        }
    }
    Err(of_client(client_id, Reason::StateChanged))
}

/// `None` if somebody else has changed the client since it was read.
async fn update_from(
    app: &App,
    Opened { client: before, presented, next, repeated }: Opened,
    body: &[u8],
    now: Timestamp,
) -> Result<Option<Told>, Reason> {
    let mut document = Document::parse(body).map_err(unreadable)?;
    about_itself(&before, &mut document, now)?;
    let limits = before.registered.as_ref().map(|registered| registered.limits.clone()).unwrap_or_default();
    let asked = acceptable(document, &limits, app.config.registration.allowed(), &policy(app))?;
    // security.md R-31: the merged result, by the same validator. What an operator gave is no ladder for who holds the token.
    let merged = validate(rules::replaced(&before.metadata, &asked)?, &policy(app)).map_err(|error| {
        if rules::is_registered_member(error.field) || error.field == WHOLE {
            return of_metadata(error);
        }
        rules::refused(error.field, "was set by an operator: from then on operators alone change this client")
    })?;
    let (seeded, presented) = (next.entropy(), presented.digest());
    // From the seed once only, when the token gives way: a secret that was ended since never comes back.
    let (entropy, turn): (&dyn Entropy, Turn) = match &repeated {
        None => (&seeded, Turn::Next { presented, next: next.token.digest(), now }),
        Some(_) => (app.entropy.as_ref(), Turn::Again { presented }),
    };
    let operator = Operator { entropy, ..operator(app, Actor::Client(before.client_id.clone()).words(), now) };
    let (after, made) = clients::changed(&operator, &before, merged, before.enabled);
    let lost = repeated.and_then(|repeated| repeated.secret);
    if after.metadata == before.metadata && made.is_none() {
        let done = store::rotate(&app.db, &before.client_id, turn).await.map_err(kept_by_operators)?;
        return Ok(done.then_some(Told { client: before, secret: lost, registration_access_token: next.token }));
    }
    let (was, is_now) = differences(written(&before), written(&after));
    let event = operator.event("client.update", &before.client_id, Some(was), Some(is_now));
    let stored = made.as_ref().map(|(_, stored)| stored);
    let done = store::update(&app.db, &after, before.updated_at, stored, turn, &event).await.map_err(kept_by_operators)?;
    // Here at once; other replicas hear of it as of every change.
    app.registry.clear();
    if done {
        want_keys(app, &after, now).await;
    }
    let secret = made.map(|(secret, _)| secret).or(lost);
    Ok(done.then_some(Told { client: after, secret, registration_access_token: next.token }))
}

/// The key job makes the first keys of the algorithms that the client registered. Whoever needs them earlier makes them then, so the client is
/// there whether this could be written or not.
async fn want_keys(app: &App, client: &Client, now: Timestamp) {
    if let Err(error) = keys::want(&app.db, client.metadata.signing_algs(), now).await {
        tracing::warn!(%error, "cannot ask for the first keys of a client's algorithms");
    }
}

/// What the audit log, which only grows, keeps of a client that speaks for itself: its keys by their thumbprints alone.
fn written(client: &Client) -> Map<String, Value> {
    let mut members = match clients::show(client) {
        Value::Object(members) => members,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => Map::new(),
    };
    if let Some(jwks) = &client.metadata.jwks {
        let thumbprints: Vec<String> = jwks.keys().iter().map(|key| key.key.thumbprint()).collect();
        members.insert("jwks".to_owned(), json!({ "keys": thumbprints }));
    }
    members
}

/// The members that are not the same, before and after; when it was, the event says itself.
fn differences(mut before: Map<String, Value>, mut after: Map<String, Value>) -> (Value, Value) {
    let same =
        |name: &String, value: &mut Value, other: &Map<String, Value>| name == "updated_at" || other.get(name) == Some(value);
    let was = before.clone();
    before.retain(|name, value| !same(name, value, &after));
    after.retain(|name, value| !same(name, value, &was));
    (Value::Object(before), Value::Object(after))
}

/// RFC 7592 §2.2: the client names itself, leaves out what the server sets, and may repeat its secret.
fn about_itself(client: &Client, document: &mut Document, now: Timestamp) -> Result<(), Reason> {
    let mut text = |name: &str| document.take::<String>(name).map_err(unreadable);
    match text("client_id")? {
        Some(client_id) if client_id == client.client_id => {}
        Some(_) => return Err(rules::refused("client_id", "must be that of the client whose address this is")),
        None => return Err(rules::refused("client_id", "is missing: an update names the client (RFC 7592 section 2.2)")),
    }
    if let Some(secret) = text("client_secret")? {
        let digest = Digest::of(secret.as_bytes());
        if !client.secrets.iter().any(|known| known.is_live(now) && known.digest == digest) {
            return Err(rules::refused("client_secret", "is not the client's; leave it out, since a client cannot choose it"));
        }
    }
    for name in ["registration_access_token", "registration_client_uri", "client_secret_expires_at", "client_id_issued_at"] {
        if document.names(name) {
            return Err(rules::refused(name, "is set by the server; leave it out (RFC 7592 section 2.2)"));
        }
    }
    Ok(())
}

/// RFC 7592 §2.3: the client removes itself, and with it everything that was issued to it.
///
/// # Errors
/// As [`show`].
pub async fn remove(app: &App, client_id: &str, headers: &[&[u8]], query: &Params, now: Timestamp) -> Result<(), Refused> {
    let before = opened(app, client_id, headers, query, now).await?.client;
    let operator = operator(app, Actor::Client(before.client_id.clone()).words(), now);
    let event = operator.event("client.remove", client_id, Some(Value::Object(written(&before))), None);
    let removed = client_store::remove(&app.db, client_id, now, &event).await;
    let removed = removed.map_err(|error| of_client(client_id, kept_by_operators(error)))?;
    app.registry.clear();
    if removed {
        return Ok(());
    }
    // Somebody removed it at the same moment.
    Err(refused(client_id, AccessFault::NoSuchClient))
}

/// A client that looks after itself, by its registration access token.
struct Opened {
    client: Client,
    presented: Secret<String>,
    next: Next,
    /// The token has given way already, and nobody has used the next one: the answer that told it is lost, or somebody asked twice.
    repeated: Option<Repeated>,
}

struct Repeated {
    /// What that answer told beside the token, if it still lives.
    secret: Option<Secret<String>>,
}

/// What follows a registration access token. It is always the same: whoever asks once more is told what the lost answer told, and none of it
/// has to be kept. Without the data key nobody gets from one to the next.
struct Next {
    token: Secret<String>,
    /// Of the secret that comes with it, if the client needs one from then on.
    seed: [u8; 32],
}

impl Next {
    /// Under the data keys that may have made it, newest first.
    fn all(keys: &DataKeys, client_id: &str, presented: &Secret<String>) -> impl Iterator<Item = Self> {
        let macs = |part: &[u8]| {
            keys.recent_macs(
                Purpose::Refresh,
                &[b"registration access token", part, client_id.as_bytes(), presented.expose().as_bytes()],
            )
        };
        let tokens = macs(b"next").into_iter().map(|mac| Secret::new(URL_SAFE_NO_PAD.encode(mac)));
        tokens.zip(macs(b"secret")).map(|(token, seed)| Self { token, seed })
    }

    fn entropy(&self) -> Seeded {
        Seeded::new(self.seed)
    }
}

/// The client that the token of this request opens.
async fn opened(app: &App, client_id: &str, headers: &[&[u8]], query: &Params, now: Timestamp) -> Result<Opened, Refused> {
    let nobody = |reason: Reason| Refused { reason, client_id: None };
    let presented = bearer::token(headers, query, None).map_err(nobody)?.keep();
    let digest = presented.digest();
    // Both are always read, and the digest is compared in constant time: what is wrong is for the record alone.
    let client = client_store::find(&app.db, client_id).await.map_err(|error| nobody(error.into()))?;
    let tokens = store::tokens(&app.db, client_id).await.map_err(|error| nobody(error.into()))?;
    let (client, tokens) = match (client, tokens) {
        (None, _) => return Err(refused(client_id, AccessFault::NoSuchClient)),
        (Some(_), None) => return Err(refused(client_id, AccessFault::NotDynamic)),
        (Some(_), Some(tokens)) if tokens.current == Digest::NOBODYS => {
            return Err(refused(client_id, AccessFault::KeptByOperators));
        }
        (Some(client), Some(tokens)) => (client, tokens),
    };
    let is_current = tokens.current == digest;
    let is_previous = tokens.previous.is_some_and(|(previous, replaced_at)| previous == digest && now < replaced_at.plus(RETRY));
    if !is_current && !is_previous {
        return Err(refused(client_id, AccessFault::WrongToken));
    }
    if !client.enabled {
        return Err(refused(&client.client_id, AccessFault::ClientDisabled));
    }
    let keys = app.keys.live(now).await.map_err(|error| nobody(error.into()))?;
    let mut nexts = Next::all(&keys.data, client_id, &presented);
    let next = if is_current { nexts.next() } else { nexts.find(|next| next.token.digest() == tokens.current) };
    drop(nexts);
    // Its key was declared compromised meanwhile: what it made is believed no more.
    let Some(next) = next else { return Err(refused(client_id, AccessFault::WrongToken)) };
    let repeated = if is_current {
        if tokens.previous.is_some() {
            store::settle(&app.db, client_id, digest).await.map_err(|error| of_client(client_id, error.into()))?;
        }
        None
    } else {
        let secret = clients::secret_of(&next.entropy());
        let lives = client.secrets.iter().any(|known| known.is_live(now) && known.digest == secret.digest());
        Some(Repeated { secret: lives.then_some(secret) })
    };
    Ok(Opened { client, presented, next, repeated })
}

fn refused(client_id: &str, because: AccessFault) -> Refused {
    let known = because != AccessFault::NoSuchClient;
    let shown = client_id.chars().take(255).collect();
    let reason = Reason::RegistrationAccessRefused { client_id: shown, because };
    Refused { reason, client_id: known.then(|| client_id.to_owned()) }
}

fn of_client(client_id: &str, reason: Reason) -> Refused {
    Refused { reason, client_id: Some(client_id.to_owned()) }
}

fn kept_by_operators(error: StoreError) -> Reason {
    match error {
        StoreError::Owned { .. } => Reason::ClientMetadataRefused {
            member: None,
            code: MetadataCode::InvalidClientMetadata,
            detail: "is kept by the operators of this server, who alone change or remove this client".to_owned(),
        },
        error @ (StoreError::Unavailable(_)
        | StoreError::Conflict(_)
        | StoreError::Corrupt(_)
        | StoreError::NewerVersion(_)
        | StoreError::Schema(_)) => error.into(),
    }
}

/// Somebody is about to use the client: it does not go by itself any more. Costs something once in a client's life.
///
/// # Errors
/// When the database does not answer.
pub async fn used(app: &App, client: &Client) -> Result<(), Reason> {
    if client.registered.as_ref().is_some_and(|registered| registered.unused_until.is_some()) {
        Box::pin(store::used(&app.db, &client.client_id)).await?;
    }
    Ok(())
}

/// Removes clients that registered themselves and were not used in their time.
///
/// # Errors
/// The database is away; the next round goes on.
pub async fn forget_unused(app: &App, now: Timestamp) -> Result<(), StoreError> {
    for _ in 0..MOST_BATCHES {
        let event = || audit::event(app, now, &Actor::Server, "client.remove", "");
        let gone = store::forget_unused(&app.db, now, (0..BATCH).map(|_| event()).collect()).await?;
        if gone > 0 {
            metrics::counter!("chancery_swept_rows_total", "table" => "clients").increment(gone);
        }
        if usize::try_from(gone).unwrap_or(BATCH) < BATCH {
            break;
        }
        tokio::time::sleep(REST).await;
    }
    Ok(())
}

fn read(body: &[u8]) -> Result<Document, Reason> {
    Document::parse(body).map_err(unreadable)
}

/// What a document asks for, if it may be registered within these limits.
///
/// # Errors
/// The first member that cannot be registered.
pub(crate) fn acceptable(
    document: Document,
    limits: &Limits,
    usual: rules::Allowed<'_>,
    policy: &Policy,
) -> Result<ClientMetadata, Reason> {
    let mut asked = rules::asked(document.into_members())?;
    let known = document::members();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    asked.retain(|name, _| known.contains(&name.as_str()));
    let mut metadata: ClientMetadata = Document::of(asked).rest(&known).map_err(unreadable)?;
    limits.over(usual).check(&mut metadata).map_err(of_metadata)?;
    validate(metadata, policy).map_err(of_metadata)
}

fn policy(app: &App) -> Policy {
    let loopback_http = app.config.outbound.allows_loopback();
    Policy { redirect_schemes: app.config.registration.redirect_schemes.clone(), operator: false, loopback_http }
}

fn unreadable(error: DocumentError) -> Reason {
    let code = match error.member.as_deref() {
        Some("redirect_uris") => MetadataCode::InvalidRedirectUri,
        Some(_) | None => MetadataCode::InvalidClientMetadata,
    };
    let detail = if error.member.is_some() {
        format!("is not what it should be: {}", error.message)
    } else {
        format!("is {}", error.message)
    };
    Reason::ClientMetadataRefused { member: error.member, code, detail }
}

fn of_metadata(error: MetadataError) -> Reason {
    Reason::ClientMetadataRefused { member: Some(error.field.to_owned()), code: error.code, detail: error.message }
}

fn operator(app: &App, actor: String, now: Timestamp) -> Operator<'_> {
    Operator {
        db: &app.db,
        config: &app.config,
        entropy: app.entropy.as_ref(),
        passwords: &app.passwords,
        actor,
        now,
        trace_id: audit::trace_id(),
    }
}
