// Makes the page live. Without this script the page is complete, as of the time it was loaded.

const root = document.documentElement;
const page = root.dataset.page;
const byId = (id) => document.getElementById(id);
const LOST_AFTER_MS = 15000;
const POLL_MS = 5000;

// ---- times -------------------------------------------------------------------------------------------------------

// Difference between the clock of the daemon and that of this machine.
let ahead = Number(root.dataset.now) - Date.now();
const now = () => Date.now() + ahead;

const two = (number) => String(number).padStart(2, "0");

function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 2) return "just now";
  if (seconds < 100) return `${seconds} s ago`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 100) return `${minutes} min ago`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${two(minutes % 60)} min ago`;
  return `${Math.floor(hours / 24)} days ago`;
}

function clock(at) {
  const time = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const today = new Date(now());
  if (at.toDateString() === today.toDateString()) return time;
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${time}`;
}

function showTimes(within = document) {
  for (const element of within.querySelectorAll("time")) {
    const at = new Date(element.dateTime);
    const text = element.dataset.as === "clock" ? clock(at) : ago(now() - at.getTime());
    if (!element.title) element.title = at.toLocaleString(undefined, { timeZoneName: "short" });
    if (element.textContent !== text) element.textContent = text;
  }
}

// ---- parts that are replaced -------------------------------------------------------------------------------------

// A selector that finds the focused element again after the part is replaced.
function focusIn(part) {
  const element = document.activeElement;
  if (!element || !part.contains(element) || element === part) return null;
  if (element.id) return `#${CSS.escape(element.id)}`;
  if (element.tagName === "SUMMARY" && element.parentElement.id) return `#${CSS.escape(element.parentElement.id)} > summary`;
  if (element.getAttribute("href")) return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  const form = element.closest("form");
  return form ? `form[action="${CSS.escape(form.getAttribute("action"))}"] ${element.tagName.toLowerCase()}` : null;
}

function replace(part, change) {
  const focus = focusIn(part);
  const open = new Map([...part.querySelectorAll("details[id]")].map((details) => [details.id, details.open]));
  change();
  for (const details of part.querySelectorAll("details[id]")) {
    if (open.has(details.id)) details.open = open.get(details.id);
  }
  offerActions(part);
  showTimes(part);
  if (focus) part.querySelector(focus)?.focus({ preventScroll: true });
}

// The last HTML of each part; an unchanged part is not replaced.
const sent = new Map();

function fill(id, html) {
  const part = byId(id);
  if (!part || sent.get(id) === html) return;
  sent.set(id, html);
  replace(part, () => { part.innerHTML = html; });
}

function showSeverity(severity) {
  if (page !== "overview" || !severity) return;
  root.dataset.severity = severity;
  document.title = `${severity === "ok" ? "OK" : "problems"} – proxymgr`;
}

// ---- services ----------------------------------------------------------------------------------------------------

const rows = byId("rows");
const filter = byId("filter");

function rowOf(name) {
  return rows.querySelector(`tr[data-name="${CSS.escape(name)}"]`);
}

function parsedRow(html) {
  const template = document.createElement("template");
  template.innerHTML = `<table><tbody>${html}</tbody></table>`;
  return template.content.querySelector("tr");
}

function putRow(name, html) {
  const fresh = parsedRow(html);
  const old = rowOf(name);
  if (!fresh) return;
  if (!old) { rows.append(fresh); showTimes(fresh); return; }
  const hadFocus = old.contains(document.activeElement);
  old.replaceWith(fresh);
  showTimes(fresh);
  fresh.classList.add("fresh");
  setTimeout(() => fresh.classList.remove("fresh"), 1500);
  if (hadFocus) fresh.querySelector("a")?.focus({ preventScroll: true });
}

const SEVERITY = { ok: 0, warning: 1, critical: 2 };
const ORDERS = {
  problems: (a, b) => SEVERITY[b.dataset.severity] - SEVERITY[a.dataset.severity],
  name: () => 0,
  changed: (a, b) => Number(b.dataset.changed) - Number(a.dataset.changed),
  down: (a, b) => Number(b.dataset.down) - Number(a.dataset.down),
};

// The services whose hosts match the text of the filter: the daemon finds them.
let found = new Set();
let findTimer = null;

function showHost(address) {
  byId("host").hidden = !address;
  if (!address) return;
  const link = byId("host").querySelector("a");
  link.href = `/hosts/${encodeURIComponent(address)}`;
  link.querySelector("code").textContent = address;
}

function findHosts() {
  clearTimeout(findTimer);
  const text = filter.elements.q.value.trim();
  if (text.length < 3) { found = new Set(); showHost(null); return; }
  findTimer = setTimeout(async () => {
    const answer = await fetch(`/find?q=${encodeURIComponent(text)}`).then((response) => response.json()).catch(() => null);
    if (!answer || filter.elements.q.value.trim() !== text) return;
    found = new Set(answer.services);
    showHost(answer.host);
    arrange();
  }, 150);
}

// Shows the services that match the filter, sorted. Rows are moved only if their order changes.
function arrange() {
  if (!rows) return;
  const text = filter.elements.q.value.trim().toLowerCase();
  const onlyProblems = filter.elements.problems.checked;
  const order = ORDERS[filter.elements.sort.value] ?? ORDERS.problems;
  const all = [...rows.children];
  let seen = 0;
  for (const row of all) {
    const matches = row.dataset.find.includes(text) || found.has(row.dataset.name);
    const passes = matches && !(onlyProblems && row.dataset.severity === "ok");
    if (row.hidden === passes) row.hidden = !passes;
    seen += passes ? 1 : 0;
  }
  const byName = (a, b) => (a.dataset.name < b.dataset.name ? -1 : 1);
  const sorted = [...all].sort((a, b) => order(a, b) || byName(a, b));
  if (sorted.some((row, index) => row !== all[index])) {
    const focused = document.activeElement;
    rows.append(...sorted);
    if (rows.contains(focused)) focused.focus({ preventScroll: true });
  }
  const grouped = (number) => number.toLocaleString("en");
  const count = seen === all.length ? grouped(all.length) : `${grouped(seen)} of ${grouped(all.length)}`;
  if (byId("seen").textContent !== count) byId("seen").textContent = count;
  byId("none").hidden = seen > 0;
  byId("none").textContent = all.length ? "No service matches." : "No services yet.";
}

function keepFilterInAddress() {
  const wanted = new URLSearchParams();
  if (filter.elements.q.value) wanted.set("q", filter.elements.q.value);
  if (filter.elements.problems.checked) wanted.set("problems", "1");
  if (filter.elements.sort.value !== "problems") wanted.set("sort", filter.elements.sort.value);
  const query = wanted.toString();
  history.replaceState(null, "", query ? `/?${query}` : "/");
}

if (filter) {
  filter.querySelector(".apply").hidden = true;
  if (filter.elements.q.value) findHosts();
  filter.addEventListener("input", () => { findHosts(); arrange(); keepFilterInAddress(); });
  filter.addEventListener("submit", (event) => { event.preventDefault(); arrange(); });
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName ?? "");
    if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      filter.elements.q.focus();
    }
  });
  // A link such as /?problems=1#services sets the filter of this page.
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="/?"]');
    if (!link || event.ctrlKey || event.metaKey) return;
    const wanted = new URL(link.href).searchParams;
    filter.elements.q.value = wanted.get("q") ?? "";
    filter.elements.problems.checked = wanted.has("problems");
    findHosts();
    arrange();
  });
}

// ---- the event stream --------------------------------------------------------------------------------------------

let heardAt = Date.now();
let heardOnce = false;
let tick = Number(root.dataset.tick);

function heard() {
  heardAt = Date.now();
  heardOnce = true;
  byId("lost").hidden = true;
  byId("live").textContent = "live,";
  byId("live").dataset.state = "live";
  const asOf = byId("as-of").querySelector("time");
  if (asOf) asOf.dateTime = new Date(now()).toISOString();
}

function lost() {
  const banner = byId("lost");
  if (!banner.hidden) return;
  banner.textContent = `No connection to proxymgr since ${clock(new Date(heardAt + ahead))}. This page shows the state of that time.`;
  banner.hidden = false;
  byId("live").textContent = "as of";
  byId("live").dataset.state = "lost";
}

function take(update) {
  if (update.tick) tick = update.tick;
  showSeverity(update.severity);
  if (page !== "overview") { loadAgainSoon(); return; }
  if (update.stale) loadAgainSoon();
  for (const [id, html] of Object.entries(update.parts ?? {})) fill(id, html);
  const changed = Object.entries(update.rows ?? {});
  for (const [name, html] of changed) putRow(name, html);
  for (const name of update.gone ?? []) rowOf(name)?.remove();
  if (changed.length || update.gone?.length) arrange();
}

function takeTraffic(traffic) {
  if (!rows) return;
  for (const [name, [sessions, rate]] of Object.entries(traffic)) {
    const row = rowOf(name);
    if (!row) continue;
    const cells = { Sessions: sessions, Rate: rate };
    for (const [label, number] of Object.entries(cells)) {
      const cell = row.querySelector(`td[data-label="${label}"]`);
      const text = number.toLocaleString("en");
      if (cell && cell.textContent !== text) cell.textContent = text;
    }
  }
}

let stream = null;

function listen() {
  stream = new EventSource(`/events?tick=${tick}`);
  stream.addEventListener("hello", (event) => {
    if (JSON.parse(event.data).run !== root.dataset.run) { location.reload(); return; }
    heard();
  });
  stream.addEventListener("update", (event) => { heard(); take(JSON.parse(event.data)); });
  stream.addEventListener("traffic", (event) => { heard(); takeTraffic(JSON.parse(event.data)); });
  stream.addEventListener("beat", heard);
  stream.addEventListener("error", () => {
    // In state CONNECTING the browser retries by itself. CLOSED means refused: load the page again instead.
    if (stream.readyState === EventSource.CLOSED) {
      stream.close();
      stream = null;
    }
  });
}

// ---- loading the page again --------------------------------------------------------------------------------------

let loading = false;
let loadedAt = 0;
let loadTimer = null;

function loadAgainSoon() {
  const wait = Math.max(0, loadedAt + 1000 - Date.now());
  loadTimer ??= setTimeout(() => { loadTimer = null; loadAgain(); }, wait);
}

async function loadAgain() {
  if (loading || document.querySelector("dialog[open]")) return;
  loading = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const run = fresh.documentElement.dataset.run;
    if (run && run !== root.dataset.run) { location.reload(); return; }
    if (!response.ok && response.status !== 404) return;
    heard();
    for (const part of fresh.querySelectorAll("[data-part], #headline")) fill(part.id, part.innerHTML);
    const freshRows = fresh.getElementById("rows");
    if (rows && freshRows) { replace(rows, () => rows.replaceChildren(...freshRows.children)); arrange(); }
    if (fresh.documentElement.dataset.tick) tick = Number(fresh.documentElement.dataset.tick);
  } catch {
    // Not reachable; the banner shows since when.
  } finally {
    loading = false;
    loadedAt = Date.now();
  }
}

// ---- orders of operators -----------------------------------------------------------------------------------------

const ask = byId("ask");
const TOKEN = "proxymgr-token";

function offerActions(within = document) {
  if (!ask) return;
  for (const actions of within.querySelectorAll("[data-action]")) actions.hidden = false;
}

function showOutcome(text, isBad) {
  const outcome = byId("outcome");
  outcome.textContent = text;
  outcome.classList.toggle("bad", isBad);
  outcome.hidden = false;
  clearTimeout(showOutcome.timer);
  showOutcome.timer = setTimeout(() => { outcome.hidden = true; }, isBad ? 15000 : 5000);
}

function token() {
  const known = sessionStorage.getItem(TOKEN);
  if (known) return Promise.resolve(known);
  return new Promise((resolve) => {
    const field = ask.querySelector("input");
    field.value = "";
    ask.returnValue = "";
    ask.showModal();
    ask.addEventListener("close", () => {
      const given = ask.returnValue === "ok" ? field.value : "";
      field.value = "";
      if (given) sessionStorage.setItem(TOKEN, given);
      byId("forget").hidden = !given;
      resolve(given);
    }, { once: true });
  });
}

const decision = byId("order");

// Asks for confirmation, and for the terms of the order. Resolves to the body of the request; null to do nothing. After
// a refusal it shows why, and offers to force what would take the last ready server.
function confirmed(form, refusal) {
  const { title, text, ok, terms } = form.dataset;
  if (!title) return Promise.resolve(refusal ? null : {});
  const fields = decision.querySelector("form").elements;
  const force = refusal?.status === 409 && terms === "override";
  if (!refusal) decision.querySelector("form").reset();
  byId("order-title").textContent = title;
  byId("order-text").textContent = text;
  byId("order-refusal").textContent = refusal?.detail ?? "";
  byId("order-refusal").hidden = !refusal;
  byId("order-ok").textContent = force ? `${ok} anyway` : ok;
  for (const label of decision.querySelectorAll("[data-for]")) label.hidden = !label.dataset.for.split(" ").includes(terms);
  decision.returnValue = "";
  decision.showModal();
  // No button has the focus, so that Enter alone decides nothing.
  (decision.querySelector("label:not([hidden]) input") ?? byId("order-title")).focus();
  return new Promise((resolve) => {
    decision.addEventListener("close", () => {
      if (decision.returnValue !== "ok") { resolve(null); return; }
      const body = {};
      if (terms && fields.reason.value.trim()) body.reason = fields.reason.value.trim();
      if (terms === "override" && fields.duration.value.trim()) body.duration = fields.duration.value.trim();
      if (force) body.force = true;
      resolve(body);
    }, { once: true });
  });
}

async function send(form, body, secret) {
  const response = await fetch(form.getAttribute("action"), {
    method: "POST",
    headers: { Authorization: `Bearer ${secret}`, "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  if (response.status === 401 || response.status === 403) sessionStorage.removeItem(TOKEN);
  const answer = await response.json();
  // The dialog shows why it was refused.
  if (response.ok || !form.dataset.title) showOutcome(response.ok ? answer.done : `Rejected: ${answer.detail}`, !response.ok);
  return response.ok ? null : { status: response.status, detail: answer.detail };
}

// Gives an order until it is accepted, or the operator does nothing.
async function order(form, button) {
  let refusal = null;
  do {
    const body = await confirmed(form, refusal);
    const secret = body && await token();
    if (!secret) return;
    button.disabled = true;
    try {
      refusal = await send(form, body, secret);
    } catch {
      showOutcome("proxymgr does not answer; nothing was changed.", true);
      return;
    } finally {
      button.disabled = false;
    }
  } while (refusal);
  loadAgainSoon();
}

for (const cancel of document.querySelectorAll("dialog .cancel")) {
  cancel.addEventListener("click", () => cancel.closest("dialog").close(""));
}

document.addEventListener("submit", (event) => {
  if (!event.target.closest("[data-action]")) return;
  event.preventDefault();
  order(event.target, event.submitter ?? event.target.querySelector("button"));
});

byId("forget")?.addEventListener("click", (event) => {
  sessionStorage.removeItem(TOKEN);
  event.currentTarget.hidden = true;
});

// ---- start -------------------------------------------------------------------------------------------------------

offerActions();
if (ask) byId("forget").hidden = !sessionStorage.getItem(TOKEN);
arrange();
showTimes();
setInterval(() => showTimes(), 1000);
listen();
setInterval(() => {
  if (Date.now() - heardAt > LOST_AFTER_MS || (heardOnce && stream?.readyState === EventSource.CONNECTING)) lost();
  if (!stream) { loadAgain(); return; }
  // Session counts change without an event.
  if (page === "service" || page === "server" || page === "host") loadAgainSoon();
}, POLL_MS);
