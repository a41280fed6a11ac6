"""Whatever an environment answers or raises is one failed episode with a reason; its siblings and the run go on."""

from __future__ import annotations

import json
import math
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlsd.agents.scripted import ExpertAgent
from rlsd.envs.answers import RULES, well_formed
from rlsd.envs.core import Hindsight, TextEnv
from rlsd.envs.errors import AnswerError, EnvError
from rlsd.envs.registry import make
from rlsd.envs.remote.processes import WorkerPool
from rlsd.envs.remote.wire import RemoteEnv
from rlsd.harness.cli.app import main
from rlsd.harness.config import parse_config
from rlsd.harness.evals.evaluate import evaluate
from rlsd.harness.report.report import write_report
from rlsd.harness.rollout.recorded import read_trajectories
from rlsd.harness.rollout.rollout import Rollout, RolloutError, RolloutSettings, check_some_played
from rlsd.harness.rollout.trajectory import Failure, Group, StopReason, Trajectory
from rlsd.harness.runs.metrics import read_metrics
from rlsd.harness.runs.progress import Progress, counted
from rlsd.harness.scoring.tables import episode_metrics, token_batch
from rlsd.harness.serve.env import env_app, opener
from rlsd.harness.serve.guard import Limits
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.train import train
from tests.support.misbehaving import BENIGN, FAULTS, GOOD, Misbehaving, Unopenable, reasons
from tests.support.plain_worlds import Plain
from tests.support.rollouts import WALK, play
from tests.support.smallest_run import small_run
from tests.support.viewer_page import Page

SPEC = "tests.support.misbehaving:Misbehaving"
COUNTS = dict(Counter(fault.reason for fault in FAULTS.values()))


def played(make_env: Callable[[], TextEnv], *, siblings: int = 2, **settings: Any) -> list[Group]:
    """All tasks of the misbehaving environment."""
    return play(make_env, tasks=list(Misbehaving().tasks()), siblings=siblings, slots=6, retries=0, **settings)


def told(groups: list[Group]) -> dict[str, list[tuple[str, str]]]:
    """Task → (boundary, reason) of every failed episode."""
    failed = [t for g in groups for t in g.failed]
    out: dict[str, list[tuple[str, str]]] = {}
    for t in failed:
        assert t.error is not None
        out.setdefault(t.task.task_id, []).append((t.error.boundary, t.error.reason))
    return out


def check(groups: list[Group], *, siblings: int = 2) -> None:
    """Every fault is counted as what it is, once for each sibling; everybody else wins."""
    assert told(groups) == {name: [reason] * siblings for name, reason in reasons().items()}
    for group in groups:
        for failed in group.failed:
            assert failed.stop is StopReason.ERROR
            assert not failed.success
            assert failed.score == 0.0
            assert math.isfinite(failed.episode_return)
            json.dumps(failed.to_json(), allow_nan=False).encode()
    good = [t for g in groups for t in g.trajectories]
    assert [t.task.task_id for t in good] == [name for name in (*GOOD, *BENIGN) for _ in range(siblings)]
    assert [(t.success, t.episode_return, len(t.turns)) for t in good] == [(True, 1.0, 3)] * len(good)
    metrics = episode_metrics(groups)
    assert metrics["failed_episodes"] == siblings * len(FAULTS)
    assert metrics["failures"] == {reason: siblings * count for reason, count in COUNTS.items()}
    assert list(metrics["failures"].values()) == sorted(metrics["failures"].values(), reverse=True)
    assert bool(token_batch(groups).returns.isfinite().all())


@pytest.fixture(scope="module")
def here() -> list[Group]:
    return played(Misbehaving)


def messages(groups: list[Group]) -> dict[str, str]:
    """Task → message of the broken rule."""
    failed = [t for g in groups for t in g.failed]
    return {t.task.task_id: t.error.message for t in failed if t.error is not None and t.error.reason in RULES}


def test_every_wrong_answer_is_a_failed_episode_with_its_reason(here: list[Group]) -> None:
    check(here)
    assert set(COUNTS) == {*RULES, "raised"}, "the environment breaks every rule"


def test_the_same_in_threads(here: list[Group]) -> None:
    groups = played(lambda: Misbehaving(threads=True), step_timeout_s=60.0)
    check(groups)
    assert messages(groups) == messages(here)


def test_the_same_in_worker_processes(here: list[Group]) -> None:
    with WorkerPool(2) as pool:
        groups = played(lambda: pool.open(SPEC), step_timeout_s=60.0)
    check(groups)
    assert messages(groups) == messages(here)


@contextmanager
def serving(spec: str) -> Iterator[str]:
    limits = Limits()
    with Background(Listener(env_app(opener(spec, {}, workers=0), limits), token=None, limits=limits)) as url:
        yield url


def test_the_same_over_http(here: list[Group]) -> None:
    with serving(SPEC) as url:
        groups = played(lambda: make(url), siblings=1, step_timeout_s=60.0)
    check(groups, siblings=1)
    assert messages(groups) == messages(here)


def test_messages_say_what_was_given_and_what_is_expected(here: list[Group]) -> None:
    found = {t.task.task_id: str(t.error) for g in here for t in g.failed}
    shape = "expected (observation, reward, terminated, truncated, info)"
    assert found["step gives None"] == f"env.step: step gave None, {shape}"
    assert found["step gives four values"] == f"env.step: step gave 4 values, {shape}"
    assert found["reset gives two letters"] == "env.reset: reset gave the str 'ab', expected (observation, info)"
    assert found["reward NaN"] == "env.step: the reward is nan, expected a finite number of at most 1e+30"
    assert found["success a text"] == "env.step: info['success'] is the str 'False', expected True or False"
    assert found["commands numbers"] == "env.reset: info['admissible_actions'][1] is the int 1, expected a text"
    assert found["observation huge"] == (
        "env.step: the observation has 100,000,000 characters, at most 1,000,000 are read"
    )
    assert found["observation half a pair"] == (
        "env.step: the observation has the lone surrogate '\\ud83d' at character 16; "
        "rlsd.envs.answers.well_formed(text) replaces it"
    )
    assert found["plan a text"] == "env.hindsight: hindsight.plan is the str 'walk', expected a list of texts"
    assert found["step raises SystemExit"] == "env.step: SystemExit: on purpose"
    assert found["step raises Unspeakable"] == "env.step: Unspeakable: (its message raised ValueError)"


def test_benign_answers_become_plain_values(here: list[Group]) -> None:
    by_task = {t.task.task_id: t for g in here for t in g.trajectories}
    assert type(by_task["reward NumPy"].turns[-1].reward) is float
    assert type(by_task["score NumPy"].score) is float
    assert by_task["first observation with a null"].turns[0].observation == "a \0 room"
    assert by_task["first observation empty"].turns[0].observation == ""
    assert by_task["first info empty"].goal == ""
    assert by_task["feedback None"].turns[0].feedback == ""
    assert by_task["plan a list"].turns[0].hindsight_before == Hindsight(plan=("walk",))
    assert by_task["distance NumPy"].turns[0].hindsight_before.distance == 2.5


def test_a_wrong_answer_is_not_tried_again_but_an_exception_is() -> None:
    seen: list[Trajectory] = []

    class Watched(Misbehaving):
        def reset(self, **kwargs: Any) -> Any:
            asked.append(kwargs["options"]["task"])
            return super().reset(**kwargs)

    asked: list[str] = []
    tasks = [t for t in Misbehaving().tasks() if t.task_id in ("reward NaN", "step raises RuntimeError", "good-0")]
    seen += [t for g in play(Watched, tasks=tasks, siblings=1, retries=3) for t in g.failed]
    assert Counter(asked) == {"good-0": 1, "reward NaN": 1, "step raises RuntimeError": 4}
    assert [(t.task.task_id, t.key.attempt) for t in seen] == [("step raises RuntimeError", 3), ("reward NaN", 0)]


def test_every_episode_wrong_is_an_error_that_says_how() -> None:
    tasks = [t for t in Misbehaving().tasks() if t.task_id == "reward NaN"]
    with pytest.raises(RolloutError, match=r"all 2 episodes failed .* env\.step: the reward is nan, expected a finite"):
        play(Misbehaving, tasks=tasks, siblings=2)


def test_one_process_s_share_may_fail_as_a_whole() -> None:
    """Of several processes, each plays some of the tasks: one whose only task is broken goes on with the others."""
    tasks = [t for t in Misbehaving().tasks() if t.task_id in ("good-0", "reward NaN")]
    rollout = Rollout(Misbehaving, WALK, RolloutSettings(retries=0))
    shares = [rollout.groups([tasks[i]], 2, stream="train", iteration=0, numbers=[i]) for i in range(2)]
    assert [[(len(g.trajectories), len(g.failed)) for g in share] for share in shares] == [[(2, 0)], [(0, 2)]]
    check_some_played([*shares[0], *shares[1]])
    with pytest.raises(RolloutError, match="all 2 episodes failed"):
        check_some_played(shares[1])


# ---------------------------------------------------------------------- a Ctrl-C of the user


class Interrupted(Plain):
    """The user presses Ctrl-C while a step runs, once."""

    def __init__(self, left: list[int]) -> None:
        super().__init__()
        self.left = left

    def step(self, action: str) -> Any:
        if self.left:
            signal.raise_signal(self.left.pop())
        return super().step(action)


def at_once(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("handler", [signal.default_int_handler, at_once], ids=["event loop's", "raises at once"])
@pytest.mark.parametrize("blocking", [False, True])
def test_a_ctrl_c_of_the_user_ends_the_rollout(handler: Any, blocking: bool) -> None:
    left: list[int] = [signal.SIGINT]

    def opened() -> TextEnv:
        env = Interrupted(left)
        env.blocking = blocking
        return env

    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            play(opened)
        assert signal.getsignal(signal.SIGINT) is handler, "as it was"
    finally:
        signal.signal(signal.SIGINT, before)


# ---------------------------------------------------------------------- evaluation and training


def test_an_evaluation_counts_reasons() -> None:
    settings = RolloutSettings(slots=4, retries=0, hindsight=False)
    result = evaluate(Misbehaving, WALK, stream="test", settings=settings)
    summary = result.summary()
    failed = {name: fault for name, fault in FAULTS.items() if fault.call != "hindsight"}
    assert summary["episodes"] == len(Misbehaving().tasks())
    assert summary["errors"] == len(failed)
    assert summary["failures"] == dict(Counter(fault.reason for fault in failed.values()))
    assert summary["success"] == 1 - len(failed) / summary["episodes"]
    assert {n for n, won in result.wins().items() if not won} == set(failed)
    first = result.first_failures()["reward"]
    assert first == Failure(
        boundary="env.step", message="the reward is nan, expected a finite number of at most 1e+30", reason="reward"
    )


def test_eval_prints_reasons_and_the_first_failure_of_each(capsys: pytest.CaptureFixture[str]) -> None:
    only = "good-0|good-1|reward NaN|reward None|step raises RuntimeError"
    arguments = ["eval", "--env", SPEC, "--split", "test", "--agent", "random", "--arg", f"only={only}"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert "errors 3 (reward 2, raised 1)" in " ".join(out.split())
    assert "failed: env.step: the reward is nan, expected a finite number of at most 1e+30\n" in out
    assert "failed: env.step: RuntimeError: on purpose\n" in out
    with pytest.raises(SystemExit):
        main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["failures"] == {"reward": 2, "raised": 1}


def test_counted_is_the_number_alone_where_no_reason_is_known() -> None:
    assert counted(2, {}) == "2"


def test_a_run_goes_on_and_says_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two iterations over all faults: metrics, the console, the episodes that are kept, and the report."""
    tasks = len(Misbehaving().tasks())
    config = small_run(
        env={"id": SPEC, "kwargs": {}},
        agent={"format": "compact", "memory": "last", "max_new_tokens": 2},
        rollout={"tasks_per_iteration": tasks, "group_size": 2, "retries": 0},
        algorithm={"name": "rlsd", "contexts": ["plan"]},
        save_rollouts_every=1,
    )
    config["model"] = {"path": str(model(tmp_path))}
    train(parse_config(config), tmp_path / "run", progress=Progress(total=2))
    records = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [r["step"] for r in records] == [0, 1]
    for record in records:
        assert record["failed_episodes"] == 2 * len(FAULTS)
        assert record["episodes"] == 2 * (tasks - len(FAULTS))
        assert record["failures"] == {reason: 2 * count for reason, count in COUNTS.items()}
        assert record["success"] == 1.0
        assert math.isfinite(record["returns"])
        assert math.isfinite(record["loss"])
        assert record["grad_norm"] > 0
    said = " ".join(capsys.readouterr().err.split())
    for reason in COUNTS:
        assert said.count(f"episodes fail in the environment ({reason}), the first with env.") == 1, "once a run"
    assert f"failed {2 * len(FAULTS)} (raised {2 * COUNTS['raised']}, " in said
    page = Page.of(write_report(tmp_path / "run", step=2))
    about = page.start["runs"][0]
    assert about["failed"] == 4 * len(FAULTS)
    assert about["failures"][0] == ["raised", 4 * COUNTS["raised"]]
    told = [e["failure"] for e in page.episodes.values()]
    assert told.count("env.step: the reward is None, expected a number") == 2
    kept = tmp_path / "run" / "rollouts" / "step-000001.jsonl.gz"
    assert len(read_trajectories(kept, "x")) == records[1]["episodes"], "failed episodes are no demonstrations"


def model(folder: Path) -> Path:
    """A tiny model in a folder: the misbehaving environment has no expert to make one from."""
    from rlsd.agents.hf.models import save_policy
    from rlsd.harness.iteration.parts import build

    save_policy(build(parse_config(small_run())).policy, folder / "model")
    return folder / "model"


# ---------------------------------------------------------------------- remote ends of the wire


class Scripted:
    """A transport whose server answers anything."""

    def __init__(self, replies: dict[str, Any]) -> None:
        self.replies = {"about": {"max_chars": 100}, **replies}

    def ask(self, op: str, arguments: dict[str, Any]) -> Any:
        return self.replies[op]

    def close(self) -> None: ...

    def abandon(self) -> None: ...


@pytest.mark.parametrize(
    ("op", "reply", "rule"),
    [
        ("reset", None, "answer"),
        ("reset", ["a", None], "info"),
        ("step", {"0": 1}, "answer"),
        ("step", ["a", "1.0", False, False, {}], "reward"),
        ("step", ["a", 1.0, "no", False, {}], "ended"),
        ("hindsight", None, "hindsight"),
        ("hindsight", {"plna": []}, "hindsight"),
        ("hindsight", {"plan": "walk"}, "hindsight"),
        ("hindsight", {"distance": "near"}, "hindsight"),
    ],
)
def test_a_server_s_answer_is_checked_here_too(op: str, reply: Any, rule: str) -> None:
    env = RemoteEnv(Scripted({op: reply}))
    calls: dict[str, Callable[[], Any]] = {
        "reset": env.reset,
        "step": lambda: env.step("x"),
        "hindsight": env.hindsight,
    }
    with pytest.raises(AnswerError) as caught:
        calls[op]()
    assert caught.value.rule == rule


def test_an_environment_that_exits_while_it_is_opened_ends_neither_worker_nor_server() -> None:
    with WorkerPool(1) as pool:
        with pytest.raises(EnvError, match="SystemExit: not today"):
            pool.open("tests.support.misbehaving:Unopenable")
        pool.open("rlsd/Keys-v0").close()
    opened = iter([Unopenable, Plain])
    limits = Limits()
    app = env_app(lambda **_: next(opened)(), limits)
    with Background(Listener(app, token=None, limits=limits)) as url:
        with pytest.raises(EnvError, match="SystemExit: not today"):
            make(url)
        make(url).close()


# ---------------------------------------------------------------------- small parts


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain", "plain"), ("é 🙂", "é 🙂"), ("a\ud800b", "a\ufffdb"), ("\udfff\ud83d", "\ufffd\ufffd")],
)
def test_well_formed_replaces_lone_surrogates_alone(text: str, expected: str) -> None:
    assert well_formed(text) == expected


def test_failures_are_read_back_from_files_with_and_without_a_reason() -> None:
    (failed,) = play(
        lambda: Misbehaving(only="reward NaN|good-0"),
        tasks=list(Misbehaving(only="reward NaN").tasks()) + list(Misbehaving(only="good-0").tasks()),
        siblings=1,
    )[0].failed
    data = failed.to_json()
    assert Trajectory.from_json(data).error == failed.error
    del data["error"]["reason"]
    assert Trajectory.from_json(data).error == Failure(boundary="env.step", message=failed.error.message)  # type: ignore[union-attr]


def test_an_expert_that_is_absent_still_stops_the_run() -> None:
    with pytest.raises(EnvError, match="no 'oracle' expert"):
        play(Misbehaving, ExpertAgent("oracle"), tasks=list(Misbehaving(only="good-0").tasks()))
