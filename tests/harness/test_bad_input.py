"""What a user can get wrong ends in one clear line and exit code 2, never in a traceback."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd.agents.models import ModelError, load_policy
from rlsd.harness import checkpoint
from rlsd.harness.checkpoint import CheckpointError
from rlsd.harness.cli import main
from rlsd.harness.config import parse_config
from rlsd.harness.rundir import RunDir, RunError

BASE: dict[str, Any] = {
    "iterations": 1,
    "algorithm": "rlsd",
    "env": {"id": "rlsd/ALFWorld-v0", "kwargs": {"games": "gen-tiny", "max_steps": 3}},
    "model": {"tiny": {"layers": 1, "dim": 16, "heads": 2, "vocab": 400, "context": 512, "text_episodes": 2}},
    "agent": {"style": "compact", "memory": "full", "max_new_tokens": 4},
    "rollout": {"tasks": 1, "siblings": 2},
    "hindsight": {"max_tokens": 128},
    "eval": {"every": 1, "episodes": 1, "at_start": False},
    "reward": "tests.plain_worlds:odd_tokens",
    "tensorboard": False,
}
Cli = Callable[..., str]


@pytest.fixture
def fails(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs the command line, which must exit with 2 after one line on stderr; that line."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        told = capsys.readouterr().err
        assert stop.value.code == 2, told
        assert told.count("\n") == 1, told
        assert "Error: " in told
        return told

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(BASE))
    return path


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a checkpoint and best weights; tests copy it before they break it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "run.yaml").write_text(yaml.safe_dump(BASE))
    with pytest.raises(SystemExit) as stop:
        main(["train", str(folder / "run.yaml"), "--run", str(folder / "run"), "--quiet"])
    assert not stop.value.code
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "copy"))


# ---------------------------------------------------------------------- config files and overrides


@pytest.mark.parametrize(
    "override, expected",
    [
        ("learner.lrr=1", ["learner.lrr", "Did you mean 'lr'?"]),
        ("iteration=3", ["iteration", "Did you mean 'iterations'?"]),
        ("model.tiny.layer=3", ["model.tiny.layer", "'layers'"]),
        ("algorithm=rlds", ["'rlds'", "Did you mean 'rlsd'?"]),
        ("algorithm.credit.levle=token", ["levle", "'level'"]),
        ("algorithm.credit.level=tokens", ["tokens", "'token'"]),
        ("algorithm.contexts=[plann]", ["plann", "Did you mean 'plan'?"]),
        ("algorithm.contexts=[nowhere:thing]", ["nowhere:thing", "cannot import"]),
        ("env.id=rlsd/ALFWrld-v0", ["rlsd/ALFWrld-v0", "rlsd/ALFWorld-v0"]),
        ("env.id=nowhere:Env", ["nowhere", "cannot be imported"]),
        ("env.kwargs.gamse=gen-tiny", ["gamse", "Did you mean 'games'?"]),
        ("env.kwargs.games=gen-tyni", ["gen-tyni", "Did you mean 'gen-tiny'?"]),
        ("env.train_split=trian", ["trian", "'train'"]),
        ("env.valid_split=vald", ["vald", "'valid'"]),
        ("learner.lr=-1", ["learner.lr", "-1"]),
        ("learner.lr=fast", ["learner.lr", "fast"]),
        ("model.tiny.heads=3", ["model.tiny.dim", "model.tiny.heads"]),
        ("model.path=somewhere", ["model.path", "model.tiny"]),
        ("sampler.top_p=0.9", ["sampler.top_p", "training", "set it to 1"]),
        ("hindsight.max_tokens=1", ["hindsight.max_tokens", "raise it"]),
        ("hindsight.max_tokens=500", ["leave", "of 512 context tokens"]),
        ("learner.device=cuda", ["learner.device", "CUDA"]),
        ("reward=nowhere:reward", ["reward", "cannot import 'nowhere:reward'"]),
        ("reward=math:cosinus", ["reward", "cosinus"]),
        ("reward=math:pi", ["reward", "float", "expected a function"]),
        ("reward=math", ["expected module:function"]),
        ("reward=:cos", ["expected module:function"]),
        ("learner.lr", ["expected name=value"]),
        ("=1", ["expected name=value"]),
        ("learner.lr=[1", ["learner.lr=[1", "not YAML"]),
        ("sampler.urls=[127.0.0.1:8000]", ["'127.0.0.1:8000'", "http://127.0.0.1:8000"]),
        ("sampler.urls=[http://a:1,http://a:1]", ["names http://a:1 more than once"]),
        ("env.id=http://127.0.0.1:9", ["http://127.0.0.1:9 takes no", "--set env.kwargs={}"]),
        ("iterations.more=1", ["'iterations' is a value, not a block"]),
        ("sft.trajectories=nowhere.jsonl", ["sft.trajectories", "nowhere.jsonl"]),
    ],
)
def test_override(fails: Cli, config: Path, tmp_path: Path, override: str, expected: list[str]) -> None:
    if "cuda" in override:
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a CUDA device")
    told = fails("train", config, "--run", tmp_path / "run", "--quiet", "--set", override)
    assert all(part in told for part in expected), told
    assert not list((tmp_path / "run").rglob("*.safetensors"))


def test_context_too_small_for_a_single_prompt(fails: Cli, config: Path, tmp_path: Path) -> None:
    told = fails(
        *("train", config, "--run", tmp_path / "run", "--quiet", "--set", "agent.context=64"),
        *("--set", "hindsight.max_tokens=30", "--set", "eval.every=0"),
    )
    assert "none of 2 episodes got as far as one action" in told
    assert "agent.context" in told


@pytest.mark.parametrize(
    "override, expected",
    [
        ("algorithm.contexts=[plann]", "Did you mean 'plan'?"),
        ("reward=math:cosinus", "cosinus"),
        ("env.kwargs.games=gen-tyni", "Did you mean 'gen-tiny'?"),
    ],
)
def test_names_are_checked_before_a_model_loads(
    fails: Cli, config: Path, tmp_path: Path, override: str, expected: str
) -> None:
    model = ("--set", "model.tiny=null", "--set", f"model.path={tmp_path}/none")
    assert "there is no folder" in fails("train", config, "--run", tmp_path / "run", *model)
    assert expected in fails("train", config, "--run", tmp_path / "run", *model, "--set", override)


def test_reward_module_that_breaks_on_import(fails: Cli, config: Path, tmp_path: Path) -> None:
    (tmp_path / "broken_reward.py").write_text("def reward(:\n")
    sys.path.insert(0, str(tmp_path))
    try:
        told = fails("train", config, "--run", tmp_path / "run", "--set", "reward=broken_reward:reward")
    finally:
        sys.path.remove(str(tmp_path))
    assert "SyntaxError" in told


@pytest.mark.parametrize(
    "text, expected",
    [
        ("- a\n- b\n", "expected a mapping"),
        ("a: [1\n", "not YAML"),
        ("", "expected a mapping"),
        ("iterations: 1\n", "model"),
        ("model: {}\n", "model.tiny"),
        (b"\xff\xfe\x00", "no text file"),
    ],
)
def test_config_file(fails: Cli, tmp_path: Path, text: str | bytes, expected: str) -> None:
    path = tmp_path / "odd.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    assert expected in fails("train", path, "--run", tmp_path / "run")


def test_no_config_file(fails: Cli, tmp_path: Path) -> None:
    assert "No such file" in fails("train", tmp_path / "none.yaml")
    (tmp_path / "empty").mkdir()
    assert "empty" in fails("train", tmp_path / "empty")


# ---------------------------------------------------------------------- environments and agents by name


def test_unknown_environment_and_agent(fails: Cli) -> None:
    assert "rlsd/ALFWorld-v0" in fails("eval", "--env", "rlsd/AlfWorld-v0")
    assert "Did you mean 'explorer'?" in fails("eval", "--env", "rlsd/Keys-v0", "--agent", "explorerr")
    assert "give a config file" in fails("eval")
    assert "expected name=value" in fails("eval", "--env", "rlsd/Keys-v0", "--arg", "games")
    assert "not YAML" in fails("eval", "--env", "rlsd/Keys-v0", "--arg", "games=[")
    assert "Did you mean" in fails("check-env", "rlsd/Key-v0")


def test_a_config_is_not_evaluated_with_another_agent(fails: Cli, config: Path) -> None:
    """Its own model would have been measured in silence, under the config's name."""
    assert "--agent vllm:http://a:1 belongs to --env" in fails("eval", config, "--agent", "vllm:http://a:1")
    assert "--arg belongs to --env" in fails("eval", config, "--arg", "games=gen-tiny")


def test_environment_without_the_expert_asked_for(fails: Cli, tmp_path: Path) -> None:
    told = fails("eval", "--env", "tests.plain_worlds:Plain", "--agent", "oracle")
    assert "Plain has no 'oracle' expert" in told


def test_settings_of_a_bare_model_folder(fails: Cli, trained: Path) -> None:
    agent = f"hf:{trained / 'best'}"
    told = fails("eval", "--env", "rlsd/Keys-v0", "--agent", agent, "--set", "agent.memry=full")
    assert "Did you mean 'memory'?" in told
    assert "agent.name=value" in fails("eval", "--env", "rlsd/Keys-v0", "--agent", agent, "--set", "learner.lr=1")


# ---------------------------------------------------------------------- game files


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b"\xff\xfe"])
def test_damaged_game_file(fails: Cli, config: Path, tmp_path: Path, content: bytes) -> None:
    game = tmp_path / "game.tw-pddl"
    game.write_bytes(content)
    for when in ("true", "false"):  # with and without an evaluation that would read the file first
        told = fails(
            *("train", config, "--run", tmp_path / "run", "--quiet"),
            *("--set", f"env.kwargs.games={game}", "--set", f"eval.at_start={when}", "--set", "eval.every=0"),
        )
        assert "game.tw-pddl" in told


def test_missing_game_file(fails: Cli, config: Path, tmp_path: Path) -> None:
    told = fails("train", config, "--run", tmp_path / "run", "--set", f"env.kwargs.games={tmp_path}/none.tw-pddl")
    assert "none.tw-pddl" in told
    (tmp_path / "bare").mkdir()
    told = fails("train", config, "--run", tmp_path / "run", "--set", f"env.kwargs.games={tmp_path}/bare")
    assert "bare" in told


# ---------------------------------------------------------------------- checkpoints and run directories


def checkpoint_files() -> list[str]:
    return ["model.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"]


@pytest.mark.parametrize("name", checkpoint_files())
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_flipped_byte_in_a_checkpoint(fails: Cli, run: Path, name: str, place: float) -> None:
    path = run / "checkpoints" / "step-000001" / name
    content = bytearray(path.read_bytes())
    content[int(place * (len(content) - 1))] ^= 0x10
    path.write_bytes(content)
    told = fails("train", run, "--quiet")
    assert told.startswith("CheckpointError")
    assert f"{name} is corrupt" in told


def test_a_checkpoint_holds_no_other_files(trained: Path) -> None:
    """Or a new kind of file would go untested above."""
    held = {p.name for p in (trained / "checkpoints" / "step-000001").iterdir()}
    assert held == {*checkpoint_files(), checkpoint.MANIFEST}


def test_every_flipped_byte_in_a_manifest_is_found(run: Path) -> None:
    folder = run / "checkpoints" / "step-000001"
    whole = (folder / checkpoint.MANIFEST).read_bytes()
    for i in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[i] ^= 0x10
        (folder / checkpoint.MANIFEST).write_bytes(damaged)
        if json_or_none(damaged) == json.loads(whole):
            continue  # white space: nothing changed
        with pytest.raises(CheckpointError):
            checkpoint.verify(folder)


def json_or_none(text: bytes | bytearray) -> Any:
    try:
        return json.loads(bytes(text))
    except ValueError:
        return None


def test_checkpoint_that_lacks_a_file_or_is_cut_short(fails: Cli, run: Path) -> None:
    folder = run / "checkpoints" / "step-000001"
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1])
    assert "model.safetensors is corrupt" in fails("train", run, "--quiet")
    (folder / "model.safetensors").unlink()
    assert "lacks model.safetensors" in fails("train", run, "--quiet")
    (folder / checkpoint.MANIFEST).unlink()
    assert checkpoint.MANIFEST in fails("train", run, "--quiet")


def test_checkpoint_of_another_model(fails: Cli, run: Path) -> None:
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("dim: 16", "dim: 32"))
    told = fails("train", run, "--quiet")
    assert "CheckpointError" in told
    assert "does not fit this config" in told


def test_older_checkpoint_is_used_when_the_damaged_one_is_deleted(run: Path, fails: Cli) -> None:
    """What the message advises works."""
    shutil.rmtree(run / "checkpoints" / "step-000001")
    with pytest.raises(SystemExit) as stop:
        main(["train", str(run), "--quiet"])
    assert not stop.value.code


def test_a_loss_that_is_no_number_ends_the_run_and_loses_nothing(fails: Cli, config: Path, tmp_path: Path) -> None:
    """A user's rewards are beyond all bounds in the second iteration: the first one's weights and records stay."""
    folder = tmp_path / "run"
    changed = ["reward=tests.plain_worlds:overflowing", "iterations=3", "checkpoint_every=1", "eval.every=0"]
    changed.append("algorithm.advantage.method=dr_grpo")  # which does not divide by the deviation
    arguments = ("train", config, "--run", folder, "--quiet", *(x for c in changed for x in ("--set", c)))
    for _ in range(2):  # started again, it stops at the same place
        told = fails(*arguments)
        assert "LossError" in told
        assert "no step was taken and the last checkpoint is sound" in told
        assert [p.name for p in (folder / "checkpoints").iterdir()] == ["step-000001"]
        kept, _ = checkpoint.load(folder / "checkpoints" / "step-000001")
        assert all(bool(weight.isfinite().all()) for weight in kept["model"].values())
        records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert [r["step"] for r in records if r["kind"] == "train"] == [0]


def test_resume_with_another_config(fails: Cli, config: Path, run: Path) -> None:
    told = fails("train", config, "--run", run, "--set", "learner.lr=0.5", "--set", "seed=3")
    assert "another 'seed'" in told
    assert "1 more" in told
    with pytest.raises(SystemExit) as stop:  # how long it goes on may change
        main(["train", str(config), "--run", str(run), "--quiet", "--set", "iterations=2"])
    assert not stop.value.code


def test_locked_run_directory(fails: Cli, config: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    hold = (
        "import fcntl,sys; f=open(sys.argv[1],'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(folder / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert "another process is training" in fails("train", config, "--run", folder)
        other.communicate("\n")


def test_two_runs_never_hold_one_directory(tmp_path: Path) -> None:
    settings = parse_config(BASE)
    first, second = RunDir(tmp_path), RunDir(tmp_path)
    first.open(settings)
    with pytest.raises(RunError, match="another process is training"):
        second.open(settings)
    second.close()
    first.close()
    second.open(settings)
    second.close()


def test_a_refused_run_leaves_no_lock_behind(fails: Cli, config: Path, run: Path) -> None:
    fails("train", config, "--run", run, "--set", "seed=3")
    with (run / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_run_directory_that_is_a_file_or_damaged(fails: Cli, config: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "run directory" in fails("train", config, "--run", tmp_path / "file")
    metrics = run / "metrics.jsonl"
    metrics.write_text("{broken\n" + metrics.read_text())
    assert "line 1" in fails("train", config, "--run", run)
    (run / "config.yaml").write_text("iterations: [\n")
    assert "config.yaml" in fails("train", config, "--run", run)
    assert "config.yaml" in fails("export", run, tmp_path / "new")


# ---------------------------------------------------------------------- models


def test_no_model_folder(fails: Cli, config: Path, tmp_path: Path) -> None:
    told = fails(
        "train", config, "--run", tmp_path / "run", "--set", "model.tiny=null", "--set", f"model.path={tmp_path}/no"
    )
    assert "there is no folder" in told
    (tmp_path / "bare").mkdir()
    told = fails("eval", "--env", "rlsd/Keys-v0", "--agent", f"hf:{tmp_path / 'bare'}")
    assert "no config.json" in told


def without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def cut_weights(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def drop_one_weight(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    held = load_file(folder / "model.safetensors")
    held.pop("model.norm.weight")
    save_file(held, folder / "model.safetensors", metadata={"format": "pt"})


def untie(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "tie_word_embeddings": False}))


def other_width(folder: Path) -> None:
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**data, "hidden_size": 32}))


def no_json(folder: Path) -> None:
    (folder / "config.json").write_text("{")


@pytest.mark.parametrize(
    "harm, expected",
    [
        (without("model.safetensors"), "model.safetensors"),
        (without("tokenizer.json"), ""),
        (without("chat_template.jinja"), "no chat template"),
        (cut_weights, "cannot load a model"),
        (drop_one_weight, "lacks 1 weights its config asks for, e.g. 'model.norm.weight'"),
        (untie, "lm_head.weight"),
        (other_width, "cannot load a model"),
        (no_json, "cannot load a model"),
    ],
)
def test_damaged_model_folder(
    fails: Cli, trained: Path, tmp_path: Path, harm: Callable[[Path], None], expected: str
) -> None:
    folder = Path(shutil.copytree(trained / "best", tmp_path / "model"))
    load_policy(folder)
    harm(folder)
    told = fails("eval", "--env", "rlsd/Keys-v0", "--agent", f"hf:{folder}")
    assert told.startswith("ModelError")
    assert expected in told
    with pytest.raises(ModelError):
        load_policy(folder)


# ---------------------------------------------------------------------- own episodes, comparing, exporting


GOOD_LINE = json.dumps({"goal": "g", "turns": [{"observation": "o", "action": "a"}]})


@pytest.mark.parametrize(
    "line", ["{", "[]", '"text"', "{}", '{"goal": "g", "turns": []}', '{"goal": "g", "turns": [{"action": "a"}]}', "3"]
)
def test_broken_line_of_own_episodes(fails: Cli, config: Path, tmp_path: Path, line: str) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{GOOD_LINE}\n\n{line}\n")
    told = fails(
        *("train", config, "--run", tmp_path / "run"),
        *("--set", "algorithm=sft", "--set", f"sft.trajectories={path}"),
    )
    assert f"line 3 of {path}" in told
    assert '"goal"' in told


def test_own_episodes_that_are_no_text(fails: Cli, config: Path, tmp_path: Path) -> None:
    for name, content in (("a.jsonl.gz", b"no gzip"), ("b.jsonl", b"\xff\xfe"), ("c.jsonl", b"")):
        (tmp_path / name).write_bytes(content)
        told = fails("train", config, "--run", tmp_path / "run", "--set", f"sft.trajectories={tmp_path / name}")
        assert "sft.trajectories" in told


def test_compare(fails: Cli, tmp_path: Path) -> None:
    def write(name: str, data: Any) -> Path:
        path = tmp_path / name
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    good = write("a.json", {"panel": {"digest": "aa"}, "wins": {"t1": True, "t2": False}})
    other = write("b.json", {"panel": {"digest": "bb"}, "wins": {"t1": True, "t2": False}})
    told = fails("compare", good, other)
    assert "different panels" in told
    assert "aa" in told
    assert "bb" in told
    for i, bad in enumerate(["{", "[]", {"panel": {}, "wins": {}}, {"panel": "x", "wins": {}}, {"wins": {}}]):
        assert "rlsd eval --save" in fails("compare", good, write(f"bad{i}.json", bad))
    fewer = write("c.json", {"panel": {"digest": "aa"}, "wins": {"t1": True}})
    assert "same tasks" in fails("compare", good, fewer)
    empty = write("d.json", {"panel": {"digest": "aa"}, "wins": {}})
    assert "same tasks" in fails("compare", empty, empty)
    assert "rlsd eval --save" in fails("compare", good, tmp_path / "none.json")


def test_export(fails: Cli, run: Path, tmp_path: Path) -> None:
    assert "exists already" in fails("export", run, tmp_path)
    assert "is no run directory" in fails("export", tmp_path, tmp_path / "new")
    assert "not trained with LoRA" in fails("export", run, tmp_path / "new", "--adapter")
    shutil.rmtree(run / "best")
    assert "use --last" in fails("export", run, tmp_path / "new")
    shutil.rmtree(run / "checkpoints")
    assert "no checkpoint yet" in fails("export", run, tmp_path / "new", "--last")
    assert not (tmp_path / "new").exists()


def test_looking_for_checkpoints_leaves_unfinished_ones_alone(run: Path) -> None:
    """`rlsd export --last` may look while the run is being trained."""
    partial = run / "checkpoints" / "step-000009.partial"
    partial.mkdir()
    found = checkpoint.latest(run / "checkpoints")
    assert found is not None
    assert found.name == "step-000001"
    assert partial.is_dir()


def test_evaluating_a_run_that_has_no_best_weights(fails: Cli, run: Path) -> None:
    shutil.rmtree(run / "best")
    assert "no best/" in fails("eval", run)


def test_fetching_something_unknown(fails: Cli) -> None:
    assert "smollm2" in fails("fetch", "smollm")


# ---------------------------------------------------------------------- the same through a process of its own


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["train", "run.yaml", "--set", "learner.lrr=1"], "Did you mean 'lr'?"),
        (["eval", "--env", "rlsd/Keys-v0", "--agent", "explrer"], "Did you mean 'explorer'?"),
    ],
)
def test_in_a_process_of_its_own(config: Path, arguments: list[str], expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rlsd", *arguments], cwd=config.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 2
    assert expected in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_usage_errors_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["trian"], ["train"], ["train", "x.yaml", "--sett", "a=1"]):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
