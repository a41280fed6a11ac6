"""One page for each method, made from the code: docs/methods/NAME.md of the site. Nothing of it is committed.

Equations are the lines at the head of the modules in algorithms/rlsd/algorithms/, found by the names that a method's
config has; settings are what `rlsd methods NAME` prints; what to expect follows from the config.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from rlsd.algorithms import (
    METHODS,
    AlgorithmConfig,
    CreditConfig,
    Method,
    needs_divergence,
    needs_reference,
    needs_teacher,
)
from rlsd.algorithms.divergence import DIVERGENCES
from rlsd.algorithms.signals import SIGNALS
from rlsd.harness.cli.listing import method_text
from rlsd.harness.hindsight.contexts import CONTEXTS

ROOT = Path(__file__).resolve().parents[1]
GROUPS = ("Imitation", "Outcome alone", "Hindsight as credit", "Distillation", "Larger teacher", "Ours, and controls")
OWN_MODULE = {
    **{"gigpo": "gigpo", "hgpo": "gigpo", "g2po": "state_graph", "gagpo": "state_graph", "graph_hca": "state_graph"},
    **{"beacon": "milestones", "proxmo": "proxmo"},
}
SIGNAL_MODULE = {
    **{"belief": "agent_opsd", "token_belief": "agent_opsd", "margin": "calibrated", "calibrated": "calibrated"},
    "spikes": "spikes",
}
NEEDS = {
    "plan": "a `plan` in the environment's `Hindsight`",
    "answer": "an `answer` in the environment's `Hindsight`",
    "demonstration": "a `demonstration` in the environment's `Hindsight`",
    "feedback": "`feedback` in the environment's `Hindsight`, or its distance to the goal",
    "successful_sibling": "a win in the same group: groups that lost throughout get no hindsight",
    "failed_sibling": "a loss in the same group",
    "wrong_answer": "a loss in the same group",
}


def group_of(method: Method) -> str:
    """The section of the navigation that a method stands in."""
    config = method.config
    if config.imitates:
        return "Imitation"
    if method.source == "-":
        return "Ours, and controls"
    if config.teacher.weights == "external":
        return "Larger teacher"
    if config.loss.distill.kind != "none":
        return "Distillation"
    return "Outcome alone" if config.credit.rule == "none" else "Hindsight as credit"


def grouped() -> dict[str, list[str]]:
    """Names of the methods, by section, in the order of `rlsd methods`."""
    return {title: [n for n, m in METHODS.items() if group_of(m) == title] for title in GROUPS}


def method_page(name: str) -> str:
    """The page of one method, as Markdown."""
    method = METHODS[name]
    parts = [f"# {name}\n\n{sentence(method.summary)}\n"]
    parts += [
        f"\nSource: {linked(method.source) if method.source != '-' else 'rlsd itself'}. Covered by `{method.test}`.\n"
    ]
    parts += ["\n## Formula\n\n", formulas(method.config)]
    parts += ["\n## Settings\n\nWhat is not printed has its default ([every key](../configs.md#every-key)).\n\n"]
    parts += [f"```console\n$ rlsd methods {name}\n{method_text(name)}\n```\n"]
    if method.differs not in ("", "ours"):
        parts += [
            "\n## What differs from the source\n\n",
            *(f"* {escaped(piece)}\n" for piece in pieces(method.differs)),
        ]
    parts += ["\n## What to expect\n\n", *(f"* {line}\n" for line in expected(name, method.config))]
    parts += ["\n## Use it\n\n", usage(name, method.config)]
    return "".join(parts)


def formulas(config: AlgorithmConfig) -> str:
    """The equations of a method's parts, each from the head of its module."""
    found = [("Base advantage A", "advantage", equations("advantage", config.advantage.method))]
    if own := OWN_MODULE.get(config.advantage.method):
        found.append(("Its step part", own, body(own)))
    credit = config.credit
    if credit.rule != "none":
        lines = [*equations("credit", credit.combine)]
        if credit.combine == "arbitrate":
            lines += body("uni_opsd")
        found.append(("Credit Â from A and hindsight", "credit", lines))
        found.append(("Evidence", "signals", equations("signals", credit.signal)))
        if module := SIGNAL_MODULE.get(credit.signal):
            found.append(("The evidence in full", module, body(module)))
        title = "Weight" if credit.signal == "gap" else "Weight, with this evidence in the place of Δ"
        shape = equations("rlsd", "x" if is_general(credit) else "c(x)")
        found.append((title, "rlsd", [*shape, *equations("rlsd", credit.level)]))
        if is_general(credit):
            found.append(("Its squash; c is the clipped w", "blocks", equations("blocks", credit.squash)))
        found += [(f"Gate `{gate}`", "gates", equations("gates", gate)) for gate in credit.gates]
    loss = config.loss
    if loss.policy_coef > 0:
        found.append(("Policy loss", "loss", equations("loss", loss.policy)))
    if loss.anchor < 1.0:
        found.append(("Its ratio", "loss", ["ρ = π_new / (π_old^α π_T^(1−α))"]))
    if loss.distill.kind != "none":
        module = "divergence" if loss.distill.kind in DIVERGENCES else "distill"
        found.append(("Distillation", module, equations(module, loss.distill.kind)))
        for setting in ("floor", "ceiling", "contrast", "damping", "top_k"):
            if getattr(loss.distill, setting):
                found.append((f"Its target: `{setting}`", "targets", equations("targets", setting)))
        for setting in ("route", "span", "token_weight", "sample_weight"):
            value = getattr(loss.distill, setting)
            if value not in ("all", "none"):
                key = value if setting.endswith("weight") else setting
                found.append((f"Its share: `{setting}: {value}`", "token_shares", equations("token_shares", key)))
    found.append(("Mean over tokens", "token_weights", equations("token_weights", loss.aggregation)))
    blocks = [
        f"{title} (`rlsd.algorithms.{module}`)\n\n```text\n{dedented(lines)}\n```\n" for title, module, lines in found
    ]
    return "\n".join(blocks)


def is_general(credit: CreditConfig) -> bool:
    """Whether a weight is more than RLSD's c(x): another squash, sign, slope, shift or scale."""
    changed = {"squash", "direction", "slope", "shift", "scale", "rescale"}
    return bool(changed & set(credit.model_dump(exclude_defaults=True)))


def equations(module: str, name: str) -> list[str]:
    """The row called `name` in the table at a module's head, with its continuation lines."""
    rows, taking, start = [], False, 0
    for line in head(module):
        indent = len(line) - len(line.lstrip())
        if not line.strip() or indent == 0:
            taking = False
        elif taking and indent > start:
            rows.append(" " * (start + 4) + re.sub(r" {3,}", "   ", line.strip()))
        else:
            names = re.match(r"(?:[^\s,]+, )*[^\s,]+", line.strip())
            taking, start = names is not None and name in names[0].split(", "), indent
            rows += [re.sub(r"(?<=\S) {3,}", "   ", line)] if taking else []
    assert rows, f"no row {name!r} at the head of rlsd.algorithms.{module}"
    return rows


def body(module: str) -> list[str]:
    """A module's head between its first line and "What differs"."""
    lines = head(module)[1:]
    stop = next((i for i, line in enumerate(lines) if line.startswith("What differs")), len(lines))
    return lines[:stop]


def head(module: str) -> list[str]:
    text = importlib.import_module(f"rlsd.algorithms.{module}").__doc__
    assert text
    return text.splitlines()


def dedented(lines: list[str]) -> str:
    indent = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return "\n".join(line[indent:].rstrip() for line in lines).strip("\n")


def expected(name: str, config: AlgorithmConfig) -> list[str]:
    """What a method needs, what it costs, and where it learns nothing; then what was measured."""
    lines = []
    first = next((step for step in range(200) if needs_teacher(config, step)), None)
    if config.imitates:
        lines.append("It plays an expert instead of sampling: no rollout, no reward, no advantage.")
    elif first is None:
        lines.append("No teacher pass: an iteration costs rollout, one scoring pass and the update.")
    elif config.teacher.weights == "live":
        lines.append(
            "A teacher pass with the learner's own weights; it shares the student's prefix "
            "([what it costs](../learner.md#what-hindsight-costs))."
        )
    elif config.teacher.weights == "external":
        lines.append(
            "A teacher pass with another model, kept in memory beside the learner: its tokenizer must be the same and "
            "its context no shorter."
        )
    else:
        lines.append(
            f"A teacher pass with a copy of the weights (`teacher.weights: {config.teacher.weights}`): one more copy "
            "in memory, and trajectories are read as separate rows."
        )
    last = config.credit.lam
    if first is not None and config.credit.rule != "none" and last.end == 0 and last.decay_iterations:
        over = last.warmup_iterations + last.hold_iterations + last.decay_iterations
        lines.append(f"λ falls to 0 in {over} iterations; from then on there is no teacher pass.")
    if needs_divergence(config, 0):
        lines.append(
            "A term over the whole vocabulary: sampling servers cannot score its teacher (`sampler.score_teacher`)."
        )
    if needs_reference(config):
        lines.append("One more pass, with the weights of the start, for the KL to them.")
    for context in (*config.contexts, *config.against):
        if context in NEEDS:
            lines.append(f"Context `{context}` ({CONTEXTS[context].reads}) needs {NEEDS[context]}.")
    if config.credit.rule != "none" and SIGNALS[config.credit.signal].facts:
        lines.append("The environment must know the distance to the goal (`Hindsight.distance`).")
    if config.advantage.method == "beacon":
        lines.append("The environment must list goal facts (`Hindsight.missing`); one that lists none is refused.")
    if config.advantage.method in ("gigpo", "hgpo", "g2po", "gagpo", "graph_hca"):
        lines.append(
            "It reads which observations of a group are one state ([how](../algorithms.md#base-advantages)): where "
            "none recurs, states tell little."
        )
    if config.needs_siblings:
        lines.append(
            "Groups whose episodes all end alike teach nothing "
            "([what to do](../algorithms.md#groups-without-contrast)), "
            "and `rollout.group_size: 1` is refused."
        )
    elif not config.imitates and config.advantage.method in ("none", "zero"):
        lines.append("The outcome does not decide: it learns from lost groups too.")
    lines += measured(name)
    if not measured(name) and not config.imitates:
        lines.append(
            "The tables of [results](../algorithms.md#results) have no run with it. Compare it on your task: "
            "[a study](../studies.md), or its gradient alone: [the exam](../exam.md)."
        )
    return lines


def measured(name: str) -> list[str]:
    """What docs/algorithms.md, Results, says of a method: its row of every table, and paragraphs without one."""
    text = (ROOT / "docs" / "algorithms.md").read_text().partition("\n## Results\n")[2]
    return [line for part in re.split(r"\n\*\*(?=[A-Z])", text)[1:] if (line := measured_in(part, name))]


def measured_in(part: str, name: str) -> str | None:
    """A method in one part of the results, which begins with its title and `**`."""
    title, _, rest = part.partition("**")
    rows = [cells(line) for line in part.splitlines() if line.startswith("|")]
    for values in rows:
        if values[0].lower().replace(" ", "_") == name:
            row = "; ".join(f"{head}: {value}" for head, value in zip(rows[0][1:], values[1:]))
            return f"Measured on {title[0].lower()}{title[1:]} ([results](../algorithms.md#results)): {row}."
    paragraph = " ".join(rest.split("\n\n")[0].split())
    if rows or name not in re.findall(r"\w+", paragraph.lower()):
        return None
    return f"Measured: *{title}* {paragraph}".replace("](../", "](../../")


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")] if line.startswith("|") else []


def usage(name: str, config: AlgorithmConfig) -> str:
    """Commands that train with a method."""
    if config.imitates:
        return (
            "```bash\nrlsd train configs/alfworld/warm_tiny.yaml --run runs/warm\n```\n\n"
            "[Warm starts](../extending.md#warm-start) for an environment of your own.\n"
        )
    more = " --set algorithm.teacher.path=models/larger" if config.teacher.weights == "external" else ""
    more += " --set rollout.refill=mixed" if name == "dapo" else ""
    switch = f"--set algorithm.name={name}{more}" if "algorithm." in more else f"--set algorithm={name}{more}"
    return (
        f"```bash\nrlsd train configs/quickstart.yaml --run runs/{name} {switch}\n```\n\n"
        f"In a config of your own: `algorithm: {name}`, or a mapping with `name: {name}` and what should differ.\n"
    )


def linked(source: str) -> str:
    return re.sub(r"arXiv (\d{4}\.\d{5})", r"[arXiv \1](https://arxiv.org/abs/\1)", source)


def pieces(text: str) -> list[str]:
    return [piece.strip() for piece in re.split(r";\s", text)]


def sentence(text: str) -> str:
    return escaped(text[0].upper() + text[1:] + ("" if text.endswith(".") else "."))


def escaped(text: str) -> str:
    """`|` and `<` as text outside of code spans."""
    parts = text.split("`")
    return "`".join(part if i % 2 else part.replace("<", "&lt;") for i, part in enumerate(parts))
