//! A browser without JavaScript: it keeps cookies, shows pages, fills in forms as they stand, and never follows a redirect by itself.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use reqwest::Method;
use reqwest::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, LOCATION, SET_COOKIE};
use scraper::{ElementRef, Html, Selector};
use url::Url;

use super::site::Site;

/// What the server answered to a browser.
#[derive(Debug, Clone)]
pub struct Page {
    /// The address as the browser shows it: below the issuer's origin.
    pub url: Url,
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

/// A form on a page, with the values that it carries before anybody types.
#[derive(Debug, Clone)]
pub struct Form {
    pub action: Url,
    pub fields: Vec<(String, String)>,
    /// Names of submit buttons with their values.
    pub buttons: Vec<(String, String)>,
}

impl Page {
    /// A header's text; empty when it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where the browser is sent, if it is sent anywhere.
    pub fn location(&self) -> Option<Url> {
        self.headers.get(LOCATION).map(|value| self.url.join(value.to_str().unwrap()).unwrap())
    }

    /// The primary form.
    pub fn form(&self) -> Form {
        self.try_form().unwrap_or_else(|| panic!("no form at {} ({}):\n{}", self.url, self.status, self.body))
    }

    /// The primary form, if there is one.
    pub fn try_form(&self) -> Option<Form> {
        let html = Html::parse_document(&self.body);
        let form = html.select(&selector("main form")).next()?;
        let attribute = |element: ElementRef<'_>, name: &str| element.value().attr(name).map(str::to_owned);
        let mut fields = Vec::new();
        let mut buttons = Vec::new();
        for element in form.select(&selector("input, button, select")) {
            let kind = attribute(element, "type")
                .unwrap_or_else(|| if element.value().name() == "button" { "submit" } else { "text" }.into());
            let Some(name) = attribute(element, "name") else { continue };
            let value = attribute(element, "value").unwrap_or_default();
            match kind.as_str() {
                "submit" => buttons.push((name, value)),
                "button" | "reset" => {}
                "checkbox" | "radio" if attribute(element, "checked").is_none() => {}
                _ => fields.push((name, value)),
            }
        }
        let action = attribute(form, "action").filter(|action| !action.is_empty());
        Some(Form { action: action.map_or_else(|| self.url.clone(), |action| self.url.join(&action).unwrap()), fields, buttons })
    }

    /// The text of the first element that the CSS selector finds.
    pub fn text(&self, css: &str) -> Option<String> {
        Html::parse_document(&self.body)
            .select(&selector(css))
            .next()
            .map(|element| element.text().collect::<String>().trim().to_owned())
    }

    /// The trace id that an error page shows.
    pub fn trace_id(&self) -> String {
        self.text("#trace-id").unwrap_or_else(|| panic!("no trace id at {} ({}):\n{}", self.url, self.status, self.body))
    }

    pub fn is_login(&self) -> bool {
        self.text("input[name=password]").is_some()
    }

    pub fn is_consent(&self) -> bool {
        self.text("[name=decision]").is_some()
    }

    /// Whether the page asks the browser to send its form to another site by itself (response_mode=form_post).
    pub fn is_form_post(&self, destination: &str) -> bool {
        self.try_form().is_some_and(|form| form.action.as_str().starts_with(destination))
    }
}

fn selector(css: &str) -> Selector {
    Selector::parse(css).unwrap()
}

/// Cookies and the address line of one browser.
pub struct Browser {
    site: Arc<Site>,
    jar: Mutex<BTreeMap<String, String>>,
    /// Sent with every request beside what browsers send by themselves.
    pub headers: Vec<(&'static str, String)>,
}

impl Browser {
    pub fn new(site: Arc<Site>) -> Self {
        Self { site, jar: Mutex::default(), headers: vec![("accept", "text/html,application/xhtml+xml,*/*;q=0.8".to_owned())] }
    }

    /// The same browser, whose requests a load balancer sends to another replica.
    pub fn through(&self, site: Arc<Site>) -> Self {
        Self { site, jar: Mutex::new(self.cookies()), headers: self.headers.clone() }
    }

    pub fn site(&self) -> &Arc<Site> {
        &self.site
    }

    pub fn cookies(&self) -> BTreeMap<String, String> {
        self.jar.lock().unwrap().clone()
    }

    pub fn set_cookie(&self, name: &str, value: &str) {
        self.jar.lock().unwrap().insert(name.to_owned(), value.to_owned());
    }

    pub fn forget_cookies(&self) {
        self.jar.lock().unwrap().clear();
    }

    pub async fn get(&self, url: impl AsRef<str>) -> Page {
        self.try_get(url).await.unwrap()
    }

    /// As [`Self::get`], where the server may be gone before it answers.
    pub async fn try_get(&self, url: impl AsRef<str>) -> Result<Page, reqwest::Error> {
        self.try_send(Method::GET, url.as_ref(), None, &[]).await
    }

    /// Follows a redirect that stays on the server.
    pub async fn follow(&self, page: &Page) -> Page {
        let to = page.location().unwrap_or_else(|| panic!("no redirect at {} ({}):\n{}", page.url, page.status, page.body));
        self.get(to.as_str()).await
    }

    /// Follows redirects that stay on the server, to the next page or to where the browser leaves.
    pub async fn settle(&self, mut page: Page) -> Page {
        for _ in 0..6 {
            match page.location() {
                Some(to) if to.origin() == page.url.origin() => page = self.follow(&page).await,
                Some(_) | None => return page,
            }
        }
        panic!("it goes round in circles at {}", page.url);
    }

    /// Submits a page's primary form with some fields typed in or a button pressed.
    pub async fn submit(&self, page: &Page, typed: &[(&str, &str)]) -> Page {
        self.try_submit(page, typed).await.unwrap()
    }

    /// As [`Self::submit`], where the server may be gone before it answers.
    pub async fn try_submit(&self, page: &Page, typed: &[(&str, &str)]) -> Result<Page, reqwest::Error> {
        let mut form = page.form();
        for (name, value) in typed {
            match form.fields.iter_mut().find(|field| field.0 == *name) {
                Some(field) => field.1 = (*value).to_owned(),
                None => form.fields.push(((*name).to_owned(), (*value).to_owned())),
            }
        }
        let origin = page.url.origin().ascii_serialization();
        let headers = [("origin", origin.as_str()), ("sec-fetch-site", "same-origin")];
        self.try_send(Method::POST, form.action.as_str(), Some(form.fields), &headers).await
    }

    /// Any request, with the cookies of this browser.
    pub async fn send(&self, method: Method, url: &str, form: Option<Vec<(String, String)>>, headers: &[(&str, &str)]) -> Page {
        self.try_send(method, url, form, headers).await.unwrap()
    }

    /// As [`Self::send`], where the server may be gone before it answers. A cookie counts once the answer is whole.
    pub async fn try_send(
        &self,
        method: Method,
        url: &str,
        form: Option<Vec<(String, String)>>,
        headers: &[(&str, &str)],
    ) -> Result<Page, reqwest::Error> {
        let url = self.site.url(url);
        let mut request = self.site.request(method, &url);
        let cookie = self.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ");
        if !cookie.is_empty() {
            request = request.header(COOKIE, cookie);
        }
        for (name, value) in self.headers.iter().map(|(name, value)| (*name, value.as_str())).chain(headers.iter().copied()) {
            request = request.header(HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value).unwrap());
        }
        if let Some(form) = form {
            request = request.form(&form);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await?;
        self.site.note(status, url.path());
        for line in headers.get_all(SET_COOKIE) {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            let gone = line.to_lowercase().contains("max-age=0");
            let mut jar = self.jar.lock().unwrap();
            if gone {
                jar.remove(name);
            } else {
                jar.insert(name.to_owned(), value.to_owned());
            }
        }
        Ok(Page { url, status, headers, body })
    }
}
