// What is shown of one design: drawings, program, difference. All text comes from programs and logs, so it reaches the
// page through textContent alone.

const SVG = "http://www.w3.org/2000/svg";
const KEYWORDS = "False None True and as assert break class continue def del elif else except finally for from global if import in is lambda nonlocal not or pass raise return try while with yield";
const TOKENS = new RegExp(
  `(?<c>#[^\\n]*)|(?<s>"""[^]*?"""|'''[^]*?'''|"(?:\\\\.|[^"\\\\\\n])*"|'(?:\\\\.|[^'\\\\\\n])*')` +
    `|(?<n>\\b\\d[\\w.]*)|(?<k>\\b(?:${KEYWORDS.split(" ").join("|")})\\b)|(?<f>\\b[A-Za-z_]\\w*(?=\\())`,
  "g",
);
const MOST_COMPARED = 4_000_000; // lines of one program times those of the other

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

const percent = (share) => (share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`);
const thousands = (count) => (count === null || count === undefined ? "–" : count.toLocaleString("en"));
const kindClass = (kind) => `b-${kind === "+" ? "a" : kind}`;
const linkTo = (id) => `#design=${encodeURIComponent(id)}`;

// A network as a row of bars, as high as its channels; the cards have the same with more, drawn where the page was made.
function strip(text) {
  const parts = [...text.matchAll(/([a-z+])(\d*)/g)].slice(0, 60);
  const wide = parts.length * 6 + 1;
  const drawing = draw("svg", { class: "net", width: 1.4 * wide, height: 1.4 * 26, viewBox: `0 0 ${wide} 26`, "aria-hidden": "true" });
  parts.forEach(([, kind, channels], place) => {
    const height = 3 + Math.min(22, 2.6 * Math.log2(1 + Number(channels)));
    drawing.append(draw("rect", { class: kindClass(kind), x: place * 6, y: 26 - height, width: 5, height }));
  });
  return drawing;
}

// How two lists have most in common, in their order: [sign, entry of the one or the other, its place], "-" the first's.
function aligned(old, now) {
  const best = Array.from({ length: old.length + 1 }, () => new Uint32Array(now.length + 1));
  for (let i = old.length - 1; i >= 0; i--)
    for (let j = now.length - 1; j >= 0; j--)
      best[i][j] = old[i] === now[j] ? best[i + 1][j + 1] + 1 : Math.max(best[i + 1][j], best[i][j + 1]);
  const lines = [];
  for (let i = 0, j = 0; i < old.length || j < now.length; ) {
    if (i < old.length && j < now.length && old[i] === now[j]) lines.push([" ", old[i++], j++]);
    else if (j >= now.length || (i < old.length && best[i + 1][j] >= best[i][j + 1])) lines.push(["-", old[i], i++]);
    else lines.push(["+", now[j], j++]);
  }
  return lines;
}

// The graph: a row for each distance from the image, one box a block, lines from what it reads. changed: their places.
function graph(blocks, changed = new Set()) {
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
  const words = `Computed graph of ${blocks.length} blocks` + (changed.size ? `, ${changed.size} of them other than its neighbour's` : "");
  const drawing = draw("svg", { class: "graphed", viewBox: `0 0 ${width} ${rows.length * row}`, width, role: "img", "aria-label": words });
  blocks.forEach(([, , , inputs], at) => {
    for (const source of inputs) {
      const [from, to, top, bottom] = [x[source], x[at], y[source] + high, y[at]];
      let way = `M${from},${top} C${from},${top + 12} ${to},${bottom - 12} ${to},${bottom}`;
      if (skips(source, at)) {
        const passed = rows.slice(depth[source] + 1, depth[at]).flat().map((other) => Math.abs(x[other] - width / 2));
        const side = (from < width / 2 ? -1 : 1) * (Math.max(...passed) + wide / 2 + 12) + width / 2;
        way = `M${from},${top} C${from},${top + 12} ${side},${top + 2} ${side},${top + 20} V${bottom - 20} C${side},${bottom - 2} ${to},${bottom - 12} ${to},${bottom}`;
      }
      drawing.append(draw("path", { class: "arc", d: way }));
    }
  });
  blocks.forEach(([label, kind, shape], at) => {
    const left = x[at] - wide / 2;
    drawing.append(draw("rect", { class: changed.has(at) ? "box changed" : "box", x: left, y: y[at], width: wide, height: high, rx: 5 }));
    drawing.append(draw("rect", { class: kindClass(kind), x: left, y: y[at], width: 5, height: high, rx: 2 }));
    const short = label.length > 30 ? `${label.slice(0, 29)}…` : label;
    const words = draw("text", { class: "label", x: left + 13, y: y[at] + 16, "font-size": 11.5 }, short);
    words.append(draw("title", {}, label));
    drawing.append(words, draw("text", { x: left + 13, y: y[at] + 30, "font-size": 10 }, shape));
  });
  return drawing;
}

function highlighted(program) {
  const block = make("pre");
  block.tabIndex = 0;
  let done = 0;
  for (const found of program.matchAll(TOKENS)) {
    const [kind, text] = Object.entries(found.groups).find(([, value]) => value !== undefined);
    block.append(program.slice(done, found.index), make("span", text, kind));
    done = found.index + text.length;
  }
  block.append(program.slice(done));
  return block;
}

// The lines that differ, with three around each change.
function difference(before, after) {
  const block = make("pre", "", "diff"), old = before.split("\n"), now = after.split("\n");
  block.tabIndex = 0;
  if (old.length * now.length > MOST_COMPARED) return make("p", "Too long to compare here.", "note");
  const lines = aligned(old, now);
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

// Two graphs side by side, each with the blocks marked that the other has not.
function drawings(pairs) {
  const [old, now] = pairs.map(({ design }) => (design?.blocks ?? []).map(([label, , shape]) => `${label} ${shape}`));
  const changes = old.length && now.length ? aligned(old, now) : [];
  const box = make("div", "", "drawings");
  pairs.forEach(({ title, design }, place) => {
    if (!design) return;
    const part = make("div"), drawing = make("div", "", "graph"), sign = ["-", "+"][place];
    const changed = new Set(changes.filter(([own]) => own === sign).map(([, , at]) => at));
    drawing.tabIndex = 0;
    drawing.append(design.blocks ? graph(design.blocks, changed) : make("p", "The judge kept no graph of this program.", "note"));
    part.append(make("h3", title + (design.cut ? " (its first 500 operations)" : "")), drawing);
    box.append(part);
  });
  return box;
}

function copied(command) {
  const line = make("p", "", "command"), code = make("code", command), button = make("button", "Copy");
  button.type = "button";
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(command);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code); // where a page may not copy, its reader can
    }
  });
  line.append(code, " ", button);
  return line;
}
