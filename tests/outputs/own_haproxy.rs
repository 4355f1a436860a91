//! A haproxy.cfg from the operator's template, with the servers of one service, and an external HAProxy.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::json;

use crate::support::backend::Backend;
use crate::support::dir::TestDir;
use crate::support::eventually::check;
use crate::support::process::Process;
use crate::support::{haproxy, http};
use crate::{LIMIT, daemon, define};

/// Returns a template like those of ElasticPyProxy's users: everything is the operator's except the servers.
fn template(dir: &TestDir, port: u16) -> String {
    format!(
        "global\n    stats socket {} mode 600 level admin\n    # nothing else\ndefaults\n    mode http\n    timeout connect 2s\n    \
         timeout client 30s\n    timeout server 30s\nlisten haproxynode\n    bind 127.0.0.1:{port}\n    balance roundrobin\n\
         {{{{ nodes }}}}\n",
        dir.join("own.sock").display()
    )
}

#[tokio::test]
async fn custom_template_reloads_its_haproxy() {
    let dir = TestDir::new();
    let backends = [Backend::start(&dir, "a"), Backend::start(&dir, "b")];
    let address = SocketAddr::from(([127, 0, 0, 1], dir.port()));
    dir.write("own.cfg.j2", template(&dir, address.port()));
    let config = dir.join("own.cfg");
    let haproxy = haproxy::installed().path;
    let outputs = json!([{
        "type": "template", "service": "web", "template": dir.join("own.cfg.j2"), "path": config,
        "check": [haproxy, "-c", "-f", "{candidate}"],
        "reload": ["sh", "-c", format!("kill -USR2 $(cat {})", dir.join("own.pid").display())],
    }]);
    let web = dir.port();
    let builder = daemon(&dir, outputs);
    define(&dir, "web", web, &[], &[&backends[0]]);
    let daemon = builder.start();
    daemon.eventually(LIMIT, "the file is written", async || check(config.exists(), &"none")).await;
    let mut command = Command::new(&haproxy);
    command.args(["-W", "-p"]).arg(dir.join("own.pid")).arg("-f").arg(&config);
    let _haproxy = Process::start(&dir, "own-haproxy", command);
    for backend in [&backends[0], &backends[1]] {
        define(&dir, "web", web, &[], &[backend]);
        let probe = async || {
            let response = http::get(address, "/").await.map_err(|error| error.to_string())?;
            check(response.text().contains(backend.name()), &response.text())
        };
        daemon.eventually(LIMIT, &format!("{} answers", backend.name()), probe).await;
    }
}
