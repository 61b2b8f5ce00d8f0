//! The admin API (contract.md; security.md ).

mod attacks;
mod audit;
mod clients;
mod keys;
mod openapi;
mod people;
mod resources;
mod rows;

use chancery::http::admin::table;
use chancery::oauth::admin::Right;

use crate::harness::{Server, on_both};

on_both![every_operation_needs_its_right, what_has_no_row_is_refused];

/// each operation is driven anonymously, with a token for somebody else, with one that may read and with one that may write. What is
/// sent and what comes back is as the OpenAPI document says.
async fn every_operation_needs_its_right(server: Server) {
    let writer = server.admin("admin:write").await;
    let reader = server.admin("admin:read").await;
    let (_, alice, app) = server.actors().await;
    let foreign = writer.with_token(&alice.tokens(&app, "openid").await.str("access_token"));
    let audit = server.audit().await.len();
    let document = server.get("/admin/api/openapi.json").await.ok().json();
    for operation in table::operations() {
        let row = rows::of(operation.id, &server, &writer).await;
        let before = server.audit().await.len();
        let verb = operation.verb.as_str();
        let call = async |caller: &crate::harness::Admin| caller.call(verb, &row.path, row.body.as_ref()).await;
        let refused = call(&server.stranger()).await.problem(401, "token-missing");
        openapi::conforms(&document, operation, None, &refused);
        call(&foreign).await.problem(401, "token-wrong-audience");
        match operation.right {
            Right::Read => assert_eq!(call(&reader).await.status, row.status, "{}", operation.id),
            Right::Write => {
                call(&reader).await.problem(403, "admin-forbidden");
                assert_eq!(server.audit().await.len(), before, "{}: a refusal changes nothing", operation.id);
            }
        }
        let answer = call(&writer).await;
        assert_eq!(answer.status, row.status, "{}: {}", operation.id, answer.text);
        openapi::conforms(&document, operation, row.body.as_ref(), &answer);
        assert!(!answer.headers.contains_key("access-control-allow-origin") && !answer.headers.contains_key("set-cookie"));
        assert_eq!(answer.header("cache-control"), "no-store", "{}", operation.id);
    }
    assert!(server.audit().await.len() > audit);
}

/// deny by default. Strangers are asked for a token whatever they ask for; callers learn what is there.
async fn what_has_no_row_is_refused(server: Server) {
    let writer = server.admin("admin:write").await;
    for path in ["", "/", "/nothing", "/clients/", "/clients/a/b/c", "/clients/a/secrets/b/c", "/../v1", "/%2e%2e/v2"] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
            server.stranger().call(method, path, None).await.problem(401, "token-missing");
            writer.call(method, path, None).await.problem(404, "not-found");
        }
    }
    for method in ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        server.stranger().call(method, "/clients", None).await.problem(401, "token-missing");
        let refused = writer.call(method, "/clients", None).await.problem(405, "method-not-allowed");
        assert_eq!(refused.header("allow"), "GET, POST", "{method}");
    }
    // An answer without a body is no way around the check.
    assert_eq!(server.stranger().call("HEAD", "/clients", None).await.status, 401);
    assert_eq!(writer.call("HEAD", "/clients", None).await.status, 200);
}
