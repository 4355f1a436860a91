//! Certificates that change while clients connect, with real HAProxys.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::stage::{LIMIT, ServiceFiles, addresses, backends, daemon, reloads, wait_for_ready};
use crate::support::background;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::haproxy::versions;
use crate::support::tls::TestCa;

/// How often the certificate changes per version of HAProxy; the environment variable ROTATIONS sets another number.
const ROTATIONS: usize = 4;

fn rotations() -> usize {
    std::env::var("ROTATIONS").ok().and_then(|number| number.parse().ok()).unwrap_or(ROTATIONS)
}

/// A client that trusts the authority.
#[derive(Clone)]
struct Client {
    connector: TlsConnector,
    front: SocketAddr,
}

impl Client {
    fn new(ca: &Path, front: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).expect("the authority")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.expect("versions of TLS").with_root_certificates(roots).with_no_client_auth();
        // A resumed session shows the certificate of the first one.
        config.resumption = Resumption::disabled();
        Self { connector: TlsConnector::from(Arc::new(config)), front }
    }

    /// Sends a request on a new connection. Returns the certificate of the server.
    async fn request(&self) -> Result<Vec<u8>, String> {
        let text = |error: std::io::Error| error.to_string();
        let stream = TcpStream::connect(self.front).await.map_err(text)?;
        let name = ServerName::from(self.front.ip());
        let mut stream = self.connector.connect(name, stream).await.map_err(text)?;
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.map_err(text)?;
        let mut answer = Vec::new();
        // HAProxy may close without a notice of TLS.
        let read = stream.read_to_end(&mut answer).await;
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(format!("{read:?} {}", String::from_utf8_lossy(&answer)));
        }
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Ok(certificates.first().map(|certificate| certificate.to_vec()).unwrap_or_default())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_certificate_fails_no_handshake_and_needs_no_reload() {
    for version in versions() {
        let dir = TestDir::new();
        let (ca, files, backends) = (TestCa::new(&dir), ServiceFiles::new(&dir), backends(&dir, 1));
        let other = [&ca.client_cert, &ca.client_key].map(|path| std::fs::read_to_string(path).unwrap()).concat();
        let pairs = [std::fs::read_to_string(&ca.server).unwrap(), other];
        let write = |at: usize| {
            let next = dir.write("certs/.next", &pairs[at]);
            std::fs::rename(next, dir.join("certs").join("shop.pem")).expect("rename in one directory");
        };
        write(0);
        let port = dir.port();
        files.define("web", port, json!({"tls": {"certificates": ["shop"], "alpn": ["http/1.1"]}}));
        files.hosts("web", &backends);
        let daemon = daemon(&dir)
            .haproxy(&version)
            .files(&files.services())
            .set("haproxy.certificates", json!(dir.join("certs")));
        let daemon = daemon.start();
        wait_for_ready(&daemon, "web", &addresses(&backends)).await;
        let client = Client::new(&ca.ca, SocketAddr::from(([127, 0, 0, 1], port)));
        let before = reloads(&daemon).await;
        let (ends, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let load = background::spawn({
            let (client, ends, done) = (client.clone(), ends.clone(), done.clone());
            async move {
                let mut failures = Vec::new();
                while !ends.load(Ordering::Relaxed) {
                    match client.request().await {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.push(error),
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                failures
            }
        });
        let mut last = client.request().await.expect("it serves");
        for rotation in 1..=rotations() {
            write(rotation % 2);
            let changed = async || {
                let served = client.request().await?;
                check(served != last, &"the same").map(|()| served)
            };
            last = daemon.eventually(LIMIT, "the other certificate is served", changed).await;
        }
        ends.store(true, Ordering::Relaxed);
        let failures = load.await.expect("no panic");
        assert!(failures.is_empty() && done.load(Ordering::Relaxed) > 50, "{version}: {done:?} {failures:?}");
        assert_eq!(reloads(&daemon).await, before, "{version}: no reload");
    }
}
