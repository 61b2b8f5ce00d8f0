//! `/decisions/{trace_id}`: why a request was refused.

use super::operation::{Answer, Body, Operation, Verb, schema};
use super::{Call, Reply};
use crate::http::error::OAuthError;
use crate::oauth::admin::Right;
use crate::oauth::refusal::Reason;
use crate::service::decisions::{self, ShownDecision};

pub const OPERATIONS: &[Operation] = &[Operation {
    id: "getDecision",
    verb: Verb::Get,
    path: "/decisions/{trace_id}",
    right: Right::Read,
    summary: "Tells why a request was refused: the rule, what was expected, what was received, and what to do.",
    query: &[],
    body: Body::None,
    answer: Answer::Found(schema::<ShownDecision>),
    conditional: false,
    run: |call| Box::pin(get(call)),
}];

async fn get(call: Call) -> Result<Reply, OAuthError> {
    let trace_id = call.path("trace_id")?.to_ascii_lowercase();
    if trace_id.len() != 32 || !trace_id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(Reason::MalformedParameter {
            name: "trace_id".to_owned(),
            received: trace_id.chars().take(100).collect(),
            detail: "it has 32 hexadecimal digits".to_owned(),
        }
        .into());
    }
    match decisions::find(&call.app.db, &trace_id).await.map_err(Reason::from)? {
        Some(found) => Ok(Reply::found(decisions::show(&found))),
        None => Err(Reason::AdminNotFound { kind: "decision".to_owned(), id: trace_id }.into()),
    }
}
