//! `/select-account`: go on with the account that is signed in here, or with another (OpenID Connect Core §3.1.2.1, prompt=select_account).

use axum::response::Response;
use http::StatusCode;

use super::{Context, authorize, paths};
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::ClientSeen;
use crate::http::pages::csp::Policy;
use crate::http::pages::view::{Form, Person, SelectAccountView};
use crate::http::pages::{self, csrf};
use crate::oauth::refusal::Reason;
use crate::service::authorize::interaction::Open;
use crate::service::authorize::{self as pending, LocalRefusal, Page};
use crate::service::browser;

const PURPOSE: &str = "select-account";

/// Shows who is signed in.
pub async fn get(mut cx: Context) -> Response {
    let shown = match cx.required_interaction_in_query().await {
        Ok(open) => show(&cx, open).await,
        Err(refused) => Err(refused),
    };
    cx.page_or_refusal(shown)
}

/// Takes the choice.
pub async fn post(mut cx: Context, PageForm(params): PageForm) -> Response {
    let mut open = match cx.answered_interaction(&params, PURPOSE).await {
        Ok(open) => open,
        Err(refused) => return cx.refuse(refused.reason, refused.client_id),
    };
    if params.get("account") == Some("other") {
        return cx.see_other(&format!("{}?interaction={}", cx.path(paths::LOGIN), open.id.expose()));
    }
    let answer = match pending::page(&cx.app, &mut open, &cx.browser, cx.now).await {
        // The account that was chosen is the one that the page showed.
        Ok(page) => {
            if page == Some(Page::SelectAccount) && cx.is_current(&params, PURPOSE, &open.question(&[], &[])) {
                open.state.selected = true;
            }
            pending::resume(&cx.app, open, &cx.browser, cx.now).await
        }
        Err(refused) => Err(refused),
    };
    authorize::respond(&cx, answer).await
}

async fn show(cx: &Context, mut open: Open) -> Result<Response, LocalRefusal> {
    if pending::page(&cx.app, &mut open, &cx.browser, cx.now).await? != Some(Page::SelectAccount) {
        return Ok(authorize::respond(cx, pending::resume(&cx.app, open, &cx.browser, cx.now).await).await);
    }
    let Some((_, user)) = browser::session(&cx.app, &cx.browser).await? else {
        return Err(Reason::InteractionUnknown.into());
    };
    let (binding, _) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &open.question(&[], &[]));
    let client = ClientSeen::of(&open.client, &open.request.redirect_uri);
    let view = SelectAccountView {
        frame: cx.frame(),
        form: Form { action: paths::SELECT_ACCOUNT, interaction: Some(open.id.expose()), csrf: token.expose() },
        client: &client,
        person: Person::of(&user),
    };
    Ok(pages::respond(StatusCode::OK, &view, &Policy::redirecting_to(&open.request.redirect_uri)))
}
