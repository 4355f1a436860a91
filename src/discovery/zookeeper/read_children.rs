//! Reads many znodes, as many at a time as the session allows.

use std::sync::Arc;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::session::{ReadError, Session, Watch, child_path};

/// A child's data and the watch on it, or why it cannot be read. `None` if there is no such child.
pub(super) type ReadChild = Option<Result<(Vec<u8>, Watch), String>>;

/// Reads children of `path`.
pub(super) async fn read_children(
    session: &Session,
    path: &str,
    children: impl IntoIterator<Item = Arc<str>>,
) -> Result<Vec<(Arc<str>, ReadChild)>, ReadError> {
    let mut waiting = children.into_iter();
    let mut read = Vec::with_capacity(waiting.size_hint().0);
    let mut under_way = FuturesUnordered::new();
    let mut next = waiting.next();
    while next.is_some() || !under_way.is_empty() {
        tokio::select! {
            biased;
            Some(done) = under_way.next() => {
                let (child, result) = done;
                read.push((child, match result {
                    Ok(data) => Some(Ok(data)),
                    Err(ReadError::Absent) => None,
                    Err(ReadError::Refused(reason)) => Some(Err(reason)),
                    Err(error @ ReadError::Lost(_)) => return Err(error),
                }));
            }
            permit = session.permit(), if next.is_some() => {
                if let Some(child) = next.take() {
                    let znode = child_path(path, &child);
                    under_way.push(async move {
                        let _permit = permit;
                        let result = session.data(&znode).await;
                        (child, result)
                    });
                }
                next = waiting.next();
            }
        }
    }
    Ok(read)
}
