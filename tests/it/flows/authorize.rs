//! The authorization endpoint: RFC 6749 §3.1 and §4.1, RFC 7636, RFC 9207, OpenID Connect Core §3.1.2, and attacks on each check.

use serde_json::json;

use crate::harness::{Page, Request, Server, on_both, raw};

on_both![
    a_person_signs_in_and_the_answer_carries_state_and_issuer,
    post_works_as_get_does,
    the_redirect_uri_is_compared_byte_for_byte,
    until_client_and_redirect_are_proved_nothing_is_redirected,
    a_registered_query_is_kept,
    a_loopback_redirect_of_a_native_client_may_name_any_port,
    every_parameter_may_come_once,
    parameters_are_decoded_strictly_and_have_limits,
    pkce_is_demanded_and_only_s256,
    what_is_not_offered_is_refused_by_its_own_error,
    state_and_nonce_come_back_exactly_or_not_at_all,
    form_post_serves_success_and_error_alike,
    unknown_parameters_and_hints_never_fail_a_request,
    scopes_are_checked_against_the_client,
    several_tabs_at_once_each_reach_their_own_client,
    an_interaction_belongs_to_its_browser,
    tabs_that_are_opened_together_all_work,
    an_interaction_ends,
    codes_have_full_entropy,
    a_disabled_client_gets_a_page,
];

/// A page of ours, with a trace id and without a way out to the client.
fn local_error(page: &Page) {
    assert!(page.location().is_none(), "redirected to {:?}", page.location());
    assert!((400..500).contains(&page.status), "{}: {}", page.status, page.body);
    assert_eq!(page.trace_id().len(), 32);
    assert_eq!(page.header("cache-control"), "no-store");
    assert_eq!(page.header("referrer-policy"), "no-referrer");
}

async fn a_person_signs_in_and_the_answer_carries_state_and_issuer(server: Server) {
    let (server, alice, client) = server.actors().await;
    let request = Request::of(&client);
    let back = alice.arrive(&request).await;
    assert_eq!(back.params["iss"], server.issuer);
    assert_eq!(Some(back.params["state"].as_str()), request.get("state"));
    assert_eq!(back.params.len(), 3, "{}", back.url);
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    assert_eq!(tokens.str("token_type"), "Bearer");
}

async fn post_works_as_get_does(server: Server) {
    let (_, alice, client) = server.actors().await;
    let request = Request::of(&client);
    let page = alice
        .browser
        .send(
            reqwest::Method::POST,
            "/authorize",
            Some(request.fields.clone()),
            &[("origin", "https://app.test"), ("sec-fetch-site", "cross-site")],
        )
        .await;
    assert!(page.location().is_some() || page.is_login(), "{} {}", page.status, page.body);
    if page.location().is_some() {
        assert_eq!(page.status, 303, "R-23");
    }
}

async fn the_redirect_uri_is_compared_byte_for_byte(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "redirect_uris": ["https://app.test/callback"] })).await;
    for wrong in [
        "https://app.test/callback/",
        "https://app.test/callback?x=1",
        "https://app.test/callback#",
        "https://app.test/Callback",
        "https://APP.test/callback",
        "HTTPS://app.test/callback",
        "https://app.test:443/callback",
        "https://app.test/%63allback",
        "https://app.test/x/../callback",
        "https://app.test/./callback",
        "https://app.test\\@evil.test/callback",
        "https://app.test@evil.test/callback",
        "https://app.test.evil.test/callback",
        "http://app.test/callback",
        " https://app.test/callback",
        "https://app.test/callback ",
        "https:/app.test/callback",
        "//app.test/callback",
        "/callback",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://app.test/callback?code=1",
        "https://аpp.test/callback",
    ] {
        let page = alice.open(&Request::of(&client).with("redirect_uri", wrong)).await;
        local_error(&page);
        assert!(!page.body.contains("https://app.test/callback\""), "a registered value is shown to strangers");
    }
}

async fn until_client_and_redirect_are_proved_nothing_is_redirected(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "redirect_uris": ["https://app.test/callback", "https://app.test/other"] })).await;
    let good = Request::of(&client);
    local_error(&alice.open(&good.clone().without("redirect_uri")).await);
    local_error(&alice.open(&good.clone().without("client_id")).await);
    local_error(&alice.open(&good.clone().with("client_id", "")).await);
    local_error(&alice.open(&good.clone().with("client_id", "nobody")).await);
    local_error(&alice.open(&good.clone().and("client_id", &client.client_id)).await);
    local_error(&alice.open(&good.clone().and("redirect_uri", &client.redirect_uri)).await);
    // Another client's redirect URI.
    let other = server.client(json!({ "redirect_uris": ["https://other.test/callback"] })).await;
    local_error(&alice.open(&good.clone().with("redirect_uri", &other.redirect_uri)).await);
    // A client that registered for machines alone.
    let machine = server.machine(json!({})).await;
    local_error(&alice.open(&good.with("client_id", &machine.client_id)).await);
}

async fn a_registered_query_is_kept(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "redirect_uris": ["https://app.test/callback?tenant=7"] })).await;
    let back = alice.arrive(&Request::of(&client)).await;
    assert!(back.url.starts_with("https://app.test/callback?tenant=7&"), "{}", back.url);
    assert_eq!(back.params["tenant"], "7");
    client.redeem(back.code(), &back.verifier).await.ok();
}

async fn a_loopback_redirect_of_a_native_client_may_name_any_port(server: Server) {
    let alice = server.person("alice").await;
    let native = server
        .public_client(json!({ "redirect_uris": ["http://127.0.0.1/cb", "http://[::1]:1/cb"], "application_type": "native" }))
        .await;
    for redirect in ["http://127.0.0.1:49152/cb", "http://127.0.0.1/cb", "http://[::1]:50000/cb"] {
        let back = alice.arrive(&Request::of(&native).with("redirect_uri", redirect)).await;
        assert!(back.url.starts_with(&format!("{redirect}?")), "{}", back.url);
    }
    for wrong in [
        "http://localhost:49152/cb",
        "http://127.0.0.2:49152/cb",
        "http://127.1:49152/cb",
        "http://127.0.0.1:49152/cb/",
        "http://127.0.0.1:99999/cb",
        "http://127.0.0.1:/cb",
        "http://127.0.0.1:80@evil.test/cb",
        "http://127.0.0.1:1:2/cb",
        "http://127.0.0.1:+80/cb",
        "https://127.0.0.1:49152/cb",
    ] {
        local_error(&alice.open(&Request::of(&native).with("redirect_uri", wrong)).await);
    }
    let web = server.client(json!({ "redirect_uris": ["https://app.test:444/cb"] })).await;
    local_error(&alice.open(&Request::of(&web).with("redirect_uri", "https://app.test:445/cb")).await);
}

/// The error goes to the client once it is proved, and never carries one of the two values.
async fn every_parameter_may_come_once(server: Server) {
    let (server, alice, client) = server.actors().await;
    for name in [
        "state",
        "scope",
        "nonce",
        "response_type",
        "code_challenge",
        "code_challenge_method",
        "prompt",
        "response_mode",
        "unknown",
    ] {
        let page = alice.open(&Request::of(&client).with(name, "one").and(name, "two")).await;
        match page.location() {
            Some(to) => {
                assert!(to.as_str().starts_with(&client.redirect_uri), "{name}: {to}");
                assert!(to.query().unwrap().contains("error=invalid_request"), "{name}: {to}");
            }
            None => local_error(&page),
        }
    }
    // The same parameter in query and body is twice, too.
    let request = Request::of(&client);
    let url = format!("/authorize?state={}", request.get("state").unwrap());
    let page = alice.browser.send(reqwest::Method::POST, &url, Some(request.fields.clone()), &[]).await;
    assert!(
        page.status >= 400 || page.location().is_some_and(|to| to.query().unwrap().contains("error=invalid_request")),
        "{}",
        page.status
    );
    // resource may come several times (RFC 8707 §2).
    server.resource(json!({ "identifier": "https://a.test/api", "name": "A", "scopes": [{ "name": "a" }] })).await;
    server.resource(json!({ "identifier": "https://b.test/api", "name": "B", "scopes": [{ "name": "b" }] })).await;
    let both = server.client(json!({ "scope": "openid a b" })).await;
    let request =
        Request::of(&both).with("scope", "openid a b").and("resource", "https://a.test/api").and("resource", "https://b.test/api");
    alice.arrive(&request).await.code();
}

/// R-20, and traps: what cannot be decoded is refused, not repaired.
async fn parameters_are_decoded_strictly_and_have_limits(server: Server) {
    let (server, alice, client) = server.actors().await;
    let url = Request::of(&client).without("state").url(&server);
    let target = url.strip_prefix("https://id.test").unwrap();
    for broken in ["%zz", "%", "%0", "%ff", "%c3%28", "%00", "a%00b", "%0d%0aSet-Cookie:x", "%01", "%7f"] {
        let answer = raw::get(&server, &format!("{target}&state={broken}")).await;
        let status = raw::status(&answer);
        assert!(status == 400 || (status == 303 && answer.contains("error=invalid_request")), "{broken}: {answer}");
        assert!(!answer.to_lowercase().contains("\r\nset-cookie:x"), "{answer}");
    }
    for (name, most) in [("state", 2048), ("nonce", 512), ("login_hint", 255), ("ui_locales", 2048), ("unknown", 2048)] {
        let page = alice.open(&Request::of(&client).with(name, &"x".repeat(most))).await;
        assert!(
            page.status < 400 && !page.location().is_some_and(|to| to.as_str().contains("error=")),
            "{name} of {most} bytes: {}",
            page.status
        );
        let page = alice.open(&Request::of(&client).with(name, &"x".repeat(most + 1))).await;
        assert!(
            page.status == 400 || page.location().is_some_and(|to| to.as_str().contains("error=invalid_request")),
            "{name}: {}",
            page.status
        );
    }
    let many = (0..101).map(|number| format!("s{number}")).collect::<Vec<_>>().join(" ");
    let page = alice.open(&Request::of(&client).with("scope", &many)).await;
    assert!(page.location().unwrap().query().unwrap().contains("error=invalid_"), "{:?}", page.location());
    let answer = raw::get(&server, &format!("{target}&x={}", "y".repeat(17_000))).await;
    assert!([400, 414, 431].contains(&raw::status(&answer)), "{answer}");
}

/// R-16 and RFC 9700 §2.1.1.
async fn pkce_is_demanded_and_only_s256(server: Server) {
    let (server, alice, client) = server.actors().await;
    let good = Request::of(&client);
    for bad in [
        good.clone().without("code_challenge"),
        good.clone().without("code_challenge").without("code_challenge_method"),
        good.clone().with("code_challenge_method", "plain"),
        good.clone().without("code_challenge_method"),
        good.clone().with("code_challenge_method", "s256"),
        good.clone().with("code_challenge", "short"),
        good.clone().with("code_challenge", &"a".repeat(44)),
        good.clone().with("code_challenge", &format!("{}=", "a".repeat(42))),
        good.clone().with("code_challenge", &format!("{}+", "a".repeat(42))),
    ] {
        alice.arrive(&bad).await.refused("invalid_request");
    }
    let old = server.client(json!({ "require_pkce": false })).await;
    let without = Request::of(&old).without("code_challenge").without("code_challenge_method");
    let back = alice.arrive(&without).await;
    // RFC 9700 §4.8.2: a verifier for a code without challenge is a downgrade.
    let redeem = async |verifier: Option<&str>, code: &str| {
        let mut fields = vec![("grant_type", "authorization_code"), ("redirect_uri", "https://app.test/callback"), ("code", code)];
        fields.extend(verifier.map(|verifier| ("code_verifier", verifier)));
        old.token(&fields).await
    };
    redeem(Some(&back.verifier), back.code()).await.refused(400, "invalid_grant");
    let back = alice.arrive(&without).await;
    redeem(None, back.code()).await.ok();
    // Honoured whenever it is sent.
    let back = alice.arrive(&Request::of(&old)).await;
    redeem(None, back.code()).await.refused(400, "invalid_grant");
}

async fn what_is_not_offered_is_refused_by_its_own_error(server: Server) {
    let (_, alice, client) = server.actors().await;
    let good = Request::of(&client);
    for response_type in ["token", "id_token", "code id_token", "code token", "id_token token", "none", "Code"] {
        let back = alice.arrive(&good.clone().with("response_type", response_type)).await;
        back.refused("unsupported_response_type");
        assert!(back.params["error_description"].to_lowercase().contains("code"), "it says what to use instead: {}", back.url);
    }
    alice.arrive(&good.clone().without("response_type")).await.refused("invalid_request");
    for response_mode in ["fragment", "jwt", "query.jwt", "web_message", "nonsense"] {
        alice.arrive(&good.clone().with("response_mode", response_mode)).await.refused("invalid_request");
    }
    // OpenID Connect Core §6.1: a request object that is ignored is a check that is skipped.
    alice.arrive(&good.clone().with("request", "eyJhbGciOiJub25lIn0.e30.")).await.refused("request_not_supported");
    alice.arrive(&good.clone().with("request_uri", "https://evil.test/request.jwt")).await.refused("request_uri_not_supported");
    alice.arrive(&good.clone().with("registration", "{}")).await.refused("registration_not_supported");
    alice.arrive(&good.clone().with("prompt", "none login")).await.refused("invalid_request");
    alice.arrive(&good.clone().with("prompt", "hello")).await.refused("invalid_request");
    alice.arrive(&good.clone().with("max_age", "soon")).await.refused("invalid_request");
    alice.arrive(&good.clone().with("max_age", "-1")).await.refused("invalid_request");
}

async fn state_and_nonce_come_back_exactly_or_not_at_all(server: Server) {
    let (_, alice, client) = server.actors().await;
    for state in ["-._~", "a b+c&d=e%26#?/", "ü→🦀", "\"<>'`", &"s".repeat(1000)] {
        let request = Request::of(&client).with("state", state).with("nonce", state.chars().take(100).collect::<String>().as_str());
        let back = alice.arrive(&request).await;
        assert_eq!(back.params["state"], state);
        let tokens = client.redeem(back.code(), &back.verifier).await.ok();
        let (_, claims) = crate::harness::jwt(&tokens.str("id_token"));
        assert_eq!(claims["nonce"].as_str(), request.get("nonce"));
        let refused = alice.arrive(&request.with("response_type", "token")).await;
        assert_eq!(refused.refused("unsupported_response_type").params["state"], state);
    }
    let back = alice.arrive(&Request::of(&client).without("state").without("nonce")).await;
    assert!(!back.params.contains_key("state"));
    let tokens = client.redeem(back.code(), &back.verifier).await.ok();
    assert!(crate::harness::jwt(&tokens.str("id_token")).1.get("nonce").is_none());
}

async fn form_post_serves_success_and_error_alike(server: Server) {
    let (server, alice, client) = server.actors().await;
    let request = Request::of(&client).with("response_mode", "form_post").with("state", "\"><script>alert(1)</script>");
    let back = alice.arrive(&request).await;
    assert_eq!(back.url, client.redirect_uri, "nothing in the URL");
    assert_eq!(back.params["state"], "\"><script>alert(1)</script>");
    assert_eq!(back.params["iss"], server.issuer);
    client.redeem(back.code(), &back.verifier).await.ok();
    let page = alice.open(&request.clone().with("response_type", "token")).await;
    assert!(page.is_form_post(&client.redirect_uri), "{} {}", page.status, page.body);
    assert_eq!(page.header("cache-control"), "no-store");
    let policy = page.header("content-security-policy");
    assert!(policy.contains("form-action") && policy.contains("https://app.test"), "{policy}");
    assert!(!policy.contains("unsafe-inline"), "{policy}");
    assert!(!page.body.contains("<script>alert"), "{}", page.body);
}

async fn unknown_parameters_and_hints_never_fail_a_request(server: Server) {
    let (_, alice, client) = server.actors().await;
    let request = Request::of(&client)
        .with("display", "wap")
        .with("ui_locales", "xx-YY zz")
        .with("claims_locales", "de")
        .with("login_hint", "nobody@example.com")
        .with("acr_values", "urn:unknown another")
        .with("foo", "bar")
        .with("audience", "https://x.test");
    alice.arrive(&request).await.code();
    // RFC 6749 §3.1: a parameter without a value counts as not sent.
    alice
        .arrive(&Request::of(&client).with("prompt", "").with("max_age", "").with("request", "").with("response_mode", ""))
        .await
        .code();
}

async fn scopes_are_checked_against_the_client(server: Server) {
    let alice = server.person("alice").await;
    server.resource(json!({ "identifier": "https://api.test", "name": "Orders", "scopes": [{ "name": "orders:read" }, { "name": "orders:write" }] })).await;
    let client = server.client(json!({ "scope": "openid orders:read" })).await;
    let good = Request::of(&client);
    alice.arrive(&good.clone().with("scope", "openid orders:write")).await.refused("invalid_scope");
    alice.arrive(&good.clone().with("scope", "openid no-such-scope")).await.refused("invalid_scope");
    alice.arrive(&good.clone().with("scope", "openid \"quoted\"")).await.refused("invalid_scope");
    alice.arrive(&good.clone().with("scope", "openid admin:write")).await.refused("invalid_scope");
    alice.arrive(&good.clone().with("resource", "https://other.test")).await.refused("invalid_target");
    alice.arrive(&good.clone().with("resource", "https://api.test#fragment")).await.refused("invalid_target");
    alice.arrive(&good.clone().with("resource", "relative")).await.refused("invalid_target");
    // Order is nothing; twice is once.
    let tokens = {
        let back = alice.arrive(&good.with("scope", "orders:read openid openid")).await;
        client.redeem(back.code(), &back.verifier).await.ok()
    };
    // With openid the token is for userinfo, too (docs/decisions/openid-belongs-to-the-issuers-audience.md).
    let audiences = crate::harness::jwt(&tokens.str("access_token")).1["aud"].clone();
    assert_eq!(audiences, json!([server.issuer, "https://api.test"]));
}

async fn several_tabs_at_once_each_reach_their_own_client(server: Server) {
    let alice = server.person("alice").await;
    let one = server.client(json!({ "redirect_uris": ["https://one.test/cb"] })).await;
    let two = server.client(json!({ "redirect_uris": ["https://two.test/cb"] })).await;
    let (first, second) = (Request::of(&one), Request::of(&two));
    let mut tabs = Vec::new();
    for request in [&first, &second] {
        let mut page = alice.open(request).await;
        while page.location().is_some() {
            page = alice.browser.follow(&page).await;
        }
        assert!(page.is_login());
        tabs.push(page);
    }
    // The second tab signs in first; the first tab, whose login form is still open, goes on afterwards.
    for (tab, request) in tabs.iter().zip([&first, &second]).rev() {
        let mut page = alice.browser.submit(tab, &[("username", &alice.username), ("password", &alice.password)]).await;
        for _ in 0..5 {
            match page.location() {
                Some(to) if to.as_str().starts_with(request.get("redirect_uri").unwrap()) => break,
                Some(_) => page = alice.browser.follow(&page).await,
                None => page = alice.browser.submit(&page, &[("decision", "allow")]).await,
            }
        }
        let to = page.location().unwrap_or_else(|| panic!("{} {}", page.status, page.body));
        assert!(to.query().unwrap().contains("code="), "{to}");
        assert!(to.as_str().starts_with(request.get("redirect_uri").unwrap()), "{to}");
    }
}

/// an interaction id that leaks is worth nothing in another browser.
async fn an_interaction_belongs_to_its_browser(server: Server) {
    let (server, alice, client) = server.actors().await;
    let mut page = alice.open(&Request::of(&client)).await;
    while page.location().is_some() {
        page = alice.browser.follow(&page).await;
    }
    let mallory = server.person("mallory").await;
    let stolen = mallory.browser.get(page.url.as_str()).await;
    assert!(stolen.status >= 400 || !stolen.is_login(), "{}", stolen.status);
    let forged = mallory.browser.submit(&page, &[("username", &mallory.username), ("password", &mallory.password)]).await;
    assert!(forged.status >= 400, "{} {:?}", forged.status, forged.location());
    // The owner still can.
    let page = alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await;
    assert!(page.location().is_some(), "{}", page.body);
}

/// A browser that restores its tabs asks for all of them before the first answer gives it a cookie: each is signed in, not only the last.
async fn tabs_that_are_opened_together_all_work(server: Server) {
    let (_server, alice, client) = server.actors().await;
    let mut tabs = Vec::new();
    let mut cookies = std::collections::BTreeMap::new();
    for state in ["one", "two", "three"] {
        alice.browser.forget_cookies();
        tabs.push(alice.open(&Request::of(&client).with("state", state)).await);
        cookies.extend(alice.browser.cookies());
    }
    for (name, value) in &cookies {
        alice.browser.set_cookie(name, value);
    }
    for tab in tabs {
        let mut page = tab;
        for _ in 0..6 {
            if page.is_login() {
                page = alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await;
            } else if page.is_consent() {
                page = alice.browser.submit(&page, &[("decision", "allow")]).await;
            } else if page.location().is_some_and(|to| !to.as_str().starts_with(&client.redirect_uri)) {
                page = alice.browser.follow(&page).await;
            }
        }
        let back = page.location().unwrap_or_else(|| panic!("a tab ends at {}", page.body));
        assert!(back.query_pairs().any(|(name, _)| name == "code"), "{back}");
    }
}

async fn an_interaction_ends(server: Server) {
    let (server, alice, client) = server.actors().await;
    let mut page = alice.open(&Request::of(&client)).await;
    while page.location().is_some() {
        page = alice.browser.follow(&page).await;
    }
    server.wait(std::time::Duration::from_secs(31 * 60));
    let late = alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await;
    assert!((400..500).contains(&late.status) && late.location().is_none(), "{}", late.status);
    assert_eq!(late.trace_id().len(), 32);
    // A page that was answered once is not answered again: the back button gives no second code.
    let request = Request::of(&client).with("prompt", "consent");
    let mut page = alice.open(&request).await;
    for _ in 0..4 {
        if page.location().is_some() {
            page = alice.browser.follow(&page).await;
        } else if page.is_login() {
            page = alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await;
        }
    }
    assert!(page.is_consent());
    let first = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(first.location().unwrap().as_str().contains("code="));
    let second = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(second.location().is_none() && second.status >= 400, "{} {:?}", second.status, second.location());
}

/// opaque, of one length, and none like another.
async fn codes_have_full_entropy(server: Server) {
    let (_, alice, client) = server.actors().await;
    let mut codes = Vec::new();
    for _ in 0..20 {
        codes.push(alice.visit(&client, "openid").await.code().to_owned());
    }
    assert!(codes.iter().all(|code| code.len() == codes[0].len() && code.len() >= 43), "{codes:?}");
    for place in 0..43 {
        let letters: std::collections::BTreeSet<char> = codes.iter().map(|code| code.chars().nth(place).unwrap()).collect();
        assert!(letters.len() > 1, "character {place} never changes");
    }
}

async fn a_disabled_client_gets_a_page(server: Server) {
    let (server, alice, client) = server.actors().await;
    server.disable_client(&client).await;
    local_error(&alice.open(&Request::of(&client)).await);
}
