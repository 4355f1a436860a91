//! What is known of the children of one path, with a watch on each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::level::Meaning;
use super::session::{ReadError, Session, Watch};

/// Waits for one child's event.
type ChildWatch = LocalBoxFuture<'static, (Arc<str>, Result<(), ReadError>)>;

/// A child's data and the watch on it, or why it refuses to be read. None: it is gone.
pub(super) type ReadChild = Option<Result<(Vec<u8>, Watch), String>>;

/// The children and what each of them says.
pub(super) struct Children<E> {
    /// By name.
    pub(super) entries: BTreeMap<Arc<str>, E>,
    /// Those without a watch, because they refused to be read.
    pub(super) refused: BTreeSet<Arc<str>>,
    /// One future per child costs some 200 bytes; a task each would cost several times that.
    pub(super) watches: FuturesUnordered<ChildWatch>,
}

impl<E> Default for Children<E> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), refused: BTreeSet::new(), watches: FuturesUnordered::new() }
    }
}

impl<E: PartialEq> Children<E> {
    /// Takes in what was read, and tells whether it makes a difference.
    pub(super) fn put(&mut self, meaning: &impl Meaning<Entry = E>, child: Arc<str>, read: ReadChild) -> bool {
        let entry = match read {
            // It went since; if it comes again, the list tells.
            None => return self.remove(&child),
            Some(Err(reason)) => {
                self.refused.insert(child.clone());
                meaning.refused(&child, reason)
            }
            Some(Ok((data, watch))) => {
                self.refused.remove(&child);
                let watched = child.clone();
                self.watches.push(Box::pin(async move { (watched, watch.fired().await) }));
                meaning.entry(&child, &data)
            }
        };
        if self.entries.get(&child) == Some(&entry) {
            return false;
        }
        self.entries.insert(child, entry);
        true
    }

    /// Forgets a child, and tells whether it was known.
    pub(super) fn remove(&mut self, child: &Arc<str>) -> bool {
        self.refused.remove(child);
        self.entries.remove(child).is_some()
    }

    /// The name as it is known already, so that it is in memory once.
    pub(super) fn shared_name(&self, child: String) -> Arc<str> {
        self.entries.get_key_value(&*child).map_or_else(|| child.into(), |(known, _)| known.clone())
    }
}

/// Reads children of `path`, as many at once as the session allows.
pub(super) async fn read_children(
    session: &Session,
    path: &str,
    children: Vec<Arc<str>>,
) -> Result<Vec<(Arc<str>, ReadChild)>, ReadError> {
    let mut read = Vec::with_capacity(children.len());
    let mut under_way = FuturesUnordered::new();
    let mut waiting = children.into_iter();
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
                    let znode = if path == "/" { format!("/{child}") } else { format!("{path}/{child}") };
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
