//! Standard output: prints the full state at every change, for people or for another program.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;

use proxymgr_actors::port::{Applied, PortFuture, PublishedService, ServiceOutput};
use tokio::io::AsyncWriteExt;

use super::view::ServiceView;
use crate::settings::StdoutFormat;

/// Prints services.
pub struct StdoutOutput {
    format: StdoutFormat,
    /// The text that was printed last.
    printed: Rc<RefCell<String>>,
}

impl StdoutOutput {
    /// Returns an output that has printed nothing yet.
    pub fn new(format: StdoutFormat) -> Self {
        Self { format, printed: Rc::default() }
    }
}

impl ServiceOutput for StdoutOutput {
    fn name(&self) -> &str {
        "standard output"
    }

    fn apply(&self, services: Vec<PublishedService>) -> PortFuture<Result<Applied, String>> {
        let views: Vec<ServiceView> = services.iter().map(ServiceView::of).collect();
        let text = match self.format {
            StdoutFormat::Text => text(&views),
            StdoutFormat::Json => json(&views),
        };
        let printed = self.printed.clone();
        Box::pin(async move {
            if *printed.borrow() == text {
                return Ok(Applied::Unchanged);
            }
            let mut stdout = tokio::io::stdout();
            stdout.write_all(text.as_bytes()).await.map_err(|error| format!("cannot be written: {error}"))?;
            stdout.flush().await.map_err(|error| format!("cannot be written: {error}"))?;
            printed.replace(text);
            Ok(Applied::Changed)
        })
    }
}

fn text(services: &[ServiceView]) -> String {
    let mut text = String::new();
    for service in services {
        let address = service.address.as_deref().unwrap_or("-");
        let port = service.port.map_or("-".to_owned(), |port| port.to_string());
        let _ = write!(text, "service {} {address} {port}", service.name);
        let path = service.path_prefix.as_deref().unwrap_or_default();
        for domain in &service.domains {
            let _ = write!(text, " {domain}{path}");
        }
        if service.default {
            let _ = write!(text, " *{path}");
        }
        if !service.conditions.is_empty() {
            let _ = write!(text, " ({})", service.conditions);
        }
        text.push_str(if service.known { "\n" } else { " (hosts not known yet)\n" });
        for host in &service.hosts {
            let _ = write!(text, "  host {} {}", host.endpoint, host.state);
            if let Some(weight) = host.weight {
                let _ = write!(text, " weight {weight}");
            }
            text.push_str(if host.backup { " backup\n" } else { "\n" });
        }
    }
    // A blank line ends each change, so that a reader knows that it is complete.
    text.push('\n');
    text
}

fn json(services: &[ServiceView]) -> String {
    let mut text = serde_json::json!({ "services": services }).to_string();
    text.push('\n');
    text
}
