//! `/groups` and who is in them.

use serde_json::Value;
use uuid::Uuid;

use super::operation::{Answer, Body, Operation, Verb, schema};
use super::page::Page;
use super::{Call, Reply};
use crate::http::error::OAuthError;
use crate::oauth::admin::Right;
use crate::oauth::refusal::Reason;
use crate::oidc::groups::Group;
use crate::service::groups::{self, GroupThere, ShownGroup};
use crate::service::setup;
use crate::service::users::{self, ShownUser};
use crate::storage::owners::Kind;

pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listGroups",
        verb: Verb::Get,
        path: "/groups",
        right: Right::Read,
        summary: "Lists groups by their identifiers.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownGroup>),
        conditional: false,
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "addGroup",
        verb: Verb::Post,
        path: "/groups",
        right: Right::Write,
        summary: "Adds a group with the roles that it carries.",
        query: &[],
        body: Body::Json(schema::<Group>),
        answer: Answer::Made(schema::<ShownGroup>),
        conditional: false,
        run: |call| Box::pin(add(call)),
    },
    Operation {
        id: "getGroup",
        verb: Verb::Get,
        path: "/groups/{identifier}",
        right: Right::Read,
        summary: "Shows a group.",
        query: &[],
        body: Body::None,
        answer: Answer::Found(schema::<ShownGroup>),
        conditional: false,
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putGroup",
        verb: Verb::Put,
        path: "/groups/{identifier}",
        right: Right::Write,
        summary: "Makes the group what the document says, or adds it; what the document leaves out is gone.",
        query: &[],
        body: Body::Json(schema::<GroupThere>),
        answer: Answer::Kept(schema::<ShownGroup>),
        conditional: true,
        run: |call| Box::pin(put(call)),
    },
    Operation {
        id: "patchGroup",
        verb: Verb::Patch,
        path: "/groups/{identifier}",
        right: Right::Write,
        summary: "Changes what the document names (RFC 7396).",
        query: &[],
        body: Body::Patch(schema::<Group>),
        answer: Answer::Found(schema::<ShownGroup>),
        conditional: true,
        run: |call| Box::pin(patch(call)),
    },
    Operation {
        id: "removeGroup",
        verb: Verb::Delete,
        path: "/groups/{identifier}",
        right: Right::Write,
        summary: "Removes a group and takes everybody out of it.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: true,
        run: |call| Box::pin(remove(call)),
    },
    Operation {
        id: "listMembers",
        verb: Verb::Get,
        path: "/groups/{identifier}/members",
        right: Right::Read,
        summary: "Lists the people of a group by their ids.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownUser>),
        conditional: false,
        run: |call| Box::pin(members(call)),
    },
];

async fn list(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let found = groups::list(&call.operator(), page.reads(), page.after.as_deref()).await?;
    let shown = marked(&call, found.iter().map(groups::show).collect()).await?;
    page.reply(&call, found.into_iter().map(|kept| kept.group.identifier).zip(shown).collect())
}

/// With the name of the set-up file that keeps it.
async fn marked(call: &Call, shown: Vec<Value>) -> Result<Vec<Value>, Reason> {
    Ok(setup::marked(&call.app.db, Kind::Group, "identifier", shown).await?)
}

async fn add(call: Call) -> Result<Reply, OAuthError> {
    let kept = groups::add(&call.operator(), groups::parse(call.bytes())?).await?;
    Ok(Reply::found(groups::show(&kept)).made_at(&["groups", &kept.group.identifier]))
}

async fn get(call: Call) -> Result<Reply, OAuthError> {
    let shown = groups::show(&groups::find(&call.operator(), call.path("identifier")?).await?);
    Ok(Reply::found(marked(&call, vec![shown]).await?.pop().unwrap_or_default()))
}

async fn put(call: Call) -> Result<Reply, OAuthError> {
    let identifier = call.path("identifier")?;
    let (kept, made) = groups::put(&call.operator(), identifier, call.document()?, &call.precondition()?).await?;
    let reply = Reply::found(groups::show(&kept));
    Ok(if made { reply.made_at(&["groups", identifier]) } else { reply })
}

async fn patch(call: Call) -> Result<Reply, OAuthError> {
    let patch = call.document()?;
    let kept = groups::update_if(&call.operator(), call.path("identifier")?, patch, &call.precondition()?).await?;
    Ok(Reply::found(groups::show(&kept)))
}

async fn remove(call: Call) -> Result<Reply, OAuthError> {
    groups::remove_if(&call.operator(), call.path("identifier")?, &call.precondition()?).await?;
    Ok(Reply::nothing())
}

async fn members(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let identifier = call.path("identifier")?;
    let after = page.after.as_deref().and_then(|id| Uuid::parse_str(id).ok());
    let found = groups::members(&call.operator(), identifier, page.reads(), after).await?;
    page.reply(&call, found.iter().map(|user| (user.id.to_string(), users::show(user))).collect())
}
