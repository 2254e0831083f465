// What containers print: lines that are put below those that are there, while the page is seen.

import { tell } from "./printed.js";
import { stream } from "./stream.js";

const MOST = 2000; // lines that are shown

const place = document.getElementById("output");
if (place) show(place);

function show(place) {
  const list = place.querySelector(".lines");
  const said = place.querySelector("[role=status]");
  let reached = place.dataset.place;

  const atEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < 40;
  const state = (text) => { if (said.textContent !== text) said.textContent = text; };

  function add(line) {
    const follows = atEnd();
    list.append(row(tell(line)));
    while (list.childElementCount > MOST) list.firstElementChild.remove();
    place.querySelector("[data-none]")?.remove();
    if (follows) list.scrollTop = list.scrollHeight;
  }

  function open() {
    const source = new EventSource(`${place.dataset.follow}&from=${reached}`);
    source.addEventListener("line", (event) => {
      reached = event.lastEventId;
      add(JSON.parse(event.data));
    });
    return source;
  }

  list.scrollTop = list.scrollHeight;
  stream(open, (connected) => state(connected ? "live" : "reconnecting…"));
}

function row({ time, mark, text, note, at, title }) {
  const made = document.createElement("p");
  if (note) made.className = "told";
  const when = document.createElement("time");
  when.setAttribute("data-at", at);
  when.title = at;
  when.textContent = time;
  const from = document.createElement("span");
  from.className = "quiet";
  from.title = title;
  from.textContent = mark;
  made.append(when, " ", from, " ", text);
  return made;
}
