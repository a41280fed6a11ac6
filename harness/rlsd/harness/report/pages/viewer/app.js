// State, keys, and the way from one to the other.

const state = {
  ref: null, // the list's current episode
  refs: [], // those in the pane
  episodes: [],
  by: "gap",
  cell: null, // current turn
  token: -1,
  query: "",
  sort: "in order",
  filters: { run: "", step: "", type: "", outcome: "", stop: "" },
  wanted: null, // episodes that the address names, until their indexes are there
};
let all = []; // every episode whose index is there

function saveState() {
  const parts = new URLSearchParams();
  parts.set("tab", document.body.dataset.tab);
  if (state.refs.length) parts.set("at", state.refs.map(keyOf).join(","));
  if (state.by !== "gap") parts.set("by", state.by);
  if (state.query) parts.set("q", state.query);
  if (state.sort !== "in order") parts.set("sort", state.sort);
  for (const [name, value] of Object.entries(state.filters)) if (value) parts.set(name, value);
  history.replaceState(null, "", `#${parts}`);
}

function readState() {
  const parts = new URLSearchParams(location.hash.slice(1));
  if (parts.get("by") in COLOURS || parts.get("by") === "none") state.by = parts.get("by");
  if (parts.get("sort") in SORTS) state.sort = parts.get("sort");
  state.query = parts.get("q") ?? "";
  for (const name of Object.keys(state.filters)) state.filters[name] = parts.get(name) ?? "";
  const refs = (parts.get("at") ?? "").split(",").map((key) => key.split(".").map(Number));
  state.wanted = refs.filter((ref) => ref.length === 3 && ref.every(Number.isInteger));
  state.wanted = state.wanted.map(([run, step, number]) => ({ run, step, number }));
  openTab(parts.get("tab") === "episodes" ? "episodes" : "results");
}

function openTab(tab) {
  document.body.dataset.tab = tab;
  for (const name of ["results", "episodes"]) {
    $(`tab-${name}`).setAttribute("aria-pressed", String(name === tab));
    $(name).hidden = name !== tab;
  }
  if (tab === "episodes") {
    drawRows();
    $("list").focus();
  } else $("results").focus();
}

// ---------------------------------------------------------------- filters

function drawFilters() {
  const types = new Set(), stops = new Set(), steps = new Set();
  for (const [key, index] of indexes) {
    index.tasks.forEach(([, type]) => types.add(type));
    index.stops.forEach((stop) => stops.add(stop));
    steps.add(Number(key.split(".")[1]));
  }
  const choices = {
    run: START.runs.length > 1 ? START.runs.map((run, r) => [String(r), run.name]) : [],
    step: steps.size > 1 ? [...steps].sort((a, b) => b - a).map((n) => [String(n), `iteration ${n}`]) : [],
    type: types.size > 1 ? [...types].sort().map((type) => [type, type]) : [],
    outcome: ["won", "lost", "failed", "invalid"].map((name) => [name, name]),
    stop: stops.size > 1 ? [...stops].sort().map((stop) => [stop, stop]) : [],
  };
  const selects = Object.entries(choices).filter(([, options]) => options.length).map(([name, options]) =>
    select(name, [["", `any ${name === "step" ? "iteration" : name}`], ...options], state.filters[name], (value) => {
      state.filters[name] = value;
    }),
  );
  const order = select("order", Object.keys(SORTS).map((name) => [name, name]), state.sort, (value) => {
    state.sort = value;
  });
  $("filters").replaceChildren(...selects, order);
}

function select(name, options, value, set) {
  const box = h("select", { "aria-label": name, id: `by-${name}` }, ...options.map(([key, text]) => h("option", { value: key }, text)));
  box.value = value;
  box.addEventListener("change", () => {
    set(box.value);
    filter();
  });
  return box;
}

/** List what fits; from the top, unless rows only came in. */
function filter({ top = true } = {}) {
  const { run, step, type, outcome, stop } = state.filters;
  const terms = termsOf(state.query);
  if (run) terms.push((ref) => ref.run === Number(run));
  if (step) terms.push((ref) => ref.step === Number(step));
  if (type) terms.push((ref) => taskOf(ref)[1] === type);
  if (outcome) terms.push((ref) => FLAGS[outcome](indexOf(ref), ref.number));
  if (stop) terms.push((ref) => indexOf(ref).stops[indexOf(ref).stop[ref.number]] === stop);
  const rows = ordered(terms.length ? all.filter((ref) => terms.every((term) => term(ref))) : all, state.sort);
  if (top) $("list").scrollTop = 0;
  setRows(rows);
  const kept = rows.length === all.length ? "" : ` of ${all.length.toLocaleString("en")}`;
  $("count").textContent = all.length
    ? `${rows.length.toLocaleString("en")}${kept} episodes`
    : "No episodes were kept: save_rollouts_every keeps them.";
  saveState();
}

function searchFor(query) {
  state.query = $("search").value = query;
  openTab("episodes");
  filter();
}

function nextSort() {
  const names = Object.keys(SORTS);
  state.sort = $("by-order").value = names[(names.indexOf(state.sort) + 1) % names.length];
  filter();
}

// ---------------------------------------------------------------- from list to episode and back

function enter() {
  if (!state.refs.length && list.rows.length) choose(Math.max(0, list.at));
  document.body.dataset.pane = "episode";
  $("pane").focus();
}

function leave() {
  document.body.dataset.pane = "list";
  drawRows();
  $("list").focus();
}

/** Show an episode that may not be in the list. */
function jumpTo(ref) {
  list.at = list.rows.findIndex((row) => same(row, ref));
  if (list.at >= 0) choose(list.at);
  else {
    drawRows();
    show([ref]);
  }
}

// ---------------------------------------------------------------- keys

const ANYWHERE = {
  j: () => choose(list.at + 1),
  k: () => choose(list.at - 1),
  h: () => moveColumn(-1),
  l: () => moveColumn(1),
  1: () => colourBy("gap"),
  2: () => colourBy("weight"),
  3: () => colourBy("advantage"),
  0: () => colourBy("none"),
  s: toggleSiblings,
  c: openPicker,
  o: nextSort,
};
const IN_LIST = {
  ArrowDown: () => choose(list.at + 1),
  ArrowUp: () => choose(list.at - 1),
  PageDown: () => choose(list.at + 10),
  PageUp: () => choose(list.at - 10),
  Home: () => choose(0),
  End: () => choose(list.rows.length - 1),
  Enter: enter,
  ArrowRight: enter,
};
const IN_EPISODE = {
  ArrowDown: () => moveTurn(1),
  ArrowUp: () => moveTurn(-1),
  ArrowRight: () => moveToken(1),
  ArrowLeft: () => moveToken(-1),
  Enter: () => state.cell?.querySelector("details:last-of-type > summary")?.click(),
  Escape: () => (state.refs.length > 1 ? show([state.ref]) : leave()),
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
  if ($("picker").open) return pickerKey(event);
  const target = event.target;
  if (target.id === "search" && ["Escape", "Enter", "ArrowDown"].includes(event.key)) {
    if (event.key !== "Escape" && list.rows.length) choose(0);
    $("list").focus();
    return event.preventDefault();
  }
  if (target.matches("input, select, textarea")) return;
  const onControl = target.matches("button, summary") && (event.key === "Enter" || event.key === " ");
  if (onControl) return;
  const general = {
    "?": openHelp,
    "/": () => {
      openTab("episodes");
      document.body.dataset.pane = "list";
      $("search").focus();
      $("search").select();
    },
    r: () => openTab("results"),
    e: () => openTab("episodes"),
    Escape: leave,
  };
  let action = general[event.key];
  if (document.body.dataset.tab === "episodes") {
    const drawn = target === document.body; // the button that had the focus was drawn anew
    const inEpisode = $("pane").contains(target) || (drawn && document.body.dataset.pane === "episode");
    action = (inEpisode ? IN_EPISODE : IN_LIST)[event.key] ?? ANYWHERE[event.key] ?? action;
  }
  if (!action) return;
  event.preventDefault();
  action();
}

// ---------------------------------------------------------------- start

/** Load all indexes: the newest iteration of each run first, then the next older ones, four at a time. */
async function loadAll() {
  const runs = START.runs.map((run, r) => ({ r, steps: [...run.steps].sort((a, b) => b - a) }));
  const order = [];
  for (let age = 0; runs.some(({ steps }) => age < steps.length); age++) {
    for (const { r, steps } of runs) if (age < steps.length) order.push([r, steps[age]]);
  }
  const shown = [...order].sort((a, b) => a[0] - b[0] || b[1] - a[1]);
  let next = 0;
  let drawn = -Infinity;
  const refresh = () => {
    all = shown.filter(([r, n]) => indexes.has(`${r}.${n}`)).flatMap(([r, n]) => rowsOf(r, n));
    drawFilters();
    filter({ top: false });
    openWanted();
    drawn = performance.now();
  };
  const load = async () => {
    while (next < order.length) {
      const [run, step] = order[next++];
      await loadIndex(run, step).catch((error) => notice(error.message));
      if (performance.now() - drawn > 400) refresh();
    }
  };
  await Promise.all([load(), load(), load(), load()]);
  refresh();
  document.body.dataset.ready = all.length;
}

/** The episodes that the address named, once they are there; else the first one. */
function openWanted() {
  const known = (ref) => indexOf(ref)?.task[ref.number] !== undefined;
  if (state.wanted?.length && state.wanted.every(known)) {
    const refs = state.wanted;
    list.at = list.rows.findIndex((row) => same(row, refs[0]));
    state.wanted = null;
    choose(list.at < 0 ? 0 : list.at);
    show(refs);
  } else if (!state.wanted?.length && !state.ref && list.rows.length) choose(0);
}

function notice(text) {
  $("notice").hidden = false;
  $("notice").append(h("span", null, text), " ");
}

function begin() {
  const names = START.runs.map((run) => run.name);
  $("name").textContent = names.length > 3 ? count(names.length, "run") : names.join(" · ");
  document.title = `${names.join(", ")} · rlsd`;
  if (START.left_out) {
    notice(
      `The turns of ${count(START.left_out, "episode")} are left out: this page is limited to ${START.limit_mib} MiB. ` +
        "rlsd view shows all of them.",
    );
  }
  $("tab-results").addEventListener("click", () => openTab("results"));
  $("tab-episodes").addEventListener("click", () => openTab("episodes"));
  $("help-button").addEventListener("click", openHelp);
  $("search").addEventListener("input", () => {
    state.query = $("search").value;
    filter();
  });
  $("list").addEventListener("scroll", () => requestAnimationFrame(drawRows));
  for (const [part, pane] of [["pane", "episode"], ["list", "list"], ["search", "list"]]) {
    $(part).addEventListener("focusin", () => (document.body.dataset.pane = pane));
  }
  window.addEventListener("resize", drawRows);
  window.addEventListener("hashchange", () => location.reload()); // another address was pasted
  document.addEventListener("keydown", onKey);
  readState();
  $("search").value = state.query;
  drawBar();
  drawResults();
  loadAll();
}

begin();
