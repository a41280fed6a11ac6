"""The config: every file loads, every key is known, every change on the command line lands where it says."""

from __future__ import annotations

import itertools
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from rlsd.algorithms import METHODS
from rlsd.envs.registry import known
from rlsd.harness.config import ConfigError, LrConfig, RunConfig, load_config, parse_config
from rlsd.harness.hindsight.contexts import CONTEXTS
from rlsd.harness.iteration.parts import context_names

ROOT = Path(__file__).parents[3]
LAUNCH = sorted((ROOT / "configs" / "launch").iterdir())
FILES = sorted(
    p for p in (ROOT / "configs").rglob("*.yaml") if p not in LAUNCH and p.parent.name not in ("study", "suite")
)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_every_file_in_configs_loads(path: Path) -> None:
    config = load_config(path)
    assert config.env.id in known()
    assert config.env.valid_split != config.env.test_split, "the best checkpoint is not chosen on what is reported"
    assert set(context_names(config)) <= set(CONTEXTS)
    text = path.read_text()
    assert text.startswith("# "), "says what it is for"
    again = parse_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))
    assert again == config, "what a run directory keeps reads back as the same config"


@pytest.mark.parametrize("path", [p for p in LAUNCH if p.suffix == ".yaml"], ids=lambda p: p.name)
@pytest.mark.parametrize("below", ["quickstart.yaml", "alfworld/rlsd_smollm2.yaml"])
def test_every_launch_block_fits_over_a_config(path: Path, below: str) -> None:
    """It changes the machine, not the experiment; the rest of the config stays as it was."""
    alone = load_config(ROOT / "configs" / below)
    blocks = yaml.safe_load(path.read_text())
    assert set(blocks) <= {"learner", "sampler", "rollout"}
    learned = {"lr", "epochs", "minibatches", "temperature", "tasks", "siblings"}
    assert not learned & {key for block in blocks.values() for key in block}
    config = load_config(ROOT / "configs" / below, blocks=[path])
    for name, block in blocks.items():
        assert block.items() <= getattr(config, name).model_dump(mode="json").items()
    same = set(RunConfig.model_fields) - set(blocks)
    assert all(getattr(config, name) == getattr(alone, name) for name in same)
    assert path.read_text().startswith("# ")


def test_every_launch_command_names_what_exists() -> None:
    """Commands in the comments and the Slurm script: files, options, and as many processes as the block expects."""
    for path in LAUNCH:
        text = path.read_text()
        for name in re.findall(r"configs/[\w/.]+\.yaml", text):
            assert (ROOT / name).is_file(), f"{path.name} names {name}"
        if path.suffix == ".yaml" and (learner := yaml.safe_load(text).get("learner", {})).get("processes"):
            each = int((re.findall(r"torchrun .*--nproc_per_node[ =](\d+)", text) or ["1"])[0])
            nodes = int((re.findall(r"--nnodes[ =](\d+)", text) or ["1"])[0])
            assert each * nodes == learner["processes"]
    script = ROOT / "configs" / "launch" / "slurm.sbatch"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_the_kubernetes_job_starts_as_many_processes_as_its_block_expects() -> None:
    service, job = yaml.safe_load_all((ROOT / "configs" / "launch" / "kubernetes.yml").read_text())
    spec = job["spec"]["template"]["spec"]
    [learner] = spec["containers"]
    words = [*learner["command"], *learner["args"]]
    value = dict(itertools.pairwise(words))
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(value["--nnodes"])
    assert learner["resources"]["limits"]["nvidia.com/gpu"] == value["--nproc_per_node"]
    name = job["metadata"]["name"]
    assert value["--rdzv_endpoint"].startswith(f"{name}-0.{spec['subdomain']}:"), "the first pod, by its own name"
    assert service["metadata"]["name"] == spec["subdomain"]
    assert service["spec"]["selector"] == {"job-name": name}
    config = load_config(ROOT / value["train"], [value["--set"]], blocks=[ROOT / value["--with"]])
    assert config.learner.processes == int(value["--nnodes"]) * int(value["--nproc_per_node"])
    mounts = {m["mountPath"] for m in learner["volumeMounts"]}
    assert any(str(config.sampler.weights_folder).startswith(f"{m}/") for m in mounts)


def test_a_block_laid_over_a_config_changes_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("model: {path: m}\nlearner: {lr: 0.5, epochs: 2}\n")
    (tmp_path / "b.yaml").write_text("learner: {epochs: 3}\nsampler: {dispatch: eager}\n")
    config = load_config(tmp_path / "a.yaml", ["learner.minibatches=4"], [tmp_path / "b.yaml"])
    assert (config.learner.lr.peak, config.learner.epochs, config.learner.minibatches) == (0.5, 3, 4)
    assert config.sampler.dispatch == "eager"
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "a.yaml", blocks=[tmp_path / "c.yaml"])
    (tmp_path / "b.yaml").write_text("lerner: {epochs: 3}\n")
    with pytest.raises(ConfigError, match="unknown config key 'lerner'"):
        load_config(tmp_path / "a.yaml", blocks=[tmp_path / "b.yaml"])


def test_there_are_configs() -> None:
    assert len(FILES) >= 2


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_named(name: str) -> None:
    config = parse_config({"model": {"path": "m"}, "algorithm": name})
    assert config.algorithm == METHODS[name].config
    again = parse_config(yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json"))))
    assert again == config


def blocks(model: type[BaseModel]) -> list[type[BaseModel]]:
    found = [model]
    for field in model.model_fields.values():
        for option in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(option, type) and issubclass(option, BaseModel):
                found += blocks(option)
    return found


def test_every_block_is_frozen_and_refuses_unknown_keys() -> None:
    assert len(blocks(RunConfig)) > 12
    for block in blocks(RunConfig):
        assert block.model_config.get("frozen"), block
        assert block.model_config.get("extra") == "forbid", block


def load(tmp_path: Path, *overrides: str, **data: Any) -> RunConfig:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"model": {"path": "m"}, **data}))
    return load_config(path, list(overrides))


@pytest.mark.parametrize(
    "override, value",
    [
        ("learner.lr=1e-5", lambda c: c.learner.lr.peak == 1e-5),
        ("learner.lr=0.5", lambda c: c.learner.lr.peak == 0.5),
        ("seed=7", lambda c: c.seed == 7),
        ("env.kwargs.games=gen-tiny", lambda c: c.env.kwargs == {"games": "gen-tiny"}),
        ("env.kwargs={games: gen-hard, max_steps: 3}", lambda c: c.env.kwargs == {"games": "gen-hard", "max_steps": 3}),
        ("learner.betas=[0.8, 0.9]", lambda c: c.learner.betas == (0.8, 0.9)),
        ("model.lora.rank=4", lambda c: c.model.lora.rank == 4),
        ("rollout.max_turns=null", lambda c: c.rollout.max_turns is None),
        ("tensorboard=false", lambda c: c.tensorboard is False),
        ("algorithm=grpo", lambda c: c.algorithm.name == "grpo"),
        ("algorithm.credit.level=token", lambda c: (c.algorithm.name, c.algorithm.credit.level) == ("rlsd", "token")),
        ("reward=a:b", lambda c: c.reward == "a:b"),
        ("env.id=rlsd/Keys-v0", lambda c: c.env.id == "rlsd/Keys-v0"),
        ("reward=x=y:z", lambda c: c.reward == "x=y:z"),
    ],
)
def test_override(tmp_path: Path, override: str, value: Any) -> None:
    assert value(load(tmp_path, override, algorithm="rlsd"))


def test_later_overrides_win_and_leave_the_rest(tmp_path: Path) -> None:
    config = load(tmp_path, "learner.lr=1", "learner.lr=2", "learner.epochs=3", learner={"weight_decay": 0.5})
    assert (config.learner.lr.peak, config.learner.epochs, config.learner.weight_decay) == (2.0, 3, 0.5)


def test_overriding_a_preset_keeps_its_other_parts(tmp_path: Path) -> None:
    config = load(tmp_path, "algorithm.credit.clip=0.1", algorithm="rlsd")
    want = METHODS["rlsd"].config
    assert config.algorithm.credit == want.credit.model_copy(update={"clip": 0.1})
    assert config.algorithm.loss == want.loss


@pytest.mark.parametrize(
    "data, expected",
    [
        ({"learner": {"lrr": 1}}, r"unknown config key 'learner\.lrr'.* Did you mean 'lr'"),
        ({"modle": {}}, "unknown config key 'modle'.* Did you mean 'model'"),
        ({"model": {"tiny": {"dims": 3}}}, r"unknown config key 'model\.tiny\.dims'.* Did you mean 'dim'"),
        ({"model": {"lora": {"ranks": 3}, "path": "m"}}, r"'model\.lora\.ranks'.* Did you mean 'rank'"),
        (
            {"rollout": {"tasks_per_iteration": 0}},
            r"config rollout\.tasks_per_iteration: .*greater than or equal to 1, got 0",
        ),
        ({"rollout": {"tasks_per_iteration": 0, "max_concurrent": 0}}, r"rollout\..*\(and 1 more\)"),
        ({"agent": {"format": "thinks"}}, r"agent\.format: unknown response format 'thinks'\. Did you mean 'think'\?"),
        ({"algorithm": "gropo"}, "unknown algorithm 'gropo'. Did you mean 'grpo'"),
        ({"algorithm": {"name": "rlsd", "credit": {"lamda": 1}}}, r"credit\.lamda.*'lam'"),
        ({"algorithm": {"credit": {}}}, "needs 'name'"),
        ({"algorithm": 3}, "expected a name or a mapping"),
        ({"sampler": {"top_p": 0.5}}, r"sampler\.top_p is 0\.5"),
        ({"rollout": {"group_size": 1}}, r"group_size is 1, and rlsd compares an episode .* groups of 2 or more"),
        *(
            (
                {"model": {"path": "m", "attention": f"flash_attention_{version}"}},
                rf"flash_attention_{version}, whose kernels take no mask.* use sdpa, or .*sampler\.backend=vllm",
            )
            for version in (2, 3)
        ),
        ({"algorithm": "sft", "learner": {"minibatches": 4}}, "minibatches is 4, and sft takes one step on each iter"),
        ({"algorithm": "sft", "learner": {"epochs": 2}}, "epochs is 2, and sft takes one step on each iteration"),
        ({"learner": {"device": "mps"}}, "config learner.device: 'mps' is not supported: Apple's GPUs"),
        ({"learner": {"device": "xpu"}}, "config learner.device: 'xpu' is not supported: Intel's GPUs"),
        ({"sampler": {"backend": "sglang"}}, "config sampler.backend: 'sglang' is not supported: there is no client"),
        (
            {"model": {"path": "m", "attention": "flex_attention"}, "learner": {"device": "cuda"}},
            r"flex_attention, whose kernels take no mask.* use sdpa, or .*sampler\.backend=vllm",
        ),
        (
            {"model": {"tiny": {}, "attention": "eager"}},
            r"attention is eager, but model\.tiny runs with sdpa: leave it",
        ),
        (
            {"model": {"path": "m", "attention": "flex_attention"}},
            r"no backward pass on a CPU: use sdpa, or set",
        ),
    ],
)
def test_refusals_in_one_line(data: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as refused:
        parse_config({"model": {"path": "m"}, **data} if "model" not in data else data)
    assert "\n" not in str(refused.value)


def test_a_model_has_one_source() -> None:
    for model in ({}, {"path": "m", "tiny": {}}):
        with pytest.raises(ConfigError, match=r"model\.path .* or model\.tiny"):
            parse_config({"model": model})


def test_learning_rate_over_updates() -> None:
    flat = LrConfig(peak=1.0, warmup_updates=4)
    assert [flat.at(u) for u in range(6)] == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    falling = LrConfig(peak=1.0, schedule="cosine", final=0.2, total_updates=12, warmup_updates=2)
    assert falling.at(1) == 1.0
    assert falling.at(2) == 1.0
    assert falling.at(7) == pytest.approx(0.6)
    assert falling.at(12) == pytest.approx(0.2)
    assert falling.at(500) == pytest.approx(0.2)
    values = [falling.at(u) for u in range(2, 13)]
    assert values == sorted(values, reverse=True)
