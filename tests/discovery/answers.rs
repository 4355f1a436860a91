//! The part of the contract that is about answers: each is cut, delayed, replaced or repeated by a proxy in front of the
//! server. A source never reports an empty or shortened list because of that, reports an error in bounded time, and
//! recovers once the fault ends.
//!
//! | fault | applies to |
//! | --- | --- |
//! | cut at any byte | all. With a length or chunks it is a broken connection; without, the JSON shows it. ZooKeeper: at any byte of the connection |
//! | older list | Consul (index) and etcd (revision): one is not taken, a repeated one is restored data. Marathon, Mesos and DNS show no age: the next read corrects it. ZooKeeper: a session never goes back, and a new one begins with `sync` |
//! | access lost as a whole | all with credentials, in their own tests |
//! | access lost in part | Consul from 1.11 (header), keys of Consul (check of what left the list), ZooKeeper (each znode). etcd refuses a range as a whole. Not visible: health and catalog of Consul before 1.11 |
//! | empty, slow, redirect, 429, 5xx, HTML | all over HTTP; Mesos in `marathon_source.rs`. ZooKeeper has none but silence, see `zookeeper_faults.rs` |
//! | event lost or twice | etcd and Marathon (streams), ZooKeeper (lost watch). Consul, Mesos and DNS have no events |

use super::*;
use crate::discovery::kinds::{InZookeeper, OverHttp};
use crate::discovery::proxy::{Fault, Proxy};

/// A source behind a proxy that has reported its first list: A and B.
struct Proxied<K> {
    kind: K,
    proxy: Proxy,
    inbox: Inbox<HostsSeen>,
    source: Box<dyn OpenSource>,
    _dir: TestDir,
}

impl<K: OverHttp> Proxied<K> {
    async fn start() -> Self {
        let dir = TestDir::new();
        let mut kind = K::start(&dir).await;
        kind.put(A, None).await;
        kind.put(B, None).await;
        let proxy = Proxy::to(kind.port()).await;
        let mut inbox = Inbox::new();
        let (sources, spec) = kind.through(proxy.address());
        let source = open(&sources, &spec, &inbox).unwrap();
        inbox.until_hosts(&list::<K>(&[(A, A), (B, B)])).await;
        Self { kind, proxy, inbox, source, _dir: dir }
    }

    fn both() -> Hosts {
        list::<K>(&[(A, A), (B, B)])
    }

    fn all_three() -> Hosts {
        list::<K>(&[(A, A), (B, B), (C, C)])
    }

    /// Returns the size of the answer with the list, which stays recorded.
    async fn record(&mut self) -> usize {
        self.proxy.record();
        self.source.refresh();
        self.inbox.until_hosts(&Self::both()).await;
        self.proxy.recorded().await
    }

    /// Waits for an error of the fault that was set. No list may precede it.
    async fn error(&mut self) -> String {
        self.source.refresh();
        let (error, before) = self.inbox.until_error().await;
        assert!(before.iter().all(|seen| seen.result.is_err()), "{before:?}");
        error
    }

    /// Ends the fault, and waits for this list. Before it, only errors and lists of these may be reported.
    async fn recovers(&mut self, expected: &Hosts, others: &[Hosts]) {
        self.proxy.heal();
        self.source.refresh();
        self.arrives(expected, others).await;
    }

    async fn arrives(&mut self, expected: &Hosts, others: &[Hosts]) {
        let list = Ok(expected.clone());
        let (_, before) = self.inbox.until(format!("{expected:?}"), move |seen| level(seen) == list).await;
        let is_right = |seen: &HostsSeen| level(seen).map_or(true, |list| others.contains(&list));
        assert!(before.iter().all(is_right), "a list that never was: {before:?}");
    }
}

/// Positions in an answer of this size: close together at both ends.
fn positions(size: usize) -> impl Iterator<Item = usize> {
    let ends = (0..4).chain(size.saturating_sub(8)..size);
    let between = (4..size.saturating_sub(8)).step_by((size / 16).max(1));
    std::collections::BTreeSet::from_iter(ends.chain(between)).into_iter().filter(move |at| *at < size)
}

pub async fn answer_cut_anywhere_is_an_error<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    let size = it.record().await;
    for at in positions(size) {
        it.proxy.set(Fault::Cut(at));
        let error = it.error().await;
        assert_readable(&error);
    }
    it.recovers(&Proxied::<K>::both(), &[]).await;
}

pub async fn answer_without_length_cut_anywhere_is_an_error<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    let size = it.record().await;
    // The header is not cut.
    for at in positions(size) {
        it.proxy.set(Fault::CutUnframed(at));
        it.source.refresh();
        match level(&it.inbox.next().await) {
            Ok(list) => assert_eq!(list, Proxied::<K>::both(), "cut at {at} of {size}"),
            Err(error) => assert_readable(&error),
        }
    }
    it.recovers(&Proxied::<K>::both(), &[Proxied::<K>::both()]).await;
}

pub async fn change_in_a_cut_answer_is_not_lost<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    let (both, all) = (Proxied::<K>::both(), Proxied::<K>::all_three());
    let size = it.record().await;
    for fault in [Fault::Cut(0), Fault::Cut(size / 2), Fault::CutUnframed(0), Fault::CutUnframed(size / 4)] {
        it.proxy.set_once(fault);
        it.kind.put(C, None).await;
        it.arrives(&all, std::slice::from_ref(&both)).await;
        it.kind.remove(C).await;
        it.arrives(&both, std::slice::from_ref(&all)).await;
    }
}

pub async fn change_in_a_stalled_answer_is_not_lost<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    let (both, all) = (Proxied::<K>::both(), Proxied::<K>::all_three());
    let size = it.record().await;
    it.proxy.set_once(Fault::Stall(size / 2));
    it.kind.put(C, None).await;
    it.arrives(&all, &[both]).await;
}

pub async fn slow_answer_is_an_error<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    for bytes in [0, 100] {
        it.proxy.set(Fault::Stall(bytes));
        let error = it.error().await;
        assert!(error.contains("no answer within"), "{error}");
    }
    it.recovers(&Proxied::<K>::both(), &[]).await;
}

pub async fn answer_from_the_past_is_not_taken<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    let (both, all) = (Proxied::<K>::both(), Proxied::<K>::all_three());
    it.record().await;
    it.kind.put(C, None).await;
    it.arrives(&all, std::slice::from_ref(&both)).await;
    it.proxy.set_once(Fault::Replay);
    if K::SHOWS_AGE {
        it.source.refresh();
        it.arrives(&all, &[]).await;
    }
    // Answers that stay old look like restored data.
    it.proxy.set(Fault::Replay);
    it.source.refresh();
    it.arrives(&both, std::slice::from_ref(&all)).await;
    it.recovers(&all, &[both]).await;
}

pub async fn answer_of_something_else_is_an_error<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    let html =
        "<!DOCTYPE html>\n<html>\r\n<head><title>Oops</title></head><body><h1>It broke</h1>Try again</body></html>";
    let answer = |head: &str, body: &str| format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let with_index = |body: &str| answer("200 OK\r\nx-consul-index: 1", body);
    for answer in [
        answer("200 OK", ""),
        answer("204 No Content", ""),
        answer("200 OK", "{}"),
        with_index(""),
        with_index("null"),
        with_index(html),
        with_index(&"x".repeat(5_000)),
        answer("200 OK\r\ncontent-type: text/html", html),
        answer("301 Moved\r\nlocation: http://127.0.0.1:1/elsewhere", html),
        answer("302 Found\r\nlocation: http://127.0.0.1:1/login", ""),
        answer("429 Too Many Requests", html),
        answer("500 Internal Server Error", html),
        answer("502 Bad Gateway", html),
        answer("503 Unavailable", &"two\nlines ".repeat(500)),
        answer("403 Forbidden", html),
        answer("404 Not Found", html),
        "SSH-2.0-OpenSSH_9.2\r\n".to_owned(),
        "-ERR unknown command\r\n".to_owned(),
    ] {
        it.proxy.set(Fault::Send(answer));
        let error = it.error().await;
        assert_readable(&error);
    }
    it.recovers(&Proxied::<K>::both(), &[]).await;
}

/// An error is one short line, without HTML and without the words of libraries.
fn assert_readable(error: &str) {
    assert!(error.len() < 260, "{} bytes: {error}", error.len());
    assert!(!error.contains(['<', '\n', '\r']), "{error}");
    for words in ["line 1", "column", "EOF", "os error", "hyper", "invalid type", "missing field", "expected value"] {
        assert!(!error.contains(words), "{words}: {error}");
    }
}

pub async fn lost_event_is_found_by_a_refresh<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    let (both, all) = (Proxied::<K>::both(), Proxied::<K>::all_three());
    it.settle().await;
    it.proxy.set(Fault::Lose);
    it.kind.put(C, None).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    it.recovers(&all, &[both]).await;
}

pub async fn confirmation_finds_a_lost_event<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    it.settle().await;
    it.proxy.set(Fault::Lose);
    it.kind.put(C, None).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    it.proxy.heal();
    it.source.confirm();
    assert!(it.inbox.until_hosts(&Proxied::<K>::all_three()).await.missed);
    it.source.confirm();
    let confirmed = it.inbox.next().await;
    assert_eq!((level(&confirmed), confirmed.missed), (Ok(Proxied::<K>::all_three()), false));
}

pub async fn reported_changes_are_not_missed<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    for _ in 0..10 {
        it.source.confirm();
        it.kind.put(C, None).await;
        let first = it.inbox.until_hosts(&Proxied::<K>::all_three()).await;
        it.source.confirm();
        it.kind.remove(C).await;
        let second = it.inbox.until_hosts(&Proxied::<K>::both()).await;
        assert!(!first.missed && !second.missed);
    }
}

pub async fn event_twice_changes_nothing<K: OverHttp>() {
    let mut it = Proxied::<K>::start().await;
    let (both, all) = (Proxied::<K>::both(), Proxied::<K>::all_three());
    it.settle().await;
    it.proxy.set(Fault::Repeat);
    for _ in 0..3 {
        it.kind.put(C, None).await;
        it.arrives(&all, std::slice::from_ref(&both)).await;
        it.kind.remove(C).await;
        it.arrives(&both, std::slice::from_ref(&all)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let more = it.inbox.waiting();
        assert!(more.is_empty(), "an event of the past was applied: {more:?}");
    }
}

impl<K: OverHttp> Proxied<K> {
    /// Waits until the stream of events is open, and what follows its start has been read.
    async fn settle(&mut self) {
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.inbox.waiting();
    }
}

// ---- ZooKeeper, behind a gate -----------------------------------------------------------------------------------

pub async fn connection_cut_anywhere_shortens_no_list<K: InZookeeper>() {
    let mut it = opened::<K>().await;
    let both = list::<K>(&[(A, A), (B, B)]);
    for bytes in (0..60).step_by(7).chain((60..700).step_by(37)) {
        let cuts = it.kind.gate().cuts();
        it.kind.gate().cut_after(bytes);
        while it.kind.gate().cuts() == cuts {
            it.source.refresh();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for seen in it.inbox.waiting() {
            match level(&seen) {
                Ok(list) => assert_eq!(list, both, "cut after {bytes} bytes"),
                Err(error) => assert_readable(&error),
            }
        }
    }
    it.kind.remove(A).await;
    it.kind.gate().open();
    it.source.refresh();
    let expected = list::<K>(&[(B, B)]);
    let fits = Ok(expected.clone());
    let (_, before) = it.inbox.until(format!("{expected:?}"), move |seen| level(seen) == fits).await;
    assert!(before.iter().all(|seen| level(seen).map_or(true, |list| list == both)), "{before:?}");
}
