// Keeps a leaderboard current, and shows the reader's own position to who gives a token.
"use strict";

// How long to wait before coming back, in milliseconds, until the server names another time.
const RETRY = 2000;
// The server sends something at least every 15 seconds: a connection that is silent for longer is lost.
const SILENCE = 40000;
// Between two announcements, for readers who listen.
const ANNOUNCE_EVERY = 5000;
// How long a new row is marked.
const NEW_FOR = 1500;
const TOKEN = "tenantry.leaderboard.token";

for (const time of document.querySelectorAll("time")) {
  time.textContent = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

// Follows server-sent events while the page is seen, and comes back after the last event. `EventSource` can neither send a token nor say what was
// refused. A page that nobody sees holds no connection: a browser has six for all pages of a server.
function follow(url, { token, received, connected, lost, refused }) {
  // A page may have been opened by an address with a password, with which nothing can be fetched.
  const address = new URL(url, document.baseURI);
  address.username = address.password = "";
  let last = null;
  let retry = RETRY;
  let current = null;
  let timer = null;

  function take(block) {
    const event = {};
    for (const line of block.split("\n")) {
      const colon = line.indexOf(": ");
      if (colon > 0) event[line.slice(0, colon)] = line.slice(colon + 2);
    }
    if (event.retry) retry = Number(event.retry);
    if (!event.data) return;
    if (!received(event.event, JSON.parse(event.data))) {
      last = null;
      throw new Error("an event is missing: the whole comes with a new connection");
    }
    last = event.id;
  }

  async function read(attempt) {
    const headers = { accept: "text/event-stream" };
    if (token) headers.authorization = `Bearer ${token}`;
    if (last !== null) headers["last-event-id"] = last;
    let silence = null;
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => attempt.abort(), SILENCE);
    };
    try {
      heard();
      const response = await fetch(address, { headers, cache: "no-store", signal: attempt.signal });
      const refusal = `the server answers ${response.status}`;
      // What is asked for is not to be had, now or later; everything else passes.
      if (response.status >= 400 && response.status < 500 && response.status !== 429) return await response.json().catch(() => ({ detail: refusal }));
      if (!response.ok) throw new Error(refusal);
      connected();
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return null;
        heard();
        const blocks = (text + value).split("\n\n");
        text = blocks.pop();
        blocks.forEach(take);
      }
    } finally {
      clearTimeout(silence);
      attempt.abort();
    }
  }

  async function run() {
    clearTimeout(timer);
    const attempt = current = new AbortController();
    const problem = await read(attempt).catch(() => null);
    if (current !== attempt) return;
    if (problem) {
      stop();
      refused(problem.detail);
      return;
    }
    lost();
    // Not all at once, when the server comes back.
    timer = setTimeout(run, retry * (0.5 + Math.random()));
  }

  function pause() {
    clearTimeout(timer);
    const attempt = current;
    current = null;
    attempt?.abort();
  }

  function look() {
    pause();
    if (!document.hidden) run();
  }

  function stop() {
    pause();
    document.removeEventListener("visibilitychange", look);
    removeEventListener("online", look);
  }

  document.addEventListener("visibilitychange", look);
  addEventListener("online", look);
  look();
  return stop;
}

// Tells readers who listen, the latest of each topic, and not more often than one can listen.
const announce = (() => {
  const announcer = document.getElementById("announcer");
  const waiting = new Map();
  let timer = null;
  const say = () => {
    timer = null;
    if (waiting.size === 0) return;
    announcer.textContent = [...waiting.values()].join(" ");
    waiting.clear();
    timer = setTimeout(say, ANNOUNCE_EVERY);
  };
  return (topic, text) => {
    waiting.set(topic, text);
    timer ??= setTimeout(say, 0);
  };
})();

const money = ({ value, currency }) => `${value} ${currency}`;

// The first positions. `snapshot` has all of them, `changes` those that are others since the event before.
const board = (() => {
  const table = document.getElementById("board");
  if (!table) return null;
  const rows = table.tBodies[0];
  const connection = document.getElementById("connection");
  let version = null;
  let leader = rows.rows[0]?.dataset.user;
  let own = null;
  let wasLost = false;

  function row(place) {
    const made = document.createElement("tr");
    made.dataset.user = place.userId;
    const cell = (kind, text, style) => {
      const cell = document.createElement(kind);
      cell.className = style;
      cell.append(text);
      made.append(cell);
      return cell;
    };
    cell("td", String(place.rank), "rank");
    // A name of any direction leaves the text around it as it is.
    const name = document.createElement("bdi");
    name.textContent = place.name ?? `User ${place.userId}`;
    cell("th", name, "").scope = "row";
    cell("td", money(place.total), "total");
    return made;
  }

  function mark() {
    for (const row of rows.rows) row.classList.toggle("own", row.dataset.user === own);
  }

  function show(places, length, users) {
    for (const place of places) {
      const made = row(place);
      const before = rows.rows[place.position];
      if (before?.textContent.replace(/\s+/g, "") === made.textContent.replace(/\s+/g, "")) continue;
      if (before) before.replaceWith(made);
      else rows.append(made);
      made.classList.add("new");
      setTimeout(() => made.classList.remove("new"), NEW_FOR);
    }
    while (rows.rows.length > length) rows.lastElementChild.remove();
    document.getElementById("users").textContent = users;
    document.getElementById("empty").hidden = length > 0;
    mark();
    const first = rows.rows[0];
    if (first && first.dataset.user !== leader) {
      leader = first.dataset.user;
      announce("leader", `${first.cells[1].textContent} leads with ${first.cells[2].textContent}.`);
    }
  }

  follow(table.dataset.events, {
    received(kind, data) {
      if (kind === "changes" && data.after !== version) return false;
      version = data.version;
      show(data.positions, data.length ?? data.positions.length, data.users);
      return true;
    },
    connected() {
      connection.textContent = "live";
      if (wasLost) announce("connection", "Connected again.");
      wasLost = false;
    },
    lost() {
      connection.textContent = "not connected, trying again";
      if (!wasLost) announce("connection", "Not connected, trying again.");
      wasLost = true;
    },
    refused(detail) {
      connection.textContent = detail;
      announce("connection", detail);
    },
  });

  return {
    own(user) {
      own = user;
      mark();
    },
  };
})();

// The reader's own position. The token is in this tab alone, and goes nowhere but into the header of the request.
if (board) {
  const section = document.getElementById("own");
  const form = document.getElementById("own-form");
  const input = document.getElementById("own-token");
  const error = document.getElementById("own-error");
  const shown = document.getElementById("own-shown");
  const position = document.getElementById("own-position");
  let stop = null;

  // Where nothing may be stored, the token is kept until the page is left.
  const stored = (change) => {
    try {
      return change(sessionStorage);
    } catch {
      return null;
    }
  };

  function tell(text) {
    if (position.textContent !== text) announce("own", text);
    position.textContent = text;
  }

  function forget(why) {
    stop?.();
    stop = null;
    stored((storage) => storage.removeItem(TOKEN));
    board.own(null);
    shown.hidden = true;
    form.hidden = false;
    error.textContent = why;
    input.value = "";
    input.toggleAttribute("aria-invalid", why !== "");
  }

  function watch(token) {
    position.textContent = "Looking for your position.";
    error.textContent = "";
    input.removeAttribute("aria-invalid");
    input.value = "";
    form.hidden = true;
    shown.hidden = false;
    stop = follow(section.dataset.events, {
      token,
      received(_, data) {
        stored((storage) => storage.setItem(TOKEN, token));
        board.own(data.userId);
        tell(data.rank === null ? "You have no purchase that counts yet." : `You are at rank ${data.rank} with ${money(data.total)}.`);
        return true;
      },
      connected() {},
      lost() {
        position.textContent = "Your position is not known at the moment: not connected, trying again.";
      },
      refused(detail) {
        forget(`The token is not accepted: ${detail}.`);
        input.focus();
      },
    });
  }

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const token = input.value.trim().replace(/^Bearer\s+/i, "");
    if (!/^[\x21-\x7e]+$/.test(token)) {
      forget("This is no token: it has letters, digits and marks without a space.");
      return;
    }
    watch(token);
    document.getElementById("own-forget").focus();
  });
  document.getElementById("own-forget").addEventListener("click", () => {
    forget("");
    input.focus();
  });
  section.hidden = false;
  const token = stored((storage) => storage.getItem(TOKEN));
  if (token) watch(token);
}
