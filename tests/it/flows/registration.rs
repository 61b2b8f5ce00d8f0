//! What may be registered: RFC 7591 metadata by way of the operator's functions, which the command line shares.

use serde_json::json;

use crate::harness::{Server, on_both};

on_both![
    redirect_uris_that_nobody_should_register_are_refused,
    an_update_is_checked_as_a_whole,
    members_that_nobody_reads_are_refused
];

/// R-15, trap X-1.
async fn redirect_uris_that_nobody_should_register_are_refused(server: Server) {
    for bad in [
        "http://app.test/cb",
        "https://user:pw@app.test/cb",
        "https://app.test/cb#fragment",
        "https://*.app.test/cb",
        "https://app.test/*",
        "https://app.test/a/../cb",
        "https://app.test/%2e%2e/cb",
        "https://app.test\\cb",
        "https://app.test/c\tb",
        " https://app.test/cb",
        "https://app.test/cb?code=1",
        "https://app.test/cb?state=x",
        "https://app.test/cb?iss=x",
        "HTTPS://app.test/cb",
        "https://APP.test/cb",
        "https://app.test:443/cb",
        "https:/app.test/cb",
        "https:app.test/cb",
        "https://127.1/cb",
        "https://0x7f.1/cb",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
        "blob:https://app.test/x",
        "myapp:/cb",
        "/cb",
        "",
        "urn:ietf:wg:oauth:2.0:oob",
    ] {
        assert!(server.try_client(json!({ "redirect_uris": [bad] })).await.is_err(), "{bad:?} was registered");
    }
    for good in [
        "https://app.test/cb?tenant=1",
        "http://localhost:3000/cb",
        "http://127.0.0.1/cb",
        "http://[::1]:8080/cb",
        "com.example.app:/cb",
        "com.example.app://cb",
    ] {
        assert!(
            server
                .try_client(json!({ "redirect_uris": [good], "application_type": "native", "token_endpoint_auth_method": "none" }))
                .await
                .is_ok(),
            "{good:?} was refused"
        );
    }
}

///
async fn an_update_is_checked_as_a_whole(server: Server) {
    let client = server.client(json!({})).await;
    for bad in [
        json!({ "redirect_uris": ["http://app.test/cb"] }),
        json!({ "redirect_uris": [] }),
        json!({ "token_endpoint_auth_method": "none", "require_pkce": false }),
        json!({ "grant_types": ["implicit"] }),
        json!({ "response_types": ["token"] }),
        json!({ "client_secret": "chosen" }),
        json!({ "client_id": "chosen" }),
        json!({ "nonsense": 1 }),
        json!({ "logo_uri": "http://app.test/logo.png" }),
        json!({ "client_uri": "javascript:alert(1)" }),
    ] {
        assert!(server.try_update_client(&client, bad.clone()).await.is_err(), "{bad} was accepted");
    }
    assert!(server.try_update_client(&client, json!({ "client_name": "New name" })).await.is_ok());
}

async fn members_that_nobody_reads_are_refused(server: Server) {
    for bad in [
        json!({ "redirect_uri": "https://app.test/cb" }),
        json!({ "grant_types": "authorization_code" }),
        json!({ "require_pkce": "no" }),
        json!({ "scope": ["openid"] }),
    ] {
        assert!(server.try_client(bad.clone()).await.is_err(), "{bad} was accepted");
    }
}
