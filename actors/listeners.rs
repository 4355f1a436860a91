//! Recipients of the same message: HAProxy's actor first, then those of the other outputs.

use actix::{Message, Recipient};

/// The recipients of `M`, in the order of delivery.
#[derive(Clone)]
pub struct Listeners<M>(Vec<Recipient<M>>)
where
    M: Message<Result = ()> + Clone + Send + 'static;

impl<M> Listeners<M>
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    /// Sends the message to all recipients, without waiting.
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
