//! A scripted DNS server: a function answers each query. Its answers are never marked as truncated.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;

use hickory_resolver::proto::op::{Message, OpCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::dir::TestDir;

/// How a query arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// Returns the records for a query by its transport, name (without the last dot) and type.
pub type Script = Rc<RefCell<dyn FnMut(Transport, &str, RecordType) -> Vec<RData>>>;

/// A server on a free loopback port. All TTLs are 0.
pub struct NameServer {
    address: SocketAddr,
}

impl NameServer {
    /// Starts a server that answers by UDP, and by TCP if `has_tcp`.
    pub async fn start(
        dir: &TestDir,
        has_tcp: bool,
        script: impl FnMut(Transport, &str, RecordType) -> Vec<RData> + 'static,
    ) -> Self {
        let script: Script = Rc::new(RefCell::new(script));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, dir.port()));
        if has_tcp {
            let listener = TcpListener::bind(address).await.expect("the port is free");
            actix::spawn(serve_tcp(listener, script.clone()));
        }
        let socket = UdpSocket::bind(address).await.expect("the port is free");
        actix::spawn(serve_udp(socket, script));
        Self { address }
    }

    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

async fn serve_udp(socket: UdpSocket, script: Script) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
        let reply = reply(&buffer[..length], Transport::Udp, &script);
        let _ = socket.send_to(&reply, client).await;
    }
}

async fn serve_tcp(listener: TcpListener, script: Script) {
    while let Ok((stream, _)) = listener.accept().await {
        actix::spawn(serve_connection(stream, script.clone()));
    }
}

async fn serve_connection(mut stream: TcpStream, script: Script) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        let reply = reply(&query, Transport::Tcp, &script);
        let length = u16::try_from(reply.len()).expect("a reply is shorter than 64 KB");
        let framed = [&length.to_be_bytes()[..], &reply].concat();
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

fn reply(query: &[u8], transport: Transport, script: &Script) -> Vec<u8> {
    let query = Message::from_vec(query).expect("a query");
    let asked = query.queries.first().expect("a question").clone();
    let name = asked.name().to_ascii().trim_end_matches('.').to_ascii_lowercase();
    let found = script.borrow_mut()(transport, &name, asked.query_type());
    let mut reply = Message::response(query.metadata.id, OpCode::Query);
    reply.metadata.recursion_available = true;
    let records = found.into_iter().map(|data| Record::from_rdata(asked.name().clone(), 0, data));
    reply.add_answers(Vec::from_iter(records));
    reply.add_query(asked);
    reply.to_vec().expect("a reply")
}
