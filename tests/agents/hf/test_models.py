"""What is read off a model before it is used."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from rlsd.agents.hf.models import cache_argument


@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_a_cache_is_passed_under_the_name_of_the_models_own_signature(name: str) -> None:
    made: dict[str, object] = {}
    exec(f"def forward(input_ids, {name}=None): ...", made)
    model = SimpleNamespace(forward=made["forward"])
    assert cache_argument(model) == name
    assert cache_argument(SimpleNamespace(get_base_model=lambda: model)) == name
