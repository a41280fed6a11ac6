"""Playing in the terminal: commands, completion, hints, undo in environments that can be saved or not."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from rlsd.envs import Rewindable, TextEnv, make
from rlsd.harness.cli.play import Session, play_episode
from rlsd.harness.cli.readline import Prompt, completions

ROOT = Path(__file__).resolve().parents[3]


def played(env: TextEnv, *lines: str, seed: int = 3) -> tuple[str, dict[str, Any]]:
    """What the player sees for these lines, and the result."""
    left, out = list(lines), io.StringIO()

    def ask(prompt: str) -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    result = play_episode(env, task=None, seed=seed, console=Console(file=out, width=200), ask=ask)
    return out.getvalue(), result


def open_alfworld() -> TextEnv:
    return make("rlsd/ALFWorld-v0", games="gen-tiny", split="test")


def open_keys() -> TextEnv:
    return make("rlsd/Keys-v0")


def test_a_won_game() -> None:
    text, result = played(open_keys(), "?", "hint", "go right", "take key", "go right", "open door")
    assert "go left, go right" in text
    assert "plan: go right; take key; go right; open door" in text
    assert result == {"return": pytest.approx(0.96), "turns": 4, "success": True}


def test_the_goal_is_shown_where_the_first_observation_does_not_say_it() -> None:
    coin = make(f"{ROOT}/examples/coin_env.py:CoinEnv")
    assert "A coin lies under one of them.\ngoal: find the coin.\n" in played(coin)[0]
    assert "goal:" not in played(open_keys())[0], "You want to find the key and open the door."


def test_question_mark_groups_by_verb() -> None:
    text, _ = played(open_alfworld(), "?")
    lines = [line for line in text.splitlines() if line.startswith("go to ")]
    assert len(lines) == 1
    assert "help" in text.splitlines()


def test_a_command_that_is_not_understood_costs_a_turn_and_names_the_closest() -> None:
    text, result = played(open_keys(), "go rigth", "", "quit")
    assert "did you mean 'go right'?" in text
    assert result["turns"] == 1


@pytest.mark.parametrize("opened", [open_alfworld, open_keys], ids=["saved", "played again"])
def test_undo_gives_back_every_earlier_state(opened: Any) -> None:
    env = opened()
    assert isinstance(env, Rewindable) == (opened is open_alfworld)
    game, seen = Session(env, task=None, seed=3), []
    for n in range(6):
        seen.append((game.observation, game.info, game.total, game.turns, env.hindsight()))
        game.step("nonsense" if n == 2 else game.commands[n % len(game.commands)])
    for expected in reversed(seen):
        assert game.undo()
        assert (game.observation, game.info, game.total, game.turns, env.hindsight()) == expected
    assert not game.undo()


def test_undo_at_the_prompt() -> None:
    text, result = played(open_keys(), "undo", "go right", "undo", "go right", "take key", "go right", "open door")
    assert "(nothing to take back)" in text
    assert text.count("(one step back)\nYou want to find the key") == 1
    assert result == {"return": pytest.approx(0.96), "turns": 4, "success": True}


def test_completion() -> None:
    commands = ["go to drawer 1", "go to drawer 2", "take mug 1 from drawer 1", "hint"]
    assert completions("go to d", commands) == commands[:2]
    assert completions("GO", commands) == commands[:2]
    assert completions("t mug", commands) == [commands[2]]
    assert completions("zebra", commands) == []
    prompt = Prompt()
    prompt.commands = tuple(commands)
    assert [prompt.complete("go", n) for n in range(3)] == [*commands[:2], None]


def test_tab_completes_in_a_real_terminal() -> None:
    pytest.importorskip("readline", reason="this Python has no readline")
    code = (
        "from rlsd.harness.cli.readline import Prompt\n"
        "p = Prompt(); p.commands = ('go right', 'take key')\n"
        "print('READ', p('> '))\n"
    )
    main, child = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", code], stdin=child, stdout=child, stderr=child)
    os.close(child)
    os.write(main, b"ta\t\n")
    output = b""
    while b"take key\r\n" not in output.partition(b"READ ")[2]:
        try:
            output += os.read(main, 1024)
        except OSError:  # the other side has closed
            break
    process.wait(timeout=120)
    os.close(main)
    assert b"READ take key" in output
