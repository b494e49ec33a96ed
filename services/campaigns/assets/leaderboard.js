// Keeps the table current: `snapshot` has all positions, `changes` those that are others since the event before.
"use strict";

const table = document.querySelector("table");
const rows = document.querySelector("tbody");
const connection = document.getElementById("connection");
const leader = document.getElementById("leader");
const RECONNECT_AFTER = 5000;
const ANNOUNCE_AFTER = 5000;

let version = null;
let announced = 0;

function row(place) {
  const line = document.createElement("tr");
  const cell = (kind, text, style) => {
    const made = document.createElement(kind);
    made.textContent = text;
    if (style) made.className = style;
    line.append(made);
    return made;
  };
  cell("td", place.rank, "rank");
  cell("th", place.name ?? `User ${place.userId}`).scope = "row";
  cell("td", `${place.total.value} ${place.total.currency}`, "total");
  return line;
}

function show(places, length, users) {
  for (const place of places) {
    const made = row(place);
    const before = rows.children[place.position];
    if (before) before.replaceWith(made);
    else rows.append(made);
    made.className = "new";
    setTimeout(() => { made.className = ""; }, 1500);
  }
  while (rows.children.length > length) rows.lastElementChild.remove();
  document.getElementById("users").textContent = users;
  document.getElementById("empty").hidden = length > 0;
  announce();
}

// Says who leads, for those who do not see the table, and not more often than one can listen.
function announce() {
  const first = rows.firstElementChild;
  if (!first || Date.now() - announced < ANNOUNCE_AFTER) return;
  const text = `${first.children[1].textContent} leads with ${first.children[2].textContent}`;
  if (leader.textContent !== text) {
    leader.textContent = text;
    announced = Date.now();
  }
}

function connect() {
  const events = new EventSource(table.dataset.events);
  const again = () => {
    events.close();
    setTimeout(connect, RECONNECT_AFTER);
  };
  events.addEventListener("open", () => { connection.textContent = "live"; });
  events.addEventListener("snapshot", (event) => {
    const data = JSON.parse(event.data);
    version = data.version;
    show(data.positions, data.positions.length, data.users);
  });
  events.addEventListener("changes", (event) => {
    const data = JSON.parse(event.data);
    // One is missing: the whole comes with a new connection.
    if (data.after !== version) return again();
    version = data.version;
    show(data.positions, data.length, data.users);
  });
  // The browser comes back by itself after a lost connection, not after an answer that is an error.
  events.addEventListener("error", () => {
    connection.textContent = "not connected, trying again";
    if (events.readyState === EventSource.CLOSED) again();
  });
}

connect();
