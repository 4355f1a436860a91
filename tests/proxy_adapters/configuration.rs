//! `HaproxyConfigFile`: candidates are checked before HAProxy uses them, and the old file stays complete.

use std::fs;
use std::os::fd::RawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use proxymgr::proxy::config_file::HaproxyConfigFile;
use proxymgr::proxy::listening_sockets::KernelListeningSockets;
use proxymgr_actors::decide::base;
use proxymgr_actors::decide::haproxy_config::{SectionStyle, section};
use proxymgr_actors::decide::option_policy::OptionPolicy;
use proxymgr_actors::decide::server_ids::ServerIds;
use proxymgr_actors::decide::service_definition;
use proxymgr_actors::model::{BaseConfig, HostList, ProxyManagement, ProxyVersion, RawDefinition};
use proxymgr_actors::port::{CheckFailure, ConfigFile, ConfigText, HeldSocket, ListeningSockets};

use crate::support::dir::TestDir;
use crate::support::haproxy::{self, HaproxyVersion, RunningHaproxy, installed, versions};
use crate::{DEFAULTS, any_port, binary, descriptor, quiet};

fn config_file(version: &HaproxyVersion, dir: &TestDir) -> HaproxyConfigFile {
    HaproxyConfigFile::new(binary(version), dir.join("haproxy.cfg"), quiet())
}

fn text(pieces: &[&str]) -> ConfigText {
    ConfigText { pieces: pieces.iter().map(|piece| (*piece).into()).collect(), ..ConfigText::default() }
}

fn held_socket() -> Box<dyn HeldSocket> {
    KernelListeningSockets::new().open(&any_port(), &[]).unwrap()
}

fn listen(name: &str, descriptor: RawFd, line: &str) -> String {
    format!("listen {name}\n    bind fd@{descriptor}\n    {line}\n    server a 127.0.0.1:1\n")
}

#[tokio::test]
async fn promoted_candidate_becomes_the_live_file() {
    for version in versions() {
        let dir = TestDir::new();
        let (file, socket) = (config_file(&version, &dir), held_socket());
        let good = listen("web", descriptor(socket.as_ref()), "balance roundrobin");
        file.check(text(&[DEFAULTS, &good]), vec![descriptor(socket.as_ref())]).await.unwrap();
        assert!(!dir.join("haproxy.cfg").exists(), "{version}: a check alone changes nothing");
        file.promote().await.unwrap();
        assert_eq!(fs::read_to_string(dir.join("haproxy.cfg")).unwrap(), format!("{DEFAULTS}{good}"), "{version}");
        assert!(file.promote().await.is_err(), "{version}: there is nothing left to promote");
    }
}

#[tokio::test]
async fn refused_candidate_is_kept_with_its_messages() {
    for version in versions() {
        let dir = TestDir::new();
        let (file, socket) = (config_file(&version, &dir), held_socket());
        dir.write("haproxy.cfg", "# live\n");
        let bad = listen("web", descriptor(socket.as_ref()), "no-such-keyword 1");
        let failure = file.check(text(&[DEFAULTS, &bad]), vec![descriptor(socket.as_ref())]).await.unwrap_err();
        let CheckFailure::Rejected { messages } = failure else { panic!("{version}: {failure}") };
        let line = DEFAULTS.lines().count() + 3;
        assert_eq!(messages[0].line, Some(line), "{version}: {messages:#?}");
        assert_eq!(messages[0].text, "unknown keyword 'no-such-keyword' in 'listen' section", "{version}");
        assert!(file.promote().await.is_err(), "{version}: a refused candidate is not promoted");
        assert_eq!(fs::read_to_string(dir.join("haproxy.cfg")).unwrap(), "# live\n", "{version}");
        let kept = fs::read_to_string(dir.join("haproxy.cfg.candidate")).unwrap();
        assert!(kept.ends_with(&bad), "{version}: {kept}");
    }
}

#[tokio::test]
async fn every_refused_line_is_named() {
    for version in versions() {
        let dir = TestDir::new();
        let (file, socket) = (config_file(&version, &dir), held_socket());
        let fd = descriptor(socket.as_ref());
        let two_bad = [listen("a", fd, "bogus"), listen("b", fd, "option httplog"), listen("c", fd, "balance odd")];
        let pieces: Vec<&str> = [DEFAULTS].into_iter().chain(two_bad.iter().map(String::as_str)).collect();
        let failure = file.check(text(&pieces), vec![fd]).await.unwrap_err();
        let CheckFailure::Rejected { messages } = failure else { panic!("{version}: {failure}") };
        let first = DEFAULTS.lines().count();
        let lines: Vec<Option<usize>> = messages.iter().take(2).map(|message| message.line).collect();
        assert_eq!(lines, [Some(first + 3), Some(first + 11)], "{version}: {messages:#?}");
    }
}

#[tokio::test]
async fn a_configuration_without_a_listener_is_no_mistake() {
    for version in versions() {
        let dir = TestDir::new();
        config_file(&version, &dir).check(text(&[DEFAULTS]), Vec::new()).await.unwrap();
    }
}

#[tokio::test]
async fn a_missing_program_is_named_with_its_setting() {
    let dir = TestDir::new();
    let missing = HaproxyVersion { path: "/nonexistent/haproxy".into(), ..installed() };
    let failure = config_file(&missing, &dir).check(text(&[DEFAULTS]), Vec::new()).await.unwrap_err();
    let said = failure.to_string();
    assert!(said.contains("/nonexistent/haproxy") && said.contains("haproxy.path"), "{said}");
    let version = binary(&missing).version().await.unwrap_err();
    assert!(version.contains("/nonexistent/haproxy"), "{version}");
}

#[tokio::test]
async fn version_of_a_program_is_read() {
    for version in versions() {
        let (parsed, said) = binary(&version).version().await.unwrap();
        assert_eq!((parsed.major, parsed.minor), version.branch);
        assert!(said.starts_with(&version.label), "{said}");
    }
}

/// A file system of 64 KiB, until dropped.
struct TinyFileSystem(PathBuf);

impl TinyFileSystem {
    /// Returns `None` if this user must not mount.
    fn mount(at: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(at).output().ok()?;
        mounted.status.success().then(|| Self(at.to_owned()))
    }
}

impl Drop for TinyFileSystem {
    fn drop(&mut self) {
        // If this fails, the removal of the test's directory fails and reports it.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn full_disk_keeps_the_old_file() {
    let dir = TestDir::new();
    let disk = dir.subdir("disk");
    let Some(_mounted) = TinyFileSystem::mount(disk.path()) else {
        eprintln!("skipped: this user may not mount a file system");
        return;
    };
    let file = HaproxyConfigFile::new(binary(&installed()), disk.join("haproxy.cfg"), quiet());
    file.write(text(&["# old\n"])).await.unwrap();
    let large = "# large\n".repeat(20_000);
    let written = file.write(text(&[&large])).await.unwrap_err();
    let checked = file.check(text(&[&large]), Vec::new()).await.unwrap_err().to_string();
    let left = fs::read_to_string(disk.join("haproxy.cfg")).unwrap();
    let files = fs::read_dir(disk.path()).unwrap().count();
    file.write(text(&["# new\n"])).await.unwrap();
    assert!(written.contains("haproxy.cfg.new") && written.contains("free some space"), "{written}");
    assert!(checked.contains("haproxy.cfg.candidate") && checked.contains("free some space"), "{checked}");
    assert_eq!((left.as_str(), files), ("# old\n", 1), "the old file is complete, and no other file remains");
}

#[tokio::test]
async fn tcp_service_is_accepted_under_http_only_log_format() {
    for version in versions() {
        let dir = TestDir::new();
        let (file, socket) = (config_file(&version, &dir), held_socket());
        let (major, minor) = version.branch;
        let base = BaseConfig {
            files: Vec::new(),
            global: Vec::new(),
            defaults: ["mode http", "log 127.0.0.1:514 local0", "log-format \"%ci %HM %{+Q}r\""]
                .map(str::to_owned)
                .into(),
            socket_path: dir.join("stats.sock"),
            map_path: dir.join("domains"),
            state_file: None,
            management: ProxyManagement::Supervised,
        };
        let style = SectionStyle::of(&base::layout(&base), Some(ProxyVersion { major, minor }));
        let raw = RawDefinition::new(r#"{"type": "static", "port": 1, "listen_options": "mode tcp"}"#, "a test");
        let web = service_definition::parse("web", &raw, &OptionPolicy::default()).unwrap().definition;
        let fd = descriptor(socket.as_ref());
        let held = web.addresses().map(|address| (address, Some(fd))).collect();
        let rendered =
            |style| text(&[&base::text(&base), &section(&web, &held, &HostList::new(), &ServerIds::default(), style)]);
        let without = file.check(rendered(SectionStyle { http_log_by_default: false, ..style }), vec![fd]).await;
        assert_eq!(without.is_err(), version.branch < (3, 0), "{version}: {without:?}");
        file.check(rendered(style), vec![fd]).await.unwrap_or_else(|failure| panic!("{version}: {failure}"));
    }
}

/// `base_config` relies on it: of `init-addr libc,last,none`, `last` is the address in the state file.
#[test]
fn name_that_does_not_resolve_keeps_its_last_address() {
    for version in versions() {
        let dir = TestDir::new();
        let config = |init_addr: &str, global: &str, defaults: &str| {
            format!(
                "global\n    {global}\ndefaults\n    mode http\n    timeout connect 1s\n    timeout client 1s\n    timeout server 1s\n    \
                 {defaults}\nbackend web\n    default-server init-addr {init_addr}\n    server s no-such-name.invalid:80 id 70000\n"
            )
        };
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let haproxy = RunningHaproxy::start(&dir, &version, &config("none", "", "")).await;
            let unresolved = haproxy::servers_state(&haproxy.socket).await.unwrap();
            assert!(unresolved[0].is_in_maintenance(), "{version}: {unresolved:?}");
            let answer = haproxy::runtime(&haproxy.socket, "show servers state").await.unwrap();
            let columns: Vec<&str> = answer.lines().nth(1).unwrap().split(' ').skip(1).collect();
            let mut row: Vec<&str> = answer.lines().nth(2).unwrap().split(' ').collect();
            for (column, value) in [("srv_addr", "10.0.0.7"), ("srv_admin_state", "0"), ("srv_op_state", "2")] {
                row[columns.iter().position(|name| *name == column).unwrap()] = value;
            }
            let lines: Vec<&str> = answer.lines().take(2).collect();
            let state = dir.write("state", format!("{}\n{}\n", lines.join("\n"), row.join(" ")));
            drop(haproxy);
            let (global, defaults) =
                (format!("server-state-file {}", state.display()), "load-server-state-from-file global");
            let haproxy = RunningHaproxy::start(&dir, &version, &config("libc,last,none", &global, defaults)).await;
            let servers = haproxy::servers_state(&haproxy.socket).await.unwrap();
            assert_eq!((servers[0].address(), servers[0].is_in_maintenance()), ("10.0.0.7", false), "{version}");
        });
    }
}
