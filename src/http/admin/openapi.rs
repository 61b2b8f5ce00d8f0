//! The OpenAPI 3.1 document, made of the table and of the types that are read and shown: what it says is what is done. Public, as this
//! program's source is.

use std::collections::BTreeMap;

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::operation::{Answer, Body, MakeSchema, Operation, Verb};
use super::{V1, problem, table};
use crate::oauth::admin::Right;
use crate::oauth::endpoint::Endpoint;

/// The document for this issuer.
pub fn document(issuer: &str) -> Value {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for operation in table::operations() {
        let described = describe(operation, &mut schemas);
        paths.entry(operation.path).or_default().insert(operation.verb.as_str().to_ascii_lowercase(), described);
    }
    let mut components: Map<String, Value> = schemas.made.into_iter().collect();
    components.insert("Problem".to_owned(), problem_schema());
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "Chancery admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Users, clients, resources, keys and logs of this server, for programs. Tokens are made for this API alone: \
                its audience is the resource /admin/api below the issuer, its scopes are admin:read and admin:write, and write includes \
                read. Errors are problem documents (RFC 9457).",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": format!("{issuer}{V1}") }],
        "paths": paths,
        "components": {
            "schemas": components,
            "responses": { "Problem": {
                "description": "Why it was not done. Nothing was changed.",
                "content": { problem::MEDIA_TYPE: { "schema": reference("Problem") } },
            } },
            "securitySchemes": { "oauth2": {
                "type": "oauth2",
                "flows": { "clientCredentials": {
                    "tokenUrl": Endpoint::Token.url(issuer),
                    "scopes": {
                        Right::Read.scope(): "Read users, clients, keys and the audit log",
                        Right::Write.scope(): "Change users, clients, keys and everything else on this server",
                    },
                } },
            } },
        },
    })
}

/// The schemas that were made so far, by name.
#[derive(Default)]
struct Schemas {
    made: BTreeMap<String, Value>,
}

impl Schemas {
    /// What is shown: members that are always there are required.
    fn shown(&mut self, make: MakeSchema) -> Value {
        let (name, schema) = generated(make, SchemaSettings::for_serialize);
        self.keep(name, schema)
    }

    /// What is sent: members with a default may be left out.
    fn sent(&mut self, make: MakeSchema) -> Value {
        let (name, schema) = generated(make, SchemaSettings::for_deserialize);
        self.keep(format!("{name}Input"), schema)
    }

    /// What is sent to a path that says some of it.
    fn sent_to(&mut self, make: MakeSchema, said: &[&str]) -> Value {
        let (name, mut schema) = generated(make, SchemaSettings::for_deserialize);
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            required.retain(|name| !name.as_str().is_some_and(|name| said.contains(&name)));
        }
        self.keep(format!("{name}Replacement"), schema)
    }

    /// A merge patch of what is sent (RFC 7396): everything may be left out, and null takes away.
    fn patch(&mut self, make: MakeSchema) -> Value {
        let (name, mut schema) = generated(make, SchemaSettings::for_deserialize);
        relax(&mut schema);
        self.keep(format!("{name}Patch"), schema)
    }

    fn keep(&mut self, name: String, schema: Value) -> Value {
        let reference = reference(&name);
        self.made.insert(name, schema);
        reference
    }
}

/// The name of the schema of what is shown.
pub(super) fn name(make: MakeSchema) -> String {
    generated(make, SchemaSettings::for_serialize).0
}

/// What is shown, or what is sent: they differ in what may be left out.
type Contract = fn(SchemaSettings) -> SchemaSettings;

fn generated(make: MakeSchema, contract: Contract) -> (String, Value) {
    let mut settings = contract(SchemaSettings::draft2020_12());
    settings.inline_subschemas = true;
    settings.meta_schema = None;
    let (name, schema) = make(&mut SchemaGenerator::new(settings));
    // What is shown is a `ShownUser` here and what is sent a `UserFile`; outside there is one word for it.
    let name = name.strip_prefix("Shown").unwrap_or(&name);
    (name.strip_suffix("File").unwrap_or(name).to_owned(), schema.to_value())
}

/// Objects are merged, so their members are optional and may be null; everything else is replaced as a whole.
fn relax(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("required");
    let Some(Value::Object(properties)) = schema.get_mut("properties") else { return };
    for property in properties.values_mut() {
        relax(property);
        if let Some(property) = property.as_object_mut() {
            property.remove("default");
        }
        let description = property.as_object_mut().and_then(|property| property.remove("description"));
        let inner = property.take();
        *property = json!({ "anyOf": [inner, { "type": "null" }] });
        if let (Some(description), Some(members)) = (description, property.as_object_mut()) {
            members.insert("description".to_owned(), description);
        }
    }
}

fn describe(operation: &Operation, schemas: &mut Schemas) -> Value {
    let in_path = operation.path_parameters().map(|name| parameter(name, "path", "Percent-encoded.", true));
    let in_query = operation.query_parameters().map(|query| parameter(query.name, "query", query.description, false));
    let mut parameters: Vec<Value> = in_path.chain(in_query).collect();
    if operation.conditional {
        parameters.push(parameter(
            "If-Match",
            "header",
            "The ETag that was seen: the change is made on that state or not at all.",
            false,
        ));
    }
    let tag = operation.path.split('/').nth(1).unwrap_or_default();
    let mut described = json!({
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [tag],
        "parameters": parameters,
        "security": [{ "oauth2": [operation.right.scope()] }],
        "responses": responses(operation, schemas),
    });
    let body = match operation.body {
        Body::None => None,
        Body::Json(make) if operation.verb == Verb::Put => {
            let said: Vec<&str> = operation.path_parameters().collect();
            Some((true, "application/json", schemas.sent_to(make, &said)))
        }
        Body::Json(make) => Some((true, "application/json", schemas.sent(make))),
        Body::Optional(make) => Some((false, "application/json", schemas.sent(make))),
        Body::Patch(make) => Some((true, "application/merge-patch+json", schemas.patch(make))),
    };
    if let (Some((required, kind, schema)), Some(described)) = (body, described.as_object_mut()) {
        described.insert("requestBody".to_owned(), json!({ "required": required, "content": { kind: { "schema": schema } } }));
    }
    described
}

fn responses(operation: &Operation, schemas: &mut Schemas) -> Value {
    let answer = |description: &str, kind: &str, schema: Value| json!({ "description": description, "content": { kind: { "schema": schema } } });
    let json = "application/json";
    let mut responses = Map::new();
    let mut put = |status: &str, response: Value| responses.insert(status.to_owned(), response);
    match operation.answer {
        Answer::Nothing => put("204", json!({ "description": "Done." })),
        Answer::Found(make) => put("200", answer("Done.", json, schemas.shown(make))),
        Answer::Made(make) => put("201", answer("Made; Location says where.", json, schemas.shown(make))),
        Answer::Kept(make) => {
            put("201", answer("Made; Location says where.", json, schemas.shown(make)));
            put("200", answer("It was there, and is now as the document says.", json, schemas.shown(make)))
        }
        Answer::Page(make) => put("200", answer("A page of the list.", json, page(&schemas.shown(make)))),
        Answer::Lines(make) => {
            let item = schemas.shown(make);
            let content = json!({ json: { "schema": page(&item) }, "application/x-ndjson": { "schema": item } });
            put(
                "200",
                json!({ "description": "A page of the list, or all that match, a document on each line.", "content": content }),
            )
        }
    };
    put("default", json!({ "$ref": "#/components/responses/Problem" }));
    Value::Object(responses)
}

fn page(item: &Value) -> Value {
    json!({
        "type": "object",
        "properties": {
            "items": { "type": "array", "items": item },
            "next_cursor": { "type": ["string", "null"], "description": "The cursor of the next page; null if this is the last." },
        },
        "required": ["items", "next_cursor"],
        "additionalProperties": false,
    })
}

/// What no parameter may hold.
const NO_CONTROLS: &str = "^[^\\u0000-\\u001F\\u007F-\\u009F]*$";

fn parameter(name: &str, place: &str, description: &str, required: bool) -> Value {
    let schema = match name {
        "limit" => json!({ "type": "integer", "minimum": 1, "maximum": 200, "default": 50 }),
        "from" | "to" => json!({ "type": "string", "format": "date-time" }),
        "cursor" => json!({ "type": "string", "pattern": "^[A-Za-z0-9_-]*$" }),
        _ if place == "query" => json!({ "type": "string", "pattern": NO_CONTROLS }),
        _ => json!({ "type": "string" }),
    };
    json!({ "name": name, "in": place, "description": description, "required": required, "schema": schema })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// What [`problem::document`] makes.
fn problem_schema() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "type": "object",
        "properties": {
            "type": text("urn:chancery:problem: and the rule that was broken; stable."),
            "title": text("The status in words."),
            "status": { "type": "integer" },
            "detail": text("What is wrong with this request."),
            "trace_id": text("For `chancery explain`; also in the header Chancery-Trace-Id."),
            "pointer": text("The member of the body at fault (RFC 6901)."),
            "parameter": text("The parameter of the path or query at fault."),
            "header": text("The header at fault."),
        },
        "required": ["type", "title", "status", "detail", "trace_id"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(make: Option<MakeSchema>, contract: Contract, known: &mut BTreeMap<String, Value>) {
        let Some((name, schema)) = make.map(|make| generated(make, contract)) else { return };
        assert!(!name.is_empty() && name != "Problem");
        assert_eq!(known.entry(name.clone()).or_insert_with(|| schema.clone()), &schema, "{name}");
    }

    #[test]
    fn no_two_types_share_a_name() {
        let mut shown = BTreeMap::new();
        let mut sent = BTreeMap::new();
        for operation in table::operations() {
            let read = match operation.body {
                Body::None => None,
                Body::Json(make) | Body::Optional(make) | Body::Patch(make) => Some(make),
            };
            let answered = match operation.answer {
                Answer::Nothing => None,
                Answer::Found(make) | Answer::Made(make) | Answer::Kept(make) | Answer::Page(make) | Answer::Lines(make) => {
                    Some(make)
                }
            };
            note(read, SchemaSettings::for_deserialize, &mut sent);
            note(answered, SchemaSettings::for_serialize, &mut shown);
        }
        assert!(shown.len() > 5 && sent.len() > 3);
    }

    #[test]
    fn a_patch_may_leave_out_and_take_away_everything() {
        let document = document("https://id.example");
        let schema = |name: &str| document["components"]["schemas"][name].clone();
        assert!(schema("ResourceInput")["required"].as_array().is_some_and(|required| required.contains(&json!("identifier"))));
        assert_eq!(schema("ResourceReplacement")["required"], json!(["name"]), "the path says the identifier");
        assert_eq!(schema("ResourcePatch")["required"], Value::Null);
        for (name, property) in schema("ResourcePatch")["properties"].as_object().unwrap() {
            assert!(property["anyOf"].as_array().unwrap().contains(&json!({ "type": "null" })), "{name}");
        }
    }
}
