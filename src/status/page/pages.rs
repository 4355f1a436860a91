//! The handler of each path of the page.

use std::rc::Rc;
use std::sync::Arc;

use actix_web::http::{StatusCode, header};
use actix_web::web::{self, Data, Path, Query, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use minijinja::{Value, context};
use proxymgr_actors::limits::{STATUS_REFRESH_INTERVAL, STATUS_STORY_ENTRIES_MAX};
use proxymgr_actors::message::ReadJournal;
use serde::Deserialize;

use super::board::{Board, Shown};
use super::service_row::ServiceRow;
use super::stream::Streams;
use super::templates::value;
use super::{PageSettings, assets, find, host_page, lines, service_page, templates};
use crate::status::config_text::{self, ConfigWarnings};
use crate::status::severity::Severity;
use crate::status::view::{Identity, View};

/// The page loads its own files only, runs no inline script, and cannot be framed by other sites.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Entries on the journal page.
const JOURNAL_LINES: usize = 300;

/// What all handlers need.
pub struct Page {
    /// The state of the page.
    pub board: Rc<Board>,
    streams: Rc<Streams>,
    has_token: bool,
}

/// Registers all paths. Called on the listener's thread.
pub fn register(config: &mut ServiceConfig, view: Arc<dyn View>, identity: Identity, settings: &PageSettings) {
    let traffic = settings.traffic.as_ref().map(|open| open());
    let board = Rc::new(Board::new(view, identity, traffic));
    let streams = Rc::new(Streams::new(Rc::clone(&board)));
    actix_web::rt::spawn(Rc::clone(&streams).keep_readers_informed());
    config
        .app_data(Data::new(Page { board, streams, has_token: settings.has_token }))
        .service(web::resource("/").get(overview))
        .service(web::resource("/services/{service}").get(service))
        .service(web::resource("/services/{service}/servers/{server}").get(server))
        .service(web::resource("/hosts/{address}").get(host))
        .service(web::resource("/find").get(found))
        .service(web::resource("/journal").get(journal))
        .service(web::resource("/config").get(configuration))
        .service(web::resource("/config/{service}").get(section))
        .service(web::resource("/events").get(events))
        .service(web::resource("/assets/{name}").get(assets::serve));
}

/// Filter and order of the list of services.
#[derive(Debug, Default, Deserialize)]
struct ServiceFilter {
    /// Part of the name, the address, the kind of source, a domain or a tag, or of the name or address of a host.
    #[serde(default)]
    q: String,
    /// Only services with problems; the value does not matter.
    #[serde(alias = "trouble")]
    problems: Option<String>,
    /// `problems`, `name`, `changed` or `down`.
    #[serde(default)]
    sort: String,
}

impl ServiceFilter {
    fn matches(&self, row: &ServiceRow, by_host: &[String]) -> bool {
        let found = row.find.contains(&self.q.trim().to_lowercase()) || by_host.binary_search(&row.name).is_ok();
        found && (self.problems.is_none() || row.severity > Severity::Ok)
    }

    fn sorted<'a>(&self, shown: &'a Shown) -> Vec<&'a ServiceRow> {
        let mut rows: Vec<_> = shown.rows().collect();
        match self.sort.as_str() {
            "name" => {}
            "changed" => rows.sort_by_key(|row| std::cmp::Reverse(row.changed_unix_ms)),
            "down" => rows.sort_by_key(|row| std::cmp::Reverse(row.servers.down + row.servers.missing)),
            _ => rows.sort_by_key(|row| std::cmp::Reverse(row.severity)),
        }
        rows
    }
}

async fn overview(page: Data<Page>, filter: Query<ServiceFilter>) -> HttpResponse {
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    page.board.refresh_traffic().await;
    let html = page.board.read(|shown| {
        let mut rows = String::with_capacity(1_024 * shown.rows().size_hint().0.max(16));
        let mut seen = 0;
        let found = shown.report.as_ref().map(|report| find::by_host(report, &filter.q)).unwrap_or_default();
        for row in filter.sorted(shown) {
            let is_seen = filter.matches(row, &found.services);
            seen += usize::from(is_seen);
            shown.write_row(&row.name, is_seen, &mut rows);
        }
        let part = |id| Value::from_safe_string(shown.part(id).to_owned());
        let content = context! {
            page => "overview",
            title => if shown.severity == Severity::Ok { "OK" } else { "problems" },
            headline => part("headline"),
            concerns => part("concerns"),
            held => part("held"),
            overrides => part("overrides"),
            facts => part("facts"),
            certificates => part("certificates"),
            history => part("history"),
            rows => Value::from_safe_string(rows),
            count => shown.rows().count(),
            seen,
            q => &filter.q,
            host => &found.host,
            only_problems => filter.problems.is_some(),
            sort => if filter.sort.is_empty() { "problems" } else { &filter.sort },
        };
        templates::render("overview.html", context! { ..content, ..page_frame(&page, shown) })
    });
    answer(html)
}

async fn service(page: Data<Page>, name: Path<String>) -> HttpResponse {
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    let view = service_page::gather(&page.board, &name).await;
    let Some(view) = view else {
        return problem(&page, StatusCode::NOT_FOUND, "No service has this name.");
    };
    let html = page.board.read(|shown| {
        let content = context! { page => "service", title => &view.row.name, view => value(&view) };
        templates::render("service.html", context! { ..content, ..page_frame(&page, shown) })
    });
    answer(html)
}

async fn server(page: Data<Page>, path: Path<(String, String)>) -> HttpResponse {
    let (service, server) = path.into_inner();
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    let query = ReadJournal { service: Some(service.clone()), ..ReadJournal::default() };
    let entries = page.board.view.journal(query).await;
    let changes = lines::history(&entries, &server, STATUS_STORY_ENTRIES_MAX);
    let view = service_page::gather(&page.board, &service).await;
    let line = view.and_then(|view| view.servers.into_iter().find(|line| line.name == server));
    if line.is_none() && changes.is_empty() {
        return problem(
            &page,
            StatusCode::NOT_FOUND,
            "No server has this name, and the journal has no entry about it.",
        );
    }
    let html = page.board.read(|shown| {
        let title = format!("{server} of {service}");
        let content =
            context! { page => "server", title, service, server, line => value(line), changes => value(changes) };
        templates::render("server.html", context! { ..content, ..page_frame(&page, shown) })
    });
    answer(html)
}

async fn host(page: Data<Page>, address: Path<String>) -> HttpResponse {
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    let Some(view) = host_page::gather(&page.board, &address).await else {
        return problem(&page, StatusCode::NOT_FOUND, "No service has a server at this address.");
    };
    let html = page.board.read(|shown| {
        let content = context! { page => "host", title => &view.address, view => value(&view) };
        templates::render("host.html", context! { ..content, ..page_frame(&page, shown) })
    });
    answer(html)
}

/// A search for hosts.
#[derive(Debug, Default, Deserialize)]
struct HostSearch {
    /// Part of a name or an address.
    #[serde(default)]
    q: String,
}

/// The services whose hosts match, as JSON: the script cannot know all hosts.
async fn found(page: Data<Page>, search: Query<HostSearch>) -> HttpResponse {
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    let found = page.board.read(|shown| shown.report.as_ref().map(|report| find::by_host(report, &search.q)));
    HttpResponse::Ok().json(found.unwrap_or_default())
}

/// Filter of the journal page.
#[derive(Debug, Default, Deserialize)]
struct JournalFilter {
    #[serde(default)]
    service: String,
    #[serde(default)]
    server: String,
}

async fn journal(page: Data<Page>, filter: Query<JournalFilter>) -> HttpResponse {
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let query = ReadJournal {
        service: some(filter.service.trim()),
        server: some(filter.server.trim()),
        limit: Some(JOURNAL_LINES),
        ..ReadJournal::default()
    };
    let entries = page.board.view.journal(query).await;
    let lines: Vec<_> = entries.iter().rev().map(lines::line).collect();
    let html = page.board.read(|shown| {
        let content = context! {
            page => "journal",
            title => "journal",
            lines => value(lines),
            with_names => true,
            service => filter.service.trim(),
            server => filter.server.trim(),
            limit => JOURNAL_LINES,
        };
        templates::render("journal.html", context! { ..content, ..page_frame(&page, shown) })
    });
    answer(html)
}

async fn configuration(page: Data<Page>) -> HttpResponse {
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    let state = match page.board.view.config().await {
        Ok(state) => state,
        Err(error) => return problem(&page, StatusCode::SERVICE_UNAVAILABLE, &error),
    };
    let html = page.board.read(|shown| {
        let path = &page.board.identity.config_path;
        let warnings = value(ConfigWarnings::of(shown.report.as_deref()));
        let services: Vec<String> = shown.rows().map(|row| row.name.clone()).collect();
        let view = value(config_text::view(&state));
        let content = context! { page => "config", title => "configuration", path, warnings, services, view };
        templates::render("config.html", context! { ..content, ..page_frame(&page, shown) })
    });
    answer(html)
}

/// One section as plain text.
async fn section(page: Data<Page>, name: Path<String>) -> HttpResponse {
    let text = match page.board.view.config().await {
        Ok(state) => config_text::section(&state, &name),
        Err(error) => return problem(&page, StatusCode::SERVICE_UNAVAILABLE, &error),
    };
    match text {
        Some(text) => HttpResponse::Ok().content_type("text/plain; charset=utf-8").body(text),
        None => problem(&page, StatusCode::NOT_FOUND, "The running configuration has no such section."),
    }
}

/// Where a reader of the event stream resumes.
#[derive(Debug, Default, Deserialize)]
struct Resume {
    /// The tick of the page that the reader has.
    #[serde(default)]
    tick: u64,
}

async fn events(page: Data<Page>, request: HttpRequest, from: Query<Resume>) -> HttpResponse {
    // A browser that reconnects sends the id of the last event.
    let last = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok()?.parse().ok());
    match page.streams.open(last.unwrap_or(from.tick)).await {
        Some(stream) => HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .streaming(stream),
        None => HttpResponse::ServiceUnavailable()
            .insert_header((header::RETRY_AFTER, "30"))
            .content_type("text/plain; charset=utf-8")
            .body("too many event streams are open; load the page again from time to time instead\n"),
    }
}

/// Values of the frame around every page.
fn page_frame(page: &Page, shown: &Shown) -> Value {
    let identity = &page.board.identity;
    context! {
        run => page.board.run(),
        tick => shown.tick,
        now => identity.clock.unix_ms(),
        version => identity.version,
        commit => identity.commit,
        started => identity.started_at_unix_ms,
        has_token => page.has_token,
    }
}

fn answer(html: Result<String, String>) -> HttpResponse {
    match html {
        Ok(html) => page_with(StatusCode::OK, html),
        Err(error) => HttpResponse::InternalServerError().content_type("text/plain; charset=utf-8").body(error),
    }
}

fn problem(page: &Page, status: StatusCode, problem: &str) -> HttpResponse {
    let html = page.board.read(|shown| {
        let content = context! { page => "problem", title => "not found", problem };
        templates::render("problem.html", context! { ..content, ..page_frame(page, shown) })
    });
    html.map_or_else(|error| answer(Err(error)), |html| page_with(status, html))
}

fn page_with(status: StatusCode, html: String) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(html)
}
