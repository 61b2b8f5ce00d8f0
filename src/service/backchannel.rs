//! Logout tokens on their way (OpenID Connect Back-Channel Logout §2.5): one attempt to deliver one, and what follows from its outcome.
//! Which are due is in the database, written with the end that they tell of; [`jobs::logout`](crate::jobs::logout) takes them up.

use std::net::Ipv4Addr;
use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use url::{Position, Url};

use crate::app::App;
use crate::clock::Timestamp;
use crate::entropy;
use crate::jose::{Content, Typ};
use crate::oauth::client::Client;
use crate::oauth::refusal::Reason;
use crate::oidc::logout_token::{self, LogoutToken};
use crate::service::address::Prefix;
use crate::service::audit::{self, Actor};
use crate::service::decisions::Decision;
use crate::service::{encrypt, issue};
use crate::storage::StoreError;
use crate::storage::audit::AuditEvent;
use crate::storage::logouts::{self, Delivery};

/// From the claim on nobody else tries for so long: much longer than an attempt can take.
pub const LEASE: Duration = Duration::from_secs(30);
/// After so long the client's own session is likely over, too.
const GIVE_UP_AFTER: Duration = Duration::from_secs(12 * 3600);
const MOST_ATTEMPTS: i64 = 20;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// §2.8: the client has ended its session. 204 says so too: not every framework knows an empty 200.
    Delivered,
    /// The client is gone or does not want to hear any more.
    Unwanted,
    /// §2.8: 400, which another attempt would get again.
    Refused,
    /// It may be well later.
    Failed { why: String },
}

impl Outcome {
    /// As metrics name it.
    fn label(&self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Unwanted => "unwanted",
            Self::Refused => "refused",
            Self::Failed { .. } => "failed",
        }
    }

    /// Is the client's server well?
    pub fn answered(&self) -> bool {
        match self {
            Self::Delivered | Self::Unwanted | Self::Refused => true,
            Self::Failed { .. } => false,
        }
    }

    fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::BAD_REQUEST => Self::Refused,
            other if other.is_success() => Self::Delivered,
            other => Self::Failed { why: format!("it answered {}", other.as_u16()) },
        }
    }
}

/// Where a client's server is, host and port: attempts are counted by it. Nothing for a client that hears of nothing.
pub fn host(client: &Client) -> Option<String> {
    let url = Url::parse(client.metadata.backchannel_logout_uri.as_deref()?).ok()?;
    Some(url[Position::BeforeHost..Position::AfterPort].to_owned())
}

/// One attempt, and its outcome written down.
///
/// # Errors
/// The database is away; then the claim runs out and somebody tries again.
pub async fn attempt(app: &App, delivery: &Delivery) -> Result<Outcome, StoreError> {
    let outcome = match post(app, delivery).await {
        Ok(outcome) => outcome,
        Err(reason) => Outcome::Failed { why: format!("no token could be made for it ({})", reason.rule().id) },
    };
    metrics::counter!("chancery_logout_deliveries_total", "outcome" => outcome.label()).increment(1);
    let now = app.clock.now();
    match &outcome {
        Outcome::Delivered | Outcome::Unwanted => logouts::done(&app.db, delivery, None).await?,
        Outcome::Refused => give_up(app, delivery, "the client answered 400", now).await?,
        Outcome::Failed { why } => match next(delivery, now) {
            Some(due_at) => {
                record(app, delivery, why, Some(due_at), now);
                tracing::debug!(
                    client_id = delivery.to.client_id,
                    attempts = delivery.attempts,
                    why,
                    "a logout token was not delivered"
                );
                logouts::again(&app.db, delivery, due_at).await?
            }
            None => give_up(app, delivery, why, now).await?,
        },
    };
    Ok(outcome)
}

/// When to try again, each time after three times as long; not for ever.
fn next(delivery: &Delivery, now: Timestamp) -> Option<Timestamp> {
    let earlier = u32::try_from(delivery.attempts.saturating_sub(1)).unwrap_or(u32::MAX);
    let pause = FIRST_PAUSE.saturating_mul(3_u32.saturating_pow(earlier)).min(LONGEST_PAUSE);
    let due_at = now.plus(pause);
    (delivery.attempts < MOST_ATTEMPTS && due_at < delivery.created_at.plus(GIVE_UP_AFTER)).then_some(due_at)
}

async fn give_up(app: &App, delivery: &Delivery, why: &str, now: Timestamp) -> Result<bool, StoreError> {
    let client_id = &delivery.to.client_id;
    let trace_id = record(app, delivery, why, None, now);
    tracing::warn!(client_id, trace_id, attempts = delivery.attempts, why, "a client was not told that a session has ended");
    metrics::counter!("chancery_logout_deliveries_given_up_total").increment(1);
    let event = audit::event(app, now, &Actor::Server, "logout.undelivered", client_id);
    let event = AuditEvent { trace_id: Some(trace_id), ..event };
    let told =
        json!({ "sid": delivery.to.sid, "attempts": delivery.attempts, "since": delivery.created_at.rfc3339(), "because": why });
    logouts::done(&app.db, delivery, Some(&audit::with_now(event, told))).await
}

/// For `chancery explain`: the trace id of what came of an attempt.
fn record(app: &App, delivery: &Delivery, why: &str, again_at: Option<Timestamp>, now: Timestamp) -> String {
    let trace_id = format!("{:032x}", u128::from_be_bytes(entropy::bytes(app.entropy.as_ref())));
    let client_id = delivery.to.client_id.clone();
    let because = why.to_owned();
    app.decisions.record(Decision {
        trace_id: trace_id.clone(),
        endpoint: "backchannel_logout_uri".to_owned(),
        client_id: Some(client_id.clone()),
        // Nobody has asked.
        address_prefix: Prefix::of(Ipv4Addr::UNSPECIFIED.into()),
        reason: Reason::LogoutUndelivered { client_id, attempts: delivery.attempts, because, again_at },
        now,
    });
    trace_id
}

async fn post(app: &App, delivery: &Delivery) -> Result<Outcome, Reason> {
    let to = &delivery.to;
    // Turned off, too: its sessions have ended all the same.
    let Some(client) = app.registry.client(&to.client_id).await? else { return Ok(Outcome::Unwanted) };
    let Some(uri) = client.metadata.backchannel_logout_uri.as_deref() else { return Ok(Outcome::Unwanted) };
    let now = app.clock.now();
    let keys = app.keys.live(now).await?;
    let jti = entropy::token(app.entropy.as_ref());
    let claims = logout_token::claims(&LogoutToken {
        issuer: app.config.issuer.as_str(),
        client_id: &to.client_id,
        sub: &to.sub,
        sid: &to.sid,
        jti: jti.expose(),
        issued_at: now,
    });
    // §2.6: as its ID tokens.
    let alg = client.metadata.id_token_signed_response_alg;
    let key = issue::signer(app, &keys, alg, now).await?;
    let mut token = issue::sign(app, &key, Typ::LogoutToken, &claims).await?;
    // §2.6: who has ID tokens encrypted should take no logout token that is not.
    if let Some(how) = client.metadata.id_token_encryption() {
        token = encrypt::to_client(app, &client, how, Content::Nested, &token, now).await?;
    }
    match app.outbound.post_form(uri, &[("logout_token", &token)]).await {
        Ok(status) => Ok(Outcome::of(status)),
        Err(error) => Ok(Outcome::Failed { why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::logouts::Participant;

    fn delivery(attempts: i64) -> Delivery {
        let to = Participant { client_id: "app".to_owned(), sub: "alice".to_owned(), sid: "s".to_owned() };
        Delivery { id: uuid::Uuid::nil(), to, created_at: Timestamp::from_seconds(1_000), attempts }
    }

    #[test]
    fn pauses_grow_and_end() {
        let begin = delivery(1).created_at;
        let pause = |attempts| next(&delivery(attempts), begin).map(|due_at| due_at.since(begin).as_secs());
        assert_eq!([1, 2, 3, 4, 7, 8, 19].map(pause), [5, 15, 45, 135, 3600, 3600, 3600].map(Some));
        assert_eq!(pause(20), None);
        assert_eq!(next(&delivery(2), begin.plus(GIVE_UP_AFTER)), None, "too late for whom it tells of");
        assert!(LEASE > crate::service::outbound::PATIENCE * 3);
    }

    #[test]
    fn answers_mean_what_the_specification_says() {
        for (status, outcome) in [(200, Outcome::Delivered), (204, Outcome::Delivered), (400, Outcome::Refused)] {
            assert_eq!(Outcome::of(StatusCode::from_u16(status).unwrap()), outcome);
        }
        for status in [301, 302, 401, 403, 404, 405, 429, 500, 501, 503] {
            assert!(!Outcome::of(StatusCode::from_u16(status).unwrap()).answered(), "{status}");
        }
    }
}
