//! Who answers which path of the page.

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
use super::service_row::{ServiceRow, Trouble};
use super::stream::Streams;
use super::templates::value;
use super::{PageSettings, assets, lines, service_page, templates};
use crate::status::config_text;
use crate::status::view::{Identity, View};

/// All that the page loads is its own, no text in it is ever run, and no other site may frame it.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Entries on the page of the journal.
const JOURNAL_LINES: usize = 300;

/// What every handler needs.
pub struct Page {
    /// What is shown.
    pub board: Rc<Board>,
    streams: Rc<Streams>,
    has_token: bool,
}

/// Adds every path. Called on the listener's thread.
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
        .service(web::resource("/journal").get(journal))
        .service(web::resource("/config").get(configuration))
        .service(web::resource("/config/{service}").get(section))
        .service(web::resource("/events").get(events))
        .service(web::resource("/assets/{name}").get(assets::serve));
}

/// Which services a reader wants to see, and in which order.
#[derive(Debug, Default, Deserialize)]
struct Wanted {
    /// A part of the name, the address or the kind of source.
    #[serde(default)]
    q: String,
    /// Only those with trouble, whatever the value.
    trouble: Option<String>,
    /// `trouble`, `name`, `changed`, `busy`.
    #[serde(default)]
    sort: String,
}

impl Wanted {
    fn lets_pass(&self, row: &ServiceRow) -> bool {
        let text = self.q.to_lowercase();
        let holds = |part: &str| part.to_lowercase().contains(&text);
        let found = holds(&row.name) || holds(&row.listen) || holds(&row.source_kind);
        found && (self.trouble.is_none() || row.trouble > Trouble::None)
    }

    fn sorted<'a>(&self, shown: &'a Shown) -> Vec<&'a ServiceRow> {
        let mut rows: Vec<_> = shown.rows().collect();
        match self.sort.as_str() {
            "name" => {}
            "changed" => rows.sort_by_key(|row| std::cmp::Reverse(row.changed_unix_ms)),
            "down" => rows.sort_by_key(|row| std::cmp::Reverse(row.servers.down + row.servers.missing)),
            _ => rows.sort_by_key(|row| std::cmp::Reverse(row.trouble)),
        }
        rows
    }
}

async fn overview(page: Data<Page>, wanted: Query<Wanted>) -> HttpResponse {
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    page.board.refresh_traffic().await;
    let html = page.board.read(|shown| {
        let mut rows = String::with_capacity(1_024 * shown.rows().size_hint().0.max(16));
        let mut seen = 0;
        for row in wanted.sorted(shown) {
            let is_seen = wanted.lets_pass(row);
            seen += usize::from(is_seen);
            shown.write_row(&row.name, is_seen, &mut rows);
        }
        let part = |id| Value::from_safe_string(shown.part(id).to_owned());
        let content = context! {
            page => "overview",
            title => if shown.trouble == Trouble::None { "all is well" } else { "not all is well" },
            headline => part("headline"),
            concerns => part("concerns"),
            held => part("held"),
            facts => part("facts"),
            history => part("history"),
            rows => Value::from_safe_string(rows),
            count => shown.rows().count(),
            seen,
            q => &wanted.q,
            only_trouble => wanted.trouble.is_some(),
            sort => if wanted.sort.is_empty() { "trouble" } else { &wanted.sort },
        };
        templates::render("overview.html", context! { ..content, ..frame(&page, shown) })
    });
    answer(html)
}

async fn service(page: Data<Page>, name: Path<String>) -> HttpResponse {
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    let view = service_page::gather(&page.board, &name).await;
    let Some(view) = view else {
        return problem(&page, StatusCode::NOT_FOUND, "There is no service of this name now.");
    };
    let html = page.board.read(|shown| {
        let content = context! { page => "service", title => &view.row.name, view => value(&view) };
        templates::render("service.html", context! { ..content, ..frame(&page, shown) })
    });
    answer(html)
}

async fn server(page: Data<Page>, path: Path<(String, String)>) -> HttpResponse {
    let (service, server) = path.into_inner();
    page.board.refresh(STATUS_REFRESH_INTERVAL).await;
    let query = ReadJournal { service: Some(service.clone()), ..ReadJournal::default() };
    let entries = page.board.view.journal(query).await;
    let chapters = lines::chapters(&entries, &server, STATUS_STORY_ENTRIES_MAX);
    let view = service_page::gather(&page.board, &service).await;
    let line = view.and_then(|view| view.servers.into_iter().find(|line| line.name == server));
    if line.is_none() && chapters.is_empty() {
        return problem(&page, StatusCode::NOT_FOUND, "There is no such server, and the journal does not remember it.");
    }
    let html = page.board.read(|shown| {
        let title = format!("{server} of {service}");
        let content =
            context! { page => "server", title, service, server, line => value(line), chapters => value(chapters) };
        templates::render("server.html", context! { ..content, ..frame(&page, shown) })
    });
    answer(html)
}

/// Which entries of the journal a reader wants.
#[derive(Debug, Default, Deserialize)]
struct Filter {
    #[serde(default)]
    service: String,
    #[serde(default)]
    server: String,
}

async fn journal(page: Data<Page>, filter: Query<Filter>) -> HttpResponse {
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
        templates::render("journal.html", context! { ..content, ..frame(&page, shown) })
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
        let content =
            context! { page => "config", title => "configuration", path, view => value(config_text::view(&state)) };
        templates::render("config.html", context! { ..content, ..frame(&page, shown) })
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
        None => problem(&page, StatusCode::NOT_FOUND, "The configuration that runs has no such section."),
    }
}

/// From where a reader goes on.
#[derive(Debug, Default, Deserialize)]
struct From {
    /// What the page it has shows.
    #[serde(default)]
    tick: u64,
}

async fn events(page: Data<Page>, request: HttpRequest, from: Query<From>) -> HttpResponse {
    // A browser that connects again by itself says what it saw last.
    let last = request.headers().get("Last-Event-ID").and_then(|id| id.to_str().ok()?.parse().ok());
    match page.streams.open(last.unwrap_or(from.tick)).await {
        Some(stream) => HttpResponse::Ok()
            .content_type("text/event-stream")
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .streaming(stream),
        None => HttpResponse::ServiceUnavailable()
            .insert_header((header::RETRY_AFTER, "30"))
            .content_type("text/plain; charset=utf-8")
            .body("there are as many event streams as there may be; read the page itself again from time to time\n"),
    }
}

/// What every page has around its content.
fn frame(page: &Page, shown: &Shown) -> Value {
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
        templates::render("problem.html", context! { ..content, ..frame(page, shown) })
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
