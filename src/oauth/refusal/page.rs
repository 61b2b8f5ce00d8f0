//! What a page shows of a refusal: a stable phrase, the parameter's name and the value received. Never a registered value, whether a
//! user exists, or another client's data (design 4.7); the whole story is under the trace id.

/// The public face of a refusal on a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnPage<'a> {
    pub text: PageText,
    pub parameter: Option<&'a str>,
    /// As it was received, not yet tamed.
    pub received: Option<&'a str>,
}

/// The texts that there are, in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageText {
    /// The application's request is at fault: what is said where there is nothing to say to a person.
    AppRequest,
    DuplicateParameter,
    MissingParameter,
    MalformedParameter,
    TooLong,
    UnknownApp,
    RedirectUriMissing,
    RedirectUriMismatch,
    InteractionUnknown,
    InteractionExpired,
    ForeignForm,
    Busy,
    Forbidden,
    LogoutRedirect,
    IdTokenHint,
    NotFound,
    MethodNotAllowed,
    Unavailable,
    Internal,
}

/// Of reasons that belong to endpoints for programs.
pub(super) fn general() -> OnPage<'static> {
    plain(PageText::AppRequest)
}

/// A text alone.
pub(super) fn plain(text: PageText) -> OnPage<'static> {
    OnPage { text, parameter: None, received: None }
}

/// A text about a parameter.
pub(super) fn naming(text: PageText, parameter: &str) -> OnPage<'_> {
    OnPage { text, parameter: Some(parameter), received: None }
}

/// A text about a parameter, and what was received in it.
pub(super) fn with<'a>(text: PageText, parameter: &'a str, received: &'a str) -> OnPage<'a> {
    OnPage { text, parameter: Some(parameter), received: Some(received) }
}
