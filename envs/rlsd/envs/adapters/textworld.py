"""TextWorld: text adventures that its generator makes by seed, in the words of its own engine.

    rlsd check-env rlsd/TextWorld-v0 --arg challenge=simple

The teacher knows TextWorld's facts and, in every state, the commands that win from there.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rlsd.envs.adapters.adapted import AdaptedEnv, State, numbered, one_of, whole
from rlsd.envs.adapters.textworld_facts import changes, places
from rlsd.envs.adapters.textworld_games import (
    CHALLENGES,
    SPLITS,
    default_folder,
    family,
    fingerprint,
    game_file,
    import_textworld,
    without_warnings,
)
from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import EnvError, closest

ENV_ID = "rlsd/TextWorld-v0"
_WORDS = re.compile(r"[a-z0-9][a-z0-9 ,'/-]{0,119}")
_NOT_PLAYED = {
    "again", "g", "restart", "restore", "save", "quit", "q", "undo", "oops", "script", "transcript", "verify",
    "version", "superbrief", "brief", "verbose", "notify", "pronouns", "nouns", "score", "full", "fullscore",
}  # fmt: skip
"""Words of the interpreter, not of the game: they would change the episode behind the engine's back."""
_STATUS = re.compile(r"^>(\s+-=.*=-.*)?$", re.MULTILINE)
"""The interpreter's prompt, with its status line."""
_NOT_UNDERSTOOD = "That is not a command of this game."


class TextWorldEnv(AdaptedEnv):
    """Commands are TextWorld's: `go east`, `open fridge`, `take apple from counter`. Reward: the points of an action,
    as a share of all points, so a won game returns 1.

    Args:
        challenge: "coin" (find the coin), "treasure" (find a thing), "simple" (a key, a door, an apple) or "cooking"
            (follow the cookbook).
        split: train, valid or test; they share no game.
        level: of coin (1 to 300), treasure (1 to 30) and cooking (1 to 4); None: 5, 5, 1.
        goal: "brief" says what to reach, "detailed" every step to it (not in cooking).
        settings: more of a challenge's own settings: rewards of simple; recipe, take, go, open, cook, cut, drop of
            cooking.
        tasks: how many games of the split, the first ones; None: all. Each is generated when it is first played.
        max_steps: the episode is truncated after so many steps; None: what suits the challenge.
        cache: folder of compiled games; None: in the user's cache.

    Raises:
        EnvError: an unknown argument or value; textworld is missing or too old.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/TextWorld-v0", challenge="simple", split="test")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("open chest drawer")
    """

    response_format = "think"
    accepts_formats = ("think", "compact")
    reset_timeout_s = 3600.0
    """A game is made when it is first opened, and waits until those asked for before it are made."""

    def __init__(
        self,
        *,
        challenge: str = "simple",
        split: str = "train",
        level: int | None = None,
        goal: str = "brief",
        settings: dict[str, Any] | None = None,
        tasks: int | None = None,
        max_steps: int | None = None,
        cache: str | Path | None = None,
        render_mode: None = None,
    ) -> None:
        self._family = family(challenge, level, goal, settings)
        one_of("split", split, tuple(SPLITS))
        size = SPLITS[split].size if tasks is None else min(SPLITS[split].size, whole("tasks", tasks, 1))
        self._textworld = import_textworld()
        self._folder = default_folder() if cache is None else Path(cache)
        name = self._family.name
        super().__init__(
            tasks=numbered(ENV_ID, name, split, kind=challenge, count=size),
            max_steps=CHALLENGES[challenge].max_steps if max_steps is None else max_steps,
        )
        self._game: Any = None

    def content(self, task_id: str) -> str:
        """The id, and what makes its game of it; the game itself would have to be generated first."""
        return f"{self.task_of(task_id).task_id} {fingerprint(self._family)}"

    def begin(self, task: Task) -> State:
        self.close()
        path = game_file(self._family, task.split, task.seed, self._folder)
        wanted = ("admissible_commands", "policy_commands", "won", "lost", "score", "max_score", "objective")
        infos = self._textworld.EnvInfos(**dict.fromkeys(wanted, True), facts=True)
        with without_warnings():
            self._game = self._textworld.start(str(path), infos)
            self._now = self._game.reset()
        self._objective = " ".join(self._now["objective"].split())
        self._before: float | None = None
        self._changed: tuple[str, ...] = ()
        told = self._now["feedback"]
        at = told.find(self._now["objective"])
        return self._seen(told[at + len(self._now["objective"]) :] if at >= 0 else told)

    def act(self, action: str) -> State:
        command = " ".join(action.lower().split()).rstrip(".!") if isinstance(action, str) else ""
        self._before, known = self._distance(), self._now
        if not _WORDS.fullmatch(command) or not _NOT_PLAYED.isdisjoint(re.split(r"[ ,]", command)):
            self._changed = ()
            return self._seen(_NOT_UNDERSTOOD, valid=False)
        self._now, _, _ = self._game.step(command)
        self._changed = changes(known["facts"], self._now["facts"])
        points = (self._now["score"] - known["score"]) / (self._now["max_score"] or 1)
        valid = command in known["admissible_commands"] or bool(self._changed)
        return self._seen(self._now["feedback"], reward=points, valid=valid)

    def goal(self) -> str:
        return self._objective

    def hindsight(self) -> Hindsight:
        plan = self._plan()
        return Hindsight(
            plan=plan,
            whereabouts=places(self._now["facts"], plan),
            distance=self._distance(),
            distance_before=self._before,
            changed=self._changed,
        )

    def expert(self, kind: str) -> str | None:
        """ "oracle" follows TextWorld's own plan; there is no "explorer".

        Raises:
            EnvError: another kind.
        """
        if kind == "explorer":
            return None
        if kind != "oracle":
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        return (*self._plan(), "look")[0]

    def close(self) -> None:
        super().close()
        game, self._game = getattr(self, "_game", None), None
        if game is not None:
            game.close()

    def _plan(self) -> tuple[str, ...]:
        return tuple(self._now["policy_commands"] or ())

    def _distance(self) -> float:
        """Commands of the plan; infinite where TextWorld knows none."""
        if self._now["won"]:
            return 0.0
        return float(len(self._plan())) or float("inf")

    def _seen(self, text: str, *, reward: float = 0.0, valid: bool = True) -> State:
        now = self._now
        return State(
            observation=tidy(text),
            reward=reward,
            ended=bool(now["won"] or now["lost"]),
            success=bool(now["won"]),
            score=min(1.0, max(0.0, now["score"] / (now["max_score"] or 1))),
            valid=valid,
            commands=now["admissible_commands"],
        )


def tidy(text: str) -> str:
    """Without blank lines, prompts, and what the interpreter asks after the end."""
    text = _STATUS.sub("", text.partition("*** The End ***")[0])
    return "\n".join(line.strip() for line in text.splitlines() if line.strip())
