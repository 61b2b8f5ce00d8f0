//! `/resources`: the APIs that tokens are made for.

use serde_json::Value;

use super::operation::{Answer, Body, Operation, Verb, schema};
use super::page::Page;
use super::{Call, Reply};
use crate::http::error::OAuthError;
use crate::oauth::admin::Right;
use crate::oauth::refusal::Reason;
use crate::oauth::resource::Resource;
use crate::service::resources::{self, ShownResource};
use crate::service::setup;
use crate::storage::owners::Kind;

pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listResources",
        verb: Verb::Get,
        path: "/resources",
        right: Right::Read,
        summary: "Lists resources (APIs) by their identifiers.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownResource>),
        conditional: false,
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "addResource",
        verb: Verb::Post,
        path: "/resources",
        right: Right::Write,
        summary: "Adds a resource.",
        query: &[],
        body: Body::Json(schema::<Resource>),
        answer: Answer::Made(schema::<ShownResource>),
        conditional: false,
        run: |call| Box::pin(add(call)),
    },
    Operation {
        id: "getResource",
        verb: Verb::Get,
        path: "/resources/{identifier}",
        right: Right::Read,
        summary: "Shows a resource; its identifier is percent-encoded in the path, slashes too.",
        query: &[],
        body: Body::None,
        answer: Answer::Found(schema::<ShownResource>),
        conditional: false,
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putResource",
        verb: Verb::Put,
        path: "/resources/{identifier}",
        right: Right::Write,
        summary: "Makes the resource what the document says, or adds it; what the document leaves out gets its default.",
        query: &[],
        body: Body::Json(schema::<Resource>),
        answer: Answer::Kept(schema::<ShownResource>),
        conditional: true,
        run: |call| Box::pin(put(call)),
    },
    Operation {
        id: "patchResource",
        verb: Verb::Patch,
        path: "/resources/{identifier}",
        right: Right::Write,
        summary: "Changes what the document names (RFC 7396).",
        query: &[],
        body: Body::Patch(schema::<Resource>),
        answer: Answer::Found(schema::<ShownResource>),
        conditional: true,
        run: |call| Box::pin(patch(call)),
    },
    Operation {
        id: "removeResource",
        verb: Verb::Delete,
        path: "/resources/{identifier}",
        right: Right::Write,
        summary: "Removes a resource; no new tokens are made for it.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: true,
        run: |call| Box::pin(remove(call)),
    },
];

async fn list(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let all = resources::list(&call.operator()).await?;
    let shown = marked(&call, all.iter().map(resources::show).collect()).await?;
    page.reply_of_all(&call, all.into_iter().map(|resource| resource.identifier).zip(shown).collect())
}

/// With the name of the set-up file that keeps it.
async fn marked(call: &Call, shown: Vec<Value>) -> Result<Vec<Value>, Reason> {
    Ok(setup::marked(&call.app.db, Kind::Resource, "identifier", shown).await?)
}

async fn add(call: Call) -> Result<Reply, OAuthError> {
    let added = resources::add(&call.operator(), resources::parse(call.bytes())?).await?;
    Ok(Reply::found(resources::show(&added)).made_at(&["resources", &added.identifier]))
}

async fn get(call: Call) -> Result<Reply, OAuthError> {
    let shown = resources::show(&resources::find(&call.operator(), call.path("identifier")?).await?);
    let marked = marked(&call, vec![shown.clone()]).await?;
    // The tag is of the thing itself, which is what a change is compared with.
    Ok(Reply::plain(marked.into_iter().next().unwrap_or_default()).tagged(&shown))
}

async fn put(call: Call) -> Result<Reply, OAuthError> {
    let identifier = call.path("identifier")?;
    let (kept, made) = resources::put(&call.operator(), identifier, call.document()?, &call.precondition()?).await?;
    let reply = Reply::found(resources::show(&kept));
    Ok(if made { reply.made_at(&["resources", identifier]) } else { reply })
}

async fn patch(call: Call) -> Result<Reply, OAuthError> {
    let precondition = call.precondition()?;
    let changed = resources::update_if(&call.operator(), call.path("identifier")?, call.document()?, &precondition).await?;
    Ok(Reply::found(resources::show(&changed)))
}

async fn remove(call: Call) -> Result<Reply, OAuthError> {
    resources::remove_if(&call.operator(), call.path("identifier")?, &call.precondition()?).await?;
    Ok(Reply::nothing())
}
