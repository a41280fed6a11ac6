"""One episode: the world, the agent, what is asked; from an input to its answer."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

from rlsd.envs.errors import EnvError
from rlsd.envs.scienceworld.engine.actions.parser import Meaning, Pool, meanings
from rlsd.envs.scienceworld.engine.actions.referents import Naming, RoomNames, collect_accessible
from rlsd.envs.scienceworld.engine.actions.table import ACTIONS, inventory, look_around
from rlsd.envs.scienceworld.engine.actions.valid import Listing
from rlsd.envs.scienceworld.engine.actions.world_names import WorldNames
from rlsd.envs.scienceworld.engine.tasks.assignment import Addition
from rlsd.envs.scienceworld.engine.tasks.covered import ASSIGN
from rlsd.envs.scienceworld.engine.tasks.episode import Episode
from rlsd.envs.scienceworld.engine.world.house import build
from rlsd.envs.scienceworld.engine.world.kept import Kept
from rlsd.envs.scienceworld.engine.world.physics import advance
from rlsd.envs.scienceworld.engine.world.scala import Bag, copied
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.thing import Thing

T = TypeVar("T")
_UNKNOWN = "Unknown action.  Type 'help' for a list of actions, and 'objects' for a list of possible object referents. "
_NO_MATCH = "No known action matches that input."
_QUESTION = "Ambiguous request: Please enter the number for the action you intended (or blank to cancel):\n"
_ORDERS = {
    (True, False): "look in,task description,focus on,eat,activate,connect electrically,mix,look around,pour object,"
    "deactivate,flush,reset task,dunk object,view inventory,move object,pick up,put down,disconnect electrically,wait1,"
    "read,open door,wait10,look at,close door,move through door,use object",
    (True, True): "look in,task description,focus on,eat,teleport to location,activate,connect electrically,mix,"
    "look around,pour object,deactivate,flush,reset task,dunk object,view inventory,move object,pick up,put down,"
    "disconnect electrically,wait1,read,open door,wait10,look at,close door,move through door,use object",
    (False, False): "task description,look in,focus on,eat,mix,activate,flush,look around,deactivate,pour object,"
    "reset task,dunk object,view inventory,put down,pick up,move object,wait1,read,open door,wait10,look at,close door,"
    "move through door,use object",
    (False, True): "look in,task description,focus on,eat,teleport to location,activate,mix,look around,pour object,"
    "deactivate,flush,reset task,dunk object,view inventory,move object,pick up,put down,wait1,read,open door,wait10,"
    "look at,close door,move through door,use object",
}
"""The original's order of actions, by whether there are electrical actions, and teleporting."""
_EASY = "teleportAction,openDoors,selfWateringFlowerPots"


class Session(Episode):
    """An episode of one task.

    Raises:
        EnvError: a task type that is not covered.
    """

    def __init__(self, task_type: str, variation: int, simplifications: str = "") -> None:
        if task_type not in ASSIGN:
            raise EnvError(f"the native engine does not cover {task_type!r} yet; covered: {', '.join(ASSIGN)}")
        self.task_type = task_type
        state = State(advance)
        chosen = simplifications
        if simplifications == "easy":
            electrical = "power-component" in task_type or "conductivity" in task_type
            chosen = _EASY if electrical else f"{_EASY},noElectricalAction"
        state.simplifications = frozenset(name for name in chosen.lower().split(",") if name)
        assignment = ASSIGN[task_type](state, variation)
        self.universe, agent = build(state, variation)
        super().__init__(
            agent,
            assignment.text.strip(),
            assignment.goals,
            electrical="noelectricalaction" not in state.simplifications,
            teleports="teleportaction" in state.simplifications,
        )
        state.random.seed(variation)
        for addition in assignment.additions:
            self._add(addition)
        self._break(assignment.broken)
        state.random.skip(assignment.draws)
        self._simplify()
        self._known = _ORDERS[self.electrical, self.teleports].split(",")
        self.choices: list[Meaning] = []
        """What an input may have meant, while the engine waits for the number of one."""
        self.score, self.completed = 0.0, False
        self._kept: dict[str, tuple[object, Any]] = Kept()
        self._world_names = WorldNames(self.universe)
        self._room_names: dict[Thing, RoomNames] = Kept()

    def _add(self, addition: Addition) -> None:
        room = next(place for place in self.universe.inside.items() if place.name == addition.room)
        name, wanted = addition.name or addition.thing.name, addition.holders
        around = [room] if not wanted else [place for place in room.inside.items() if place.name in wanted]
        if not addition.always and any(other.name == name for place in around for other in place.deep()):
            return
        if not wanted:
            room.put(addition.thing)
            return
        drawn = self.state.random.shuffled(sorted(room.deep(), key=lambda thing: thing.number))
        holder = next((place for place in drawn if place.name in wanted), None)
        if holder is not None:
            holder.put(addition.thing)

    def _break(self, devices: list[tuple[str, str]]) -> None:
        for name, room in devices:
            for thing in self.universe.deep():
                if thing.name == name and thing.device is not None and any(p.name == room for p in thing.places()):
                    thing.device.broken = True

    def _simplify(self) -> None:
        names = self.state.simplifications
        for thing in self.universe.deep():
            if "opendoors" in names:
                for portal in thing.portals.items():
                    portal.is_open = True
            if "opencontainers" in names and thing.holder is not None and thing.holder.holds and thing.holder.closable:
                thing.holder.is_open = True

    def step(self, text: str) -> str:
        """The answer to an input; the world moves on, unless the input is not understood or takes no time."""
        special = text.strip().lower()
        if special == "help":
            return "Possible actions: \n\t" + "\n\t".join(sorted(_example(name) for name in self._known))
        if special == "objects":
            return "Possible object references: \n\t" + "\n\t".join(self._objects())
        if special == "task":
            return f"Task description:\n{self.goal_text}"
        said = self._resolved(text) if self.choices else self._parsed(text)
        self.score, self.completed = self.goals.score(), self.goals.completed
        return said or _UNKNOWN

    def things(self) -> list[Thing]:
        """All things of the world, at any depth; kept until something changes, and not to be changed."""
        return self._unless_changed("things", True, self.universe.deep)

    def names(self, *, everywhere: bool) -> Naming:
        """Names of all that is in the room, or in the world, hidden things included; kept until something changes."""
        place = self.place
        if everywhere:
            return self._unless_changed("all names", True, lambda: self._world_names.naming(place))
        return self._unless_changed(
            "names", False, lambda: self._room_names.setdefault(place, RoomNames()).naming(place)
        )

    def _unless_changed(self, what: str, everywhere: bool, make: Callable[[], T]) -> T:
        """What was made when nothing in the room, or in the world, was different; else it is made."""
        place = self.place
        key = place, self.state.changes if everywhere else place.stamp
        kept = self._kept.get(what)
        if kept is None or kept[0] != key:
            kept = self._kept[what] = key, make()
        return kept[1]

    def look(self) -> str:
        return look_around(self)

    def inventory(self) -> str:
        return inventory(self)

    def valid(self) -> list[str]:
        """All actions that make sense now, sorted; not to be changed."""
        if self.choices:
            return sorted(map(str, range(len(self.choices))))
        listing = self._unless_changed("list", False, lambda: Listing(self, self.names(everywhere=False)))
        return listing.actions(self.names(everywhere=True))

    def draw(self) -> None:
        """Draw the random numbers that the list of actions takes."""
        if not self.choices:
            for everywhere in (False, True):
                self.names(everywhere=everywhere).draw(self.state.random)

    def understand(self, text: str) -> list[Meaning]:
        """Everything that an input can mean now."""
        return meanings(
            text,
            lambda: self._unless_changed("within reach", False, self._within_reach),
            lambda: self._unless_changed("everything", True, self._everything),
            self._known,
        )

    def _within_reach(self) -> Pool:
        room = self.place
        things = Bag(copied(collect_accessible(room, hidden=True)))
        things.update(collect_accessible(self.agent, hidden=True))
        return Pool(things.items(), room)

    def _everything(self) -> Pool:
        if not all(bee.is_shut_in() for bee in self.state.bees):
            self.state.random.require()
        return Pool(collect_accessible(self.universe, hidden=True), self.place)

    def _parsed(self, text: str) -> str:
        found = self.understand(text)
        if not found:
            return _NO_MATCH
        if len(found) > 1:
            self.choices = found
            return self._question(found)
        return self._do(found[0])

    def _question(self, found: list[Meaning]) -> str:
        names = list(dict.fromkeys(meaning.action.name for meaning in found))
        text = ""
        if len(names) > 1:
            text = (
                "Ambiguous request: Multiple different possible actions were matched to this input "
                f"({', '.join(names)}). It's possible the action space needs to be refined to remove possible "
                "duplicate/ambiguous patterns."
            )
        lines = [f"{i}:\t{meaning.told(self.place)}\n" for i, meaning in enumerate(found)]
        return f"{text}{_QUESTION}{''.join(lines)}"

    def _resolved(self, text: str) -> str:
        choices, self.choices = self.choices, []
        number = int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else -1
        return self._do(choices[number] if 0 <= number < len(choices) else None)

    def _do(self, meaning: Meaning | None) -> str:
        """Run an action, then let time pass: also when there is none, after an answer that was not understood."""
        takes_time = meaning is None or not meaning.action.free
        said = meaning.action.run(self, *meaning.things) if meaning is not None else ""
        while True:
            self.goals.tick(self)
            if takes_time:
                self.state.now += 1
                self.universe.tick()
            self.goals.tick(self)
            if self.waiting <= 0:
                break
            self.waiting -= 1
            takes_time = True
        return re.sub(" +", " ", said.strip("".join(map(chr, range(33)))))

    def _objects(self) -> list[str]:
        names = RoomNames().of(collect_accessible(self.place, hidden=False), self.place)
        return sorted(names.drawn(self.state.random).values())


def _example(name: str) -> str:
    action = ACTIONS[name]
    parts = []
    for i, words in enumerate(action.words):
        parts.append(words[0])
        if i < action.things:
            parts.append("OBJ")
    return " ".join(parts)
