//! A device that is let in (RFC 8628): its code, what a person said to it, and what came of it. The ledger's page of a television.

use std::sync::Arc;
use std::time::Instant;

use crate::harness::{Client, Site};

use super::family::{Code, Family, Kind, heard};
use super::stage::Stage;
use super::visit::{Known, here};

/// RFC 8628 §3.4.
pub const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

pub struct Device {
    code: Code,
    user_code: String,
    allowed: Known,
}

impl Device {
    /// A code to show, of one of the stage's kinds of devices; nothing where the server did not answer.
    pub async fn begin(stage: &Stage, site: &Arc<Site>, client: &Client) -> Option<Self> {
        let (client, auditor) = (client.through(site.clone()), stage.admin.through(site.clone()));
        let answer = heard(client.try_call("/device/code", &[("scope", "openid")]).await)?.ok();
        let code = Code {
            kind: Kind::Recover,
            grant: GRANT,
            client,
            auditor,
            code: answer.str("device_code"),
            verifier: String::new(),
            issued: Instant::now(),
            may_spent: false,
        };
        Some(Self { code, user_code: answer.str("user_code"), allowed: Known::No })
    }

    /// A person who is signed in elsewhere lets it in. Answers whether that was acknowledged.
    pub async fn allow(&mut self, stage: &Stage, site: &Arc<Site>) -> bool {
        let browser = stage.alice.browser.through(site.clone());
        let Some(page) = here(browser.try_get(format!("/device?user_code={}", self.user_code)).await) else { return false };
        assert!(page.is_consent(), "{} {}", page.status, page.body);
        self.allowed = Known::Maybe;
        let Some(done) = here(browser.try_submit(&page, &[("decision", "allow")]).await) else { return false };
        assert!(done.status == 200 && done.try_form().is_none(), "{} {}", done.status, done.body);
        self.allowed = Known::Yes;
        true
    }

    /// Its code, once the person's yes was acknowledged.
    pub fn allowed(self) -> Result<Code, Box<Self>> {
        if self.allowed == Known::Yes { Ok(self.code) } else { Err(Box::new(self)) }
    }

    /// After the restart: a yes that was acknowledged is good for tokens, and one that was not is good for them or was never said.
    pub async fn settle(mut self, site: &Arc<Site>) -> Option<Family> {
        self.code.go_to(site);
        match self.allowed {
            Known::Yes => self.code.redeem_at_once(1).await.ok(),
            Known::Maybe => self.code.poll().await,
            Known::No => {
                assert!(self.code.poll().await.is_none(), "nobody has let it in");
                None
            }
        }
    }
}
