"""Generates solvable ALFWorld games from a seed and a config; the planner verifies every one."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import Any

from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.world import World
from rlsd.envs.alfworld.experts.oracle import plan
from rlsd.envs.alfworld.generate.config import CONTENT_PARTS, TASK_TYPES, WorldConfig
from rlsd.envs.alfworld.generate.difficulty import difficulty
from rlsd.envs.alfworld.generate.layout import Layout, location_id, object_id, receptacle_id, write_problem
from rlsd.envs.alfworld.generate.placement import draw_layout
from rlsd.envs.errors import EnvError

__all__ = ["GENERATOR_VERSION", "SENTENCES", "TASK_TYPES", "GeneratedGame", "WorldConfig", "generate"]

GENERATOR_VERSION = 1
"""Incremented when the same seed and config would give another game."""
_ATTEMPTS = 4000
"""One in eight games is in a content class; nearly all of those fit a reasonable horizon."""

SENTENCES = {
    "pick_and_place_simple": ("put some {o} on {r}.", "put a {o} in {r}."),
    "look_at_obj_in_light": ("look at {o} under the {r}.", "examine the {o} with the {r}."),
    "pick_clean_then_place_in_recep": ("put a clean {o} in {r}.", "clean some {o} and put it in {r}."),
    "pick_heat_then_place_in_recep": ("put a hot {o} in {r}.", "heat some {o} and put it in {r}."),
    "pick_cool_then_place_in_recep": ("put a cool {o} in {r}.", "cool some {o} and put it in {r}."),
    "pick_two_obj_and_place": ("put two {o} in {r}.", "find two {o} and put them in {r}."),
}
"""The two wordings of each task type in the published games, about equally frequent there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedGame:
    """A verified game and its origin; equal seeds, configs and versions give equal games."""

    seed: int
    config: WorldConfig
    task_type: str
    task: str
    """The task sentence, with its full stop."""
    problem: str
    """PDDL problem of the ALFRED domain, in the published format."""
    walkthrough: tuple[str, ...]
    """A shortest plan."""
    content: int
    """`Layout.content_hash()`: 64 bits over layout and goal."""

    def game(self) -> Game:
        """The compiled game."""
        return Game.parse(
            self.problem,
            task=self.task,
            walkthrough=self.walkthrough,
            task_type=self.task_type,
            source=f"generated game {self.seed}",
        )

    def to_json(self) -> dict[str, Any]:
        """The content of a generated game's file; `rlsd.envs.alfworld.engine.game.load_game` reads it."""
        return {
            "pddl_problem": self.problem,
            "task": self.task,
            "task_type": self.task_type,
            "solvable": True,
            "walkthrough": list(self.walkthrough),
            "seed": self.seed,
            "config": self.config.to_json(),
        }


def generate(seed: int, config: WorldConfig) -> GeneratedGame:
    """The game of this seed: solvable within `config.horizon` commands and not won at the start.

    Raises:
        EnvError: a negative seed, or a config that no game satisfies.
    """
    if seed < 0:
        raise EnvError(f"a seed must be at least 0, got {seed}")
    knobs = json.dumps(config.to_json(), sort_keys=True)
    rng = random.Random(f"{GENERATOR_VERSION}/{seed}/{knobs}")
    task_type = config.task_type(seed)
    for _ in range(_ATTEMPTS):
        layout = draw_layout(rng, task_type, config)
        content = layout.content_hash()
        if not config.parts[0] <= content % CONTENT_PARTS < config.parts[1]:
            continue
        problem, task = _write(rng, layout, seed)
        game = Game.parse(problem, task=task, task_type=task_type, source=f"generated game {seed}")
        walkthrough = plan(World(game))
        if not walkthrough or len(walkthrough) > config.horizon:
            continue
        if config.difficulty[0] <= difficulty(game, len(walkthrough)) < config.difficulty[1]:
            return GeneratedGame(
                seed=seed,
                config=config,
                task_type=task_type,
                task=task,
                problem=problem,
                walkthrough=walkthrough,
                content=content,
            )
    raise EnvError(
        f"no {task_type} game within horizon={config.horizon} and difficulty={config.difficulty} in {_ATTEMPTS} "
        "attempts; raise horizon or widen the other settings"
    )


def _write(rng: random.Random, layout: Layout, seed: int) -> tuple[str, str]:
    """The problem with random coordinates (hence random numbering), and the task sentence."""
    points = [
        (v // 620 % 620 - 310, v % 620 * 2 % 220, v // 384400 - 310)
        for v in rng.sample(range(620**3), len(layout.receptacles) + len(layout.objects))
    ]
    rs = [receptacle_id(kind, points.pop()) for kind in layout.receptacles]
    os = [object_id(kind, points.pop()) for kind in layout.objects]
    cells = rng.sample(range(40 * 40), max(layout.spots) + 2)
    locations = [location_id(v % 40 - 20, v // 40 - 20, v % 4, (45, 60, 30)[v % 3]) for v in cells]
    problem = write_problem(layout, name=f"plan_gen_{seed}", receptacle_ids=rs, object_ids=os, locations=locations)
    wording = rng.choice(SENTENCES[layout.task_type])
    return problem, wording.format(o=layout.thing.lower(), r=layout.target.lower())
