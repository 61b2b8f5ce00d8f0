//! The OpenAPI document and its page: every operation is in them, and every answer is what they say.

use chancery::http::admin::table;
use chancery::http::admin::{Answer as Promised, Operation};
use serde_json::Value;

use crate::harness::{Answer, Server, on_both, schema};

on_both![the_document_and_its_page_are_open_and_name_everything];

/// Asserts that what was sent and what came back are as the document says.
#[track_caller]
pub fn conforms(document: &Value, operation: &Operation, sent: Option<&Value>, answer: &Answer) {
    let described = &document["paths"][operation.path][operation.verb.as_str().to_ascii_lowercase()];
    assert_eq!(described["operationId"], operation.id);
    if let Some(sent) = sent {
        let content = described["requestBody"]["content"].as_object().unwrap().values().next().unwrap();
        assert_eq!(schema::faults(document, &content["schema"], sent), Vec::<String>::new(), "{} reads {sent}", operation.id);
    }
    let responses = &described["responses"];
    let response = responses.get(answer.status.to_string()).unwrap_or(&responses["default"]);
    let response = match response["$ref"].as_str() {
        Some(reference) => document.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => response,
    };
    let Some(content) = response["content"].as_object() else {
        return assert!(answer.text.is_empty(), "{}: {}", operation.id, answer.text);
    };
    let kind = answer.header("content-type");
    let media = content.get(kind).unwrap_or_else(|| panic!("{}: {kind} is not described", operation.id));
    let bodies: Vec<Value> = match operation.answer {
        Promised::Lines(_) if kind == "application/x-ndjson" => {
            answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        }
        _ => vec![answer.json()],
    };
    for body in bodies {
        assert_eq!(schema::faults(document, &media["schema"], &body), Vec::<String>::new(), "{} answered {body}", operation.id);
    }
}

async fn the_document_and_its_page_are_open_and_name_everything(server: Server) {
    let answer = server.get("/admin/api/openapi.json").await.ok();
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.1");
    assert_eq!(document["servers"][0]["url"], format!("{}/admin/api/v1", server.issuer));
    assert_eq!(answer.header("content-type"), "application/json");
    let again =
        server.send(reqwest::Method::GET, "/admin/api/openapi.json", &[("if-none-match", answer.header("etag"))], None).await;
    assert_eq!(again.status, 304);

    let mut described = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described += 1;
            let known = table::operations().find(|known| known.id == operation["operationId"]).unwrap();
            assert_eq!((known.path, known.verb.as_str().to_ascii_lowercase().as_str()), (path.as_str(), method.as_str()));
            assert_eq!(operation["security"][0]["oauth2"][0], known.right.scope());
            for name in path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}')) {
                let parameters = operation["parameters"].as_array().unwrap();
                assert!(parameters.iter().any(|parameter| parameter["name"] == name && parameter["in"] == "path"), "{path}");
            }
        }
    }
    assert_eq!(described, table::operations().count());
    // Every reference leads somewhere, and nothing is left over that nobody refers to.
    let text = document.to_string();
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(text.contains(&format!("#/components/schemas/{name}\"")), "{name}");
    }
    for reference in text.split("\"$ref\":\"#").skip(1).map(|rest| rest.split('"').next().unwrap()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }

    for path in ["/admin/api", "/admin/api/"] {
        let page = server.get(path).await.ok();
        assert!(page.header("content-type").starts_with("text/html"));
        assert!(!page.header("content-security-policy").contains("script-src"), "{}", page.header("content-security-policy"));
        for operation in table::operations() {
            assert!(page.text.contains(&format!("id=\"{}\"", operation.id)), "{}", operation.id);
        }
        assert!(!page.text.contains(">null<"), "a schema is missing");
    }

    // Somebody else's program runs at no origin, and has in the page what it shows.
    let page = server.get("/admin/api/ui").await.ok();
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("sandbox allow-scripts; default-src 'none'; script-src 'self'; "), "{policy}");
    assert!(!policy.contains("allow-same-origin") && policy.contains("connect-src 'none'"), "{policy}");
    let inlined = page.text.split("id=\"document\">").nth(1).unwrap().split('<').next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(inlined).unwrap(), document);
    for name in ["swagger-ui-bundle", "swagger-ui", "reference"] {
        let file = page.text.split('"').find(|value| value.contains(&format!("/assets/{name}."))).unwrap();
        server.get(file).await.ok();
    }
}
