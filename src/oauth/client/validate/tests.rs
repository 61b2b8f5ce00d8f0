//! What a client may register, and what not.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::addresses::FOR_BROWSERS;
use super::*;
use crate::jose::Alg;

fn operator() -> Policy {
    Policy { operator: true, ..Policy::default() }
}

fn with(members: Value) -> Result<ClientMetadata, MetadataError> {
    let mut all = json!({ "redirect_uris": ["https://client.example/cb"] });
    for (name, value) in members.as_object().unwrap() {
        all[name] = value.clone();
    }
    validate(serde_json::from_value(all).unwrap(), &operator())
}

fn fault(members: Value) -> &'static str {
    with(members).unwrap_err().field
}

#[test]
fn the_smallest_client_gets_the_defaults_of_rfc_7591() {
    let metadata = with(json!({})).unwrap();
    assert_eq!(metadata.grant_types, [GrantType::AuthorizationCode]);
    assert_eq!(metadata.response_types, ["code"]);
    assert_eq!(metadata.token_endpoint_auth_method, AuthMethod::ClientSecretBasic);
    assert!(metadata.require_pkce);
}

#[test]
fn the_default_is_what_an_empty_object_means() {
    let empty: ClientMetadata = serde_json::from_value(json!({})).unwrap();
    assert_eq!(empty, ClientMetadata::default());
}

#[test]
fn what_is_valid_stays_valid_and_as_it_is() {
    let once =
        with(json!({ "scope": "openid  orders:read openid", "grant_types": ["authorization_code", "refresh_token"] })).unwrap();
    assert_eq!(once.scope.as_deref(), Some("openid orders:read"));
    assert_eq!(validate(once.clone(), &operator()).unwrap(), once);
}

#[test]
fn a_pairwise_client_has_one_sector() {
    with(json!({ "subject_type": "pairwise", "redirect_uris": ["https://a.test/1", "https://a.test:8443/2"] })).unwrap();
    with(json!({ "subject_type": "pairwise", "redirect_uris": ["http://127.0.0.1/cb", "com.example.app:/cb"] })).unwrap();
    let several = json!({ "redirect_uris": ["https://a.test/1", "https://b.test/2"] });
    with(several.clone()).unwrap();
    let refused = with(json!({ "subject_type": "pairwise", "redirect_uris": several["redirect_uris"] })).unwrap_err();
    assert_eq!((refused.field, refused.code), ("subject_type", MetadataCode::InvalidClientMetadata));
    assert!(refused.message.contains("a.test, b.test"), "{}", refused.message);
}

#[test]
fn a_machine_needs_no_redirect_uri_and_gets_no_response_type() {
    let machine = with(json!({ "redirect_uris": [], "grant_types": ["client_credentials"] })).unwrap();
    assert!(machine.response_types.is_empty());
}

#[test]
fn a_device_needs_no_redirect_uri_and_may_refresh() {
    let grants = json!(["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"]);
    let device = with(json!({ "redirect_uris": [], "grant_types": grants, "token_endpoint_auth_method": "none" })).unwrap();
    assert!(device.response_types.is_empty());
}

#[test]
fn grants_fit_together() {
    assert_eq!(fault(json!({ "grant_types": [] })), "grant_types");
    assert_eq!(fault(json!({ "grant_types": ["refresh_token"] })), "grant_types");
    assert_eq!(fault(json!({ "grant_types": ["client_credentials"], "token_endpoint_auth_method": "none" })), "grant_types");
    assert_eq!(fault(json!({ "response_types": ["token"] })), "response_types");
    assert_eq!(fault(json!({ "response_types": ["code", "code id_token"] })), "response_types");
    assert_eq!(fault(json!({ "redirect_uris": [] })), "redirect_uris");
    assert!(serde_json::from_value::<ClientMetadata>(json!({ "grant_types": ["password"] })).is_err());
}

#[test]
fn a_redirect_uri_fault_has_its_own_code_and_says_which_entry() {
    let error = with(json!({ "redirect_uris": ["https://client.example/cb", "https://client.example/cb#x"] })).unwrap_err();
    assert_eq!((error.field, error.code.as_str()), ("redirect_uris", "invalid_redirect_uri"));
    assert!(error.message.starts_with("entry 2"), "{error}");
    assert_eq!(fault(json!({ "post_logout_redirect_uris": ["javascript:alert(1)"] })), "post_logout_redirect_uris");
    assert_eq!(fault(json!({ "redirect_uris": ["https://a.test/", "https://a.test/"] })), "redirect_uris");
}

/// the members are found by their names in the schema, so a new one cannot be forgotten.
#[test]
fn every_member_that_is_an_address_is_checked() {
    let schema = serde_json::to_value(schemars::schema_for!(ClientMetadata)).unwrap();
    let addresses: Vec<&str> =
        schema["properties"].as_object().unwrap().keys().map(String::as_str).filter(|name| name.ends_with("_uri")).collect();
    assert!(addresses.len() >= 5, "{addresses:?}");
    for name in addresses {
        for bad in [
            "javascript:alert(1)",
            "http://client.example/",
            "https://u@client.example/",
            "/x",
            "data:,x",
            "https:client.example",
            "https:///client.example",
            "https://a.test/\u{a0}",
        ] {
            assert_eq!(fault(json!({ name: bad })), name, "{bad}");
        }
        assert!(with(json!({ name: "https://client.example/x?y" })).is_ok());
        assert_eq!(with(json!({ name: "https://client.example/x?y#z" })).is_ok(), FOR_BROWSERS.contains(&name), "{name}");
    }
}

#[test]
fn sign_outs_are_told_where_the_client_lives() {
    let local = "http://localhost:3000";
    let at = |members: Value| {
        let mut all = json!({ "redirect_uris": [format!("{local}/cb"), "https://client.example/cb"] });
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        serde_json::from_value::<ClientMetadata>(all).unwrap()
    };
    for uri in ["https://client.example/out", "https://client.example/out?a=b", "http://localhost:3000/out"] {
        assert!(validate(at(json!({ "frontchannel_logout_uri": uri })), &operator()).is_ok(), "{uri}");
    }
    for uri in [
        "https://other.example/out",
        "https://client.example:8443/out",
        "https://client.example.evil.test/out",
        "http://localhost:4000/out",
        "http://127.0.0.1:3000/out",
        "https://[::1]/out",
        "https://client.example/out?sid=1",
        "https://client.example/out?%69ss=1",
    ] {
        let refused = validate(at(json!({ "frontchannel_logout_uri": uri })), &operator()).unwrap_err();
        assert_eq!(refused.field, "frontchannel_logout_uri", "{uri}");
    }
    // A server of the client's may be anywhere.
    assert!(validate(at(json!({ "backchannel_logout_uri": "https://api.client.example/out?a=b" })), &operator()).is_ok());
    // What the server itself asks is on its own machine where the deployment allows that; browsers reach theirs anyway.
    let back = at(json!({ "backchannel_logout_uri": "http://localhost:4000/out" }));
    assert_eq!(validate(back.clone(), &operator()).unwrap_err().field, "backchannel_logout_uri");
    assert!(validate(back, &Policy { loopback_http: true, ..Policy::default() }).is_ok());
    let front = at(json!({ "frontchannel_logout_uri": "http://localhost:3000/out" }));
    assert_eq!(validate(front, &Policy::default()).unwrap_err().field, "frontchannel_logout_uri", "not by registration");
}

#[test]
fn names_cannot_hide_letters() {
    assert_eq!(fault(json!({ "client_name": "Pay\u{202e}lap" })), "client_name");
    assert_eq!(fault(json!({ "client_name": "Pay\u{200b}pal" })), "client_name");
    assert_eq!(fault(json!({ "client_name": " " })), "client_name");
    assert_eq!(fault(json!({ "client_name": "x".repeat(256) })), "client_name");
    assert_eq!(fault(json!({ "contacts": ["a@b.test\r\nBcc: c@d.test"] })), "contacts");
    assert!(with(json!({ "client_name": "Müllers Bestellungen 注文" })).is_ok());
}

#[test]
fn keys_are_given_once_and_fit_what_is_signed() {
    let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" });
    let signs = |members: Value| {
        let mut all = json!({ "token_endpoint_auth_method": "private_key_jwt" });
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        with(all).map_err(|error| error.field)
    };
    assert!(signs(json!({ "jwks": { "keys": [ed] } })).is_ok());
    assert!(signs(json!({ "jwks_uri": "https://client.example/jwks" })).is_ok());
    assert_eq!(signs(json!({})).unwrap_err(), "jwks");
    assert_eq!(fault(json!({ "jwks": { "keys": [ed] }, "jwks_uri": "https://client.example/jwks" })), "jwks");
    let mut only = ed.clone();
    only["use"] = json!("enc");
    assert_eq!(signs(json!({ "jwks": { "keys": [only] } })).unwrap_err(), "jwks");
    assert_eq!(signs(json!({ "jwks": { "keys": [ed] }, "token_endpoint_auth_signing_alg": "RS256" })).unwrap_err(), "jwks");
    assert!(signs(json!({ "jwks": { "keys": [ed] }, "token_endpoint_auth_signing_alg": "Ed25519" })).is_ok());
    assert_eq!(fault(json!({ "require_signed_request_object": true })), "require_signed_request_object");
    assert!(with(json!({ "require_signed_request_object": true, "jwks": { "keys": [ed] } })).is_ok());
    // On a developer's machine keys may be fetched over http, and nothing else is.
    let at_home = Policy { operator: true, loopback_http: true, ..Policy::default() };
    let homely = |members: Value| {
        let mut all = json!({ "redirect_uris": ["https://client.example/cb"] });
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        validate(serde_json::from_value(all).unwrap(), &at_home).map_err(|error| error.field)
    };
    assert!(homely(json!({ "jwks_uri": "http://127.0.0.1:4000/jwks" })).is_ok());
    assert_eq!(homely(json!({ "jwks_uri": "http://client.example/jwks" })).unwrap_err(), "jwks_uri");
    assert_eq!(homely(json!({ "client_uri": "http://127.0.0.1:4000/" })).unwrap_err(), "client_uri");
}

#[test]
fn pkce_is_turned_off_for_confidential_clients_alone() {
    assert!(with(json!({ "require_pkce": false })).is_ok());
    assert_eq!(fault(json!({ "require_pkce": false, "token_endpoint_auth_method": "none" })), "require_pkce");
    assert_eq!(fault(json!({ "require_pkce": false, "profile": "fapi2" })), "require_pkce");
}

#[test]
fn public_clients_rotate_and_do_not_pretend() {
    let public = |name: &str, value: Value| fault(json!({ "token_endpoint_auth_method": "none", name: value }));
    assert_eq!(public("refresh_rotation", json!("none")), "refresh_rotation");
    assert_eq!(public("profile", json!("fapi2")), "profile");
    assert_eq!(public("introspection", json!("any")), "introspection");
    assert_eq!(fault(json!({ "refresh_recovery": 86_401 })), "refresh_recovery");
    let fapi2 = |members: Value| {
        let mut all = json!({ "profile": "fapi2", "token_endpoint_auth_method": "private_key_jwt", "jwks_uri": "https://client.example/jwks" });
        all.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
        with(all).map_err(|error| error.field)
    };
    assert!(fapi2(json!({})).is_ok());
    assert_eq!(fapi2(json!({ "redirect_uris": ["http://localhost/cb"] })).unwrap_err(), "redirect_uris");
    assert_eq!(fapi2(json!({ "token_endpoint_auth_method": "client_secret_basic" })).unwrap_err(), "profile");
    assert_eq!(fapi2(json!({ "token_endpoint_auth_signing_alg": "RS256" })).unwrap_err(), "token_endpoint_auth_signing_alg");
    assert!(fapi2(json!({ "token_endpoint_auth_signing_alg": "PS256" })).is_ok());
    // openid.md 69, for what this server signs: the default of everybody else is none here.
    assert_eq!(fapi2(json!({})).unwrap().id_token_signed_response_alg, Alg::PS256);
    assert_eq!(fapi2(json!({ "id_token_signed_response_alg": "ES256" })).unwrap().id_token_signed_response_alg, Alg::ES256);
    assert_eq!(fapi2(json!({ "userinfo_signed_response_alg": "RS256" })).unwrap_err(), "userinfo_signed_response_alg");
}

/// what only an operator may give.
#[test]
fn a_client_that_registers_itself_gets_no_privilege() {
    let registration = Policy::default();
    let registered = |members: Value| {
        let mut all = json!({ "redirect_uris": ["https://client.example/cb"] });
        for (name, value) in members.as_object().unwrap() {
            all[name] = value.clone();
        }
        validate(serde_json::from_value(all).unwrap(), &registration).map_err(|error| error.field)
    };
    assert!(registered(json!({ "scope": "openid orders:read" })).is_ok());
    assert_eq!(registered(json!({ "scope": "openid admin:read" })).unwrap_err(), "scope");
    assert_eq!(registered(json!({ "scope": "admin:write" })).unwrap_err(), "scope");
    assert_eq!(registered(json!({ "first_party": true })).unwrap_err(), "first_party");
    for demand in ["optional", "required"] {
        assert_eq!(registered(json!({ "second_factor": demand })).unwrap_err(), "second_factor");
    }
    assert_eq!(registered(json!({ "introspection": "any" })).unwrap_err(), "introspection");
    assert_eq!(registered(json!({ "require_pkce": false })).unwrap_err(), "require_pkce");
}

#[test]
fn encryption_needs_a_key_of_its_kind_and_an_algorithm() {
    let ec = json!({ "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" });
    let mut signs = ec.clone();
    signs["use"] = json!("sig");
    for kind in ["id_token", "userinfo"] {
        let (alg, enc) = (format!("{kind}_encrypted_response_alg"), format!("{kind}_encrypted_response_enc"));
        let jwks = json!({ "keys": [ec] });
        let good = with(json!({ "jwks": jwks, &alg: "ECDH-ES" })).unwrap();
        assert_eq!(serde_json::to_value(&good).unwrap()[&enc], "A128CBC-HS256", "the default");
        assert_eq!(validate(good.clone(), &operator()).unwrap(), good);
        assert!(with(json!({ "jwks": jwks, &alg: "ECDH-ES", &enc: "A256GCM" })).is_ok());
        assert_eq!(fault(json!({ &alg: "ECDH-ES" })), alg);
        assert!(with(json!({ &alg: "ECDH-ES", "jwks_uri": "https://client.example/jwks" })).is_ok());
        assert_eq!(fault(json!({ "jwks": jwks, &alg: "RSA-OAEP-256" })), alg);
        assert_eq!(fault(json!({ "jwks": { "keys": [signs] }, &alg: "ECDH-ES" })), alg);
        assert_eq!(fault(json!({ "jwks": jwks, &enc: "A256GCM" })), enc);
    }
}

/// an update is a merge and then the same validator, so it cannot reach what create refuses.
#[test]
fn an_update_cannot_reach_what_create_refuses() {
    let mut merged = serde_json::to_value(with(json!({ "refresh_rotation": "none" })).unwrap()).unwrap();
    merged["token_endpoint_auth_method"] = json!("none");
    let error = validate(serde_json::from_value(merged).unwrap(), &operator()).unwrap_err();
    assert_eq!(error.field, "refresh_rotation");
}

proptest! {
    #[test]
    fn validating_twice_changes_nothing(
        scope in proptest::option::of("[a-z: ]{0,30}"),
        grants in proptest::sample::subsequence(GrantType::ALL.to_vec(), 0..=4),
        method in proptest::sample::select(AuthMethod::ALL.to_vec()), keys: bool,
        require_pkce: bool, fapi2: bool, operator: bool,
    ) {
        let metadata = ClientMetadata {
            redirect_uris: vec!["https://client.example/cb".to_owned()],
            scope, grant_types: grants, token_endpoint_auth_method: method, require_pkce,
            profile: fapi2.then_some(Profile::Fapi2),
            jwks_uri: keys.then(|| "https://client.example/jwks".to_owned()),
            ..ClientMetadata::default()
        };
        let policy = Policy { operator, ..Policy::default() };
        if let Ok(once) = validate(metadata, &policy) {
            prop_assert_eq!(validate(once.clone(), &policy).unwrap(), once);
        }
    }
}
