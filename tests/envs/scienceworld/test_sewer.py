"""The sewer works out heat late, and then as it would have been worked out at once."""

from __future__ import annotations

from rlsd.envs.scienceworld.engine.world.containers import Basin
from rlsd.envs.scienceworld.engine.world.physics import advance
from rlsd.envs.scienceworld.engine.world.sewer import Sewer
from rlsd.envs.scienceworld.engine.world.state import State
from rlsd.envs.scienceworld.engine.world.stuff import make
from rlsd.envs.scienceworld.engine.world.thing import Thing

ARRIVALS = (10.0, 14.0, 60.0, 99.0, 12.0)


def played(sewer: Thing, last: float) -> list[tuple[str, float]]:
    """Names and temperatures after water has come in at each tick, and once more at the temperature `last`."""
    state = sewer.state
    for temperature in (*ARRIVALS, last):
        water = make(state, "water")
        assert water.material is not None
        water.material.temperature = temperature
        sewer.put(water)
        for _ in range(3):
            state.now += 1
            sewer.tick()
    return [(t.name, t.material.temperature) for t in sewer.inside.items() if t.material is not None]


def test_what_could_boil_makes_it_work_out_all_ticks_before() -> None:
    late, at_once = Sewer(State(advance)), Basin(State(advance), "sewer", "steel")
    assert played(late, 180.0) == played(at_once, 180.0)
    assert late.material == at_once.material


def test_what_stays_liquid_only_notes_ticks_and_keeps_its_names() -> None:
    late, at_once = Sewer(State(advance)), Basin(State(advance), "sewer", "steel")
    told, expected = played(late, 20.0), played(at_once, 20.0)
    assert [name for name, _ in told] == [name for name, _ in expected]
    assert [temperature for _, temperature in told] == [*ARRIVALS, 20.0]
