//! Sources whose reports come from a test or a recording.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use actix::{Message, Recipient};
use proxymgr_actors::message::{DefinitionsSeen, HostsSeen};
use proxymgr_actors::model::definition_key::key;
use proxymgr_actors::model::{DefinitionKey, RawDefinition, SeenHost, ServiceName, SourceKind, SourceSpec};
use proxymgr_actors::port::{DefinitionSource, HostSources, OpenSource};
use tokio::time::Instant;

/// Sources of definitions and hosts. Clones share the same sources.
#[derive(Clone, Default)]
pub(crate) struct ScriptedSources {
    snapshots: Rc<RefCell<Snapshots>>,
    /// Whether the definitions are derived from instances.
    are_derived: Rc<Cell<bool>>,
}

#[derive(Default)]
struct Snapshots {
    definitions: Part<DefinitionsSeen>,
    hosts: BTreeMap<String, Part<HostsSeen>>,
}

/// One source, with its listener and its last report.
struct Part<M: Message<Result = ()> + Send> {
    listener: Option<Recipient<M>>,
    snapshot: Option<M>,
    /// Whether the watch did not report it.
    is_unreported: bool,
    /// Whether it answers nothing.
    is_silent: bool,
}

impl<M: Message<Result = ()> + Send> Default for Part<M> {
    fn default() -> Self {
        Self { listener: None, snapshot: None, is_unreported: false, is_silent: false }
    }
}

impl Part<DefinitionsSeen> {
    fn report(&self) {
        if let (Some(listener), Some(snapshot)) = (&self.listener, &self.snapshot) {
            listener.do_send(snapshot.clone());
        }
    }
}

impl Part<HostsSeen> {
    fn report(&self) {
        if let (Some(listener), Some(snapshot)) = (&self.listener, &self.snapshot) {
            listener.do_send(HostsSeen { seen_at: Instant::now(), ..snapshot.clone() });
        }
    }
}

impl ScriptedSources {
    /// Creates sources whose definitions are derived from instances, or are not.
    pub(crate) fn deriving(are_derived: bool) -> Self {
        let sources = Self::default();
        sources.are_derived.set(are_derived);
        sources
    }

    /// Derives the definitions from instances, from the next manager on.
    pub(crate) fn derive(&self) {
        self.are_derived.set(true);
    }

    /// Drops every listener and every snapshot, as at the end of a manager.
    pub(crate) fn clear(&self) {
        *self.snapshots.borrow_mut() = Snapshots::default();
    }

    /// Reports these definitions, or why they are unreadable.
    pub(crate) fn report_definitions(&self, snapshot: Result<BTreeMap<Arc<str>, RawDefinition>, String>) {
        self.report_definitions_with(DefinitionsSeen::plain(snapshot));
    }

    /// Reports these definitions and the health of their annotations.
    pub(crate) fn report_definitions_with(&self, seen: DefinitionsSeen) {
        let definitions = &mut self.snapshots.borrow_mut().definitions;
        definitions.snapshot = Some(seen);
        definitions.report();
    }

    /// Reports these hosts of a service, or why they are unreadable.
    pub(crate) fn report_hosts(&self, service: &str, snapshot: Result<Vec<SeenHost>, String>) {
        let mut snapshots = self.snapshots.borrow_mut();
        let part = snapshots.hosts.entry(service.to_owned()).or_default();
        part.snapshot = Some(HostsSeen::watched(snapshot, Instant::now()));
        part.report();
    }

    /// Has the source of a service show these hosts without an event.
    pub(crate) fn change_silently(&self, service: &str, hosts: Vec<SeenHost>) {
        let mut snapshots = self.snapshots.borrow_mut();
        let part = snapshots.hosts.entry(service.to_owned()).or_default();
        part.snapshot = Some(HostsSeen::watched(Ok(hosts), Instant::now()));
        part.is_unreported = true;
    }

    /// Has the source of a service answer nothing from now on, or answer again.
    pub(crate) fn silence(&self, service: &str, is_silent: bool) {
        self.snapshots.borrow_mut().hosts.entry(service.to_owned()).or_default().is_silent = is_silent;
    }

    /// Returns whether an actor watches the definitions.
    pub(crate) fn definitions_are_watched(&self) -> bool {
        self.snapshots.borrow().definitions.listener.is_some()
    }

    /// Returns whether an actor watches the hosts of this service.
    pub(crate) fn is_watched(&self, service: &str) -> bool {
        self.snapshots.borrow().hosts.get(service).is_some_and(|part| part.listener.is_some())
    }
}

/// A source that is being watched.
struct Listening {
    stage: ScriptedSources,
    service: Option<String>,
}

impl OpenSource for Listening {
    fn refresh(&self) {
        let snapshots = self.stage.snapshots.borrow();
        match &self.service {
            Some(service) => snapshots.hosts.get(service).into_iter().for_each(Part::<HostsSeen>::report),
            None => snapshots.definitions.report(),
        }
    }

    fn confirm(&self) {
        let Some(service) = &self.service else { return self.refresh() };
        let mut snapshots = self.stage.snapshots.borrow_mut();
        if let Some(part) = snapshots.hosts.get_mut(service).filter(|part| !part.is_silent) {
            let missed = std::mem::take(&mut part.is_unreported);
            part.snapshot.iter_mut().for_each(|snapshot| snapshot.missed = missed);
            part.report();
        }
    }
}

impl DefinitionSource for ScriptedSources {
    fn open(&self, reader: Recipient<DefinitionsSeen>) -> Box<dyn OpenSource> {
        let part = &mut self.snapshots.borrow_mut().definitions;
        part.listener = Some(reader);
        part.report();
        Box::new(Listening { stage: self.clone(), service: None })
    }

    fn are_derived(&self) -> bool {
        self.are_derived.get()
    }
}

impl HostSources for ScriptedSources {
    fn kinds(&self) -> &[SourceKind] {
        const HOSTS: &[DefinitionKey] = &[key("hosts", "list of hosts", "The hosts.")];
        const KINDS: &[SourceKind] = &[SourceKind { name: "static", keys: HOSTS, is_ordered: true }];
        KINDS
    }

    fn open(
        &self,
        service: &ServiceName,
        _: &SourceSpec,
        watcher: Recipient<HostsSeen>,
    ) -> Result<Box<dyn OpenSource>, String> {
        let name = service.to_string();
        let mut snapshots = self.snapshots.borrow_mut();
        let part = snapshots.hosts.entry(name.clone()).or_default();
        // A new watcher of the same service gets only later reports.
        part.snapshot = part.listener.is_none().then(|| part.snapshot.take()).flatten();
        part.listener = Some(watcher);
        part.report();
        Ok(Box::new(Listening { stage: self.clone(), service: Some(name) }))
    }
}
