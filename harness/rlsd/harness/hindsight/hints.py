"""From contexts to token ids: budgets, the control with another task's hindsight, and counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Literal

from rlsd.agents.chat import ChatFormat
from rlsd.agents.quoting import TITLES, quoted
from rlsd.agents.types import Action, EpisodeKey
from rlsd.envs.core import Hindsight, Task
from rlsd.harness.hindsight.contexts import Context, ContextError, Glimpse, Section, find_context
from rlsd.harness.hindsight.shortening import CUT, shortened
from rlsd.harness.rollout.trajectory import Group, StopReason, Trajectory, Turn
from rlsd.harness.scoring.sequences import Insertion


@dataclass(frozen=True, slots=True, kw_only=True)
class HintSettings:
    contexts: tuple[str, ...]
    max_tokens: int = 256
    """Largest number of hindsight tokens in one turn's view, both scopes together."""
    max_items: int | None = None
    """Largest number of items shown of each section; None: all."""
    source: Literal["own", "other_task"] = "own"
    """`other_task` is the control experiment: true facts about an episode of another task."""
    preface: str = ""
    """Text before the sections, from the response format."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hints:
    """What the teacher reads, by (trajectory, turn) of the flattened groups."""

    insertions: dict[tuple[int, int], Insertion] = field(default_factory=dict)
    texts: dict[tuple[int, int], str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    """Turns by outcome: given, missing (no such hindsight), shortened, too_long (the turn falls back to m = 1)."""


class Hinter:
    """Builds the hindsight of whole iterations.

    Args:
        settings: contexts, budget and source.
        chat: the policy's tokenizer and chat template.
        context: longest sequence the model takes, in tokens.

    Raises:
        ContextError: the budget cannot hold a single item of a context, or leaves no room for a prompt.
    """

    def __init__(self, settings: HintSettings, chat: ChatFormat, *, context: int, max_new_tokens: int) -> None:
        self.settings = settings
        self.chat = chat
        self.context = context
        self.contexts: tuple[Context, ...] = tuple(find_context(n) for n in settings.contexts if n != "none")
        if not self.contexts:
            return
        least = sum(self._tokens(Section(title=c.title or c.name, items=(CUT,))) for c in self.contexts)
        if settings.max_tokens < least:
            raise ContextError(
                f"hindsight.max_tokens is {settings.max_tokens}, but the titles alone take {least} tokens; "
                f"raise it, or use fewer contexts than {', '.join(settings.contexts)}"
            )
        room = context - max_new_tokens - settings.max_tokens
        if room < context // 4:
            raise ContextError(
                f"hindsight ({settings.max_tokens} tokens) and response ({max_new_tokens}) leave {max(room, 0)} of "
                f"{context} context tokens for the episode; lower hindsight.max_tokens or agent.max_new_tokens"
            )

    def build(self, groups: Sequence[Group], *, skip: Set[int] = frozenset()) -> Hints:
        """Hindsight for every turn that has some; trajectories are numbered through all groups in order.

        Args:
            skip: numbers of trajectories without hindsight.
        """
        counts = Counter(given=0, missing=0, shortened=0, too_long=0)
        insertions: dict[tuple[int, int], Insertion] = {}
        texts: dict[tuple[int, int], str] = {}
        number = 0
        for g, group in enumerate(groups):
            donors = self._donors(groups, g)
            for i, trajectory in enumerate(group.trajectories):
                donor = self._donor(trajectory, donors, i)
                for k in range(0 if number in skip else len(trajectory.turns)):
                    made = None if donor is None else self._turn(trajectory, k, donors or group, donor, counts)
                    if made is None:
                        counts["missing"] += donor is None
                        continue
                    insertions[number, k], texts[number, k] = made
                    counts["given"] += 1
                number += 1
        return Hints(insertions=insertions, texts=texts, counts=dict(counts))

    def at(self, start: Hindsight, before: Hindsight, *, used: int) -> Insertion | None:
        """Hindsight for the present state of an episode (diagnostics); contexts that read later turns give nothing.

        Args:
            start: knowledge of the episode's first state.
            before: knowledge of the present state.
            used: tokens of prompt and response.
        """
        blank = Turn(observation="", action=Action(text=""), reward=0.0, next_observation="", valid=True)
        turns = (replace(blank, hindsight_before=start), replace(blank, hindsight_before=before))
        task = Task(env_id="", task_id="", split="", task_type="")
        trajectory = Trajectory(
            key=EpisodeKey("at", 0, 0, 0),
            task=task,
            goal="",
            turns=turns,
            stop=StopReason.MAX_TURNS,
            success=False,
            score=0.0,
            episode_return=0.0,
        )
        group = Group(task=task, trajectories=(trajectory,))
        made = self._turn(trajectory, 1, group, trajectory, Counter(), used=used)
        return None if made is None else made[0]

    def _donors(self, groups: Sequence[Group], g: int) -> Group | None:
        """The next group of another task, in the control experiment; else None."""
        if self.settings.source == "own":
            return None
        for step in range(1, len(groups)):
            other = groups[(g + step) % len(groups)]
            if other.task.task_id != groups[g].task.task_id and any(t.turns for t in other.trajectories):
                return other
        return Group(task=groups[g].task, trajectories=())

    def _donor(self, trajectory: Trajectory, donors: Group | None, i: int) -> Trajectory | None:
        if donors is None:
            return trajectory if trajectory.turns else None
        usable = [t for t in donors.trajectories if t.turns]
        return usable[i % len(usable)] if usable else None

    def _turn(
        self,
        trajectory: Trajectory,
        turn: int,
        group: Group,
        donor: Trajectory,
        counts: Counter[str],
        *,
        used: int | None = None,
    ) -> tuple[Insertion, str] | None:
        glimpse = Glimpse(trajectory, turn, group, donor)
        built = [(c, c.build(glimpse)) for c in self.contexts]
        sections = [(c, self._limited(s)) for c, s in built if s is not None and s.items]
        if not sections:
            counts["missing"] += 1
            return None
        if used is None:
            action = trajectory.turns[turn].action
            used = (len(action.prompt.ids) if action.prompt else 0) + len(action.token_ids)
        budget = min(self.settings.max_tokens, self.context - used)
        fitted = self._fit(sections, budget, counts)
        if fitted is None:
            counts["too_long"] += 1
            return None
        by_scope = {scope: self._text([s for c, s in fitted if c.scope == scope]) for scope in ("episode", "turn")}
        encoded = {scope: self.chat.hindsight(text) if text else () for scope, text in by_scope.items()}
        insertion = Insertion(episode=encoded["episode"], turn=encoded["turn"])
        return insertion, by_scope["episode"] + by_scope["turn"]

    def _limited(self, section: Section) -> Section:
        most = self.settings.max_items
        if most is None or len(section.items) <= most:
            return section
        return Section(title=section.title, items=section.items[:most])

    def _fit(
        self, sections: list[tuple[Context, Section]], budget: int, counts: Counter[str]
    ) -> list[tuple[Context, Section]] | None:
        """Drop whole items from the end of the longest section until all fit the budget; None if they never do."""
        whole = [section for _, section in sections]
        fitted = shortened(whole, budget, self._tokens)
        if fitted is None:
            return None
        counts["shortened"] += fitted != whole
        return [(context, section) for (context, _), section in zip(sections, fitted)]

    def _tokens(self, section: Section) -> int:
        """Number of tokens of a single section."""
        return len(self.chat.hindsight(self._text([section])))

    def _text(self, sections: Sequence[Section]) -> str:
        if not sections:
            return ""
        titles = (*TITLES, *(s.title for s in sections if s.title not in TITLES))
        preface = self.settings.preface

        def shown(section: Section) -> str:
            return "\n".join(quoted(item.strip(), preface=preface, titles=titles) for item in section.items)

        return preface + "".join(f"\n{s.title}:\n{shown(s)}" for s in sections)


def own_prompts(trajectories: Sequence[Trajectory], *, skip: Set[int] = frozenset()) -> Hints:
    """Every turn's own prompt, for a teacher that reads nothing more.

    Args:
        skip: numbers of trajectories that it does not read.
    """
    places = [(n, k) for n, t in enumerate(trajectories) if n not in skip for k in range(len(t.turns))]
    counts = {"given": len(places), "missing": 0, "shortened": 0, "too_long": 0}
    return Hints(insertions={p: Insertion() for p in places}, texts=dict.fromkeys(places, ""), counts=counts)


def echo_share(trajectories: Sequence[Trajectory], texts: dict[tuple[int, int], str]) -> float:
    """Share of action tokens whose action appears verbatim in the turn's hindsight; 0 without hindsight."""
    named = total = 0
    for (n, k), text in texts.items():
        action = trajectories[n].turns[k].action
        size = action.action_span[1] - action.action_span[0]
        total += size
        named += size * (bool(action.text) and action.text in text)
    return named / total if total else 0.0
