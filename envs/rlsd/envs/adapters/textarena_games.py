"""Single-player games of TextArena that need no download: their goals, and what a teacher can know of some."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Plan = tuple[str, ...]


def _none(env: Any) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arena:
    """One game, by the name before `-v0`."""

    goal: str
    plan: Callable[[Any], Plan | None] = _none
    """Moves from here to the goal; None: unknown, or out of reach."""
    commands: Callable[[Any], Sequence[str] | None] = _none
    """Moves that are accepted now; None: not listed."""
    answer: Callable[[Any], str | None] = _none
    luck: bool = False
    """Random numbers that are drawn later decide the game, too."""


def _number(env: Any) -> str:
    return f"[{env.state.game_state['game_number']}]"


def _numbers(env: Any) -> list[str]:
    return [f"[{n}]" for n in range(env.min_number, env.max_number + 1) if n not in env.guessed_numbers]


def _code(env: Any) -> str:
    return f"[{' '.join(map(str, env.state.game_state['secret_code']))}]"


def _ways(env: Any) -> list[str]:
    """Moves on the lake that do not hit a wall."""
    row, column = env.state.game_state["player_pos"]
    size = env.size
    return [f"[{w}]" for w, (r, c) in env.actions.items() if 0 <= row + r < size and 0 <= column + c < size]


def _path(env: Any) -> Plan | None:
    """A shortest way over the ice."""
    state, size = env.state.game_state, env.size
    ways: dict[tuple[int, int], Plan] = {tuple(state["player_pos"]): ()}
    queue = deque(ways)
    while queue:
        here = queue.popleft()
        if here == tuple(state["goal_pos"]):
            return ways[here]
        for word, (r, c) in env.actions.items():
            to = here[0] + r, here[1] + c
            if 0 <= to[0] < size and 0 <= to[1] < size and to not in ways and state["grid"][to[0]][to[1]] != "H":
                ways[to] = (*ways[here], f"[{word}]")
                queue.append(to)
    return None


def _cells(env: Any) -> list[str]:
    return [f"[{r} {c}]" for r in range(env.size) for c in range(env.size)]


def _presses(env: Any) -> Plan | None:
    """The fewest presses that put all lights out: the first row decides all others, so every first row is tried."""
    size, grid = env.size, env.state.game_state["grid"]
    lit = [sum(on << c for c, on in enumerate(row)) for row in grid]
    best: list[int] | None = None
    for first in range(1 << size):
        rows, pressed = list(lit), []
        for r in range(size):
            press = first if r == 0 else rows[r - 1]
            pressed.append(press)
            rows[r] ^= (press ^ press << 1 ^ press >> 1) & ((1 << size) - 1)
            if r:
                rows[r - 1] ^= press
            if r + 1 < size:
                rows[r + 1] ^= press
        if not rows[-1] and (best is None or _count(pressed) < _count(best)):
            best = pressed
    if best is None:
        return None
    return tuple(f"[{r} {c}]" for r, press in enumerate(best) for c in range(size) if press >> c & 1)


def _count(presses: Sequence[int]) -> int:
    return sum(press.bit_count() for press in presses)


def _fills(env: Any) -> Plan | None:
    """The empty cells of the grid with their digits; None once a cell is wrong."""
    board, full = env.state.game_state["board"], env.full_grid
    cells = [(r, c) for r in range(9) for c in range(9)]
    if any(board[r][c] not in (0, full[r][c]) for r, c in cells):
        return None
    return tuple(f"[{r + 1} {c + 1} {full[r][c]}]" for r, c in cells if not board[r][c])


GAMES: dict[str, Arena] = {
    "2048": Arena(
        goal="reach the target tile.", commands=lambda env: ["[up]", "[down]", "[left]", "[right]"], luck=True
    ),
    "Blackjack": Arena(goal="win as many hands as possible.", commands=lambda env: ["[Hit]", "[Stand]"], luck=True),
    "Countdown": Arena(goal="reach the target number with the given numbers."),
    "Cryptarithm": Arena(goal="find the digit of every letter."),
    "FifteenPuzzle": Arena(goal="put the tiles in order."),
    "FrozenLake": Arena(goal="reach the goal without falling into a hole.", plan=_path, commands=_ways),
    "GuessTheNumber": Arena(
        goal="guess the number.", plan=lambda env: (_number(env),), commands=_numbers, answer=_number
    ),
    "LightsOut": Arena(goal="put all lights out.", plan=_presses, commands=_cells),
    "LogicPuzzle": Arena(goal="solve the puzzle."),
    "Mastermind": Arena(goal="find the secret code.", plan=lambda env: (_code(env),), answer=_code),
    "Minesweeper": Arena(goal="reveal every cell without a mine.", luck=True),
    "Sudoku": Arena(goal="fill the grid.", plan=_fills),
}
"""Others have one starting position, need several players, a word list that is downloaded, or a language model."""
