"""The task types whose rules are covered."""

from __future__ import annotations

from collections.abc import Callable

from rlsd.envs.scienceworld.engine.tasks import checks as g
from rlsd.envs.scienceworld.engine.tasks.assignment import Assignment
from rlsd.envs.scienceworld.engine.tasks.circuits import power, power_by_kind, test_known, test_unknown
from rlsd.envs.scienceworld.engine.tasks.growing import grow_fruit, grow_plant, pea_genes, unknown_genes
from rlsd.envs.scienceworld.engine.tasks.instruments import measure
from rlsd.envs.scienceworld.engine.tasks.living_things import animal_stages, find, lifespan, plant_stages
from rlsd.envs.scienceworld.engine.tasks.matter import change
from rlsd.envs.scienceworld.engine.tasks.melting import known, unknown
from rlsd.envs.scienceworld.engine.tasks.mixing import mix
from rlsd.envs.scienceworld.engine.tasks.paint import secondary, tertiary
from rlsd.envs.scienceworld.engine.tasks.planes import angle, named_surfaces, unnamed_surfaces
from rlsd.envs.scienceworld.engine.world.state import State

_SPAN = (
    "Your task is to find the animal with the {0} life span.  The animals are in the 'outside' location.  Focus on the "
    "animal with the {0} life span."
)
_SPANS = (
    "Your task is to find the animal with the longest life span, then the shortest life span. First, focus on the "
    "animal with the longest life span.  Then, focus on the animal with the shortest life span. The animals are in the "
    "'outside' location. "
)
ASSIGN: dict[str, Callable[[State, int], Assignment]] = {
    "find-living-thing": find("living thing", g.LIVING, "focus on a living thing", 0),
    "find-non-living-thing": find("non-living thing", g.not_living, "focus on a non-living thing", 1),
    "find-plant": find("plant", g.PLANT, "focus on a plant", 2),
    "find-animal": find("animal", g.ANIMAL, "focus on an animal", 3),
    "lifespan-longest-lived": lifespan(_SPAN.format("longest"), "longest"),
    "lifespan-shortest-lived": lifespan(_SPAN.format("shortest"), "shortest"),
    "lifespan-longest-lived-then-shortest-lived": lifespan(_SPANS, "longest", "shortest"),
    "identify-life-stages-1": animal_stages,
    "identify-life-stages-2": plant_stages,
    "chemistry-mix-paint-secondary-color": secondary,
    "chemistry-mix-paint-tertiary-color": tertiary,
    "inclined-plane-determine-angle": angle,
    "inclined-plane-friction-named-surfaces": named_surfaces,
    "inclined-plane-friction-unnamed-surfaces": unnamed_surfaces,
    "change-the-state-of-matter-of": change("change the state of matter of", 0),
    "melt": change("melt", 1),
    "boil": change("boil", 2),
    "freeze": change("freeze", 3),
    "use-thermometer": measure,
    "measure-melting-point-known-substance": known,
    "measure-melting-point-unknown-substance": unknown,
    "power-component": power,
    "power-component-renewable-vs-nonrenewable-energy": power_by_kind,
    "test-conductivity": test_known,
    "test-conductivity-of-unknown-substances": test_unknown,
    "chemistry-mix": mix,
    "grow-plant": grow_plant,
    "grow-fruit": grow_fruit,
    "mendelian-genetics-known-plant": pea_genes,
    "mendelian-genetics-unknown-plant": unknown_genes,
}
"""Covered task types: state and variation → what is asked."""
