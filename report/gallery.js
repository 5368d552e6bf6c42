// The gallery: cards that are there already, a list with filters, and what opens of one design. Its state is in the
// page's address after #, so that a link leads to what was seen and Back closes a design.

const byId = (id) => document.getElementById(id);
const handedOver = new Map(); // parts that scripts beside the page brought
// Filter -> what it is when nothing is filtered. Their elements have these names too.
const FILTERS = { q: "", dataset: null, group: "", family: "", accuracy: "", parameters: "", similarity: "", from: "", to: "" };
const MOST_NEAR = 12;
const SOURCES = { seed: "a seed program", earlier: "an own earlier design", same_cycle: "an own design of the same cycle", inherited: "a design of the chain before" };

function keepParts(parts) {
  for (const [name, text] of Object.entries(parts)) handedOver.set(name, text);
}

function fetchScript(file) {
  return new Promise((done, failed) => {
    const script = make("script");
    script.src = `data/${file}`;
    script.onload = done;
    script.onerror = () => failed(new Error(`${file} is not beside this page`));
    document.head.append(script);
  });
}

async function unpack(packed) {
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

async function gallery() {
  const index = await unpack(byId("packed-index").textContent), table = byId("list"), body = table.tBodies[0];
  const rows = Number(table.dataset.rows), front = new Set(index.front), parts = new Map(), files = new Map();
  const places = new Map(index.id.map((id, at) => [id, at]));
  const programs = new Map(index.programs.map((id, place) => [id, place]));
  const words = index.id.map((id, at) =>
    [id, index.chain[at], index.hint[at], index.family[at], ...index.has[at].map((word) => index.words[word])].join(" ").toLowerCase(),
  );
  const middles = new Map();
  const later = new Map();
  index.nearest_id.forEach((id, at) => {
    if (!later.has(id)) later.set(id, []);
    later.get(id).push(at);
  });
  FILTERS.dataset = byId("dataset").value;
  let texts = null; // all programs, once somebody searches for what is in no list of words
  let shown = [], page = 0, open = null, asked = 0;
  let sort = { field: "accuracy", down: true };

  async function part(number) {
    const name = `part-${number}`;
    let packed = byId(`packed-${name}`)?.textContent ?? handedOver.get(name);
    if (packed === undefined) {
      const file = `parts-${Math.floor(number / index.parts_a_file)}.js`;
      if (!files.has(file)) files.set(file, fetchScript(file));
      await files.get(file);
      packed = handedOver.get(name);
    }
    return unpack(packed);
  }

  async function program(id) {
    const place = programs.get(id);
    if (place === undefined) return null;
    const number = Math.floor(place / index.part);
    if (!parts.has(number)) parts.set(number, part(number));
    return (await parts.get(number))[place % index.part];
  }

  // The texts of all programs, in the order of the list.
  async function readPrograms() {
    const found = [];
    for (let number = 0; found.length < index.id.length; number++)
      for (const design of await part(number)) found.push(design.program.toLowerCase());
    return found;
  }

  const numeric = (name) => (byId(name).value === "" ? null : Number(byId(name).value));

  function select() {
    const wanted = byId("q").value.toLowerCase().split(/\s+/).filter(Boolean);
    const choice = Object.fromEntries(["dataset", "group", "family"].map((name) => [name, byId(name).value]));
    const [accuracy, parameters, similarity, from, to] = ["accuracy", "parameters", "similarity", "from", "to"].map(numeric);
    const only = byId("front").checked;
    const best = (at) => index.test_accuracy[at] ?? index.accuracy[at];
    shown = index.id.map((_, at) => at).filter(
      (at) =>
        Object.entries(choice).every(([name, value]) => !value || index[name][at] === value) &&
        (!only || front.has(at)) &&
        (accuracy === null || 100 * best(at) >= accuracy) &&
        (parameters === null || (index.parameters[at] ?? Infinity) <= parameters) &&
        (similarity === null || (index.similarity[at] ?? Infinity) <= similarity) &&
        (from === null || index.cycle[at] >= from) &&
        (to === null || index.cycle[at] <= to) &&
        wanted.every((word) => words[at].includes(word) || texts?.[at].includes(word)),
    );
    const values = index[sort.field], sign = sort.down ? -1 : 1;
    const order = (a, b) => (a === b ? 0 : a === null ? 1 : b === null ? -1 : sign * (a < b ? -1 : 1));
    shown.sort((a, b) => order(values[a], values[b]) || (index.id[a] < index.id[b] ? -1 : 1));
    page = 0;
    list();
    if (wanted.length && texts === null) searchPrograms();
  }

  let reading = null;
  async function searchPrograms() {
    byId("count").textContent += "; reading the programs …";
    reading ??= readPrograms();
    try {
      texts = await reading;
      select();
    } catch (error) {
      byId("count").textContent = `${counted()}; programs are not searched: ${error.message}`;
    }
  }

  const counted = () => `${thousands(shown.length)} of ${thousands(index.id.length)} designs`;

  function list() {
    for (const head of table.tHead.querySelectorAll("[data-field]"))
      if (head.dataset.field === sort.field) head.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    body.replaceChildren(...shown.slice(page * rows, (page + 1) * rows).map(line));
    const pages = Math.max(1, Math.ceil(shown.length / rows));
    byId("count").textContent = index.id.length ? counted() : "Nothing was admitted so far.";
    byId("where").textContent = `page ${page + 1} of ${pages}`;
    byId("before").disabled = page === 0;
    byId("after").disabled = page + 1 >= pages;
  }

  function link(id, text = id) {
    const made = make("a", text, "name");
    made.href = linkTo(id);
    return made;
  }

  function line(at) {
    const row = make("tr"), name = make("td"), nearest = make("td"), network = make("td", "", "wide");
    name.append(link(index.id[at]));
    if (front.has(at)) name.append(make("small", " front"));
    nearest.append(index.similarity[at] === null ? "–" : index.similarity[at].toFixed(2));
    if (index.nearest_source[at] === "seed") nearest.append(make("small", " seed"));
    network.append(strip(index.strips[at]));
    row.append(make("td", index.rank[at]), name, make("td", percent(index.accuracy[at])), make("td", percent(index.test_accuracy[at])));
    row.append(make("td", thousands(index.parameters[at])), nearest, make("td", index.group[at], "wide text"));
    row.append(make("td", index.cycle[at], "wide"), make("td", index.family[at] ?? "", "wide text"), network);
    return row;
  }

  // The middle of the similarities of a data set's designs.
  function middle(dataset) {
    if (!middles.has(dataset)) {
      const own = index.similarity.filter((value, at) => value !== null && index.dataset[at] === dataset).sort((a, b) => a - b);
      const half = own.length / 2;
      middles.set(dataset, own.length ? (own[Math.ceil(half) - 1] + own[Math.floor(half)]) / 2 : null);
    }
    return middles.get(dataset);
  }

  function facts(at, design) {
    const box = make("dl", "", "facts"), repeats = index.accuracy_sd[at];
    const spread = repeats ? `± ${(100 * repeats).toFixed(1)}, SD of the judge's repeats` : "";
    const found = index.found[at] === null ? "–" : index.found[at] === 1 ? "once" : `${thousands(index.found[at])} times (one graph)`;
    for (const [term, text, more] of [
      ["test accuracy", percent(index.test_accuracy[at])],
      ["validation, which selects", percent(index.accuracy[at]), spread],
      [`rank on ${index.dataset[at]}`, `${index.rank[at]}${front.has(at) ? ", on the front" : ""}`], ["parameters", thousands(index.parameters[at])],
      ["multiply-adds", thousands(design.multiply_adds)], ["chain, cycle", `${index.chain[at]}, ${index.cycle[at]}`], ["found", found],
    ]) {
      const fact = make("div"), value = make("dd", text);
      if (more) value.append(" ", make("small", more));
      fact.append(make("dt", term), value);
      box.append(fact);
    }
    return box;
  }

  function neighbour(at) {
    const id = index.nearest_id[at], text = make("p");
    if (id === null) return make("p", "Nothing was known to compare it with.", "note");
    text.append("Nearest: ", programs.has(id) ? link(id) : id, `, ${SOURCES[index.nearest_source[at]] ?? "a program"}`);
    const score = index.nearest_accuracy[at], likeness = index.similarity[at], usual = middle(index.dataset[at]);
    text.append(score === null ? "" : `, validation accuracy ${percent(score)}`);
    if (likeness !== null) text.append(`. Similarity ${likeness.toFixed(3)}${index.exact[at] ? "" : " (an estimate)"}; the middle of all designs here is ${usual.toFixed(2)}.`);
    return text;
  }

  // From what was there first to the design: each the nearest of the next, none of them its parent.
  function ancestry(id) {
    const steps = [];
    for (let name = id; name !== null && name !== undefined && !steps.includes(name); name = index.nearest_id[places.get(name)] ?? null) steps.unshift(name);
    const row = make("ol", "", "line");
    steps.forEach((name) => {
      const step = make("li"), at = places.get(name), [family, score, bars] = index.others[name] ?? [null, null, ""];
      const own = at !== undefined;
      step.append(strip(own ? index.strips[at] : bars), name === id ? make("b", "this design") : programs.has(name) ? link(name) : make("span", name));
      step.append(make("small", own ? `${percent(index.accuracy[at])}, cycle ${index.cycle[at]}` : family ? `seed, ${family}, ${percent(score)}` : "not in this report"));
      if (own && index.similarity[at] !== null && steps[0] !== name) step.append(make("small", `similarity ${index.similarity[at].toFixed(2)} to the one before`));
      row.append(step);
    });
    const box = make("div");
    box.append(make("h3", "The nearest before it, and before that"), row);
    box.append(make("p", "Each is the nearest program that was known when the next one came: near, not its parent. The model had read many.", "note"));
    return box;
  }

  function children(id) {
    const found = later.get(id) ?? [], box = make("p");
    if (!found.length) return make("p", "No later design has it as its nearest.", "note");
    box.append(`Later designs that it is the nearest of, ${thousands(found.length)}: `);
    found.slice(0, MOST_NEAR).forEach((at, place) => box.append(place ? ", " : "", link(index.id[at]), ` ${percent(index.accuracy[at])}`));
    if (found.length > MOST_NEAR) box.append(" …");
    return box;
  }

  function lineage(at, design) {
    const chain = index.chain[at], cycle = index.cycle[at], items = make("ol", "", "lineage");
    items.append(make("li", `Design ${index.id[at]}: chain ${chain}, cycle ${cycle}, seed ${design.seed}, evaluation ${design.evaluation}`));
    if (design.origin) {
      items.append(make("li", `the same program as ${design.origin}, judged for this chain`));
      return items;
    }
    if (design.prompt_id === null && design.drawn_from) {
      items.append(make("li", `drawn at random from the family ${design.drawn_from}; no language model wrote it`));
      return items;
    }
    const answers = make("li", `answers prompt ${design.prompt_id}, hint ${index.hint[at] ?? "none"}`);
    design.references.forEach((id, place) => answers.append(place ? ", " : ", which showed ", programs.has(id) ? link(id) : id));
    let [name, number] = [chain, cycle - 1], text = [];
    items.append(answers, make("li", design.adapter === null ? "written without an adapter" : `written with the adapter ${design.adapter}`));
    for (let steps = 0; steps < 2000; steps++) {
      // Back to the last cycle that made an adapter, through what the chain starts from.
      while (name in index.chains && !index.chains[name].trains.includes(number)) {
        if (number > 0) number--;
        else ({ start: name, start_cycle: number } = index.chains[name]);
      }
      if (name === "base") break;
      const trained = name in index.chains ? index.chains[name].training[number] : index.seed_training;
      const facts = trained ? ` (${trained.carried_on ? "unchanged" : `${trained.pairs ?? "?"} pairs, loss ${trained.loss?.toFixed(3) ?? "?"}`})` : "";
      text.push(name in index.chains ? `${name} cycle ${number}${facts}` : `seed corpus, cycle 0${facts}`);
      if (!(name in index.chains)) break;
      number--;
    }
    if (text.length) items.append(make("li", `that adapter came from ${text.length === 1 ? "one fine-tuning" : `${text.length} fine-tunings`}: ${text.join(" ← ")}`));
    return items;
  }

  function folded(title, content) {
    const box = make("details");
    box.append(make("summary", title), content);
    return box;
  }

  function contents(id, design, near, known) {
    const at = places.get(id);
    if (at === undefined) {
      const [family, score] = index.others[id];
      const box = make("p", `A program of ${family ? `the family ${family}, of the seed corpus` : "another report"}; validation accuracy ${percent(score)}.`);
      return [box, drawings([{}, { title: "Computed graph", design }]), children(id), make("h3", "Program"), highlighted(design.program)];
    }
    const own = [facts(at, design), neighbour(at), drawings([{ title: `Nearest: ${near}`, design: known }, { title: "This design", design }])];
    if (near !== null) own.push(make("h3", "What differs from its nearest"), known ? difference(known.program, design.program) : make("p", "That program is not in this report.", "note"));
    own.push(make("h3", "Program"), highlighted(design.program), ancestry(id), children(id));
    own.push(folded("Where it came from: prompt, seed, adapter", lineage(at, design)));
    if (design.prompt) own.push(folded("The prompt", make("pre", design.prompt)));
    own.push(make("h3", "Make it again"), copied(`python scripts/replay.py ${quoted(id)} --results results`));
    return own;
  }

  const quoted = (id) => (/^[\w.-]+$/.test(id) ? id : `'${id.replaceAll("'", "'\\''")}'`);

  async function show(id, how) {
    // Only what was asked for last is shown, and nothing once the reader has closed it.
    const mine = ++asked, near = index.nearest_id[places.get(id)] ?? null;
    open = id;
    let content;
    try {
      const [design, known] = [await program(id), near === null ? null : await program(near)];
      if (mine !== asked) return;
      content = contents(id, design, near, known);
    } catch (error) {
      if (mine !== asked) return;
      content = [make("p", `Its program is in the folder data, which lies beside the whole report: ${error.message}.`, "note")];
    }
    byId("name").textContent = id;
    byId("opened").replaceChildren(...content);
    if (how) history[how]({ opened: how === "pushState" || history.state?.opened === true }, "", address(id));
    if (!byId("design").open) byId("design").showModal();
    byId("design").scrollTop = 0;
  }

  function close() {
    asked++;
    const back = history.state?.opened === true;
    open = null;
    byId("design").close();
    if (back) history.back();
    else history.replaceState(null, "", address(null));
  }

  function step(by) {
    const now = shown.indexOf(places.get(open)), place = now + by;
    if (now >= 0 && place >= 0 && place < shown.length) show(index.id[shown[place]], "replaceState");
  }

  // The page's address for a design (or none) with the filters as they are.
  function address(id) {
    const state = id === null ? [] : [linkTo(id).slice(1)];
    for (const [name, usual] of Object.entries(FILTERS))
      if (byId(name).value !== usual) state.push(`${name}=${encodeURIComponent(byId(name).value)}`);
    if (byId("front").checked) state.push("front=yes");
    if (sort.field !== "accuracy" || !sort.down) state.push(`sort=${sort.down ? "-" : ""}${sort.field}`);
    return location.pathname + location.search + (state.length ? `#${state.join("&")}` : "");
  }

  // Do as the address says; one that leads to a part of the page leaves the filters alone.
  function follow() {
    const state = new Map();
    for (const part of location.hash.slice(1).split("&").filter((each) => each.includes("=")))
      try {
        state.set(part.slice(0, part.indexOf("=")), decodeURIComponent(part.slice(part.indexOf("=") + 1)));
      } catch {
        continue; // no address that this page wrote
      }
    const id = state.get("design");
    if (!location.hash || [...state.keys()].some((name) => name !== "design")) {
      for (const [name, usual] of Object.entries(FILTERS)) byId(name).value = state.get(name) ?? usual;
      byId("front").checked = state.get("front") === "yes";
      const wanted = state.get("sort")?.match(/^(-?)(\w+)$/);
      if (wanted && index[wanted[2]]) sort = { field: wanted[2], down: wanted[1] === "-" };
      select();
    }
    if (id !== undefined && programs.has(id)) show(id);
    else if (byId("design").open) {
      asked++;
      open = null;
      byId("design").close();
    }
  }

  const remember = () => history.replaceState(history.state, "", address(open));

  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("controls").addEventListener("input", () => { select(); remember(); });
  table.tHead.addEventListener("click", (event) => {
    const field = event.target.closest("[data-field]")?.dataset.field;
    if (!field) return;
    sort = { field, down: sort.field === field ? !sort.down : field.includes("accuracy") };
    select();
    remember();
  });
  for (const [id, by] of [["before", -1], ["after", 1]]) byId(id).addEventListener("click", () => { page += by; list(); });
  byId("previous").addEventListener("click", () => step(-1));
  byId("following").addEventListener("click", () => step(1));
  byId("close").addEventListener("click", close);
  byId("design").addEventListener("click", (event) => { if (event.target === byId("design")) close(); });
  byId("design").addEventListener("cancel", (event) => { event.preventDefault(); close(); });
  byId("design").addEventListener("keydown", (event) => {
    if (event.target.closest("pre, .graph")) return;
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  // Links to designs, in the cards, the list and the drawings, open them here.
  document.addEventListener("click", (event) => {
    const target = event.target.closest?.("a"), href = target?.getAttribute("href") ?? target?.getAttribute("xlink:href");
    if (!href?.startsWith("#design=") || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const id = decodeURIComponent(href.slice(8));
    if (programs.has(id)) show(id, byId("design").open ? "replaceState" : "pushState");
  });
  addEventListener("popstate", follow);
  byId("browse").hidden = false;
  select();
  follow();
  table.dataset.ready = "yes";
}

gallery();
