"""The list of all actions that make sense now."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.actions.handling import (
    refuse_dunk_from,
    refuse_dunk_into,
    refuse_move,
    refuse_pour_out,
)
from rlsd.envs.scienceworld.engine.actions.moving import refuse_close, refuse_go, refuse_open, refuse_teleport
from rlsd.envs.scienceworld.engine.actions.referents import Naming
from rlsd.envs.scienceworld.engine.actions.table import refuse_flush, refuse_look_in, refuse_use
from rlsd.envs.scienceworld.engine.actions.wiring import contact
from rlsd.envs.scienceworld.engine.tasks.episode import Episode
from rlsd.envs.scienceworld.engine.world.documents import Document
from rlsd.envs.scienceworld.engine.world.materials import GAS, LIQUID
from rlsd.envs.scienceworld.engine.world.places import Portal
from rlsd.envs.scienceworld.engine.world.thing import Terminal, Thing

_ALWAYS = ("inventory", "look around", "reset task", "task", "wait", "wait1")


class Listing:
    """The list of a room in which names and contents stay; it is made again where something else that it tells of
    changes: what was drawn, switched, opened or connected, and liquids beyond its doors and drains."""

    def __init__(self, episode: Episode, near: Naming) -> None:
        self._episode, self._near = episode, near
        things = near.things
        self._devices = [thing.device for thing in things if thing.device is not None]
        self._portals = [thing for thing in things if isinstance(thing, Portal)]
        self._terminals = [t for thing in things for t in (thing.terminals or ())]
        self._terminals += [thing for thing in things if isinstance(thing, Terminal)]
        self._beyond = [thing for thing in things if thing.room() is not episode.place and len(thing.inside)]
        """Other rooms and the sewer, whose contents are not of this room."""
        self._known: object = None
        self._actions: list[str] = []

    def actions(self, everywhere: Naming) -> list[str]:
        """Sorted, and not to be changed; it takes random numbers, for the room and then for the whole world."""
        episode = self._episode
        draw = episode.state.random
        drawn = self._near.draw(draw)
        rooms: list[str] = []
        if episode.teleports:
            all_names = everywhere.drawn(draw)
            rooms = [all_names[t] for t in everywhere.things if t.is_location and refuse_teleport(episode, t) is None]
        else:
            everywhere.draw(draw)
        known = (
            drawn,
            rooms,
            [device.activated for device in self._devices],
            [portal.is_open for portal in self._portals],
            [len(terminal.wired) for terminal in self._terminals],
            [refuse_dunk_from(thing) is None for thing in self._beyond],
        )
        if known != self._known:
            names = self._near.named(drawn)
            self._known, self._actions = known, _listed(episode, self._near.things, names, rooms)
        return self._actions


def _listed(episode: Episode, things: list[Thing], names: dict[Thing, str], rooms: list[str]) -> list[str]:
    """All actions; nearly sorted before they are, which makes that quick."""
    things = sorted(things, key=names.__getitem__)
    out = [*_ALWAYS, *(f"teleport to {room}" for room in rooms)]
    for thing in things:
        out += _alone(episode, thing, names[thing])
    out.sort()
    if episode.electrical:
        out += _connections(things, names)
    out += _dunks(things, names)
    out += _moves(things, names)
    out += _pours(things, names)
    told = [names[thing] for thing in things]
    for device in things:
        if refuse_use(device) is None:
            begin = f"use {names[device]} on "
            out += [begin + name for name in told]
    return sorted(out)


_ONE = (
    "look at ", "focus on ", "open ", "close ", "go to ", "look in ", "activate ", "deactivate ", "eat ", "read ",
    "flush ", "disconnect ", "mix ", "pick up ", "put down ",
)  # fmt: skip
_TWO = (("move ", " to "), ("pour ", " into "), ("dunk ", " into "), ("use ", " on "), ("connect ", " to "))


def could_be_listed(text: str, near: Naming) -> bool:
    """False where no choice of names makes a list with this input."""
    if text in _ALWAYS or text.startswith("teleport to "):
        return True
    if any(text.startswith(verb) and near.any_named(text[len(verb) :]) for verb in _ONE):
        return True
    for verb, word in _TWO:
        if text.startswith(verb):
            parts = text[len(verb) :].split(word)
            if any(near.any_named(word.join(parts[:i]), word.join(parts[i:])) for i in range(1, len(parts))):
                return True
    return False


def _alone(episode: Episode, thing: Thing, name: str) -> list[str]:
    """Actions on one thing."""
    out = [f"look at {name}", f"focus on {name}"]
    if refuse_open(episode, thing) is None:
        out.append(f"open {name}")
    if refuse_close(episode, thing) is None:
        out.append(f"close {name}")
    if refuse_go(episode, thing) is None:
        out.append(f"go to {name}")
    if refuse_look_in(episode, thing) is None:
        out.append(f"look in {name}")
    if thing.device is not None and thing.device.activable:
        out.append(f"{'deactivate' if thing.device.activated else 'activate'} {name}")
    if thing.edible:
        out.append(f"eat {name}")
    if isinstance(thing, Document):
        out.append(f"read {name}")
    if refuse_flush(episode, thing) is None:
        out.append(f"flush {name}")
    if episode.electrical and not isinstance(thing, Terminal):
        out.append(f"disconnect {name}")
    if len(thing.inside) > 1:
        out.append(f"mix {name}")
    held = thing in episode.agent.inventory.inside
    if not held and refuse_move(thing, episode.agent.inventory) is None:
        out.append(f"pick up {name}")
    if held and refuse_move(thing, episode.place) is None:
        out.append(f"put down {name}")
    return out


def _moves(things: list[Thing], names: dict[Thing, str]) -> list[str]:
    goals = [t for t in things if t.holder is not None and t.holder.is_open]
    told = [names[goal] for goal in goals]
    out = []
    for thing in things:
        if thing.movable and not (thing.material is not None and thing.material.state in (LIQUID, GAS)):
            begin = f"move {names[thing]} to "
            if thing in goals:
                out += [begin + names[goal] for goal in goals if goal is not thing]
            else:
                out += [begin + name for name in told]
    return out


def _pours(things: list[Thing], names: dict[Thing, str]) -> list[str]:
    told = [names[t] for t in things if t.holder is not None and t.holder.is_open]
    out = []
    for thing in things:
        if refuse_pour_out(thing) is None and not (
            thing.holder is not None and thing.holder.holds and not len(thing.inside)
        ):
            begin = f"pour {names[thing]} into "
            out += [begin + name for name in told]
    return out


def _dunks(things: list[Thing], names: dict[Thing, str]) -> list[str]:
    """The original lists what holds the liquid first, though its parser takes what is dunked first."""
    dunked = [t for t in things if refuse_dunk_into(t) is None]
    sources = [t for t in things if refuse_dunk_from(t) is None]
    return [f"dunk {names[s]} into {names[d]}" for s in sources for d in dunked if s is not d]


def _connections(things: list[Thing], names: dict[Thing, str]) -> list[str]:
    ends = []
    for thing in things:
        terminal = contact(thing)
        if isinstance(terminal, Terminal) and not len(terminal.wired):
            ends.append((terminal, names[thing]))
    return [f"connect {one} to {other}" for t, one in ends for u, other in ends if t is not u]
