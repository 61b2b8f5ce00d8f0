//! `/keys`: signing keys and the data keys under them, by their lives alone; private parts never leave the database unsealed.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::operation::{Answer, Body, Operation, Verb, schema};
use super::page::Page;
use super::{Call, Reply};
use crate::clock::Timestamp;
use crate::http::error::OAuthError;
use crate::jose::Alg;
use crate::oauth::admin::Right;
use crate::oauth::refusal::Reason;
use crate::seal::Purpose;
use crate::service::document::{Document, DocumentError};
use crate::service::keys::{DataKeyInfo, KeyError, KeyInfo, Rotation};

pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listKeys",
        verb: Verb::Get,
        path: "/keys",
        right: Right::Read,
        summary: "Lists signing keys, then data keys, each the oldest first.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownKey>),
        conditional: false,
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "rotateKeys",
        verb: Verb::Post,
        path: "/keys/rotate",
        right: Right::Write,
        summary: "Rotates the signing keys, those of one algorithm, or a data key; declares keys compromised.",
        query: &[],
        body: Body::Optional(schema::<RotateFile>),
        answer: Answer::Found(schema::<Rotations>),
        conditional: false,
        run: |call| Box::pin(rotate(call)),
    },
];

/// A key, without anything secret.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(rename = "Key", deny_unknown_fields)]
enum ShownKey {
    /// Signs tokens (RFC 7517).
    Signing {
        kid: String,
        alg: Alg,
        /// `next`, `active`, `retiring`, `verify_only` or `compromised`.
        state: String,
        created_at: String,
        state_since: String,
        activated_at: Option<String>,
    },
    /// Seals or authenticates what the server keeps or hands out.
    Data { id: i64, purpose: String, created_at: String, retired_at: Option<String>, compromised_at: Option<String> },
}

/// Which keys to rotate: at most one of alg, kid and purpose; without any of them, every signing key.
#[derive(JsonSchema)]
#[schemars(rename = "Rotation", deny_unknown_fields)]
#[allow(dead_code, reason = "the shape of a document, which is read member by member")]
struct RotateFile {
    /// The signing keys of this algorithm alone.
    alg: Option<Alg>,
    /// One signing key, which has to be declared compromised.
    kid: Option<String>,
    /// The data key of this purpose instead of signing keys.
    purpose: Option<String>,
    /// Nothing that the replaced key made is believed from now on.
    #[serde(default)]
    compromised: bool,
}

/// What was rotated.
#[derive(Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct Rotations {
    rotations: Vec<ShownRotation>,
}

/// One key in the place of another.
#[derive(Default, Serialize, JsonSchema)]
#[schemars(deny_unknown_fields)]
struct ShownRotation {
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<Alg>,
    /// Of a data key.
    #[serde(skip_serializing_if = "Option::is_none")]
    purpose: Option<String>,
    /// The key that signed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<String>,
    /// The key that signs, or will sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<String>,
    /// When the new key begins to sign, if everybody has to learn of it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    signs_from: Option<String>,
}

async fn list(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let signing = call.app.keys.list().await.map_err(reason)?;
    let data = call.app.keys.list_data().await.map_err(reason)?;
    let all = signing.into_iter().map(shown_signing).chain(data.into_iter().map(shown_data));
    page.reply_of_all(&call, all.collect())
}

async fn rotate(call: Call) -> Result<Reply, OAuthError> {
    let mut document = call.document()?;
    let alg: Option<Alg> = document.take("alg")?;
    let kid: Option<String> = document.take("kid")?;
    let purpose: Option<String> = document.take("purpose")?;
    let compromised = document.take("compromised")?.unwrap_or(false);
    over(document)?;
    let (by, now, keys) = (call.by(), call.now, &call.app.keys);
    let rotations = match (alg, kid, purpose) {
        (alg, None, None) => {
            let rotated = keys.rotate(&by, now, alg, compromised).await.map_err(reason)?;
            rotated.into_iter().map(shown_rotation).collect()
        }
        (None, Some(_), None) if !compromised => {
            return Err(DocumentError::member(
                "compromised",
                "must be true with kid: one key is replaced out of turn for that alone",
            )
            .into());
        }
        (None, Some(kid), None) => {
            keys.compromise(&by, now, &kid).await.map_err(reason)?;
            vec![ShownRotation { old: Some(kid), ..ShownRotation::default() }]
        }
        (None, None, Some(name)) => {
            let purpose = Purpose::from_name(&name).ok_or_else(|| {
                let all: Vec<&str> = Purpose::ALL.iter().map(|purpose| purpose.as_str()).collect();
                DocumentError::member("purpose", format!("is one of {}", all.join(", ")))
            })?;
            keys.rotate_data(&by, now, purpose, compromised).await.map_err(reason)?;
            vec![ShownRotation { purpose: Some(purpose.as_str().to_owned()), ..ShownRotation::default() }]
        }
        _ => return Err(DocumentError::whole("ambiguous: it may name one of alg, kid and purpose").into()),
    };
    let rotations = serde_json::to_value(Rotations { rotations }).unwrap_or(Value::Null);
    Ok(Reply::plain(rotations))
}

/// Nothing may be left that nobody has read.
fn over(document: Document) -> Result<(), DocumentError> {
    document.rest::<serde::de::IgnoredAny>(&[]).map(drop)
}

fn reason(error: KeyError) -> Reason {
    match error {
        KeyError::UnknownKey(kid) => Reason::AdminNotFound { kind: "signing key".to_owned(), id: kid },
        other => other.into(),
    }
}

fn shown_signing(key: KeyInfo) -> (String, Value) {
    let name = format!("signing {}", key.kid);
    let shown = ShownKey::Signing {
        kid: key.kid,
        alg: key.alg,
        state: key.state.as_str().to_owned(),
        created_at: key.created_at.rfc3339(),
        state_since: key.state_since.rfc3339(),
        activated_at: key.activated_at.map(Timestamp::rfc3339),
    };
    (name, json!(shown))
}

fn shown_data(key: DataKeyInfo) -> (String, Value) {
    let shown = ShownKey::Data {
        id: key.id,
        purpose: key.purpose.as_str().to_owned(),
        created_at: key.created_at.rfc3339(),
        retired_at: key.retired_at.map(Timestamp::rfc3339),
        compromised_at: key.compromised_at.map(Timestamp::rfc3339),
    };
    (format!("data {}", key.id), json!(shown))
}

fn shown_rotation(rotation: Rotation) -> ShownRotation {
    match rotation {
        Rotation::Done { alg, old, new } => ShownRotation { alg: Some(alg), old, new: Some(new), ..ShownRotation::default() },
        Rotation::Waits { alg, next, until } => {
            ShownRotation { alg: Some(alg), new: Some(next), signs_from: Some(until.rfc3339()), ..ShownRotation::default() }
        }
    }
}
