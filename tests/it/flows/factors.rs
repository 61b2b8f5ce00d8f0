//! Second factors: codes that count once, steps that cannot be skipped, demands, levels, and the way back in (security.md,
//! RFC 6238; RFC 8176; OpenID Connect Core §2, §3.1.2.1).

use std::time::Duration;

use chancery::factors::totp::TotpSecret;
use chancery::oidc::authentication::Demand;
use chancery::secret::{Digest, Secret};
use chancery::service::users;
use chancery::storage::sign_ins::{self, SignIn};
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Answer, Browser, Client, Page, Person, Request, Server, Setup, jwt, on_both, unique};

on_both![
    the_code_is_asked_for_after_the_password_and_never_before,
    a_code_counts_once,
    of_many_who_send_one_code_at_once_one_gets_in,
    codes_of_others_are_nothing,
    the_step_cannot_be_skipped,
    the_step_belongs_to_its_browser_and_ends,
    guesses_of_passwords_and_codes_are_counted_together,
    recovery_codes_let_in_once_each,
    nothing_usable_is_stored,
    a_demand_has_people_enrol_after_their_password,
    a_client_may_demand_more_or_less_than_the_server,
    an_old_session_does_not_satisfy_a_demand,
    a_session_left_open_enrols_nothing,
    a_device_is_let_in_by_no_less_than_its_client_demands,
    acr_values_ask_for_more_where_there_is_more,
    an_essential_acr_is_asked_for_and_reached,
    a_reset_lets_in_with_the_password_and_ends_all_else,
    what_waits_ends_with_the_password_and_the_account,
    factors_are_changed_by_who_proved_them_lately,
    an_enrolment_belongs_to_its_person_and_time,
    a_sign_in_that_waits_rests_on_the_password_that_was_checked,
    a_page_of_another_session_is_answered_for_none,
    a_code_confirms_in_place_of_the_password,
    a_session_that_is_over_proves_and_changes_nothing,
];

pub const SESSION: &str = "__Host-chancery-session";
const MFA: &str = "urn:chancery:acr:mfa";
const PASSWORD: &str = "urn:chancery:acr:password";

/// Somebody's authenticator app, and the codes on paper.
pub struct Phone {
    secret: TotpSecret,
    pub recovery_codes: Vec<String>,
}

impl Phone {
    /// What it shows now.
    pub fn code(&self, server: &Server) -> String {
        self.secret.code(server.app.clock.now())
    }

    /// What it shows once nobody has seen it yet.
    pub fn next_code(&self, server: &Server) -> String {
        server.wait(Duration::from_secs(30));
        self.code(server)
    }
}

fn base32(text: &str) -> Vec<u8> {
    let (mut held, mut bits, mut bytes) = (0_u32, 0, Vec::new());
    for letter in text.bytes().filter(|byte| !byte.is_ascii_whitespace()) {
        let value = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".iter().position(|known| *known == letter).unwrap();
        held = (held << 5) | u32::try_from(value).unwrap();
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 255).unwrap());
        }
    }
    bytes
}

pub fn shown_secret(page: &Page) -> TotpSecret {
    let text = page.text("#secret").unwrap_or_else(|| panic!("no secret at {} ({}):\n{}", page.url, page.status, page.body));
    TotpSecret::from_bytes(base32(&text)).unwrap()
}

pub fn is_step(page: &Page) -> bool {
    page.location().is_none() && page.url.path().ends_with("/second-factor") && page.text("input[name=code]").is_some()
}

pub fn is_enrolment(page: &Page) -> bool {
    page.location().is_none() && page.text("#secret").is_some()
}

/// Types the password on whatever page asks for it, and arrives at what comes then.
pub async fn password(person: &Person, browser: &Browser, page: Page) -> Page {
    let page = browser.settle(page).await;
    assert!(page.is_login(), "{} {} {}", page.url, page.status, page.body);
    let typed = [("username", person.username.as_str()), ("password", person.password.as_str())];
    browser.settle(browser.submit(&page, &typed).await).await
}

/// A new browser at the step after the password.
pub async fn at_the_step(server: &Server, person: &Person) -> (Browser, Page) {
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    let page = password(person, &browser, page).await;
    assert!(is_step(&page), "{} {}", page.url, page.body);
    (browser, page)
}

pub async fn send_code(browser: &Browser, page: &Page, code: &str) -> Page {
    browser.settle(browser.submit(page, &[("code", code)]).await).await
}

/// The page for recovery codes, from the step.
pub async fn recovery_page(browser: &Browser, page: &Page) -> Page {
    browser.get(format!("{}&use=recovery", page.url)).await
}

/// Answers an enrolment page.
async fn confirm(server: &Server, browser: &Browser, page: &Page) -> (Phone, Page) {
    assert!(is_enrolment(page), "{} {}", page.url, page.body);
    let secret = shown_secret(page);
    let done = browser.submit(page, &[("code", &secret.code(server.app.clock.now()))]).await;
    let html = scraper::Html::parse_document(&done.body);
    let found = scraper::Selector::parse(".recovery code").unwrap();
    let recovery_codes: Vec<String> = html.select(&found).map(|code| code.text().collect()).collect();
    assert_eq!(recovery_codes.len(), 10, "{} {}", done.status, done.body);
    (Phone { secret, recovery_codes }, done)
}

/// A browser in which they are signed in with the password.
pub async fn signed_in(server: &Server, person: &Person) -> Browser {
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    password(person, &browser, page).await;
    browser
}

/// Signs in at the account page and sets up an app.
pub async fn enrol(server: &Server, person: &Person) -> Phone {
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    password(person, &browser, page).await;
    let page = browser.get("/second-factor/enrol").await;
    let (phone, _) = confirm(server, &browser, &page).await;
    // What was shown at enrolment has been used; the tests begin with a fresh one.
    server.wait(Duration::from_secs(60));
    phone
}

fn callback_code(page: &Page) -> Option<String> {
    page.location()?.query_pairs().find(|pair| pair.0 == "code").map(|pair| pair.1.into_owned())
}

/// From the page that ends a request to its tokens, saying yes where that is asked.
async fn tokens(browser: &Browser, mut page: Page, request: &Request, client: &Client) -> Answer {
    page = browser.settle(page).await;
    if page.is_consent() && callback_code(&page).is_none() {
        page = browser.settle(browser.submit(&page, &[("decision", "allow")]).await).await;
    }
    let code = callback_code(&page).unwrap_or_else(|| panic!("no code at {} {:?}\n{}", page.url, page.location(), page.body));
    client.redeem(&code, &request.verifier).await.ok()
}

fn told(answer: &Answer) -> (Value, Value) {
    let claims = jwt(&answer.str("id_token")).1;
    (claims["acr"].clone(), claims["amr"].clone())
}

async fn the_code_is_asked_for_after_the_password_and_never_before(server: Server) {
    let (server, alice, client) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let browser = Browser::new(server.site());
    let request = Request::of(&client);
    let login = browser.settle(browser.get(request.url(&server)).await).await;
    // With a wrong password nothing tells that there is a second step.
    let wrong = browser.submit(&login, &[("username", &alice.username), ("password", "not the password")]).await;
    assert!(wrong.is_login() && wrong.text("input[name=code]").is_none() && wrong.location().is_none());
    let page = password(&alice, &browser, browser.get(login.url.as_str()).await).await;
    assert!(is_step(&page), "{}", page.body);
    assert!(page.body.contains("autocomplete=\"one-time-code\""));
    assert!(!browser.cookies().contains_key(SESSION), "no session before the second factor");
    let bad = browser.submit(&page, &[("code", "000000")]).await;
    assert!(is_step(&bad) && bad.text("[role=alert]").is_some() && !browser.cookies().contains_key(SESSION), "{}", bad.body);
    let code = phone.code(&server);
    // As people read it from the app: in two groups.
    let done = send_code(&browser, &bad, &format!("{} {}", &code[..3], &code[3..])).await;
    assert!(browser.cookies().contains_key(SESSION));
    let answer = tokens(&browser, done, &request, &client).await;
    assert_eq!(told(&answer), (json!(MFA), json!(["pwd", "otp", "mfa"])));
    let access = answer.str("access_token");
    let introspected = client.introspect(&access).await;
    assert_eq!((&introspected["acr"], &introspected["amr"]), (&json!(MFA), &json!(["pwd", "otp", "mfa"])));
    assert_eq!(jwt(&access).1["acr"], MFA);
    let events = server.audit().await;
    assert!(events.contains(&"factor.add".to_owned()) && events.contains(&"session.begin".to_owned()), "{events:?}");
    // Who has none is not asked, and the answer says so.
    let bob = server.person("bob").await;
    assert_eq!(told(&bob.tokens(&client, "openid").await), (json!(PASSWORD), json!(["pwd"])));
}

/// RFC 6238 §5.2.
async fn a_code_counts_once(server: Server) {
    let (server, alice, _) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let (one, step_one) = at_the_step(&server, &alice).await;
    let (two, step_two) = at_the_step(&server, &alice).await;
    let earlier = phone.code(&server);
    let code = phone.next_code(&server);
    send_code(&one, &step_one, &code).await;
    assert!(one.cookies().contains_key(SESSION));
    let mut page = step_two;
    for (typed, branch) in [(&code, "used before"), (&earlier, "used before")] {
        page = two.submit(&page, &[("code", typed)]).await;
        assert!(is_step(&page) && !two.cookies().contains_key(SESSION), "{}", page.body);
        let story = server.explain(page.header("chancery-trace-id")).await;
        assert!(story.happened.contains(branch), "{story:?}");
    }
    send_code(&two, &page, &phone.next_code(&server)).await;
    assert!(two.cookies().contains_key(SESSION), "the next one is good");
}

async fn of_many_who_send_one_code_at_once_one_gets_in(server: Server) {
    let (server, alice, _) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let replica = server.replica().await;
    for recovery in [false, true] {
        let mut thieves = Vec::new();
        for number in 0..6 {
            let (browser, page) = at_the_step(&server, &alice).await;
            let page = if recovery { recovery_page(&browser, &page).await } else { page };
            let site = if number % 2 == 0 { server.site() } else { replica.site() };
            thieves.push((browser.through(site), page));
        }
        let code = if recovery { phone.recovery_codes[0].clone() } else { phone.next_code(&server) };
        join_all(thieves.iter().map(async |(browser, page)| browser.submit(page, &[("code", &code)]).await)).await;
        let inside = thieves.iter().filter(|(browser, _)| browser.cookies().contains_key(SESSION)).count();
        assert_eq!(inside, 1, "recovery code: {recovery}");
        server.wait(Duration::from_secs(16 * 60));
    }
}

async fn codes_of_others_are_nothing(server: Server) {
    let (server, alice, _) = server.actors().await;
    let bob = server.person("bob").await;
    let (alices, bobs) = (enrol(&server, &alice).await, enrol(&server, &bob).await);
    let (browser, page) = at_the_step(&server, &alice).await;
    let refused = send_code(&browser, &page, &bobs.code(&server)).await;
    assert!(is_step(&refused) && !browser.cookies().contains_key(SESSION));
    let recovery = recovery_page(&browser, &page).await;
    let refused = send_code(&browser, &recovery, &bobs.recovery_codes[0]).await;
    assert!(is_step(&refused) && !browser.cookies().contains_key(SESSION));
    assert!(server.explain(refused.header("chancery-trace-id")).await.happened.contains("none of the person's"));
    // And bob's still works for bob: it was not spent.
    let (browser, page) = at_the_step(&server, &bob).await;
    let recovery = recovery_page(&browser, &page).await;
    send_code(&browser, &recovery, &bobs.recovery_codes[0]).await;
    assert!(browser.cookies().contains_key(SESSION));
    drop(alices);
}

/// Requests made by hand, by who knows the password and has no phone.
async fn the_step_cannot_be_skipped(server: Server) {
    let (server, alice, client) = server.actors().await;
    enrol(&server, &alice).await;
    let browser = Browser::new(server.site());
    let request = Request::of(&client);
    let page = password(&alice, &browser, browser.get(request.url(&server)).await).await;
    assert!(is_step(&page));
    let query: Vec<(String, String)> = page.url.query_pairs().into_owned().collect();
    let value = |name: &str| query.iter().find(|pair| pair.0 == name).unwrap().1.clone();
    let (interaction, sign_in) = (value("interaction"), value("sign_in"));
    let csrf = page.form().fields.iter().find(|field| field.0 == "csrf").unwrap().1.clone();
    // On to the pages that would come after it.
    for path in ["/consent", "/select-account", "/second-factor", "/second-factor/enrol"] {
        let next = browser.settle(browser.get(format!("{path}?interaction={interaction}")).await).await;
        assert!(next.is_login() && callback_code(&next).is_none(), "{path}: {} {}", next.url, next.body);
        for (name, answer) in [("decision", "allow"), ("account", "current"), ("code", ""), ("use", "recovery")] {
            let fields = [("csrf", csrf.as_str()), ("interaction", &interaction), ("sign_in", &sign_in), (name, answer)];
            let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let answer = browser.send(reqwest::Method::POST, path, Some(fields), &[("origin", "https://id.test")]).await;
            assert_eq!(callback_code(&answer), None, "{path} {name}");
            assert!(!browser.cookies().contains_key(SESSION), "{path} {name}");
        }
    }
    // An app of one's own in place of the one that is there.
    let enrolment = browser.settle(browser.get(format!("/second-factor/enrol?sign_in={sign_in}")).await).await;
    assert!(is_step(&enrolment), "{} {}", enrolment.url, enrolment.body);
    // The account, and the app that asks in silence.
    assert!(browser.settle(browser.get("/account").await).await.is_login());
    assert!(browser.settle(browser.get("/account/factors").await).await.is_login());
    let silent = browser.get(request.clone().with("prompt", "none").url(&server)).await;
    assert!(silent.location().unwrap().as_str().contains("error=login_required"));
    // The id of the step is no session.
    browser.set_cookie(SESSION, &sign_in);
    assert!(browser.settle(browser.get("/account").await).await.is_login());
}

async fn the_step_belongs_to_its_browser_and_ends(server: Server) {
    let (server, alice, _) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let (browser, page) = at_the_step(&server, &alice).await;
    // Another browser with the address of the page and the right code.
    let thief = Browser::new(server.site());
    let seen = thief.get(page.url.as_str()).await;
    assert!(seen.text("input[name=code]").is_none() && seen.text("#trace-id").is_some(), "{}", seen.body);
    let fields = |page: &Page, code: &str| {
        let mut fields = page.form().fields;
        fields.iter_mut().filter(|field| field.0 == "code").for_each(|field| field.1 = code.to_owned());
        fields
    };
    let headers = [("origin", "https://id.test"), ("sec-fetch-site", "same-origin")];
    let code = phone.code(&server);
    let forged = thief.send(reqwest::Method::POST, "/second-factor", Some(fields(&page, &code)), &headers).await;
    assert!((400..500).contains(&forged.status) && !thief.cookies().contains_key(SESSION), "{}", forged.status);
    // From another site.
    let elsewhere = [("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")];
    let forged = browser.send(reqwest::Method::POST, "/second-factor", Some(fields(&page, &code)), &elsewhere).await;
    assert!((400..500).contains(&forged.status) && !browser.cookies().contains_key(SESSION), "{}", forged.status);
    // Too late.
    server.wait(Duration::from_secs(601));
    let late = send_code(&browser, &page, &phone.code(&server)).await;
    assert!(late.text("#trace-id").is_some() && !browser.cookies().contains_key(SESSION), "{}", late.body);
    // Twice: one password, one session.
    let (browser, page) = at_the_step(&server, &alice).await;
    send_code(&browser, &page, &phone.next_code(&server)).await;
    let first = browser.cookies()[SESSION].clone();
    let again = send_code(&browser, &page, &phone.next_code(&server)).await;
    assert!(again.text("#trace-id").is_some(), "{}", again.body);
    assert_eq!(browser.cookies()[SESSION], first);
}

/// one throttle over all factors, shared by replicas, and it ends by itself.
async fn guesses_of_passwords_and_codes_are_counted_together(server: Server) {
    let (server, alice, _) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let (browser, step) = at_the_step(&server, &alice).await;
    let recovery = recovery_page(&browser, &step).await;
    let login = Browser::new(server.site());
    let sign_in = login.get("/login").await;
    let mut slowed = None;
    for guess in 0..12 {
        let page = match guess % 3 {
            0 => login.submit(&sign_in, &[("username", &alice.username), ("password", "a guess")]).await,
            1 => browser.submit(&step, &[("code", &format!("{guess:06}"))]).await,
            _ => browser.submit(&recovery, &[("code", "00000-00000-00000-00000")]).await,
        };
        if page.status == 429 {
            assert!(page.header("retry-after").parse::<u64>().unwrap() >= 1);
            slowed = Some(guess);
            break;
        }
    }
    assert_eq!(slowed, Some(10), "ten failures of whatever kind");
    // Everything waits now: the right code too, at another replica, and the right password.
    let replica = server.replica().await;
    let refused = browser.through(replica.site()).submit(&step, &[("code", &phone.code(&server))]).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    let refused = login.submit(&sign_in, &[("username", &alice.username), ("password", &alice.password)]).await;
    assert_eq!(refused.status, 429);
    server.wait(Duration::from_secs(16 * 60));
    let (browser, step) = at_the_step(&server, &alice).await;
    send_code(&browser, &step, &phone.code(&server)).await;
    assert!(browser.cookies().contains_key(SESSION), "nobody is locked out for good");
}

async fn recovery_codes_let_in_once_each(server: Server) {
    let (server, alice, client) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let request = Request::of(&client);
    let browser = Browser::new(server.site());
    let page = password(&alice, &browser, browser.get(request.url(&server)).await).await;
    // As it stands on paper, and without its dashes.
    let page = send_code(&browser, &recovery_page(&browser, &page).await, &phone.recovery_codes[0].replace('-', "")).await;
    assert_eq!(told(&tokens(&browser, page, &request, &client).await), (json!(MFA), json!(["pwd", "otp", "mfa"])));
    let left = browser.get("/account/factors").await;
    assert!(left.text("main").unwrap().contains("9 recovery codes"), "{}", left.body);
    let (thief, page) = at_the_step(&server, &alice).await;
    let refused = send_code(&thief, &recovery_page(&thief, &page).await, &phone.recovery_codes[0]).await;
    assert!(is_step(&refused) && !thief.cookies().contains_key(SESSION));
    assert!(server.explain(refused.header("chancery-trace-id")).await.happened.contains("used before"));
    // A new list makes the old one worthless.
    let fresh = browser.submit(&left, &[("change", "recovery_codes")]).await;
    assert!(fresh.body.contains("class=\"recovery\"") && !phone.recovery_codes.iter().any(|code| fresh.body.contains(code)));
    let refused = send_code(&thief, &recovery_page(&thief, &page).await, &phone.recovery_codes[1]).await;
    assert!(is_step(&refused) && !thief.cookies().contains_key(SESSION));
    assert!(server.audit().await.contains(&"factor.recovery_codes".to_owned()));
}

async fn nothing_usable_is_stored(server: Server) {
    let (server, alice, _) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let (_, page) = at_the_step(&server, &alice).await;
    let dump = server.dump().await;
    let secret = String::from_utf8_lossy(phone.secret.expose()).into_owned();
    assert!(!dump.contains(&secret) && !dump.contains(&phone.secret.text().expose().replace(' ', "")));
    for code in &phone.recovery_codes {
        assert!(!dump.contains(code) && !dump.contains(&code.replace('-', "")));
    }
    let sign_in = page.url.query_pairs().find(|pair| pair.0 == "sign_in").unwrap().1.into_owned();
    assert!(!dump.contains(&sign_in));
}

pub async fn demanding(server: &Server) -> Server {
    Setup::on(server.backend).config(|config| config.factors.second_factor = Demand::Required).start().await
}

async fn a_demand_has_people_enrol_after_their_password(server: Server) {
    let (server, alice, client) = demanding(&server).await.actors().await;
    let browser = Browser::new(server.site());
    let request = Request::of(&client);
    let page = password(&alice, &browser, browser.get(request.url(&server)).await).await;
    assert!(is_enrolment(&page), "{} {}", page.url, page.body);
    assert!(!browser.cookies().contains_key(SESSION), "no session before the factor");
    // A code that does not fit: the same secret is shown again.
    let wrong = browser.submit(&page, &[("code", "000000")]).await;
    assert_eq!(shown_secret(&wrong).expose(), shown_secret(&page).expose());
    assert!(!browser.cookies().contains_key(SESSION));
    let (phone, codes) = confirm(&server, &browser, &wrong).await;
    assert!(browser.cookies().contains_key(SESSION));
    // The codes are shown first, and then it goes on where it was.
    let next = codes.text("main a.button").map(|_| codes.body.split("href=\"").last().unwrap().split('"').next().unwrap());
    let next = next.unwrap().replace("&amp;", "&");
    let answer = tokens(&browser, browser.get(next).await, &request, &client).await;
    assert_eq!(told(&answer), (json!(MFA), json!(["pwd", "otp", "mfa"])));
    // The code of the enrolment is used up.
    let (thief, page) = at_the_step(&server, &alice).await;
    assert!(is_step(&send_code(&thief, &page, &phone.code(&server)).await));
    // The account page wants it too.
    let bob = server.person("bob").await;
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    assert!(is_enrolment(&password(&bob, &browser, page).await));
}

async fn a_client_may_demand_more_or_less_than_the_server(server: Server) {
    let (server, alice, plain) = server.actors().await;
    let strict = server.client(json!({ "second_factor": "required" })).await;
    let browser = Browser::new(server.site());
    let request = Request::of(&strict);
    let page = password(&alice, &browser, browser.get(request.url(&server)).await).await;
    assert!(is_enrolment(&page), "{}", page.body);
    assert_eq!(told(&alice.tokens(&plain, "openid").await), (json!(PASSWORD), json!(["pwd"])));

    let (server, alice, _) = demanding(&server).await.actors().await;
    let lenient = server.client(json!({ "second_factor": "optional" })).await;
    assert_eq!(told(&alice.tokens(&lenient, "openid").await), (json!(PASSWORD), json!(["pwd"])));
}

/// what is demanded is looked at when the code is issued, whatever session there is.
async fn an_old_session_does_not_satisfy_a_demand(server: Server) {
    let (server, alice, plain) = server.actors().await;
    let strict = server.client(json!({ "second_factor": "required" })).await;
    let before = alice.tokens(&plain, "openid").await;
    let phone = enrol(&server, &alice).await;
    // She had signed in here with the password alone, before there was an app.
    alice.answer(&Request::of(&strict).with("prompt", "none")).await.unwrap().refused("login_required");
    let request = Request::of(&strict);
    let page = alice.browser.settle(alice.open(&request).await).await;
    assert!(is_step(&page) && page.text("input[name=password]").is_none(), "{} {}", page.url, page.body);
    let cookie = alice.browser.cookies()[SESSION].clone();
    let done = send_code(&alice.browser, &page, &phone.code(&server)).await;
    let answer = tokens(&alice.browser, done, &request, &strict).await;
    assert_eq!(told(&answer), (json!(MFA), json!(["pwd", "otp", "mfa"])));
    // The same session under a new cookie, signed in when the password was typed.
    assert_ne!(alice.browser.cookies()[SESSION], cookie);
    let claim = |answer: &Answer, name: &str| jwt(&answer.str("id_token")).1[name].clone();
    assert_eq!(claim(&answer, "sid"), claim(&before, "sid"));
    assert_eq!(claim(&answer, "auth_time"), claim(&before, "auth_time"));
    let thief = Browser::new(server.site());
    thief.set_cookie(SESSION, &cookie);
    assert!(thief.settle(thief.get("/account").await).await.is_login(), "the old cookie is dead");
    assert!(server.audit().await.contains(&"session.step_up".to_owned()));
    // What was issued before tells what was true then.
    assert_eq!(told(&before), (json!(PASSWORD), json!(["pwd"])));
    // A factor alone is no sign-in: prompt=login and max_age want the password as well.
    for more in [("prompt", "login"), ("max_age", "1")] {
        server.wait(Duration::from_secs(30));
        let page = alice.browser.settle(alice.open(&Request::of(&strict).with(more.0, more.1)).await).await;
        assert!(page.is_login(), "{more:?} {}", page.url);
    }
}

async fn a_session_left_open_enrols_nothing(server: Server) {
    let (server, alice, plain) = server.actors().await;
    let strict = server.client(json!({ "second_factor": "required" })).await;
    alice.tokens(&plain, "openid").await;
    // Just signed in: she enrols at once.
    let request = Request::of(&strict);
    let page = alice.browser.settle(alice.open(&request).await).await;
    assert!(is_enrolment(&page), "{} {}", page.url, page.body);
    // Later whoever sits there has to know the password.
    server.wait(Duration::from_secs(601));
    let late = alice.browser.settle(alice.browser.submit(&page, &[("code", "000000")]).await).await;
    assert!(late.is_login(), "{} {}", late.url, late.body);
    let page = alice.browser.settle(alice.open(&request).await).await;
    assert!(page.is_login(), "{} {}", page.url, page.body);
    assert!(alice.browser.settle(alice.browser.get("/second-factor/enrol").await).await.is_login());
    let page = password(&alice, &alice.browser, page).await;
    assert!(is_enrolment(&page));
    let (_, codes) = confirm(&server, &alice.browser, &page).await;
    assert!(codes.status == 200);
    let done = alice.browser.settle(alice.open(&request).await).await;
    assert_eq!(told(&tokens(&alice.browser, done, &request, &strict).await).0, MFA);
}

/// RFC 8628: the page for a device is no way around a demand.
async fn a_device_is_let_in_by_no_less_than_its_client_demands(server: Server) {
    let (server, alice, plain) = server.actors().await;
    let grant = super::device::GRANT;
    let television =
        server.public_client(json!({ "redirect_uris": [], "grant_types": [grant], "second_factor": "required" })).await;
    alice.tokens(&plain, "openid").await;
    let phone = enrol(&server, &alice).await;
    let begun = television.call("/device/code", &[("scope", "openid")]).await.ok();
    let address = format!("/device?user_code={}", begun.str("user_code"));
    let step = alice.browser.settle(alice.browser.get(&address).await).await;
    assert!(is_step(&step), "{} {}", step.url, step.body);
    let mut fields = step.form().fields;
    fields.extend([("user_code".to_owned(), begun.str("user_code")), ("decision".to_owned(), "allow".to_owned())]);
    alice.browser.send(reqwest::Method::POST, "/device", Some(fields), &[("origin", "https://id.test")]).await;
    let poll = [("grant_type", grant), ("device_code", &begun.str("device_code"))];
    television.token(&poll).await.refused(400, "authorization_pending");
    let page = send_code(&alice.browser, &step, &phone.code(&server)).await;
    assert!(page.is_consent() && page.url.path() == "/device", "{} {}", page.url, page.body);
    alice.browser.submit(&page, &[("decision", "allow")]).await;
    server.wait(Duration::from_secs(10));
    assert_eq!(told(&television.token(&poll).await.ok()), (json!(MFA), json!(["pwd", "otp", "mfa"])));
    // Who is signed in nowhere comes back to the device after both steps.
    let begun = television.call("/device/code", &[("scope", "openid")]).await.ok();
    let browser = Browser::new(server.site());
    let page = browser.get(format!("/device?user_code={}", begun.str("user_code"))).await;
    let step = password(&alice, &browser, page).await;
    let page = send_code(&browser, &step, &phone.next_code(&server)).await;
    assert!(page.is_consent() && page.url.path() == "/device", "{} {}", page.url, page.body);
}

/// OpenID Connect Core §3.1.2.1: a wish, and the answer is true whatever becomes of it.
async fn acr_values_ask_for_more_where_there_is_more(server: Server) {
    let (server, alice, client) = server.actors().await;
    let supported = server.metadata().await["acr_values_supported"].clone();
    assert!(supported.as_array().unwrap().contains(&json!(MFA)) && supported.as_array().unwrap().contains(&json!(PASSWORD)));
    let wish = |values: &str| Request::of(&client).with("acr_values", values);
    // Nobody is made to enrol by a wish.
    let request = wish(MFA);
    let back = alice.arrive(&request).await;
    assert_eq!(told(&client.redeem(back.code(), &back.verifier).await.ok()).0, PASSWORD);
    let phone = enrol(&server, &alice).await;
    // Silence goes before the wish.
    let back = alice.arrive(&wish(MFA).with("prompt", "none")).await;
    assert_eq!(told(&client.redeem(back.code(), &back.verifier).await.ok()).0, PASSWORD);
    // The client would be content with less, in this order.
    let back = alice.arrive(&wish(&format!("{PASSWORD} {MFA}"))).await;
    assert_eq!(told(&client.redeem(back.code(), &back.verifier).await.ok()).0, PASSWORD);
    let request = wish(&format!("urn:unknown {MFA} {PASSWORD}"));
    let page = alice.browser.settle(alice.open(&request).await).await;
    assert!(is_step(&page), "{} {}", page.url, page.body);
    let done = send_code(&alice.browser, &page, &phone.code(&server)).await;
    assert_eq!(told(&tokens(&alice.browser, done, &request, &client).await).0, MFA);
    // From now on there is more, and who asks for less is told what they asked for.
    let back = alice.arrive(&wish(PASSWORD)).await;
    assert_eq!(told(&client.redeem(back.code(), &back.verifier).await.ok()).0, PASSWORD);
    let back = alice.arrive(&Request::of(&client)).await;
    assert_eq!(told(&client.redeem(back.code(), &back.verifier).await.ok()).0, MFA);
}

/// OpenID Connect Core §5.5.1.1: no wish but a condition, and what is reached is said.
async fn an_essential_acr_is_asked_for_and_reached(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.arrive(&Request::of(&client)).await.code();
    let phone = enrol(&server, &alice).await;
    let demands = |level: &str| {
        let claims = json!({ "id_token": { "acr": { "essential": true, "values": ["urn:gold", level] } } });
        Request::of(&client).with("claims", &claims.to_string())
    };
    alice.arrive(&demands(MFA).with("prompt", "none")).await.refused("login_required");
    let request = demands(MFA);
    let page = alice.browser.settle(alice.open(&request).await).await;
    assert!(is_step(&page), "{} {}", page.url, page.body);
    // Nobody gets around the page.
    let skipped = alice.browser.settle(alice.browser.get(page.url.as_str().replace("/second-factor", "/consent")).await).await;
    assert!(is_step(&skipped), "{} {}", skipped.url, skipped.body);
    let done = send_code(&alice.browser, &page, &phone.code(&server)).await;
    assert_eq!(told(&tokens(&alice.browser, done, &request, &client).await).0, MFA);
    let silent = demands(MFA).with("prompt", "none");
    let back = alice.arrive(&silent).await;
    assert_eq!(told(&client.redeem(back.code(), &silent.verifier).await.ok()).0, MFA);
    // More than this person can prove, and less than they did.
    alice.arrive(&demands("urn:chancery:acr:phishing-resistant")).await.refused("unmet_authentication_requirements");
    let less = demands(PASSWORD);
    let back = alice.arrive(&less).await;
    assert_eq!(told(&client.redeem(back.code(), &less.verifier).await.ok()).0, PASSWORD);
}

async fn a_reset_lets_in_with_the_password_and_ends_all_else(server: Server) {
    let (server, alice, client) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let request = Request::of(&client).with("scope", "openid offline_access").with("prompt", "consent");
    let page = password(&alice, &alice.browser, alice.open(&request).await).await;
    let done = send_code(&alice.browser, &page, &phone.code(&server)).await;
    let held = tokens(&alice.browser, done, &request, &client).await;
    let (waiting, step) = at_the_step(&server, &alice).await;
    server.reset_factors(&alice).await;
    client.refresh(&held.str("refresh_token")).await.refused(400, "invalid_grant");
    assert!(!client.is_active(&held.str("access_token")).await);
    alice.answer(&Request::of(&client).with("prompt", "none")).await.unwrap().refused("login_required");
    // Who had stolen the password and waits for a code has nothing by it.
    let late = send_code(&waiting, &step, &phone.next_code(&server)).await;
    assert!(late.text("#trace-id").is_some() && !waiting.cookies().contains_key(SESSION), "{}", late.body);
    assert_eq!(told(&alice.tokens(&client, "openid").await).0, PASSWORD);
    assert!(server.audit().await.contains(&"user.reset_factors".to_owned()));
}

/// R-46, at the step between password and code.
async fn what_waits_ends_with_the_password_and_the_account(server: Server) {
    let (server, mut alice, _) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let (browser, page) = at_the_step(&server, &alice).await;
    server.set_password(&alice, "another long passphrase").await;
    let late = send_code(&browser, &page, &phone.code(&server)).await;
    assert!(late.text("#trace-id").is_some() && !browser.cookies().contains_key(SESSION), "{}", late.body);
    // The app stays: a password that somebody set does not take it away.
    alice.password = "another long passphrase".to_owned();
    let (browser, page) = at_the_step(&server, &alice).await;
    server.disable_user(&alice).await;
    let late = send_code(&browser, &page, &phone.code(&server)).await;
    assert!(late.text("#trace-id").is_some() && !browser.cookies().contains_key(SESSION), "{}", late.body);
    server.enable_user(&alice).await;
    let late = send_code(&browser, &page, &phone.next_code(&server)).await;
    assert!(late.text("#trace-id").is_some() && !browser.cookies().contains_key(SESSION), "nothing comes back");
    let (browser, page) = at_the_step(&server, &alice).await;
    send_code(&browser, &page, &phone.next_code(&server)).await;
    assert!(browser.cookies().contains_key(SESSION));
}

async fn factors_are_changed_by_who_proved_them_lately(server: Server) {
    let (server, alice, client) = server.actors().await;
    // A session from before the app, in which only the password was proved.
    alice.tokens(&client, "openid").await;
    let phone = enrol(&server, &alice).await;
    let page = alice.browser.get("/account/factors").await;
    for change in ["remove_app", "recovery_codes"] {
        let asked = alice.browser.settle(alice.browser.submit(&page, &[("change", change)]).await).await;
        assert!(is_step(&asked), "{change}: {} {}", asked.url, asked.body);
    }
    let (_, still) = at_the_step(&server, &alice).await;
    assert!(is_step(&still));
    let asked = alice.browser.settle(alice.browser.submit(&page, &[("change", "remove_app")]).await).await;
    let page = send_code(&alice.browser, &asked, &phone.next_code(&server)).await;
    assert!(page.url.path() == "/account/factors", "{}", page.url);
    // Later the password is asked for again.
    server.wait(Duration::from_secs(601));
    let asked = alice.browser.settle(alice.browser.submit(&page, &[("change", "remove_app")]).await).await;
    assert_eq!(asked.url.path(), "/account/confirm", "{}", asked.body);
    let page = alice.browser.settle(alice.browser.submit(&asked, &[("password", &alice.password)]).await).await;
    assert_eq!(page.url.path(), "/account/factors", "{}", page.body);
    // Not by another site, and not for a page that somebody else saw.
    let mut fields = page.form().fields;
    fields.push(("change".to_owned(), "remove_app".to_owned()));
    let elsewhere = [("origin", "https://evil.test"), ("sec-fetch-site", "cross-site")];
    let forged = alice.browser.send(reqwest::Method::POST, "/account/factors", Some(fields), &elsewhere).await;
    assert!((400..500).contains(&forged.status));
    let gone = alice.browser.settle(alice.browser.submit(&page, &[("change", "remove_app")]).await).await;
    assert!(gone.body.contains("/second-factor/enrol"), "{}", gone.body);
    assert!(server.audit().await.contains(&"factor.remove".to_owned()));
    let browser = Browser::new(server.site());
    let login = browser.get("/login").await;
    let inside = password(&alice, &browser, login).await;
    assert!(inside.url.path() == "/account" && browser.cookies().contains_key(SESSION), "{}", inside.url);
}

async fn an_enrolment_belongs_to_its_person_and_time(server: Server) {
    let (server, alice, _) = server.actors().await;
    let bob = server.person("bob").await;
    let opened = async |person: &Person| {
        let browser = Browser::new(server.site());
        let page = browser.get("/login").await;
        password(person, &browser, page).await;
        let page = browser.get("/second-factor/enrol").await;
        (browser, page)
    };
    let ((alices, page), (_, bobs)) = (opened(&alice).await, opened(&bob).await);
    // A secret that somebody else knows: theirs is not taken, and another is shown.
    let planted = bobs.form().fields.iter().find(|field| field.0 == "enrolment").unwrap().1.clone();
    let code = shown_secret(&bobs).code(server.app.clock.now());
    // Her own from another session is none for this one.
    let (_, other) = opened(&alice).await;
    let earlier = other.form().fields.iter().find(|field| field.0 == "enrolment").unwrap().1.clone();
    let again =
        alices.submit(&page, &[("enrolment", &earlier), ("code", &shown_secret(&other).code(server.app.clock.now()))]).await;
    assert!(is_enrolment(&again) && shown_secret(&again).expose() != shown_secret(&other).expose(), "{}", again.body);
    for planted in [planted.as_str(), "", "AAAA", "%"] {
        let again = alices.submit(&page, &[("enrolment", planted), ("code", &code)]).await;
        assert!(is_enrolment(&again), "{}", again.body);
        assert_ne!(shown_secret(&again).expose(), shown_secret(&bobs).expose());
    }
    // A page that was left open: whoever proves anew that it is them is shown another secret.
    server.wait(Duration::from_secs(1801));
    let confirming = alices.get("/account/confirm?to=factors").await;
    alices.submit(&confirming, &[("password", &alice.password)]).await;
    let again = alices.submit(&page, &[("code", &shown_secret(&page).code(server.app.clock.now()))]).await;
    assert!(is_enrolment(&again) && shown_secret(&again).expose() != shown_secret(&page).expose(), "{} {}", again.url, again.body);
    let page = again;
    // Two pages, one app: the second finds one there.
    let second = alices.get("/second-factor/enrol").await;
    confirm(&server, &alices, &page).await;
    let code = shown_secret(&second).code(server.app.clock.now());
    let late = alices.settle(alices.submit(&second, &[("code", &code)]).await).await;
    assert_eq!(late.url.path(), "/account/factors", "{}", late.body);
}

/// the write of a changed password and the end of a slow sign-in with the old one may come in this order.
async fn a_sign_in_that_waits_rests_on_the_password_that_was_checked(server: Server) {
    let (server, alice, _) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let (browser, page) = at_the_step(&server, &alice).await;
    let id = page.url.query_pairs().find(|pair| pair.0 == "sign_in").unwrap().1.into_owned();
    let db = &server.app.db;
    let row = sign_ins::find(db, &Secret::new(id).digest()).await.unwrap().unwrap();
    for (password_digest, good) in [(Digest::of(b"the hash of before"), false), (row.password_digest, true)] {
        let id = unique("sign-in");
        let late = SignIn { password_digest, ..row.clone() };
        sign_ins::insert(db, &Secret::new(id.clone()).digest(), &late).await.unwrap();
        let page = browser.get(format!("/second-factor?sign_in={id}")).await;
        assert_eq!(is_step(&page), good, "{}", page.body);
        if good {
            send_code(&browser, &page, &phone.code(&server)).await;
        }
        assert_eq!(browser.cookies().contains_key(SESSION), good);
    }
}

/// what was typed for one sign-in is no answer for another in the same browser.
async fn a_page_of_another_session_is_answered_for_none(server: Server) {
    let (server, alice, _) = server.actors().await;
    let bob = server.person("bob").await;
    let (alices, bobs) = (enrol(&server, &alice).await, enrol(&server, &bob).await);
    let browser = Browser::new(server.site());
    let page = browser.get("/login").await;
    let hers = password(&alice, &browser, page).await;
    let page = browser.get("/login").await;
    let his = password(&bob, &browser, page).await;
    // The form of one step, sent for the other: nothing is checked, and nothing is counted or spent.
    let mut fields = his.form().fields;
    fields.retain(|field| field.0 != "csrf" && field.0 != "code");
    fields.extend(hers.form().fields.into_iter().filter(|field| field.0 == "csrf"));
    fields.push(("code".to_owned(), bobs.code(&server)));
    let again = browser.send(reqwest::Method::POST, "/second-factor", Some(fields), &[("origin", "https://id.test")]).await;
    assert!(is_step(&again) && again.text("[role=alert]").is_none() && !browser.cookies().contains_key(SESSION), "{}", again.body);
    let done = send_code(&browser, &his, &bobs.code(&server)).await;
    assert!(browser.cookies().contains_key(SESSION), "{}", done.body);
    // A page of the account from bob's session changes nothing in hers.
    let page = browser.get("/account/factors").await;
    let enrolment = browser.get("/login").await;
    let step = password(&alice, &browser, enrolment).await;
    send_code(&browser, &step, &alices.code(&server)).await;
    let stale = browser.submit(&page, &[("change", "remove_app")]).await;
    assert_eq!(stale.status, 200);
    let (_, still) = at_the_step(&server, &alice).await;
    assert!(is_step(&still), "hers is there");
    let (_, still) = at_the_step(&server, &bob).await;
    assert!(is_step(&still), "and so is his");
}

async fn a_code_confirms_in_place_of_the_password(server: Server) {
    let (server, alice, client) = server.actors().await;
    let phone = enrol(&server, &alice).await;
    let request = Request::of(&client);
    let page = password(&alice, &alice.browser, alice.open(&request).await).await;
    let before = tokens(&alice.browser, send_code(&alice.browser, &page, &phone.code(&server)).await, &request, &client).await;
    server.wait(Duration::from_secs(3600));
    let confirm = alice.browser.get("/account/confirm?to=profile").await;
    assert!(confirm.is_login() && confirm.text("input[name=code]").is_none());
    let page = alice.browser.get("/account/confirm?to=profile&with=code").await;
    assert!(!page.is_login() && page.text("input[name=code]").is_some(), "{}", page.body);
    let cookie = alice.browser.cookies()[SESSION].clone();
    // Neither a code of somebody else, nor a recovery code, nor nothing; each is counted.
    let bob = server.person("bob").await;
    let bobs = enrol(&server, &bob).await;
    for wrong in [bobs.code(&server), phone.recovery_codes[0].clone(), String::new()] {
        let refused = alice.browser.submit(&page, &[("code", &wrong)]).await;
        assert!(refused.status == 200 && refused.text("[role=alert]").is_some(), "{wrong} {}", refused.body);
        assert!(refused.headers.get("set-cookie").is_none() && refused.text("input[name=code]").is_some());
    }
    let code = phone.code(&server);
    let done = alice.browser.submit(&page, &[("code", &code)]).await;
    assert_eq!((done.status, done.location().unwrap().path()), (303, "/account/profile"), "{}", done.body);
    let renewed = alice.browser.cookies()[SESSION].clone();
    assert_ne!(renewed, cookie, "R-50");
    assert_eq!(alice.browser.get("/account/profile").await.status, 200);
    // It was spent, and clients are told nothing new.
    let refused = alice.browser.submit(&page, &[("code", &code)]).await;
    assert!(refused.text("[role=alert]").is_some() && alice.browser.cookies()[SESSION] == renewed);
    let back = alice.arrive(&Request::of(&client).with("prompt", "none")).await;
    let after = client.redeem(back.code(), &back.verifier).await.ok();
    let claims = |answer: &Answer| {
        let claims = jwt(&answer.str("id_token")).1;
        (claims["acr"].clone(), claims["amr"].clone(), claims["auth_time"].clone(), claims["sid"].clone())
    };
    assert_eq!(claims(&before), claims(&after));
    // One throttle: guesses here make everything wait.
    let mut last = 0;
    for guess in 0..10 {
        last = alice.browser.submit(&page, &[("code", &format!("{guess:06}"))]).await.status;
    }
    assert_eq!(last, 429);
    assert_eq!(alice.browser.submit(&confirm, &[("password", &alice.password)]).await.status, 429);
}

/// Idle for too long, or signed out from elsewhere: neither a code nor a button brings it back.
async fn a_session_that_is_over_proves_and_changes_nothing(server: Server) {
    let (server, alice, _) = server.actors().await;
    let old = signed_in(&server, &alice).await;
    let phone = enrol(&server, &alice).await;
    let (proved, step) = at_the_step(&server, &alice).await;
    send_code(&proved, &step, &phone.next_code(&server)).await;
    let step = old.get("/second-factor").await;
    let page = proved.get("/account/factors").await;
    server.wait(Duration::from_secs(12 * 3600 + 61));
    let code = phone.next_code(&server);
    assert_eq!(old.submit(&step, &[("code", &code)]).await.location().unwrap().path(), "/login");
    nothing_comes_of(&proved, &page).await;
    assert!(!old.cookies().contains_key(SESSION) || old.get("/account").await.location().is_some(), "it is not back");
    let (proved, step) = at_the_step(&server, &alice).await;
    // It was not spent either.
    send_code(&proved, &step, &code).await;
    let page = proved.get("/account/factors").await;
    assert_eq!(page.status, 200, "{}", page.body);
    users::sign_out(&server.operator(), &alice.username).await.unwrap();
    nothing_comes_of(&proved, &page).await;
    assert!(!server.audit().await.contains(&"factor.remove".to_owned()));
}

/// The buttons of a page of the account, and the pages beside it, in a session that is over.
async fn nothing_comes_of(browser: &Browser, page: &Page) {
    for late in [
        browser.submit(page, &[("change", "remove_app")]).await,
        browser.submit(page, &[("change", "recovery_codes")]).await,
        browser.get("/account/factors").await,
        browser.get("/account/confirm").await,
        browser.get("/second-factor").await,
        browser.get("/second-factor/enrol").await,
    ] {
        assert_eq!(late.location().map(|to| to.path().to_owned()).as_deref(), Some("/login"), "{} {}", late.url, late.body);
    }
}
