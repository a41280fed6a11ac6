// Help, and the choice of an episode to compare with.

const KEYS = [
  ["j k", "next, previous episode"],
  ["↓ ↑", "in the list: the same; in an episode: next, previous turn"],
  ["→ ←", "next, previous token of the turn, with all its numbers below"],
  ["h l", "column to the left, to the right"],
  ["enter", "open the episode; in it: unfold the turn's hindsight"],
  ["esc", "back: to one column, to the list"],
  ["1 2 3 0", "colour tokens by Δ, weight, advantage, not at all"],
  ["s", "siblings of the group side by side"],
  ["c", "compare with the same task in another run or iteration"],
  ["o", "another order"],
  ["/", "search"],
  ["r e", "results, episodes"],
  ["?", "this help"],
];
const WORDS = [
  ["plate table", "words of the goal, the task's id or type"],
  ["type:heat task:17 run:grpo stop:truncated failure:timeout", "parts of names"],
  ["is:won is:lost is:failed is:invalid", "outcome; a refused action"],
  ["step:20 sibling:0 turns>20 tokens>500 score<0.5", "numbers; also invalid, surprise, gap"],
];

function openHelp() {
  const rows = (pairs) => pairs.map(([key, text]) => h("tr", null, h("th", { scope: "row" }, ...key.split(" ").flatMap((k) => [h("kbd", null, k), " "])), h("td", null, text)));
  $("help").replaceChildren(
    h("h2", null, "Keys"),
    h("table", null, ...rows(KEYS)),
    h("h2", null, "Search: every word must fit"),
    h("table", null, ...rows(WORDS)),
    h("p", { class: "soft" }, "Δ: log-prob of a token with hindsight minus without, in nats. m: the weight that it gets by it. Â = A · m: what enters the loss. surprise: largest distance of a turn's credit from its episode's mean. gap: largest mean |Δ| of a turn."),
    h("form", { method: "dialog" }, h("button", null, "Close")),
  );
  $("help").showModal();
  $("help").focus();
  $("help").scrollTop = 0;
}

function openPicker() {
  if (!state.ref) return;
  const found = elsewhereOf(state.ref);
  const buttons = found.slice(0, 500).map((ref) => {
    const index = indexOf(ref);
    return h(
      "button",
      {
        type: "button",
        class: "pick",
        onclick: () => {
          $("picker").close();
          show([state.ref, ref]);
        },
      },
      outcomeMark(index, ref.number),
      ` ${labelOf(ref)} `,
      h("span", { class: "soft" }, `${START.runs[ref.run].method} · ${count(index.turns[ref.number], "turn")}`),
    );
  });
  const none = "No other run or iteration of this page has an episode of this task. Give several runs, or keep more iterations.";
  $("picker").replaceChildren(
    h("h2", null, "Compare with"),
    h("p", { class: "soft" }, found.length ? "the same task elsewhere: ↓ ↑ and enter" : none),
    ...buttons,
    h("form", { method: "dialog" }, h("button", null, "Close")),
  );
  $("picker").showModal();
  buttons[0]?.focus();
}

function pickerKey(event) {
  const by = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1 }[event.key];
  if (!by) return;
  const buttons = [...$("picker").querySelectorAll("button")];
  const at = buttons.indexOf(document.activeElement);
  buttons[(at + by + buttons.length) % buttons.length].focus();
  event.preventDefault();
}
