//! Files as tools really write them: editors, `mv`, Kubernetes, slowly, incorrectly.

#[path = "discovery/mod.rs"]
mod discovery;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::Duration;

use discovery::inbox::{Inbox, hosts, texts};
use discovery::kinds::{open, sources, spec};
use proxymgr::discovery::file::FileDefinitions;
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::model::RawDefinition;
use proxymgr_actors::port::{DefinitionSource, OpenSource};
use serde_json::json;
use slog::{Logger, o};
use support::dir::TestDir;

const A: (&str, Option<&str>) = ("10.0.0.1:80", Some("10.0.0.1:80"));
const B: (&str, Option<&str>) = ("10.0.0.2:80", Some("10.0.0.2:80"));

fn open_hosts(path: &Path) -> (Inbox<HostsSeen>, Box<dyn OpenSource>) {
    let inbox = Inbox::new();
    let source = open(&sources().0, &spec("file", json!({"path": path})), &inbox).unwrap();
    (inbox, source)
}

fn open_definitions(directory: &Path) -> (Inbox<DefinitionsSeen>, Box<dyn OpenSource>) {
    let inbox = Inbox::new();
    let definitions = FileDefinitions::new(directory.to_owned(), &Logger::root(slog::Discard, o!()));
    let source = definitions.open(inbox.recipient.clone());
    (inbox, source)
}

async fn until_texts<const N: usize>(
    inbox: &mut Inbox<DefinitionsSeen>,
    expected: [(&str, &str); N],
) -> DefinitionsSeen {
    let expected: BTreeMap<_, _> =
        expected.into_iter().map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
    inbox.until(format!("{expected:?}"), move |seen| texts(seen) == Ok(expected.clone())).await.0
}

#[actix::test]
async fn incomplete_file_is_not_read() {
    let dir = TestDir::new();
    let path = dir.write("web.hosts", "10.0.0.1:80\n");
    let (mut inbox, _source) = open_hosts(&path);
    inbox.until_hosts(&hosts([A])).await;
    let mut file = File::create(&path).unwrap();
    file.write_all(b"10.0.0.1:80\n10.0.0").unwrap();
    // Meanwhile another file in the directory changes.
    dir.write("other", "");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(inbox.waiting().is_empty());
    file.write_all(b".2:80\n").unwrap();
    drop(file);
    inbox.until_hosts(&hosts([A, B])).await;
}

#[actix::test]
async fn renames_and_replaced_links_are_noticed_at_once() {
    let dir = TestDir::new();
    // As in Kubernetes: a file is a link through `..data`, which a rename replaces.
    dir.write("mount/..v1/web.hosts", "10.0.0.1:80\n");
    dir.write("mount/..v2/web.hosts", "10.0.0.1:80\n10.0.0.2:80\n");
    symlink("..v1", dir.join("mount/..data")).unwrap();
    symlink("..data/web.hosts", dir.join("mount/web.hosts")).unwrap();
    let (mut linked, _linked) = open_hosts(&dir.join("mount/web.hosts"));
    linked.until_hosts(&hosts([A])).await;
    symlink("..v2", dir.join("mount/..data_tmp")).unwrap();
    let exchanged = std::time::Instant::now();
    fs::rename(dir.join("mount/..data_tmp"), dir.join("mount/..data")).unwrap();
    fs::remove_dir_all(dir.join("mount/..v1")).unwrap();
    linked.until_hosts(&hosts([A, B])).await;
    assert!(exchanged.elapsed() < Duration::from_secs(1), "by the event: {:?}", exchanged.elapsed());

    let plain = dir.write("web.hosts", "10.0.0.1:80\n");
    let (mut renamed, _renamed) = open_hosts(&plain);
    renamed.until_hosts(&hosts([A])).await;
    let new = dir.write(".web.hosts.tmp", "10.0.0.2:80\n");
    fs::rename(new, &plain).unwrap();
    renamed.until_hosts(&hosts([B])).await;
    // An editor first moves the old file away.
    fs::rename(&plain, dir.join("web.hosts~")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    fs::write(&plain, "10.0.0.1:80\n").unwrap();
    let seen = renamed.next().await;
    assert!(seen.result.is_ok(), "the moment without a file is not reported: {seen:?}");
}

#[actix::test]
async fn directory_may_be_created_later() {
    let dir = TestDir::new();
    let (mut inbox, _source) = open_hosts(&dir.join("later/web.hosts"));
    let error = inbox.next().await.result.unwrap_err();
    assert!(error.contains("later/web.hosts does not exist"), "{error}");
    dir.write("later/web.hosts", "10.0.0.1:80\n");
    inbox.until_hosts(&hosts([A])).await;
    fs::rename(dir.join("later"), dir.join("elsewhere")).unwrap();
    inbox.until_error().await;
    dir.write("later/web.hosts", "10.0.0.2:80\n");
    inbox.until_hosts(&hosts([B])).await;
}

#[actix::test]
async fn byte_order_marks_are_removed() {
    let dir = TestDir::new();
    let path = dir.write("web.hosts", "\u{feff}10.0.0.1:80\n");
    let (mut inbox, _source) = open_hosts(&path);
    inbox.until_hosts(&hosts([A])).await;
    dir.write("s/web.json", "\u{feff}{\"port\": 1}");
    dir.write("s/api.yml", "\u{feff}port: 1\n");
    let (mut inbox, _source) = open_definitions(&dir.join("s"));
    until_texts(&mut inbox, [("api", "{\"port\":1}"), ("web", "{\"port\": 1}")]).await;
}

#[actix::test]
async fn file_of_the_predecessor_is_read() {
    let dir = TestDir::new();
    let path = dir.write("web.hosts", "10.0.0.1:80\n");
    let text = json!({"type": "file", "file": path, "port": 80}).to_string();
    let raw = RawDefinition::new(text, "a test");
    let definition = service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition;
    let mut inbox = Inbox::new();
    let _source = open(&sources().0, &definition.source, &inbox).unwrap();
    inbox.until_hosts(&hosts([A])).await;
}

#[actix::test]
async fn duplicate_host_and_binary_file_are_errors() {
    let dir = TestDir::new();
    let path = dir.write("web.hosts", "# web\n10.0.0.1:80\n\n10.0.0.1:80\n");
    let (mut inbox, _source) = open_hosts(&path);
    let seen = inbox.until_hosts(&hosts([A, ("10.0.0.1:80 (line 4)", None)])).await;
    let error = seen.result.unwrap()[1].record.clone().unwrap_err();
    assert!(error.contains("web.hosts, line 4") && error.contains("line 2"), "{error}");
    dir.write("web.hosts", b"\xff\xfe");
    let (error, _) = inbox.until_error().await;
    assert!(error.contains("cannot read") && error.contains("web.hosts"), "{error}");
}

#[actix::test]
async fn json_and_yaml_files_are_definitions() {
    let dir = TestDir::new();
    dir.write("s/web.json", "{\"port\": 1}");
    dir.write("s/api.yml", "port: 2\nlisten_options:\n  - mode http\n");
    for ignored in [".hidden.json", "web.json~", "web.json.swp", "x.tmp", "README"] {
        dir.write(format!("s/{ignored}"), "{}");
    }
    let (mut inbox, source) = open_definitions(&dir.join("s"));
    let api = "{\"listen_options\":[\"mode http\"],\"port\":2}";
    let first = inbox.next().await;
    assert_eq!(texts(&first).unwrap().get("api").map(String::as_str), Some(api));
    let definitions = first.result.unwrap();
    assert_eq!(definitions.len(), 2);
    assert_eq!(*definitions["web"].origin, *dir.join("s/web.json").display().to_string());

    dir.write("s/web.json", "{\"port\": 3}");
    until_texts(&mut inbox, [("api", api), ("web", "{\"port\": 3}")]).await;
    fs::remove_file(dir.join("s/api.yml")).unwrap();
    until_texts(&mut inbox, [("web", "{\"port\": 3}")]).await;
    dir.write("s/new.yaml", "{}");
    until_texts(&mut inbox, [("new", "{}"), ("web", "{\"port\": 3}")]).await;
    source.refresh();
    until_texts(&mut inbox, [("new", "{}"), ("web", "{\"port\": 3}")]).await;
}

#[actix::test]
async fn unreadable_definition_affects_no_other() {
    let dir = TestDir::new();
    dir.write("s/web.json", "{}");
    dir.write("s/bad.yml", "a: [1\nb: }");
    dir.write("s/web.yml", "{}");
    dir.write("s/binary.json", b"\xff");
    let (mut inbox, _source) = open_definitions(&dir.join("s"));
    let definitions = inbox.next().await.result.unwrap();
    let problem = |name: &str| definitions[name].problem.as_ref().expect(name).to_string();
    assert_eq!(&*definitions["web"].text, "{}");
    assert!(problem("bad").starts_with("it is not YAML: line "), "{}", problem("bad"));
    let rivals: Vec<_> = definitions["web"].rivals.iter().map(|rival| rival.origin.to_string()).collect();
    assert!(matches!(&*rivals, [only] if only.ends_with("s/web.yml")), "{rivals:?}");
    assert!(problem("binary").starts_with("cannot read "), "{}", problem("binary"));
    assert!(definitions["bad"].origin.ends_with("s/bad.yml"));
}

#[actix::test]
async fn definition_replaced_by_an_editor_is_read_again() {
    let dir = TestDir::new();
    let web = dir.write("s/web.json", "{}");
    let (mut inbox, _source) = open_definitions(&dir.join("s"));
    until_texts(&mut inbox, [("web", "{}")]).await;
    fs::rename(&web, dir.join("s/web.json~")).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    fs::write(&web, "{\"port\": 1}").unwrap();
    // The grace period of a definition that is gone for a moment is that of the ServiceConfigActor.
    until_texts(&mut inbox, [("web", "{\"port\": 1}")]).await;
}

#[actix::test]
async fn missing_directory_is_an_error_until_created() {
    let dir = TestDir::new();
    let (mut inbox, _source) = open_definitions(&dir.join("s"));
    let error = inbox.next().await.result.unwrap_err();
    assert!(error.starts_with("cannot read the directory "), "{error}");
    dir.write("s/web.json", "{}");
    until_texts(&mut inbox, [("web", "{}")]).await;
    fs::remove_dir_all(dir.join("s")).unwrap();
    inbox.until("an error".into(), |seen| seen.result.is_err()).await;
}

#[actix::test]
async fn services_of_proxym_are_read() {
    let dir = TestDir::new();
    let proxym = |port: u16| {
        format!(
            r#"{{"Id": "file_example", "ApplicationProtocol": "http", "TransportProtocol": "tcp", "Port": 1234,
                 "Domains": ["example.org"], "Config": "option forwardfor", "Hosts": [{{"Ip": "1.2.3.4", "Port": {port}}}]}}"#
        )
    };
    dir.write("s/myapp.json", proxym(1));
    dir.write("s/web.json", "\u{feff}{}");
    dir.write("s/taken.json", proxym(2));
    dir.write("s/udp.json", proxym(3).replace("\"tcp\"", "\"udp\"").replace("file_example", "udp"));
    let (mut inbox, _source) = open_definitions(&dir.join("s"));
    let definitions = inbox.next().await.result.unwrap();
    assert_eq!(Vec::from_iter(definitions.keys().map(|name| &**name)), ["file_example", "udp", "web"]);
    let text = &definitions["file_example"].text;
    assert!(text.contains("\"type\":\"static\"") && text.contains("\"port\":1}"), "{text}");
    let problem = |name: &str| definitions[name].problem.as_ref().expect(name).to_string();
    let rivals: Vec<_> = definitions["file_example"].rivals.iter().map(|rival| rival.origin.to_string()).collect();
    assert!(matches!(&*rivals, [only] if only.ends_with("s/taken.json")), "{rivals:?}");
    assert!(problem("udp").contains("does not carry the protocol"), "{:?}", definitions["udp"]);
    assert_eq!(&*definitions["web"].text, "{}", "without its byte order mark");
    fs::remove_file(dir.join("s/taken.json")).unwrap();
    fs::rename(dir.write("s/.new", proxym(4)), dir.join("s/myapp.json")).unwrap();
    inbox
        .until("the changed host".into(), |seen| {
            let definitions = seen.result.as_ref().unwrap();
            definitions.len() == 3 && definitions["file_example"].text.contains("\"port\":4}")
        })
        .await;
}

#[actix::test]
async fn config_map_is_replaced_as_a_whole() {
    let dir = TestDir::new();
    for (version, port) in [("..v1", 1), ("..v2", 2)] {
        dir.write(format!("s/{version}/web.json"), format!("{{\"port\": {port}}}"));
        dir.write(format!("s/{version}/api.json"), format!("{{\"port\": {port}}}"));
    }
    symlink("..v1", dir.join("s/..data")).unwrap();
    for name in ["web.json", "api.json"] {
        symlink(Path::new("..data").join(name), dir.join("s").join(name)).unwrap();
    }
    let (mut inbox, _source) = open_definitions(&dir.join("s"));
    until_texts(&mut inbox, [("api", "{\"port\": 1}"), ("web", "{\"port\": 1}")]).await;
    symlink("..v2", dir.join("s/..data_tmp")).unwrap();
    let exchanged = std::time::Instant::now();
    fs::rename(dir.join("s/..data_tmp"), dir.join("s/..data")).unwrap();
    fs::remove_dir_all(dir.join("s/..v1")).unwrap();
    let both = |seen: &DefinitionsSeen| {
        let texts = texts(seen).expect("the directory is never gone");
        assert_eq!(texts.len(), 2, "no definition is missing meanwhile");
        texts.values().all(|text| text == "{\"port\": 2}")
    };
    inbox.until("both are exchanged".into(), both).await;
    assert!(exchanged.elapsed() < Duration::from_secs(1), "by the event: {:?}", exchanged.elapsed());
}

#[actix::test]
async fn named_pipe_does_not_block() {
    let dir = TestDir::new();
    nix::unistd::mkfifo(&dir.join("web.hosts"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    fs::set_permissions(dir.join("web.hosts"), Permissions::from_mode(0o600)).unwrap();
    let (mut inbox, _source) = open_hosts(&dir.join("web.hosts"));
    let error = inbox.next().await.result.unwrap_err();
    assert!(error.contains("not a regular file"), "{error}");
}
