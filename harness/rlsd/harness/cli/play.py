"""`rlsd play`: an environment in the terminal, with completion of commands, hints, and undo."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from itertools import groupby
from typing import Annotated, Any

import typer
from rich.console import Console

from rlsd.agents.memory import shows
from rlsd.envs.core import Hindsight, Rewindable, TextEnv
from rlsd.envs.registry import make
from rlsd.harness.cli.options import ArgOption, env_arguments
from rlsd.harness.cli.readline import Prompt
from rlsd.harness.cli.tables import out

OWN = ("?", "hint", "undo", "quit")
"""Words for this program; an environment that lists one of them as a command of its own gets it."""


def play(
    spec: Annotated[str, typer.Argument(help="An id or module:Class.")],
    task: Annotated[str | None, typer.Option(help="Task id; default: a random one.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the task, and what is random in the environment.")] = 0,
    arg: ArgOption = None,
) -> None:
    """Play an environment yourself. TAB completes, `?` lists commands, `hint` shows the hindsight, `undo`, `quit`."""
    play_episode(make(spec, **env_arguments(arg)), task=task, seed=seed, console=out)


class Session:
    """One episode that can be taken back, step by step.

    A `Rewindable` environment is saved before every step. Any other is reset and replayed up to the step before, which
    gives the same episode by the environment contract.
    """

    def __init__(self, env: TextEnv, *, task: str | None, seed: int) -> None:
        self.env = env
        self._opening: dict[str, Any] = {"seed": seed, "options": None if task is None else {"task": task}}
        self._actions: list[str] = []
        self._rewards: list[float] = []
        self._saved: list[Any] = []
        self.done = False
        self.observation, self.info = env.reset(**self._opening)

    @property
    def total(self) -> float:
        """Sum of rewards."""
        return sum(self._rewards)

    @property
    def turns(self) -> int:
        return len(self._actions)

    @property
    def commands(self) -> list[str]:
        """What the environment accepts now; empty where it does not list it."""
        return list(self.info.get("admissible_actions") or [])

    def step(self, action: str) -> None:
        if isinstance(self.env, Rewindable):
            self._saved.append(self.env.save())
        self.observation, reward, terminated, truncated, self.info = self.env.step(action)
        self._actions.append(action)
        self._rewards.append(float(reward))
        self.done = terminated or truncated

    def undo(self) -> bool:
        """Take the last step back; False when there is none."""
        if not self._actions:
            return False
        self._actions.pop()
        self._rewards.pop()
        self.done = False
        if isinstance(self.env, Rewindable):
            self.observation, self.info = self.env.restore(self._saved.pop())
            return True
        self.observation, self.info = self.env.reset(**self._opening)
        for action in self._actions:
            self.observation, _, _, _, self.info = self.env.step(action)
        return True


def play_episode(
    env: TextEnv, *, task: str | None, seed: int, console: Console, ask: Callable[[str], str] | None = None
) -> dict[str, Any]:
    """Read commands until the episode ends or the player leaves.

    Args:
        ask: reads one line; raises EOFError at the end of input. Default: the terminal, with completion.

    Returns:
        {"return": …, "turns": …, "success": …}.
    """
    ask = ask or Prompt()
    game = Session(env, task=task, seed=seed)
    console.print(f"[dim]{game.info.get('task_id', '')}[/dim]\n{game.observation}", highlight=False)
    goal = str(game.info.get("goal") or "")
    if not shows(game.observation, goal):  # as in a prompt
        console.print(f"goal: {goal}", style="bold", markup=False, highlight=False)
    while not game.done:
        if isinstance(ask, Prompt):
            ask.commands = (*game.commands, *OWN)
        try:
            command = ask("> ").strip()
        except (EOFError, KeyboardInterrupt):
            break
        if not command:
            continue
        own = command in (*OWN, "exit") and command not in game.commands
        if own and command in ("quit", "exit"):
            break
        if own:
            _answer(command, game, console)
        else:
            game.step(command)
            console.print(game.observation, highlight=False)
            if game.info.get("valid_action") is False:
                _suggest(command, game, console)
    won = bool(game.info.get("success"))
    console.print(f"[bold]return {game.total:g} in {game.turns} turns, {'won' if won else 'not won'}[/bold]")
    env.close()
    return {"return": game.total, "turns": game.turns, "success": won}


def _answer(command: str, game: Session, console: Console) -> None:
    if command == "hint":
        console.print(describe(game.env.hindsight()), style="yellow", highlight=False)
    elif command == "undo":
        undone = game.undo()
        console.print("(one step back)" if undone else "(nothing to take back)", style="dim", highlight=False)
        if undone:
            console.print(game.observation, highlight=False)
    else:
        lines = [", ".join(group) for _, group in groupby(game.commands, key=lambda c: c.split(" ")[0])]
        console.print("\n".join(lines) or "(not listed)", style="cyan", highlight=False)


def _suggest(command: str, game: Session, console: Console) -> None:
    near = difflib.get_close_matches(command.lower(), game.commands, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    console.print(
        f"({hint}? lists the commands, TAB completes, undo takes the step back)", style="dim", highlight=False
    )


def describe(h: Hindsight) -> str:
    """What the teacher may read about the present state, as lines; for people."""
    lines = []
    if h.distance is not None:
        before = "" if h.distance_before is None else f" (before the last action: {h.distance_before:g})"
        lines.append(f"distance: {h.distance:g}{before}")
    for name, items in (("plan", h.plan), ("missing", h.missing), ("where", h.whereabouts), ("lost", h.lost)):
        if items:
            lines.append(f"{name}: {'; '.join(items)}")
    if h.answer:
        lines.append(f"answer: {h.answer}")
    if h.feedback:
        lines.append(h.feedback)
    return "\n".join(lines) or "this environment has no hindsight"
