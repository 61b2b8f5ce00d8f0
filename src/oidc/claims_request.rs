//! The claims parameter (OpenID Connect Core §5.5): which claims a client asks for one by one, and where it wants them.
//!
//! What is not understood is ignored, as §5.5 says: other members, claims that there are not, and names with a language tag
//! (`name#de`, §5.2). Asking for something never gives what the client may not have: [`ClaimsRequest::within`].

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::claims::{BY_SCOPE, scope_of};
use crate::jose;
use crate::oauth::scope;

/// Claims about the person, by where they are to be delivered; each list in the order of §5.4.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimsRequest {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub userinfo: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub id_token: Vec<String>,
}

/// What a claims parameter asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub claims: ClaimsRequest,
    /// `sub` with a value: the person must be one of these (§3.1.2.2). Empty: nobody in particular.
    pub subs: Vec<String>,
    /// `acr` of the ID token with values.
    pub acr: Option<AskedAcr>,
}

/// §5.5.1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedAcr {
    /// Without one of the values there is no answer.
    pub essential: bool,
    /// In order of preference; never empty.
    pub values: Vec<String>,
}

/// One claim of the request (§5.5.1).
#[derive(Debug, Default)]
struct Wanted {
    essential: bool,
    values: Vec<Value>,
}

impl ClaimsRequest {
    /// Is nothing asked for?
    pub fn is_empty(&self) -> bool {
        self.userinfo.is_empty() && self.id_token.is_empty()
    }

    /// What of it a client may have that may ask for these scopes: a claim is no way around the scope that it belongs to.
    #[must_use]
    pub fn within(&self, scopes: &[String]) -> Self {
        let has = |name: &str| scopes.iter().any(|scope| scope == name);
        let only = |names: &[String]| {
            let allowed = |name: &&String| has(scope::OPENID) && scope_of(name).is_some_and(has);
            names.iter().filter(allowed).cloned().collect()
        };
        Self { userinfo: only(&self.userinfo), id_token: only(&self.id_token) }
    }

    /// The claims that these scopes do not give anyway, each once: what the person is asked about beside the scopes.
    pub fn beyond(&self, scopes: &[String]) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        for name in self.userinfo.iter().chain(&self.id_token) {
            let given = scope_of(name).is_some_and(|of| scopes.iter().any(|scope| scope == of));
            if !given && !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }
}

/// Reads the parameter.
///
/// # Errors
/// What is wrong, in words: not JSON, a member twice, more than sixteen deep, or not the form of §5.5.
pub fn parse(text: &str) -> Result<Asked, String> {
    let members = jose::object(text.as_bytes()).map_err(|error| error.to_string())?;
    let userinfo = part(&members, "userinfo")?;
    let id_token = part(&members, "id_token")?;
    let mut subs = Vec::new();
    for part in [&userinfo, &id_token] {
        if let Some((_, wanted)) = part.iter().find(|(name, _)| name == "sub") {
            let values = texts("sub", &wanted.values)?;
            // Asked for twice, it must be both.
            if subs.is_empty() {
                subs = values;
            } else if !values.is_empty() {
                subs.retain(|sub| values.contains(sub));
                if subs.is_empty() {
                    return Err("userinfo and id_token ask for different people".to_owned());
                }
            }
        }
    }
    let acr = match id_token.iter().find(|(name, _)| name == "acr") {
        Some((_, wanted)) if !wanted.values.is_empty() => {
            Some(AskedAcr { essential: wanted.essential, values: texts("acr", &wanted.values)? })
        }
        Some(_) | None => None,
    };
    Ok(Asked { claims: ClaimsRequest { userinfo: known(&userinfo), id_token: known(&id_token) }, subs, acr })
}

/// The claims that there are, in the order of the table.
fn known(part: &[(String, Wanted)]) -> Vec<String> {
    let names = BY_SCOPE.iter().flat_map(|(_, names)| *names);
    names.filter(|name| part.iter().any(|(asked, _)| asked == *name)).map(|name| (*name).to_owned()).collect()
}

fn part(members: &Map<String, Value>, name: &str) -> Result<Vec<(String, Wanted)>, String> {
    match members.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Object(claims)) => {
            claims.iter().map(|(claim, value)| Ok((claim.clone(), wanted(&format!("{name}.{claim}"), value)?))).collect()
        }
        Some(_) => Err(format!("{name} must be an object")),
    }
}

fn wanted(path: &str, value: &Value) -> Result<Wanted, String> {
    let members = match value {
        // §5.5.1: asked for in the default manner.
        Value::Null => return Ok(Wanted::default()),
        Value::Object(members) => members,
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            return Err(format!("{path} must be null or an object"));
        }
    };
    let essential = match members.get("essential") {
        None => false,
        Some(Value::Bool(essential)) => *essential,
        Some(_) => return Err(format!("{path}.essential must be true or false")),
    };
    let mut values: Vec<Value> = members.get("value").into_iter().cloned().collect();
    match members.get("values") {
        None => {}
        Some(Value::Array(several)) => values.extend(several.iter().cloned()),
        Some(_) => return Err(format!("{path}.values must be an array")),
    }
    Ok(Wanted { essential, values })
}

fn texts(claim: &str, values: &[Value]) -> Result<Vec<String>, String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    values.iter().map(text).collect::<Option<_>>().ok_or_else(|| format!("a value of {claim} must be a text"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn list(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    /// The example of §5.5.
    #[test]
    fn the_example_of_core_is_read() {
        let asked = parse(
            r#"{"userinfo": {"given_name": {"essential": true}, "nickname": null, "email": {"essential": true},
                 "email_verified": {"essential": true}, "picture": null, "http://example.info/claims/groups": null},
                "id_token": {"auth_time": {"essential": true}, "acr": {"values": ["urn:mace:incommon:iap:silver"]}}}"#,
        )
        .unwrap();
        assert_eq!(asked.claims.userinfo, list("given_name nickname picture email email_verified"));
        assert!(asked.claims.id_token.is_empty() && asked.subs.is_empty());
        assert_eq!(asked.acr, Some(AskedAcr { essential: false, values: list("urn:mace:incommon:iap:silver") }));
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for harmless in [
            "{}",
            r#"{"userinfo": {}, "id_token": null, "other": [1, 2], "verified_claims": {"a": 1}}"#,
            r##"{"userinfo": {"name#de": null, "shoe_size": {"essential": true, "value": 44}, "sub": null}}"##,
            r#"{"id_token": {"acr": {"essential": true}, "nonce": null, "sub": {"values": []}}}"#,
        ] {
            assert_eq!(parse(harmless), Ok(Asked::default()), "{harmless}");
        }
        let odd = parse(r#"{"userinfo": {"name": {"essential": true, "purpose": "fun", "value": 7}}}"#).unwrap();
        assert_eq!(odd.claims.userinfo, ["name"]);
    }

    #[test]
    fn what_breaks_the_form_is_refused() {
        let deep = format!("{{\"userinfo\": {{\"name\": {}{} }} }}", "{\"a\":".repeat(20), "1".to_owned() + &"}".repeat(20));
        for bad in [
            "",
            "x",
            "[]",
            "null",
            "{} {}",
            r#"{"userinfo": {"name": null, "name": null}}"#,
            r#"{"userinfo": {}, "userinfo": {}}"#,
            r#"{"userinfo": {"name": {"essential": true, "essential": false}}}"#,
            r#"{"userinfo": []}"#,
            r#"{"id_token": "x"}"#,
            r#"{"userinfo": {"name": true}}"#,
            r#"{"userinfo": {"name": {"essential": "yes"}}}"#,
            r#"{"userinfo": {"name": {"values": "x"}}}"#,
            r#"{"id_token": {"sub": {"value": 1}}}"#,
            r#"{"id_token": {"acr": {"values": [1]}}}"#,
            r#"{"id_token": {"sub": {"value": "a"}}, "userinfo": {"sub": {"value": "b"}}}"#,
            &deep,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_person_may_be_asked_for_by_value() {
        assert_eq!(parse(r#"{"id_token": {"sub": {"value": "a"}}}"#).unwrap().subs, ["a"]);
        assert_eq!(
            parse(r#"{"userinfo": {"sub": {"values": ["a", "b"]}}, "id_token": {"sub": {"value": "b"}}}"#).unwrap().subs,
            ["b"]
        );
    }

    #[test]
    fn a_claim_is_no_way_around_its_scope() {
        let asked =
            parse(r#"{"userinfo": {"name": null, "email": null}, "id_token": {"email": null, "phone_number": null}}"#).unwrap();
        let within = asked.claims.within(&list("openid email"));
        assert_eq!(within, ClaimsRequest { userinfo: list("email"), id_token: list("email") });
        assert!(asked.claims.within(&list("email profile phone")).is_empty(), "without openid there is nothing to ask");
        assert_eq!(asked.claims.beyond(&list("openid email")), list("name phone_number"));
        assert_eq!(asked.claims.beyond(&[]), list("name email phone_number"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_stumble(text in ".{0,200}", json in "[\\[\\]{}\":,a-z0-9 ]{0,200}") {
            let _ = (parse(&text), parse(&json));
        }
    }
}
