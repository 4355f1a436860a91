//! Any request, valid or not, gets a documented answer and never a server error.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::documented::assert_documented;
use super::*;
use crate::status::api::endpoints;

/// Requests per endpoint.
const REQUESTS: usize = 40;

/// A random name, parameter or value.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        Just("web".to_owned()),
        Just("..".to_owned()),
        Just("-1".to_owned()),
        Just("18446744073709551616".to_owned()),
        "[a-z0-9.:_-]{1,12}",
        proptest::collection::vec(any::<u8>(), 0..12)
            .prop_map(|bytes| bytes.iter().map(|byte| format!("%{byte:02X}")).collect()),
        Just("x".repeat(2_000)),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("after".to_owned()),
        Just("limit".to_owned()),
        Just("since".to_owned()),
        Just("service".to_owned()),
        word()
    ];
    let pair = (name, word()).prop_map(|(name, value)| format!("{name}={value}"));
    proptest::collection::vec(pair, 0..3).prop_map(|pairs| pairs.join("&"))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("1e999".to_owned()),
        Just(r#""30m""#.to_owned()),
        Just(r#""-1s""#.to_owned()),
        Just(r#""584542046091y""#.to_owned()),
        Just(r#""0s""#.to_owned()),
        Just(r#""a\nb""#.to_owned()),
        Just(format!("\"{}\"", "x".repeat(300))),
        Just("[[[[[[]]]]]]".to_owned()),
    ];
    let name = prop_oneof![Just("duration"), Just("reason"), Just("other")];
    prop_oneof![
        Just(Vec::new()),
        proptest::collection::vec(any::<u8>(), 0..30),
        Just("[".repeat(10_000).into_bytes()),
        (name, value).prop_map(|(name, value)| format!("{{\"{name}\": {value}}}").into_bytes()),
    ]
}

/// Sends a raw request, without the normalisation of an HTTP client.
async fn send_raw(listener: &StatusListener, method: &str, target: &str, body: &[u8]) -> (u16, String, Value) {
    let mut stream = TcpStream::connect(listener.tcp_address().unwrap()).await.unwrap();
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{method} {target}: {answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default().to_owned();
    (status, kind, serde_json::from_str(body).unwrap_or_else(|_| panic!("{method} {target}: {answer}")))
}

#[actix::test]
async fn no_request_causes_a_server_error() {
    let listener = listen();
    let mut runner = TestRunner::deterministic();
    let mut refused = 0;
    for endpoint in endpoints() {
        for _ in 0..REQUESTS {
            let mut draw = |strategy: BoxedStrategy<String>| strategy.new_tree(&mut runner).unwrap().current();
            let service = draw(word().boxed());
            let server = draw(word().boxed());
            let query = draw(query().boxed());
            let body = body().new_tree(&mut runner).unwrap().current();
            let body = if endpoint.method == "POST" { body } else { Vec::new() };
            let path = endpoint.path.replace("{service}", &service).replace("{server}", &server);
            let target = format!("{path}?{query}");
            let answer = send_raw(&listener, endpoint.method.as_str(), &target, &body).await;
            let (status, kind, problem) = &answer;
            assert!(*status < 500, "{} {target} {}: {problem}", endpoint.method, String::from_utf8_lossy(&body));
            refused += usize::from(*status >= 400);
            if *status >= 400 {
                assert_eq!(kind, "application/problem+json", "{target}");
            }
            // An empty name leads elsewhere, as do `.` and `..`.
            if !path.contains("//") && !path.contains("..") && !matches!(*status, 404 | 405) {
                assert_documented(endpoint.method.as_str(), endpoint.path, &target, &answer);
            }
        }
    }
    assert!(refused > endpoints().len() * REQUESTS / 4, "only {refused} were mistakes");
    listener.stop().await;
}
