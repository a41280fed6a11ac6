"""The oracle expert: a shortest plan from any state, by enumerating a few choices.

A plan is a route of handling actions (take, move, clean, heat, cool, slice, use), each at one receptacle. Moving to
another location costs one command, and so does opening a closed receptacle, so a route's length is a sum. The search
enumerates the object, the receptacle, the appliance, and where to put down the object in hand. The shortest of these
routes is a shortest plan (the tests compare it with breadth-first search), except for a sliced object, where only
"slice first" and "slice last" are tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import permutations, product
from typing import NamedTuple

from rlsd.envs.alfworld.engine.game import Game
from rlsd.envs.alfworld.engine.world import World


class Handling(NamedTuple):
    """One command that needs the agent at receptacle `r`."""

    verb: str
    o: int
    """The object it is done to."""
    r: int
    knife: int = -1
    """The tool, for "slice"."""


Route = tuple[Handling, ...]
_HANDS_IN = frozenset(("take", "move"))  # these need an open receptacle; the others work on a closed one


def plan(world: World) -> tuple[str, ...] | None:
    """Commands from the current state to the goal; () when it holds, None when it is unreachable."""
    if world.won:
        return ()
    best = _Search(world).best()
    return None if best is None else _commands(world, best)


def distance(world: World) -> float:
    """Length of `plan(world)`; `inf` when the goal is unreachable."""
    route = plan(world)
    return math.inf if route is None else float(len(route))


class _Search:
    def __init__(self, world: World) -> None:
        self.world, self.game = world, world.game
        self.shut = world.game.openable - world.opened
        self.goal_places = world.game.goal_targets if world.game.goal.kind == "place" else ()

    def best(self) -> Route | None:
        goal, game = self.game.goal, self.game
        if {"hot", "cool"} <= set(goal.states):
            return None  # heating and cooling cancel each other
        if goal.kind == "look":
            return self.shortest(self.looks())
        if goal.count == 1:
            return self.shortest(
                route for o in game.goal_objects for r in self.targets((o,)) for route in self.deliver(o, r)
            )
        return self.shortest(self.pairs())

    def shortest(self, routes: Iterable[Route], place: int | None = None) -> Route | None:
        """The first of the cheapest routes, starting from `place` (default: the agent's location)."""
        best, least = None, math.inf
        for route in routes:
            cost = self.cost(route, place)
            if cost < least:
                best, least = route, cost
        return best

    def cost(self, route: Route, place: int | None = None) -> int:
        """Number of commands of the route, walking and opening included."""
        places, total = self.game.places, len(route)
        here = self.world.place if place is None else place
        opened: list[int] = []
        for verb, _, r, _ in route:
            if places[r] != here:
                total, here = total + 1, places[r]
            if verb in _HANDS_IN:
                if r in self.shut and r not in opened:
                    opened.append(r)
            elif verb == "stand":
                total -= 1
        return total + len(opened)

    # --- pieces of routes -----------------------------------------------------------------------------------

    def sources(self, o: int) -> list[int]:
        """Receptacles the object can be taken from."""
        if o not in self.game.pickupable:
            return []
        return [r for r in self.world.inside[o] if self.game.places[r] >= 0]

    def fetch(self, o: int, hand: int, here: int, sources: Sequence[int] | None = None) -> Iterator[Route]:
        """Ways to get `o` into the hand, which holds `hand`, starting at location `here`."""
        if hand == o:
            yield ()
            return
        for r in self.sources(o) if sources is None else sources:
            take = Handling("take", o, r)
            if hand < 0:
                yield (take,)
            else:
                for drop in self.drops(hand, here, r):
                    yield (Handling("move", hand, drop), take)

    def drops(self, thing: int, here: int, following: int) -> list[int]:
        """Where to put down `thing` on the way from location `here` to receptacle `following` (-1: none).

        One choice per location: an open receptacle, else one that is opened anyway, else a closed one. Other
        locations count only if neither end accepts the object.
        """
        game, places = self.game, self.game.places
        there = places[following] if following >= 0 else here
        chosen: dict[int, int] = {}
        others: list[int] = []
        for r in sorted(game.fits[thing]):
            place = places[r]
            if place not in (here, there):
                if place >= 0:
                    others.append(r)
            elif place not in chosen or self._trouble(r, following) < self._trouble(chosen[place], following):
                chosen[place] = r
        if chosen:
            opened_anyway = [r for r in (following, *self.goal_places) if r in self.shut]
            extra = [r for r in opened_anyway if r in game.fits[thing] and places[r] in chosen]
            return list(dict.fromkeys([*chosen.values(), *extra]))
        return [min(others, key=lambda r: self._trouble(r, following))] if others else []

    def _trouble(self, r: int, following: int) -> int:
        return int(r in self.shut and r != following)

    def treat(self, o: int, *, ignore: str = "sliced") -> list[Route]:
        """Ways to give the object in hand the goal states it lacks (except slicing)."""
        game, world = self.game, self.world
        able = {
            "clean": (game.cleanable, game.sinks),
            "hot": (game.heatable, game.microwaves),
            "cool": (game.coolable, game.fridges),
        }
        verbs = {"clean": "clean", "hot": "heat", "cool": "cool"}
        stages: list[list[Handling]] = []
        for state in game.goal.states:
            if state == ignore or o in getattr(world, state):
                continue
            objects, appliances = able[state]
            if o not in objects:
                return []
            by_place = {game.places[r]: r for r in sorted(appliances, reverse=True) if game.places[r] >= 0}
            stages.append([Handling(verbs[state], o, r) for r in by_place.values()])
        return [route for order in permutations(stages) for route in product(*order)]

    def targets(self, objects: Sequence[int]) -> list[int]:
        """Goal receptacles worth trying: all at a relevant location, and the cheapest of the rest."""
        game, world = self.game, self.world
        vital = {world.place}
        for o in (*objects, *(game.knives if "sliced" in game.goal.states else ())):
            vital.update(game.places[r] for r in world.inside[o])
        for state, appliances in (("clean", game.sinks), ("hot", game.microwaves), ("cool", game.fridges)):
            if state in game.goal.states:
                vital.update(game.places[r] for r in appliances)
        chosen, rest = [], []
        for r in game.goal_targets:
            if game.places[r] >= 0 and any(r in game.fits[o] or r in world.inside[o] for o in objects):
                (chosen if game.places[r] in vital else rest).append(r)
        if rest:
            chosen.append(min(rest, key=lambda r: r in self.shut))
        return chosen

    # --- whole routes ---------------------------------------------------------------------------------------

    def deliver(self, o: int, r: int, place: int | None = None, hand: int | None = None) -> Iterator[Route]:
        """Ways to put `o` in `r` with all goal states."""
        world = self.world
        here = world.place if place is None else place
        hand = world.in_hand if hand is None else hand
        raw = "sliced" in self.game.goal.states and o not in world.sliced
        treatments = self.treat(o)
        in_place = r in world.inside[o] and treatments == [()]
        put = (Handling("move", o, r),)
        fits = r in self.game.fits[o]
        if not raw:
            for start in self.fetch(o, hand, here):
                # An object in two receptacles stays in the other one when taken from the first.
                stays = r in world.inside[o] and not (start and start[-1].r == r)
                for treatment in treatments:
                    if stays:
                        yield start + treatment
                    elif fits:
                        yield start + treatment + put
            return
        if in_place and world.lies_at[o]:  # only the knife is missing; in a hand-made game it may lie elsewhere
            for where in world.lies_at[o]:
                yield from self.cut(o, hand, here, where)
            return
        if not fits:
            return
        for start in self.fetch(o, hand, here):  # slice last
            for treatment in treatments:
                carried = start + treatment + put
                for cut in self.cut(o, -1, self.game.places[r], self.game.places[r], laid=carried):
                    yield carried + cut
        for first, knife, stop, source in self.cut_first(o, hand, here):
            for start in self.fetch(o, knife, stop, source):
                for treatment in treatments:
                    yield first + start + treatment + put

    def cut(self, o: int, hand: int, here: int, where: int, laid: Route = ()) -> Iterator[Route]:
        """Ways to fetch a knife (unless in hand) and slice `o`, which lies at location `where`."""
        game = self.game
        if o not in game.sliceable or where < 0 or not game.at_place[where]:
            return
        moved = {step.o: step.r for step in laid if step.verb == "move"}
        stop = Handling("slice", o, game.at_place[where][0])
        for knife in sorted(game.knives):
            source = [moved[knife]] if knife in moved else None
            for start in self.fetch(knife, hand, here, source):
                yield (*start, stop._replace(knife=knife))

    def cut_first(self, o: int, hand: int, here: int) -> Iterator[tuple[Route, int, int, list[int]]]:
        """Ways to slice `o` before carrying it: (route, knife in hand, location, receptacles of `o` afterwards)."""
        game, world = self.game, self.world
        if hand == o:
            for r in self.drops(o, here, -1):
                laid = (Handling("move", o, r),)
                for cut in self.cut(o, -1, game.places[r], game.places[r]):
                    yield laid + cut, cut[-1].knife, game.places[r], [r]
            return
        for where in world.lies_at[o]:
            for cut in self.cut(o, hand, here, where):
                yield cut, cut[-1].knife, where, self.sources(o)

    def looks(self) -> Iterator[Route]:
        """Ways to stand at a lit lamp with a goal object in hand."""
        world, game = self.world, self.game
        for o in game.goal_objects:
            raw = "sliced" in game.goal.states and o not in world.sliced
            starts: list[Route] = []
            if not raw:
                starts = list(self.fetch(o, world.in_hand, world.place))
            else:
                for first, knife, stop, source in self.cut_first(o, world.in_hand, world.place):
                    starts += [first + start for start in self.fetch(o, knife, stop, source)]
            for lamp in game.goal_targets:
                verb = "stand" if lamp in world.lit else "use"
                for start, treatment in product(starts, self.treat(o)):
                    laid = [step.r for step in start if step.verb == "move" and step.o == lamp]
                    for r in laid or world.inside[lamp]:
                        if game.places[r] >= 0:
                            yield start + treatment + (Handling(verb, lamp, r),)

    def pairs(self) -> Iterator[Route]:
        """The best way to put two goal objects in each target."""
        world, game = self.world, self.game
        hand, objects = world.in_hand, game.goal_objects
        for r in self.targets(objects):
            ready = [o for o in objects if r in world.inside[o] and world.has_states(o)]
            left = [o for o in objects if o not in ready]
            if len(ready) == 1:
                for o in left:
                    yield from self.deliver(o, r)
                continue
            after: dict[int, tuple[int, Route]] = {}
            for o in left:
                second = self.shortest(self.deliver(o, r, game.places[r], -1), game.places[r])
                if second is not None:
                    after[o] = (self.cost(second, game.places[r]), second)
            firsts = [hand] if hand in left and r in game.fits[hand] else left
            for o in firsts:
                first = self.shortest(self.deliver(o, r))
                if first is None:
                    continue
                for other, (_, second) in after.items():
                    if other not in (o, hand):
                        yield first + second


def _commands(world: World, route: Route) -> tuple[str, ...]:
    game: Game = world.game
    here, shut, out = world.place, set(game.openable - world.opened), []
    for verb, o, r, knife in route:
        name = game.receptacles[r]
        if game.places[r] != here:
            out.append("go to " + name)
            here = game.places[r]
        if verb in _HANDS_IN and r in shut:
            out.append("open " + name)
            shut.discard(r)
        if verb == "take":
            out.append(f"take {game.objects[o]} from {name}")
        elif verb == "move":
            out.append(f"move {game.objects[o]} to {name}")
        elif verb == "use":
            out.append("use " + game.objects[o])
        elif verb == "slice":
            out.append(f"slice {game.objects[o]} with {game.objects[knife]}")
        elif verb != "stand":
            out.append(f"{verb} {game.objects[o]} with {name}")
    return tuple(out)
