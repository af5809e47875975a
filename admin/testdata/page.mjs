// Runs the page's script on what stands for a browser, and prints what it shows.
//
//   node page.mjs app.js index.html < events
//
// An event is a line of JSON, {"name": …, "data": …}. Of data every field must be there that
// the script reads; those that are not are printed, and so is what it throws. One of the name
// fetch is what is answered from then on, whatever is asked for.
import { readFileSync } from "node:fs";

const [script, html] = process.argv.slice(2).map((path) => readFileSync(path, "utf8"));

class Classes {
  constructor(node) { this.node = node; }
  list() { return this.node.className.split(" ").filter((c) => c); }
  contains(c) { return this.list().includes(c); }
  add(c) { this.toggle(c, true); }
  remove(c) { this.toggle(c, false); }
  toggle(c, on = !this.contains(c)) {
    this.node.className = [...this.list().filter((x) => x !== c), ...(on ? [c] : [])].join(" ");
  }
}

class Node {
  constructor(tag, text = "") {
    Object.assign(this, { tag, children: [], own: text, className: "", title: "", attributes: {} });
    this.classList = new Classes(this);
  }
  get textContent() { return this.own + this.children.map((c) => c.textContent).join(""); }
  set textContent(text) { this.children = []; this.own = text; }
  get childElementCount() { return this.children.length; }
  get lastElementChild() { return this.children.at(-1); }
  take(nodes) {
    return nodes.map((n) => {
      const node = n instanceof Node ? n : new Node("#text", String(n));
      node.remove();
      node.parentNode = this;
      return node;
    });
  }
  append(...nodes) { this.children.push(...this.take(nodes)); }
  prepend(...nodes) { this.children.unshift(...this.take(nodes)); }
  replaceChildren(...nodes) { this.own = ""; this.children = []; this.append(...nodes); }
  remove() {
    if (!this.parentNode) return;
    this.parentNode.children = this.parentNode.children.filter((c) => c !== this);
    this.parentNode = null;
  }
  setAttribute(key, value) { this.attributes[key] = value; if (key === "class") this.className = value; }
  addEventListener() {}
}

const byID = new Map();
for (const [, tag, id] of html.matchAll(/<(\w+)[^>]*?\bid="(\w+)"/g)) byID.set(id, new Node(tag));
byID.get("pulse").append(new Node("i"), new Node("span"));
byID.get("table").className = "noapps";

let answer = null;
const heard = new Map(), missing = new Set(), thrown = [];
Object.assign(globalThis, {
  document: {
    title: "", body: new Node("body"),
    getElementById: (id) => byID.get(id) ?? null,
    createElement: (tag) => new Node(tag),
    createElementNS: (_, tag) => new Node(tag),
    createTextNode: (text) => new Node("#text", text),
  },
  location: { protocol: "http:" },
  matchMedia: () => ({ matches: false }),
  requestAnimationFrame: () => {},
  fetch: async () => ({ ok: answer !== null, json: async () => watched(answer, "fetch") }),
  setTimeout: () => {},
  EventSource: class { addEventListener(name, f) { heard.set(name, f); } },
});

// watched notes the fields that are read and are not there.
function watched(value, path) {
  if (value === null || typeof value !== "object") return value;
  return new Proxy(value, {
    get(object, key) {
      if (typeof key === "symbol" || ["toJSON", "then"].includes(key)) return object[key];
      if (!(key in object)) missing.add(`${path}.${key}`);
      return watched(object[key], Array.isArray(object) ? path + "[]" : `${path}.${key}`);
    },
  });
}

new Function(script)();
const parse = JSON.parse;
for (const line of readFileSync(0, "utf8").split("\n").filter((l) => l)) {
  const { name, data } = parse(line);
  if (name === "fetch") { answer = data; continue; }
  JSON.parse = (text) => watched(parse(text), name);
  try {
    heard.get(name)({ data: JSON.stringify(data) });
  } catch (error) {
    thrown.push(`${name}: ${error.stack}`);
  }
  await new Promise(setImmediate); // for what waits for an answer
}
JSON.parse = parse;

const rows = byID.get("rows").children.map((tr) => tr.children.map((td) => ({
  text: td.textContent, title: td.title, class: td.children[0]?.className || td.className,
})));
console.log(JSON.stringify({
  rows, missing: [...missing], thrown, table: byID.get("table").className, title: document.title,
  columns: [...html.matchAll(/<th[^>]*>([^<]*)<\/th>/g)].map((m) => m[1]),
  roster: byID.get("roster").textContent,
  notices: byID.get("notices").children.map((c) => c.textContent),
}));
