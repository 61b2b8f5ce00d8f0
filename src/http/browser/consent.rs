//! `/consent`: what the client asks for, in words, and the person's yes or no.

use axum::response::Response;
use http::StatusCode;

use super::{Context, authorize, paths};
use crate::http::extract::PageForm;
use crate::http::pages::client_seen::ClientSeen;
use crate::http::pages::cookies::Name;
use crate::http::pages::csp::Policy;
use crate::http::pages::scope_words;
use crate::http::pages::view::{ConsentView, Form, Person};
use crate::http::pages::{self, csrf};
use crate::oauth::refusal::Reason;
use crate::service::authorize::interaction::{self, Open};
use crate::service::authorize::{self as pending, LocalRefusal, Page};
use crate::service::browser;

const PURPOSE: &str = "consent";

/// Shows what is asked for.
pub async fn get(mut cx: Context) -> Response {
    let shown = match cx.required_interaction_in_query().await {
        Ok(open) => show(&cx, open).await,
        Err(refused) => Err(refused),
    };
    cx.page_or_refusal(shown)
}

/// Takes the answer.
pub async fn post(mut cx: Context, PageForm(params): PageForm) -> Response {
    let mut open = match cx.answered_interaction(&params, PURPOSE).await {
        Ok(open) => open,
        Err(refused) => return cx.refuse(refused.reason, refused.client_id),
    };
    let answer = match params.get("decision") {
        Some("allow") => match pending::page(&cx.app, &mut open, &cx.browser, cx.now).await {
            // Only an answer to the question that stands: never ahead of signing in, never for somebody else's session, never to more
            // than the page named. Else the question is asked as it stands now.
            Ok(page) => {
                if let Some(Page::Consent { scopes, claims }) = page
                    && cx.is_current(&params, PURPOSE, &open.question(&scopes, &claims))
                {
                    open.state.consented = true;
                }
                pending::resume(&cx.app, open, &cx.browser, cx.now).await
            }
            Err(refused) => Err(refused),
        },
        Some("deny") => interaction::deny(&cx.app, &open, &cx.browser, cx.now).await,
        Some(other) => Err(Reason::MalformedParameter {
            name: "decision".to_owned(),
            received: other.to_owned(),
            detail: "allow or deny".to_owned(),
        }
        .into()),
        None => Err(Reason::MissingParameter { name: "decision".to_owned() }.into()),
    };
    authorize::respond(&cx, answer).await
}

async fn show(cx: &Context, mut open: Open) -> Result<Response, LocalRefusal> {
    let Some(Page::Consent { scopes, claims }) = pending::page(&cx.app, &mut open, &cx.browser, cx.now).await? else {
        return Ok(authorize::respond(cx, pending::resume(&cx.app, open, &cx.browser, cx.now).await).await);
    };
    let Some((_, user)) = browser::session(&cx.app, &cx.browser).await? else {
        return Err(Reason::InteractionUnknown.into());
    };
    let catalogue = cx.app.registry.catalogue().await?;
    let (binding, fresh) = cx.binding();
    let token = csrf::token(&cx.app.keys.data(), &binding, PURPOSE, &open.question(&scopes, &claims));
    let client = ClientSeen::of(&open.client, &open.request.redirect_uri);
    let view = ConsentView {
        frame: cx.frame(),
        form: Form { action: paths::CONSENT, interaction: Some(open.id.expose()), csrf: token.expose() },
        client: &client,
        person: Person::of(&user),
        groups: scope_words::groups_for(cx.lang(), (&scopes, &claims), &open.client, &catalogue),
    };
    let mut response = pages::respond(StatusCode::OK, &view, &Policy::redirecting_to(&open.request.redirect_uri));
    if let Some(fresh) = fresh {
        cx.set_cookie(&mut response, Name::Browser, &fresh);
    }
    Ok(response)
}
