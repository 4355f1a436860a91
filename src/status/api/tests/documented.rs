//! Every endpoint is documented in `openapi.json` and answers accordingly.

use std::collections::BTreeSet;

use super::schema::faults;
use super::*;
use crate::status::api::{OPENAPI, endpoints};

fn document() -> Value {
    serde_json::from_str(OPENAPI).unwrap()
}

/// All operations of the document: method, path, description.
fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().iter();
            methods.map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation))
        })
        .collect()
}

/// The documented answer with this status.
fn documented_answer<'a>(document: &'a Value, operation: &'a Value, status: u16) -> Option<&'a Value> {
    let answer = operation["responses"].get(status.to_string())?;
    match answer.get("$ref") {
        Some(path) => document.pointer(path.as_str().unwrap().trim_start_matches('#')),
        None => Some(answer),
    }
}

/// Asserts that an answer matches the documentation.
#[track_caller]
pub fn assert_documented(method: &str, path: &str, asked: &str, (status, kind, body): &(u16, String, Value)) {
    let document = document();
    let operation = &document["paths"][path][method.to_lowercase()];
    let answer = documented_answer(&document, operation, *status);
    let answer = answer.unwrap_or_else(|| panic!("{method} {asked}: {status} is not documented: {body}"));
    let schema =
        &answer["content"].get(kind).unwrap_or_else(|| panic!("{method} {asked}: {kind} for {status}"))["schema"];
    assert_eq!(faults(&document, schema, body, "the answer"), [""; 0], "{method} {asked}");
}

#[test]
fn endpoints_match_documentation() {
    let document = document();
    let documented: BTreeSet<_> = operations(&document).into_iter().map(|(method, path, _)| (method, path)).collect();
    let there: BTreeSet<_> = endpoints().into_iter().map(|e| (e.method.to_string(), e.path.to_owned())).collect();
    assert_eq!(documented, there);
}

#[test]
fn operations_have_unique_names_and_documented_parameters() {
    let document = document();
    let mut names = BTreeSet::new();
    for (method, path, operation) in operations(&document) {
        assert!(names.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
        let parameters = operation["parameters"].as_array().unwrap();
        for name in path.split(['{', '}']).skip(1).step_by(2) {
            assert!(parameters.iter().any(|p| p["name"] == name && p["in"] == "path"), "{method} {path}: {name}");
        }
        assert_eq!(operation.get("security").is_some(), method != "GET", "{method} {path}");
    }
}

#[actix::test]
async fn answers_match_documentation() {
    let listener = listen();
    for (method, path, _) in operations(&document()) {
        for (service, server) in [("web", "10.0.0.2:80"), ("none", "none"), ("web", "unknown"), ("not a name", "ä")] {
            let escaped = |text: &str| text.replace(' ', "%20").replace('ä', "%C3%A4");
            let asked = path.replace("{service}", &escaped(service));
            let asked = asked.replace("{server}", &escaped(server)).replace("{address}", &escaped(server));
            let body = match path.as_str() {
                "/api/v1/log" => r#"{"component": "watcher"}"#,
                path if path.starts_with("/annotations") => "{}",
                _ => "",
            };
            let answer = send(&listener, &method, &asked, if method == "POST" { body } else { "" }).await;
            assert!(service != "web" || server == "unknown" || answer.0 == 200, "{method} {asked}: {answer:?}");
            assert_documented(&method, &path, &asked, &answer);
            if !path.contains('{') {
                break;
            }
        }
    }
    listener.stop().await;
}
