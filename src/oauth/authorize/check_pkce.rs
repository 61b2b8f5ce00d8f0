//! PKCE with S256 of everybody (RFC 7636 §4.3, §4.4.1; RFC 9700 §2.1.1). The one exception is a confidential client with
//! `require_pkce: false` (design 7), and for that one too a challenge counts whenever it is sent.

use super::ValidatedAuthorize;
use super::checks::Request;
use crate::oauth::pkce;
use crate::oauth::refusal::Reason;

pub(super) fn check(request: &Request<'_>, out: &mut ValidatedAuthorize) -> Result<(), Reason> {
    let method = request.params.get("code_challenge_method");
    let Some(challenge) = request.params.get("code_challenge") else {
        // A method without a challenge is a challenge that was lost on the way.
        if request.client.requires_pkce() || method.is_some() {
            return Err(Reason::PkceMissing { client_id: request.client.client_id.clone() });
        }
        return Ok(());
    };
    // RFC 7636 §4.3: a missing method means plain.
    if method != Some(pkce::S256) {
        return Err(Reason::PkceMethodUnsupported { received: method.map(|method| method.chars().take(100).collect()) });
    }
    pkce::check_challenge(challenge)?;
    out.code_challenge = Some(challenge.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scene;
    use super::*;
    use crate::oauth::client::{Client, Profile};
    use crate::oauth::params::Params;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn with(client: &Client, pkce: &str) -> Result<ValidatedAuthorize, Reason> {
        let query = scene::query(&client.client_id, "openid", "");
        let bare = query.split('&').filter(|pair| !pair.starts_with("code_challenge")).collect::<Vec<_>>().join("&");
        scene::check_params(&Params::parse_query(&format!("{bare}{pkce}")).unwrap(), client)
    }

    fn without_demand() -> Client {
        let mut client = scene::web();
        client.metadata.require_pkce = false;
        client
    }

    ///
    #[test]
    fn every_client_needs_s256() {
        for client in [scene::web(), scene::spa(), scene::native()] {
            assert!(matches!(with(&client, ""), Err(Reason::PkceMissing { .. })));
            assert!(matches!(with(&client, "&code_challenge_method=S256"), Err(Reason::PkceMissing { .. })));
            let refused = |pkce: String| with(&client, &pkce).unwrap_err();
            assert_eq!(refused(format!("&code_challenge={CHALLENGE}")), Reason::PkceMethodUnsupported { received: None });
            for method in ["plain", "s256", "S512"] {
                let pkce = format!("&code_challenge={CHALLENGE}&code_challenge_method={method}");
                assert_eq!(refused(pkce), Reason::PkceMethodUnsupported { received: Some(method.into()) });
            }
            assert!(matches!(
                refused("&code_challenge=short&code_challenge_method=S256".into()),
                Reason::PkceChallengeMalformed { .. }
            ));
            let fine = with(&client, &format!("&code_challenge={CHALLENGE}&code_challenge_method=S256")).unwrap();
            assert_eq!(fine.code_challenge.as_deref(), Some(CHALLENGE));
        }
    }

    #[test]
    fn the_exception_is_for_confidential_clients_and_still_honours_a_challenge() {
        let client = without_demand();
        assert_eq!(with(&client, "").unwrap().code_challenge, None);
        let fine = with(&client, &format!("&code_challenge={CHALLENGE}&code_challenge_method=S256")).unwrap();
        assert_eq!(fine.code_challenge.as_deref(), Some(CHALLENGE));
        assert!(with(&client, &format!("&code_challenge={CHALLENGE}&code_challenge_method=plain")).is_err());
        assert!(with(&client, "&code_challenge_method=S256").is_err());
    }

    #[test]
    fn a_public_or_fapi_client_cannot_have_the_exception_even_in_a_hand_made_row() {
        let mut public = scene::spa();
        public.metadata.require_pkce = false;
        assert!(matches!(with(&public, ""), Err(Reason::PkceMissing { .. })));
        let mut fapi = without_demand();
        fapi.metadata.profile = Some(Profile::Fapi2);
        assert!(matches!(with(&fapi, ""), Err(Reason::PkceMissing { .. })));
    }
}
