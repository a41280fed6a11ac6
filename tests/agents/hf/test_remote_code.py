"""Code that comes with a model never runs: no call leaves the decision to transformers' default, which may ask."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlsd.agents.hf.encoder import EncoderSettings, TextEncoder
from rlsd.agents.hf.models import ModelError, load_policy

ROOT = Path(__file__).parents[3]
FOLDERS = ("envs", "agents", "algorithms", "harness", "benchmarks", "examples", "tests", "docs")
LOADERS = ("from_pretrained", "from_config")
PAYLOAD = "from pathlib import Path\nPath(__file__).with_name('ran').write_text('')\nclass Mine: ...\n"


def calls(source: str) -> Iterator[ast.Call]:
    """Calls of a method that may import a model's own code."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in LOADERS:
            yield node


def refuses(call: ast.Call) -> bool:
    return any(
        k.arg == "trust_remote_code" and isinstance(k.value, ast.Constant) and k.value.value is False
        for k in call.keywords
    )


def test_every_call_refuses_a_models_own_code() -> None:
    found = [
        (f"{path.relative_to(ROOT)}:{call.lineno}", refuses(call))
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for call in calls(path.read_text())
    ]
    assert [place for place, fine in found if not fine] == []
    assert len(found) >= 8, "the loaders have moved: look for them under their new names"


def test_the_search_sees_a_call_that_does_not_say() -> None:
    spoken = ["A.from_pretrained(x)", "A.from_pretrained(x, trust_remote_code=True)", "A.from_config(c)"]
    assert [refuses(call) for text in spoken for call in calls(text)] == [False, False, False]
    (call,) = calls("A.from_pretrained(x, trust_remote_code=False)")
    assert refuses(call)


@pytest.mark.parametrize("kind", ["policy", "encoder"])
def test_a_folder_with_code_of_its_own_is_refused_and_nothing_runs(kind: str, tmp_path: Path) -> None:
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoTokenizer")
    config = {"model_type": "mine", "auto_map": dict.fromkeys(classes, "modeling_mine.Mine")}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"auto_map": {"AutoTokenizer": ["modeling_mine.Mine"]}}))
    (tmp_path / "modeling_mine.py").write_text(PAYLOAD)
    with pytest.raises(ModelError):
        load_policy(tmp_path) if kind == "policy" else TextEncoder(EncoderSettings(folder=str(tmp_path)))
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "__pycache__") == [
        *("config.json", "modeling_mine.py", "tokenizer_config.json")
    ]
