//! What a person does, step by step, each step acknowledged or not: an application is registered, somebody signs in, allows it, and
//! signs out again, or ends the session or the application's access on the account page. Beside the page of the family that comes from it,
//! this is the ledger's page of a browser.
//!
//! Endings are few where each needs an application of its own: somebody signs in to one that asks nothing, again and again, and somebody
//! who stays signed in allows an application and takes it back.

use std::sync::Arc;
use std::time::Instant;

use reqwest::Method;
use serde_json::{Value, json};

use crate::harness::{Answer, Browser, Client, Page, Person, Request, Site, jwt};

use super::aim::{Aim, Target};
use super::family::{Code, Family, Kind, Standing, heard};

/// What is known of something that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    No,
    Maybe,
    Yes,
}

/// How a visit ends.
pub enum Leave<'a> {
    /// It goes on.
    Stay,
    SignOut,
    /// On the account page of another browser in which the person is signed in.
    EndedFrom(&'a Browser),
    /// The application's access is taken back.
    TakenBack,
}

pub struct Visit {
    /// As the person's browser, and as a thief who kept the cookies: signing out must be worth something to the server.
    cookies: Vec<(String, String)>,
    client: Client,
    auditor: Client,
    person: (String, String),
    signed_in: Known,
    allowed: Known,
    signed_out: Known,
    taken_back: Known,
    code: Option<Code>,
    id_token: Option<String>,
    pub family: Option<Family>,
}

/// A page that came whole, or nothing.
pub fn here(page: Result<Page, reqwest::Error>) -> Option<Page> {
    page.ok().filter(|page| page.status != 503)
}

/// Registers an application over the admin API. Answers nothing where the server did not.
pub async fn register(site: &Arc<Site>, token: &str) -> Option<Client> {
    let document = json!({ "client_name": "Shop", "redirect_uris": ["https://app.test/callback"],
                           "grant_types": ["authorization_code", "refresh_token"] });
    let request = site.request(Method::POST, &site.url("/admin/api/v1/clients")).bearer_auth(token).json(&document);
    let answer = Answer::try_of(request.send().await.ok()?).await;
    let answer = heard(answer)?;
    assert_eq!(answer.status, 201, "{}", answer.text);
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_owned();
    let redirect_uri = "https://app.test/callback".to_owned();
    Some(Client {
        site: site.clone(),
        client_id: text("client_id"),
        secret: Some(text("client_secret")),
        redirect_uri,
        posts: false,
    })
}

/// Whether the application is registered.
pub async fn is_registered(site: &Arc<Site>, token: &str, client: &Client) -> bool {
    let path = format!("/admin/api/v1/clients/{}", client.client_id);
    let answer = site.request(Method::GET, &site.url(&path)).bearer_auth(token).send().await.unwrap();
    let known = answer.status() == 200;
    known && answer.json::<Value>().await.unwrap()["client_id"] == client.client_id
}

impl Visit {
    /// Of somebody who is not signed in, to an application that was never allowed.
    pub fn new(client: Client, auditor: &Client, person: &Person) -> Self {
        Self {
            cookies: Vec::new(),
            auditor: auditor.through(client.site.clone()),
            client,
            person: (person.username.clone(), person.password.clone()),
            signed_in: Known::No,
            allowed: Known::No,
            signed_out: Known::No,
            taken_back: Known::No,
            code: None,
            id_token: None,
            family: None,
        }
    }

    /// To one that was allowed before, or needs nobody's consent.
    pub fn again(client: Client, auditor: &Client, person: &Person) -> Self {
        Self { allowed: Known::Maybe, ..Self::new(client, auditor, person) }
    }

    /// The same, of somebody who is signed in.
    pub fn of_signed_in(client: Client, auditor: &Client, person: &Person) -> Self {
        let cookies = person.browser.cookies().into_iter().collect();
        Self { signed_in: Known::Yes, cookies, ..Self::again(client, auditor, person) }
    }

    /// Signs in, allows the application, redeems the code, and leaves; as far as the server answers.
    pub async fn go(&mut self, leave: Leave<'_>, aim: &Aim) -> bool {
        let browser = Browser::new(self.client.site.clone());
        for (name, value) in &self.cookies {
            browser.set_cookie(name, value);
        }
        let done = self.step_by_step(&browser, leave, aim).await;
        if self.cookies.is_empty() {
            self.cookies = browser.cookies().into_iter().collect();
        }
        done.is_some()
    }

    async fn step_by_step(&mut self, browser: &Browser, leave: Leave<'_>, aim: &Aim) -> Option<()> {
        let request = Request::of(&self.client);
        let mut page = here(browser.try_get(request.url(browser.site())).await)?;
        let to = loop {
            if let Some(to) = page.location() {
                if to.host_str() == Some("app.test") {
                    break to;
                }
                page = here(browser.try_get(to.as_str()).await)?;
            } else if page.is_login() {
                self.signed_in = Known::Maybe;
                let (username, password) = self.person.clone();
                page = here(browser.try_submit(&page, &[("username", &username), ("password", &password)]).await)?;
                assert!(page.location().is_some(), "the password was refused: {}", page.body);
                self.signed_in = Known::Yes;
                self.cookies = browser.cookies().into_iter().collect();
            } else if page.is_consent() {
                self.allowed = Known::Maybe;
                page = here(browser.try_submit(&page, &[("decision", "allow")]).await)?;
            } else {
                panic!("stopped at {} ({}):\n{}", page.url, page.status, page.body);
            }
        };
        self.allowed = Known::Yes;
        let (_, code) = to.query_pairs().find(|(name, _)| name == "code").unwrap_or_else(|| panic!("no code: {to}"));
        let code = Code {
            kind: Kind::Recover,
            grant: "authorization_code",
            client: self.client.clone(),
            auditor: self.auditor.clone(),
            code: code.into_owned(),
            verifier: request.verifier,
            issued: Instant::now(),
            may_spent: false,
        };
        match code.redeem_for_tokens().await {
            Ok((family, tokens)) => {
                self.id_token = Some(tokens.str("id_token"));
                self.family = Some(family);
            }
            Err(code) => {
                self.code = code;
                return None;
            }
        }
        let id_token = self.id_token.clone().unwrap();
        match leave {
            Leave::Stay => return Some(()),
            Leave::SignOut => {
                self.signed_out = Known::Maybe;
                self.stands(Standing::MayEnded);
                let mut page = here(browser.try_get(format!("/logout?id_token_hint={id_token}")).await)?;
                if page.is_consent() {
                    page = here(browser.try_submit(&page, &[("decision", "allow")]).await)?;
                }
                assert_eq!(page.status, 200, "{}", page.body);
                aim.seen(Target::SignedOut);
                self.signed_out = Known::Yes;
            }
            Leave::EndedFrom(other) => {
                let sid = jwt(&id_token).1["sid"].as_str().unwrap().to_owned();
                let page = here(other.try_get("/account").await)?;
                self.signed_out = Known::Maybe;
                self.stands(Standing::MayEnded);
                let page = here(other.try_submit(&page, &[("end_session", &sid)]).await)?;
                assert_eq!(page.status, 303, "{}", page.body);
                aim.seen(Target::Ended);
                self.signed_out = Known::Yes;
            }
            Leave::TakenBack => {
                let page = here(browser.try_get("/account").await)?;
                self.taken_back = Known::Maybe;
                self.stands(Standing::MayEnded);
                let client_id = self.client.client_id.clone();
                let page = here(browser.try_submit(&page, &[("withdraw", &client_id)]).await)?;
                assert_eq!(page.status, 303, "{}", page.body);
                aim.seen(Target::TakenBack);
                self.taken_back = Known::Yes;
            }
        }
        self.stands(Standing::Ended);
        Some(())
    }

    fn stands(&mut self, standing: Standing) {
        if let Some(family) = &mut self.family {
            family.standing = standing;
        }
    }

    /// After the restart: what was acknowledged stands, and what was not is one thing or the other.
    pub async fn settle(&mut self, site: &Arc<Site>) {
        self.client.site = site.clone();
        self.auditor.site = site.clone();
        let browser = Browser::new(site.clone());
        for (name, value) in &self.cookies {
            browser.set_cookie(name, value);
        }
        let page = browser.get(Request::of(&self.client).with("prompt", "none").url(site)).await;
        let to = page.location().unwrap_or_else(|| panic!("{} {}", page.status, page.body));
        let said = to.query_pairs().find(|(name, _)| name == "error").map(|(_, error)| error.into_owned());
        let (in_now, allowed_now) = match said.as_deref() {
            None => (true, Some(true)),
            Some("consent_required") => (true, Some(false)),
            Some("login_required") => (false, None),
            Some(other) => panic!("{other}"),
        };
        match (self.signed_in, self.signed_out) {
            (Known::Yes, Known::No) => assert!(in_now, "a session that was acknowledged is gone"),
            (_, Known::Yes) => assert!(!in_now, "a session lives although its end was acknowledged"),
            (Known::No, Known::No) => assert!(!in_now, "a session that nobody began"),
            // The cookie may have come with an answer that said no more than that something went wrong.
            (Known::Maybe, Known::No) | (_, Known::Maybe) => {}
        }
        if let Some(allowed_now) = allowed_now {
            match (self.allowed, self.taken_back) {
                (Known::Yes, Known::No) => assert!(allowed_now, "a consent that was acknowledged is gone"),
                (_, Known::Yes) => assert!(!allowed_now, "a consent is there although its end was acknowledged"),
                (Known::No, Known::No) => assert!(!allowed_now, "a consent that nobody gave"),
                (Known::Maybe, Known::No) | (_, Known::Maybe) => {}
            }
        }
        if let Some(mut code) = self.code.take() {
            code.go_to(site);
            if let Ok(family) = code.redeem_at_once(1).await {
                self.family = Some(family);
            }
        }
        if let Some(family) = &mut self.family {
            family.go_to(site);
            family.settle().await;
            // What was issued in the session lives and ends with it, and with the consent.
            let lives = in_now && allowed_now == Some(true);
            assert_eq!(family.standing == Standing::Live, lives, "the session, the consent and what hangs on them are of one mind");
        }
    }
}
