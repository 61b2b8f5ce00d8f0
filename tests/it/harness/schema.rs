//! A judge of JSON against the schemas of the OpenAPI document (JSON Schema 2020-12, as far as our document uses it). A keyword that it
//! does not know fails the test: nothing passes because it was not looked at.

use serde_json::Value;

/// What does not fit, or nothing.
pub fn faults(document: &Value, schema: &Value, value: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    judge(document, schema, value, "", &mut faults);
    faults
}

fn judge(document: &Value, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
    let members = match schema {
        Value::Bool(true) => return,
        Value::Bool(false) => return faults.push(format!("{at}: nothing may be here")),
        Value::Object(members) => members,
        other => panic!("not a schema at {at}: {other}"),
    };
    let fits = |schema: &Value| self::faults(document, schema, value).is_empty();
    for (keyword, says) in members {
        let fine = match keyword.as_str() {
            "title" | "description" | "default" | "examples" | "deprecated" | "format" => true,
            "$ref" => {
                let pointer = says.as_str().unwrap().strip_prefix('#').expect("a reference within the document");
                let target = document.pointer(pointer).unwrap_or_else(|| panic!("{says} leads nowhere"));
                judge(document, target, value, at, faults);
                true
            }
            "type" => match says {
                Value::Array(types) => types.iter().any(|one| is_of(one.as_str().unwrap(), value)),
                one => is_of(one.as_str().unwrap(), value),
            },
            "const" => value == says,
            "enum" => says.as_array().unwrap().contains(value),
            "anyOf" => says.as_array().unwrap().iter().any(fits),
            "oneOf" => says.as_array().unwrap().iter().filter(|one| fits(one)).count() == 1,
            "allOf" => says.as_array().unwrap().iter().all(fits),
            "minimum" => value.as_f64().is_none_or(|number| number >= says.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= says.as_f64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= says.as_u64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 <= says.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= says.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= says.as_u64().unwrap()),
            "uniqueItems" => true,
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    judge(document, says, item, &format!("{at}/{number}"), faults);
                }
                true
            }
            "properties" => {
                for (name, property) in says.as_object().unwrap() {
                    if let Some(member) = value.get(name) {
                        judge(document, property, member, &format!("{at}/{name}"), faults);
                    }
                }
                true
            }
            "required" => {
                says.as_array().unwrap().iter().all(|name| !value.is_object() || value.get(name.as_str().unwrap()).is_some())
            }
            "additionalProperties" | "unevaluatedProperties" => {
                let others = ["allOf", "anyOf", "oneOf", "$ref"].iter().any(|other| members.contains_key(*other));
                assert!(keyword == "additionalProperties" || !others, "{keyword} beside others is not understood here");
                let known = members.get("properties").and_then(Value::as_object);
                for (name, member) in value.as_object().into_iter().flatten() {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        judge(document, says, member, &format!("{at}/{name}"), faults);
                    }
                }
                true
            }
            other => panic!("the keyword {other} is not understood here"),
        };
        if !fine {
            faults.push(format!("{at}: {keyword} is {says}, there is {value}"));
        }
    }
}

fn is_of(kind: &str, value: &Value) -> bool {
    match kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type {other}"),
    }
}

#[test]
fn it_finds_what_does_not_fit() {
    use serde_json::json;
    let document = json!({ "components": { "schemas": { "Name": { "type": "string", "enum": ["a", "b"] } } } });
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["name"],
        "properties": { "name": { "$ref": "#/components/schemas/Name" }, "ages": { "type": "array", "items": { "type": ["integer", "null"] } } },
    });
    let count = |value: Value| faults(&document, &schema, &value).len();
    assert_eq!(count(json!({ "name": "a", "ages": [1, null] })), 0);
    for wrong in [
        json!({}),
        json!({ "name": "c" }),
        json!({ "name": "a", "ages": ["1"] }),
        json!({ "name": "a", "more": 1 }),
        json!([]),
        json!({ "name": null }),
    ] {
        assert!(count(wrong.clone()) > 0, "{wrong}");
    }
}
