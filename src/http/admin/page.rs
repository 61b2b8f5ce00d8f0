//! Pages of lists (security.md R-73): a size with an upper bound, and cursors that nobody can make up.
//!
//! A cursor is where the next page begins, sealed under the cursor key and bound to the operation and its filters: brought to another
//! list, or to the same list with another filter, it does not open. It is no credential; whoever brings it needs the right all the same.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use uuid::Uuid;

use super::{Call, Reply};
use crate::http::error::OAuthError;
use crate::oauth::refusal::Reason;
use crate::seal::{DataKeys, Purpose};

/// Items of a page where the caller does not say.
const USUAL: u32 = 50;
/// Items of a page at most.
const MOST: u32 = 200;

/// The page that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Items at most.
    pub limit: u32,
    /// The key of the last item of the page before.
    pub after: Option<String>,
}

impl Page {
    /// Reads `limit` and `cursor`.
    ///
    /// # Errors
    /// `MalformedParameter`: not a number within the bounds, or a cursor that was not made for this list and these filters.
    pub fn of(call: &Call) -> Result<Self, Reason> {
        let limit = limit(call.query("limit"))?;
        let after = call.query("cursor").map(|cursor| open(&call.app.keys.data(), &context(call), cursor)).transpose()?;
        Ok(Self { limit, after })
    }

    /// The last item of the page before, where items are known by UUIDs.
    pub fn after_id(&self) -> Option<Uuid> {
        self.after.as_deref().and_then(|id| Uuid::parse_str(id).ok())
    }

    /// How many to read: one more than are shown tells whether there is another page.
    pub fn reads(&self) -> u32 {
        self.limit.saturating_add(1)
    }

    /// The page of a list that was read as a whole, in its order.
    ///
    /// # Errors
    /// As [`Page::reply`].
    pub fn reply_of_all(&self, call: &Call, all: Vec<(String, Value)>) -> Result<Reply, OAuthError> {
        let begin = match &self.after {
            // What the cursor names may be gone: then the list is over.
            Some(after) => all.iter().position(|(key, _)| key == after).map_or(all.len(), |at| at + 1),
            None => 0,
        };
        let reads = usize::try_from(self.reads()).unwrap_or(usize::MAX);
        self.reply(call, all.into_iter().skip(begin).take(reads).collect())
    }

    /// A page that says itself where the next one begins.
    pub fn reply_before(&self, call: &Call, items: Vec<Value>, next: Option<&str>) -> Reply {
        Reply::page(items, next.map(|key| seal(call, key)))
    }

    /// The page as an answer. `items` are at most [`Page::reads`] many, each with its key.
    ///
    /// # Errors
    /// Never for keys that were read from the store.
    pub fn reply(&self, call: &Call, items: Vec<(String, Value)>) -> Result<Reply, OAuthError> {
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let more = items.len() > limit;
        let shown: Vec<(String, Value)> = items.into_iter().take(limit).collect();
        let next = shown.last().filter(|_| more).map(|(key, _)| seal(call, key));
        Ok(Reply::page(shown.into_iter().map(|(_, value)| value).collect(), next))
    }
}

fn seal(call: &Call, key: &str) -> String {
    let sealed = call.app.keys.data().seal(Purpose::Cursor, call.app.entropy.as_ref(), &context(call), key.as_bytes());
    URL_SAFE_NO_PAD.encode(sealed)
}

/// How many items were asked for.
pub(crate) fn limit(text: Option<&str>) -> Result<u32, Reason> {
    let Some(text) = text else { return Ok(USUAL) };
    let limit = text.parse().ok().filter(|limit| (1..=MOST).contains(limit) && !text.starts_with('+'));
    limit.ok_or_else(|| malformed("limit", text, &format!("it is a number from 1 to {MOST}")))
}

/// What a cursor says, if it was made for this context.
pub(crate) fn open(keys: &DataKeys, context: &[u8], cursor: &str) -> Result<String, Reason> {
    let foreign = || malformed("cursor", cursor, "it is not a next_cursor of this list with these filters");
    let sealed = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| foreign())?;
    let plain = keys.open(Purpose::Cursor, context, &sealed).map_err(|_| foreign())?;
    String::from_utf8(plain.expose().clone()).map_err(|_| foreign())
}

/// What a cursor belongs to: the list and everything that chooses its items.
fn context(call: &Call) -> Vec<u8> {
    let filters: Vec<(&str, &str)> = call
        .operation
        .query
        .iter()
        .filter_map(|parameter| call.query(parameter.name).map(|value| (parameter.name, value)))
        .collect();
    let path: Vec<(&str, &str)> =
        call.operation.path_parameters().filter_map(|name| call.path(name).ok().map(|value| (name, value))).collect();
    serde_json::json!(["cursor", call.operation.id, path, filters]).to_string().into_bytes()
}

fn malformed(name: &str, received: &str, detail: &str) -> Reason {
    Reason::MalformedParameter { name: name.to_owned(), received: received.chars().take(100).collect(), detail: detail.to_owned() }
}
