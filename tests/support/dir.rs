//! One directory per test, for the files, sockets and output of its processes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use tempfile::TempDir;

use super::ports::Port;
use super::process::{self, Watchdog};

/// The directory of a test, or a subdirectory.
///
/// Clones and subdirectories share one root. When the last of them is dropped, all processes with the
/// mark of the root are killed, and the root is removed. If the test panics or `KEEP_TEST_DIRS` is set,
/// it is kept and its path is printed.
#[derive(Clone, Debug)]
pub struct TestDir {
    root: Arc<Root>,
    path: PathBuf,
}

#[derive(Debug)]
struct Root {
    dir: Option<TempDir>,
    test: String,
    ports: Mutex<Vec<Port>>,
    watchdog: OnceLock<Watchdog>,
}

impl TestDir {
    /// Creates the directory of the running test.
    pub fn new() -> Self {
        // Short, because the path of a unix socket has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("pm-").tempdir().expect("make the test's directory");
        let path = dir.path().to_path_buf();
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let root = Root { dir: Some(dir), test, ports: Mutex::default(), watchdog: OnceLock::new() };
        Self { root: Arc::new(root), path }
    }

    /// Creates a subdirectory; its processes can be killed separately.
    pub fn subdir(&self, name: &str) -> Self {
        let path = self.path.join(name);
        fs::create_dir_all(&path).unwrap_or_else(|error| panic!("make {}: {error}", path.display()));
        Self { root: Arc::clone(&self.root), path }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file, creates its directories, and returns its path.
    pub fn write(&self, name: impl AsRef<Path>, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path.join(name);
        let parent = path.parent().expect("a path below this directory has a parent");
        fs::create_dir_all(parent)
            .and_then(|()| fs::write(&path, text))
            .unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
        path
    }

    /// A free loopback port, reserved until the test ends.
    pub fn port(&self) -> u16 {
        let port = Port::reserve();
        let number = port.number();
        self.root.ports.lock().expect("no holder of this lock panics").push(port);
        number
    }

    /// Ensures that no process outlives the test, even if the test is killed.
    pub(super) fn watch_over_processes(&self) {
        self.root.watchdog.get_or_init(|| Watchdog::start(self.root.path()));
    }
}

impl Default for TestDir {
    fn default() -> Self {
        Self::new()
    }
}

impl Root {
    fn path(&self) -> &Path {
        self.dir.as_ref().expect("the directory is taken only on drop").path()
    }
}

#[allow(clippy::print_stderr, reason = "the reader of a failed test's output needs it")]
impl Drop for Root {
    fn drop(&mut self) {
        if self.watchdog.get().is_some() {
            process::sweep(self.path());
        }
        let dir = self.dir.take().expect("dropped once");
        if std::thread::panicking() || std::env::var_os("KEEP_TEST_DIRS").is_some() {
            eprintln!("{}: its files and logs are kept in {}", self.test, dir.keep().display());
        } else if let Err(error) = dir.close() {
            eprintln!("{}: cannot remove its directory: {error}", self.test);
        }
    }
}
