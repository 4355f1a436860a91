//! Delivery of messages to actors. In the daemon a message goes directly into its receiver's mailbox; a simulation may
//! delay it.
//!
//! A simulation delays all messages to one actor together, in the order in which they were sent: an actor has one
//! mailbox, and no message in it overtakes an earlier one.

use actix::{Message, Recipient};

use crate::model::ServiceName;

/// Creates the inboxes of actors.
pub trait Post: Clone + 'static {
    /// The type of an inbox.
    type Inbox: Inbox;

    /// Creates the inbox of an actor. For a watcher, of which there are many, `service` is its service.
    fn inbox(&self, owner: &'static str, service: Option<&ServiceName>) -> Self::Inbox;
}

/// The inbox of one actor.
pub trait Inbox: Clone + 'static {
    /// Returns the recipient to use instead of this mailbox.
    fn way<M>(&self, mailbox: Recipient<M>) -> Recipient<M>
    where
        M: Message + Send + 'static,
        M::Result: Send + 'static;
}

/// Delivers directly into the mailbox.
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
