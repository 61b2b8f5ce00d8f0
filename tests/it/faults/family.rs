//! What the applications hold of one sign-in, and what the server owes them for it: the ledger's page for one refresh-token family.
//!
//! An answer is an acknowledgement: what it says stands from then on. A request without an answer may have been done or not; the page
//! keeps the doubt until the server says which. Any third thing fails the test.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::join_all;

use crate::harness::{Answer, Client, Site};

use super::chance::Chance;

/// How the family's client rotates (design 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A confidential client: retries receive the head.
    Recover,
    /// The same without a secret.
    Public,
    /// Anything redeemed before is theft.
    Strict,
}

/// What is known of a family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Everything acknowledged; it lives.
    Live,
    /// A rotation went unanswered: a strict client's token may be spent.
    MaySpent,
    /// A request that ends it went unanswered.
    MayEnded,
    /// Its end was acknowledged.
    Ended,
}

/// An access token that was handed out.
#[derive(Debug, Clone)]
struct Access {
    token: String,
    revoked: Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Revoked {
    No,
    Maybe,
    Yes,
}

/// How many access tokens of a family are looked at: the newest.
const ACCESS: usize = 3;

/// One family.
pub struct Family {
    pub kind: Kind,
    client: Client,
    /// May introspect everything: public clients may introspect nothing.
    auditor: Client,
    /// Every refresh token that was ever handed out, in order; none where the client gets none.
    refresh: Vec<String>,
    access: Vec<Access>,
    /// What it came from.
    pub code: Option<Code>,
    pub standing: Standing,
    /// An answer to a refresh is missing.
    unanswered: bool,
}

/// An answer that came whole, or nothing. The database may be away in some rounds: then 503 is no answer either.
pub fn heard(answer: Result<Answer, reqwest::Error>) -> Option<Answer> {
    answer.ok().filter(|answer| answer.status != 503)
}

/// RFC 6749 §5: tokens or a refusal, nothing else.
#[track_caller]
pub fn is_granted(answer: &Answer) -> bool {
    match answer.status {
        200 => true,
        400 => {
            assert_eq!(answer.json()["error"], "invalid_grant", "{}", answer.text);
            false
        }
        status => panic!("neither granted nor refused: {status} {}", answer.text),
    }
}

impl Family {
    /// From the answer to a redeemed code.
    fn begin(code: Code, tokens: &Answer, standing: Standing) -> Self {
        let mut family = Self {
            kind: code.kind,
            client: code.client.clone(),
            auditor: code.auditor.clone(),
            refresh: Vec::new(),
            access: Vec::new(),
            code: Some(code),
            standing,
            unanswered: false,
        };
        family.note(tokens);
        family
    }

    /// Talks to a server that was started anew.
    pub fn go_to(&mut self, site: &Arc<Site>) {
        self.client.site = site.clone();
        self.auditor.site = site.clone();
        if let Some(code) = &mut self.code {
            code.go_to(site);
        }
    }

    /// Whether an answer is missing.
    pub fn is_doubtful(&self) -> bool {
        self.unanswered || matches!(self.standing, Standing::MaySpent | Standing::MayEnded)
    }

    /// Has no refresh token: its access token is all.
    pub fn is_short(&self) -> bool {
        self.refresh.is_empty()
    }

    fn note(&mut self, tokens: &Answer) {
        if let Some(refresh) = tokens.json()["refresh_token"].as_str()
            && self.refresh.last().is_none_or(|last| last != refresh)
        {
            self.refresh.push(refresh.to_owned());
        }
        self.access.push(Access { token: tokens.str("access_token"), revoked: Revoked::No });
        if self.access.len() > ACCESS {
            self.access.remove(0);
        }
    }

    fn head(&self) -> String {
        self.refresh.last().unwrap().clone()
    }

    async fn present(&self, token: &str) -> Option<Answer> {
        let fields = [("grant_type", "refresh_token"), ("refresh_token", token)];
        heard(self.client.try_call("/token", &fields).await)
    }

    /// Something that an application does with it. Answers whether all was answered.
    pub async fn act(&mut self, chance: &mut Chance) -> bool {
        match chance.below(20) {
            0 => self.revoke().await,
            1 | 2 => self.revoke_access().await,
            3 | 4 => self.introspect().await,
            // Several tabs that hold the same token; a strict client that does so loses its family.
            5..=9 if self.kind != Kind::Strict || chance.once_in(6) => self.rotate(2 + chance.below(3)).await,
            _ => self.rotate(1).await,
        }
    }

    /// Presents the head from so many places at once.
    async fn rotate(&mut self, places: usize) -> bool {
        let head = self.head();
        let answers = join_all((0..places).map(|_| self.present(&head))).await;
        let (all, unanswered) = (answers.len(), answers.iter().filter(|answer| answer.is_none()).count());
        let answers: Vec<Answer> = answers.into_iter().flatten().collect();
        let (granted, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(is_granted);
        let heads: std::collections::BTreeSet<String> = granted.iter().map(|answer| answer.str("refresh_token")).collect();
        assert!(heads.len() <= 1, "two heads of one {:?} family: {heads:?}", self.kind);
        for answer in &granted {
            self.note(answer);
        }
        // Who was granted the head knows it.
        self.unanswered = unanswered > 0 || (self.unanswered && granted.is_empty());
        match (self.kind, self.standing) {
            (_, Standing::Ended) => assert!(granted.is_empty(), "a family that had ended was refreshed"),
            // A strict client's tabs end it if nothing else did.
            (_, Standing::MayEnded) => self.learn(!granted.is_empty() && self.kind != Kind::Strict, !refused.is_empty()),
            (Kind::Recover | Kind::Public, Standing::Live | Standing::MaySpent) => {
                assert!(refused.is_empty(), "a live token was refused: {}", refused[0].text);
            }
            (Kind::Strict, Standing::Live | Standing::MaySpent) => {
                assert!(granted.len() <= 1, "a strict client's token was redeemed twice");
                let lives = self.standing == Standing::Live && unanswered == 0;
                assert!(!lives || granted.len() == 1, "a live token was refused to all {all}: {}", refused[0].text);
                // Of several, the first redeems it and the others are thieves.
                self.standing = match (refused.len(), unanswered, granted.len()) {
                    (0, 0, _) => Standing::Live,
                    (0, _, 1) => Standing::MayEnded,
                    (0, ..) if all == 1 => Standing::MaySpent,
                    (0, ..) => Standing::MayEnded,
                    (..) => Standing::Ended,
                };
            }
        }
        unanswered == 0
    }

    /// A doubt is over.
    fn learn(&mut self, lives: bool, ended: bool) {
        assert!(!(lives && ended), "one family both lives and has ended");
        if ended {
            self.standing = Standing::Ended;
        } else if lives {
            // It lives, and which of its tokens is the head is another question.
            self.standing = if self.unanswered { Standing::MaySpent } else { Standing::Live };
        }
    }

    /// RFC 7009 with the refresh token: everything ends.
    async fn revoke(&mut self) -> bool {
        let answered = heard(self.client.try_call("/revoke", &[("token", &self.head())]).await);
        self.standing = match (&answered, self.standing) {
            (Some(answer), _) => {
                assert_eq!(answer.status, 200, "{}", answer.text);
                Standing::Ended
            }
            (None, Standing::Ended) => Standing::Ended,
            (None, _) => Standing::MayEnded,
        };
        answered.is_some()
    }

    async fn revoke_access(&mut self) -> bool {
        let Some(access) = self.access.last_mut() else { return true };
        let answered = heard(self.client.try_call("/revoke", &[("token", &access.token)]).await);
        match &answered {
            Some(answer) => {
                assert_eq!(answer.status, 200, "{}", answer.text);
                access.revoked = Revoked::Yes;
            }
            None if access.revoked == Revoked::No => access.revoked = Revoked::Maybe,
            None => {}
        }
        answered.is_some()
    }

    /// Every access token is what was acknowledged of it. Answers whether all was answered.
    pub async fn introspect(&mut self) -> bool {
        for index in 0..self.access.len() {
            let Access { token, revoked } = self.access[index].clone();
            let Some(answer) = heard(self.auditor.try_call("/introspect", &[("token", &token)]).await) else { return false };
            let active = answer.ok().json()["active"].as_bool().unwrap();
            match (self.standing, revoked) {
                (Standing::Ended, _) | (_, Revoked::Yes) => {
                    assert!(!active, "active although its end was acknowledged: {:?} {revoked:?}", self.standing);
                }
                (Standing::Live | Standing::MaySpent, Revoked::No) => assert!(active, "a token that nobody revoked is not active"),
                (Standing::Live | Standing::MaySpent, Revoked::Maybe) if active => self.access[index].revoked = Revoked::No,
                (Standing::Live | Standing::MaySpent, Revoked::Maybe) => self.access[index].revoked = Revoked::Yes,
                // Only a family that lives can have an active token; one that does not live may have been of a revoked token.
                (Standing::MayEnded, _) => self.learn(active, !active && revoked == Revoked::No),
            }
        }
        true
    }

    /// After a restart: every promise is kept. No request goes unanswered any more.
    pub async fn settle(&mut self) {
        assert!(self.introspect().await);
        let doubted = matches!(self.standing, Standing::MaySpent | Standing::MayEnded);
        if self.is_short() {
            assert!(!doubted, "the access token is active or is not");
            return;
        }
        let answer = self.present(&self.head()).await.expect("the server is there again");
        self.unanswered = false;
        match (self.standing, is_granted(&answer)) {
            (Standing::Ended, granted) => assert!(!granted, "a family that had ended was refreshed"),
            (_, true) => {
                self.standing = Standing::Live;
                self.note(&answer);
            }
            (Standing::Live, false) => panic!("an acknowledged {:?} token was refused: {}", self.kind, answer.text),
            (Standing::MaySpent, false) if self.kind != Kind::Strict => panic!("a retry was refused: {}", answer.text),
            (Standing::MaySpent | Standing::MayEnded, false) => self.standing = Standing::Ended,
        }
        assert!(self.introspect().await, "after the doubt ({doubted}) was over");
        let says = self.auditor.is_active(&self.head()).await;
        assert_eq!(says, self.standing == Standing::Live, "introspection of the head and its redemption say the same");
    }

    /// As [`Self::settle`], where a compromised key may have ended the access tokens.
    pub async fn settle_but_for_access(&mut self) {
        self.access.clear();
        self.settle().await;
        self.access.clear();
    }

    /// Presents every token that was ever handed out: there is one head, and once a token counts as stolen nothing lives.
    pub async fn present_all(&mut self) {
        let mut tokens = self.refresh.clone();
        tokens.reverse();
        // And what the first of them moved on to, with the one that it came from.
        for _ in 0..2 {
            for token in &tokens {
                self.present_one(token).await;
            }
            tokens = self.refresh.iter().rev().take(2).cloned().collect();
        }
        assert!(self.introspect().await);
    }

    async fn present_one(&mut self, token: &str) {
        let (head, lived) = (self.head(), self.standing == Standing::Live);
        let answer = self.present(token).await.expect("the server is there");
        if !is_granted(&answer) {
            assert!(!lived || token != head, "the head was refused: {}", answer.text);
            // A theft. (Public clients have an hour to recover and lose nothing after it; no test waits so long.)
            self.standing = Standing::Ended;
            return;
        }
        assert!(lived, "a token of a family that had ended was redeemed");
        self.note(&answer);
        if token == head || self.head() == head {
            // The head moved on, or a retry received it.
            assert!(token == head || self.kind != Kind::Strict, "a strict client's token was redeemed twice");
            return;
        }
        assert_eq!(self.kind, Kind::Public, "two live heads");
        // A public client's late recovery: the head that it replaces is dead.
        let replaced = self.present(&head).await.expect("the server is there");
        assert!(!is_granted(&replaced), "two live heads");
        self.standing = Standing::Ended;
    }

    /// Its code again: refused, and since it was used meanwhile, everything ends (RFC 6749 §4.1.2). What cannot be refreshed was not used:
    /// for a moment that may be a poll that crossed another.
    pub async fn replay(&mut self, code: &Code) {
        let answer = code.redeem().await.expect("the server is there");
        assert!(!is_granted(&answer), "a code was spent twice");
        self.standing = match (self.is_short(), self.standing) {
            (true, Standing::Live | Standing::MaySpent | Standing::MayEnded) => Standing::MayEnded,
            (true, Standing::Ended) | (false, _) => Standing::Ended,
        };
    }
}

/// An authorization code, or a device code that somebody has let in.
#[derive(Clone)]
pub struct Code {
    pub kind: Kind,
    /// Its `grant_type`.
    pub grant: &'static str,
    pub client: Client,
    pub auditor: Client,
    pub code: String,
    pub verifier: String,
    pub issued: Instant,
    /// Whether a redemption went unanswered.
    pub may_spent: bool,
}

impl Code {
    /// Talks to a server that was started anew.
    pub fn go_to(&mut self, site: &Arc<Site>) {
        self.client.site = site.clone();
        self.auditor.site = site.clone();
    }

    /// RFC 6749 §4.1.3, RFC 8628 §3.4.
    pub async fn redeem(&self) -> Option<Answer> {
        let fields: &[(&str, &str)] = match self.grant {
            "authorization_code" => &[
                ("grant_type", self.grant),
                ("code", &self.code),
                ("redirect_uri", &self.client.redirect_uri),
                ("code_verifier", &self.verifier),
            ],
            _ => &[("grant_type", self.grant), ("device_code", &self.code)],
        };
        heard(self.client.try_call("/token", fields).await)
    }

    /// Redeems a device code of which it is not known whether anybody has let it in; nothing if nobody has.
    pub async fn poll(self) -> Option<Family> {
        let answer = self.redeem().await.expect("the server is there");
        if answer.status == 400 && answer.json()["error"] == "authorization_pending" {
            return None;
        }
        assert!(is_granted(&answer), "a code that nobody has spent was refused: {}", answer.text);
        Some(Family::begin(self, &answer, Standing::Live))
    }

    /// Redeems it once, for somebody who needs the other tokens too.
    pub async fn redeem_for_tokens(self) -> Result<(Family, Answer), Option<Self>> {
        self.redeem_and_judge(1).await
    }

    /// Redeems it from so many places at once. The family, if anybody was granted one; else the code, if it may still be good.
    pub async fn redeem_at_once(self, places: usize) -> Result<Family, Option<Self>> {
        self.redeem_and_judge(places).await.map(|(family, _)| family)
    }

    async fn redeem_and_judge(mut self, places: usize) -> Result<(Family, Answer), Option<Self>> {
        let answers = join_all((0..places).map(|_| self.redeem())).await;
        let unanswered = answers.iter().any(Option::is_none);
        let (granted, refused): (Vec<_>, Vec<_>) = answers.into_iter().flatten().partition(is_granted);
        assert!(granted.len() <= 1, "a code was spent twice");
        let Some(tokens) = granted.first() else {
            assert!(unanswered || self.may_spent, "a good code was refused: {}", refused[0].text);
            self.may_spent = true;
            return Err(refused.is_empty().then_some(self));
        };
        // Only the honest retry of a client that may retry leaves the family alive.
        let standing = match (places, self.kind) {
            (1, _) => Standing::Live,
            (_, Kind::Strict) if !refused.is_empty() => Standing::Ended,
            (_, Kind::Strict) => Standing::MayEnded,
            (_, Kind::Recover | Kind::Public) => Standing::Live,
        };
        Ok((Family::begin(self, tokens, standing), tokens.clone()))
    }
}
