// Curves over iterations, one colour a run, one dash a line.

const W = 460, H = 250, LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 26;

/** A figure of `lines`: [{label, run, dash, points: [[x, y]], bars: [[x, low, high]]}]; null without points. */
function chart({ title, note, log, share }, lines) {
  lines = lines.map((line) => ({ ...line, points: line.points.filter(([, y]) => y !== null && (!log || y > 0)) }));
  lines = lines.filter((line) => line.points.length);
  if (!lines.length) return null;
  const xs = lines.flatMap((line) => line.points.map(([x]) => x));
  const ys = lines.flatMap((line) => [...line.points.map(([, y]) => y), ...(line.bars ?? []).flatMap(([, a, b]) => [a, b])]);
  const x = scaled(Math.min(...xs), Math.max(...xs), LEFT, W - RIGHT, false);
  const y = share ? scaled(0, 100, H - BOTTOM, TOP, false) : scaled(...reach(ys, log), H - BOTTOM, TOP, log);
  const picture = s("svg", { viewBox: `0 0 ${W} ${H}`, role: "img", "aria-label": title });
  for (const tick of share ? [0, 25, 50, 75, 100] : ticks(y.low, y.high, log)) {
    picture.append(
      s("line", { class: "rule", x1: LEFT, x2: W - RIGHT, y1: y(tick), y2: y(tick) }),
      s("text", { class: "tick", x: LEFT - 5, y: y(tick) + 4, "text-anchor": "end" }, label(tick)),
    );
  }
  for (const tick of ticks(x.low, x.high, false).filter(Number.isInteger)) {
    picture.append(s("text", { class: "tick", x: x(tick), y: H - 8, "text-anchor": "middle" }, String(tick)));
  }
  for (const line of lines) picture.append(...curve(line, x, y));
  const told = h("p", { class: "told soft" }, "\u00a0");
  picture.addEventListener("mousemove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = x.low + (((event.clientX - box.left) * W) / box.width - LEFT) * ((x.high - x.low) / (W - LEFT - RIGHT));
    told.textContent = tell(lines, at);
  });
  return h(
    "figure",
    null,
    h("figcaption", null, title, note ? h("small", null, note) : null),
    lines.length > 1 ? legend(lines) : null,
    picture,
    told,
  );
}

function curve({ run, dash, points, bars, dots }, x, y) {
  const parts = (bars ?? []).map(([at, low, high]) =>
    s("line", { class: `bar-line c${run % 6}`, x1: x(at), x2: x(at), y1: y(low), y2: y(high) }),
  );
  if (points.length > 1) {
    const path = points.map(([a, b]) => `${x(a).toFixed(1)},${y(b).toFixed(1)}`).join(" ");
    parts.push(s("polyline", { class: `curve c${run % 6} d${dash % 4}`, points: path }));
  }
  if (dots || points.length === 1) {
    parts.push(...points.map(([a, b]) => s("circle", { class: `dot c${run % 6}`, cx: x(a), cy: y(b), r: 3.2 })));
  }
  return parts;
}

function legend(lines) {
  const items = lines.map(({ label, run, dash, dots }) =>
    h(
      "span",
      null,
      s(
        "svg",
        { viewBox: "0 0 22 8", class: "key", "aria-hidden": "true" },
        s("line", { class: `curve c${run % 6} d${dash % 4}`, x1: 1, x2: 21, y1: 4, y2: 4 }),
        dots ? s("circle", { class: `dot c${run % 6}`, cx: 11, cy: 4, r: 3 }) : null,
      ),
      label,
    ),
  );
  return h("p", { class: "keys" }, ...items);
}

const label = (tick) => (tick !== 0 && Math.abs(tick) < 0.001 ? tick.toExponential(0) : short(tick));

/** The values nearest to an iteration, in words. */
function tell(lines, at) {
  const nearest = ({ points }) => points.reduce((a, b) => (Math.abs(b[0] - at) < Math.abs(a[0] - at) ? b : a));
  const step = nearest(lines[0])[0];
  return `iteration ${step}: ${lines.map((line) => `${line.label} ${short(nearest(line)[1])}`).join(" · ")}`;
}

function reach(values, log) {
  const low = Math.min(...values);
  const high = Math.max(...values);
  if (low === high) return log ? [low / 2, high * 2] : [low - (Math.abs(low) || 1) / 2, high + (Math.abs(high) || 1) / 2];
  return log ? [low, high] : [low - 0.05 * (high - low), high + 0.05 * (high - low)];
}

/** A function from values to pixels that knows its ends. */
function scaled(low, high, from, to, log) {
  const of = log ? Math.log : (v) => v;
  const span = of(high) - of(low) || 1;
  const middle = high === low;
  const f = (v) => (middle ? (from + to) / 2 : from + ((of(v) - of(low)) / span) * (to - from));
  return Object.assign(f, { low, high });
}

function ticks(low, high, log) {
  if (log) {
    const found = [];
    for (let e = Math.ceil(Math.log10(low)); 10 ** e <= high; e++) found.push(10 ** e);
    return found.length ? found : [low, high];
  }
  const rough = (high - low) / 5 || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * power).find((size) => size >= rough);
  const found = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step / 1e6; tick += step) found.push(Number(tick.toPrecision(12)));
  return found;
}
