"""Play an environment in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console

from rlsd.envs.core import Hindsight, TextEnv


def play(
    env: TextEnv, *, task: str | None, seed: int, console: Console, ask: Callable[[str], str] = input
) -> dict[str, Any]:
    """Read commands until the episode ends or the player leaves.

    Args:
        ask: reads one line; raises EOFError at the end of input.

    Returns:
        {"return": …, "turns": …, "success": …}.
    """
    options = None if task is None else {"task": task}
    observation, info = env.reset(seed=seed, options=options)
    console.print(f"[dim]{info.get('task_id', '')}[/dim]\n{observation}", highlight=False)
    total, turns, done = 0.0, 0, False
    while not done:
        try:
            command = ask("> ").strip()
        except EOFError:
            break
        if command in ("quit", "exit"):
            break
        if command == "hint":
            console.print(_describe(env.hindsight()), style="yellow", highlight=False)
            continue
        if command == "?":
            console.print(", ".join(info.get("admissible_actions") or ["(not listed)"]), style="cyan", highlight=False)
            continue
        observation, reward, terminated, truncated, info = env.step(command)
        total, turns, done = total + float(reward), turns + 1, terminated or truncated
        console.print(observation, highlight=False)
    console.print(f"[bold]return {total:g} in {turns} turns, {'won' if info.get('success') else 'not won'}[/bold]")
    env.close()
    return {"return": total, "turns": turns, "success": bool(info.get("success"))}


def _describe(h: Hindsight) -> str:
    lines = []
    if h.distance is not None:
        lines.append(f"distance: {h.distance:g}")
    for name, items in (("plan", h.plan), ("missing", h.missing), ("where", h.whereabouts), ("lost", h.lost)):
        if items:
            lines.append(f"{name}: {'; '.join(items)}")
    if h.answer:
        lines.append(f"answer: {h.answer}")
    if h.feedback:
        lines.append(h.feedback)
    return "\n".join(lines) or "this environment has no hindsight"
