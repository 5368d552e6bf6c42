// The gallery. All text comes from programs and logs, so it reaches the page through textContent alone.

const SVG = "http://www.w3.org/2000/svg";
const KIND_COLORS = { i: "muted", c: "accent", d: "series-4", l: "new-above", p: "gold", "+": "copy-seed", k: "copy-own", m: "near-copy", n: "grid", o: "grid" };
const KEYWORDS = "False None True and as assert break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield";
const TOKENS = new RegExp(
  `(?<c>#[^\\n]*)|(?<s>"""[^]*?"""|'''[^]*?'''|"(?:\\\\.|[^"\\\\\\n])*"|'(?:\\\\.|[^'\\\\\\n])*')` +
    `|(?<n>\\b\\d[\\w.]*)|(?<k>\\b(?:${KEYWORDS.split(" ").join("|")})\\b)|(?<f>\\b[A-Za-z_]\\w*(?=\\())`,
  "g",
);
const MOST_COMPARED = 4_000_000; // lines of one program times those of the other

const byId = (id) => document.getElementById(id);

function make(tag, text = "", name = "") {
  const made = document.createElement(tag);
  if (text !== "") made.textContent = text;
  if (name) made.className = name;
  return made;
}

function draw(tag, facts, text = "") {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(facts)) made.setAttribute(name, value);
  if (text) made.textContent = text;
  return made;
}

async function unpack(name) {
  const packed = byId(`packed-${name}`).textContent;
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)} %`);
const thousands = (count) => (count === null ? "–" : count.toLocaleString("en"));

// A network as a row of bars: colour by the kind of block, height by its channels.
function strip(text) {
  const parts = [...text.matchAll(/([a-z+])(\d*)/g)].slice(0, 60);
  const picture = draw("svg", { width: parts.length * 6 + 1, height: 26, "aria-hidden": "true" });
  parts.forEach(([, kind, channels], place) => {
    const height = 3 + Math.min(22, 2.6 * Math.log2(1 + Number(channels)));
    const fill = `fill: var(--${KIND_COLORS[kind] ?? "grid"})`;
    picture.append(draw("rect", { x: place * 6, y: 26 - height, width: 5, height, rx: 1, style: fill }));
  });
  return picture;
}

// The graph: a row for each distance from the image, one box a block, lines from what it reads.
function graph(blocks) {
  const wide = 214, high = 38, row = 58, rows = [];
  const depth = blocks.map(() => 0);
  blocks.forEach(([, , , inputs], at) => {
    for (const source of inputs) depth[at] = Math.max(depth[at], depth[source] + 1);
  });
  // As late as what reads it allows, so that a short branch stands beside the end of a long one.
  const readers = blocks.map(() => []);
  blocks.forEach(([, , , inputs], at) => inputs.forEach((source) => readers[source].push(at)));
  for (let at = blocks.length - 1; at > 0; at--)
    if (readers[at].length) depth[at] = Math.min(...readers[at].map((reader) => depth[reader])) - 1;
  blocks.forEach((_, at) => (rows[depth[at]] ??= []).push(at));
  const columns = Math.max(...rows.map((cells) => cells.length));
  const skips = (source, at) => depth[at] - depth[source] > 1;
  // Lines that pass a row by run outside of its boxes.
  const margin = blocks.some(([, , , inputs], at) => inputs.some((source) => skips(source, at))) ? 30 : 6;
  const width = columns * (wide + 14) + 2 * margin;
  const x = [], y = [];
  rows.forEach((cells, line) => {
    cells.forEach((at, place) => {
      x[at] = width / 2 + (place - (cells.length - 1) / 2) * (wide + 14);
      y[at] = 6 + line * row;
    });
  });
  const picture = draw("svg", { viewBox: `0 0 ${width} ${rows.length * row}`, width, role: "img", "aria-label": `Computed graph of ${blocks.length} blocks` });
  blocks.forEach(([, , , inputs], at) => {
    for (const source of inputs) {
      const [from, to, top, bottom] = [x[source], x[at], y[source] + high, y[at]];
      let way = `M${from},${top} C${from},${top + 12} ${to},${bottom - 12} ${to},${bottom}`;
      if (skips(source, at)) {
        const passed = rows.slice(depth[source] + 1, depth[at]).flat().map((other) => Math.abs(x[other] - width / 2));
        const side = (from < width / 2 ? -1 : 1) * (Math.max(...passed) + wide / 2 + 12) + width / 2;
        way = `M${from},${top} C${from},${top + 12} ${side},${top + 2} ${side},${top + 20} V${bottom - 20} C${side},${bottom - 2} ${to},${bottom - 12} ${to},${bottom}`;
      }
      picture.append(draw("path", { d: way, style: "fill: none; stroke: var(--muted); stroke-width: 1.2" }));
    }
  });
  blocks.forEach(([label, kind, shape], at) => {
    const left = x[at] - wide / 2;
    picture.append(draw("rect", { x: left, y: y[at], width: wide, height: high, rx: 5, style: "fill: var(--card); stroke: var(--grid)" }));
    picture.append(draw("rect", { x: left, y: y[at], width: 5, height: high, rx: 2, style: `fill: var(--${KIND_COLORS[kind] ?? "grid"})` }));
    const short = label.length > 30 ? `${label.slice(0, 29)}…` : label;
    const words = draw("text", { x: left + 13, y: y[at] + 16, "font-size": 11.5, style: "fill: var(--ink)" }, short);
    words.append(draw("title", {}, label));
    picture.append(words, draw("text", { x: left + 13, y: y[at] + 30, "font-size": 10, style: "fill: var(--muted)" }, shape));
  });
  return picture;
}

function highlighted(program) {
  const block = make("pre");
  let done = 0;
  for (const found of program.matchAll(TOKENS)) {
    const [kind, text] = Object.entries(found.groups).find(([, value]) => value !== undefined);
    block.append(program.slice(done, found.index), make("span", text, kind));
    done = found.index + text.length;
  }
  block.append(program.slice(done));
  return block;
}

// The longest common subsequence of lines, walked from both ends; three lines around each change are kept.
function difference(before, after) {
  const block = make("pre", "", "diff"), old = before.split("\n"), now = after.split("\n"), lines = [];
  if (old.length * now.length > MOST_COMPARED) return make("p", "Too long to compare here.", "note");
  const best = Array.from({ length: old.length + 1 }, () => new Uint32Array(now.length + 1));
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = now.length - 1; j >= 0; j--)
      best[i][j] = old[i] === now[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  for (let i = 0, j = 0; i < old.length || j < now.length; ) {
    if (i < old.length && j < now.length && old[i] === now[j]) lines.push([" ", old[i++], void j++]);
    else if (j >= now.length || (i < old.length && best[i + 1][j] >= best[i][j + 1])) lines.push(["-", old[i++]]);
    else lines.push(["+", now[j++]]);
  }
  if (lines.every(([sign]) => sign === " ")) return make("p", "The two are the same, line by line.", "note");
  let hidden = 0;
  lines.forEach(([sign, text], at) => {
    const near = lines.slice(Math.max(0, at - 3), at + 4).some(([other]) => other !== " ");
    if (!near) return hidden++;
    if (hidden) block.append(make("span", `  … ${hidden} equal lines`, "gap"));
    hidden = 0;
    block.append(make("span", `${sign} ${text}`, { "+": "add", "-": "del", " ": "same" }[sign]));
  });
  if (hidden) block.append(make("span", `  … ${hidden} equal lines`, "gap"));
  return block;
}

async function gallery() {
  const index = await unpack("index"), table = byId("list"), body = table.tBodies[0];
  const rows = Number(table.dataset.rows), front = new Set(index.pareto), parts = new Map();
  const places = new Map(index.programs.map((id, place) => [id, place]));
  const searched = index.id.map((id, at) =>
    [id, index.chain[at], index.hint[at], ...index.has[at].map((word) => index.words[word])].join(" ").toLowerCase(),
  );
  let shown = [], page = 0, open = -1, asked = 0;
  let sort = { field: "accuracy", down: true };

  const program = async (id) => {
    const place = places.get(id);
    if (place === undefined) return null;
    const part = Math.floor(place / index.part);
    if (!parts.has(part)) parts.set(part, unpack(`part-${part}`));
    return (await parts.get(part))[place % index.part];
  };

  function select() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    const chain = byId("chain").value, only = byId("front").checked;
    shown = index.id.map((_, at) => at).filter(
      (at) => (!chain || index.chain[at] === chain) && (!only || front.has(at)) && words.every((word) => searched[at].includes(word)),
    );
    const values = index[sort.field], sign = sort.down ? -1 : 1;
    const order = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : sign * (a < b ? -1 : 1));
    shown.sort((a, b) => order(values[a], values[b]) || (index.id[a] < index.id[b] ? -1 : 1));
    page = 0;
    list();
  }

  function list() {
    for (const head of table.tHead.querySelectorAll("[data-field]"))
      if (head.dataset.field === sort.field) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    body.replaceChildren(...shown.slice(page * rows, (page + 1) * rows).map(line));
    const pages = Math.max(1, Math.ceil(shown.length / rows));
    const none = index.id.length ? "" : "Nothing was admitted so far.";
    byId("count").textContent = none || `${thousands(shown.length)} of ${thousands(index.id.length)} designs`;
    byId("where").textContent = `page ${page + 1} of ${pages}`;
    byId("before").disabled = page === 0;
    byId("after").disabled = page + 1 >= pages;
  }

  function line(at) {
    const row = make("tr", "", front.has(at) ? "front" : ""), name = make("td"), nearest = make("td"), network = make("td", "", "wide");
    const button = make("button", index.id[at]);
    button.type = "button";
    button.addEventListener("click", () => show(at));
    name.append(button);
    nearest.append(make("i", "", `dot ${index.nearest_source[at] === "seed" ? "seed" : "own"}`), index.similarity[at] === null ? "–" : index.similarity[at].toFixed(2));
    network.append(strip(index.strips[at]));
    row.append(make("td", index.rank[at]), name, make("td", percent(index.accuracy[at])), make("td", thousands(index.parameters[at])), nearest);
    row.append(make("td", index.chain[at], "wide text"), make("td", index.cycle[at], "wide"), make("td", index.hint[at] ?? "", "wide text"), network);
    return row;
  }

  function lineage(at, design) {
    const chain = index.chain[at], cycle = index.cycle[at], items = make("ol", "", "lineage");
    items.append(make("li", `Design ${index.id[at]}: chain ${chain}, cycle ${cycle}, seed ${design.seed}, evaluation ${design.evaluation}`));
    if (design.origin) {
      items.append(make("li", `the same program as ${design.origin}, judged for this chain`));
      return items;
    }
    if (design.prompt_id === null && design.family) {
      items.append(make("li", `drawn at random from the family ${design.family}; no language model wrote it`));
      return items;
    }
    items.append(make("li", `answers prompt ${design.prompt_id}, hint ${index.hint[at] ?? "none"}` + (design.references.length ? `, which showed ${design.references.join(", ")}` : "")));
    let [name, number] = [chain, cycle - 1], text = [];
    items.append(make("li", design.adapter === null ? "written without an adapter" : `written with the adapter ${design.adapter}`));
    for (let steps = 0; steps < 2000; steps++) {
      // Back to the last cycle that made an adapter, through what the chain starts from.
      while (name in index.chains && !index.chains[name].trains.includes(number)) {
        if (number > 0) number--;
        else ({ start: name, start_cycle: number } = index.chains[name]);
      }
      if (name === "base") break;
      const trained = name in index.chains ? index.chains[name].training[number] : index.seed_training;
      const facts = trained ? ` (${trained.carried_on ? "carried on" : `${trained.pairs ?? "?"} pairs, loss ${trained.loss?.toFixed(3) ?? "?"}`})` : "";
      text.push(name in index.chains ? `${name} cycle ${number}${facts}` : `seed corpus, cycle 0${facts}`);
      if (!(name in index.chains)) break;
      number--;
    }
    if (text.length === 0) return items;
    const ancestry = make("details"), step = make("li", `that adapter is the one after ${text[0]}`);
    ancestry.append(make("summary", text.length === 1 ? "one fine-tuning led to it" : `${text.length} fine-tunings led to it`), make("p", text.join(" ← ")));
    step.append(ancestry);
    items.append(step);
    return items;
  }

  async function show(at) {
    // Only what was asked for last is shown, and nothing once the reader has closed it.
    const mine = ++asked;
    open = at;
    const design = await program(index.id[at]), near = index.nearest_id[at], known = near === null ? null : await program(near);
    if (mine !== asked) return;
    byId("name").textContent = index.id[at];
    const facts = make("dl", "", "facts"), columns = make("div", "", "columns"), left = make("div"), right = make("div"), picture = make("div", "", "graph");
    const source = { seed: "seed corpus", earlier: "own earlier design", same_cycle: "own design, same cycle", inherited: "design of the chain before" }[index.nearest_source[at]] ?? "–";
    const likeness = index.similarity[at] === null ? "–" : `${index.similarity[at].toFixed(3)} ${index.exact[at] ? "(exact)" : "(estimate)"}`;
    for (const [term, text] of [
      ["rank in its chain", index.rank[at]], ["validation accuracy", percent(index.accuracy[at]) + (design.accuracy_sd ? ` ± ${percent(design.accuracy_sd)}` : "")], ["test accuracy", percent(design.test_accuracy)], ["parameters", thousands(index.parameters[at])],
      ["multiply-adds", thousands(design.multiply_adds)], ["chain, cycle", `${index.chain[at]}, ${index.cycle[at]}`], [`nearest: ${source}`, likeness],
    ]) {
      const fact = make("div");
      fact.append(make("dt", term), make("dd", text));
      facts.append(fact);
    }
    picture.tabIndex = 0;
    picture.append(design.blocks ? graph(design.blocks) : make("p", "The judge kept no graph of this design.", "note"));
    left.append(make("h3", design.cut ? "Computed graph (its first 500 operations)" : "Computed graph"), picture);
    right.append(make("h3", "Program"), highlighted(design.program));
    right.append(make("h3", near === null ? "Nearest neighbour" : `Difference from its nearest neighbour, ${near}`));
    right.append(known ? difference(known.program, design.program) : make("p", near === null ? "Nothing was known to compare it with." : "That program is not in this report.", "note"));
    right.append(make("h3", "Lineage"), lineage(at, design));
    if (design.prompt) {
      const prompt = make("details");
      prompt.append(make("summary", "The prompt"), make("pre", design.prompt));
      right.append(prompt);
    }
    columns.append(left, right);
    byId("opened").replaceChildren(facts, columns);
    if (!byId("design").open) byId("design").showModal();
    byId("design").scrollTop = 0;
    history.replaceState(null, "", `#design=${encodeURIComponent(index.id[at])}`);
  }

  function close() {
    asked++;
    byId("design").close();
    history.replaceState(null, "", location.pathname + location.search);
  }

  function step(by) {
    const place = shown.indexOf(open) + by;
    if (place >= 0 && place < shown.length) show(shown[place]);
  }

  function follow() {
    const wanted = location.hash.startsWith("#design=") ? decodeURIComponent(location.hash.slice(8)) : null;
    const at = wanted === null ? -1 : index.id.indexOf(wanted);
    if (at >= 0) show(at);
  }

  for (const [kind, color] of Object.entries(KIND_COLORS))
    if (kind !== "n") {
      const dot = make("i", "", "dot");
      dot.style.background = `var(--${color})`;
      byId("kinds").append(dot, `${index.kinds[kind]} `);
    }
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("input", select);
  table.tHead.addEventListener("click", (event) => {
    const field = event.target.closest("[data-field]")?.dataset.field;
    if (!field) return;
    sort = { field, down: sort.field === field ? !sort.down : field === "accuracy" };
    select();
  });
  for (const [id, by] of [["before", -1], ["after", 1]]) byId(id).addEventListener("click", () => { page += by; list(); });
  byId("previous").addEventListener("click", () => step(-1));
  byId("following").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", close);
  byId("design").addEventListener("click", (event) => { if (event.target === byId("design")) close(); });
  byId("design").addEventListener("cancel", close);
  byId("design").addEventListener("keydown", (event) => {
    if (event.target.closest("pre, .graph")) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  addEventListener("hashchange", follow);
  select();
  follow();
  table.dataset.ready = "yes";
}

gallery();
