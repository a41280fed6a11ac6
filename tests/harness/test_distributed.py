"""Who plays and who trains what: every number belongs to one process, whatever their number."""

from __future__ import annotations

import pytest

from rlsd.harness.distributed import Ranks


@pytest.mark.parametrize("world", [1, 2, 3, 5])
def test_groups_are_shared_out(world: int) -> None:
    shares = [Ranks(rank=r, world=world).share(7) for r in range(world)]
    assert sorted(i for share in shares for i in share) == list(range(7))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize("world", [1, 2, 3])
def test_trajectories_are_shared_out_by_cost(world: int) -> None:
    costs = [9.0, 1.0, 1.0, 1.0, 5.0, 4.0, 2.0, 4.0]
    owned = [Ranks(rank=r, world=world).balanced(costs) for r in range(world)]
    assert sorted(i for mine in owned for i in mine) == list(range(len(costs)))
    loads = [sum(costs[i] for i in mine) for mine in owned]
    assert max(loads) - min(loads) <= max(costs) / 2
