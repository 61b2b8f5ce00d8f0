//! `/users`, and what they are signed in to and have agreed to.

use super::operation::{Answer, Body, Operation, Parameter, Verb, schema};
use super::page::Page;
use super::{Call, Reply};
use crate::http::error::OAuthError;
use crate::oauth::admin::Right;
use crate::oidc::pairwise;
use crate::service::users::access::{self, ShownConsent, ShownGrant, ShownSession};
use crate::service::users::factors::{self, ShownFactors};
use crate::service::users::{self, PasswordFile, ShownUser, UserDocument, UserFile};

pub const OPERATIONS: &[Operation] = &[
    Operation {
        id: "listUsers",
        verb: Verb::Get,
        path: "/users",
        right: Right::Read,
        summary: "Lists users by their ids, which is the order in which they were added.",
        query: &[
            Parameter {
                name: "username",
                description: "The user with this username, compared without regard to case, width and Unicode form.",
            },
            Parameter { name: "sub", description: "The user with this subject identifier, public or pairwise." },
            Parameter { name: "group", description: "The users in this group." },
        ],
        body: Body::None,
        answer: Answer::Page(schema::<ShownUser>),
        conditional: false,
        run: |call| Box::pin(list(call)),
    },
    Operation {
        id: "addUser",
        verb: Verb::Post,
        path: "/users",
        right: Right::Write,
        summary: "Adds a user; without a password nobody can sign in as them until one is set.",
        query: &[],
        body: Body::Json(schema::<UserFile>),
        answer: Answer::Made(schema::<ShownUser>),
        conditional: false,
        run: |call| Box::pin(add(call)),
    },
    Operation {
        id: "getUser",
        verb: Verb::Get,
        path: "/users/{id}",
        right: Right::Read,
        summary: "Shows a user, never the password.",
        query: &[],
        body: Body::None,
        answer: Answer::Found(schema::<ShownUser>),
        conditional: false,
        run: |call| Box::pin(get(call)),
    },
    Operation {
        id: "putUser",
        verb: Verb::Put,
        path: "/users/{id}",
        right: Right::Write,
        summary: "Makes the user what the document says, or adds one under this UUID; what the document leaves out gets its default.",
        query: &[],
        body: Body::Json(schema::<UserFile>),
        answer: Answer::Kept(schema::<ShownUser>),
        conditional: true,
        run: |call| Box::pin(put(call)),
    },
    Operation {
        id: "patchUser",
        verb: Verb::Patch,
        path: "/users/{id}",
        right: Right::Write,
        summary: "Changes what the document names (RFC 7396); turning enabled off ends everything that the user is signed in to.",
        query: &[],
        body: Body::Patch(schema::<UserFile>),
        answer: Answer::Found(schema::<ShownUser>),
        conditional: true,
        run: |call| Box::pin(patch(call)),
    },
    Operation {
        id: "removeUser",
        verb: Verb::Delete,
        path: "/users/{id}",
        right: Right::Write,
        summary: "Removes a user and ends everything that was issued for them.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: true,
        run: |call| Box::pin(remove(call)),
    },
    Operation {
        id: "setPassword",
        verb: Verb::Put,
        path: "/users/{id}/password",
        right: Right::Write,
        summary: "Sets another password and ends everything that was signed in with the old one.",
        query: &[],
        body: Body::Json(schema::<PasswordFile>),
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(set_password(call)),
    },
    Operation {
        id: "getFactors",
        verb: Verb::Get,
        path: "/users/{id}/factors",
        right: Right::Read,
        summary: "Shows a user's second factors and how many recovery codes are left, never a secret.",
        query: &[],
        body: Body::None,
        answer: Answer::Found(schema::<ShownFactors>),
        conditional: false,
        run: |call| Box::pin(get_factors(call)),
    },
    Operation {
        id: "resetFactors",
        verb: Verb::Delete,
        path: "/users/{id}/factors",
        right: Right::Write,
        summary: "Takes every second factor and recovery code away and ends everything that the user is signed in to.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(reset_factors(call)),
    },
    Operation {
        id: "listSessions",
        verb: Verb::Get,
        path: "/users/{id}/sessions",
        right: Right::Read,
        summary: "Lists a user's live browser sessions, the newest first.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownSession>),
        conditional: false,
        run: |call| Box::pin(list_sessions(call)),
    },
    Operation {
        id: "endSessions",
        verb: Verb::Delete,
        path: "/users/{id}/sessions",
        right: Right::Write,
        summary: "Ends all browser sessions of a user and what lives with them; grants with offline_access stay.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(end_sessions(call)),
    },
    Operation {
        id: "endSession",
        verb: Verb::Delete,
        path: "/users/{id}/sessions/{sid}",
        right: Right::Write,
        summary: "Ends one browser session and what lives with it.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(end_session(call)),
    },
    Operation {
        id: "listGrants",
        verb: Verb::Get,
        path: "/users/{id}/grants",
        right: Right::Read,
        summary: "Lists what a user's clients were granted and has not ended, the newest first.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownGrant>),
        conditional: false,
        run: |call| Box::pin(list_grants(call)),
    },
    Operation {
        id: "endGrants",
        verb: Verb::Delete,
        path: "/users/{id}/grants",
        right: Right::Write,
        summary: "Ends all grants of a user with every token issued from them; sessions and consents stay.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(end_grants(call)),
    },
    Operation {
        id: "endGrant",
        verb: Verb::Delete,
        path: "/users/{id}/grants/{grant_id}",
        right: Right::Write,
        summary: "Ends one grant with every token issued from it.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(end_grant(call)),
    },
    Operation {
        id: "listConsents",
        verb: Verb::Get,
        path: "/users/{id}/consents",
        right: Right::Read,
        summary: "Lists what a user has agreed to, by client.",
        query: &[],
        body: Body::None,
        answer: Answer::Page(schema::<ShownConsent>),
        conditional: false,
        run: |call| Box::pin(list_consents(call)),
    },
    Operation {
        id: "withdrawConsent",
        verb: Verb::Delete,
        path: "/users/{id}/consents/{client_id}",
        right: Right::Write,
        summary: "Forgets a consent and ends every grant of the user to this client.",
        query: &[],
        body: Body::None,
        answer: Answer::Nothing,
        conditional: false,
        run: |call| Box::pin(withdraw_consent(call)),
    },
];

async fn list(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    // A pairwise subject names its person to this server alone.
    let sub = call.query("sub");
    let id = sub.and_then(|sub| pairwise::person(&call.app.keys.data(), sub));
    let wanted = users::Wanted {
        username: call.query("username").map(str::to_owned),
        sub: sub.filter(|_| id.is_none()).map(str::to_owned),
        id,
        group: call.query("group").map(str::to_owned),
    };
    let found = users::search(&call.operator(), &wanted, page.reads(), page.after_id()).await?;
    page.reply(&call, found.iter().map(|user| (user.id.to_string(), users::show(user))).collect())
}

async fn add(call: Call) -> Result<Reply, OAuthError> {
    let user = users::add(&call.operator(), UserDocument::parse(call.bytes())?, None).await?;
    Ok(Reply::found(users::show(&user)).made_at(&["users", &user.id.to_string()]))
}

async fn get(call: Call) -> Result<Reply, OAuthError> {
    Ok(Reply::found(users::show(&users::by_id(&call.operator(), call.id("id")?).await?)))
}

async fn put(call: Call) -> Result<Reply, OAuthError> {
    let id = call.id("id")?;
    let (user, made) = users::put(&call.operator(), id, call.document()?, &call.precondition()?).await?;
    let reply = Reply::found(users::show(&user));
    Ok(if made { reply.made_at(&["users", &id.to_string()]) } else { reply })
}

async fn patch(call: Call) -> Result<Reply, OAuthError> {
    let patch = call.document()?;
    let user = users::update_if(&call.operator(), call.id("id")?, patch, &call.precondition()?).await?;
    Ok(Reply::found(users::show(&user)))
}

async fn remove(call: Call) -> Result<Reply, OAuthError> {
    users::remove_if(&call.operator(), call.id("id")?, &call.precondition()?).await?;
    Ok(Reply::nothing())
}

async fn set_password(call: Call) -> Result<Reply, OAuthError> {
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    users::set_password_of(&call.operator(), user, users::read_password(call.document()?)?).await?;
    Ok(Reply::nothing())
}

async fn get_factors(call: Call) -> Result<Reply, OAuthError> {
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    Ok(Reply::found(factors::show(&factors::of(&call.operator(), &user).await?)))
}

async fn reset_factors(call: Call) -> Result<Reply, OAuthError> {
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    factors::reset_of(&call.operator(), user).await?;
    Ok(Reply::nothing())
}

async fn list_sessions(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    let found = access::sessions(&call.operator(), &user, page.reads(), page.after_id()).await?;
    page.reply(&call, found.iter().map(|session| (session.id.to_string(), access::show_session(session))).collect())
}

async fn end_sessions(call: Call) -> Result<Reply, OAuthError> {
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    access::end_sessions(&call.operator(), &user).await?;
    Ok(Reply::nothing())
}

async fn end_session(call: Call) -> Result<Reply, OAuthError> {
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    access::end_session(&call.operator(), &user, call.path("sid")?).await?;
    Ok(Reply::nothing())
}

async fn list_grants(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    let found = access::grants(&call.operator(), &user, page.reads(), page.after_id()).await?;
    page.reply(&call, found.iter().map(|found| (found.grant.id.to_string(), access::show_grant(&call.operator(), found))).collect())
}

async fn end_grants(call: Call) -> Result<Reply, OAuthError> {
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    access::end_grants(&call.operator(), &user).await?;
    Ok(Reply::nothing())
}

async fn end_grant(call: Call) -> Result<Reply, OAuthError> {
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    access::end_grant(&call.operator(), &user, call.id("grant_id")?).await?;
    Ok(Reply::nothing())
}

async fn list_consents(call: Call) -> Result<Reply, OAuthError> {
    let page = Page::of(&call)?;
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    let found = access::consents(&call.operator(), &user, page.reads(), page.after.as_deref()).await?;
    page.reply(&call, found.iter().map(|consent| (consent.client_id.clone(), access::show_consent(consent))).collect())
}

async fn withdraw_consent(call: Call) -> Result<Reply, OAuthError> {
    let user = users::by_id(&call.operator(), call.id("id")?).await?;
    access::withdraw_consent(&call.operator(), &user, call.path("client_id")?).await?;
    Ok(Reply::nothing())
}
