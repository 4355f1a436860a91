//! Writes a file from a template, for any proxy: candidate, check, rename and reload, only if the content changed.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;

use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context, value::Serde};
use proxymgr_actors::decide::quoting::quoted;
use proxymgr_actors::model::{ServiceName, Word};
use proxymgr_actors::port::{Applied, PortFuture, PublishedService, ServiceOutput};
use slog::{Logger, o};

use super::isolation::{Views, isolate};
use super::view::{DomainView, ServiceView};
use crate::atomic_file::{FileMode, beside, rename_synced, resolved, write_synced};
use crate::proxy::command;
use crate::settings::TemplateSettings;

/// The mode of a new file: proxies often run as another user.
const MODE: FileMode = FileMode::KeptOr(0o644);

/// The limit of a template's work in minijinja's units, so that an endless template does not block the daemon. 50,000
/// hosts in the shipped template take less than a fifth of it.
const FUEL: u64 = 20_000_000;

/// A file made from a template.
pub struct TemplateOutput {
    name: String,
    settings: Rc<TemplateSettings>,
    memory: Rc<Memory>,
    log: Logger,
}

/// What is known of earlier updates.
#[derive(Default)]
struct Memory {
    /// Whether the file was replaced and its proxy has not been reloaded since.
    reload_due: Cell<bool>,
    /// The last data of each service that the check accepted.
    good: RefCell<Views>,
    /// The services that it refused.
    refused: RefCell<BTreeSet<ServiceName>>,
}

impl TemplateOutput {
    /// Returns the output of these settings. The template is read at each change, so that a corrected one is used.
    pub fn new(settings: TemplateSettings, log: Logger) -> Self {
        let name = format!("template {}", settings.path.display());
        let log = log.new(o!("output" => name.clone()));
        Self { name, settings: Rc::new(settings), memory: Rc::default(), log }
    }
}

impl ServiceOutput for TemplateOutput {
    fn name(&self) -> &str {
        &self.name
    }

    fn apply(&self, services: Vec<PublishedService>) -> PortFuture<Result<Applied, String>> {
        let (settings, memory, log) = (self.settings.clone(), self.memory.clone(), self.log.clone());
        Box::pin(async move {
            let wanted: Views =
                services.iter().map(|service| (service.definition.name.clone(), ServiceView::of(service))).collect();
            let (settings, log) = (&*settings, &log);
            let (candidate, used, refused) = match checked(settings, &wanted, log).await {
                Ok(candidate) => (candidate, wanted, BTreeMap::new()),
                Err(error) => {
                    let check = async |views: &Views| checked(settings, views, log).await.map(discard);
                    let (good, known) = (memory.good.borrow().clone(), memory.refused.borrow().clone());
                    let Some(found) = isolate(&wanted, &good, &known, check).await else { return Err(error) };
                    // It was accepted already, but the last candidate may have been another one.
                    (checked(settings, &found.services, log).await?, found.services, found.refused)
                }
            };
            let changed = candidate.is_some();
            if let Some(candidate) = candidate {
                let to = resolved(&settings.path);
                blocking(move || rename_synced(&candidate, &to)).await?;
                memory.reload_due.set(true);
            }
            memory.good.replace(used);
            memory.refused.replace(refused.keys().cloned().collect());
            if memory.reload_due.get()
                && let Some(reload) = &settings.reload
            {
                command::run(reload, &settings.path.to_string_lossy(), settings.timeout, log)
                    .await
                    .map_err(|failure| failure.to_string())?;
            }
            memory.reload_due.set(false);
            Ok(match problem(&refused) {
                Some(problem) => Applied::Partial { changed, problem },
                None if changed => Applied::Changed,
                None => Applied::Unchanged,
            })
        })
    }
}

/// Renders these services and has the text checked. Returns the candidate; `None` if the file has this content already.
async fn checked(settings: &TemplateSettings, views: &Views, log: &Logger) -> Result<Option<PathBuf>, String> {
    let (own, views) = (settings.clone(), views.values().cloned().collect::<Vec<_>>());
    let candidate = blocking(move || prepare(&own, &views)).await?;
    if let Some((candidate, check)) = candidate.as_ref().zip(settings.check.as_ref()) {
        let checked = command::run(check, &candidate.to_string_lossy(), settings.timeout, log).await;
        if let Err(error) = checked {
            discard(Some(candidate.clone()));
            return Err(format!("the check refuses the rendered template: {error}"));
        }
    }
    Ok(candidate)
}

fn discard(candidate: Option<PathBuf>) {
    if let Some(candidate) = candidate {
        let _ = std::fs::remove_file(candidate);
    }
}

/// Returns the problem of services whose newest data is not used.
fn problem(refused: &BTreeMap<ServiceName, Option<String>>) -> Option<String> {
    const SHOWN_MAX: usize = 10;
    let (first, message) = refused.iter().find(|(_, message)| message.is_some()).or(refused.iter().next())?;
    let names: Vec<&str> = refused.keys().take(SHOWN_MAX).map(ServiceName::as_str).collect();
    let more = refused.len().saturating_sub(SHOWN_MAX);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let why = message.as_ref().map_or_else(|| "too many services are refused to try each".to_owned(), Clone::clone);
    Some(format!(
        "the newest data of {}{more} is not used, all others are updated; {first}: {why}; their last good data stays, where \
         there is one",
        names.join(", ")
    ))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(format!("the work was interrupted: {error}")))
}

/// Writes the candidate beside the file; returns `None` if the file's content is already the same.
fn prepare(settings: &TemplateSettings, services: &[ServiceView]) -> Result<Option<PathBuf>, String> {
    let name = settings.template.display().to_string();
    let source = std::fs::read_to_string(&settings.template)
        .map_err(|error| format!("the template {name} cannot be read: {error}"))?;
    let nodes = settings.service.as_deref().map(|service| nodes(service, services)).transpose()?;
    let text = render(&name, &source, services, nodes)?;
    let target = resolved(&settings.path);
    let comment = settings.comment.as_deref();
    if std::fs::read_to_string(&target).is_ok_and(|live| meaning(&live, comment).eq(meaning(&text, comment))) {
        return Ok(None);
    }
    let candidate = beside(&target, "candidate");
    write_synced(&candidate, &target, MODE, |out: &mut dyn Write| out.write_all(text.as_bytes()))?;
    Ok(Some(candidate))
}

/// Returns the `server` lines of one service, for `{{ nodes }}`.
fn nodes(service: &str, services: &[ServiceView]) -> Result<String, String> {
    let found = services.iter().find(|candidate| candidate.name == service);
    let service = found.ok_or_else(|| format!("the service {service}, whose servers are `nodes`, is not defined"))?;
    if !service.known {
        return Err(format!("the hosts of {} are not known yet: the file stays as it is", service.name));
    }
    Ok(service.hosts.iter().map(|host| format!("    {}\n", host.line)).collect())
}

/// Returns the lines that are neither blank nor comments.
fn meaning<'a>(text: &'a str, comment: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let has_meaning = move |line: &&str| !line.is_empty() && !comment.is_some_and(|comment| line.starts_with(comment));
    text.lines().map(str::trim).filter(has_meaning)
}

/// Renders a template over `services`, their `domains` and, if present, the `server` lines `nodes`. Errors contain
/// `name`, the line and the cause.
///
/// In addition to minijinja's filters there is `haproxy`, which quotes a text as one argument in HAProxy's
/// configuration. An undefined variable is an error, not an empty text.
pub fn render(name: &str, source: &str, services: &[ServiceView], nodes: Option<String>) -> Result<String, String> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax =
        environment.syntax().to_builder().trim_blocks(true).lstrip_blocks(true).keep_trailing_newline(true).build();
    environment.set_syntax(syntax.map_err(|error| explain(name, &error))?);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_fuel(Some(FUEL));
    environment.add_filter("haproxy", haproxy_word);
    environment.add_template(name, source).map_err(|error| explain(name, &error))?;
    let template = environment.get_template(name).map_err(|error| explain(name, &error))?;
    let domains = Value::from(Serde(DomainView::all(services)));
    let services = Value::from(Serde(services));
    let context = match nodes {
        Some(nodes) => context! { services, domains, nodes },
        None => context! { services, domains },
    };
    template.render(context).map_err(|error| explain(name, &error))
}

fn haproxy_word(text: &str) -> Result<String, Error> {
    let word = Word::new(text).map_err(|error| Error::new(ErrorKind::InvalidOperation, error.to_string()))?;
    Ok(quoted(&word).into_owned())
}

/// Formats minijinja's error in one line: the line, the cause, and the variable if there is one.
fn explain(name: &str, error: &Error) -> String {
    let line = error.line().map(|line| format!(":{line}")).unwrap_or_default();
    let detail = error.detail().map(|detail| format!(": {detail}")).unwrap_or_default();
    let variable = match (error.kind(), error.range(), error.template_source()) {
        (ErrorKind::UndefinedError, Some(range), Some(source)) => {
            source.get(range).map(|text| format!(" ({text})")).unwrap_or_default()
        }
        _ => String::new(),
    };
    format!("the template {name}{line}: {}{detail}{variable}", error.kind())
}

#[cfg(test)]
mod tests {
    use super::super::view::HostView;
    use super::super::view::tests::service;
    use super::*;

    #[test]
    fn services_are_rendered_and_words_quoted() {
        let source = "{% for service in services %}\n{{ service.name | haproxy }} {{ service.domains | join(',') }}\n{% endfor %}\n";
        let text = render("t", source, &[service("a b")], None).unwrap();
        assert_eq!(text, "'a b' a.example\n");
        let source = "{% for service in services if service.default %}{{ service.path_prefix or '/' }}{% endfor %}";
        assert_eq!(render("t", source, &[service("a")], None).unwrap(), "/api");
    }

    #[test]
    fn domains_have_first_service_of_each_path() {
        let of = |name: &str, path: Option<&str>| ServiceView { path_prefix: path.map(Into::into), ..service(name) };
        let services = [of("a", Some("/api")), of("b", None), of("c", Some("/api"))];
        let source = "{% for domain in domains %}{{ domain.name }}:{{ domain.port }}\
            {% for service in domain.services %} {{ service.name }}{% endfor %}{% endfor %}";
        assert_eq!(render("t", source, &services, None).unwrap(), "a.example:80 b a");
    }

    #[test]
    fn error_contains_line_and_variable() {
        let error = render("nginx.j2", "ok\n{{ service.name }}\n", &[], None).unwrap_err();
        assert!(error.contains("nginx.j2:2") && error.contains("service.name"), "{error}");
        let error = render("nginx.j2", "a\nb\n{% for x in %}", &[], None).unwrap_err();
        assert!(error.contains("nginx.j2:3") && error.contains("syntax error"), "{error}");
    }

    #[test]
    fn shipped_template_renders_50_000_hosts() {
        let hosts = (0..50).map(|n| HostView {
            name: format!("h{n}"),
            endpoint: format!("10.0.0.{n}:80"),
            address: format!("10.0.0.{n}"),
            port: Some(80),
            weight: Some(10),
            backup: false,
            state: "ready",
            cookie: None,
            options: String::new(),
            line: String::new(),
            tags: vec!["blue".to_owned()],
            meta: BTreeMap::new(),
        });
        let hosts: Vec<HostView> = hosts.collect();
        let domains = |n| (0..3).map(|more| format!("{more}.s{n}.example")).collect();
        let services = (0..1_000).map(|n| {
            let name = format!("s{n}");
            ServiceView { hosts: hosts.clone(), domains: domains(n), ..service(&name) }
        });
        let source = include_str!("../../../config/templates/nginx.conf.j2");
        let text = render("nginx.conf.j2", source, &services.collect::<Vec<_>>(), None).unwrap();
        assert_eq!(text.matches("server 10.0.0.").count(), 50_000);
        assert_eq!(text.matches("server_name ").count(), 3_000);
    }

    #[test]
    fn a_template_that_never_ends_is_stopped() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}x{{ b }}{% endfor %}{% endfor %}";
        let error = render("t", source, &[], None).unwrap_err();
        assert!(error.contains("fuel"), "{error}");
    }

    #[test]
    fn nodes_require_known_hosts() {
        let mut web = service("web");
        let error = nodes("api", &[web.clone()]).unwrap_err();
        assert!(error.contains("api") && error.contains("not defined"), "{error}");
        assert_eq!(nodes("web", &[web.clone()]).unwrap(), "");
        web.known = false;
        assert!(nodes("web", &[web]).unwrap_err().contains("not known yet"));
        assert_eq!(
            render("t", "listen x\n{{ nodes }}", &[], Some("    server a b\n".into())).unwrap(),
            "listen x\n    server a b\n"
        );
    }

    #[test]
    fn comments_and_blank_lines_mean_nothing() {
        let same = |a, b, comment| meaning(a, comment).eq(meaning(b, comment));
        assert!(same("# written at 1\na;\n\n", "# written at 2\n  a;\n", Some("#")));
        assert!(!same("# 1\na;\n", "# 2\na;\n", None));
        assert!(!same("a;\n", "b;\n", Some("#")));
    }
}
