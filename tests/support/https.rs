//! A client of HTTPS.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client that trusts the authority.
#[derive(Clone)]
pub struct Client {
    connector: TlsConnector,
    front: SocketAddr,
    name: ServerName<'static>,
}

impl Client {
    /// Trusts the authority in this file.
    pub fn new(ca: &Path, front: SocketAddr) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).expect("the authority")).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.expect("versions of TLS").with_root_certificates(roots).with_no_client_auth();
        // A resumed session shows the certificate of the first one.
        config.resumption = Resumption::disabled();
        Self { connector: TlsConnector::from(Arc::new(config)), front, name: ServerName::from(front.ip()) }
    }

    /// Requests the certificate of this name.
    pub fn named(&self, name: &str) -> Self {
        Self { name: ServerName::try_from(name.to_owned()).expect("a DNS name"), ..self.clone() }
    }

    /// Sends a request on a new connection. Returns the certificate of the server.
    pub async fn request(&self) -> Result<Vec<u8>, String> {
        let mut stream = self.connected().await?;
        let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.map_err(|error| error.to_string())?;
        let mut answer = Vec::new();
        // HAProxy may close without a notice of TLS.
        let read = stream.read_to_end(&mut answer).await;
        if !answer.starts_with(b"HTTP/1.1 200") {
            return Err(format!("{read:?} {}", String::from_utf8_lossy(&answer)));
        }
        Ok(certificate_of(&stream))
    }

    /// Returns the certificate of the server, without a request.
    pub async fn certificate(&self) -> Result<Vec<u8>, String> {
        Ok(certificate_of(&self.connected().await?))
    }

    async fn connected(&self) -> Result<TlsStream<TcpStream>, String> {
        let text = |error: std::io::Error| error.to_string();
        let stream = TcpStream::connect(self.front).await.map_err(text)?;
        self.connector.connect(self.name.clone(), stream).await.map_err(text)
    }
}

fn certificate_of(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
    certificates.first().map(|certificate| certificate.to_vec()).unwrap_or_default()
}
