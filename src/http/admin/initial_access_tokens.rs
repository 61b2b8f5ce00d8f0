//! `/initial-access-tokens`: who has one may register clients.

use super::operation::{Answer, Body, Operation, Verb, schema};
use super::page::Page;
use super::{Call, Reply};
use crate::http::error::OAuthError;
use crate::oauth::admin::Right;
use crate::service::initial_access_tokens::{self as tokens, ShownToken, TokenFile, ToldToken};

pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listInitialAccessTokens",
        verb: Verb::Get,
        path: "/initial-access-tokens",
        right: Right::Read,
        summary: "Lists initial access tokens in the order in which they were made.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownToken>),
        conditional: false,
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "addInitialAccessToken",
        verb: Verb::Post,
        path: "/initial-access-tokens",
        right: Right::Write,
        summary: "Makes a token with which clients register themselves (RFC 7591); it is told this once.",
        query: &[],
        body: Body::Optional(schema::<TokenFile>),
        answer: Answer::Made(schema::<ToldToken>),
        conditional: false,
        run: |call| Box::pin(add(call)),
    },
    Operation {
        id: "getInitialAccessToken",
        verb: Verb::Get,
        path: "/initial-access-tokens/{id}",
        right: Right::Read,
        summary: "Shows an initial access token without itself.",
        query: &[],
        body: Body::None,
        answer: Answer::Found(schema::<ShownToken>),
        conditional: false,
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "removeInitialAccessToken",
        verb: Verb::Delete,
        path: "/initial-access-tokens/{id}",
        right: Right::Write,
        summary: "Removes an initial access token; clients that were registered with it stay.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: true,
        run: |call| Box::pin(remove(call)),
    },
];

async fn list(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let found = tokens::list(&call.operator(), page.reads(), page.after_id()).await?;
    page.reply(&call, found.iter().map(|token| (token.id.to_string(), tokens::show(token))).collect())
}

async fn add(call: Call) -> Result<Reply, OAuthError> {
    let (token, secret) = tokens::add(&call.operator(), TokenFile::of(call.document()?)?).await?;
    let told = Reply::plain(tokens::tell(&token, &secret)).tagged(&tokens::show(&token));
    Ok(told.made_at(&["initial-access-tokens", &token.id.to_string()]))
}

async fn get(call: Call) -> Result<Reply, OAuthError> {
    Ok(Reply::found(tokens::show(&tokens::find(&call.operator(), call.id("id")?).await?)))
}

async fn remove(call: Call) -> Result<Reply, OAuthError> {
    tokens::remove_if(&call.operator(), call.id("id")?, &call.precondition()?).await?;
    Ok(Reply::nothing())
}
