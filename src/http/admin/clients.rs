//! `/clients` and their secrets.

use serde_json::Value;

use super::operation::{Answer, Body, Operation, Verb, schema};
use super::page::Page;
use super::{Call, Reply};
use crate::http::error::OAuthError;
use crate::oauth::admin::Right;
use crate::oauth::refusal::Reason;
use crate::service::clients::{self, ClientDocument, ClientFile, ShownClient, ShownSecret, ToldClient, ToldSecret};
use crate::service::setup;
use crate::storage::owners::Kind;

pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listClients",
        verb: Verb::Get,
        path: "/clients",
        right: Right::Read,
        summary: "Lists clients by their ids.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownClient>),
        conditional: false,
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "addClient",
        verb: Verb::Post,
        path: "/clients",
        right: Right::Write,
        summary: "Registers a client under an id that the server makes; its secret is told this once.",
        query: &[],
        body: Body::Json(schema::<ClientFile>),
        answer: Answer::Made(schema::<ToldClient>),
        conditional: false,
        run: |call| Box::pin(add(call)),
    },
    Operation {
        id: "getClient",
        verb: Verb::Get,
        path: "/clients/{client_id}",
        right: Right::Read,
        summary: "Shows a client.",
        query: &[],
        body: Body::None,
        answer: Answer::Found(schema::<ShownClient>),
        conditional: false,
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putClient",
        verb: Verb::Put,
        path: "/clients/{client_id}",
        right: Right::Write,
        summary: "Makes the client what the document says, or registers it under this id; what the document leaves out gets its default.",
        query: &[],
        body: Body::Json(schema::<ClientFile>),
        answer: Answer::Kept(schema::<ToldClient>),
        conditional: true,
        run: |call| Box::pin(put(call)),
    },
    Operation {
        id: "patchClient",
        verb: Verb::Patch,
        path: "/clients/{client_id}",
        right: Right::Write,
        summary: "Changes what the document names (RFC 7396); a client that has to authenticate from now on gets a secret.",
        query: &[],
        body: Body::Patch(schema::<ClientFile>),
        answer: Answer::Found(schema::<ToldClient>),
        conditional: true,
        run: |call| Box::pin(patch(call)),
    },
    Operation {
        id: "removeClient",
        verb: Verb::Delete,
        path: "/clients/{client_id}",
        right: Right::Write,
        summary: "Removes a client and ends everything that was issued to it.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: true,
        run: |call| Box::pin(remove(call)),
    },
    Operation {
        id: "listSecrets",
        verb: Verb::Get,
        path: "/clients/{client_id}/secrets",
        right: Right::Read,
        summary: "Lists a client's secrets by their times, the newest first.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownSecret>),
        conditional: false,
        run: |call| Box::pin(list_secrets(call)),
    },
    Operation {
        id: "addSecret",
        verb: Verb::Post,
        path: "/clients/{client_id}/secrets",
        right: Right::Write,
        summary: "Makes a second secret, told this once; at most two live, so that a rotation needs no outage.",
        query: &[],
        body: Body::None,
        answer: Answer::Made(schema::<ToldSecret>),
        conditional: false,
        run: |call| Box::pin(add_secret(call)),
    },
    Operation {
        id: "endOlderSecrets",
        verb: Verb::Delete,
        path: "/clients/{client_id}/secrets",
        right: Right::Write,
        summary: "Ends all of a client's secrets but the newest.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(end_older_secrets(call)),
    },
    Operation {
        id: "endSecret",
        verb: Verb::Delete,
        path: "/clients/{client_id}/secrets/{secret_id}",
        right: Right::Write,
        summary: "Ends one secret; the only live one is refused.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(end_secret(call)),
    },
];

async fn list(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let found = clients::list(&call.operator(), page.reads(), page.after.as_deref()).await?;
    let shown = marked(&call, found.iter().map(clients::show).collect()).await?;
    page.reply(&call, found.into_iter().map(|client| client.client_id).zip(shown).collect())
}

/// With the name of the set-up file that keeps it.
async fn marked(call: &Call, shown: Vec<Value>) -> Result<Vec<Value>, Reason> {
    Ok(setup::marked(&call.app.db, Kind::Client, "client_id", shown).await?)
}

async fn add(call: Call) -> Result<Reply, OAuthError> {
    let document = ClientDocument::parse(call.bytes())?;
    let told = clients::add(&call.operator(), document).await?;
    Ok(Reply::plain(clients::tell(&told)).tagged(&clients::show(&told.client)).made_at(&["clients", &told.client.client_id]))
}

async fn get(call: Call) -> Result<Reply, OAuthError> {
    let shown = clients::show(&clients::find(&call.operator(), call.path("client_id")?).await?);
    let marked = marked(&call, vec![shown.clone()]).await?;
    // The tag is of the thing itself, which is what a change is compared with.
    Ok(Reply::plain(marked.into_iter().next().unwrap_or_default()).tagged(&shown))
}

async fn put(call: Call) -> Result<Reply, OAuthError> {
    let client_id = call.path("client_id")?;
    let document = call.document()?;
    let (told, made) = clients::put(&call.operator(), client_id, document, &call.precondition()?).await?;
    let reply = Reply::plain(clients::tell(&told)).tagged(&clients::show(&told.client));
    Ok(if made { reply.made_at(&["clients", client_id]) } else { reply })
}

async fn patch(call: Call) -> Result<Reply, OAuthError> {
    let patch = call.document()?;
    let told = clients::update_if(&call.operator(), call.path("client_id")?, patch, &call.precondition()?).await?;
    Ok(Reply::plain(clients::tell(&told)).tagged(&clients::show(&told.client)))
}

async fn remove(call: Call) -> Result<Reply, OAuthError> {
    clients::remove_if(&call.operator(), call.path("client_id")?, &call.precondition()?).await?;
    Ok(Reply::nothing())
}

async fn list_secrets(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let client = clients::find(&call.operator(), call.path("client_id")?).await?;
    let shown = client.secrets.iter().map(|secret| (secret.id.to_string(), clients::show_secret(secret)));
    page.reply_of_all(&call, shown.collect())
}

async fn add_secret(call: Call) -> Result<Reply, OAuthError> {
    let client_id = call.path("client_id")?;
    let (stored, secret) = clients::add_secret(&call.operator(), client_id).await?;
    let told = clients::tell_secret(client_id, &stored, &secret);
    Ok(Reply::plain(told).made_at(&["clients", client_id, "secrets", &stored.id.to_string()]))
}

async fn end_older_secrets(call: Call) -> Result<Reply, OAuthError> {
    clients::end_older_secrets(&call.operator(), call.path("client_id")?).await?;
    Ok(Reply::nothing())
}

async fn end_secret(call: Call) -> Result<Reply, OAuthError> {
    clients::end_secret(&call.operator(), call.path("client_id")?, call.path("secret_id")?).await?;
    Ok(Reply::nothing())
}
