"""Secrets are used and never written: not in a run's folder, not in a report, not in an error."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlsd.envs.errors import EnvError
from rlsd.envs.hiding import hidden, remember
from rlsd.envs.redact import bare, is_secret, revealed, stored
from rlsd.harness.cli.app import main
from rlsd.harness.config import ConfigError, load_config, parse_config
from rlsd.harness.evals.journal import Journal
from rlsd.harness.runs.rundir import load_run_config
from tests.support.smallest_run import small_run

ENV = '''
from rlsd.envs.key_door import KeysEnv

class Guarded(KeysEnv):
    """Says its secrets in every observation; a token that ends in "wrong" breaks it."""

    def __init__(self, token="", url="", headers=None, **kwargs):
        if token.endswith("wrong"):
            raise TypeError(f"the server at {url} refuses {token}")
        if token.endswith("worse"):
            raise RuntimeError(f"{url} does not know {token}")
        super().__init__(**kwargs)
        self.said = f" {token} {url} {headers}"

    def reset(self, **kwargs):
        observation, info = super().reset(**kwargs)
        return observation + self.said, {**info, "feedback": self.said}

    def step(self, action):
        observation, *rest = super().step(action)
        return observation + self.said, *rest
'''
TOKEN, PASSWORD, BEARER = "tok-4711-abcdef", "hunter22", "Bearer zyx-987654"
SECRETS = (TOKEN, PASSWORD, "zyx-987654")
KWARGS = {
    "token": TOKEN,
    "url": f"https://me:{PASSWORD}@host.example/v1",
    "headers": {"Authorization": BEARER, "accept": "text"},
    "max_steps": 3,
}
VARIABLES = {
    "RLSD_SECRET_ENV_KWARGS_TOKEN": TOKEN,
    "RLSD_SECRET_ENV_KWARGS_URL": f"me:{PASSWORD}",
    "RLSD_SECRET_ENV_KWARGS_HEADERS_AUTHORIZATION": BEARER,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Config, environment and a finished run with secrets that were written out."""
    folder = tmp_path_factory.mktemp("secrets")
    (folder / "guarded.py").write_text(ENV)
    env = {"id": f"{folder / 'guarded.py'}:Guarded", "kwargs": KWARGS, "valid_split": "test"}
    data = small_run(
        env=env,
        iterations=1,
        agent={"format": "compact", "memory": "last", "max_new_tokens": 5},
        algorithm="grpo",
        eval={"every": 1, "episodes": 1, "at_start": True},
        model={"tiny": {"layers": 1, "dim": 32, "heads": 2, "vocab": 400, "context": 1024, "text_episodes": 4}},
        save_rollouts_every=1,
        tensorboard=True,
    )
    (folder / "run.yaml").write_text(yaml.safe_dump(data))
    call("train", folder / "run.yaml", "--run", folder / "run", "--quiet")
    call("report", folder / "run")
    return folder


def call(*arguments: object) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert not stop.value.code


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    error = capsys.readouterr().err
    assert stop.value.code == 2, error
    assert error.count("\n") == 1
    assert not any(secret in error for secret in SECRETS)
    return error


def texts(run: Path) -> dict[str, bytes]:
    found = {}
    for path in run.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found[str(path.relative_to(run))] = gzip.decompress(content) if path.suffix == ".gz" else content
    return found


def test_no_file_of_a_run_holds_a_secret(folder: Path) -> None:
    files = texts(folder / "run")
    assert {"config.yaml", "metrics.jsonl", "report.html", "rollouts/step-000000.jsonl.gz"} <= set(files)
    for name, content in files.items():
        for secret in SECRETS:
            assert secret.encode() not in content, name
    assert b"***" in files["rollouts/step-000000.jsonl.gz"], "the environment did say them"
    kwargs = load_run_config(folder / "run").env.kwargs
    assert kwargs == {
        "token": "${RLSD_SECRET_ENV_KWARGS_TOKEN}",
        "url": "https://${RLSD_SECRET_ENV_KWARGS_URL}@host.example/v1",
        "headers": {"Authorization": "${RLSD_SECRET_ENV_KWARGS_HEADERS_AUTHORIZATION}", "accept": "text"},
        "max_steps": 3,
    }


def test_a_run_goes_on_with_its_config_or_with_the_variables(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(folder / "run", tmp_path / "run"))
    call("train", folder / "run.yaml", "--run", run, "--quiet", "--set", "iterations=2")
    monkeypatch.setenv("RLSD_SECRET_ENV_KWARGS_HEADERS_AUTHORIZATION", BEARER)
    error = refused(capsys, "train", run, "--quiet", "--set", "iterations=3")
    assert error == (
        "EnvError: env.kwargs.token is read from the environment variable RLSD_SECRET_ENV_KWARGS_TOKEN "
        "(a secret that was written out, which no run stores): set it first\n"
    )
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    call("train", run, "--quiet", "--set", "iterations=3")
    call("eval", run, "--episodes", "1")
    call("export", run, tmp_path / "out", "--last")
    assert not any(secret in capsys.readouterr().out for secret in SECRETS)
    assert not any(secret.encode() in content for content in texts(run).values() for secret in SECRETS)


def test_references_are_kept_as_they_are_written_and_used(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_TOKEN", TOKEN)
    given = ["--set", "env.kwargs.token=${MY_TOKEN}"]
    call("train", folder / "run.yaml", "--run", tmp_path / "run", "--quiet", *given)
    assert load_run_config(tmp_path / "run").env.kwargs["token"] == "${MY_TOKEN}"
    call("train", folder / "run.yaml", "--run", tmp_path / "run", "--quiet", *given, "--set", "iterations=2")
    call("train", folder / "run.yaml", "--run", tmp_path / "run", "--quiet")  # written out


@pytest.mark.parametrize("end", ["wrong", "worse"])
def test_errors_of_an_environment_do_not_tell_them(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], end: str
) -> None:
    bad = f"{TOKEN}-{end}"
    spec = yaml.safe_load((folder / "run.yaml").read_text())["env"]["id"]
    for arguments in (
        ["train", folder / "run.yaml", "--run", tmp_path / "run", "--set", f"env.kwargs.token={bad}"],
        ["eval", "--env", spec, "--arg", f"token={bad}", "--arg", f"url={KWARGS['url']}"],
    ):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        assert stop.value.code
        error = capsys.readouterr().err
        assert "***" in error
        assert not any(secret in error for secret in SECRETS)


def test_errors_of_configs_do_not_tell_them(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("model: {path: m}\n")
    for override in (
        f"env.kwargs={TOKEN}x",
        f"sampler.urls=[ftp://me:{PASSWORD}@host]",
        "sampler.api_key_env=sk-12345678",
    ):
        with pytest.raises(ConfigError) as told:
            load_config(path, [f"env.eval_kwargs={{token: {TOKEN}x}}", override])
        assert not any(secret in str(told.value) for secret in (*SECRETS, "sk-12345678"))


NAMES = {
    **dict.fromkeys(("token", "api_key", "hfToken", "X-Api-Key", "Authorization", "client_secret", "authtoken"), True),
    **dict.fromkeys(("password", "PASSWD", "api_keys", "access_tokens", "secret_key", "key"), True),
    **dict.fromkeys(("tokenizer", "max_tokens", "keys", "monkey", "author", "games", "corpus", "keyword"), False),
}


@pytest.mark.parametrize(("name", "secret"), NAMES.items())
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret(name) == secret


def test_what_is_stored_can_be_revealed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    data: dict[str, Any] = {"a": [{"api_key": "first-secret"}], "password": 12345678, "key": True, "token": "", "n": 1}
    data |= {"u": "see https://x:p@ss:word@h/p and http://host:80/a@b", "token_file": None, "max_key": 5}
    kept = stored(data, "it")
    assert kept == {
        **{"a": [{"api_key": "${RLSD_SECRET_IT_A_0_API_KEY}"}], "password": "${RLSD_SECRET_IT_PASSWORD}", "key": True},
        **{"token": "", "n": 1, "u": "see https://${RLSD_SECRET_IT_U}@h/p and http://host:80/a@b"},
        **{"token_file": None, "max_key": 5},
    }
    assert stored(kept, "it") == kept
    assert bare(kept) == bare(data) == bare({**data, "password": "another"})
    assert bare(data) != bare({**data, "n": 2})
    monkeypatch.setenv("RLSD_SECRET_IT_A_0_API_KEY", "first-secret")
    monkeypatch.setenv("RLSD_SECRET_IT_PASSWORD", "12345678")
    with pytest.raises(EnvError, match=r"it\.u is read from the environment variable RLSD_SECRET_IT_U "):
        revealed(kept, "it")
    monkeypatch.setenv("RLSD_SECRET_IT_U", "x:p@ss:word")
    assert revealed(kept, "it") == {**data, "password": "12345678"}
    assert hidden("first-secret 12345678 p@ss:word") == "*** *** ***"
    assert hidden("http://new:login@host http://${A}:${B}@host") == "http://***@host http://${A}:${B}@host"


def test_a_config_without_secrets_is_stored_as_it_is() -> None:
    from rlsd.harness.config.masked import masked

    data = parse_config(small_run()).model_dump(mode="json")
    assert masked(data) == data


def test_the_episodes_that_an_evaluation_keeps_hold_no_secret(tmp_path: Path) -> None:
    remember(TOKEN)
    place = tmp_path / "a.json"
    for _ in range(2):  # the same evaluation goes on
        journal = Journal(place, {"env": f"https://host.example/{TOKEN}"})
        journal.close()
    assert "https://host.example/***" in journal.path.read_text()
    assert TOKEN not in journal.path.read_text()
    journal = Journal(place, {"env": f"https://host.example/{TOKEN}"})
    journal.finish({"lost": {"t1": f"agent.act: no {TOKEN}"}})
    assert json.loads(place.read_text()) == {"lost": {"t1": "agent.act: no ***"}}
