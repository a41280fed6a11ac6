// The pane: one episode, or several side by side, turn by turn.

/** Show these episodes side by side; `ref` is the list's current row. */
async function show(refs, ref = refs[0] ?? null) {
  state.refs = refs;
  state.ref = ref;
  state.cell = null;
  saveState();
  const turn = (state.asked = {}); // a later call wins
  const episodes = await Promise.all(refs.map((ref) => loadEpisode(ref).catch((error) => ({ error, turns: [] }))));
  if (state.asked !== turn) return;
  state.episodes = episodes;
  drawPane();
  $("pane").scrollTop = 0;
}

function drawPane() {
  const { refs, episodes } = state;
  drawBar();
  $("readout").textContent = "";
  if (!refs.length) {
    $("shown").replaceChildren(h("p", { class: "soft" }, "No episode is chosen."));
    return;
  }
  const tokens = episodes.some((episode) => episode.turns.some((turn) => turn.values));
  const reach = tokens && state.by !== "none" ? reachOf(episodes, state.by) : 0;
  const largest = Math.max(...episodes.flatMap((e) => e.turns.map((t) => Math.abs(t.credit))), 0);
  const grid = h("div", { class: refs.length > 1 ? "grid several" : "grid", "data-columns": refs.length });
  grid.style.setProperty("--columns", refs.length);
  refs.forEach((ref, c) => grid.append(headOf(ref, episodes[c], c)));
  const longest = Math.max(...episodes.map((episode) => episode.turns.length));
  for (let k = 0; k < longest; k++) {
    refs.forEach((ref, c) => grid.append(turnOf(episodes[c], k, { c, reach, largest, label: labelOf(ref) })));
  }
  const first = episodes[0];
  const parts = [
    h("h2", null, clipped(first.goal ?? taskOf(refs[0])[2], 400)),
    h("p", { class: "soft" }, `${taskOf(refs[0])[1]} · ${taskOf(refs[0])[0]}`),
    siblingStrip(),
    tokens && state.by !== "none" ? h("p", null, legendOf(reach)) : null,
    grid,
  ];
  $("shown").replaceChildren(...parts.filter(Boolean));
}

function drawBar() {
  const choice = (by, key, text) =>
    h(
      "button",
      { type: "button", "aria-pressed": String(state.by === by), "data-by": by, onclick: () => colourBy(by) },
      text,
      h("kbd", null, key),
    );
  const several = state.refs.length > 1;
  const columns = several && state.refs.every((ref) => sameGroup(ref, state.ref));
  $("bar").replaceChildren(
    h("button", { type: "button", class: "back", onclick: leave }, "← list"),
    h(
      "span",
      { class: "choices", role: "group", "aria-label": "Colour of tokens" },
      choice("gap", "1", "Δ"),
      choice("weight", "2", "weight"),
      choice("advantage", "3", "advantage"),
      choice("none", "0", "plain"),
    ),
    h("button", { type: "button", "aria-pressed": String(columns), onclick: toggleSiblings }, "siblings", h("kbd", null, "s")),
    h("button", { type: "button", "aria-pressed": String(several && !columns), onclick: openPicker }, "compare", h("kbd", null, "c")),
  );
}

function labelOf(ref) {
  const run = START.runs[ref.run];
  const step = run.kind === "run" ? ` · it. ${ref.step}` : "";
  return `${run.name}${step} · sibling ${indexOf(ref).sibling[ref.number]}`;
}

function headOf(ref, episode, c) {
  if (episode.error) return h("header", { class: "head" }, h("b", null, labelOf(ref)), h("p", { class: "lost" }, episode.error.message));
  const run = START.runs[ref.run];
  const all = episode.turns.flatMap((turn) => (turn.values ? [...turn.values.advantage] : []));
  const sum = all.reduce((a, b) => a + b, 0);
  const idle = all.length && all.every((a) => a === 0);
  return h(
    "header",
    { class: "head", "data-c": c },
    h("b", null, labelOf(ref)),
    h("span", { class: "soft" }, ` ${run.method}`),
    h(
      "p",
      null,
      h("span", { class: episode.won ? "won" : "lost" }, episode.won ? "won" : "lost"),
      ` · score ${short(episode.score)} · return ${short(episode.return)} · ${count(episode.turns.length, "turn")} · ${episode.stop}`,
    ),
    all.length
      ? h(
          "p",
          { class: "soft", "data-sum": sum },
          `Σ Â ${signed(sum)} over ${count(all.length, "token")}, mean ${signed(sum / all.length)}`,
        )
      : null,
    episode.credited && !all.length ? h("p", { class: "soft" }, "Its tokens' credit was not kept.") : null,
    idle ? h("p", { class: "soft" }, "Â is 0 everywhere: nothing is learned from this episode.") : null,
    episode.failure ? h("p", { class: "lost" }, clipped(episode.failure, 500)) : null,
  );
}

function siblingStrip() {
  const mine = siblingsOf(state.refs[0]);
  if (mine.length < 2) return null;
  const buttons = mine.map((ref) => {
    const index = indexOf(ref);
    const on = state.refs.some((shown) => same(shown, ref));
    return h(
      "button",
      { type: "button", "aria-pressed": String(on), onclick: () => jumpTo(ref) },
      `${index.sibling[ref.number]} `,
      outcomeMark(index, ref.number),
    );
  });
  return h("p", { class: "siblings", role: "group", "aria-label": "Siblings" }, "siblings ", ...buttons);
}

function turnOf(episode, k, cell) {
  const turn = episode.turns[k];
  if (!turn) return h("div", { class: "turn none", "data-c": cell.c });
  const mean = episode.turns.reduce((sum, t) => sum + t.credit, 0) / episode.turns.length;
  const box = h(
    "section",
    { class: "turn", "data-c": cell.c, "data-k": k, tabindex: "-1", "aria-label": `Turn ${k + 1}` },
    h("span", { class: "label soft" }, cell.label),
    h(
      "div",
      { class: "line" },
      h("b", { class: "number" }, k + 1),
      episode.credited ? creditOf(turn, mean, cell.largest) : h("span", { class: "soft" }, turn.spent),
      turn.format_ok ? null : h("span", { class: "badge lost" }, "format"),
      turn.valid ? null : h("span", { class: "badge lost" }, "refused"),
      turn.reward ? h("span", { class: "badge won" }, `reward ${short(turn.reward)}`) : null,
    ),
    turn.prompt.length ? fold("prompt", () => turn.prompt.map(([role, text]) => message(role, text))) : null,
    h("div", { class: "obs text" }, clipped(turn.observation)),
    sayOf(turn, cell),
    turn.action ? null : h("span", { class: "soft" }, "(no action)"),
    hindsightOf(turn),
    k === episode.turns.length - 1 ? h("div", { class: "obs text last" }, clipped(turn.next_observation)) : null,
  );
  box.addEventListener("click", (event) => {
    const i = event.target.closest?.(".t")?.dataset.i;
    goTo(box, i === undefined ? -1 : Number(i));
  });
  box.addEventListener("mouseover", (event) => {
    const i = event.target.closest?.(".t")?.dataset.i;
    if (i !== undefined && turn.values) $("readout").textContent = readout(turn, Number(i));
  });
  return box;
}

function creditOf(turn, mean, largest) {
  const bar = h("i", { class: turn.credit < 0 ? "fill down" : "fill up" });
  bar.style.width = `${largest ? (50 * Math.abs(turn.credit)) / largest : 0}%`;
  const share = mean ? ` × ${(turn.credit / mean).toFixed(2)}` : "";
  return h(
    "span",
    { class: "credit", title: "the turn's credit: the mean advantage of its tokens; × its episode's mean" },
    h("span", { class: "bar" }, bar),
    h("span", null, signed(turn.credit)),
    h("span", { class: "soft" }, share),
  );
}

function hindsightOf(turn) {
  const parts = [];
  if (turn.read) parts.push(message("read by the teacher", turn.read));
  for (const [name, text] of turn.hindsight) parts.push(message(`recorded: ${name}`, text));
  if (!parts.length) return null;
  const line = (turn.read ?? turn.hindsight[0][1]).trim().split("\n");
  return fold(`${turn.read ? "hindsight" : "hindsight, not read"}: ${line.slice(-1)[0].slice(0, 90)}`, () => parts);
}

const message = (name, text) => h("div", null, h("span", { class: "soft" }, name), h("div", { class: "text" }, clipped(text.trim())));

/** Parts that are made when they are unfolded. */
function fold(title, make) {
  const box = h("details", null, h("summary", null, title));
  box.addEventListener("toggle", () => box.open && box.children.length === 1 && box.append(...make()), { once: false });
  return box;
}

function colourBy(by) {
  state.by = by;
  saveState();
  const place = state.cell && { c: state.cell.dataset.c, k: state.cell.dataset.k, i: state.token };
  const top = $("pane").scrollTop;
  drawPane();
  $("pane").scrollTop = top;
  if (place) goTo(document.querySelector(`.turn[data-c="${place.c}"][data-k="${place.k}"]`), place.i);
}

function toggleSiblings() {
  if (!state.ref) return;
  show(state.refs.length > 1 ? [state.ref] : siblingsOf(state.ref), state.ref);
}

/** Make a turn the current one, and token `i` of it; −1: none. */
function goTo(cell, i) {
  document.querySelector(".turn.here")?.classList.remove("here");
  document.querySelector(".t.at")?.classList.remove("at");
  state.cell = cell;
  state.token = i;
  if (!cell) return;
  cell.classList.add("here");
  cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  const turn = state.episodes[cell.dataset.c].turns[cell.dataset.k];
  const span = i < 0 ? null : cell.querySelector(`.t[data-i="${i}"]`);
  span?.classList.add("at");
  span?.scrollIntoView({ block: "nearest", inline: "nearest" });
  if (span && turn.values) $("readout").textContent = readout(turn, i);
}

/** The next or previous turn of the current column. */
function moveTurn(by) {
  const column = state.cell?.dataset.c ?? "0";
  const cells = [...document.querySelectorAll(`section.turn[data-c="${column}"]`)];
  const at = cells.indexOf(state.cell);
  if (cells.length) goTo(cells[Math.max(0, Math.min(cells.length - 1, at < 0 ? 0 : at + by))], -1);
}

function moveToken(by) {
  if (!state.cell) moveTurn(1);
  const last = state.cell?.querySelectorAll(".t").length - 1;
  if (last >= 0) goTo(state.cell, Math.max(0, Math.min(last, state.token + by)));
}

function moveColumn(by) {
  const c = Number(state.cell?.dataset.c ?? 0) + by;
  const k = state.cell?.dataset.k ?? 0;
  const cell = document.querySelector(`section.turn[data-c="${c}"][data-k="${k}"]`);
  if (cell) goTo(cell, -1);
}
