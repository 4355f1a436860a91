//! Authorisation of changes, over a real connection.

use std::io::Write;

use super::*;
use crate::status::access::TokenSource;
use crate::token::Token;

const TOKEN: &str = "correct-horse-battery";

/// A part with a changing endpoint.
fn order_part() -> Part {
    Part::new(|config| {
        let done = |body: web::Bytes| async move { format!("done, {} bytes", body.len()) };
        config.service(web::resource("/do").post(done).delete(done));
    })
}

fn listen_for(token: TokenSource) -> StatusListener {
    let access = Access { token, ..Access::default() };
    listen_with(Known(Ok(ProxyPhase::Running)), access, part::own().into_iter().chain([order_part()]).collect())
}

async fn post(listener: &StatusListener, headers: &[(&str, &str)], body: Vec<u8>) -> (u16, String) {
    let request = Request::post(format!("{}/do", client::url_of(listener.tcp_address().unwrap(), false)));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let mut response = Transport::new(None).send(request.body(body).unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&response.read(usize::MAX).await.unwrap()).into_owned();
    (response.status().as_u16(), text)
}

#[actix::test]
async fn orders_need_a_configured_token() {
    let listener = listen_for(TokenSource::None);
    let (status, text) = post(&listener, &[("x-proxymgr-token", TOKEN)], Vec::new()).await;
    assert_eq!(status, 403);
    assert!(text.contains("status.token"), "{text}");
    let url = client::url_of(listener.tcp_address().unwrap(), false);
    let request = Request::delete(format!("{url}/do")).body(Vec::new()).unwrap();
    let deleted = Transport::new(None).send(request).await.unwrap();
    assert_eq!(deleted.status().as_u16(), 403);
    listener.stop().await;
}

#[actix::test]
async fn orders_need_the_right_token() {
    let listener = listen_for(TokenSource::Given(Token::new(TOKEN).unwrap()));
    let bearer = format!("Bearer {TOKEN}");
    assert_eq!(post(&listener, &[("authorization", &bearer)], b"abc".to_vec()).await, (200, "done, 3 bytes".into()));
    let (status, text) = post(&listener, &[("authorization", "Bearer correct-horse-batterz")], Vec::new()).await;
    assert_eq!(status, 401);
    assert!(!text.contains("horse"), "{text}");
    let foreign = [("authorization", bearer.as_str()), ("origin", "http://evil.example")];
    assert_eq!(post(&listener, &foreign, Vec::new()).await.0, 403);
    listener.stop().await;
}

#[actix::test]
async fn body_size_is_limited() {
    let listener = listen_for(TokenSource::Given(Token::new(TOKEN).unwrap()));
    let token = [("x-proxymgr-token", TOKEN)];
    let (status, _) = post(&listener, &token, vec![b'x'; STATUS_BODY_BYTES_MAX]).await;
    assert_eq!(status, 200);
    let (status, text) = post(&listener, &token, vec![b'x'; STATUS_BODY_BYTES_MAX + 1]).await;
    assert_eq!(status, 413);
    assert!(text.contains("65536"), "{text}");
    listener.stop().await;
}

#[actix::test]
async fn token_file_is_read_again() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "first-token-of-all").unwrap();
    let listener = listen_for(TokenSource::File(file.path().to_owned()));
    let first = [("x-proxymgr-token", "first-token-of-all")];
    let second = [("x-proxymgr-token", "second-token-of-all")];
    assert_eq!(post(&listener, &first, Vec::new()).await.0, 200);

    std::fs::write(file.path(), "second-token-of-all\n").unwrap();
    assert_eq!(listener.read_secrets_again(), [""; 0]);
    assert_eq!(post(&listener, &first, Vec::new()).await.0, 401);
    assert_eq!(post(&listener, &second, Vec::new()).await.0, 200);

    std::fs::write(file.path(), "third\n").unwrap();
    let problems = listener.read_secrets_again();
    assert!(problems[0].contains("status.token_file") && !problems[0].contains("third"), "{problems:?}");
    assert_eq!(post(&listener, &second, Vec::new()).await.0, 200);
    listener.stop().await;
}

#[actix::test]
async fn missing_token_file_is_named() {
    let socket = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    let access = Access { token: TokenSource::File("/nowhere/token".into()), ..Access::default() };
    let view = Arc::new(Known(Ok(ProxyPhase::Running)));
    let started = StatusListener::start(socket, access, identity(), view, Vec::new());
    let error = started.err().unwrap();
    assert!(error.contains("/nowhere/token") && error.contains("status.token_file"), "{error}");
}
