//! The known children of one path, with a watch on each.
//!
//! Only the list of children shows reliably which are gone. A deleted child's own event arrives first, and alone: a
//! transaction that deletes two children would be seen as two changes. So such an event, or a read that finds no child,
//! makes the list be read again, which shows the whole transaction.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use proxymgr_actors::limits::ZOOKEEPER_LISTS_MAX;

use super::level::Meaning;
use super::read_children::{ReadChild, read_children};
use super::session::{Fired, ReadError, Session, Watch};

/// A future of one child's event.
type ChildWatch = LocalBoxFuture<'static, (Arc<str>, Result<Fired, ReadError>)>;

/// The children and their decoded entries.
pub(super) struct Children<E> {
    /// By name.
    pub(super) entries: BTreeMap<Arc<str>, E>,
    /// Children without a watch, because reading them was refused.
    pub(super) refused: BTreeSet<Arc<str>>,
    /// Children without a watch, because they were deleted. They stay among the entries until the list confirms that
    /// they are gone, and are read again if the list still contains them.
    deleted: BTreeSet<Arc<str>>,
    /// Whether the entries have changed since the last [`take_changed`](Self::take_changed). Stored here, because a
    /// lost session can end an update half-way.
    pub(super) is_changed: bool,
    /// One future per child costs about 200 bytes; a task each would cost several times that.
    pub(super) watches: FuturesUnordered<ChildWatch>,
}

impl<E> Default for Children<E> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            refused: BTreeSet::new(),
            deleted: BTreeSet::new(),
            is_changed: false,
            watches: FuturesUnordered::new(),
        }
    }
}

impl<E: PartialEq> Children<E> {
    /// Updates the children from the list, and reads those of `changed` that are in it. Returns the watch on the list.
    pub(super) async fn follow_list(
        &mut self,
        session: &Session,
        path: &str,
        meaning: &impl Meaning<Entry = E>,
        mut changed: BTreeSet<Arc<str>>,
    ) -> Result<Watch, ReadError> {
        let mut lists_left = ZOOKEEPER_LISTS_MAX;
        loop {
            let (mut listed, watch) = session.children(path).await?;
            listed.sort_unstable();
            self.keep_only(&listed);
            changed.retain(|child| self.entries.contains_key(child));
            let unread = listed.into_iter().map(|child| self.shared_name(child)).filter(|child| self.is_unread(child));
            changed.extend(unread);
            let all_there = self.read(session, path, meaning, std::mem::take(&mut changed)).await?;
            lists_left -= 1;
            if all_there || lists_left == 0 {
                return Ok(watch);
            }
        }
    }

    /// Reads these children. Returns whether all of them exist.
    pub(super) async fn read(
        &mut self,
        session: &Session,
        path: &str,
        meaning: &impl Meaning<Entry = E>,
        children: BTreeSet<Arc<str>>,
    ) -> Result<bool, ReadError> {
        let mut all_there = true;
        for (child, read) in read_children(session, path, children).await? {
            all_there &= read.is_some();
            self.put(meaning, child, read);
        }
        Ok(all_there)
    }

    /// Marks a child as deleted. The list shows whether it exists again.
    pub(super) fn deleted(&mut self, child: Arc<str>) {
        if self.entries.contains_key(&child) {
            self.refused.remove(&child);
            self.deleted.insert(child);
        }
    }

    /// Returns whether the entries have changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.is_changed)
    }

    /// Stores the result of a read.
    fn put(&mut self, meaning: &impl Meaning<Entry = E>, child: Arc<str>, read: ReadChild) {
        let entry = match read {
            None => return self.deleted(child),
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
        self.deleted.remove(&child);
        if self.entries.get(&child) != Some(&entry) {
            self.entries.insert(child, entry);
            self.is_changed = true;
        }
    }

    /// Removes the children that are not in the list, which must be sorted.
    fn keep_only(&mut self, listed: &[String]) {
        let is_listed = |child: &Arc<str>| listed.binary_search_by(|name| (**name).cmp(child)).is_ok();
        let before = self.entries.len();
        self.entries.retain(|child, _| is_listed(child));
        self.refused.retain(is_listed);
        self.deleted.retain(is_listed);
        self.is_changed |= self.entries.len() < before;
    }

    fn is_unread(&self, child: &Arc<str>) -> bool {
        !self.entries.contains_key(child) || self.deleted.contains(child)
    }

    /// Returns the known child's name if there is one, so that each name is in memory once.
    pub(super) fn shared_name(&self, child: String) -> Arc<str> {
        self.entries.get_key_value(&*child).map_or_else(|| child.into(), |(known, _)| known.clone())
    }
}
