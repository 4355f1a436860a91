//! The subset of JSON Schema that `openapi.json` uses. Unknown keywords are errors.

use serde_json::Value;

/// Violations of the schema; empty if there are none.
pub fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{at}: {what}"));
    for (keyword, wanted) in schema.as_object().expect("a schema is an object") {
        match keyword.as_str() {
            "description" => {}
            "$ref" => {
                let path = wanted.as_str().unwrap().trim_start_matches('#');
                let target = document.pointer(path).unwrap_or_else(|| panic!("{path} is not there"));
                self::faults(document, target, value, at).into_iter().for_each(&mut fault);
            }
            "anyOf" => {
                let ways = wanted.as_array().unwrap();
                let tried: Vec<_> = ways.iter().map(|way| self::faults(document, way, value, at)).collect();
                if !tried.iter().any(Vec::is_empty) {
                    fault(format!("fits none of {tried:?}"));
                }
            }
            "type" => {
                let names: Vec<&Value> = wanted.as_array().map_or_else(|| vec![wanted], |names| names.iter().collect());
                if !names.iter().any(|name| is_a(value, name.as_str().unwrap())) {
                    fault(format!("{value} is none of {names:?}"));
                }
            }
            "enum" => {
                if !wanted.as_array().unwrap().contains(value) {
                    fault(format!("{value} is not among {wanted}"));
                }
            }
            "minimum" => {
                if value.as_i64().is_some_and(|number| number < wanted.as_i64().unwrap()) {
                    fault(format!("{value} is less than {wanted}"));
                }
            }
            "maxLength" => {
                if value.as_str().is_some_and(|text| text.chars().count() as u64 > wanted.as_u64().unwrap()) {
                    fault(format!("{value} is longer than {wanted}"));
                }
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    self::faults(document, wanted, item, &format!("{at}[{n}]")).into_iter().for_each(&mut fault);
                }
            }
            "properties" => {
                for (name, property) in wanted.as_object().unwrap() {
                    let Some(item) = value.get(name) else { continue };
                    self::faults(document, property, item, &format!("{at}.{name}")).into_iter().for_each(&mut fault);
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap().iter().filter_map(Value::as_str) {
                    if value.is_object() && value.get(name).is_none() {
                        fault(format!("{name} is missing"));
                    }
                }
            }
            "additionalProperties" => {
                assert_eq!(wanted, &Value::Bool(false), "nothing else is known");
                let known = schema.get("properties").and_then(Value::as_object);
                for name in value.as_object().into_iter().flat_map(|object| object.keys()) {
                    if known.is_none_or(|known| !known.contains_key(name)) {
                        fault(format!("{name} is not documented"));
                    }
                }
            }
            unknown => panic!("{at}: the keyword {unknown} is not known here"),
        }
    }
    faults
}

fn is_a(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        unknown => panic!("the type {unknown} is not known here"),
    }
}

#[test]
fn violations_are_found() {
    use serde_json::json;
    let document = json!({"N": {"type": "integer", "minimum": 0}});
    let schema = json!({"type": "object", "required": ["a"], "additionalProperties": false, "properties": {
        "a": {"type": "array", "items": {"$ref": "#/N"}},
        "b": {"anyOf": [{"type": "null"}, {"enum": ["x"]}]},
    }});
    for good in [json!({"a": []}), json!({"a": [1, 2], "b": null}), json!({"a": [], "b": "x"})] {
        assert_eq!(faults(&document, &schema, &good, "it"), [""; 0], "{good}");
    }
    for bad in [
        json!([]),
        json!({}),
        json!({"a": [-1]}),
        json!({"a": ["x"]}),
        json!({"a": [], "b": "y"}),
        json!({"a": [], "c": 1}),
    ] {
        assert_eq!(faults(&document, &schema, &bad, "it").len(), 1, "{bad}");
    }
}
