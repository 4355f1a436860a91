//! Sends large answers in pieces, as fast as the client reads them, with a time-out and a limit on the memory of all
//! answers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use proxymgr_actors::limits::{STATUS_ANSWER_PIECE_BYTES, STATUS_ANSWER_TIMEOUT, STATUS_ANSWERS_BYTES_MAX};
use tokio::time::Instant;

/// The large answers in progress: address and length in bytes of each, and its number of clients.
#[derive(Debug, Clone, Default)]
pub struct AnswersInProgress(Arc<Mutex<BTreeMap<(usize, usize), usize>>>);

impl AnswersInProgress {
    /// The body, sent in pieces; none if too much is in progress already.
    pub fn take_in(&self, body: BoxBody) -> Option<BoxBody> {
        let body = match body.try_into_bytes() {
            Ok(bytes) if bytes.len() > STATUS_ANSWER_PIECE_BYTES => bytes,
            Ok(bytes) => return Some(BoxBody::new(bytes)),
            // The opener of a stream limits it.
            Err(stream) => return Some(stream),
        };
        let share = self.share(&body)?;
        Some(BoxBody::new(InPieces { rest: body, deadline: Instant::now() + STATUS_ANSWER_TIMEOUT, _share: share }))
    }

    /// An answer for several clients is in memory once.
    fn share(&self, body: &Bytes) -> Option<Share> {
        let place = (body.as_ptr().addr(), body.len());
        let mut in_progress = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = in_progress.keys().map(|(_, bytes)| bytes).sum();
        // A single answer of any size is allowed.
        let fits = total == 0 || in_progress.contains_key(&place) || total + body.len() <= STATUS_ANSWERS_BYTES_MAX;
        fits.then(|| {
            *in_progress.entry(place).or_default() += 1;
            Share { place, of: self.clone() }
        })
    }
}

/// The use of an answer by one client; released when dropped.
#[derive(Debug)]
struct Share {
    place: (usize, usize),
    of: AnswersInProgress,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut in_progress = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut clients) = in_progress.entry(self.place) {
            *clients.get_mut() -= 1;
            if *clients.get() == 0 {
                clients.remove();
            }
        }
    }
}

#[derive(Debug)]
struct InPieces {
    rest: Bytes,
    deadline: Instant,
    _share: Share,
}

/// The client reads too slowly; its connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the client did not read the answer in time")]
struct TooSlow;

impl MessageBody for InPieces {
    type Error = TooSlow;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rest.len() as u64)
    }

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, TooSlow>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        // Polled only after the previous piece was sent: the kernel times out a client that reads nothing.
        if Instant::now() >= self.deadline {
            return Poll::Ready(Some(Err(TooSlow)));
        }
        let piece = STATUS_ANSWER_PIECE_BYTES.min(self.rest.len());
        Poll::Ready(Some(Ok(self.rest.split_to(piece))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const LARGE: usize = STATUS_ANSWERS_BYTES_MAX / 2 + 1;

    fn body(bytes: usize) -> BoxBody {
        BoxBody::new(vec![b'x'; bytes])
    }

    #[tokio::test]
    async fn answer_is_sent_in_pieces() {
        let in_progress = AnswersInProgress::default();
        let mut body = in_progress.take_in(body(STATUS_ANSWER_PIECE_BYTES * 2 + 1)).unwrap();
        assert_eq!(body.size(), BodySize::Sized(STATUS_ANSWER_PIECE_BYTES as u64 * 2 + 1));
        let mut pieces = Vec::new();
        while let Some(piece) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
            pieces.push(piece.unwrap().len());
        }
        assert_eq!(pieces, [STATUS_ANSWER_PIECE_BYTES, STATUS_ANSWER_PIECE_BYTES, 1]);
    }

    #[test]
    fn memory_of_answers_is_limited() {
        let in_progress = AnswersInProgress::default();
        let first = in_progress.take_in(body(LARGE)).unwrap();
        assert!(in_progress.take_in(body(LARGE)).is_none());
        assert!(in_progress.take_in(body(100)).is_some(), "small ones are always sent");
        drop(first);
        assert!(in_progress.0.lock().unwrap().is_empty());
        assert!(in_progress.take_in(body(STATUS_ANSWERS_BYTES_MAX * 2)).is_some(), "the only one may be of any size");
    }

    #[test]
    fn shared_answer_counts_once() {
        let in_progress = AnswersInProgress::default();
        let bytes = Bytes::from(vec![b'x'; LARGE]);
        let shares: Vec<_> = (0..100).map(|_| in_progress.take_in(BoxBody::new(bytes.clone())).unwrap()).collect();
        assert!(in_progress.take_in(body(LARGE)).is_none());
        drop(shares);
        assert!(in_progress.take_in(body(LARGE)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn slow_client_is_disconnected() {
        let mut body = AnswersInProgress::default().take_in(body(LARGE)).unwrap();
        assert!(poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await.unwrap().is_ok());
        tokio::time::advance(STATUS_ANSWER_TIMEOUT).await;
        assert!(poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await.unwrap().is_err());
    }
}
