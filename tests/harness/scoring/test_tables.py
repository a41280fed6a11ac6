"""Which tasks an iteration takes: every epoch shows each of them once, in an order of its own."""

from __future__ import annotations

from rlsd.harness.scoring.tables import epochs

TASKS = [f"t{i}" for i in range(10)]


def order_of(epoch: int, *, seed: int = 0, per: int = 5, name: str = "tasks") -> list[str]:
    steps = range(epoch * len(TASKS) // per, (epoch + 1) * len(TASKS) // per)
    return [task for step in steps for task in epochs(TASKS, per, step, seed=seed, name=name)]


def test_every_epoch_has_each_task_once_in_another_order() -> None:
    orders = [order_of(epoch) for epoch in range(4)]
    assert all(sorted(order) == TASKS for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert orders == [order_of(epoch) for epoch in range(4)], "drawn from the seed alone"


def test_seed_and_name_draw_other_orders() -> None:
    assert len({tuple(order_of(0, seed=seed, name=name)) for seed in (0, 1) for name in ("tasks", "sft")}) == 4


def test_the_order_does_not_depend_on_how_many_tasks_an_iteration_takes() -> None:
    assert order_of(1, per=1) == order_of(1, per=2) == order_of(1, per=5) == order_of(1, per=10)


def test_an_iteration_may_reach_into_the_next_epochs() -> None:
    both = [*order_of(0), *order_of(1), *order_of(2)]
    assert [*epochs(TASKS, 15, 0, seed=0, name="tasks"), *epochs(TASKS, 15, 1, seed=0, name="tasks")] == both
