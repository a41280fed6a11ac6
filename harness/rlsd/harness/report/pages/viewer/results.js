// Results: tables, curves, failures and settings of all runs of the page.

function drawResults() {
  const { runs } = START;
  $("results").replaceChildren(
    h("h2", null, runs.length > 1 ? "Runs" : runs[0].name),
    h("div", { class: "tiles" }, ...runs.map(tile)),
    ...failureParts(runs),
    h("h2", null, "Curves"),
    h("div", { class: "charts" }, ...figures(runs)),
    ...typeTables(runs),
    h("h2", null, "How it was made"),
    ...runs.map(settings),
  );
}

function tile(run, r) {
  const best = run.best === null ? null : run.evals[run.best];
  const first = run.evals[0];
  const interval = (e) => `[${percent(e.low)}, ${percent(e.high)}]`;
  const last = run.last;
  const steps = run.kind === "run" ? `${run.done} of ${run.iterations} iterations, ` : "";
  return h(
    "section",
    { class: "tile" },
    h("h3", { class: `c${r % 6}` }, run.name),
    h("p", { class: "soft" }, `${run.method} on ${run.env}${run.model ? `, model ${run.model}` : ""}; ${steps}${minutes(run.seconds)}`),
    best &&
      h(
        "p",
        null,
        h("b", { class: "large" }, percent(best.success)),
        ` ${run.kind === "run" ? `validation success, iteration ${best.step}` : "success"} `,
        h("span", { class: "soft" }, `${interval(best)}, ${count(best.episodes, "task")}, panel ${best.panel.split} ${best.panel.digest}`),
      ),
    best && first !== best && h("p", { class: "soft" }, `at the start ${percent(first.success)} ${interval(first)}`),
    last &&
      h(
        "p",
        { class: "soft" },
        `last iteration: ${percent(last.success)} of the training episodes won` +
          `${Number.isFinite(last.turns) ? `, ${last.turns.toFixed(1)} turns` : ""}` +
          `${last.decoded_tokens ? `, ${count(last.decoded_tokens, "token")} decoded, ${last.wasted_tokens ?? 0} of them wasted` : ""}`,
      ),
    run.usage && h("p", { class: "soft" }, `${count(run.usage.input, "token")} in, ${run.usage.cached} of them cached; ${run.usage.output} out, ${run.usage.reasoning} of them reasoning`),
    run.kind === "run" && best && h("p", { class: "soft" }, "The best weights were chosen on this panel, so its number flatters them: report rlsd eval on another split."),
  );
}

function failureParts(runs) {
  const failed = runs.filter((run) => run.failed);
  if (!failed.length) return [];
  const words = (run) =>
    run.kind === "run"
      ? `${count(run.failed, "training episode")} failed in the environment and ${run.failed === 1 ? "was" : "were"} left out: `
      : `${count(run.failed, "episode")} failed and ${run.failed === 1 ? "counts" : "count"} as lost: `;
  const lines = failed.map((run) => {
    const links = run.failures.map(([reason, n]) =>
      h("button", { type: "button", class: "link", onclick: () => searchFor(`failure:${reason}`) }, `${reason} ${n}`),
    );
    const name = runs.length > 1 ? `${run.name}: ` : "";
    return h("p", { class: "lost" }, name, words(run), ...links.flatMap((link, i) => (i ? [", ", link] : [link])));
  });
  return [h("h2", null, "Failures"), ...lines];
}

function figures(runs) {
  const several = runs.length > 1;
  const lines = runs.flatMap((run, r) => {
    const rates = run.curves.values.own_success ?? [];
    const train = rates.map((v, i) => [run.curves.step[i], v === null ? null : 100 * v]);
    const evals = run.evals.map((e) => [e.step, 100 * e.success]);
    const name = several ? `${run.name}, ` : "";
    return [
      { label: `${name}training`, run: r, dash: 1, points: train },
      {
        label: `${name}${run.kind === "run" ? "validation" : "evaluation"}, 95 %`,
        run: several ? r : 1,
        dash: 0,
        dots: true,
        points: evals,
        bars: run.evals.map((e) => [e.step, 100 * e.low, 100 * e.high]),
      },
    ];
  });
  const found = [chart({ title: "Success, %", note: "", log: false, share: true }, lines)];
  for (const of of START.charts) {
    const curves = runs.flatMap((run, r) =>
      Object.entries(of.lines).map(([label, path], i) => ({
        label: several ? `${run.name}, ${label}` : label,
        run: several ? r : i,
        dash: several ? i : 0,
        points: (run.curves.values[path] ?? []).map((v, j) => [run.curves.step[j], v === null ? null : of.scale * v]),
      })),
    );
    found.push(chart(of, curves));
  }
  return found.filter(Boolean);
}

function typeTables(runs) {
  const shown = runs.filter((run) => run.best !== null && run.evals[run.best].by_type.length);
  if (!shown.length) return [];
  const types = [...new Set(shown.flatMap((run) => run.evals[run.best].by_type.map(([type]) => type)))];
  const cell = (run, type) => {
    const found = run.evals[run.best].by_type.find(([name]) => name === type);
    if (!found) return h("td", null, "–");
    const [, rate, low, high, n] = found;
    return h("td", null, `${percent(rate)} `, h("span", { class: "soft" }, `[${percent(low)}, ${percent(high)}] of ${n}`));
  };
  return [
    h("h2", null, "Evaluation by task type"),
    h(
      "div",
      { class: "wide" },
      h(
        "table",
        null,
        h("thead", null, h("tr", null, h("th", { scope: "col" }, "type"), ...shown.map((run) => h("th", { scope: "col" }, `${run.name}, iteration ${run.evals[run.best].step}`)))),
        h("tbody", null, ...types.map((type) => h("tr", null, h("th", { scope: "row" }, type), ...shown.map((run) => cell(run, type))))),
      ),
    ),
  ];
}

function settings(run) {
  return h(
    "details",
    null,
    h("summary", null, `${run.name}: settings that differ from the defaults, versions`),
    h("pre", null, run.settings),
    h("p", { class: "soft" }, run.versions.map((pair) => pair.join(" ")).join(" · ")),
  );
}
