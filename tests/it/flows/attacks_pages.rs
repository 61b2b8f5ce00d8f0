//! Attacks on the pages between an authorization request and its answer: steps taken out of order, answers given for somebody else, and
//! a world that changes while a page is open (security.md; openid.md part C).

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use crate::harness::{Backend, Browser, Client, Page, Person, Request, Server, Setup, jwt, on_both, raw};

on_both![
    what_hung_on_an_expired_session_stays_dead,
    a_page_shown_to_one_person_is_not_answered_for_another,
    an_account_is_chosen_by_who_saw_it,
    a_sign_out_page_signs_out_the_person_it_named_alone,
    an_account_page_takes_nothing_from_the_next_person,
    consent_covers_what_the_page_named_and_nothing_else,
    a_smaller_consent_takes_nothing_back,
    a_redirect_uri_that_was_taken_off_gets_no_code,
    a_client_that_was_disabled_between_two_pages_gets_nothing,
    no_page_can_be_skipped,
    one_answer_to_a_page_counts_however_many_are_sent_at_once,
    prompts_by_the_letter,
    a_hint_of_somebody_else_asks_for_that_person,
    pages_speak_the_language_that_was_asked_for,
    whatever_follows_a_form_leaves_by_a_page,
    a_form_from_another_site_finds_the_session,
    a_long_request_by_post_is_no_longer_than_its_parameters,
    an_apps_own_scheme_gets_its_error_in_the_query,
    the_host_that_was_asked_for_appears_nowhere,
    being_slowed_down_says_nothing_about_the_account,
    a_sign_out_that_was_confirmed_leads_back_too,
    offline_access_by_the_letter,
    cookies_of_others_do_not_hide_ours,
    a_form_says_one_thing,
];

fn is_ours(page: &Page) -> bool {
    page.location().is_some_and(|to| to.as_str().starts_with("https://id.test"))
}

async fn opened(person: &Person, request: &Request) -> Page {
    person.browser.settle(person.open(request).await).await
}

async fn sign_in(browser: &Browser, page: &Page, person: &Person) -> Page {
    assert!(page.is_login(), "{} {}", page.status, page.body);
    let page = browser.submit(page, &[("username", &person.username), ("password", &person.password)]).await;
    browser.settle(page).await
}

/// The consent page of a request, after signing in where that is due.
async fn consent_page(person: &Person, request: &Request) -> Page {
    let mut page = opened(person, request).await;
    if page.is_login() {
        page = sign_in(&person.browser, &page, person).await;
    }
    assert!(page.is_consent() && !page.is_login(), "{} {:?} {}", page.status, page.location(), page.body);
    page
}

/// The same person's account in this browser.
fn at(browser: &Browser, person: &Person) -> Person {
    Person {
        browser: browser.through(browser.site().clone()),
        username: person.username.clone(),
        password: person.password.clone(),
        sub: person.sub.clone(),
    }
}

/// Somebody else signs in where alice was, by way of an ordinary request.
async fn takes_over(alice: &Person, bob: &Person, client: &Client) {
    let page = opened(alice, &Request::of(client).with("prompt", "login")).await;
    sign_in(&alice.browser, &page, bob).await;
}

fn param(page: &Page, name: &str) -> Option<String> {
    page.location()?.query_pairs().find(|pair| pair.0 == name).map(|pair| pair.1.into_owned())
}

#[track_caller]
fn local_refusal(page: &Page) {
    assert!(page.location().is_none(), "{:?}", page.location());
    assert!((400..500).contains(&page.status), "{} {}", page.status, page.body);
    assert_eq!(page.trace_id().len(), 32);
}

/// Design 4.2: without offline_access a refresh token ends with its session. Signing in again is not a resurrection.
async fn what_hung_on_an_expired_session_stays_dead(server: Server) {
    let (server, alice, client) = server.actors().await;
    let before = alice.tokens(&client, "openid").await;
    server.wait(Duration::from_secs(13 * 3600));
    client.refresh(&before.str("refresh_token")).await.refused(400, "invalid_grant");
    let after = alice.tokens(&client, "openid").await;
    client.refresh(&before.str("refresh_token")).await.refused(400, "invalid_grant");
    let sid = |answer: &crate::harness::Answer| jwt(&answer.str("id_token")).1["sid"].clone();
    assert_ne!(sid(&before), sid(&after), "another session");
    // Past its absolute end, too, although it was used all the time.
    for _ in 0..15 {
        server.wait(Duration::from_secs(11 * 3600));
        alice.answer(&Request::of(&client).with("prompt", "none")).await.unwrap().code();
    }
    server.wait(Duration::from_secs(4 * 3600));
    alice.tokens(&client, "openid").await;
    client.refresh(&after.str("refresh_token")).await.refused(400, "invalid_grant");
}

/// alice's consent page, answered after bob went on with the very same interaction, is no answer of bob's.
async fn a_page_shown_to_one_person_is_not_answered_for_another(server: Server) {
    let (server, alice, client) = server.actors().await;
    let bob = server.person("bob").await;
    let request = Request::of(&client).with("scope", "openid email");
    let alices = consent_page(&alice, &request).await;
    let interaction = alices.url.query().unwrap().to_owned();
    let login = alice.browser.get(format!("/login?{interaction}")).await;
    let bobs = sign_in(&alice.browser, &login, &bob).await;
    assert!(bobs.is_consent() && bobs.body.contains("bob@example.com"), "{}", bobs.body);
    let stale = alice.browser.settle(alice.browser.submit(&alices, &[("decision", "allow")]).await).await;
    assert!(stale.is_consent() && stale.body.contains("bob@example.com"), "{:?} {}", stale.location(), stale.body);
    let done = alice.browser.submit(&stale, &[("decision", "allow")]).await;
    let code = param(&done, "code").expect("bob's own answer counts");
    let tokens = client.redeem(&code, &request.verifier).await.ok();
    assert_eq!(jwt(&tokens.str("id_token")).1["sub"], bob.sub);
}

/// The same for "go on with this account".
async fn an_account_is_chosen_by_who_saw_it(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    let bob = server.person("bob").await;
    at(&Browser::new(server.site()), &bob).visit(&client, "openid").await.code();
    let choice = opened(&alice, &Request::of(&client).with("prompt", "select_account")).await;
    takes_over(&alice, &bob, &client).await;
    let stale = alice.browser.settle(alice.browser.submit(&choice, &[("account", "current")]).await).await;
    assert_eq!(param(&stale, "code"), None, "alice's choice gave bob's code away");
    assert!(stale.body.contains("bob@example.com"), "{}", stale.body);
    let done = alice.browser.submit(&stale, &[("account", "current")]).await;
    assert!(param(&done, "code").is_some(), "{} {:?}", done.status, done.location());
}

async fn a_sign_out_page_signs_out_the_person_it_named_alone(server: Server) {
    let (server, alice, client) = server.actors().await;
    let bob = server.person("bob").await;
    alice.visit(&client, "openid").await.code();
    let page = alice.browser.get("/logout").await;
    takes_over(&alice, &bob, &client).await;
    let asked = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert!(asked.is_consent() && asked.body.contains("bob@example.com"), "bob is asked himself: {}", asked.body);
    assert!(!opened(&alice, &Request::of(&client)).await.is_login(), "bob is still signed in");
    alice.browser.submit(&asked, &[("decision", "allow")]).await;
    assert!(opened(&alice, &Request::of(&client)).await.is_login());
}

async fn an_account_page_takes_nothing_from_the_next_person(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    let bob = server.person("bob").await;
    let bobs = at(&Browser::new(server.site()), &bob).tokens_for_long(&client).await;
    let account = alice.browser.get("/account").await;
    takes_over(&alice, &bob, &client).await;
    for typed in [("withdraw", client.client_id.as_str()), ("sign_out", "everywhere"), ("sign_out", "here")] {
        let page = alice.browser.settle(alice.browser.submit(&account, &[typed]).await).await;
        assert!(page.text("main").unwrap().contains("bob@example.com"), "{typed:?}: {}", page.body);
        assert!(client.is_active(&bobs.str("access_token")).await, "{typed:?}");
    }
}

/// the grant is what the page named. What the client lost meanwhile is asked about anew, and never what is beyond the person.
async fn consent_covers_what_the_page_named_and_nothing_else(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "scope": "openid profile email admin:read" })).await;
    let request = Request::of(&client).with("scope", "openid profile email admin:read");
    let page = consent_page(&alice, &request).await;
    assert!(!page.body.contains("admin:read"), "she is no administrator, so it cannot be granted: {}", page.body);
    server.update_client(&client, json!({ "scope": "openid profile" })).await;
    let again = alice.browser.settle(alice.browser.submit(&page, &[("decision", "allow")]).await).await;
    assert!(again.is_consent(), "{:?}", again.location());
    let done = alice.browser.submit(&again, &[("decision", "allow")]).await;
    let tokens = client.redeem(&param(&done, "code").unwrap(), &request.verifier).await.ok();
    assert_eq!(tokens.str("scope"), "openid profile");
}

/// Design 4.1: a consent is kept until it is withdrawn.
async fn a_smaller_consent_takes_nothing_back(server: Server) {
    let (_, alice, client) = server.actors().await;
    let silent = |scope: &str| Request::of(&client).with("prompt", "none").with("scope", scope);
    alice.visit(&client, "openid email").await.code();
    alice.arrive(&Request::of(&client).with("prompt", "consent").with("scope", "openid profile")).await.code();
    alice.arrive(&silent("openid email")).await.code();
    alice.arrive(&silent("openid profile email")).await.code();
    alice.arrive(&silent("openid offline_access")).await.refused("consent_required");
}

/// RFC 9700 §2.1: an operator who takes a hijacked redirect URI off a client means now.
async fn a_redirect_uri_that_was_taken_off_gets_no_code(server: Server) {
    let alice = server.person("alice").await;
    let client = server.client(json!({ "redirect_uris": ["https://app.test/callback", "https://app.test/new"] })).await;
    let consent = consent_page(&alice, &Request::of(&client)).await;
    let login = opened(&alice, &Request::of(&client).with("prompt", "login")).await;
    server.update_client(&client, json!({ "redirect_uris": ["https://app.test/new"] })).await;
    for decision in ["allow", "deny"] {
        local_refusal(&alice.browser.submit(&consent, &[("decision", decision)]).await);
    }
    local_refusal(&alice.browser.get(consent.url.as_str()).await);
    local_refusal(&alice.browser.submit(&login, &[("username", &alice.username), ("password", &alice.password)]).await);
}

async fn a_client_that_was_disabled_between_two_pages_gets_nothing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let consent = consent_page(&alice, &Request::of(&client)).await;
    let login = opened(&alice, &Request::of(&client).with("prompt", "login")).await;
    server.disable_client(&client).await;
    for decision in ["allow", "deny"] {
        local_refusal(&alice.browser.submit(&consent, &[("decision", decision)]).await);
    }
    local_refusal(&alice.browser.submit(&login, &[("username", &alice.username), ("password", &alice.password)]).await);
    local_refusal(&alice.browser.get(consent.url.as_str()).await);
}

/// Each page's form, sent to an interaction that stands elsewhere.
async fn no_page_can_be_skipped(server: Server) {
    let (server, alice, client) = server.actors().await;
    let answered = consent_page(&alice, &Request::of(&client)).await;
    let choice = opened(&alice, &Request::of(&client).with("prompt", "select_account")).await;
    let mallory = Person { browser: alice.browser.through(server.site()), ..at(&alice.browser, &alice) };
    mallory.browser.forget_cookies();
    for (name, value) in alice.browser.cookies() {
        if !name.ends_with("session") {
            mallory.browser.set_cookie(&name, &value);
        }
    }
    // Nobody is signed in: a yes to consent and a choice of account lead to the sign-in page.
    for (page, typed) in [(&answered, ("decision", "allow")), (&choice, ("account", "current"))] {
        let login = opened(&mallory, &Request::of(&client)).await;
        let interaction = login.form().fields.into_iter().find(|field| field.0 == "interaction").unwrap().1;
        let page = mallory.browser.submit(page, &[typed, ("interaction", &interaction)]).await;
        let page = mallory.browser.settle(page).await;
        assert!(page.is_login(), "{typed:?}: {} {:?}", page.status, page.location());
    }
    // A choice of account is no consent, and a consent of before no choice.
    let request = Request::of(&client).with("prompt", "select_account consent");
    let stands = opened(&alice, &request).await;
    let interaction = stands.form().fields.into_iter().find(|field| field.0 == "interaction").unwrap().1;
    let page = alice.browser.submit(&answered, &[("decision", "allow"), ("interaction", &interaction)]).await;
    let page = alice.browser.settle(page).await;
    assert!(page.form().buttons.iter().any(|button| button.0 == "account"), "{}", page.body);
    let page = alice.browser.settle(alice.browser.submit(&page, &[("account", "current")]).await).await;
    assert!(page.is_consent(), "{} {:?}", page.status, page.location());
    // The pages themselves, asked for by hand.
    for path in ["/consent", "/select-account"] {
        let page = alice.browser.settle(alice.browser.get(format!("{path}?interaction={interaction}")).await).await;
        assert!(page.is_consent(), "{path}: {:?}", page.location());
        local_refusal(&alice.browser.get(path).await);
        local_refusal(&alice.browser.get(format!("{path}?interaction=")).await);
        local_refusal(&alice.browser.get(format!("{path}?interaction={}", "A".repeat(43))).await);
        local_refusal(&alice.browser.get(format!("{path}?interaction={interaction}&interaction={interaction}")).await);
    }
}

/// a double click, or two tabs, give one code.
async fn one_answer_to_a_page_counts_however_many_are_sent_at_once(server: Server) {
    let (server, alice, client) = server.actors().await;
    let replica = server.replica().await;
    for _ in 0..crate::harness::rounds(3, 30) {
        let page = consent_page(&alice, &Request::of(&client).with("prompt", "consent")).await;
        let browsers: Vec<Browser> =
            (0..8).map(|number| alice.browser.through(if number % 2 == 0 { server.site() } else { replica.site() })).collect();
        let sent = browsers.iter().map(|browser| browser.submit(&page, &[("decision", "allow")]));
        let pages = futures_util::future::join_all(sent).await;
        let codes = pages.iter().filter(|page| param(page, "code").is_some()).count();
        assert_eq!(codes, 1);
        for page in pages.iter().filter(|page| param(page, "code").is_none()) {
            local_refusal(page);
        }
    }
}

/// OpenID Connect Core §3.1.2.1, every combination that has a rule.
async fn prompts_by_the_letter(server: Server) {
    let (server, alice, client) = server.actors().await;
    let ask = |prompt: &str, max_age: &str| Request::of(&client).with("prompt", prompt).with("max_age", max_age);
    alice.arrive(&ask("none", "")).await.refused("login_required");
    let first = alice.tokens(&client, "openid").await;
    let auth_time = |answer: &crate::harness::Answer| jwt(&answer.str("id_token")).1["auth_time"].as_i64().unwrap();
    let started = auth_time(&first);
    server.wait(Duration::from_secs(2));
    // Silence, or an error: never a page.
    for (max_age, error) in [("", None), ("10000", None), ("2", None), ("1", Some("login_required")), ("0", Some("login_required"))]
    {
        let page = alice.open(&ask("none", max_age)).await;
        assert_eq!(param(&page, "error").as_deref(), error, "max_age={max_age}");
        assert_eq!(param(&page, "code").is_some(), error.is_none());
    }
    for wrong in ["none login", "none consent", "login none", "none none login", "None", "create"] {
        alice.arrive(&ask(wrong, "")).await.refused("invalid_request");
    }
    // A sign-in, in the order of §3.1.2.3 and §3.1.2.4: who, then whether.
    for (prompt, max_age) in
        [("login", ""), ("login", "10000"), ("", "1"), ("", "0"), ("login consent", ""), ("login select_account", "")]
    {
        let request = ask(prompt, max_age);
        server.wait(Duration::from_secs(2));
        let page = opened(&alice, &request).await;
        assert!(page.is_login(), "prompt={prompt} max_age={max_age}: {:?} {}", page.location(), page.body);
        let mut page = sign_in(&alice.browser, &page, &alice).await;
        assert_eq!(page.is_consent(), prompt.contains("consent"), "{prompt}: signing in was choosing");
        if page.is_consent() {
            server.wait(Duration::from_secs(600));
            page = alice.browser.submit(&page, &[("decision", "allow")]).await;
        }
        let tokens = client.redeem(&param(&page, "code").unwrap(), &request.verifier).await.ok();
        assert!(auth_time(&tokens) > started, "strictly later");
        assert!(auth_time(&tokens) <= server.clock_seconds());
    }
    // One sign-in answers one request, not the next.
    let request = ask("login", "");
    let (one, two) = (opened(&alice, &request).await, opened(&alice, &ask("login", "")).await);
    sign_in(&alice.browser, &one, &alice).await;
    let other = alice.browser.get(two.url.as_str()).await;
    assert!(other.is_login(), "the other tab is still asked");
    let interaction = two.url.query().unwrap();
    let skipped = alice.browser.settle(alice.browser.get(format!("/consent?{interaction}")).await).await;
    assert!(skipped.is_login(), "{:?}", skipped.location());
}

/// openid.md 44, and what follows where pages may be shown.
async fn a_hint_of_somebody_else_asks_for_that_person(server: Server) {
    let (server, alice, client) = server.actors().await;
    let bob = server.person("bob").await;
    let other = server.client(json!({})).await;
    let bobs = at(&Browser::new(server.site()), &bob).tokens(&client, "openid").await.str("id_token");
    alice.visit(&client, "openid").await.code();
    server.wait(Duration::from_secs(86_400 / 4));
    let hinted = |prompt: &str| Request::of(&client).with("id_token_hint", &bobs).with("prompt", prompt);
    alice.arrive(&hinted("none")).await.refused("login_required");
    // Alice signs in again: she is not bob, and asking for ever would help nobody.
    let page = opened(&alice, &hinted("")).await;
    let page = sign_in(&alice.browser, &page, &alice).await;
    assert_eq!(param(&page, "error").as_deref(), Some("login_required"), "{:?}", page.location());
    // Bob signs in where alice was.
    let request = hinted("");
    let page = opened(&alice, &request).await;
    let page = sign_in(&alice.browser, &page, &bob).await;
    let tokens = client.redeem(&param(&page, "code").unwrap(), &request.verifier).await.ok();
    assert_eq!(jwt(&tokens.str("id_token")).1["sub"], bob.sub);
    alice.arrive(&hinted("none")).await.code();
    // Another client's hint is none of this client's.
    alice.arrive(&Request::of(&other).with("id_token_hint", &bobs)).await.refused("invalid_request");
}

/// OpenID Connect Core §3.1.2.1, ui_locales: on the pages, not only on the request that asked.
async fn pages_speak_the_language_that_was_asked_for(server: Server) {
    let (_, alice, client) = server.actors().await;
    let request = Request::of(&client).with("ui_locales", "fr de en");
    let page = opened(&alice, &request).await;
    assert!(page.body.contains("<html lang=\"de\""), "{}", page.body);
    let wrong = alice.browser.submit(&page, &[("username", &alice.username), ("password", "wrong")]).await;
    assert!(wrong.body.contains("<html lang=\"de\""), "{}", wrong.body);
    let page = sign_in(&alice.browser, &wrong, &alice).await;
    assert!(page.is_consent() && page.body.contains("<html lang=\"de\""), "{}", page.body);
    let page = opened(&alice, &Request::of(&client).with("prompt", "select_account").with("ui_locales", "de-AT")).await;
    assert!(page.body.contains("<html lang=\"de\""), "{}", page.body);
}

/// Chromium holds every redirect after a form against the form's policy, through a GET of ours in between, too.
async fn whatever_follows_a_form_leaves_by_a_page(server: Server) {
    let (_, mut alice, client) = server.actors().await;
    let request = Request::of(&client);
    let waiting = consent_page(&alice, &request).await;
    alice.visit(&client, "openid").await.code();
    alice.browser.headers.push(("sec-fetch-dest", "document".to_owned()));
    let direct = alice.open(&Request::of(&client)).await;
    assert_eq!(direct.status, 303, "nothing was submitted");
    assert!(param(&direct, "code").is_some());
    // The other tab's page has nothing to ask any more.
    let left = alice.browser.get(waiting.url.as_str()).await;
    assert_eq!((left.status, left.location()), (200, None), "{}", left.body);
    assert!(left.body.contains("http-equiv=\"refresh\"") && left.body.contains("https://app.test/callback?code="), "{}", left.body);
    assert_eq!((left.header("cache-control"), left.header("referrer-policy")), ("no-store", "no-referrer"));
    assert!(left.header("content-security-policy").contains("form-action 'self';"));
}

/// Another site's form comes without SameSite=Lax cookies: it is asked again as a GET, which brings them.
async fn a_form_from_another_site_finds_the_session(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    let request = Request::of(&client).with("state", "a b+c&ü=-._~").with("prompt", "none");
    let cross: &[(&str, &str)] = &[("origin", "https://app.test"), ("sec-fetch-site", "cross-site")];
    let bare = Browser::new(server.site()).send(Method::POST, "/authorize", Some(request.fields.clone()), cross).await;
    assert!(bare.status == 303 && is_ours(&bare), "{} {:?}", bare.status, bare.location());
    let done = alice.browser.get(bare.location().unwrap().as_str()).await;
    assert!(param(&done, "code").is_some(), "{:?}", done.location());
    assert_eq!(param(&done, "state").as_deref(), Some("a b+c&ü=-._~"));
    // What is wrong with it is said at once.
    let wrong = Request::of(&client).with("redirect_uri", "https://evil.test/");
    local_refusal(&Browser::new(server.site()).send(Method::POST, "/authorize", Some(wrong.fields), cross).await);
}

/// Openid.md 24: what fits into a form does not have to fit into an address.
async fn a_long_request_by_post_is_no_longer_than_its_parameters(server: Server) {
    let (server, alice, client) = server.actors().await;
    let long = "x".repeat(2000);
    let mut request = Request::of(&client);
    for name in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        request = request.with(name, &long);
    }
    let browser = Browser::new(server.site());
    let page = browser.send(Method::POST, "/authorize", Some(request.fields.clone()), &[("sec-fetch-site", "cross-site")]).await;
    let page = browser.settle(page).await;
    let page = sign_in(&browser, &page, &alice).await;
    let done = browser.submit(&page, &[("decision", "allow")]).await;
    assert!(param(&done, "code").is_some(), "{} {}", done.status, done.body);
    let logout = vec![("state".to_owned(), long.clone()), ("id_token_hint".to_owned(), "x".repeat(16_000))];
    local_refusal(&Browser::new(server.site()).send(Method::POST, "/logout", Some(logout), &[]).await);
}

async fn an_apps_own_scheme_gets_its_error_in_the_query(server: Server) {
    let alice = server.person("alice").await;
    let native = server.public_client(json!({ "redirect_uris": ["com.example.app:/cb"], "application_type": "native" })).await;
    let page = alice.open(&Request::of(&native).with("response_mode", "form_post")).await;
    assert_eq!(page.status, 303, "{}", page.body);
    assert!(page.location().unwrap().as_str().starts_with("com.example.app:/cb?error=invalid_request&"), "{:?}", page.location());
}

/// neither Host nor any forwarded header reaches a page, a link, a redirect or a cookie.
async fn the_host_that_was_asked_for_appears_nowhere(server: Server) {
    let (server, _, client) = server.actors().await;
    let request = Request::of(&client).url(&server);
    let target = request.strip_prefix("https://id.test").unwrap();
    let forged = "X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: http\r\nForwarded: host=evil.test;proto=http\r\nX-Original-URL: /evil.test";
    for path in [target, "/login", "/account", "/logout", "/consent", "/nowhere", "/authorize"] {
        let answer = raw::send(
            &server,
            format!("GET {path} HTTP/1.1\r\nHost: evil.test\r\n{forged}\r\nAccept: text/html\r\nConnection: close\r\n\r\n")
                .as_bytes(),
        )
        .await;
        assert!(!answer.contains("evil.test"), "{path}: {answer}");
        for line in answer.lines().filter(|line| line.to_lowercase().starts_with("set-cookie:")) {
            assert!(line.contains("__Host-") && line.contains("; Secure"), "{line}");
        }
    }
}

/// an account that is being guessed waits, whether anybody has it or not, and both look the same.
async fn being_slowed_down_says_nothing_about_the_account(server: Server) {
    let (server, alice, client) = server.actors().await;
    let mut seen = Vec::new();
    for username in [alice.username.clone(), format!("{}-unknown", alice.username)] {
        let browser = Browser::new(server.site());
        let person = Person { browser, username: username.clone(), password: String::new(), sub: String::new() };
        let mut answers = Vec::new();
        let mut page = opened(&person, &Request::of(&client)).await;
        for _ in 0..14 {
            page = person.browser.submit(&page, &[("username", &username), ("password", "wrong")]).await;
            let mut names: Vec<String> = page.headers.keys().map(|name| name.as_str().to_owned()).collect();
            names.sort();
            let alert = page.text("[role=alert]");
            answers.push((page.status, names, page.header("retry-after").to_owned(), alert, page.body.len() - username.len()));
        }
        assert!(answers.iter().any(|answer| answer.0 == 429), "{answers:?}");
        seen.push(answers);
    }
    assert_eq!(seen[0], seen[1]);
}

/// openid.md 93: the hint is valid although its session is not the present one; the person is asked, and then goes where the client said.
async fn a_sign_out_that_was_confirmed_leads_back_too(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "post_logout_redirect_uris": ["https://app.test/bye"] })).await;
    let hint = at(&Browser::new(server.site()), &alice).tokens(&client, "openid").await.str("id_token");
    alice.visit(&client, "openid").await.code();
    let state = "\"><b>&=+ü";
    let mut url = server.url("/logout");
    url.query_pairs_mut().extend_pairs([
        ("id_token_hint", hint.as_str()),
        ("post_logout_redirect_uri", "https://app.test/bye"),
        ("state", state),
    ]);
    let page = alice.browser.get(url.as_str()).await;
    assert!(page.is_consent(), "another session's hint: the person is asked: {:?} {}", page.location(), page.body);
    assert!(page.header("content-security-policy").contains("form-action 'self' https://app.test;"));
    // What comes back with the answer is checked again: a form that was changed leads nowhere.
    for (name, value) in [("post_logout_redirect_uri", "https://evil.test/"), ("id_token_hint", "x")] {
        let bent = alice.browser.submit(&page, &[("decision", "allow"), (name, value)]).await;
        local_refusal(&bent);
        assert!(!opened(&alice, &Request::of(&client)).await.is_login(), "{name}: nothing happened");
    }
    let stayed = alice.browser.submit(&page, &[("decision", "deny")]).await;
    assert_eq!((stayed.status, stayed.location()), (200, None));
    let done = alice.browser.submit(&page, &[("decision", "allow")]).await;
    assert_eq!(param(&done, "state").as_deref(), Some(state));
    assert!(done.location().unwrap().as_str().starts_with("https://app.test/bye?state="), "{:?}", done.location());
    assert!(opened(&alice, &Request::of(&client)).await.is_login());
    // Somebody else's hint, too: the person who is signed in decides.
    let bob = server.person("bob").await;
    takes_over(&alice, &bob, &client).await;
    let page = alice.browser.get(url.as_str()).await;
    assert!(page.is_consent() && page.body.contains("bob@example.com"), "{}", page.body);
}

/// Design 4.2.
async fn offline_access_by_the_letter(server: Server) {
    let (server, alice, client) = server.actors().await;
    let ask = |client: &Client, prompt: &str| Request::of(client).with("scope", "openid offline_access").with("prompt", prompt);
    let granted = async |client: &Client, request: Request| {
        let back = alice.arrive(&request).await;
        let answer = client.redeem(back.code(), &back.verifier).await.ok();
        answer.json()["scope"].as_str().unwrap().split(' ').any(|scope| scope == "offline_access")
    };
    alice.visit(&client, "openid").await.code();
    // Not agreed to yet: silence cannot give it.
    alice.arrive(&ask(&client, "none")).await.refused("consent_required");
    assert!(granted(&client, ask(&client, "consent")).await, "with prompt=consent");
    assert!(granted(&client, ask(&client, "none")).await, "where consent is recorded");
    let own = server.client(json!({ "first_party": true })).await;
    assert!(granted(&own, ask(&own, "none")).await, "where consent may be skipped");
    let native = server.public_client(json!({ "first_party": true, "redirect_uris": ["http://127.0.0.1/cb"] })).await;
    alice.arrive(&ask(&native, "none")).await.refused("consent_required");
    let without = server.client(json!({ "grant_types": ["authorization_code"], "scope": "openid offline_access" })).await;
    assert!(!granted(&without, ask(&without, "consent")).await, "a client that cannot refresh");
    // It outlives the session that it came from, and the one without does not.
    let kept = alice.tokens_for_long(&client).await;
    let ends = alice.tokens(&client, "openid").await;
    let page = alice.browser.get("/logout").await;
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    client.refresh(&kept.str("refresh_token")).await.ok();
    client.refresh(&ends.str("refresh_token")).await.refused(400, "invalid_grant");
}

async fn cookies_of_others_do_not_hide_ours(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    let request = Request::of(&client).with("prompt", "none").url(&server);
    let target = request.strip_prefix("https://id.test").unwrap();
    let cookies = alice.browser.cookies();
    let ours = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
    let with = async |before: &[u8], after: &[u8]| {
        let head = format!("GET {target} HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\nCookie: ");
        raw::send(&server, &[head.as_bytes(), before, ours.as_bytes(), after, b"\r\n\r\n"].concat()).await
    };
    assert!(with(b"shop=\xff\xfe; ", b"; name=\xc3\xbc").await.contains("/callback?code="));
    // One that claims to be ours makes ours worth nothing: somebody put it there.
    let planted = format!("; __Host-chancery-session={}", "A".repeat(43));
    assert!(with(b"", planted.as_bytes()).await.contains("error=login_required"));
}

/// on every form of ours.
async fn a_form_says_one_thing(server: Server) {
    let (server, alice, client) = server.actors().await;
    let consent = consent_page(&alice, &Request::of(&client)).await;
    let forms = [
        opened(&alice, &Request::of(&client).with("prompt", "login")).await,
        opened(&alice, &Request::of(&client).with("prompt", "select_account")).await,
        consent,
        alice.browser.get("/account").await,
        alice.browser.get("/logout").await,
    ];
    let ours = [("origin", "https://id.test"), ("sec-fetch-site", "same-origin")];
    for page in &forms {
        let form = page.form();
        let (name, value) = form.fields[0].clone();
        let post = async |query: &str, body: Vec<(String, String)>| {
            let page = alice.browser.send(Method::POST, &format!("{}{query}", form.action), Some(body), &ours).await;
            local_refusal(&page);
            page
        };
        let encoded: String = url::form_urlencoded::byte_serialize(value.as_bytes()).collect();
        let with = |more: &[(&str, &str)]| {
            let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            form.fields.iter().cloned().chain([("decision".to_owned(), "allow".to_owned())]).chain(more).collect::<Vec<_>>()
        };
        post(&format!("?{name}={encoded}"), with(&[])).await;
        post("?decision=deny", with(&[])).await;
        post("?x=%00", with(&[])).await;
        post("", with(&[("decision", "deny")])).await;
        post("", with(&[("x", "a\0b")])).await;
        post("", with(&[("x", &"y".repeat(2049))])).await;
        let large = post("", with(&[("x", &"y".repeat(70_000))])).await;
        assert_eq!(large.status, 413);
        // Another type than a form's, as scripts on other sites can send without asking.
        let cookies = alice.browser.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(with(&[])).finish();
        for kind in ["text/plain", "application/json", "multipart/form-data; boundary=x"] {
            let lines = [format!("Cookie: {cookies}"), format!("Content-Type: {kind}"), "Accept: text/html".to_owned()];
            let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
            let answer = raw::post(&server, form.action.path(), &lines, body.as_bytes()).await;
            assert!((400..500).contains(&raw::status(&answer)), "{kind}: {answer}");
        }
    }
    assert!(!opened(&alice, &Request::of(&client)).await.is_login(), "nothing of it counted");
}

/// who says no gives the place back.
async fn saying_no_gives_the_place_back(backend: Backend) {
    let server = Setup::on(backend).config(|config| config.throttle.interactions_per_address = 3).start().await;
    let (_, alice, client) = server.actors().await;
    for _ in 0..6 {
        let page = opened(&alice, &Request::of(&client)).await;
        assert!(page.is_login(), "{} {}", page.status, page.body);
        let denied = alice.browser.submit(&page, &[("decision", "deny")]).await;
        assert_eq!(param(&denied, "error").as_deref(), Some("access_denied"));
    }
    for _ in 0..3 {
        assert!(opened(&alice, &Request::of(&client)).await.is_login());
    }
    let refused = opened(&alice, &Request::of(&client)).await;
    assert_eq!(refused.status, 429);
    local_refusal(&refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saying_no_gives_the_place_back_on_sqlite() {
    saying_no_gives_the_place_back(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saying_no_gives_the_place_back_on_postgres() {
    saying_no_gives_the_place_back(Backend::Postgres).await;
}
