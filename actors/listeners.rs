//! Everyone who is to hear the same message: HAProxy's actor first, then those of the other outputs.

use actix::{Message, Recipient};

/// The ways to everyone who is to hear `M`, in the order in which they hear it.
#[derive(Clone)]
pub struct Listeners<M>(Vec<Recipient<M>>)
where
    M: Message<Result = ()> + Clone + Send + 'static;

impl<M> Listeners<M>
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    /// Tells all of them, without waiting for any.
    pub fn do_send(&self, message: M) {
        let Some((last, others)) = self.0.split_last() else { return };
        for listener in others {
            listener.do_send(message.clone());
        }
        last.do_send(message);
    }
}

impl<M> FromIterator<Recipient<M>> for Listeners<M>
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    fn from_iter<I: IntoIterator<Item = Recipient<M>>>(listeners: I) -> Self {
        Self(listeners.into_iter().collect())
    }
}
