//! A certificate authority for one test, created with `openssl`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::dir::TestDir;
use super::process::Process;

/// A self-signed authority, and certificates for 127.0.0.1 and `localhost`, in PEM format.
#[derive(Clone, Debug)]
pub struct TestCa {
    /// Certificate of the authority, for clients.
    pub ca: PathBuf,
    /// Private key and certificate of the server in one file, as ZooKeeper requires.
    pub server: PathBuf,
    /// Certificate of a client.
    pub client_cert: PathBuf,
    /// Private key of that client (PKCS #8).
    pub client_key: PathBuf,
    dir: TestDir,
}

impl TestCa {
    /// Creates an authority and its certificates in `dir`.
    pub fn new(dir: &TestDir) -> Self {
        let dir = dir.subdir("tls");
        openssl(
            dir.path(),
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test-ca \
             -addext basicConstraints=critical,CA:TRUE -keyout ca.key -out ca.pem",
        );
        let (server_key, server_cert) = sign(&dir, "server");
        let (client_key, client_cert) = sign(&dir, "client");
        let both = [server_key, server_cert].map(|path| fs::read_to_string(path).expect("openssl has written it"));
        let server = dir.write("server-key-and-cert.pem", both.concat());
        Self { ca: dir.join("ca.pem"), server, client_cert, client_key, dir }
    }

    /// Returns a new certificate for this DNS name that names an OCSP responder on a local port, with the authority and
    /// its key. The responder answers that it is good.
    pub fn stapled_certificate(&self, name: &str, responder: u16) -> String {
        let url = format!("http://127.0.0.1:{responder}");
        let (key, certificate) = sign_for(&self.dir, name, &format!("DNS:{name}\nauthorityInfoAccess=OCSP;URI:{url}"));
        let mut serial = Command::new("openssl");
        let serial = serial.args(["x509", "-noout", "-serial", "-in"]).arg(&certificate).output();
        let serial = String::from_utf8(serial.expect("openssl runs").stdout).expect("text");
        let serial = serial.trim().trim_start_matches("serial=").to_owned();
        // The database of `openssl ca`: valid, expires in 2049, serial number, file, subject.
        let known = fs::read_to_string(self.dir.join("index")).unwrap_or_default();
        self.dir.write("index", format!("{known}V\t491231235959Z\t\t{serial}\tunknown\t/CN={name}\n"));
        self.dir.write("index.attr", "unique_subject = no\n");
        let files = [key, certificate, self.ca.clone()];
        files.map(|path| fs::read_to_string(path).expect("openssl has written it")).concat()
    }

    /// Starts the OCSP responder of the authority on a local port; it knows the certificates that exist now.
    pub fn responder(&self, port: u16) -> Process {
        let mut command = Command::new("openssl");
        command.args(["ocsp", "-index", "index", "-CA", "ca.pem", "-rsigner", "ca.pem", "-rkey", "ca.key"]);
        command.args(["-ndays", "1", "-port", &port.to_string()]).current_dir(self.dir.path());
        Process::start(&self.dir, "ocsp", command)
    }

    /// Returns a new certificate for this DNS name, with its key.
    pub fn certificate(&self, name: &str) -> String {
        let files = sign_for(&self.dir, name, &format!("DNS:{name}"));
        [files.0, files.1].map(|path| fs::read_to_string(path).expect("openssl has written it")).concat()
    }
}

/// Creates a key, and a certificate signed by the authority in `dir`.
fn sign(dir: &TestDir, name: &str) -> (PathBuf, PathBuf) {
    sign_for(dir, name, "IP:127.0.0.1,DNS:localhost")
}

fn sign_for(dir: &TestDir, name: &str, names: &str) -> (PathBuf, PathBuf) {
    dir.write("extensions", format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n"));
    openssl(
        dir.path(),
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ),
    );
    openssl(
        dir.path(),
        &format!(
            "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out {name}.pem"
        ),
    );
    (dir.join(format!("{name}.key")), dir.join(format!("{name}.pem")))
}

fn openssl(dir: &Path, arguments: &str) {
    let output = Command::new("openssl").args(arguments.split_whitespace()).current_dir(dir).output();
    let output = output.expect("run openssl: tests/setup/install.sh test installs it");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
