//! Refusals as problem documents (RFC 9457): what is wrong, and with which member, parameter or header.

use serde_json::{Value, json};

use crate::oauth::refusal::Reason;
use crate::service::revision;

/// The media type.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// The document. `type` is stable and names the rule; `trace_id` is for `chancery explain`.
pub fn document(reason: &Reason, status: http::StatusCode, trace_id: &str) -> Value {
    let mut problem = json!({
        "type": format!("urn:chancery:problem:{}", reason.rule().id),
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": reason.wire().description,
        "trace_id": trace_id,
    });
    if let (Some((name, value)), Some(members)) = (fault(reason), problem.as_object_mut()) {
        members.insert(name.to_owned(), json!(value));
    }
    problem
}

/// Where the fault is: a JSON pointer (RFC 6901) into the body, the name of a parameter, or that of a header.
fn fault(reason: &Reason) -> Option<(&'static str, String)> {
    match reason {
        Reason::DocumentRefused { member: Some(member), .. } | Reason::AdminConflict { member: Some(member), .. } => {
            Some(("pointer", format!("/{}", member.replace('~', "~0").replace('/', "~1"))))
        }
        Reason::MalformedParameter { name, .. } if name.starts_with("if-") => Some(("header", name.clone())),
        Reason::MalformedParameter { name, .. }
        | Reason::ParameterTooLong { name, .. }
        | Reason::DuplicateParameter { name }
        | Reason::MissingParameter { name }
        | Reason::CredentialsInQuery { name } => Some(("parameter", name.clone())),
        Reason::WrongMediaType { .. } => Some(("header", "content-type".to_owned())),
        Reason::PreconditionFailed { expected, .. } => {
            Some(("header", if expected == revision::NOTHING { "if-none-match" } else { "if-match" }.to_owned()))
        }
        _ => None,
    }
}
