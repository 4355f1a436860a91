//! Writing znodes, with retries while the connection changes members.

use std::future::Future;
use std::time::{Duration, Instant};

use serde_json::Value;
use zookeeper::{Acls, Client, CreateMode, Error};

/// Time-out of a change, including a leader election.
const LIMIT: Duration = Duration::from_secs(15);

/// Creates a persistent znode with its parents, or sets its data.
pub async fn put(client: &Client, path: &str, json: &Value) {
    put_bytes(client, path, json.to_string().as_bytes()).await;
}

/// Like [`put`], with data that need not be JSON.
pub async fn put_bytes(client: &Client, path: &str, data: &[u8]) {
    until_acknowledged("put", path, async || {
        match client.set_data(path, data, None).await {
            Err(Error::NoNode) => {}
            done => return done.map(drop),
        }
        make_parents(client, path).await?;
        match client.create(path, data, &persistent()).await {
            Err(Error::NodeExists) => client.set_data(path, data, None).await.map(drop),
            done => done.map(drop),
        }
    })
    .await;
}

/// Creates an ephemeral znode.
pub async fn ephemeral(client: &Client, path: &str, json: &Value) {
    until_acknowledged("create ephemeral", path, async || {
        make_parents(client, path).await?;
        let options = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        match client.create(path, json.to_string().as_bytes(), &options).await {
            // Created by an attempt whose answer was lost.
            Err(Error::NodeExists) if is_ours(client, path).await? => Ok(()),
            done => done.map(drop),
        }
    })
    .await;
}

/// Deletes a znode, if it exists.
pub async fn delete(client: &Client, path: &str) {
    until_acknowledged("delete", path, async || match client.delete(path, None).await {
        Err(Error::NoNode) => Ok(()),
        done => done,
    })
    .await;
}

/// Deletes a znode with all its descendants.
pub async fn delete_recursive(client: &Client, path: &str) {
    let children = until_acknowledged("list", path, async || match client.list_children(path).await {
        Err(Error::NoNode) => Ok(Vec::new()),
        children => children,
    })
    .await;
    for child in children {
        Box::pin(delete_recursive(client, &format!("{path}/{child}"))).await;
    }
    delete(client, path).await;
}

fn persistent() -> zookeeper::CreateOptions<'static> {
    CreateMode::Persistent.with_acls(Acls::anyone_all())
}

async fn make_parents(client: &Client, path: &str) -> Result<(), Error> {
    match path.rsplit_once('/') {
        Some(("", _)) | None => Ok(()),
        Some((parent, _)) => client.mkdir(parent, &persistent()).await,
    }
}

async fn is_ours(client: &Client, path: &str) -> Result<bool, Error> {
    let stat = client.check_stat(path).await?;
    Ok(stat.is_some_and(|stat| stat.ephemeral_owner == client.session_id().0))
}

/// Retries an idempotent operation while the client changes members.
async fn until_acknowledged<T, F: Future<Output = Result<T, Error>>>(
    what: &str,
    path: &str,
    mut attempt: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(Error::ConnectionLoss | Error::Timeout | Error::SessionMoved) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            Err(error) => panic!("{what} {path}: {error}"),
        }
    }
}
