//! The floor of a change: a ZooKeeper event, one read, one runtime command, and nothing else.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use zookeeper::Client;

/// Follows the children of a path on a separate thread, until the bench ends.
pub fn start(connect_string: String, path: &'static str, socket: PathBuf) {
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        // An error means the end of HAProxy and of the measurement.
        let _ = runtime.block_on(follow(&connect_string, path, &socket));
    });
}

async fn follow(connect_string: &str, path: &str, socket: &Path) -> io::Result<()> {
    let client = Client::connect(connect_string).await.expect("ZooKeeper");
    let mut haproxy = UnixStream::connect(socket).await.expect("HAProxy's socket");
    ask(&mut haproxy, "prompt").await?;
    let mut known: BTreeMap<String, (String, bool)> = BTreeMap::new();
    loop {
        let (children, _, watcher) = client.get_and_watch_children(path).await.map_err(io::Error::other)?;
        for (child, (server, ready)) in &mut known {
            if *ready && !children.contains(child) {
                ask(&mut haproxy, &format!("set server web/{server} state maint")).await?;
                *ready = false;
            }
        }
        for child in children {
            if known.get(&child).is_some_and(|(_, ready)| *ready) {
                continue;
            }
            // A child that is already gone causes another event.
            let Ok((data, _)) = client.get_data(&format!("{path}/{child}")).await else { continue };
            if let Some((server, ready)) = known.get_mut(&child) {
                ask(&mut haproxy, &format!("set server web/{server} state ready")).await?;
                *ready = true;
                continue;
            }
            let host: Value = serde_json::from_slice(&data).expect("JSON");
            let server = format!("{}:{}", host["address"].as_str().expect("a text"), host["port"]);
            ask(&mut haproxy, &format!("add server web/{server} {server}")).await?;
            ask(&mut haproxy, &format!("set server web/{server} state ready")).await?;
            known.insert(child, (server, true));
        }
        watcher.changed().await;
    }
}

async fn ask(haproxy: &mut UnixStream, command: &str) -> io::Result<()> {
    haproxy.write_all(format!("{command}\n").as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n> ") {
        if haproxy.read_buf(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(())
}
