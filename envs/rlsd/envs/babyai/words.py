"""What is seen, done and wanted, in words."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any

from rlsd.envs.babyai.world import DROP, FORWARD, PICK_UP, STEPS, TOGGLE, Cell, World

COMMANDS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
"""By the number of the engine's action."""
NOT_UNDERSTOOD = f"That is not a command. Commands: {', '.join(COMMANDS)}."
_ALSO = MappingProxyType(
    {
        "left": "turn left", "right": "turn right", "forward": "go forward", "move forward": "go forward",
        "pickup": "pick up", "open": "toggle", "close": "toggle",
    }
)  # fmt: skip


def action_of(text: str) -> int | None:
    """The engine's action; None where the text is no command.

    >>> [action_of(text) for text in ("turn left", " Move  forward. ", "open", "dance")]
    [0, 2, 5, None]
    """
    said = re.sub(r"\s+", " ", text[:100]).strip(" .!").lower()
    said = _ALSO.get(said, said)
    return COMMANDS.index(said) if said in COMMANDS else None


def named(thing: Any) -> str:
    """A thing with its colour, a door with its state: "red ball", "locked blue door"."""
    if thing.type != "door":
        return f"{thing.color} {thing.type}"
    return f"{'locked' if thing.is_locked else 'open' if thing.is_open else 'closed'} {thing.color} door"


def a(name: str) -> str:
    """
    >>> a("open blue door"), a("red ball")
    ('an open blue door', 'a red ball')
    """
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def place(forward: int, right: int) -> str:
    """
    >>> [place(2, -1), place(-3, 0), place(0, 1)]
    ['2 steps forward and 1 step left', '3 steps back', '1 step right']
    """
    ways = ((forward, "forward", "back"), (right, "right", "left"))
    return " and ".join(
        f"{abs(n)} step{'s' if abs(n) > 1 else ''} {positive if n > 0 else negative}"
        for n, positive, negative in ways
        if n
    )


def relative(world: World, cell: Cell) -> tuple[int, int]:
    """A cell as (steps forward, steps to the right) from where the agent stands and looks."""
    (x, y), (dx, dy) = world.at, STEPS[world.facing]
    i, j = cell[0] - x, cell[1] - y
    return i * dx + j * dy, j * dx - i * dy


def observed(world: World) -> str:
    """Things in sight, the nearest first; the next wall ahead, to the left and to the right; what is carried."""
    seen = sorted(world.view(), key=lambda cell: (abs(cell[0]) + abs(cell[1]), -cell[0], cell[1]))
    things = [f"{a(named(t))} {place(f, r)}" for f, r, t in seen if t is not None and t.type != "wall"]
    ahead = [f for f, r, t in seen if r == 0 and t is not None and t.type == "wall"][:1]
    aside = [r for f, r, t in seen if f == 0 and t is not None and t.type == "wall"]
    left, right = [r for r in aside if r < 0][:1], [r for r in aside if r > 0][:1]
    walls = [place(f, 0) for f in ahead] + [place(0, r) for r in left + right]
    lines = [f"You see {'; '.join(things)}." if things else "You see no things."]
    if walls:
        lines.append(f"Walls: {', '.join(walls)}.")
    lines.append(f"You carry {a(named(world.carried))}." if world.carried is not None else "You carry nothing.")
    return "\n".join(lines)


def refused(world: World, action: int) -> str:
    """Why an action would change nothing now; empty where it does something."""
    thing, held = world.thing_at(world.front), world.carried
    in_front = "" if thing is None else "a wall" if thing.type == "wall" else a(named(thing))
    if action == FORWARD and thing is not None and not thing.can_overlap():
        return f"{in_front[0].upper()}{in_front[1:]} is in the way."
    if action == PICK_UP:
        if held is not None:
            return f"You carry {a(named(held))} already."
        return "" if thing is not None and thing.can_pickup() else "There is nothing in front of you to pick up."
    if action == DROP:
        return "You carry nothing." if held is None else f"{in_front} is in the way.".capitalize() if in_front else ""
    if action == TOGGLE:
        if thing is None or thing.type not in ("door", "box"):
            return "There is nothing in front of you to open or close."
        fits = held is not None and (held.type, held.color) == ("key", thing.color)
        if thing.type == "door" and thing.is_locked and not fits:
            return f"The door is locked, and you do not carry a {thing.color} key."
    return ""


def described(description: Any) -> str:
    """What a clause of the mission speaks of, as it speaks of it: "the red ball", "a key on your left"."""
    name = " ".join(word for word in (description.color, description.type or "object") if word)
    where = {"front": " in front of you", "behind": " behind you", "left": " on your left", "right": " on your right"}
    article = "a" if len(description.obj_set) > 1 else "the"
    return f"{article} {name}{where.get(description.loc, '')}"


def milestone(clause: Any) -> str:
    """What holds when a clause of the mission is done."""
    kind = type(clause).__name__
    if kind == "PutNextInstr":
        return f"you have put {described(clause.desc_move)} next to {described(clause.desc_fixed)}"
    done = {"GoToInstr": "gone to", "OpenInstr": "opened", "PickupInstr": "picked up"}[kind]
    return f"you have {done} {described(clause.desc)}"
