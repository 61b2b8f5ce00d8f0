//! A set as it is written, and its schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;

use super::key::Usage;
use super::{Jwk, JwkSet, MAX_KEYS};
use crate::jose::PublicJwk;
use crate::jose::header::MAX_KID;

/// A key as it is written: what was read, and nothing more.
#[derive(PartialEq, Serialize)]
pub(super) struct Shown<'a> {
    #[serde(flatten)]
    key: &'a PublicJwk,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<Usage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alg: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_ops: Option<&'a [String]>,
}

impl Jwk {
    pub(super) fn shown(&self) -> Shown<'_> {
        let (kid, alg, key_ops) = (self.kid.as_deref(), self.alg.as_deref(), self.key_ops.as_deref());
        Shown { key: &self.key, kid, usage: self.usage, alg, key_ops }
    }
}

impl Serialize for JwkSet {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Set<'a> {
            keys: Vec<Shown<'a>>,
        }
        Set { keys: self.keys.iter().map(Jwk::shown).collect() }.serialize(serializer)
    }
}

impl JsonSchema for JwkSet {
    fn schema_name() -> Cow<'static, str> {
        "JwkSet".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({
            "type": "object",
            "description": "Public keys (RFC 7517): RSA of 2048 to 4096 bits, EC on P-256, OKP Ed25519. Private and symmetric keys are refused.",
            "required": ["keys"],
            "properties": { "keys": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_KEYS,
                "items": { "type": "object", "required": ["kty"], "properties": {
                    "kty": { "type": "string", "enum": ["RSA", "EC", "OKP"] },
                    "kid": { "type": "string", "maxLength": MAX_KID },
                    "use": { "type": "string", "enum": ["sig", "enc"] },
                    "alg": { "type": "string" },
                    "key_ops": { "type": "array", "items": { "type": "string" } },
                    "n": { "type": "string" },
                    "e": { "type": "string" },
                    "crv": { "type": "string", "enum": ["P-256", "Ed25519"] },
                    "x": { "type": "string" },
                    "y": { "type": "string" },
                } },
            } },
        })
    }
}
