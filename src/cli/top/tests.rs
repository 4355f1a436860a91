use std::sync::Arc;

use proxymgr_actors::journal::{self, JournalEntry};
use proxymgr_actors::model::{Address, Endpoint, Host, HostList, ServerName, ServerState, ServiceName};
use proxymgr_actors::snapshot::{ActorState, HaproxyState, ProxyPhase, ServiceState, WatcherState};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};

use super::screen::draw;
use super::state::{Next, Top};
use crate::status::certificate_report::CertificateStates;
use crate::status::report::{DaemonFacts, StatusReport};

const NOW: u64 = 1_000_000;

/// Status of a daemon with these services and server states.
fn report(services: &[(&str, &[ServerState])]) -> StatusReport {
    let mut haproxy = HaproxyState { phase: ProxyPhase::Running, ..HaproxyState::default() };
    let mut actors = Vec::new();
    for (name, states) in services {
        let servers = states.iter().enumerate();
        let servers = servers.map(|(n, state)| (ServerName::new(&format!("s{n}")).unwrap(), *state));
        let state = ServiceState {
            listen: Some("0.0.0.0:80".into()),
            desired: states.len(),
            servers: Arc::new(servers.collect()),
            ..ServiceState::default()
        };
        let host =
            Host::at(Endpoint::Tcp { address: Address::parse("10.0.0.1").unwrap(), port: 80.try_into().unwrap() });
        let hosts: HostList = state.servers.keys().map(|name| (name.clone(), host.clone().into())).collect();
        let watcher = WatcherState { service: (*name).into(), hosts: Some(hosts.into()), ..WatcherState::default() };
        haproxy.services.insert(ServiceName::new(name).unwrap(), state);
        actors.push(ActorState::Watcher(watcher));
    }
    actors.push(ActorState::HaproxyState(haproxy));
    let daemon = DaemonFacts {
        version: "0.1.0".into(),
        commit: "abc".into(),
        pid: 1,
        started_at_unix_ms: 0,
        uptime_s: 61,
        config_path: "/x".into(),
        restart: None,
        problems: Vec::new(),
        dropped_records: 0,
        log_loss: None,
        certificates: CertificateStates::default(),
    };
    StatusReport::of(daemon, Ok(actors.into()))
}

fn three() -> Top {
    let mut top = Top::new(true);
    let services: [(&str, &[ServerState]); 3] = [
        ("api", &[ServerState::Ready, ServerState::Ready]),
        ("mail", &[ServerState::Down, ServerState::Down]),
        ("web", &[ServerState::Ready, ServerState::Down]),
    ];
    top.answered(Ok(report(&services)), NOW);
    top
}

fn drawn(top: &mut Top, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, top, NOW + 5_000)).unwrap();
    let buffer = terminal.backend().buffer().clone();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol().to_owned()).collect::<String>();
    (0..height).map(|y| line(y).trim_end().to_owned()).collect()
}

/// The services shown, from the top.
fn shown(top: &mut Top) -> Vec<String> {
    let lines = drawn(top, 80, 24);
    let table = lines.iter().skip_while(|line| !line.starts_with("SERVICE")).skip(1);
    table.take_while(|line| !line.is_empty()).filter_map(|line| line.split(' ').next().map(ToOwned::to_owned)).collect()
}

fn press(top: &mut Top, keys: &str) -> Next {
    let mut next = Next::Continue;
    for char in keys.chars() {
        let code = if char == '\n' { KeyCode::Enter } else { KeyCode::Char(char) };
        next = top.handle(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
    }
    next
}

#[test]
fn services_with_problems_come_first() {
    let mut top = three();
    let lines = drawn(&mut top, 80, 12);
    assert_eq!(lines[0], "1 problem");
    assert_eq!(lines[1], "proxymgr 0.1.0, up 1m 1s; HAProxy is not running");
    assert_eq!(lines[2], "3 services, 6 servers; 0.0 changes/s; reloads 0, drift 0, refused 0");
    assert!(lines[3].contains("mail: no server takes traffic: 2 down"), "{lines:#?}");
    assert!(lines[4].starts_with("SERVICE"), "{lines:#?}");
    assert_eq!(lines[5].split_whitespace().collect::<Vec<_>>(), ["mail", "2", "0", "2", "0", "0", "ok", "-"]);
    assert_eq!(shown(&mut top), ["mail", "web", "api"]);
    assert!(lines[11].starts_with("q quit  s sort: problems"), "{lines:#?}");
}

#[test]
fn keys_sort_filter_and_quit() {
    let mut top = three();
    press(&mut top, "s");
    assert_eq!(shown(&mut top), ["api", "mail", "web"]);
    press(&mut top, "p");
    assert_eq!(shown(&mut top), ["mail", "web"]);
    press(&mut top, "p/AP");
    assert_eq!(shown(&mut top), ["api"]);
    assert_eq!(press(&mut top, "q"), Next::Continue, "q is a letter while the filter is edited");
    assert!(shown(&mut top).is_empty());
    let escape = Event::Key(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
    assert_eq!(top.handle(&escape), Next::Continue);
    assert_eq!(shown(&mut top).len(), 3);
    assert_eq!(press(&mut top, "/mail\nq"), Next::Quit);
    let interrupt = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert_eq!(top.handle(&interrupt), Next::Quit);
}

#[test]
fn enter_opens_the_selected_service() {
    let mut top = three();
    press(&mut top, "j\n");
    assert_eq!(top.opened_name().as_deref(), Some("web"), "the second by severity");
    let entry = JournalEntry::new(journal::Event::SourceBack).service(&ServiceName::new("web").unwrap());
    top.journal_of("api", vec![entry.clone(), entry.clone()]);
    top.journal_of("web", vec![entry]);
    let lines = drawn(&mut top, 80, 24);
    assert!(lines[0].contains("web, 1 of 2 servers ready"), "{lines:#?}");
    assert!(lines.iter().any(|line| line.trim_start().starts_with("s1") && line.contains("down")), "{lines:#?}");
    assert_eq!(lines.iter().filter(|line| line.contains("readable again")).count(), 1, "{lines:#?}");
    press(&mut top, "jjjjjjjjjjjj");
    assert!(!drawn(&mut top, 80, 10)[0].contains("web"), "it is scrolled");
    top.answered(Ok(report(&[])), NOW + 1);
    assert!(drawn(&mut top, 80, 24)[0].contains("web is gone"));
    press(&mut top, "\n");
    assert_eq!(top.opened_name(), None);
    assert_eq!(press(&mut top, "q"), Next::Quit);
}

#[test]
fn lost_daemon_keeps_old_data_with_age() {
    let mut top = three();
    top.answered(Err("no proxymgr answers at http://x".into()), NOW + 2_000);
    let lines = drawn(&mut top, 80, 24);
    assert_eq!(lines[..2], ["no proxymgr answers at http://x", "the data below is 5s old"]);
    assert_eq!(shown(&mut top), ["mail", "web", "api"]);
}

#[test]
fn every_terminal_size_can_be_drawn() {
    let mut top = three();
    for (width, height) in [(1, 1), (10, 3), (40, 6), (79, 24), (80, 24), (200, 60)] {
        drawn(&mut top, width, height);
    }
    let wide = drawn(&mut top, 120, 24);
    assert!(wide.iter().any(|line| line.contains("LISTEN") && line.contains("LAST CHANGE")), "{wide:#?}");
    let row = |line: &String| line.starts_with("api") && line.contains("  dynamic");
    assert!(wide.iter().any(|line| line.contains("UPDATE")) && wide.iter().any(row), "{wide:#?}");
    let narrow = drawn(&mut top, 60, 24);
    assert!(narrow.iter().any(|line| line.starts_with("SERVICE") && !line.contains("LAST CHANGE")), "{narrow:#?}");
}

#[test]
fn no_color_has_no_colours() {
    let mut top = three();
    let coloured = |top: &mut Top| {
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).unwrap();
        terminal.draw(|frame| draw(frame, top, NOW)).unwrap();
        let cells = terminal.backend().buffer().content().to_vec();
        cells.iter().any(|cell| cell.fg != ratatui::style::Color::Reset)
    };
    assert!(coloured(&mut top));
    top.colours = false;
    assert!(!coloured(&mut top));
}
