//! A TCP relay that can be closed: it cuts a source off from its server, while the test still reaches the server.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Relays connections to another port while it is open.
pub struct Gate {
    address: SocketAddr,
    state: watch::Sender<State>,
    cuts: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum State {
    Open,
    Shut,
    /// The server's part of each connection ends after so many bytes.
    Cut(usize),
}

impl Gate {
    /// Opens a gate to this port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("bind the gate");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (state, now) = watch::channel(State::Open);
        let cuts: Arc<AtomicUsize> = Arc::default();
        let counted = cuts.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, port, now.clone(), counted.clone()));
            }
        });
        Self { address, state, cuts }
    }

    /// Returns the address for clients.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes all connections, and each new one at once.
    pub fn shut(&self) {
        self.state.send_replace(State::Shut);
    }

    /// Lets connections through again.
    pub fn open(&self) {
        self.state.send_replace(State::Open);
    }

    /// Closes all connections, and each new one once the server has sent so many bytes on it.
    pub fn cut_after(&self, bytes: usize) {
        self.state.send_replace(State::Cut(bytes));
    }

    /// How many connections were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

async fn relay(mut client: TcpStream, port: u16, mut state: watch::Receiver<State>, cuts: Arc<AtomicUsize>) {
    let now = *state.borrow_and_update();
    if matches!(now, State::Shut) {
        return;
    }
    let Ok(mut server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    let relaying = async {
        let State::Cut(bytes) = now else { return drop(copy_bidirectional(&mut client, &mut server).await) };
        let (mut from_client, mut to_client) = client.split();
        let (from_server, mut to_server) = server.split();
        let mut limited = from_server.take(bytes as u64);
        tokio::select! {
            _ = copy(&mut from_client, &mut to_server) => {}
            _ = copy(&mut limited, &mut to_client) => {}
        }
        let _ = to_client.flush().await;
        cuts.fetch_add(1, Ordering::Relaxed);
    };
    tokio::select! {
        () = relaying => {}
        _ = state.changed() => {}
    }
}
