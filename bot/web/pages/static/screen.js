// What a shell prints, as lines of text: a terminal without a cursor. It knows no document.

const MOST = 64 * 1024; // characters that are shown
const LONGEST = 8 * 1024; // of one line, which goes on in the next
const ESCAPES = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[()][0-9A-Za-z]|[=>78cDEHMNOZ])/g;
const OPEN = /\x1b(?:\[[0-9;?]*[ -/]*|\][^\x07\x1b]*\x1b?|[()])?$/; // one that is not whole yet

export class Screen {
  #lines = "";
  #line = []; // characters
  #at = 0; // where the next character goes in the last line
  #rest = "";

  feed(text) {
    let told = this.#rest + text;
    const open = OPEN.exec(told);
    this.#rest = open && open[0].length < 4096 ? open[0] : "";
    if (this.#rest) told = told.slice(0, open.index);
    for (const one of told.replace(ESCAPES, "")) this.#put(one);
    this.#lines = this.#lines.slice(-MOST);
    return this.#lines + this.#line.join("");
  }

  #put(one) {
    if (one === "\n" || this.#line.length >= LONGEST) {
      this.#lines += `${this.#line.join("")}\n`;
      this.#line = [];
      this.#at = 0;
    }
    if (one === "\r") this.#at = 0;
    else if (one === "\b") this.#at = Math.max(0, this.#at - 1);
    else if (one === "\t" || one >= " ") this.#line[this.#at++] = one;
  }
}

// The words of a command line: quotes hold some together, a backslash takes the next as it is.
export function words(text) {
  const found = [];
  for (const [, ...parts] of text.matchAll(/((?:[^\s"'\\]|\\.|"(?:[^"\\]|\\.)*"|'[^']*')+)/gs)) {
    found.push(parts[0].replace(/"((?:[^"\\]|\\.)*)"|'([^']*)'|\\(.)/gs,
      (_, double, single, one) => double?.replace(/\\(["\\$`])/g, "$1") ?? single ?? one));
  }
  return found;
}
