// The page of one instance: it listens to /v1/live and draws what it hears.
// Nothing is asked of other instances; what is shown is what this one knows.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const MIDDLE = 320, RADIUS = 244, LABELS_MAX = 40, EVENTS_MAX = 60;
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;

let status = null;   // the newest status object
let bus = null;      // the newest status of what the fleet agrees on
let tick = null;     // the newest pass of the particle here, with .seen added
let hops = [];       // paths between live instances in ring order, from this one
let behind = null;   // who goes by an older roster, the answer of /v1/roster/everywhere
let asking = 0;      // the version that was last asked for
let shape = "";      // what the drawing depends on; drawn again when it changes
const nodes = new Map(), rows = new Map();

// ---- listening

const source = new EventSource("/v1/live");
source.addEventListener("open", () => pulse("on", "live"));
source.addEventListener("error", () => pulse("off", "this instance does not answer; trying again"));
source.addEventListener("status", (e) => { status = JSON.parse(e.data); drawStatus(); });
source.addEventListener("bus", (e) => { bus = JSON.parse(e.data); if (status) drawVotes(); });
source.addEventListener("tick", (e) => hearTick(JSON.parse(e.data)));
source.addEventListener("event", (e) => addEvent(JSON.parse(e.data)));

function pulse(kind, text) {
  $("pulse").className = "pulse " + kind;
  $("pulse").lastElementChild.textContent = text;
  document.body.classList.toggle("stale", kind === "off");
}

function hearTick(t) {
  t.seen = performance.now();
  t.took = t.took_ns / 1e6 || (tick ? tick.took : 0);
  tick = t;
  text("tick", t.anchored ? t.tick.toLocaleString("en").replaceAll(",", "\u2009") : "–");
  text("tickword", t.anchored ? "tick" : `lap ${t.lap} goes by uncounted`);
  $("picture").classList.toggle("uncounted", !t.anchored);
  text("pace", paceText(t.took));
}

function paceText(took) {
  if (!took) return "";
  if (took < 100) return `${Math.round(1000 / took).toLocaleString("en")} laps a second`;
  return `a lap in ${(took / 1000).toFixed(2)} s`;
}

// ---- status

function drawStatus() {
  const all = status.instances || [];
  const living = all.filter((i) => lives(i)).length;
  document.title = `${status.ring}: ${living} of ${all.length} alive`;
  text("ring", status.ring);
  text("self", status.self);
  text("alive", `${living} of ${all.length}`);
  text("epoch", status.epoch.counter
    ? `${status.epoch.number}, detached ${status.epoch.counter}` : String(status.epoch.number));
  $("epoch").title = status.epoch.dropper ? `dropped by ${status.epoch.dropper}` : "";
  text("leader", status.leader || "nobody");
  text("revision", String(status.revision));
  text("viewrevision", String(status.view_revision));
  text("roster", `version ${status.roster_version}` + (status.retired ? `, ${status.retired} retired` : ""));
  $("roster").title = status.roster_hash;
  if (status.roster_version > 1) askBehind();
  drawAnchor();
  text("p50", millis(status.lap_ms.p50));
  text("p99", millis(status.lap_ms.p99));
  text("slowest", status.slowest_stop || "–");
  drawNotices();
  drawBadLinks();
  drawRows(all);
  const now = JSON.stringify([status.self, status.detour, status.next, status.bad_links,
    all.map((i) => [i.name, i.state, i.address])]);
  if (now !== shape) { shape = now; drawPicture(all); }
  if (bus) drawVotes();
}

// askBehind asks, once for each version of the roster, who does not have it yet, and again
// until nobody is left.
async function askBehind() {
  const version = status.roster_version;
  if (asking === version) return;
  asking = version;
  for (behind = null; asking === version;) {
    try {
      const answer = await fetch(`/v1/roster/everywhere?timeout=1s&version=${version}`);
      if (!answer.ok) return;
      behind = await answer.json();
    } catch {
      asking = 0; // this instance does not answer: asked again with its next status
      return;
    }
    drawNotices();
    if (behind.everywhere) return;
    await new Promise((done) => setTimeout(done, 2000));
  }
}

// drawAnchor says whether laps count.
function drawAnchor() {
  const badge = $("anchor");
  badge.hidden = false;
  badge.className = "badge " + (status.anchored ? "yes" : "no");
  text("anchor", status.anchored ? "anchored" : "NOT ANCHORED");
  badge.title = status.anchored ? "A quorum stamps the laps: they count as ticks." : "";
}

// drawVotes marks who votes and who leads, in the list and in the picture.
function drawVotes() {
  const votes = new Map(bus.voters.map((v) =>
    [v.name, v.name === bus.leader ? "leads" : v.role === "voter" ? "votes" : v.role]));
  for (const i of status.instances || []) {
    const vote = votes.get(i.name) || "", row = rows.get(i.name);
    if (row) {
      fill(row.vote, vote || "–");
      row.vote.className = vote === "leads" ? "leads" : vote ? "" : "none";
    }
    nodes.get(i.name)?.classList.toggle("votes", vote !== "");
    nodes.get(i.name)?.classList.toggle("leads", vote === "leads");
  }
}

function drawNotices() {
  const notices = [];
  if (!status.anchored) {
    notices.push(["bad", "Not anchored: laps do not count" +
      (status.unanchored ? ` (${status.unanchored})` : "") +
      (status.tick ? `. The last tick was ${status.tick}.` : ".")]);
  }
  if (status.cut_off) {
    notices.push(["bad", "This instance is cut off: it sees no quorum, or a quorum has cut it. What it cannot reach " +
      "is shown as unreachable, not as dead."]);
  }
  const app = status.app;
  if (app) {
    const kind = { failed: "bad", unhealthy: "bad" }[app.state] || "";
    notices.push([kind, `The application beside this instance is ${app.state}` +
      (app.restarts ? ` (restarts: ${app.restarts})` : "") + (app.why ? `: ${app.why}` : ".")]);
  }
  if (status.insecure) {
    notices.push(["", "The links of this ring are not encrypted (--insecure)."]);
  }
  if (behind?.behind.length > 0) {
    notices.push(["", `An older roster than version ${behind.version} is with ${behind.behind.join(", ")}.`]);
  }
  if (behind?.silent.length > 0) {
    notices.push(["", `Not yet known is which roster is with ${behind.silent.join(", ")}.`]);
  }
  if (status.detour) {
    notices.push(["", `Its link to ${status.next} is bad: it goes by way of ${status.detour}.`]);
  }
  $("notices").replaceChildren(...notices.map(([kind, words]) =>
    element("p", "notice " + kind, words)));
}

function drawBadLinks() {
  const bad = status.bad_links || [];
  $("bad").replaceChildren(...(bad.length === 0
    ? [element("li", "none", "none")]
    : bad.map((l) => element("li", "", `${l.from} cannot talk to ${l.to}`))));
}

function drawRows(all) {
  $("table").classList.toggle("noapps", !all.some((i) => i.app));
  const names = new Set(all.map((i) => i.name));
  for (const [name, row] of rows) {
    if (names.has(name)) continue; // the others are retired
    row.tr.remove();
    rows.delete(name);
  }
  for (const i of all) {
    let row = rows.get(i.name);
    if (!row) {
      row = makeRow(i);
      rows.set(i.name, row);
      $("rows").append(row.tr);
    }
    row.tr.classList.toggle("self", i.name === status.self);
    fill(row.index, String(i.index));
    fill(row.address, i.address);
    row.address.href = `${location.protocol}//${i.address}/`;
    set(row.state, i.state, () => {
      row.state.className = i.state;
      row.state.replaceChildren(element("span", "dot", ""), i.state);
    });
    drawApp(row.app, i.app);
    row.state.parentNode.title = i.damped_until
      ? `its return waits until ${i.damped_until}` : "";
    const linked = i.rtt_ms !== null && i.rtt_ms !== undefined;
    fill(row.next, lives(i) ? i.next || "–" : "–");
    fill(row.tick, i.tick || "–");
    fill(row.rtt, linked ? millis(i.rtt_ms) : "–");
    fill(row.incarnation, i.incarnation || "–");
    fill(row.pid, i.pid || "–");
    fill(row.version, i.version || "–");
  }
}

// drawApp shows how the application beside an instance is, if it has told of one.
function drawApp(node, app) {
  const kinds = { healthy: "well", failed: "ill", unhealthy: "ill", stopped: "none" };
  fill(node, app ? app.state + (app.restarts ? ` (restarts ${app.restarts})` : "") : "–");
  node.className = app ? kinds[app.state] || "between" : "none";
  node.parentNode.title = app ? `since ${app.since}` + (app.why ? `: ${app.why}` : "") : "";
}

function makeRow(i) {
  const tr = document.createElement("tr"), cells = {};
  const cell = (name, kind, content) => {
    const td = element("td", kind, "");
    if (content) td.append(content);
    tr.append(td);
    cells[name] = content || td;
  };
  cell("index", "num");
  cell("name", "", document.createTextNode(i.name));
  cell("state", "", document.createElement("span"));
  cell("app", "app", document.createElement("span"));
  cell("vote", "");
  cell("address", "", element("a", "", ""));
  for (const name of ["next", "tick", "rtt", "incarnation", "pid", "version"]) {
    cell(name, name === "next" || name === "version" ? "" : "num");
  }
  tr.addEventListener("mouseenter", () => nodes.get(i.name)?.classList.add("hot"));
  tr.addEventListener("mouseleave", () => nodes.get(i.name)?.classList.remove("hot"));
  return { tr, ...cells };
}

// ---- the picture

const angleOf = (place, n) => (2 * Math.PI * place) / n - Math.PI / 2;
const at = (angle, radius) =>
  [MIDDLE + radius * Math.cos(angle), MIDDLE + radius * Math.sin(angle)];

function drawPicture(all) {
  const n = all.length;
  nodes.clear();
  $("nodes").replaceChildren(...all.map((i, place) => makeNode(i, place, n)));
  hops = pathsFromSelf(all);
  $("edges").replaceChildren(...hops.map((hop) => {
    const path = svg("path", { d: pathData(hop) });
    if (hop.around) path.setAttribute("class", "around");
    return path;
  }));
  const place = new Map(all.map((i, k) => [i.name, k])); // not the index: there are gaps
  const line = (from, to, kind) => {
    const [x1, y1] = at(angleOf(place.get(from), n), RADIUS);
    const [x2, y2] = at(angleOf(place.get(to), n), RADIUS);
    return svg("line", { x1, y1, x2, y2, class: kind });
  };
  const lines = (status.bad_links || []).map((l) => line(l.from, l.to, "badlink"));
  if (status.detour) {
    lines.push(line(status.self, status.detour, "detour"),
      line(status.detour, status.next, "detour"));
  }
  $("links").replaceChildren(...lines);
}

function makeNode(i, place, n) {
  const angle = angleOf(place, n), [x, y] = at(angle, RADIUS);
  const group = svg("g", { class: i.state + (i.name === status.self ? " self" : "") });
  const size = n > 200 ? 3 : n > LABELS_MAX ? 5 : i.name === status.self ? 13 : 11;
  group.append(svg("circle", { cx: x, cy: y, r: size }));
  const title = svg("title", {});
  title.textContent = `${i.name} · ${i.address} · ${i.state}`;
  group.append(title);
  if (n <= LABELS_MAX) {
    const [lx, ly] = at(angle, RADIUS + 24), side = Math.cos(angle);
    const label = svg("text", { x: lx, y: ly,
      "text-anchor": Math.abs(side) < 0.2 ? "middle" : side > 0 ? "start" : "end" });
    label.textContent = shortName(i.name, n);
    group.append(label);
  }
  nodes.set(i.name, group);
  return group;
}

// shortName keeps as much of the end of a path as fits beside a circle.
function shortName(name, n) {
  const room = n > 24 ? 6 : 11;
  if (name.length <= room) return name;
  const tail = name.split("/").slice(-2).join("/");
  return tail.length <= room ? tail : "…" + tail.slice(1 - room);
}

// pathsFromSelf lists the hops of one lap, from this instance on. A hop past
// one who is not there bends inwards: the ring has closed around it.
function pathsFromSelf(all) {
  const n = all.length, there = [...all.keys()].filter((k) => lives(all[k]));
  const self = Math.max(0, all.findIndex((i) => i.name === status.self));
  const order = [...there.filter((i) => i >= self), ...there.filter((i) => i < self)];
  return order.map((from, k) => {
    const to = order[(k + 1) % order.length];
    const steps = ((to - from + n - 1) % n) + 1;
    const start = angleOf(from, n);
    return { start, turn: (2 * Math.PI * steps) / n, around: steps > 1 && order.length > 1 };
  });
}

function pointOn(hop, part) {
  const bend = hop.around ? Math.min(70, 26 * hop.turn * RADIUS / 60) : 0;
  return at(hop.start + hop.turn * part, RADIUS - bend * Math.sin(Math.PI * part));
}

function pathData(hop) {
  const pieces = Math.max(8, Math.ceil(hop.turn / 0.06));
  const points = [];
  for (let k = 0; k <= pieces; k++) {
    points.push(pointOn(hop, k / pieces).map((v) => v.toFixed(1)).join(" "));
  }
  return "M" + points.join("L");
}

// drawParticle moves the bead. This instance sees it once a lap; between two
// passes the bead goes where it must be at the pace of the lap before. Faster
// than the eye, it only circles.
function drawParticle(now) {
  if (!still) requestAnimationFrame(drawParticle);
  const bead = $("particle");
  if (!tick || hops.length === 0 || !tick.took) { bead.setAttribute("visibility", "hidden"); return; }
  const age = Math.max(0, now - tick.seen);
  let progress = (age / tick.took) * hops.length;
  const overdue = age > 3 * tick.took + 1500;
  if (tick.took < 250) progress = overdue ? 0 : ((now / 900) % 1) * hops.length;
  const hop = Math.min(Math.floor(progress), hops.length);
  const part = hop >= hops.length ? 0 : progress - hop;
  const [x, y] = pointOn(hops[hop % hops.length], tick.took < 250 ? part : ease(part));
  bead.setAttribute("cx", x.toFixed(1));
  bead.setAttribute("cy", y.toFixed(1));
  bead.setAttribute("class", overdue ? "lost" : "");
  bead.setAttribute("visibility", "visible");
}

// ease rests at the stop for most of a hop, as the particle does.
function ease(part) {
  const p = Math.max(0, (part - 0.55) / 0.45);
  return p * p * (3 - 2 * p);
}

if (still) setInterval(() => drawParticle(performance.now()), 250);
else requestAnimationFrame(drawParticle);

// ---- events

const tone = {
  died: "grave", cut_off: "grave", refused: "grave", unanchored: "grave",
  history_conflict: "grave", anchored: "good",
  joined: "good", returned: "good", whole: "good", good_link: "good", detour_off: "good",
  suspected: "odd", accused: "odd", bad_link: "odd", detour_on: "odd", damped: "odd",
  starved: "odd", link_lost: "odd", dropped: "odd",
  ticks_skipped: "odd", history_changed: "odd",
  station_failed: "odd", station_overran: "odd", station_disabled: "grave",
  respawn_started: "odd", respawn_failed: "grave", respawn_given_up: "grave", respawned: "good",
  roster_changed: "odd", roster_shown: "good", retired: "grave",
  app_failed: "grave", app_unhealthy: "grave", app_waiting: "odd", app_healthy: "good",
};

function addEvent(e) {
  const li = document.createElement("li"), time = element("time", "", clock(e.at));
  time.dateTime = e.at;
  time.title = e.at;
  li.append(time, element("span", tone[e.kind] || "", e.text));
  $("events").prepend(li);
  while ($("events").childElementCount > EVENTS_MAX) $("events").lastElementChild.remove();
}

// ---- small things

const lives = (i) => i.state === "alive" || i.state === "suspect";

function clock(at) {
  const d = new Date(at);
  return d.toLocaleTimeString("en-GB") + "." + String(d.getMilliseconds()).padStart(3, "0");
}

function millis(ms) {
  if (!ms) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  return `${ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

function text(id, words) { fill($(id), words); }
function fill(node, words) { set(node, String(words), () => { node.textContent = words; }); }

// set does nothing when node shows the value already: a table of a thousand
// rows is looked at once a second.
function set(node, value, change) {
  if (node.shown === value) return;
  node.shown = value;
  change();
}

function element(tag, kind, words) {
  const node = document.createElement(tag);
  if (kind) node.className = kind;
  if (words) node.textContent = words;
  return node;
}

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  return node;
}
