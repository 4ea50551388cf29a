// Shows whether the board is live, and lets it poll while no news comes by its stream.
(() => {
  "use strict";
  const SILENT_MS = 5000;
  const POLL_MS = 2500;
  const LOST_MS = 15000;
  const UNAUTHORIZED = 401;
  const line = document.getElementById("connection");
  const board = document.getElementById("board");
  let streamed = 0;
  let shown = Date.now();
  let ended = false;

  const show = (state, words) => {
    if (line.dataset.state !== state) {
      line.dataset.state = state;
      line.textContent = words;
    }
  };

  document.body.addEventListener("htmx:sseMessage", () => {
    streamed = shown = Date.now();
    show("live", "live");
  });
  board.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.xhr && event.detail.xhr.status === UNAUTHORIZED) {
      ended = true;
      show("ended", "Signed out after half an hour without use. Reload the page to sign in.");
    } else if (event.detail.successful) {
      shown = Date.now();
      show("polling", "polling every few seconds");
    }
  });
  setInterval(() => {
    if (ended) {
      return;
    }
    if (Date.now() - shown > LOST_MS) {
      show("lost", "No news from the service. What stands here is old.");
    }
    if (Date.now() - streamed > SILENT_MS) {
      htmx.trigger(board, "poll");
    }
  }, POLL_MS);
})();
