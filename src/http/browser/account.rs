//! `/account`: who is signed in, which apps have access, and the way to take it back.

use axum::response::Response;
use http::StatusCode;

use super::{Context, paths};
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::shown_name;
use crate::http::pages::cookies::Name;
use crate::http::pages::csp::Policy;
use crate::http::pages::view::{AccountView, AppAccess, Form, Person, SignedOutView};
use crate::http::pages::{self, csrf, scope_words};
use crate::oauth::refusal::Reason;
use crate::oidc::session::Session;
use crate::oidc::user::User;
use crate::service::{audit, browser, logout};
use crate::storage::{consents, users};

const PURPOSE: &str = "account";

/// Shows the account.
pub async fn get(cx: Context) -> Response {
    match signed_in(&cx).await {
        Ok(Some((session, user))) => show(&cx, &session, &user, None).await,
        Ok(None) => cx.see_other(&cx.path(paths::LOGIN)),
        Err(reason) => cx.refuse(reason, None),
    }
}

/// Takes access back, or signs out.
pub async fn post(cx: Context, PageForm(params): PageForm) -> Response {
    if let Err(reason) = cx.own_form(&params, PURPOSE) {
        return cx.refuse(reason, None);
    }
    let (session, user) = match signed_in(&cx).await {
        Ok(Some(found)) => found,
        Ok(None) => return cx.see_other(&cx.path(paths::LOGIN)),
        Err(reason) => return cx.refuse(reason, None),
    };
    // The page of somebody who was signed in here before: whatever it said, it was not about this person.
    if !cx.is_current(&params, PURPOSE, &session.id.to_string()) {
        return cx.see_other(&cx.path(paths::ACCOUNT));
    }
    if let Some(client_id) = params.get("withdraw") {
        return match withdraw(&cx, &user, client_id).await {
            Ok(name) => show(&cx, &session, &user, Some(&name)).await,
            Err(reason) => cx.refuse(reason, None),
        };
    }
    let ended = match params.get("sign_out") {
        Some("everywhere") => {
            let event = audit::event(&cx.app, cx.now, &audit::Actor::User(user.id), "user.sign_out", &user.id.to_string());
            users::sign_out(&cx.app.db, user.id, cx.now, &event).await.map(drop).map_err(Reason::from)
        }
        Some(_) => logout::end(&cx.app, &session, &user, cx.now).await,
        None => Err(Reason::MissingParameter { name: "sign_out".to_owned() }),
    };
    match ended {
        Ok(()) => {
            let view = SignedOutView { frame: cx.frame(), signed_out: true };
            let mut response = pages::respond(StatusCode::OK, &view, &Policy::strict());
            cx.clear_cookie(&mut response, Name::Session);
            response
        }
        Err(reason) => cx.refuse(reason, None),
    }
}

async fn signed_in(cx: &Context) -> Result<Option<(Session, User)>, Reason> {
    let idle = cx.app.config.lifetimes.session_idle;
    let found = browser::session(&cx.app, &cx.browser).await?;
    Ok(found.filter(|(session, user)| user.enabled && session.is_live(idle, cx.now)))
}

async fn withdraw(cx: &Context, user: &User, client_id: &str) -> Result<String, Reason> {
    let event = audit::event(&cx.app, cx.now, &audit::Actor::User(user.id), "consent.withdraw", client_id);
    consents::withdraw(&cx.app.db, user.id, client_id, cx.now, &event).await?;
    let client = cx.app.registry.client(client_id).await?;
    Ok(client.map_or_else(|| client_id.to_owned(), |client| shown_name(client.metadata.client_name.as_deref(), client_id)))
}

async fn show(cx: &Context, session: &Session, user: &User, withdrawn: Option<&str>) -> Response {
    let apps = match apps(cx, user).await {
        Ok(apps) => apps,
        Err(reason) => return cx.refuse(reason, None),
    };
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &session.id.to_string());
    let name = user.claims.name.as_deref().unwrap_or(&user.username);
    let view = AccountView {
        frame: cx.frame(),
        form: Form { action: paths::ACCOUNT, interaction: None, csrf: token.expose() },
        person: Person { name, detail: user.claims.email.as_deref().unwrap_or(&user.username) },
        apps: &apps,
        withdrawn,
    };
    let mut response = pages::respond(StatusCode::OK, &view, &Policy::strict());
    if let Some(fresh) = fresh {
        cx.set_cookie(&mut response, Name::Browser, &fresh);
    }
    response
}

async fn apps(cx: &Context, user: &User) -> Result<Vec<AppAccess>, Reason> {
    let catalogue = cx.app.registry.catalogue().await?;
    let mut apps = Vec::new();
    for consent in consents::list_for_user(&cx.app.db, user.id).await? {
        let client = cx.app.registry.client(&consent.client_id).await?;
        let name = client.as_ref().and_then(|client| client.metadata.client_name.as_deref());
        apps.push(AppAccess {
            name: shown_name(name, &consent.client_id),
            scopes: scope_words::groups(cx.lang(), &consent.scopes, &catalogue)
                .into_iter()
                .flat_map(|group| group.scopes)
                .map(|scope| scope.title)
                .collect(),
            since: cx.lang().date(consent.created_at),
            id: consent.client_id,
        });
    }
    Ok(apps)
}
