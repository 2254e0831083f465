// A stream of events, followed while the page is seen: a hidden page holds no connection, since a browser has few
// for each host, and goes on where it was.

// `open` makes the EventSource; `tell` hears whether it is connected. `after` is how long a lost one waits, in
// milliseconds. What is returned ends it for good.
export function stream(open, tell, after = 3000) {
  let source = null;
  let over = false;
  const close = () => { source?.close(); source = null; };

  function listen() {
    if (source || over || document.hidden) return;
    source = open();
    source.onopen = () => tell(true);
    source.onerror = () => {
      if (source?.readyState === EventSource.CLOSED) again();
      else tell(false); // it comes again by itself
    };
  }

  function again() {
    close();
    tell(false);
    setTimeout(listen, after);
  }

  document.addEventListener("visibilitychange", () => (document.hidden ? close() : listen()));
  addEventListener("pagehide", close);
  addEventListener("pageshow", listen);
  addEventListener("offline", () => { if (source) again(); }); // a connection itself tells nobody that it is cut
  listen();
  return () => { over = true; close(); };
}
