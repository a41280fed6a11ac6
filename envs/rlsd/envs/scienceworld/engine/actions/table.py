"""What the agent can do: how it is said, when it is refused, what it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rlsd.envs.scienceworld.engine.actions.handling import dunk, eat, move, pour
from rlsd.envs.scienceworld.engine.actions.moving import close_it, go, open_it, teleport
from rlsd.envs.scienceworld.engine.actions.wiring import connect, disconnect
from rlsd.envs.scienceworld.engine.tasks.episode import Episode
from rlsd.envs.scienceworld.engine.world.chemistry import mix
from rlsd.envs.scienceworld.engine.world.devices import Toilet
from rlsd.envs.scienceworld.engine.world.documents import Document
from rlsd.envs.scienceworld.engine.world.listed import listed
from rlsd.envs.scienceworld.engine.world.thing import CURSORY, DETAILED, Thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """`words`: alternatives for each part of the sentence; things stand between them."""

    name: str
    words: tuple[tuple[str, ...], ...]
    things: int
    run: Callable[..., str]
    """Episode and things → what is said."""
    free: bool = False
    """It takes no time."""


def look_around(episode: Episode) -> str:
    return episode.place.describe(DETAILED)


def _look_at(episode: Episode, thing: Thing) -> str:
    episode.looked_at.append(thing)
    look = thing.look(DETAILED, episode.place)
    return "<ERROR: Could not retrieve object description>" if look is None else look


def refuse_look_in(episode: Episode, thing: Thing) -> str | None:
    if thing.holder is None:
        return "It's not clear how to look inside of that."
    return None if thing.holder.is_open else f"The {thing.name} isn't open, so you can't see inside."


def _look_in(episode: Episode, thing: Thing) -> str:
    if (refusal := refuse_look_in(episode, thing)) is not None:
        return refusal
    held = thing.inside.items()
    text = f"There is nothing in the {thing.name}."
    if held:
        text = f"Inside the {thing.name} is: \n{listed(held, episode.agent, lines=True)}"
    text += "\n"
    if len(thing.portals):
        looks = [look for portal in thing.portals.items() if (look := portal.look(CURSORY, thing)) is not None]
        text += f" You also see: {', '.join(looks)}."
    return text


def refuse_switch(thing: Thing, on: bool) -> str | None:
    if thing.device is None or not thing.device.activable:
        return f"The {thing.name} is not something that can be activated."
    if thing.device.activated == on:
        return f"The {thing.name} is already {'activated' if on else 'deactivated'}."
    return None


def _switch(thing: Thing, on: bool) -> str:
    if (refusal := refuse_switch(thing, on)) is not None:
        return refusal
    assert thing.device is not None
    if thing.device.broken:
        return f"The {thing.name} appears broken, and can't be activated or deactivated."
    thing.device.activated = on
    thing.stir()
    return f"The {thing.name} is now {'activated' if on else 'deactivated'}."


def _focus(episode: Episode, thing: Thing) -> str:
    episode.focus = thing
    return f"You focus on the {thing.shown_name()}."


def _reset_task(episode: Episode) -> str:
    episode.goals.reset()
    episode.focus = None
    return "You reset the goal progress and focus."


def refuse_use(device: Thing) -> str | None:
    if device.device is None or not device.device.usable:
        return f"I'm not sure how to use the {device.name}. "
    return None


def _use(episode: Episode, device: Thing, patient: Thing) -> str:
    episode.used.append((device, patient))
    if (refusal := refuse_use(device)) is not None:
        return refusal
    said = device.use_on(patient)
    return "I'm not sure how to use those two things together." if said is None else said


def _read(episode: Episode, document: Thing) -> str:
    episode.read.append(document)
    return document.read() if isinstance(document, Document) else "It's not clear how to read that."


def refuse_flush(episode: Episode, toilet: Thing) -> str | None:
    if not isinstance(toilet, Toilet) or toilet.device is None:
        return "It's not clear how to flush that."
    return "That is already flushing." if toilet.device.activated else None


def _flush(episode: Episode, toilet: Thing) -> str:
    if (refusal := refuse_flush(episode, toilet)) is not None:
        return refusal
    assert toilet.device is not None
    toilet.device.activated = True
    toilet.stir()
    return f"The {toilet.name} is now flushing."


def _wait(ticks: int) -> Callable[[Episode], str]:
    def wait(episode: Episode) -> str:
        episode.waiting = ticks
        return f"You decide to wait for {ticks} iterations."

    return wait


def inventory(episode: Episode) -> str:
    held = episode.agent.inventory
    told = listed(held.inside.items(), held, mode=DETAILED, lines=True)
    return f"In your inventory, you see:\n{told}"


def _task(episode: Episode) -> str:
    return f"Task Description:\n{episode.goal_text}"


def _action(name: str, *words: str, run: Any, things: int = 1, free: bool = False) -> Action:
    parts = tuple(tuple(part.split("|")) for part in words)
    return Action(name=name, words=parts, things=things, run=run, free=free)


ACTIONS: dict[str, Action] = {
    action.name: action
    for action in (
        _action("open door", "open", run=open_it),
        _action("close door", "close", run=close_it),
        _action(
            "move through door",
            "go|go through|walk through|move through|go to|walk to|move to|go into|move into",
            run=go,
        ),
        _action("look around", "look around|look", run=look_around, things=0, free=True),
        _action("look at", "look at|look on|examine", run=_look_at),
        _action("look in", "look in", run=_look_in),
        _action("activate", "activate|turn on", run=lambda s, t: _switch(t, True)),
        _action("deactivate", "deactivate|turn off", run=lambda s, t: _switch(t, False)),
        _action("eat", "eat|consume", run=eat),
        _action("move object", "move|put", "to|in|into|on", run=move, things=2),
        _action("pour object", "pour", "in|into|on|to", run=pour, things=2),
        _action("dunk object", "dunk", "in|into", run=dunk, things=2),
        _action("focus on", "focus on|focus", run=_focus),
        _action("reset task", "reset task", run=_reset_task, things=0),
        _action("use object", "use", "on|with", run=_use, things=2),
        _action("read", "read", run=_read),
        _action("flush", "flush", run=_flush),
        _action("connect electrically", "connect", "to|in|into", run=connect, things=2),
        _action("disconnect electrically", "disconnect", run=disconnect),
        _action("wait1", "wait1", run=_wait(1), things=0),
        _action("wait10", "wait", run=_wait(10), things=0),
        _action("view inventory", "inventory", run=inventory, things=0, free=True),
        _action("pick up", "pick up|get|take", run=lambda s, t: move(s, t, s.agent.inventory)),
        _action("put down", "put down|drop", run=lambda s, t: move(s, t, s.place)),
        _action("mix", "mix|stir", run=lambda s, t: mix(t)),
        _action("task description", "task", run=_task, things=0, free=True),
        _action("teleport to location", "teleport|teleport to|teleport into", run=teleport),
    )
}
