//! The status page in a real browser.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::stage::{self, LIMIT, ServiceFiles, addresses, daemon, wait_for_ready, web_in_files};
use crate::support::browser::Browser;
use crate::support::daemon::Daemon;
use crate::support::dir::TestDir;
use crate::support::eventually::{check, eventually};
use crate::support::http;
use crate::support::process::Process;

const TOKEN: &str = "0123456789abcdef";

fn url(daemon: &Daemon, path: &str) -> String {
    format!("http://{}{path}", daemon.status_address())
}

/// Opens a page in a window of a desktop.
async fn open(browser: &Browser, daemon: &Daemon, path: &str) {
    browser.size(1_280, 900).await;
    browser.open(&url(daemon, path)).await;
}

async fn wait_until_live(browser: &Browser) {
    browser.until("the page is live", "document.getElementById('live')?.dataset.state === 'live'").await;
}

/// Waits until the overview, as the daemon sends it, has all these parts.
async fn wait_for_overview(daemon: &Daemon, parts: &[&str]) {
    let probe = async || {
        let page = http::get(daemon.status_address(), "/").await.map_err(|error| error.to_string())?.text();
        check(parts.iter().all(|part| page.contains(part)), &page)
    };
    daemon.eventually(LIMIT, &format!("the overview has {parts:?}"), probe).await;
}

/// Returns the visible text of the page, which has all these parts.
async fn text_with(browser: &Browser, parts: &[&str]) -> String {
    let text = browser.text().await;
    for part in parts {
        assert!(text.contains(part), "{part} in {text}");
    }
    text
}

/// Waits until the page asks for the token, and types it in.
async fn type_token(browser: &Browser, token: &str) {
    browser.until("it asks for the token", "document.getElementById('ask').open").await;
    let answer = format!("document.querySelector('#ask input').value = '{token}'; ");
    browser.run(&(answer + "document.querySelector('#ask [value=ok]').click()")).await;
}

async fn console_is_empty(browser: &Browser) {
    assert_eq!(browser.console().await, Vec::<String>::new());
}

#[tokio::test]
async fn demo_page_updates_without_reload() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_proxymgr"));
    command.args(["demo", "--port", &dir.port().to_string()]).env("TMPDIR", dir.path());
    let mut demo = Process::start(&dir, "demo", command);
    let page = eventually(LIMIT, "the demo names its page", async || {
        let log = demo.log();
        let line = log.lines().find_map(|line| line.strip_prefix("Status page: "));
        line.map(|url| url.trim().to_owned()).ok_or(log)
    })
    .await;
    let places = std::fs::read_dir(dir.path()).expect("the test's directory").flatten();
    let place = places.map(|entry| entry.path()).find(|path| path.to_string_lossy().contains("proxymgr-demo-"));
    let hosts = place.expect("the demo's directory").join("hosts/hello.txt");

    browser.size(1_280, 900).await;
    browser.open(&page).await;
    browser.until("no problems", "document.querySelector('h1').innerText.startsWith('OK')").await;
    wait_until_live(&browser).await;
    browser.until("three hosts are ready", "document.querySelector('#rows .ready').innerText === '3/3'").await;
    browser.run("window.sameAsBefore = true; document.querySelector('[name=q]').focus()").await;

    let text = std::fs::read_to_string(&hosts).expect("the demo's hosts");
    let (first, rest) = text.split_once('\n').expect("three lines");
    std::fs::write(&hosts, rest).expect("write the demo's hosts");
    browser.until("two hosts are ready", "document.querySelector('#rows .ready').innerText === '2/2'").await;
    browser.until("the change is shown", "document.querySelector('.last').innerText.includes('runtime-disable')").await;
    browser.until("the headline follows", "document.querySelector('h1').innerText.includes('on 2 hosts')").await;
    assert_eq!(browser.run("return window.sameAsBefore").await, true, "the page was not loaded again");
    assert_eq!(browser.run("return document.activeElement.name").await, "q", "the focus stays");
    console_is_empty(&browser).await;

    let server = format!("{}services/hello/servers/{first}", page);
    browser.open(&server).await;
    text_with(&browser, &["1 removed", "runtime-disable", "state maint", "done", "after the event"]).await;
    browser.open(&format!("{page}services/hello")).await;
    let servers = "document.querySelectorAll('#servers tbody tr').length";
    browser.until("two servers are listed", &format!("{servers} === 2")).await;
    std::fs::write(&hosts, rest.split_once('\n').expect("two lines").1).expect("write the demo's hosts");
    browser.until("one server is listed", &format!("{servers} === 1")).await;
    console_is_empty(&browser).await;
    demo.signal(Signal::SIGINT);
    demo.wait_exit(Duration::from_secs(20)).await;
}

/// A daemon with one healthy service, one with a blocked change, and one whose servers are down.
async fn daemon_with_problems(dir: &TestDir) -> (Daemon, ServiceFiles, Vec<crate::support::backend::Backend>) {
    let (files, backends) = web_in_files(dir, dir.port(), 3, json!({}));
    files.define("held", dir.port(), json!({ "min_hosts": 2 }));
    files.hosts("held", &backends);
    let dead = dir.port();
    let down = json!({ "type": "static", "port": dir.port(), "bind": "127.0.0.1", "hosts": [format!("127.0.0.1:{dead}")],
        "server_options": ["check inter 100ms fall 1"] });
    files.replace("services/down.json", &down.to_string());
    let daemon = daemon(dir)
        .files(&files.services())
        .set("status.token", json!(TOKEN))
        .set("haproxy.observe_interval", json!("1s"))
        .start();
    wait_for_ready(&daemon, "held", &addresses(&backends)).await;
    files.hosts("held", &backends[..1]);
    daemon
        .eventually(LIMIT, "the change is blocked", async || {
            let status = daemon.status_json().await?;
            let held = status["actors"].as_array().into_iter().flatten().any(|state| state["held"].is_object());
            check(held, &status)
        })
        .await;
    (daemon, files, backends)
}

#[tokio::test]
async fn page_is_complete_without_scripts() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let (daemon, _files, _backends) = daemon_with_problems(&dir).await;
    wait_for_overview(&daemon, &["no server takes traffic: 1 down"]).await;
    browser.scripts(false).await;
    open(&browser, &daemon, "/").await;
    browser.picture("without-scripts", 1_280).await;
    // The page's own scripts did not run; this script comes from the test.
    browser.scripts(true).await;
    let parts = ["2 problems", "min_hosts is 2", "Would be removed (2)", "UTC", "web", "3/3", "Reloads", "as of"];
    let text = text_with(&browser, &parts).await;
    assert!(!text.contains("Accept"), "buttons that need a script are hidden: {text}");
    assert_eq!(browser.run("return document.querySelectorAll('#rows tr').length").await, 3);
}

#[tokio::test]
async fn blocked_change_is_accepted_on_page() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let (daemon, _files, backends) = daemon_with_problems(&dir).await;
    open(&browser, &daemon, "/").await;
    let accept = "document.querySelector('#held form[action$=\"/accept\"] button')";
    browser.until("the blocked change is shown", &format!("{accept} !== null")).await;
    let evidence = "document.querySelector('#held .evidence').innerText";
    browser.until("each host has its health", &format!("{evidence}.split('not checked').length === 3")).await;
    console_is_empty(&browser).await;

    browser.run(&format!("{accept}.click()")).await;
    browser.until("it asks first", "document.getElementById('order').open").await;
    let focus = browser.run("return document.activeElement.id").await;
    assert_eq!(focus, "order-title", "Enter alone decides nothing");
    browser.run("document.querySelector('#order .cancel').click()").await;
    browser.until("it is cancelled", "!document.getElementById('order').open").await;

    browser.run(&format!("{accept}.click(); document.getElementById('order-ok').click()")).await;
    type_token(&browser, "not-the-right-token").await;
    let refusal = "document.getElementById('order-refusal').innerText";
    browser.until("a wrong one is refused", &format!("{refusal}.includes('wrong')")).await;
    browser.run("document.getElementById('order-ok').click()").await;
    type_token(&browser, TOKEN).await;
    browser.until("no change is blocked", "document.querySelector('#held button') === null").await;
    wait_for_ready(&daemon, "held", &addresses(&backends[..1])).await;
}

/// Presses the button of this order, which must be visible, and confirms it.
async fn press(browser: &Browser, order: &str) {
    let button = format!("document.querySelector('form[action=\"/api/v1{order}\"] button')");
    browser
        .until(&format!("{order} is visible"), &format!("{button} !== null && {button}.offsetParent !== null"))
        .await;
    let confirm = "if (document.getElementById('order').open) document.getElementById('order-ok').click()";
    browser.run(&format!("document.getElementById('outcome').innerText = ''; {button}.click(); {confirm}")).await;
}

/// Waits until the page shows the outcome.
async fn outcome(browser: &Browser, text: &str) {
    browser.until(text, &format!("document.getElementById('outcome').innerText.includes('{text}')")).await;
}

#[tokio::test]
async fn page_buttons_execute_orders() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let (daemon, _files, backends) = daemon_with_problems(&dir).await;
    let all = addresses(&backends);
    open(&browser, &daemon, "/").await;
    let before = stage::reloads(&daemon).await;
    press(&browser, "/reload").await;
    type_token(&browser, TOKEN).await;
    stage::wait_for_reload_after(&daemon, before).await;
    press(&browser, "/refresh").await;
    outcome(&browser, "read again").await;
    press(&browser, "/holds/held/reject").await;
    outcome(&browser, "rejected until the source returns another").await;
    let reject = "document.querySelector('#held form[action$=\"/reject\"]')";
    browser.until("it is shown as rejected", &format!("{reject} === null")).await;
    wait_for_ready(&daemon, "held", &all).await;
    press(&browser, "/holds/held/accept").await;
    wait_for_ready(&daemon, "held", &all[..1]).await;

    browser.open(&url(&daemon, "/services/web")).await;
    press(&browser, "/refresh/web").await;
    outcome(&browser, "read again").await;
    let server = &all[0];
    for (order, text, ready) in [
        ("drain", "drains", &all[1..]),
        ("maint", "is in maintenance", &all[1..]),
        ("ready", "follows discovery", &all[..]),
    ] {
        press(&browser, &format!("/services/web/servers/{server}/{order}")).await;
        outcome(&browser, text).await;
        wait_for_ready(&daemon, "web", ready).await;
    }
    console_is_empty(&browser).await;
}

#[tokio::test]
async fn override_has_terms_and_is_forced_for_last_server() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let (daemon, _files, backends) = daemon_with_problems(&dir).await;
    let all = addresses(&backends);
    open(&browser, &daemon, "/services/web").await;
    browser.run(&format!("sessionStorage.setItem('proxymgr-token', '{TOKEN}')")).await;
    let button = |server: &str| {
        format!("document.querySelector('form[action=\"/api/v1/services/web/servers/{server}/maint\"] button').click()")
    };
    let terms = "const { duration, reason } = document.querySelector('#order form').elements; \
                 duration.value = '1h'; reason.value = 'a new disk'; document.getElementById('order-ok').click()";
    browser.run(&format!("{}; {terms}", button(&all[0]))).await;
    outcome(&browser, "in maintenance, for 3600 s: a new disk").await;
    press(&browser, &format!("/services/web/servers/{}/maint", all[1])).await;
    wait_for_ready(&daemon, "web", &all[2..]).await;

    press(&browser, &format!("/services/web/servers/{}/maint", all[2])).await;
    let force = "document.getElementById('order-ok').innerText === 'Maintenance anyway'";
    browser.until("it offers to force the order", force).await;
    wait_for_ready(&daemon, "web", &all[2..]).await;
    browser.run("document.getElementById('order-ok').click()").await;
    wait_for_ready(&daemon, "web", &[]).await;

    browser.open(&url(&daemon, "/")).await;
    let count = "document.querySelector('#overrides-title')?.innerText === 'Overrides 3'";
    browser.until("all overrides are on the front page", count).await;
    let parts = [all[0].as_str(), "a new disk", "token status.token from 127.0.0.1"];
    text_with(&browser, &parts).await;
    press(&browser, &format!("/services/web/servers/{}/ready", all[0])).await;
    wait_for_ready(&daemon, "web", &all[..1]).await;
}

#[tokio::test]
async fn protected_page_asks_for_token() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let (files, _backends) = web_in_files(&dir, dir.port(), 1, json!({}));
    let settings =
        daemon(&dir).files(&files.services()).set("status.token", json!(TOKEN)).set("status.reads", json!("token"));
    let daemon = settings.start();
    let refused = daemon.eventually(LIMIT, "it listens", async || http::get(daemon.status_address(), "/").await).await;
    assert_eq!(refused.status, 401);
    let asks = refused.header("www-authenticate").unwrap_or_default();
    assert!(asks.starts_with("Basic ") && asks.contains("status.token"), "{asks}");
    assert_eq!(http::get(daemon.status_address(), "/healthz").await.expect("it answers").status, 200);

    let typed_in = format!("http://anyone:{TOKEN}@{}/", daemon.status_address());
    browser.open(&typed_in).await;
    // From now on the browser sends it automatically, also for style sheet, script and event stream.
    browser.open(&url(&daemon, "/")).await;
    wait_until_live(&browser).await;
    browser.until("one host is ready", "document.querySelector('#rows .ready')?.innerText.startsWith('1/1')").await;
    console_is_empty(&browser).await;
}

#[tokio::test]
async fn saved_hosts_are_shown_with_age() {
    let dir = TestDir::new();
    let (files, backends) = web_in_files(&dir, dir.port(), 2, json!({}));
    let mut daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    daemon.terminate().await;
    std::fs::remove_file(dir.join("discovery/web.hosts")).expect("the hosts are there");
    daemon.start_again();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    wait_for_overview(&daemon, &["list in use confirmed <time", "oldest list in use"]).await;
    let status = daemon.run_command(&["status"]).await;
    let status = String::from_utf8_lossy(&status.stdout);
    assert!(status.contains("the list in use was confirmed "), "{status}");
}

#[tokio::test]
async fn page_shows_lost_and_returned_daemon() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let (files, backends) = web_in_files(&dir, dir.port(), 1, json!({}));
    let mut daemon = daemon(&dir).files(&files.services()).start();
    wait_for_ready(&daemon, "web", &addresses(&backends)).await;
    browser.open(&url(&daemon, "/")).await;
    wait_until_live(&browser).await;
    daemon.terminate().await;
    browser.until("the loss is shown", "document.getElementById('lost').innerText.includes('No connection')").await;
    daemon.start_again();
    let live = "document.getElementById('lost').hidden && document.getElementById('live').dataset.state === 'live'";
    browser.until("the daemon is shown again", live).await;
}

#[tokio::test]
async fn pages_fit_phone_width() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let (daemon, _files, backends) = daemon_with_problems(&dir).await;
    let server = format!("/services/web/servers/{}", backends[0].address());
    let host = format!("/hosts/{}", backends[0].address().ip());
    let pages = [
        ("overview", "/"),
        ("service", "/services/web"),
        ("server", &server),
        ("host", &host),
        ("journal", "/journal"),
        ("config", "/config"),
    ];
    for (name, path) in pages {
        for (kind, width, dark) in
            [("light", 1_280, false), ("dark", 1_280, true), ("window", 840, false), ("phone", 390, false)]
        {
            browser.dark(dark).await;
            browser.size(width, 900).await;
            browser.open(&url(&daemon, path)).await;
            let wide = browser.run("return document.documentElement.scrollWidth").await;
            assert!(wide.as_u64() <= Some(u64::from(width)), "{path} is {wide} wide in {width}");
            browser.picture(&format!("{name}-{kind}"), width).await;
        }
    }
    console_is_empty(&browser).await;
}

#[tokio::test]
async fn thousand_services_are_filtered_while_typing() {
    let dir = TestDir::new();
    let browser = Browser::start(&dir).await;
    let files = ServiceFiles::new(&dir);
    let port = dir.port();
    for n in 0..1_000 {
        // Hosts without health checks need not exist.
        let hosts: Vec<String> = (1..=5).map(|host| format!("127.{}.{}.{host}:80", n / 250, n % 250)).collect();
        // Each service has a loopback address of its own, so that all can use the same port.
        let bind = format!("127.9.{}.{}", n / 250, n % 250 + 1);
        let definition = json!({ "type": "static", "bind": bind, "port": port, "hosts": hosts });
        std::fs::write(files.services().join(format!("service-{n:04}.json")), definition.to_string()).expect("write");
    }
    let daemon = daemon(&dir).files(&files.services()).start();
    stage::wait_for_state(&daemon, "a thousand services are there", "haproxy_state", |state| {
        state["services"].as_object().is_some_and(|services| services.len() == 1_000)
    })
    .await;
    open(&browser, &daemon, "/").await;
    let seen = "[...document.querySelectorAll('#rows tr')].filter((row) => !row.hidden).length";
    browser.until("all are listed", &format!("{seen} === 1000")).await;
    browser.picture("thousand-services", 1_280).await;
    let type_text = |text: &str| {
        format!(
            "const field = document.querySelector('[name=q]'); field.value = '{text}'; \
             field.dispatchEvent(new Event('input', {{ bubbles: true }}));"
        )
    };
    browser.run(&type_text("0777")).await;
    browser.until("one is left", &format!("{seen} === 1")).await;
    assert_eq!(browser.run("return document.getElementById('seen').innerText").await, "1 of 1,000");
    browser.run(&type_text("service-07")).await;
    browser.until("a hundred are left", &format!("{seen} === 100")).await;
    browser.run(&type_text("127.3.249.5")).await;
    browser.until("the one with this host is left", &format!("{seen} === 1")).await;
    let host = "document.querySelector('#host:not([hidden]) a')?.pathname === '/hosts/127.3.249.5'";
    browser.until("it links to the host", host).await;
    console_is_empty(&browser).await;
}
