//! Delivers messages between actors: a courier before each mailbox may be late, and never lets a message overtake an
//! earlier one to the same actor.

use std::any::{Any, TypeId};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use actix::{Actor, Addr, Context, Handler, Message, Recipient, ResponseFuture, spawn};
use proxymgr_actors::inbox::{Inbox, Post};
use proxymgr_actors::model::ServiceName;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Duration, Instant, sleep_until};

use super::planted_bug::PlantedBug;
use super::world::World;

/// Delivers the messages of one manager.
#[derive(Clone)]
pub(super) struct Couriers {
    world: World,
}

impl Couriers {
    /// Creates it for a manager in this world.
    pub(super) fn of(world: &World) -> Self {
        Self { world: world.clone() }
    }
}

/// Messages on their way to one actor.
pub(super) struct Mail {
    owner: String,
    /// When each unhandled message is due, in order.
    due: RefCell<VecDeque<Instant>>,
}

impl Mail {
    /// Returns the name of the actor.
    pub(super) fn owner(&self) -> &str {
        &self.owner
    }

    /// Returns how many messages are on their way or unread.
    pub(super) fn len(&self) -> usize {
        self.due.borrow().len()
    }

    /// Returns how many messages should have been read before this instant.
    pub(super) fn unread(&self, now: Instant) -> usize {
        self.due.borrow().iter().take_while(|due| **due < now).count()
    }
}

type Delivery = Pin<Box<dyn Future<Output = ()>>>;

/// One message, as its due time and its delivery.
struct Parcel {
    due: Instant,
    hand_over: Box<dyn FnOnce() -> Delivery>,
}

/// Delivers all messages to one actor.
pub(super) struct Courier {
    world: World,
    mail: Rc<Mail>,
    queue: mpsc::UnboundedSender<Parcel>,
    mailboxes: Mailboxes,
}

/// Mailboxes of one actor by the kind of message: `Recipient<M>` under the type of `M`.
type Mailboxes = Rc<RefCell<BTreeMap<TypeId, Box<dyn Any>>>>;

impl Actor for Courier {
    type Context = Context<Self>;
}

impl<M> Handler<M> for Courier
where
    M: Message + Send + 'static,
    M::Result: Send + 'static,
{
    type Result = ResponseFuture<M::Result>;

    fn handle(&mut self, message: M, _: &mut Self::Context) -> Self::Result {
        let late = self.world.with(|things| things.mail_delay_max_ms);
        let late = Duration::from_millis(self.world.draw("mail", 0, late));
        let mailbox = self.mailboxes.borrow().get(&TypeId::of::<M>()).and_then(|known| known.downcast_ref()).cloned();
        let mailbox: Recipient<M> = mailbox.expect("a way was made before anything could be sent on it");
        let (answer, answered) = oneshot::channel();
        let hand_over = Box::new(move || -> Delivery {
            let handled = mailbox.send(message);
            let handled = async move {
                // The sender of the question may be gone, or the actor stopped: then no answer is needed.
                if let Ok(result) = handled.await {
                    let _ = answer.send(result);
                }
            };
            if TypeId::of::<M::Result>() == TypeId::of::<()>() {
                return Box::pin(handled);
            }
            // The answer to a question may take long; later messages do not wait for it.
            spawn(handled);
            Box::pin(std::future::ready(()))
        });
        let earliest = self.mail.due.borrow().back().copied().unwrap_or_else(Instant::now);
        let due = earliest.max(Instant::now() + late);
        self.mail.due.borrow_mut().push_back(due);
        // The queue's other end lives as long as this actor.
        let _ = self.queue.send(Parcel { due, hand_over });
        Box::pin(async move {
            match answered.await {
                Ok(result) => result,
                // As at a mailbox whose actor is gone, an answer never comes.
                Err(_) => std::future::pending().await,
            }
        })
    }
}

async fn carry(world: World, mail: Rc<Mail>, mut queue: mpsc::UnboundedReceiver<Parcel>) {
    while let Some(Parcel { due, hand_over }) = queue.recv().await {
        if due > Instant::now() {
            sleep_until(due).await;
        }
        if world.has(PlantedBug::StopsReading) && mail.owner == "HaproxyStateActor" && world.starts() > 1 {
            return std::future::pending().await;
        }
        hand_over().await;
        mail.due.borrow_mut().pop_front();
    }
}

/// How messages reach one actor.
#[derive(Clone)]
pub(super) enum Way {
    /// Directly, in a run without late messages.
    Direct,
    /// Through its courier.
    By(Addr<Courier>, Mailboxes),
}

impl Post for Couriers {
    type Inbox = Way;

    fn inbox(&self, owner: &'static str, service: Option<&ServiceName>) -> Way {
        if self.world.with(|things| things.mail_delay_max_ms == 0) {
            return Way::Direct;
        }
        let owner = service.map_or_else(|| owner.to_owned(), |service| format!("{owner} ({service})"));
        let mail = Rc::new(Mail { owner, due: RefCell::default() });
        self.world.with(|things| {
            // A stopped watcher receives no messages.
            things.mail.retain(|mail| Rc::strong_count(mail) > 1);
            things.mail.push(mail.clone());
        });
        let (queue, parcels) = mpsc::unbounded_channel();
        spawn(carry(self.world.clone(), mail.clone(), parcels));
        let mailboxes = Mailboxes::default();
        let courier = Courier { world: self.world.clone(), mail, queue, mailboxes: mailboxes.clone() };
        Way::By(courier.start(), mailboxes)
    }
}

impl Inbox for Way {
    fn way<M>(&self, mailbox: Recipient<M>) -> Recipient<M>
    where
        M: Message + Send + 'static,
        M::Result: Send + 'static,
    {
        match self {
            Self::Direct => mailbox,
            Self::By(courier, mailboxes) => {
                mailboxes.borrow_mut().insert(TypeId::of::<M>(), Box::new(mailbox));
                courier.clone().recipient()
            }
        }
    }
}
