// A line of a log as elements: when it came, and its words with their colours and what is searched for.

import { pieces } from "./colours.js";

export function when(moment) {
  if (moment === undefined) return element("span", { class: "at" });
  const exact = new Date(moment);
  const two = (number) => String(number).padStart(2, "0");
  const clock = [exact.getHours(), exact.getMinutes(), exact.getSeconds()].map(two).join(":");
  const iso = exact.toISOString();
  return element("time", { class: "at", datetime: iso, title: iso }, `${clock}.${Math.floor(exact.getMilliseconds() / 100)}`);
}

// `raw` is the line with its colours, `text` without; `query` is in lower case.
export function words(raw, text, query) {
  const made = element("span", { class: "t" });
  const found = hits(text.toLowerCase(), query);
  let start = 0;
  for (const [piece, classes] of pieces(raw)) {
    const place = classes ? element("span", { class: classes }) : made;
    mark(place, piece, found.map((hit) => hit - start), query.length);
    if (classes) made.append(place);
    start += piece.length;
  }
  return made;
}

function hits(text, query) {
  const found = [];
  for (let from = 0, hit; query && (hit = text.indexOf(query, from)) >= 0; from = hit + query.length) found.push(hit);
  return found;
}

function mark(place, text, found, length) {
  let from = 0;
  for (const hit of found) {
    const [first, last] = [hit, hit + length].map((end) => Math.max(from, Math.min(text.length, end)));
    if (first === last) continue;
    place.append(text.slice(from, first), element("mark", {}, text.slice(first, last)));
    from = last;
  }
  place.append(text.slice(from));
}

export function element(name, attributes, text) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

export const range = (from, to) => Array.from({ length: to - from }, (_, at) => from + at);
