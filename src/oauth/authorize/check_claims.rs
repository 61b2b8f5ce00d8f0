//! The claims parameter is what OpenID Connect Core §5.5 says, or refused: a client that asks in a broken form would otherwise get less
//! than it thinks. It belongs to OpenID Connect, so it counts with `openid` alone.

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::refusal::Reason;
use crate::oauth::scope;
use crate::oidc::authentication::Acr;
use crate::oidc::claims_request;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let Some(text) = request.params.get("claims") else { return Ok(()) };
    if !out.scopes.iter().any(|scope| scope == scope::OPENID) {
        return Ok(());
    }
    let asked = claims_request::parse(text).map_err(|detail| Reason::MalformedParameter {
        name: "claims".to_owned(),
        received: text.chars().take(100).collect(),
        detail: format!("it is not what OpenID Connect Core section 5.5 describes: {detail}"),
    })?;
    out.asked_claims = asked.claims;
    out.subs = asked.subs;
    match asked.acr {
        // §5.5.1.1: what cannot be met is a failed authentication; nobody signs in for nothing.
        Some(acr) if acr.essential => {
            if Acr::least_of(&acr.values).is_none() {
                return Err(Reason::AcrUnmet { wanted: acr.values, present: None });
            }
            out.essential_acr = acr.values;
        }
        // A wish, and more exact than acr_values.
        Some(acr) => {
            let mut values = acr.values;
            values.append(&mut out.acr_values);
            out.acr_values = values;
        }
        None => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene;

    fn encoded(json: &str) -> String {
        format!("&claims={}", url::form_urlencoded::byte_serialize(json.as_bytes()).collect::<String>())
    }

    #[test]
    fn a_claims_parameter_is_read_and_a_broken_one_refused() {
        let web = scene::web();
        let request =
            scene::request(&web, "openid", &encoded(r#"{"userinfo": {"name": null}, "id_token": {"sub": {"value": "a"}}}"#));
        assert_eq!((request.asked_claims.userinfo, request.subs), (vec!["name".to_owned()], vec!["a".to_owned()]));
        for broken in ["x", "{", r#"{"userinfo": 1}"#, r#"{"userinfo": {"name": null, "name": null}}"#] {
            let refused = scene::try_request(&web, "openid", &encoded(broken)).unwrap_err();
            assert_eq!(refused.wire().error, "invalid_request", "{broken}");
            assert!(scene::try_request(&web, "orders:read", &encoded(broken)).is_ok(), "it belongs to OpenID Connect");
        }
    }

    #[test]
    fn a_level_that_nobody_can_reach_is_refused_at_once_if_it_is_essential() {
        let acr = |essential: bool, values: &str| {
            encoded(&format!(r#"{{"id_token": {{"acr": {{"essential": {essential}, "values": [{values}]}}}}}}"#))
        };
        let refused = scene::try_request(&scene::web(), "openid", &acr(true, r#""urn:gold""#)).unwrap_err();
        assert_eq!(refused.wire().error, "unmet_authentication_requirements");
        let wished = scene::request(&scene::web(), "openid", &format!("{}&acr_values=urn:b", acr(false, r#""urn:gold""#)));
        assert_eq!((wished.acr_values.join(" "), wished.essential_acr.len()), ("urn:gold urn:b".to_owned(), 0));
        let some = scene::request(&scene::web(), "openid", &acr(true, r#""urn:gold", "urn:chancery:acr:mfa""#));
        assert_eq!(some.essential_acr, ["urn:gold", "urn:chancery:acr:mfa"]);
    }
}
