//! The ways into the actors. In the daemon a message goes straight into its receiver's mailbox; a simulation may put a
//! courier before it, who is late now and then.
//!
//! What is late is all that goes to one actor, in the order in which it was sent: an actor has one mailbox, and nothing
//! in it ever overtakes what another actor sent before.

use actix::{Message, Recipient};

use crate::model::ServiceName;

/// Makes the ways into the actors.
pub trait Post: Clone + 'static {
    /// The way into one of them.
    type Inbox: Inbox;

    /// The way into an actor that is about to be wired. A watcher, of which there are many, is named with its service.
    fn inbox(&self, owner: &'static str, service: Option<&ServiceName>) -> Self::Inbox;
}

/// The way into one actor.
pub trait Inbox: Clone + 'static {
    /// Where to send what is meant for this mailbox.
    fn way<M>(&self, mailbox: Recipient<M>) -> Recipient<M>
    where
        M: Message + Send + 'static,
        M::Result: Send + 'static;
}

/// Straight into the mailbox.
#[derive(Debug, Clone, Copy)]
pub struct Direct;

impl Post for Direct {
    type Inbox = Self;

    fn inbox(&self, _: &'static str, _: Option<&ServiceName>) -> Self {
        Self
    }
}

impl Inbox for Direct {
    fn way<M>(&self, mailbox: Recipient<M>) -> Recipient<M>
    where
        M: Message + Send + 'static,
        M::Result: Send + 'static,
    {
        mailbox
    }
}
