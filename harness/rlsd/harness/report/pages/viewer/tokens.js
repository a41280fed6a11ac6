// Tokens, coloured by what they earned.

const COLOURS = {
  gap: { name: "Δ", unit: " nats", zero: 0, about: "log-prob with hindsight minus without" },
  weight: { name: "weight m", unit: "", zero: 1, about: "what hindsight made of the advantage: 1 leaves it as it is" },
  advantage: { name: "advantage Â", unit: "", zero: 0, about: "what enters the loss" },
};
const MOST_TOKENS = 1500; // of a turn, before a button shows the rest

/** The value that gets the full colour: nearly the largest of all that are shown. */
function reachOf(episodes, by) {
  const { zero } = COLOURS[by];
  const sizes = [];
  for (const episode of episodes) {
    for (const turn of episode?.turns ?? []) {
      for (const value of turn.values?.[by] ?? []) if (Number.isFinite(value)) sizes.push(Math.abs(value - zero));
    }
  }
  sizes.sort((a, b) => a - b);
  return sizes[Math.floor(0.99 * (sizes.length - 1))] || sizes.at(-1) || 1;
}

function paint(span, value, by, reach) {
  const x = value - COLOURS[by].zero;
  span.classList.toggle("up", x > 0);
  span.classList.toggle("down", x < 0);
  const strength = Math.sqrt(Math.min(1, Math.abs(x) / reach)); // the root lets small values show beside large ones
  span.style.setProperty("--a", Number.isFinite(x) ? (0.62 * strength).toFixed(3) : 0);
}

/** The response of a turn as tokens, or as text where they were not kept. */
function sayOf(turn, cell) {
  if (!turn.pieces) return h("div", { class: "say text" }, ...marked(turn.response || turn.action, turn.action));
  const box = h("div", { class: "say text" });
  addTokens(box, turn, 0, cell);
  return box;
}

function addTokens(box, turn, from, cell) {
  const [thoughtFrom, thoughtTo] = turn.thought_span;
  const [actionFrom, actionTo] = turn.action_span;
  const to = Math.min(turn.pieces.length, from + MOST_TOKENS);
  for (let i = from; i < to; i++) {
    const kind = i >= actionFrom && i < actionTo ? " act" : i >= thoughtFrom && i < thoughtTo ? " think" : "";
    const piece = turn.pieces[i].replace(/\n/g, "↵\n");
    const span = h("span", { class: `t${kind}`, "data-i": i }, piece);
    if (cell.reach) paint(span, turn.values[state.by][i], state.by, cell.reach);
    box.append(span);
  }
  if (to < turn.pieces.length) {
    const more = h("button", { type: "button", class: "more" }, `show ${count(turn.pieces.length - to, "more token")}`);
    more.addEventListener("click", () => {
      more.remove();
      addTokens(box, turn, to, cell);
    });
    box.append(more);
  }
}

function marked(response, action) {
  const at = action ? response.lastIndexOf(action) : -1;
  if (at < 0) return [clipped(response)];
  return [clipped(response.slice(0, at)), h("b", null, clipped(action)), clipped(response.slice(at + action.length))];
}

/** A long text, cut, with a button for the rest. */
function clipped(text, most = 3000) {
  if (text.length <= most) return text;
  const box = h("span", null, text.slice(0, most));
  const more = h("button", { type: "button", class: "more" }, `… all ${count(text.length, "character")}`);
  more.addEventListener("click", () => box.replaceChildren(text));
  box.append(more);
  return box;
}

/** All numbers of one token, in words. */
function readout(turn, i) {
  const at = (name) => turn.values[name]?.[i];
  const hinted = Number.isFinite(at("teacher_logp"));
  const views = hinted
    ? `log π acting ${signed(at("student_logp"))}, with hindsight ${signed(at("teacher_logp"))}`
    : `log π ${signed(at("student_logp"))}, no hindsight`;
  return (
    `${JSON.stringify(turn.pieces[i])} · Δ ${signed(at("gap"))} nats · A ${signed(at("base"))} · ` +
    `m ${at("weight").toFixed(4)} → Â ${signed(at("advantage"))} · ${views}, when drawn ${signed(at("sampler_logp"))}`
  );
}

function legendOf(reach) {
  const { name, unit, zero, about } = COLOURS[state.by];
  const low = zero - reach;
  const high = zero + reach;
  const ramp = h("span", { class: "ramp", "aria-hidden": "true" });
  for (let i = -5; i <= 5; i++) {
    const step = h("i", { class: "t" });
    paint(step, zero + (i / 5) * reach, state.by, reach);
    ramp.append(step);
  }
  const told = (x) => (zero ? x.toFixed(3) : signed(x));
  return h("span", { class: "legend soft", title: about }, `${name}: ${told(low)} `, ramp, ` ${told(high)}${unit}`);
}
