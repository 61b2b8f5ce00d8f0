//! Signing in: one answer for every branch that fails, forms that only our own pages can send, cookies, headers, throttling.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Browser, Page, Person, Request, Server, Setup, on_both, rounds};

on_both![
    every_failing_branch_looks_the_same,
    every_failing_branch_costs_the_same,
    a_form_needs_its_token_its_cookie_and_its_origin,
    signing_in_gives_a_new_cookie_and_keeps_it_safe,
    pages_carry_the_headers_of_a_page,
    guesses_are_slowed_down_and_never_lock_for_ever,
    the_username_is_taken_as_people_type_it,
    a_name_is_the_same_in_whatever_code_points_it_is_typed,
    credentials_in_the_address_line_are_not_used,
    disabling_ends_everything_in_one_step,
    a_session_idles_out_and_ages_out,
];

async fn login_page(person: &Person, request: &Request) -> Page {
    let mut page = person.open(request).await;
    while page.location().is_some() {
        page = person.browser.follow(&page).await;
    }
    assert!(page.is_login(), "{} {}", page.status, page.body);
    page
}

/// The page without what is fresh in every answer: hidden values.
fn shape(page: &Page, username: &str) -> String {
    let mut body = page.body.replace(username, "USERNAME");
    for (name, value) in page.form().fields {
        if name != "username" && !value.is_empty() {
            body = body.replace(&value, &name.to_uppercase());
        }
    }
    if let Some(trace_id) = page.text("#trace-id") {
        body = body.replace(&trace_id, "TRACE");
    }
    body
}

/// unknown, wrong, empty, over-long, disabled, without password: same status, same page, same headers, same cookies.
async fn every_failing_branch_looks_the_same(server: Server) {
    let (server, alice, client) = server.actors().await;
    let disabled = server.person("disabled").await;
    server.disable_user(&disabled).await;
    server.user_without_password("guest").await;
    let attempts = [
        ("nobody".to_owned(), "some password".to_owned()),
        (alice.username.clone(), "not the password".to_owned()),
        (alice.username.clone(), String::new()),
        (alice.username.clone(), "x".repeat(2000)),
        (disabled.username.clone(), disabled.password.clone()),
        (disabled.username.clone(), "not the password".to_owned()),
        ("guest".to_owned(), "anything at all".to_owned()),
        ("guest".to_owned(), String::new()),
    ];
    let mut seen = Vec::new();
    for (username, password) in &attempts {
        let browser = Browser::new(server.site());
        let person = Person { browser, username: username.clone(), password: password.clone(), sub: String::new() };
        let page = login_page(&person, &Request::of(&client)).await;
        let before = person.browser.cookies();
        let refused = person.browser.submit(&page, &[("username", username), ("password", password)]).await;
        assert!(refused.location().is_none(), "{username}");
        assert_eq!(person.browser.cookies(), before, "{username}: a failed sign-in changes no cookie");
        let mut headers: Vec<String> = refused.headers.keys().map(|name| name.as_str().to_owned()).collect();
        headers.sort();
        assert!(refused.text("[role=alert]").is_some(), "{}", refused.body);
        seen.push((refused.status, headers, shape(&refused, username)));
    }
    for (position, other) in seen.iter().enumerate().skip(1) {
        assert_eq!(seen[0], *other, "attempt {position} {:?}", attempts[position].0);
    }
}

/// R-54, lesson 12: the slowest path tells, so it is measured, with the real price of a hash. A shortcut would be ten times faster.
async fn every_failing_branch_costs_the_same(server: Server) {
    let server = Setup::on(server.backend)
        .config(|config| {
            (config.passwords.memory_kib, config.passwords.iterations) = (19_456, 2);
            (config.throttle.account_failures, config.throttle.address_failures) = (10_000, 10_000);
        })
        .start()
        .await;
    let (server, alice, client) = server.actors().await;
    let disabled = server.person("disabled").await;
    server.disable_user(&disabled).await;
    server.user_without_password("guest").await;
    let attempts = [
        (alice.username.clone(), "not the password".to_owned()),
        ("nobody".to_owned(), "some password".to_owned()),
        (alice.username.clone(), String::new()),
        (alice.username.clone(), "x".repeat(2000)),
        (disabled.username.clone(), disabled.password.clone()),
        ("guest".to_owned(), "anything at all".to_owned()),
    ];
    let page = login_page(&alice, &Request::of(&client)).await;
    // The fastest of each: what else the machine does can only slow a branch down. On a busy machine it takes more rounds until each has
    // had a quiet moment; a branch that is cheaper stays so.
    let mut fastest = vec![Duration::MAX; attempts.len()];
    let differs = |fastest: &[Duration]| {
        let share = |fast: &Duration| fast.as_secs_f64() / fastest[0].as_secs_f64();
        fastest.iter().map(share).position(|share| !(0.5..2.0).contains(&share))
    };
    let began = Instant::now();
    let mut round = 0;
    while round < rounds(9, 60) || (differs(&fastest).is_some() && began.elapsed() < Duration::from_secs(180)) {
        for ((username, password), fastest) in attempts.iter().zip(&mut fastest) {
            let started = Instant::now();
            let refused = alice.browser.submit(&page, &[("username", username), ("password", password)]).await;
            *fastest = started.elapsed().min(*fastest);
            assert!(refused.is_login());
        }
        round += 1;
    }
    if let Some(different) = differs(&fastest) {
        panic!("{:?} takes another time than a wrong password, after {round} rounds: {fastest:?}", attempts[different].0);
    }
}

type Fields = Vec<(String, String)>;

/// login CSRF and forged forms.
async fn a_form_needs_its_token_its_cookie_and_its_origin(server: Server) {
    let (server, alice, client) = server.actors().await;
    let credentials = [("username", alice.username.as_str()), ("password", alice.password.as_str())];
    let page = login_page(&alice, &Request::of(&client)).await;
    let form = page.form();
    let filled = |change: &dyn Fn(&mut Fields)| {
        let mut fields = form.fields.clone();
        for (name, value) in credentials {
            fields.retain(|field| field.0 != name);
            fields.push((name.into(), value.into()));
        }
        change(&mut fields);
        fields
    };
    let post = |fields: Vec<(String, String)>, headers: Vec<(&'static str, &'static str)>| {
        let (browser, action) = (&alice.browser, form.action.clone());
        async move { browser.send(reqwest::Method::POST, action.as_str(), Some(fields), &headers).await }
    };
    let ours = vec![("origin", "https://id.test"), ("sec-fetch-site", "same-origin")];
    let hidden: Vec<String> =
        form.fields.iter().map(|field| field.0.clone()).filter(|name| name != "username" && name != "password").collect();
    let csrf = hidden.iter().find(|name| name.contains("csrf")).expect("a CSRF token in the form").clone();
    for bad in [
        post(filled(&|fields| fields.retain(|field| field.0 != csrf)), ours.clone()).await,
        post(
            filled(&|fields| {
                fields.iter_mut().filter(|field| field.0 == csrf).for_each(|field| field.1 = "x".repeat(field.1.len()))
            }),
            ours.clone(),
        )
        .await,
        post(filled(&|_| ()), vec![("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")]).await,
        post(filled(&|_| ()), vec![("origin", "null"), ("sec-fetch-site", "cross-site")]).await,
        post(filled(&|_| ()), vec![("origin", "https://id.test"), ("sec-fetch-site", "cross-site")]).await,
        post(filled(&|_| ()), vec![("sec-fetch-site", "same-site")]).await,
    ] {
        assert!(bad.location().is_none() && (400..500).contains(&bad.status), "{} {:?}", bad.status, bad.location());
        assert!(!alice.browser.cookies().keys().any(|name| name.ends_with("chancery-session")), "signed in by a forged form");
    }
    // Another browser's token.
    let mallory = server.person("mallory").await;
    let theirs = login_page(&mallory, &Request::of(&client)).await;
    let token = theirs.form().fields.iter().find(|field| field.0 == csrf).unwrap().1.clone();
    let forged = post(
        filled(&|fields| fields.iter_mut().filter(|field| field.0 == csrf).for_each(|field| field.1 = token.clone())),
        ours.clone(),
    )
    .await;
    assert!((400..500).contains(&forged.status), "{}", forged.status);
    // And the honest form still works, from a browser that sends neither header, too (old ones do not).
    let good = post(filled(&|_| ()), vec![]).await;
    assert!(good.location().is_some() || good.is_consent(), "{} {}", good.status, good.body);
}

///
async fn signing_in_gives_a_new_cookie_and_keeps_it_safe(server: Server) {
    let (_, alice, client) = server.actors().await;
    // A cookie planted before the sign-in is worth nothing after it (session fixation).
    let planted = "A".repeat(43);
    alice.browser.set_cookie("__Host-chancery-session", &planted);
    let page = login_page(&alice, &Request::of(&client)).await;
    let done = alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await;
    let lines: Vec<&str> = done.headers.get_all("set-cookie").iter().map(|line| line.to_str().unwrap()).collect();
    let session = lines.iter().find(|line| line.starts_with("__Host-chancery-session=")).unwrap_or_else(|| panic!("{lines:?}"));
    for line in &lines {
        let lower = line.to_lowercase();
        for part in ["; secure", "; httponly", "; samesite=lax", "; path=/"] {
            assert!(lower.contains(part), "{part} is missing: {line}");
        }
        assert!(line.starts_with("__Host-") && !lower.contains("domain="), "{line}");
    }
    let value = session.split(';').next().unwrap().split_once('=').unwrap().1.to_owned();
    assert!(value.len() >= 43 && value != planted);
    // Signing in again changes it again.
    let mut page = alice.open(&Request::of(&client).with("prompt", "login")).await;
    while page.location().is_some_and(|to| to.as_str().starts_with("https://id.test")) {
        page = alice.browser.follow(&page).await;
    }
    alice.browser.submit(&page, &[("username", &alice.username), ("password", &alice.password)]).await;
    let fresh = alice.browser.cookies()["__Host-chancery-session"].clone();
    assert_ne!(fresh, value, "a new id at login");
    // The old one is dead on the server, not only forgotten by the browser.
    let thief = Person {
        browser: Browser::new(alice.browser.site().clone()),
        username: String::new(),
        password: String::new(),
        sub: String::new(),
    };
    thief.browser.set_cookie("__Host-chancery-session", &value);
    let back = thief.answer(&Request::of(&client).with("prompt", "none")).await.unwrap();
    back.refused("login_required");
}

///
async fn pages_carry_the_headers_of_a_page(server: Server) {
    let (server, alice, client) = server.actors().await;
    let login = login_page(&alice, &Request::of(&client)).await;
    let error = alice.browser.get("/authorize?client_id=nobody").await;
    let missing = alice.browser.get("/nowhere").await;
    let signed_out = alice.browser.get("/logout").await;
    for page in [&login, &error, &missing, &signed_out] {
        let policy = page.header("content-security-policy");
        for part in ["default-src 'none'", "base-uri 'none'", "frame-ancestors 'none'", "form-action"] {
            assert!(policy.contains(part), "{}: {part} is missing: {policy}", page.url);
        }
        assert!(!policy.contains("unsafe-") && !policy.contains('*'), "{policy}");
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("referrer-policy"), "no-referrer");
        assert!(page.header("strict-transport-security").contains("max-age="), "HSTS on an https issuer");
        assert_eq!(page.header("content-type").to_lowercase(), "text/html; charset=utf-8");
        assert_eq!(page.header("access-control-allow-origin"), "", "R-86: pages are never shared");
    }
    drop(server);
}

/// counted before hashing, by account and by address; a stranger cannot lock a victim out for ever.
async fn guesses_are_slowed_down_and_never_lock_for_ever(server: Server) {
    let (server, alice, client) = server.actors().await;
    let mallory = Person {
        browser: Browser::new(server.site()),
        username: alice.username.to_uppercase(),
        password: "guess".into(),
        sub: String::new(),
    };
    let mut slowed = None;
    for guess in 0..30 {
        let page = login_page(&mallory, &Request::of(&client)).await;
        let refused =
            mallory.browser.submit(&page, &[("username", &mallory.username), ("password", &format!("guess {guess}"))]).await;
        if refused.status == 429 {
            assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
            slowed = Some(guess);
            break;
        }
    }
    assert!(slowed.is_some_and(|guess| (3..=20).contains(&guess)), "{slowed:?}");
    // Another replica knows the count, too; and the account counts in whatever case it is typed.
    let page = login_page(&alice, &Request::of(&client)).await;
    let replica = server.replica().await;
    let elsewhere = alice.browser.through(replica.site());
    let refused = elsewhere.submit(&page, &[("username", &alice.username), ("password", "guess")]).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    server.wait(Duration::from_secs(16 * 60));
    alice.visit(&client, "openid").await.code();
}

async fn the_username_is_taken_as_people_type_it(server: Server) {
    let (_, mut alice, client) = server.actors().await;
    let exact = alice.username.clone();
    for typed in [format!(" {exact} "), exact.to_uppercase()] {
        alice.username = typed;
        alice.browser.forget_cookies();
        alice.visit(&client, "openid").await.code();
    }
}

/// One machine sends é as one code point, another as two, and a keyboard for Japanese sends letters in full width: one person, with one password.
async fn a_name_is_the_same_in_whatever_code_points_it_is_typed(server: Server) {
    let client = server.client(json!({})).await;
    let admin = server.admin("admin:write").await;
    let (composed, decomposed) = ("ren\u{e9}@caf\u{e9}.test", "rene\u{301}@cafe\u{301}.test");
    let (password, otherwise) = ("mot de passe \u{e9}t\u{e9}", "mot\u{a0}de passe e\u{301}te\u{301}");
    let document = json!({ "username": decomposed, "password": otherwise });
    let made = admin.post("/users", document.clone()).await;
    assert_eq!((made.status, made.str("username")), (201, composed.to_owned()), "what is kept is told: {}", made.text);
    let path = format!("/users/{}", made.str("id"));
    let kept = admin.put(&path, document).await.ok();
    assert_eq!(kept.header("etag"), made.header("etag"), "said once more it changes nothing");
    for again in [composed, decomposed, "REN\u{c9}@CAFE\u{301}.TEST", "\u{ff32}ene\u{301}\u{ff20}caf\u{e9}.test"] {
        admin.post("/users", json!({ "username": again })).await.problem(409, "admin-conflict");
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("username", again).finish();
        let found = admin.get(&format!("/users?{query}")).await.ok().json();
        assert_eq!(found["items"][0]["id"], made.str("id"), "{again:?}");
        for password in [password, otherwise] {
            let person = Person {
                browser: Browser::new(server.site()),
                username: again.to_owned(),
                password: password.to_owned(),
                sub: String::new(),
            };
            person.visit(&client, "openid").await.code();
        }
    }
    // A guess is counted for the person, however it is typed.
    let stranger = |username: &str| Person {
        browser: Browser::new(server.site()),
        username: username.to_owned(),
        password: "guess".to_owned(),
        sub: String::new(),
    };
    let mut answers = Vec::new();
    for guess in 0..30 {
        let stranger = stranger(if guess % 2 == 0 { composed } else { decomposed });
        let page = login_page(&stranger, &Request::of(&client)).await;
        let fields = [("username", stranger.username.as_str()), ("password", "guess")];
        answers.push(stranger.browser.submit(&page, &fields).await.status);
        if answers.last() == Some(&429) {
            break;
        }
    }
    let failures = u32::try_from(answers.iter().filter(|status| **status != 429).count()).unwrap();
    assert_eq!(failures, server.app.config.throttle.account_failures, "{answers:?}");
    // Who only looks alike is somebody else.
    let other = admin.post("/users", json!({ "username": "r\u{435}n\u{e9}@caf\u{e9}.test" })).await;
    assert_eq!(other.status, 201, "{}", other.text);
}

async fn credentials_in_the_address_line_are_not_used(server: Server) {
    let (_, alice, client) = server.actors().await;
    let page = login_page(&alice, &Request::of(&client)).await;
    let form = page.form();
    let mut url = form.action.clone();
    for (name, value) in &form.fields {
        url.query_pairs_mut().append_pair(name, value);
    }
    url.query_pairs_mut().append_pair("username", &alice.username).append_pair("password", &alice.password);
    let page = alice.browser.get(url.as_str()).await;
    assert!(!alice.browser.cookies().contains_key("__Host-chancery-session"), "{}", page.status);
}

/// a disable takes sessions, families, codes and open interactions with it.
async fn disabling_ends_everything_in_one_step(server: Server) {
    let (server, alice, client) = server.actors().await;
    let tokens = alice.tokens_for_long(&client).await;
    let unused = alice.visit(&client, "openid").await;
    let open = {
        let mut page = alice.open(&Request::of(&client).with("prompt", "consent")).await;
        while page.location().is_some() {
            page = alice.browser.follow(&page).await;
        }
        page
    };
    assert!(open.is_consent());
    server.disable_user(&alice).await;
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    client.redeem(unused.code(), &unused.verifier).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    server.userinfo(&tokens.str("access_token")).await.refused(401, "invalid_token");
    let late = alice.browser.submit(&open, &[("decision", "allow")]).await;
    assert!(!late.location().is_some_and(|to| to.as_str().contains("code=")), "{:?}", late.location());
    // Enabled again, nothing of it comes back.
    server.enable_user(&alice).await;
    client.refresh(&tokens.str("refresh_token")).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&tokens.str("access_token")).await);
    alice.answer(&Request::of(&client).with("prompt", "none")).await.unwrap().refused("login_required");
}

async fn a_session_idles_out_and_ages_out(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await.code();
    let silent = || Request::of(&client).with("prompt", "none");
    server.wait(Duration::from_secs(11 * 3600));
    alice.answer(&silent()).await.unwrap().code();
    server.wait(Duration::from_secs(11 * 3600));
    alice.answer(&silent()).await.unwrap().code();
    server.wait(Duration::from_secs(13 * 3600));
    alice.answer(&silent()).await.unwrap().refused("login_required");
    // Used without a pause it still ends after seven days.
    alice.visit(&client, "openid").await.code();
    for _ in 0..16 {
        server.wait(Duration::from_secs(10 * 3600));
        alice.answer(&silent()).await.unwrap().code();
    }
    server.wait(Duration::from_secs(9 * 3600));
    alice.answer(&silent()).await.unwrap().refused("login_required");
}
