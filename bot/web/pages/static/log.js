// The log of a job: its lines in chunks, of which only those near the window are in the document.

import { Log, chosen } from "./lines.js";
import { element, range, when, words } from "./row.js";
import { key, refresh, watch } from "./page.js";
import { stream } from "./stream.js";

const CHUNK = 200; // lines
const HEIGHT = 20; // pixels of a line that is not wrapped, as in app.css
const NEAR = "1200px";
const SMALL = 600; // lines of a log that is shown with all steps open

const place = document.getElementById("log");
if (place) show(place);

function show(place) {
  const log = new Log();
  const box = document.getElementById("lines");
  const view = { sections: [], picked: chosen(location.hash), query: "", found: [], at: -1, following: false, live: Boolean(place.dataset.follow) };
  const tools = Object.fromEntries([...place.querySelectorAll("[data-act]")].map((one) => [one.dataset.act, one]));
  const search = document.getElementById("log-search");
  const input = document.getElementById("log-query");
  const said = document.getElementById("log-state");
  let fresh = true;
  let reached = 0; // bytes
  let drawn = 0; // lines

  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) entry.isIntersecting ? fill(entry.target) : drain(entry.target);
  }, { rootMargin: `${NEAR} 0px` });

  // -- lines and steps

  function take(text) {
    log.add(text);
    draw();
  }

  function draw() {
    if (log.lines.length === drawn && view.sections.length === log.steps.length) return;
    if (fresh) { box.replaceChildren(); fresh = false; }
    log.steps.forEach((step, at) => {
      view.sections[at] ??= section(step, at);
      grow(view.sections[at], step);
    });
    drawn = log.lines.length;
    if (view.picked && view.picked[1] < drawn && !view.shown) { view.shown = true; reveal(view.picked[0]); }
    if (view.query) look(false);
    if (view.following) scrollTo(0, document.documentElement.scrollHeight);
  }

  function section(step, at) {
    const body = element("div", { id: `step-${at}` });
    const made = { body, chunks: [], end: step.from + (step.name ? 1 : 0), open: true, button: null };
    if (step.name) {
      made.button = element("button", { type: "button", "aria-controls": body.id, "aria-expanded": "true" });
      made.button.addEventListener("click", () => fold(made, !made.open));
      const head = element("h3", { class: "fold", id: `L${step.from + 1}` });
      head.append(made.button);
      box.append(head);
    }
    box.append(body);
    return made;
  }

  function grow(made, step) {
    if (made.button && made.told !== step.state + step.took) {
      made.told = step.state + step.took;
      made.turned = step.state === "failed" && made.chunks.length > 0; // its last lines are marked now
      const state = step.state === "running" && !view.live ? "cancelled" : step.state;
      const tone = { running: "busy", succeeded: "good", failed: "bad" }[state] ?? "calm";
      const sign = { running: "◌", succeeded: "✓", failed: "✕" }[state] ?? "–";
      const name = element("span", {}, step.name);
      const took = element("span", { class: "took" }, step.took || (state === "running" ? "running" : "did not end"));
      made.button.setAttribute("aria-label", [step.name, state, step.took].filter(Boolean).join(", "));
      made.button.replaceChildren(element("span", { class: tone }, sign), name, took);
    }
    while (made.end < step.to) {
      let chunk = made.chunks.at(-1);
      if (!chunk || chunk.to - chunk.from >= CHUNK) {
        chunk = element("div", { class: "chunk" });
        Object.assign(chunk, { from: made.end, to: made.end, filled: false });
        made.chunks.push(chunk);
        made.body.append(chunk);
        seen.observe(chunk);
      }
      const to = Math.min(step.to, chunk.from + CHUNK);
      if (chunk.filled) chunk.append(...range(made.end, to).map(row));
      else chunk.style.height = `${(to - chunk.from) * HEIGHT}px`;
      chunk.to = made.end = to;
    }
    if (made.turned) redraw(made);
    made.turned = false;
  }

  function fold(made, open) {
    made.open = open;
    made.body.hidden = !open;
    made.button?.setAttribute("aria-expanded", String(open));
    tellFolds();
  }

  function fill(chunk) {
    if (chunk.filled) return;
    chunk.filled = true;
    chunk.replaceChildren(...range(chunk.from, chunk.to).map(row));
    chunk.style.height = "";
  }

  function drain(chunk) {
    if (!chunk.filled || chunk.contains(document.activeElement) || !chunk.offsetHeight) return;
    chunk.style.height = `${chunk.offsetHeight}px`;
    chunk.filled = false;
    chunk.replaceChildren();
  }

  function row(at) {
    const classes = ["row"];
    if (view.picked && view.picked[0] <= at && at <= view.picked[1]) classes.push("chosen");
    if (log.hot(at)) classes.push("hot");
    if (log.lines[at].startsWith("── ")) classes.push("told");
    if (view.found[view.at] === at) classes.push("found");
    const made = element("div", { class: classes.join(" "), id: `L${at + 1}` });
    made.append(element("a", { class: "n", href: `#L${at + 1}`, "aria-label": `Line ${at + 1}`, tabindex: "-1" }, String(at + 1)));
    if (view.times) made.append(when(log.came(at)));
    made.append(words(log.raw(at), log.lines[at], view.query));
    return made;
  }

  function redraw(...some) {
    for (const made of some.length ? some : view.sections) for (const chunk of made.chunks) {
      if (chunk.filled) chunk.replaceChildren(...range(chunk.from, chunk.to).map(row));
    }
  }

  function reveal(line) {
    const made = view.sections[log.stepOf(line)];
    if (!made) return;
    fold(made, true);
    const chunk = made.chunks.find((one) => one.from <= line && line < one.to);
    if (chunk) fill(chunk);
    const target = document.getElementById(`L${line + 1}`);
    target?.scrollIntoView({ block: "center" });
    // What was filled meanwhile may have another height than was thought: look once more.
    requestAnimationFrame(() => requestAnimationFrame(() => document.getElementById(`L${line + 1}`)?.scrollIntoView({ block: "center" })));
  }

  // -- a line, a range of lines

  box.addEventListener("click", (event) => {
    const link = event.target.closest("a.n");
    if (!link) return;
    event.preventDefault();
    const line = Number(link.hash.slice(2)) - 1;
    view.picked = event.shiftKey && view.picked ? [Math.min(view.picked[0], line), Math.max(view.picked[1], line)] : [line, line];
    const [first, last] = view.picked;
    history.replaceState(null, "", first === last ? `#L${first + 1}` : `#L${first + 1}-L${last + 1}`);
    follow(false);
    redraw();
  });
  addEventListener("hashchange", () => {
    view.picked = chosen(location.hash);
    redraw();
    if (view.picked && view.picked[0] < log.lines.length) reveal(view.picked[0]);
  });

  // -- search

  function look(jump = true) {
    view.query = input.value.toLowerCase();
    view.found = log.find(view.query);
    if (jump) view.at = -1;
    tellFound();
    if (!jump) return;
    redraw();
    if (view.found.length) next(1);
  }

  function tellFound() {
    const many = view.found.length;
    document.getElementById("log-found").textContent = view.query ? (many ? `${view.at + 1} of ${many}` : "nothing") : "";
  }

  function next(by) {
    if (!view.found.length) return;
    view.at = (view.at + by + view.found.length) % view.found.length;
    follow(false);
    tellFound();
    reveal(view.found[view.at]);
    redraw();
  }

  let typed = 0;
  input.addEventListener("input", () => { clearTimeout(typed); typed = setTimeout(look, 150); });
  search.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter") { event.preventDefault(); next(event.shiftKey ? -1 : 1); }
    if (event.key === "Escape") { input.value = ""; look(); input.blur(); }
  });

  // -- follow, wrap, folds

  function follow(on) {
    view.following = on && view.live;
    tools.follow.setAttribute("aria-pressed", String(view.following));
    if (view.following) scrollTo(0, document.documentElement.scrollHeight);
  }

  let lastY = scrollY;
  addEventListener("scroll", () => {
    if (view.following && scrollY < lastY - 2 && scrollY + innerHeight < document.documentElement.scrollHeight - 60) follow(false);
    lastY = scrollY;
  }, { passive: true });

  function wrap(on) {
    place.classList.toggle("wrapped", on);
    tools.wrap.setAttribute("aria-pressed", String(on));
    try { localStorage.setItem("blacktree-wrap", on ? "on" : "off"); } catch { /* not kept, then */ }
  }

  // -- when lines came: asked for once, and then told with them

  async function times(on) {
    view.times = on;
    tools.times.setAttribute("aria-pressed", String(on));
    try { localStorage.setItem("blacktree-times", on ? "on" : "off"); } catch { /* not kept, then */ }
    if (on && !view.timed) {
      view.timed = true;
      const answer = await fetch(place.dataset.times);
      if (answer.ok) log.time(await answer.json()); else view.timed = false;
    }
    redraw();
  }

  function folds(open) {
    for (const made of view.sections) if (made.button) fold(made, open);
  }

  const anyFolded = () => view.sections.some((made) => made.button && !made.open);
  function tellFolds() {
    tools.folds.textContent = anyFolded() ? "Open all" : "Fold all";
    tools.folds.hidden = !view.sections.some((made) => made.button);
  }

  // How a log that is over is met: what failed is open, and what went well is folded.
  function settle() {
    if (view.picked) return tellFolds();
    const failing = place.dataset.outcome === "succeeded" ? -1 : log.failing();
    view.sections.forEach((made, at) => {
      if (made.button) fold(made, at === failing || (failing < 0 && log.lines.length <= SMALL));
    });
    tellFolds();
  }

  // -- where the text comes from

  async function load() {
    const answer = await fetch(place.dataset.log);
    if (!answer.ok) throw new Error(String(answer.status));
    const reader = answer.body.getReader();
    const decoder = new TextDecoder();
    let gathered = "";
    let due = performance.now() + 50;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      reached += value.length;
      gathered += decoder.decode(value, { stream: true });
      if (performance.now() < due) continue;
      take(gathered);
      gathered = "";
      await new Promise(requestAnimationFrame); // what is there is shown before more is taken
      due = performance.now() + 50;
    }
    take(gathered + decoder.decode());
  }

  let end = () => {};
  const state = (text) => { if (said.textContent !== text) said.textContent = text; };

  function open() {
    const source = new EventSource(`${place.dataset.follow}&from=${reached}`);
    source.addEventListener("times", (event) => log.time(JSON.parse(event.data)));
    source.addEventListener("log", (event) => {
      reached = Number(event.lastEventId);
      take(JSON.parse(event.data));
    });
    let late = 0;
    source.addEventListener("job", () => { late ||= setTimeout(() => { late = 0; refresh(); }, 400); });
    source.addEventListener("end", () => {
      end();
      view.live = false;
      log.finish();
      draw();
      follow(false);
      tools.follow.hidden = true;
      state("ended");
      refresh();
      watch("/events");
    });
    return source;
  }

  // -- all of it together

  tools.follow.addEventListener("click", () => follow(!view.following));
  tools.wrap.addEventListener("click", () => wrap(!place.classList.contains("wrapped")));
  tools.times.addEventListener("click", () => times(!view.times));
  tools.folds.addEventListener("click", () => folds(anyFolded()));
  tools.next.addEventListener("click", () => next(1));
  tools.previous.addEventListener("click", () => next(-1));
  key("/", () => { input.focus(); input.select(); });
  key("n", () => next(1));
  key("p", () => next(-1));
  key("f", () => follow(!view.following));
  key("w", () => wrap(!place.classList.contains("wrapped")));
  key("s", () => times(!view.times));
  key("e", () => folds(anyFolded()));
  key("t", () => { follow(false); scrollTo(0, 0); });
  key("b", () => scrollTo(0, document.documentElement.scrollHeight));
  const kept = (name) => { try { return localStorage.getItem(name); } catch { return null; /* as if it were the first time */ } };
  wrap(kept("blacktree-wrap") ? kept("blacktree-wrap") === "on" : innerWidth < 672);
  search.hidden = false;
  tools.wrap.hidden = false;
  tools.times.hidden = false;
  tools.follow.hidden = !view.live;

  load().then(() => {
    place.dataset.ready = "";
    if (kept("blacktree-times") === "on") times(true);
    if (view.live) {
      tellFolds();
      end = stream(open, (connected) => state(connected ? "live" : "reconnecting…"));
      if (!view.picked) follow(true);
      return;
    }
    log.finish();
    draw();
    settle();
  }, () => { said.textContent = "this log can't be read just now: load the page again"; });
}
