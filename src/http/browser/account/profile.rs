//! `/account/profile`: what a person may change of what apps are told about them.

use axum::response::Response;
use http::StatusCode;

use super::{Instead, PROFILE, Section, SignedIn, answered, done, form_token, page, signed_in};
use crate::http::browser::{Context, paths};
use crate::http::extract::PageForm;
use crate::http::pages::view::Form;
use crate::http::pages::view::account::{Done, ProfileField, ProfileView};
use crate::oauth::params::Params;
use crate::service::account::profile::{self, Field, Problem};

/// Shows the fields.
pub async fn get(cx: Context) -> Response {
    match signed_in(&cx, Section::Profile).await {
        Ok(person) => {
            let fields = fields(&cx, |field| (field.of(&person.user.claims).unwrap_or_default().to_owned(), None));
            show(&cx, &person, &fields)
        }
        Err(instead) => instead.respond(&cx),
    }
}

/// Takes what was typed: all of it, or nothing.
pub async fn post(cx: Context, PageForm(params): PageForm) -> Response {
    match change(&cx, &params).await {
        Ok(response) => response,
        Err(instead) => instead.respond(&cx),
    }
}

async fn change(cx: &Context, params: &Params) -> Result<Response, Instead> {
    let person = answered(cx, params, PROFILE, Section::Profile).await?;
    // A field that was not sent is left as it is; one that was sent empty is emptied.
    let sent = |field: Field| {
        let name = field.claim();
        params.names().any(|sent| sent == name).then(|| params.get(name).unwrap_or_default())
    };
    let checked: Vec<_> = Field::ALL.into_iter().filter_map(|field| Some((field, field.check(sent(field)?)))).collect();
    let mut values = Vec::new();
    for (field, outcome) in &checked {
        match outcome {
            Ok(value) => values.push((*field, value.clone())),
            Err(_) => {
                let problem = |field: Field| {
                    checked.iter().find(|(other, _)| *other == field).and_then(|(_, outcome)| outcome.as_ref().err().copied())
                };
                let typed = |field: Field| {
                    let typed = sent(field).or_else(|| field.of(&person.user.claims)).unwrap_or_default().to_owned();
                    (typed, problem(field))
                };
                return Ok(show(cx, &person, &fields(cx, typed)));
            }
        }
    }
    profile::edit(&cx.app, person.user.id, values, cx.now).await?;
    Ok(done(cx, Done::ProfileChanged))
}

fn fields(cx: &Context, of: impl Fn(Field) -> (String, Option<Problem>)) -> Vec<ProfileField> {
    Field::ALL
        .into_iter()
        .map(|field| {
            let (value, problem) = of(field);
            ProfileField::of(cx.lang(), field, value, problem)
        })
        .collect()
}

fn show(cx: &Context, person: &SignedIn, fields: &[ProfileField]) -> Response {
    let (token, fresh) = form_token(cx, person, PROFILE);
    let form = Form { action: paths::ACCOUNT_PROFILE, interaction: None, csrf: token.expose() };
    page(cx, StatusCode::OK, &ProfileView { frame: cx.frame(), form, fields }, fresh.as_ref())
}
