// A log as lines in steps. It knows no document: what is shown of it is log.js's matter.

import { plain } from "./colours.js";

const BEGINS = /^── ([a-z]+)$/;
const ENDS = /^── ([a-z]+) (took|did not succeed after) ([\d.]+ s)$/;
const LAST = 12; // lines of a failed step that are marked

export class Log {
  lines = []; // without their colours
  steps = []; // {name, from, to, state, took}: lines from (its own first one included) up to, not including, to
  #coloured = new Map(); // the lines that have some, as they came
  #times = []; // [line, milliseconds]: when that line came, and those after it
  #rest = "";

  // Take in more text, of which the last line may be unfinished.
  add(text) {
    const parts = (this.#rest + text).split("\n");
    this.#rest = parts.pop();
    for (const line of parts) this.#line(line);
  }

  // There is no more.
  finish() {
    if (this.#rest) this.#line(this.#rest);
    this.#rest = "";
  }

  // A line with its colours.
  raw(line) { return this.#coloured.get(line) ?? this.lines[line]; }

  // Learn when lines came; what is known of later ones stays.
  time(pairs) {
    if (!pairs.length) return;
    const last = pairs.at(-1)[0];
    this.#times = [...this.#times.filter(([line]) => line < pairs[0][0]), ...pairs, ...this.#times.filter(([line]) => line > last)];
  }

  // When a line came, in milliseconds since 1970; undefined if that was not kept.
  came(line) {
    let low = 0;
    for (let high = this.#times.length; low < high;) {
      const middle = (low + high) >> 1;
      if (this.#times[middle][0] <= line) low = middle + 1; else high = middle;
    }
    return this.#times[low - 1]?.[1];
  }

  #line(line) {
    const at = this.lines.length;
    const text = plain(line);
    if (text !== line) this.#coloured.set(at, line);
    const begins = BEGINS.exec(text);
    const last = this.steps.at(-1);
    if (begins) this.steps.push({ name: begins[1], from: at, to: at, state: "running", took: "" });
    else if (!last || (last.name && last.state !== "running")) this.steps.push({ name: "", from: at, to: at, state: "", took: "" });
    this.lines.push(text);
    const step = this.steps.at(-1);
    step.to = at + 1;
    const ends = ENDS.exec(text);
    if (ends && ends[1] === step.name) {
      step.state = ends[2] === "took" ? "succeeded" : "failed";
      step.took = ends[3];
    }
  }

  // The step that a line is in.
  stepOf(line) {
    return this.steps.findIndex((step) => step.from <= line && line < step.to);
  }

  // The step that ended badly, or did not end before the log did.
  failing() {
    const at = this.steps.findLastIndex((step) => step.state === "failed");
    return at >= 0 ? at : this.steps.findLastIndex((step) => step.state === "running");
  }

  // Whether a line is among the last words of a step that failed.
  hot(line) {
    if (this.lines[line].startsWith("✗ ")) return true;
    const step = this.steps[this.stepOf(line)];
    return step?.state === "failed" && line < step.to - 1 && line >= Math.max(step.from + 1, step.to - 1 - LAST);
  }

  // The lines that have a text in them, whatever its case.
  find(wanted) {
    const low = wanted.toLowerCase();
    const found = [];
    if (low) this.lines.forEach((line, at) => { if (line.toLowerCase().includes(low)) found.push(at); });
    return found;
  }
}

// `#L5` or `#L5-L9` as [first, last] from 0 on; null for anything else.
export function chosen(hash) {
  const told = /^#L(\d{1,8})(?:-L(\d{1,8}))?$/.exec(hash);
  if (!told) return null;
  const ends = [Number(told[1]) - 1, Number(told[2] ?? told[1]) - 1].sort((a, b) => a - b);
  return ends[0] < 0 ? null : ends;
}
