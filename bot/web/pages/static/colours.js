// Colours of a log (SGR, as workers/output/colours.py leaves it) as pieces of a line. It knows no document.

const ESCAPE = /\x1b(?:\[([0-9;]{0,64})m)?/g;

// A line without its colours.
export const plain = (line) => (line.includes("\x1b") ? line.replace(ESCAPE, "") : line);

// A line as [text, classes] for each piece of it. Each line begins without a colour.
export function pieces(line) {
  if (!line.includes("\x1b")) return [[line, ""]];
  const found = [];
  let now = { on: "", off: "", marks: new Set(), turned: false };
  let from = 0;
  for (const told of line.matchAll(ESCAPE)) {
    if (told.index > from) found.push([line.slice(from, told.index), named(now)]);
    from = told.index + told[0].length;
    if (told[1] !== undefined) for (const code of told[1].split(";")) now = changed(now, Number(code));
  }
  if (from < line.length) found.push([line.slice(from), named(now)]);
  return found;
}

const MARKS = { 1: "b", 2: "d", 3: "i", 4: "u", 9: "s" };
const ENDS = { 22: ["b", "d"], 23: ["i"], 24: ["u"], 29: ["s"] };

function changed(now, code) {
  if (code === 0) return { on: "", off: "", marks: new Set(), turned: false };
  if (MARKS[code]) now.marks.add(MARKS[code]);
  for (const mark of ENDS[code] ?? []) now.marks.delete(mark);
  if (code === 7 || code === 27) now.turned = code === 7;
  if (code === 39) now.on = "";
  if (code === 49) now.off = "";
  if ((code >= 30 && code < 38) || (code >= 90 && code < 98)) now.on = String(code % 10);
  if ((code >= 40 && code < 48) || (code >= 100 && code < 108)) now.off = String(code % 10);
  return now;
}

// What stands on a ground has the colour that is read best there, whatever it asked for.
function named(now) {
  const ground = now.turned ? now.on || "7" : now.off;
  const colour = ground ? `g${ground}` : now.on && `c${now.on}`;
  return [colour, ...now.marks].filter(Boolean).map((name) => `t-${name}`).join(" ");
}
