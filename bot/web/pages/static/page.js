// What every page does beyond being read: times that stay true, parts that follow what happens, keys.

import { stream } from "./stream.js";

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function told(at) {
  const seconds = (Date.now() - at.getTime()) / 1000;
  const [unit, size] = UNITS.find(([, many]) => Math.abs(seconds) >= many) ?? ["s", 1];
  const words = `${Math.floor(Math.abs(seconds) / size)} ${unit}`;
  return Math.abs(seconds) < 1 ? "just now" : seconds < 0 ? `in ${words}` : `${words} ago`;
}

function tellTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const words = told(new Date(time.dateTime));
    if (time.textContent !== words) time.textContent = words;
  }
}

// Fetch this page again and put its parts that live in place of those that are shown. What is wanted while an
// answer is on its way is not in that answer: one more is fetched.
// Whoever serves slowly is asked rarely: twenty times as long as an answer took is waited for the next.
let refreshing = null;
let wanted = false;
let next = 0;
export function refresh() {
  wanted = true;
  refreshing ??= fetched().finally(() => { refreshing = null; });
  return refreshing;
}

async function fetched() {
  while (wanted) {
    await pause(next - performance.now());
    const began = performance.now();
    wanted = false;
    await again();
    next = performance.now() + Math.min(30_000, 20 * (performance.now() - began));
  }
}

const pause = (milliseconds) => new Promise((done) => { setTimeout(done, Math.max(0, milliseconds)); });

async function again() {
  const answer = await fetch(location.href.split("#")[0], { headers: { Accept: "text/html" } }).catch(() => null);
  if (!answer || (answer.status !== 200 && !answer.redirected)) return;
  if (answer.redirected) return location.reload();
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (page.getElementById("log") && !document.getElementById("log")) return location.reload();
  for (const old of document.querySelectorAll("[data-live]")) {
    const fresh = page.getElementById(old.id);
    if (!fresh || fresh.innerHTML === old.innerHTML || old.querySelector("details[open]")) continue;
    const focused = old.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    old.replaceChildren(...fresh.childNodes);
    if (focused) [...old.querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus({ preventScroll: true });
  }
  document.title = page.title;
  tellTimes();
}

// Follow what happens.
export function watch(address) {
  const open = () => {
    const source = new EventSource(address);
    source.addEventListener("changed", refresh);
    return source;
  };
  // What happened between the page and its connection is fetched too, at the first one as well.
  stream(open, (connected) => { if (connected) refresh(); }, 5000);
}

const keys = new Map();
export function key(name, act) { keys.set(name, act); }

function keyboard() {
  const dialog = document.getElementById("keys");
  if (!dialog) return;
  const list = () => dialog.open || dialog.showModal();
  const button = document.querySelector("[data-keys]");
  button.hidden = false;
  button.addEventListener("click", () => { button.closest("details").open = false; list(); });
  const go = (path) => () => { location.href = path; };
  const step = (by) => () => {
    const links = [...document.querySelectorAll("main a.strong, main h3 a")];
    const at = links.indexOf(document.activeElement);
    links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))]?.focus();
  };
  key("?", list);
  key("g o", go("/"));
  key("g w", go("/workers"));
  key("g d", go("/deliveries"));
  key("g y", go("/why"));
  key("j", step(1));
  key("k", step(-1));
  let before = "";
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (typing || event.ctrlKey || event.metaKey || event.altKey || dialog.open) return;
    const act = keys.get(`${before} ${event.key}`) ?? keys.get(event.key);
    before = event.key === "Shift" ? before : event.key;
    if (!act) return;
    event.preventDefault();
    before = "";
    act();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of document.querySelectorAll("details.menu[open], details.act[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  document.addEventListener("click", (event) => {
    for (const menu of document.querySelectorAll("details.menu[open], details.act[open]")) if (!menu.contains(event.target)) menu.open = false;
  });
}

tellTimes();
setInterval(tellTimes, 10_000);
keyboard();
if (document.body.dataset.events) watch(document.body.dataset.events);
