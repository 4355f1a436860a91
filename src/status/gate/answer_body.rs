//! Gives large answers piece by piece, as fast as the client takes them, within a bound of time and of what all of
//! them hold together.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::web::Bytes;
use proxymgr_actors::limits::{STATUS_ANSWER_PIECE_BYTES, STATUS_ANSWER_TIMEOUT, STATUS_ANSWERS_BYTES_MAX};
use tokio::time::Instant;

/// The large answers under way: where each stands in memory, its length in bytes, and how many clients it is given to.
#[derive(Debug, Clone, Default)]
pub struct AnswersUnderWay(Arc<Mutex<BTreeMap<(usize, usize), usize>>>);

impl AnswersUnderWay {
    /// The body, to be given piece by piece; none where too much is under way already.
    pub fn take_in(&self, body: BoxBody) -> Option<BoxBody> {
        let body = match body.try_into_bytes() {
            Ok(bytes) if bytes.len() > STATUS_ANSWER_PIECE_BYTES => bytes,
            Ok(bytes) => return Some(BoxBody::new(bytes)),
            // A stream: whoever opened it bounds it.
            Err(stream) => return Some(stream),
        };
        let share = self.share(&body)?;
        Some(BoxBody::new(InPieces { rest: body, deadline: Instant::now() + STATUS_ANSWER_TIMEOUT, _share: share }))
    }

    /// An answer that several clients are given stands in memory once.
    fn share(&self, body: &Bytes) -> Option<Share> {
        let place = (body.as_ptr().addr(), body.len());
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let held: usize = under_way.keys().map(|(_, bytes)| bytes).sum();
        // However large one answer is, it can be given when no other is.
        let fits = held == 0 || under_way.contains_key(&place) || held + body.len() <= STATUS_ANSWERS_BYTES_MAX;
        fits.then(|| {
            *under_way.entry(place).or_default() += 1;
            Share { place, of: self.clone() }
        })
    }
}

/// One client's share in an answer, given back when it is dropped.
#[derive(Debug)]
struct Share {
    place: (usize, usize),
    of: AnswersUnderWay,
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut under_way = self.of.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Entry::Occupied(mut clients) = under_way.entry(self.place) {
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

/// The client was too slow; its connection is closed.
#[derive(Debug, thiserror::Error)]
#[error("the client did not take the answer in time")]
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
        // Asked for the next piece only when the one before is on its way: a client that takes nothing at all is not
        // seen here, but by the kernel.
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
    async fn an_answer_comes_whole_in_pieces() {
        let under_way = AnswersUnderWay::default();
        let mut body = under_way.take_in(body(STATUS_ANSWER_PIECE_BYTES * 2 + 1)).unwrap();
        assert_eq!(body.size(), BodySize::Sized(STATUS_ANSWER_PIECE_BYTES as u64 * 2 + 1));
        let mut pieces = Vec::new();
        while let Some(piece) = poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await {
            pieces.push(piece.unwrap().len());
        }
        assert_eq!(pieces, [STATUS_ANSWER_PIECE_BYTES, STATUS_ANSWER_PIECE_BYTES, 1]);
    }

    #[test]
    fn what_all_answers_hold_is_bounded_and_given_back() {
        let under_way = AnswersUnderWay::default();
        let first = under_way.take_in(body(LARGE)).unwrap();
        assert!(under_way.take_in(body(LARGE)).is_none());
        assert!(under_way.take_in(body(100)).is_some(), "small ones are always given");
        drop(first);
        assert!(under_way.0.lock().unwrap().is_empty());
        assert!(under_way.take_in(body(STATUS_ANSWERS_BYTES_MAX * 2)).is_some(), "the only one may be of any size");
    }

    #[test]
    fn an_answer_that_many_are_given_counts_once() {
        let under_way = AnswersUnderWay::default();
        let bytes = Bytes::from(vec![b'x'; LARGE]);
        let shares: Vec<_> = (0..100).map(|_| under_way.take_in(BoxBody::new(bytes.clone())).unwrap()).collect();
        assert!(under_way.take_in(body(LARGE)).is_none());
        drop(shares);
        assert!(under_way.take_in(body(LARGE)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_drips_is_given_up() {
        let mut body = AnswersUnderWay::default().take_in(body(LARGE)).unwrap();
        assert!(poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await.unwrap().is_ok());
        tokio::time::advance(STATUS_ANSWER_TIMEOUT).await;
        assert!(poll_fn(|cx| Pin::new(&mut body).poll_next(cx)).await.unwrap().is_err());
    }
}
