// A shell on a page. Lines go there, and what comes back is shown as text.

import { Screen, words } from "./screen.js";

const MOST = 16 * 1024; // bytes of one frame: workers/contract/shells.py
const COLUMNS = 120;

const place = document.getElementById("shell");
if (place) open(place);

function open(place) {
  const shown = place.querySelector(".screen");
  const said = place.querySelector("[role=status]");
  const asks = place.querySelector("[data-open]");
  const types = place.querySelector("[data-type]");
  const line = types.elements.line;
  const bytes = new TextEncoder();
  let socket = null;
  let room = 0;
  let latest = null; // what is to be shown

  const state = (text) => { said.textContent = text; };
  const enabled = (on) => { for (const one of types.elements) one.disabled = !on; };

  // Once for all that came since the browser last drew: whole pages of it are laid out anew each time.
  function show(all) {
    if (latest === null) requestAnimationFrame(() => {
      const atEnd = shown.scrollHeight - shown.scrollTop - shown.clientHeight < 40;
      shown.textContent = latest;
      latest = null;
      if (atEnd) shown.scrollTop = shown.scrollHeight;
    });
    latest = all;
  }

  function begin() {
    socket?.close();
    const mine = new WebSocket(place.dataset.line.replace(/^/, location.origin.replace(/^http/, "ws")));
    const screen = new Screen();
    const text = new TextDecoder();
    let over = "";
    socket = mine;
    room = 0;
    enabled(false);
    mine.binaryType = "arraybuffer";
    state("opening…");
    show("");
    mine.onopen = () => mine.send(JSON.stringify({
      kind: "wanted",
      command: words(asks.elements.command.value),
      process: asks.elements.process.value.trim() || "web",
      tty: true,
      term: "dumb",
      rows: 24,
      columns: COLUMNS,
    }));
    mine.onmessage = ({ data }) => {
      if (mine !== socket) return;
      if (typeof data !== "string") {
        show(screen.feed(text.decode(new Uint8Array(data, 1), { stream: true })));
        mine.send(JSON.stringify({ kind: "took", bytes: data.byteLength - 1 }));
        return;
      }
      const what = JSON.parse(data);
      if (what.kind === "began") {
        room = 128 * 1024;
        enabled(true);
        line.focus();
        state(`open in ${what.container}`);
      } else if (what.kind === "took") room += what.bytes;
      else if (what.kind === "over") over = what.code === null ? what.sentence || "it is over" : `ended with ${what.code}`;
    };
    mine.onclose = () => {
      if (mine !== socket) return;
      socket = null;
      room = 0;
      if (types.contains(document.activeElement)) asks.querySelector("button").focus();
      enabled(false);
      state(over || "the line broke, or you may not have a shell here any more");
    };
  }

  function type(text) {
    const data = bytes.encode(text);
    if (data.length > MOST || data.length > room) {
      state("that is too much at once: what is there was not read yet");
      return false;
    }
    room -= data.length;
    socket.send(data);
    return true;
  }

  asks.addEventListener("submit", (event) => { event.preventDefault(); begin(); });
  types.addEventListener("submit", (event) => {
    event.preventDefault();
    if (type(`${line.value}\n`)) line.value = "";
  });
  types.addEventListener("click", ({ target }) => {
    if (target.dataset.key) type(String.fromCharCode(target.dataset.key));
  });
  line.addEventListener("keydown", (event) => {
    const selected = line.selectionStart !== line.selectionEnd;
    if (!event.ctrlKey || event.altKey || event.metaKey || selected) return;
    if (event.key === "c" || event.key === "d") {
      event.preventDefault();
      type(event.key === "c" ? "\x03" : "\x04");
    }
  });
  addEventListener("pagehide", () => socket?.close());
  place.hidden = false;
}
