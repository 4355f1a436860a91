//! `proxymgr demo`: the daemon on one machine, with services from a directory of files and three small backends.

mod backends;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::{fs, io};

use minijinja::{Environment, UndefinedBehavior, context};
use proxymgr_actors::model::ProcessInfo;
use tempfile::TempDir;

use crate::daemon::{Daemon, supported_version};
use crate::failure::Failure;
use crate::logging::Logging;
use crate::proxy::haproxy_binary::HaproxyBinary;
use crate::settings::{Settings, SettingsSources};

const SETTINGS: &str = include_str!("../config/demo/proxymgr.yml");
const SERVICE: &str = include_str!("../config/demo/services/hello.json");
const GUIDE: &str = include_str!("../config/demo/guide.txt");

/// Number of backends.
const BACKENDS: usize = 3;

/// Preferred ports; a free port is used if they are in use.
const PORT_PREFERRED: u16 = 8080;
const STATUS_PORT_PREFERRED: u16 = 8470;

/// Runs until Ctrl-C.
pub fn run(haproxy: &Path, port: Option<u16>, debug: bool) -> Result<(), Failure> {
    let binary = HaproxyBinary::new(haproxy);
    actix::System::new().block_on(supported_version(&binary)).map_err(|failure| {
        let how = "the demo needs HAProxy: `sudo apt-get install haproxy`, or pass its binary with --haproxy";
        Failure::CannotStart(format!("{failure}\n{how}"))
    })?;
    let workspace = workspace().map_err(cannot("create a temporary directory"))?;
    let backends = backends::start(BACKENDS).map_err(cannot("start the backends"))?;
    let port = front_port(port)?;
    let status_port = free_port(STATUS_PORT_PREFERRED)?;
    fill(workspace.path(), port, &backends)?;
    let settings_file = settings_file(workspace.path(), haproxy, status_port, debug)?;
    let sources = SettingsSources { file: Some(settings_file), ..SettingsSources::default() };
    let settings = Settings::load(&sources)?.settings;
    let logging = Logging::to_stderr(&settings.log);
    let directory = workspace.path().display().to_string();
    let guide = Guide { directory, port, next_port: free_port(port.wrapping_add(1))?, status_port, first: backends[0] };
    Daemon::prepare(settings, Some(sources), logging, None)?.run(move |process| guide.print(process.as_ref()))
}

/// The directory of one demo, deleted when dropped.
fn workspace() -> io::Result<TempDir> {
    tempfile::Builder::new().prefix("proxymgr-demo-").tempdir()
}

/// Writes the demo's service and its hosts.
fn fill(directory: &Path, port: u16, backends: &[SocketAddr]) -> Result<(), Failure> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let service = render(SERVICE, &context! { directory => text(directory), port })?;
    let hosts: String = backends.iter().map(|backend| format!("{backend}\n")).collect();
    for (folder, name, content) in [("services", "hello.json", service), ("hosts", "hello.txt", hosts)] {
        let folder = directory.join(folder);
        fs::create_dir(&folder)
            .and_then(|()| fs::write(folder.join(name), content))
            .map_err(cannot("write the demo's files"))?;
    }
    Ok(())
}

/// Writes the settings: those of an ordinary daemon, with all files in one directory, so that commands find it by them.
fn settings_file(directory: &Path, haproxy: &Path, status_port: u16, debug: bool) -> Result<PathBuf, Failure> {
    let (text, haproxy) = (directory.to_string_lossy(), haproxy.to_string_lossy());
    let settings = render(SETTINGS, &context! { directory => text, haproxy, status_port, debug })?;
    let path = directory.join("proxymgr.yml");
    fs::write(&path, settings).map_err(cannot("write the demo's settings"))?;
    Ok(path)
}

/// Values of the guide that the demo prints.
struct Guide {
    directory: String,
    port: u16,
    next_port: u16,
    status_port: u16,
    first: SocketAddr,
}

impl Guide {
    fn print(&self, process: Option<&ProcessInfo>) {
        let program = std::env::args().next().unwrap_or_else(|| "proxymgr".to_owned());
        let pid = process.map_or_else(|| "PID".to_owned(), |process| process.pid.to_string());
        let context = context! {
            haproxy => process.map_or("", |process| &process.version_text),
            program,
            page => format!("http://127.0.0.1:{}/", self.status_port),
            directory => &self.directory,
            first_host => self.first.to_string(),
            next_port => self.next_port,
            port => self.port,
            pid,
        };
        let text = render(GUIDE, &context).unwrap_or_else(|failure| failure.to_string());
        crate::terminal::print(&text);
    }
}

/// Renders a template of the demo.
fn render(template: &str, context: &minijinja::Value) -> Result<String, Failure> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
        .render_str(template, context)
        .map_err(|error| Failure::CannotStart(format!("cannot write the demo's files: {error}")))
}

fn front_port(asked: Option<u16>) -> Result<u16, Failure> {
    match asked {
        Some(port) => TcpListener::bind((Ipv4Addr::LOCALHOST, port)).map(|_| port).map_err(|error| {
            Failure::CannotStart(format!("cannot listen on port {port}: {error}; choose another with --port"))
        }),
        None => free_port(PORT_PREFERRED),
    }
}

/// The preferred port if it is free, otherwise any free port.
fn free_port(preferred: u16) -> Result<u16, Failure> {
    let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, preferred))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
        .and_then(|socket| socket.local_addr());
    socket.map(|address| address.port()).map_err(cannot("find a free port"))
}

fn cannot(what: &'static str) -> impl Fn(std::io::Error) -> Failure {
    move |error| Failure::CannotStart(format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stay_in_demo_directory() {
        let workspace = workspace().unwrap();
        let directory = workspace.path();
        let file = settings_file(directory, Path::new("/opt/\"x\"/haproxy"), 8470, true).unwrap();
        let settings = Settings::load(&SettingsSources::at(&file)).unwrap().settings;
        assert!(settings.haproxy.config_path.starts_with(directory));
        assert!(settings.haproxy.policy.base_config.socket_path.starts_with(directory));
        assert!(settings.state_dir.starts_with(directory));
    }

    #[test]
    fn demo_removes_its_directory() {
        let workspace = workspace().unwrap();
        fill(workspace.path(), 8080, &["127.0.0.1:1".parse().unwrap()]).unwrap();
        let service = fs::read_to_string(workspace.path().join("services/hello.json")).unwrap();
        let definition: serde_json::Value = serde_json::from_str(&service).unwrap();
        assert_eq!(definition["port"], 8080);
        assert!(!service.contains("{{"), "{service}");
        let directory = workspace.path().to_owned();
        drop(workspace);
        assert!(!directory.exists());
    }
}
