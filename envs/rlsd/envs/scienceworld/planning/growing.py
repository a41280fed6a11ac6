"""Growing plants in pots, and fruit by pollen carried from one flower to another."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.session import Session
from rlsd.envs.scienceworld.engine.tasks.episode import REACHED
from rlsd.envs.scienceworld.engine.world.containers import FlowerPot
from rlsd.envs.scienceworld.engine.world.devices import Shovel
from rlsd.envs.scienceworld.engine.world.places import Ground
from rlsd.envs.scienceworld.engine.world.plants import DEAD, SEED, SEEDLING, Flower, Plant, Pollen
from rlsd.envs.scienceworld.engine.world.thing import Thing
from rlsd.envs.scienceworld.planning.focusing import present
from rlsd.envs.scienceworld.planning.water import empty_vessel, fill, vessels
from rlsd.envs.scienceworld.planning.ways import Step, focus, go, held, named, nearest, reach, room_of, say, take


def grow_plant(world: Session) -> Step | None:
    """Towards one plant that grows in a pot and is focused on."""
    plant = world.goals.last
    if plant is None:
        plant = nearest(world, [one for one in _potted(world, present(world).asks) if one.is_seed()])
    if not isinstance(plant, Plant):
        return _sow(world, present(world).asks)
    if world.focus is not plant:
        return focus(world, plant)
    return _tend(world, [plant])


def grow_fruit(world: Session) -> Step | None:
    """Towards a fruit: any that is there, else one from two plants."""
    goal = present(world)
    fruit = nearest(world, [thing for thing in named(world, goal.asks) if goal.check(world, thing) == REACHED])
    if fruit is not None:
        return focus(world, fruit)
    plants = _potted(world, goal.asks)
    if len(plants) < 2:
        return _sow(world, goal.asks)
    return _pollinate(world, plants) or _tend(world, plants)


def _potted(world: Session, kind: str) -> list[Plant]:
    """Plants of that kind that live in a pot with soil, in the order they were made."""
    plants = [thing for thing in world.things() if isinstance(thing, Plant) and thing.life.kind == kind]
    alive = [plant for plant in plants if plant.cycle.at != DEAD and isinstance(plant.place, FlowerPot)]
    return sorted((plant for plant in alive if _has(plant.place, "soil")), key=lambda plant: plant.number)


def _has(holder: Thing | None, name: str) -> bool:
    return holder is not None and any(thing.name == name for thing in holder.inside.items())


def _sow(world: Session, kind: str) -> Step | None:
    """Towards a seed in a pot of its own with soil."""
    pots = [thing for thing in world.things() if isinstance(thing, FlowerPot)]
    free = [pot for pot in pots if not any(isinstance(thing, Plant) for thing in pot.inside.items())]
    ready = [pot for pot in free if _has(pot, "soil")]
    if not ready:
        return _add_soil(world, min(free, key=lambda pot: pot.number, default=None))
    pot = min(ready, key=lambda pot: pot.number)
    loose = [
        thing
        for thing in world.things()
        if isinstance(thing, Plant) and thing.life.kind == kind and thing.is_seed() and thing.place not in pots
    ]
    seed = nearest(world, loose)
    if seed is None:
        return None
    if not held(world, seed) and room_of(world, seed) is not room_of(world, pot):
        return take(world, seed)
    return reach(world, pot) or say(world, "move", seed, "to", pot)


def _add_soil(world: Session, pot: Thing | None) -> Step | None:
    """Towards soil in a pot; it is dug up where none lies about."""
    soil = nearest(world, [thing for thing in named(world, "soil") if not isinstance(thing.place, FlowerPot)])
    if pot is None:
        return None
    if soil is not None:
        return take(world, soil) or reach(world, pot) or say(world, "move", soil, "to", pot)
    things = world.things()
    shovel = nearest(world, [thing for thing in things if isinstance(thing, Shovel)])
    ground = next((thing for thing in things if isinstance(thing, Ground)), None)
    if shovel is None or ground is None:
        return None
    return take(world, shovel) or reach(world, ground) or say(world, "use", shovel, "on", ground)


def _tend(world: Session, plants: list[Plant]) -> Step | None:
    """Water what needs it, else wait."""
    for plant in plants:
        pot = plant.place
        if pot is not None and plant.cycle.at in (SEED, SEEDLING) and not _has(pot, "water"):
            return _water(world, pot)
    return ("wait1",)


def _water(world: Session, pot: Thing) -> Step | None:
    full = [vessel for vessel in vessels(world) if {thing.name for thing in vessel.visible()} == {"water"}]
    vessel = nearest(world, full)
    if vessel is None:
        return go(world, room_of(world, pot)) or fill(world, empty_vessel(world))
    if not held(world, vessel) and room_of(world, vessel) is not room_of(world, pot):
        return take(world, vessel)
    return reach(world, pot) or say(world, "pour", vessel, "in", pot)


def _pollinate(world: Session, plants: list[Plant]) -> Step | None:
    """Carry the pollen of one plant to a flower of another."""
    flowers = [flower for plant in plants for flower in plant.inside.items() if isinstance(flower, Flower)]
    if any(flower.pollinated for flower in flowers):
        return None
    for flower in flowers:
        for other in flowers:
            for pollen in other.inside.items():
                if isinstance(pollen, Pollen) and pollen.parent is not flower.parent:
                    return reach(world, pollen) or say(world, "move", pollen, "to", flower)
    return None
