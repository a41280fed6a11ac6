// Runs, indexes and episodes: from blocks in this file, or from the server that sent it.

const START = JSON.parse($("start").textContent);
const indexes = new Map(); // "run.step" → columns of its episodes
const opened = new Map(); // "run.step.number" → promise of an episode
const groups = new Map(); // name of a block → promise of its episodes

function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function unpack(name) {
  const stream = new Blob([bytesOf($(name).textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

async function ask(path, query) {
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`);
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error ?? `the server says ${answer.status}`);
  return data;
}

async function loadIndex(run, step) {
  const index = START.served ? await ask("index.json", { run, step }) : await unpack(`index-${run}-${step}`);
  index.words = index.tasks.map(([id, type, goal]) => `${id} ${type} ${goal}`.toLowerCase());
  indexes.set(`${run}.${step}`, index);
  return index;
}

/** All episodes of one iteration, as the list shows them. */
function rowsOf(run, step) {
  return indexes.get(`${run}.${step}`).task.map((_, number) => ({ run, step, number }));
}

const indexOf = (ref) => indexes.get(`${ref.run}.${ref.step}`);
const taskOf = (ref) => indexOf(ref).tasks[indexOf(ref).task[ref.number]];
const keyOf = (ref) => `${ref.run}.${ref.step}.${ref.number}`;
const same = (a, b) => a !== null && b !== null && keyOf(a) === keyOf(b);

function loadEpisode(ref) {
  const key = keyOf(ref);
  if (!opened.has(key)) {
    if (opened.size > 64) opened.delete(opened.keys().next().value);
    const promise = fetchEpisode(ref).then(decoded);
    promise.catch(() => opened.delete(key));
    opened.set(key, promise);
  }
  return opened.get(key);
}

async function fetchEpisode(ref) {
  if (START.served) return ask("episode.json", ref);
  const name = `group-${ref.run}-${ref.step}-${indexOf(ref).group[ref.number]}`;
  if ($(name) === null) {
    const most = START.groups === null ? "" : ` and ${count(START.groups, "task")} an iteration`;
    throw new Error(
      `The turns of this episode are not in this page, which is limited to ${START.limit_mib} MiB${most}: rlsd view shows all.`,
    );
  }
  if (!groups.has(name)) {
    if (groups.size > 32) groups.delete(groups.keys().next().value);
    groups.set(name, unpack(name));
  }
  return structuredClone((await groups.get(name)).episodes[ref.number]);
}

/** The episode with its numbers unpacked: `turn.values`, one array of a number a token for each name. */
function decoded(episode) {
  const columns = {};
  for (const [name, base64] of Object.entries(episode.columns)) {
    columns[name] = new Float32Array(bytesOf(base64).buffer);
  }
  if (columns.teacher_logp) {
    columns.gap = columns.teacher_logp.map((t, i) => (Number.isNaN(t) ? 0 : t - columns.student_logp[i]));
  }
  let at = 0;
  episode.turns.forEach((turn, k) => {
    turn.observation ??= episode.turns[k - 1].next_observation;
    if (!turn.pieces) return;
    turn.values = {};
    for (const [name, column] of Object.entries(columns)) {
      turn.values[name] = column.subarray(at, at + turn.pieces.length);
    }
    at += turn.pieces.length;
  });
  episode.credited = Boolean(columns.advantage) || episode.turns.some((turn) => turn.credit !== 0);
  return episode;
}

/** Episodes of the same group: the same task, played at the same time. */
function siblingsOf(ref) {
  const index = indexOf(ref);
  return rowsOf(ref.run, ref.step).filter((other) => index.group[other.number] === index.group[ref.number]);
}

const sameGroup = (a, b) =>
  a.run === b.run && a.step === b.step && indexOf(a).group[a.number] === indexOf(b).group[b.number];

/** Episodes of the same task in other runs and iterations, the same sibling first. */
function elsewhereOf(ref) {
  const id = taskOf(ref)[0];
  const sibling = indexOf(ref).sibling[ref.number];
  const found = [];
  for (const [key, index] of indexes) {
    const [run, step] = key.split(".").map(Number);
    const task = index.tasks.findIndex((known) => known[0] === id);
    if (task < 0 || (run === ref.run && step === ref.step)) continue;
    found.push(...rowsOf(run, step).filter((other) => index.task[other.number] === task));
  }
  const far = (other) => Math.abs(indexOf(other).sibling[other.number] - sibling);
  return found.sort((a, b) => a.run - b.run || b.step - a.step || far(a) - far(b) || a.number - b.number);
}

// Search: every word must fit.

const NUMBERS = ["turns", "tokens", "score", "invalid", "surprise", "gap", "step", "sibling"];
const FLAGS = {
  won: (index, i) => index.won[i] === 1,
  lost: (index, i) => index.won[i] === 0,
  failed: (index, i) => index.failures[index.failure[i]] !== "",
  invalid: (index, i) => index.invalid[i] > 0,
};

/** What a search text asks for, as functions of a row. */
function termsOf(query) {
  return query.toLowerCase().split(/\s+/).filter(Boolean).map(termOf);
}

function termOf(word) {
  const number = /^([a-z]+)([<>=]|:)(-?[\d.]+)$/.exec(word);
  if (number && NUMBERS.includes(number[1])) {
    const [, name, how, wanted] = number;
    const compare = { "<": (x) => x < wanted, ">": (x) => x > wanted }[how] ?? ((x) => x === Number(wanted));
    return (ref) => compare(name === "step" ? ref.step : indexOf(ref)[name][ref.number]);
  }
  const [, name, text] = /^(type|task|stop|run|is|failure):(.*)$/.exec(word) ?? [null, "", word];
  const index = (ref) => indexOf(ref);
  if (name === "is") return (ref) => FLAGS[text]?.(index(ref), ref.number) ?? false;
  if (name === "run") return (ref) => START.runs[ref.run].name.toLowerCase().includes(text);
  if (name === "stop") return (ref) => index(ref).stops[index(ref).stop[ref.number]].includes(text);
  if (name === "failure") return (ref) => index(ref).failures[index(ref).failure[ref.number]].includes(text);
  if (name) return (ref) => taskOf(ref)[name === "type" ? 1 : 0].toLowerCase().includes(text);
  return (ref) => index(ref).words[index(ref).task[ref.number]].includes(text);
}

const SORTS = {
  "in order": null,
  longest: (ref) => -indexOf(ref).turns[ref.number],
  "most tokens": (ref) => -indexOf(ref).tokens[ref.number],
  "most surprising credit": (ref) => -indexOf(ref).surprise[ref.number],
  "largest |Δ| of a turn": (ref) => -(indexOf(ref).gap[ref.number] ?? -1),
  "lowest score": (ref) => indexOf(ref).score[ref.number],
  "most refused actions": (ref) => -indexOf(ref).invalid[ref.number],
};

function ordered(rows, sort) {
  const by = SORTS[sort];
  if (!by) return rows;
  const keys = new Map(rows.map((row) => [row, by(row)]));
  return [...rows].sort((a, b) => keys.get(a) - keys.get(b));
}
