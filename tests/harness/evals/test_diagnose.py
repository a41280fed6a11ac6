"""The Δ diagnostic: which actions it counts as bringing the goal nearer."""

from __future__ import annotations

from pathlib import Path

from rlsd.agents.chat import ChatFormat
from rlsd.agents.formats import FORMATS
from rlsd.agents.hf.models import save_policy
from rlsd.agents.memory import LastTurns
from rlsd.agents.policy import PolicyAgent
from rlsd.agents.scripted import EchoSampler
from rlsd.harness.config import parse_config
from rlsd.harness.evals.diagnose import HintedAgent, diagnose
from rlsd.harness.hindsight.hints import Hinter, HintSettings
from rlsd.harness.iteration.parts import build
from tests.support.misbehaving import Misbehaving, reasons
from tests.support.plain_worlds import Pacing
from tests.support.rollouts import play
from tests.support.smallest_run import BASE
from tests.support.tokenizers import chatml


def test_only_a_smaller_distance_counts_as_nearer(tmp_path: Path) -> None:
    """Each episode takes one step towards the goal, stands still twice and takes one step away."""
    save_policy(build(parse_config(BASE)).policy, tmp_path)
    env = {"id": "tests.support.plain_worlds:Pacing", "kwargs": {"length": 4}}
    algorithm = {"name": "rlsd", "contexts": ["distance"]}
    config = parse_config({**BASE, "env": env, "model": {"path": str(tmp_path)}, "algorithm": algorithm})
    found = diagnose(build(config), episodes=3, views=False)
    assert Pacing.DISTANCES == (3, 2, 2, 2, 3)
    assert found["counts"]["given"] == 12
    assert found["actions"] == {"nearer": 3, "not_nearer": 9}


def test_wrong_hindsight_fails_its_episode_in_the_teacher_view_too() -> None:
    """The hinted agent asks the environment itself; good tasks go on, and nothing ends."""
    chat = ChatFormat(chatml())
    agent = PolicyAgent(chat=chat, memory=LastTurns(format=FORMATS["compact"]), sampler=EchoSampler(), max_new_tokens=4)
    settings = HintSettings(contexts=("plan",), max_tokens=256)
    hinted = HintedAgent(agent, Hinter(settings, chat, context=4096, max_new_tokens=4))
    only = "good-0|hindsight None|hindsight raises SystemExit|plan numbers|plan half a pair"
    groups = play(lambda: Misbehaving(only=only), hinted, tasks=list(Misbehaving(only=only).tasks()), siblings=1,
                  retries=0, hindsight=False)  # fmt: skip
    found = {t.task.task_id: (t.error.boundary, t.error.reason) for g in groups for t in g.failed if t.error}
    assert found == {name: reasons()[name] for name in only.split("|")[1:]}
    assert [t.task.task_id for g in groups for t in g.trajectories] == ["good-0"]
