//! The metadata documents (OpenID Connect Discovery §3, RFC 8414 §2). Both are this one document. It is made of the enums that the code
//! matches on, so that it cannot promise what the code lacks; members without a value are left out, never null.

use serde_json::{Value, json};

use super::authentication::Acr;
use super::claims::BY_SCOPE;
use super::user::ClaimMap;
use crate::jose::{Alg, ContentEncryption, KeyManagement};
use crate::oauth::authorize::{Prompt, ResponseMode};
use crate::oauth::client::{AuthMethod, GrantType, SubjectType};
use crate::oauth::endpoint::Endpoint;
use crate::oauth::{pkce, scope};

/// What depends on this deployment.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Algorithms that there are keys for, or will be as soon as somebody registers them.
    pub algs: &'a [Alg],
    /// Languages of the pages, as BCP 47 tags.
    pub ui_locales: &'a [&'a str],
    /// Clients may register themselves.
    pub registration: bool,
}

/// Claims that an ID token of ours may have beside those by scope.
const ID_TOKEN_CLAIMS: [&str; 11] = ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"];

/// The document, for an issuer without trailing slash.
pub fn document(issuer: &str, offered: &Offered<'_>) -> Value {
    let mut document = ClaimMap::new();
    document.insert("issuer".to_owned(), issuer.into());
    for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| offered.registration || *endpoint != Endpoint::Registration) {
        if let Some(member) = endpoint.metadata_member() {
            document.insert(member.to_owned(), endpoint.url(issuer).into());
        }
    }
    let all_methods = AuthMethod::ALL.map(AuthMethod::as_str);
    let confidential: Vec<_> = AuthMethod::ALL.into_iter().filter(|method| method.proves()).map(AuthMethod::as_str).collect();
    let mut claims = ID_TOKEN_CLAIMS.to_vec();
    claims.extend(BY_SCOPE.iter().flat_map(|(_, names)| *names));
    let members = [
        // Scopes of resources are left out: clients in the field ask for all that they see here.
        ("scopes_supported", json!(scope::OPENID_CONNECT)),
        ("response_types_supported", json!(["code"])),
        ("response_modes_supported", json!(ResponseMode::ALL.map(ResponseMode::as_str))),
        ("grant_types_supported", json!(GrantType::ALL.map(GrantType::as_str))),
        ("prompt_values_supported", json!(Prompt::ALL.map(Prompt::as_str))),
        ("subject_types_supported", json!(SubjectType::ALL.map(SubjectType::as_str))),
        ("id_token_signing_alg_values_supported", json!(offered.algs)),
        ("userinfo_signing_alg_values_supported", json!(offered.algs)),
        ("id_token_encryption_alg_values_supported", json!(KeyManagement::ALL)),
        ("id_token_encryption_enc_values_supported", json!(ContentEncryption::ALL)),
        ("userinfo_encryption_alg_values_supported", json!(KeyManagement::ALL)),
        ("userinfo_encryption_enc_values_supported", json!(ContentEncryption::ALL)),
        ("token_endpoint_auth_methods_supported", json!(all_methods)),
        // RFC 8414 §2: to be there where private_key_jwt is.
        ("token_endpoint_auth_signing_alg_values_supported", json!(Alg::ALL)),
        ("revocation_endpoint_auth_methods_supported", json!(all_methods)),
        ("revocation_endpoint_auth_signing_alg_values_supported", json!(Alg::ALL)),
        // RFC 7662 §2.1: somebody who cannot authenticate may not ask.
        ("introspection_endpoint_auth_methods_supported", json!(confidential)),
        ("introspection_endpoint_auth_signing_alg_values_supported", json!(Alg::ALL)),
        ("code_challenge_methods_supported", json!([pkce::S256])),
        ("acr_values_supported", json!(Acr::ALL.map(Acr::as_str))),
        ("claim_types_supported", json!(["normal"])),
        ("claims_supported", json!(claims)),
        ("ui_locales_supported", json!(offered.ui_locales)),
        ("authorization_response_iss_parameter_supported", json!(true)),
        ("backchannel_logout_supported", json!(true)),
        ("backchannel_logout_session_supported", json!(true)),
        ("frontchannel_logout_supported", json!(true)),
        ("frontchannel_logout_session_supported", json!(true)),
        ("claims_parameter_supported", json!(true)),
        ("request_parameter_supported", json!(true)),
        ("request_object_signing_alg_values_supported", json!(Alg::ALL)),
        // Its default is true (Discovery §3).
        ("request_uri_parameter_supported", json!(false)),
    ];
    document.extend(members.map(|(name, value)| (name.to_owned(), value)));
    Value::Object(document)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn made() -> Value {
        document("https://id.test/tenant", &Offered { algs: &Alg::ALL, ui_locales: &["en", "de"], registration: false })
    }

    const ALGS: [&str; 5] = ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"];

    #[test]
    fn the_document_says_exactly_what_works() {
        let mut expected = json!({
            "issuer": "https://id.test/tenant",
            "authorization_endpoint": "https://id.test/tenant/authorize",
            "token_endpoint": "https://id.test/tenant/token",
            "device_authorization_endpoint": "https://id.test/tenant/device/code",
            "introspection_endpoint": "https://id.test/tenant/introspect",
            "revocation_endpoint": "https://id.test/tenant/revoke",
            "userinfo_endpoint": "https://id.test/tenant/userinfo",
            "end_session_endpoint": "https://id.test/tenant/logout",
            "jwks_uri": "https://id.test/tenant/jwks",
            "scopes_supported": ["openid", "profile", "email", "address", "phone", "offline_access"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query", "form_post"],
            "grant_types_supported": [
                "authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code",
            ],
            "prompt_values_supported": ["none", "login", "consent", "select_account"],
            "subject_types_supported": ["public", "pairwise"],
            "id_token_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"],
            "userinfo_signing_alg_values_supported": ["RS256", "PS256", "ES256", "EdDSA", "Ed25519"],
            "id_token_encryption_alg_values_supported": ["RSA-OAEP-256", "ECDH-ES"],
            "id_token_encryption_enc_values_supported": ["A128CBC-HS256", "A128GCM", "A256GCM"],
            "userinfo_encryption_alg_values_supported": ["RSA-OAEP-256", "ECDH-ES"],
            "userinfo_encryption_enc_values_supported": ["A128CBC-HS256", "A128GCM", "A256GCM"],
            "code_challenge_methods_supported": ["S256"],
            "acr_values_supported": ["urn:chancery:acr:password", "urn:chancery:acr:mfa", "urn:chancery:acr:phishing-resistant"],
            "claim_types_supported": ["normal"],
            "claims_supported": [
                "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash",
                "name", "family_name", "given_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
                "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
                "email", "email_verified", "address", "phone_number", "phone_number_verified",
            ],
            "ui_locales_supported": ["en", "de"],
            "authorization_response_iss_parameter_supported": true,
            "backchannel_logout_supported": true,
            "backchannel_logout_session_supported": true,
            "frontchannel_logout_supported": true,
            "frontchannel_logout_session_supported": true,
            "claims_parameter_supported": true,
            "request_parameter_supported": true,
            "request_uri_parameter_supported": false,
        });
        expected["request_object_signing_alg_values_supported"] = json!(ALGS);
        let (secrets, key) = (["client_secret_basic", "client_secret_post"], ["private_key_jwt"]);
        for (endpoint, more) in [("token", &["none"][..]), ("revocation", &["none"]), ("introspection", &[])] {
            let methods = [&secrets[..], &key, more].concat();
            expected[format!("{endpoint}_endpoint_auth_methods_supported")] = json!(methods);
            expected[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")] = json!(ALGS);
        }
        assert_eq!(made(), expected);
    }

    #[test]
    fn nothing_is_null_blank_or_repeated() {
        for (name, value) in made().as_object().unwrap() {
            match value {
                Value::Null => panic!("{name}"),
                Value::String(text) => assert!(!text.is_empty(), "{name}"),
                Value::Array(values) => {
                    let distinct: HashSet<_> = values.iter().map(|value| value.as_str().unwrap()).collect();
                    assert!(!values.is_empty() && distinct.len() == values.len(), "{name}");
                }
                Value::Bool(_) => {}
                other => panic!("{name}: {other}"),
            }
        }
    }

    #[test]
    fn names_are_those_that_registration_knows() {
        for grant in GrantType::ALL {
            assert_eq!(json!(grant), json!(grant.as_str()));
        }
        for method in AuthMethod::ALL {
            assert_eq!(json!(method), json!(method.as_str()));
        }
    }
}
