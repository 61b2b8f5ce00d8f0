//! Groups, the roles that they carry, and who is told of them: an audience gets the claims that its mapping names, and no other
//! (design 4.4). The audience of an ID token and of userinfo is the client; that of an access token are its resources.

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::claims::BY_SCOPE;
use super::user::ClaimMap;
use crate::oauth::refusal::Reason;

/// What all mapped claims of one token may take, in bytes of JSON. With signature and Base64 a token then still fits into the 8 KiB that
/// common servers read of one header.
pub const LARGEST: usize = 4096;
/// The most claims of one mapping.
const MOST_CLAIMS: usize = 10;
/// The most names in `only`.
const MOST_NAMES: usize = 200;
/// The most bytes of a claim's name or of a group's.
const LONGEST_NAME: usize = 255;

/// A group of people. The JSON of `chancery group add` and the admin API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// What stands in a user's `groups`, and in tokens. Never changes.
    pub identifier: String,
    /// For people; without one the identifier serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What everybody in the group may do, in words that the applications know.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// What a person belongs to at this moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    pub groups: Vec<String>,
    /// Of all groups together. Read only where a mapping asks for them.
    pub roles: Vec<String>,
}

/// Which claims an audience asks for, by the name that it wants them under. `{}` asks for none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct ClaimMapping(BTreeMap<String, Mapped>);

/// Where a claim's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Groups,
    Roles,
}

/// One claim: `"groups"`, or `{"from": "groups", "only": ["staff", "orders-*"]}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Value", into = "Value")]
struct Mapped {
    from: Source,
    /// Names, or beginnings of names with `*` after them; `None` is all.
    only: Option<Vec<String>>,
}

impl TryFrom<Value> for Mapped {
    type Error = String;

    fn try_from(value: Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            from: Source,
            #[serde(default)]
            only: Option<Vec<String>>,
        }
        let source = |value: Value| serde_json::from_value::<Source>(value).map_err(|_| "takes groups or roles".to_owned());
        match value {
            Value::String(_) => Ok(Self { from: source(value)?, only: None }),
            Value::Object(_) => {
                let written: Written = serde_json::from_value(value).map_err(|error| error.to_string())?;
                Ok(Self { from: written.from, only: written.only })
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(r#"takes "groups", "roles", or an object such as {"from": "groups", "only": ["orders-*"]}"#.to_owned())
            }
        }
    }
}

impl JsonSchema for Mapped {
    fn schema_name() -> Cow<'static, str> {
        "MappedClaim".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let source = json_schema!({ "type": "string", "enum": [Source::Groups.as_str(), Source::Roles.as_str()] });
        json_schema!({
            "description": "Where the claim's values come from.",
            "oneOf": [
                source,
                {
                    "type": "object",
                    "properties": {
                        "from": source,
                        "only": {
                            "description": "Names, or beginnings of names with * behind.",
                            "type": "array",
                            "items": { "type": "string" },
                        },
                    },
                    "required": ["from"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl From<Mapped> for Value {
    fn from(mapped: Mapped) -> Self {
        let from = Self::from(mapped.from.as_str());
        match mapped.only {
            None => from,
            Some(only) => Self::Object(ClaimMap::from_iter([("from".to_owned(), from), ("only".to_owned(), only.into())])),
        }
    }
}

impl Source {
    /// As in a mapping.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Groups => "groups",
            Self::Roles => "roles",
        }
    }
}

impl ClaimMapping {
    /// Does it ask for nothing?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Does it ask for what only the groups' own documents tell?
    pub fn asks_for_roles(&self) -> bool {
        self.0.values().any(|mapped| match mapped.from {
            Source::Roles => true,
            Source::Groups => false,
        })
    }

    /// What the person is, in this audience's words. An empty list says that there is none, which a missing claim would not.
    pub fn claims(&self, of: &Membership) -> ClaimMap {
        let claim = |(name, mapped): (&String, &Mapped)| {
            let held = match mapped.from {
                Source::Groups => &of.groups,
                Source::Roles => &of.roles,
            };
            let mut told: Vec<&String> = held.iter().filter(|value| mapped.covers(value)).collect();
            told.sort_unstable();
            told.dedup();
            (name.clone(), Value::from_iter(told.into_iter().cloned()))
        };
        self.0.iter().map(claim).collect()
    }

    /// The same for a token, which has to stay small. `audience` is told to the operator.
    ///
    /// # Errors
    /// `ClaimsTooLarge`.
    pub fn claims_for_token(&self, of: &Membership, audience: &[String]) -> Result<ClaimMap, Reason> {
        let claims = self.claims(of);
        let bytes = Value::Object(claims.clone()).to_string().len();
        if bytes > LARGEST {
            let claims = claims.keys().cloned().collect();
            return Err(Reason::ClaimsTooLarge { audience: audience.to_vec(), claims, bytes });
        }
        Ok(claims)
    }

    /// What a token for both audiences says.
    ///
    /// # Errors
    /// The name of a claim that the two take from different sources.
    pub fn with(mut self, other: &Self) -> Result<Self, String> {
        for (name, theirs) in &other.0 {
            match self.0.get_mut(name) {
                None => {
                    self.0.insert(name.clone(), theirs.clone());
                }
                Some(ours) if ours.from != theirs.from => return Err(name.clone()),
                Some(ours) => {
                    ours.only = match (ours.only.take(), &theirs.only) {
                        (Some(mut ours), Some(theirs)) => {
                            ours.extend(theirs.iter().filter(|name| !ours.contains(name)).cloned().collect::<Vec<_>>());
                            Some(ours)
                        }
                        (None, _) | (_, None) => None,
                    };
                }
            }
        }
        Ok(self)
    }

    /// May this mapping be registered? Create and merged update of clients and resources use it alike.
    ///
    /// # Errors
    /// What is wrong, to stand after the member's name.
    pub fn check(&self) -> Result<(), String> {
        if self.0.len() > MOST_CLAIMS {
            return Err(format!("has more than {MOST_CLAIMS} members"));
        }
        for (name, mapped) in &self.0 {
            let legal = name.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'));
            if name.is_empty() || name.len() > LONGEST_NAME || !legal {
                return Err(format!("has a member of which the name is not 1 to {LONGEST_NAME} printable ASCII characters"));
            }
            if is_reserved(name) {
                return Err(format!("has {name}, which has a meaning of its own in tokens; take another name"));
            }
            let Some(only) = &mapped.only else { continue };
            if only.is_empty() || only.len() > MOST_NAMES {
                return Err(format!("has {name} with only, which names between 1 and {MOST_NAMES} groups or roles"));
            }
            if only.iter().any(|pattern| pattern.is_empty() || pattern.len() > LONGEST_NAME || stem(pattern).contains('*')) {
                return Err(format!("has {name} with only, whose entries are names, or beginnings of names with one * at the end"));
            }
        }
        Ok(())
    }
}

impl Mapped {
    fn covers(&self, value: &str) -> bool {
        let Some(only) = &self.only else { return true };
        only.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => value.starts_with(beginning),
            None => value == pattern,
        })
    }
}

fn stem(pattern: &str) -> &str {
    pattern.strip_suffix('*').unwrap_or(pattern)
}

/// Claims that say something already: RFC 7519 §4.1, RFC 9068 §2.2, RFC 7662 §2.2, RFC 7800, RFC 8693, OpenID Connect Core §2, §3.1.3.6,
/// §5.1 and §5.6.2, and the logout specifications.
fn is_reserved(name: &str) -> bool {
    const RESERVED: [&str; 35] = [
        "iss",
        "sub",
        "aud",
        "exp",
        "nbf",
        "iat",
        "jti",
        "client_id",
        "scope",
        "auth_time",
        "acr",
        "amr",
        "azp",
        "nonce",
        "at_hash",
        "c_hash",
        "s_hash",
        "sid",
        "sub_jwk",
        "events",
        "typ",
        "cnf",
        "act",
        "may_act",
        "active",
        "username",
        "token_type",
        "expires_in",
        "authorization_details",
        "_claim_names",
        "_claim_sources",
        "vot",
        "vtm",
        "toe",
        "txn",
    ];
    RESERVED.contains(&name) || BY_SCOPE.iter().any(|(_, names)| names.contains(&name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mapping(value: Value) -> ClaimMapping {
        serde_json::from_value(value).unwrap()
    }

    fn alice() -> Membership {
        let owned = |list: &[&str]| list.iter().map(|one| (*one).to_owned()).collect();
        Membership { groups: owned(&["staff", "orders-eu", "orders-us"]), roles: owned(&["clerk", "admin", "clerk"]) }
    }

    #[test]
    fn an_audience_is_told_what_it_asks_for_under_its_own_names() {
        let told = |value: Value| Value::Object(mapping(value).claims(&alice()));
        assert_eq!(told(json!({})), json!({}));
        assert_eq!(told(json!({"groups": "groups"})), json!({"groups": ["orders-eu", "orders-us", "staff"]}));
        assert_eq!(
            told(json!({"https://shop.test/roles": "roles", "teams": {"from": "groups", "only": ["orders-*", "gone"]}})),
            json!({"https://shop.test/roles": ["admin", "clerk"], "teams": ["orders-eu", "orders-us"]})
        );
        assert_eq!(told(json!({"groups": {"from": "groups", "only": ["order"]}})), json!({"groups": []}), "whole names");
    }

    #[test]
    fn a_mapping_reads_as_it_was_written() {
        for written in [json!({}), json!({"a": "roles"}), json!({"a": {"from": "groups", "only": ["x*"]}})] {
            assert_eq!(serde_json::to_value(mapping(written.clone())).unwrap(), written);
        }
        for wrong in [json!({"a": "email"}), json!({"a": 1}), json!({"a": {"from": "groups", "onyl": []}}), json!(["groups"])] {
            assert!(serde_json::from_value::<ClaimMapping>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn no_claim_with_a_meaning_of_its_own_can_be_replaced() {
        for name in ["sub", "aud", "scope", "email_verified", "name", "act", "cnf", "client_id", "sid", "", "a b", "a\"b", "ä"] {
            assert!(mapping(json!({ name: "roles" })).check().is_err(), "{name}");
        }
        for only in [json!([]), json!(["a*b"]), json!(["**"]), json!([""])] {
            assert!(mapping(json!({"r": {"from": "roles", "only": only}})).check().is_err());
        }
        assert_eq!(mapping(json!({"groups": "groups", "https://a.test/roles": "roles"})).check(), Ok(()));
        assert_eq!(mapping(json!({"all": {"from": "groups", "only": ["*"]}})).check(), Ok(()));
    }

    #[test]
    fn two_audiences_of_one_token_get_what_either_asks_for() {
        let both = |a: Value, b: Value| mapping(a).with(&mapping(b)).map(|both| serde_json::to_value(both).unwrap());
        assert_eq!(both(json!({"g": "groups"}), json!({"r": "roles"})), Ok(json!({"g": "groups", "r": "roles"})));
        let only = |names: Value| json!({"g": {"from": "groups", "only": names}});
        assert_eq!(both(only(json!(["a", "b"])), only(json!(["b", "c"]))), Ok(only(json!(["a", "b", "c"]))));
        assert_eq!(both(only(json!(["a"])), json!({"g": "groups"})), Ok(json!({"g": "groups"})));
        assert_eq!(both(json!({"x": "groups"}), json!({"x": "roles"})), Err("x".to_owned()));
    }

    #[test]
    fn a_token_does_not_grow_without_bound() {
        let many = Membership { groups: (0..300).map(|n| format!("a-group-of-people-{n}")).collect(), roles: Vec::new() };
        let all = mapping(json!({"groups": "groups"}));
        assert!(matches!(all.claims_for_token(&many, &[]), Err(Reason::ClaimsTooLarge { .. })));
        assert_eq!(all.claims(&many)["groups"].as_array().unwrap().len(), 300);
        assert!(
            mapping(json!({"groups": {"from": "groups", "only": ["a-group-of-people-2*"]}})).claims_for_token(&many, &[]).is_ok()
        );
    }
}
