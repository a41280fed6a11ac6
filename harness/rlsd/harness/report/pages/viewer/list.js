// The list of episodes: only the rows in sight are in the page.

const ROW = 52; // pixels, as in the style
const list = { rows: [], at: -1 };

function setRows(rows) {
  const current = list.rows[list.at] ?? null;
  list.rows = rows;
  list.at = rows.findIndex((row) => same(row, current ?? state.ref));
  $("rows").style.height = `${rows.length * ROW}px`;
  drawRows();
}

function drawRows() {
  const box = $("list");
  const first = Math.max(0, Math.floor(box.scrollTop / ROW) - 4);
  const last = Math.min(list.rows.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + 4);
  const rows = [];
  for (let i = first; i < last; i++) rows.push(drawRow(list.rows[i], i));
  $("rows").replaceChildren(...rows);
  if (list.at >= 0) box.setAttribute("aria-activedescendant", `row-${list.at}`);
  else box.removeAttribute("aria-activedescendant");
}

function drawRow(ref, i) {
  const index = indexOf(ref);
  const n = ref.number;
  const [, type, goal] = taskOf(ref);
  const place = START.runs.length > 1 ? `${START.runs[ref.run].name} · ` : "";
  const step = START.runs[ref.run].kind === "run" ? `it. ${ref.step} · ` : "";
  const row = h(
    "div",
    {
      class: "row",
      role: "option",
      id: `row-${i}`,
      "aria-selected": String(i === list.at),
      "aria-posinset": i + 1,
      "aria-setsize": list.rows.length,
      onclick: () => {
        choose(i);
        enter();
      },
    },
    outcomeMark(index, n),
    h("span", { class: "goal" }, goal.slice(0, 200) || taskOf(ref)[0]),
    h(
      "span",
      { class: "soft" },
      `${place}${step}sibling ${index.sibling[n]} · ${count(index.turns[n], "turn")} · ` +
        `${index.stops[index.stop[n]]} · ${type}`,
    ),
  );
  row.style.transform = `translateY(${i * ROW}px)`;
  return row;
}

function outcomeMark(index, n) {
  if (index.failures[index.failure[n]]) return h("b", { class: "lost", title: "failed" }, "!");
  return index.won[n] ? h("b", { class: "won", title: "won" }, "✓") : h("b", { class: "lost", title: "lost" }, "✗");
}

/** Make row `i` the current one and show its episode. */
function choose(i) {
  if (!list.rows.length) return;
  list.at = Math.max(0, Math.min(i, list.rows.length - 1));
  const box = $("list");
  const top = list.at * ROW;
  if (top < box.scrollTop) box.scrollTop = top;
  else if (top + ROW > box.scrollTop + box.clientHeight) box.scrollTop = top + ROW - box.clientHeight;
  drawRows();
  show([list.rows[list.at]]);
}
