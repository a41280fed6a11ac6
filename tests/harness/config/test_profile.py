"""A profile is the `agent` block as a file: by name, by path, beside weights; one description for all of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsd.agents.formats import FormatError
from rlsd.agents.types import Action, History
from rlsd.harness.config import AgentConfig, ConfigError, load_config, of_profile, parse_config
from rlsd.harness.config.profile import NOTE, shipped, summary
from rlsd.harness.config.yaml_text import read_yaml, write_yaml
from rlsd.harness.iteration.agent import memory_of

ROOT = Path(__file__).parents[3]


def test_the_profiles_that_ship() -> None:
    assert list(shipped()) == ["compact", "react", "search", "think", "tool-calling"]
    for name, path in shipped().items():
        agent = AgentConfig(profile=name)
        assert (agent.name, agent.profile) == (name, None)
        assert summary(path).endswith(".")
    assert AgentConfig(profile="think").model_copy(update={"name": "", "format": "auto"}) == AgentConfig(
        list_commands=True
    )


def test_what_stands_in_the_block_goes_before_the_profile() -> None:
    agent = AgentConfig.model_validate({"profile": "react", "memory": "last", "max_new_tokens": 9})
    assert (agent.format, agent.memory, agent.max_new_tokens) == ("react", "last", 9)
    assert [example.assistant.count("Action: ") for example in agent.examples] == [1, 1]


def own(folder: Path, text: str) -> str:
    (folder / "mine.yaml").write_text(text)
    return str(folder / "mine.yaml")


def test_a_file_of_one_s_own_with_a_prompt_beside_it(tmp_path: Path) -> None:
    (tmp_path / "turn.jinja").write_text("{{ goal }}")
    path = own(tmp_path, "system: Be brief.\nprompt: turn.jinja\nlater_prompt: 'Now: {{ observation }}'\nstyle: think")
    agent = AgentConfig(profile=path)
    assert (agent.name, agent.system, agent.format) == ("mine", "Be brief.", "think")
    assert agent.prompt == str(tmp_path / "turn.jinja")
    assert agent.later_prompt == "Now: {{ observation }}"
    assert AgentConfig(profile=own(tmp_path, "agent: {memory: full, name: other}")).name == "other"


def test_a_prompt_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    agent = of_profile(own(tmp_path, "format: think\nprompt: nowhere.jinja"))
    for use in (agent.digest, lambda: memory_of(agent)):
        with pytest.raises(FormatError, match=r"^agent\.prompt: cannot read '.*nowhere\.jinja': No such file"):
            use()


def test_the_note_beside_weights_is_a_profile(tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / NOTE).write_text(json.dumps({"agent": {"memory": "full", "temperature": 0.4}, "step": 3}))
    for place in (folder, folder / NOTE):
        agent = AgentConfig(profile=str(place))
        assert (agent.name, agent.format, agent.memory, agent.temperature) == ("weights", "think", "full", 0.4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("promt: x", r"profile .*mine\.yaml: unknown key 'promt'\. Did you mean 'prompt'\?"),
        ("profile: react", r"profile .*mine\.yaml: unknown key 'profile'"),
        ("- a", r"profile .*mine\.yaml holds no settings \(expected a mapping, got list\)"),
        ("a: [", r"mine\.yaml is not YAML"),
        ("agent: [1]", r"profile .*mine\.yaml: agent is \[1\], expected a mapping of settings"),
        ("temperature: hot", r"profile .*mine\.yaml: config temperature: Input should be a valid number.*got 'hot'"),
    ],
)
def test_a_profile_that_cannot_be_used(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as error:
        of_profile(own(tmp_path, text))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("raect", r"unknown profile 'raect'\. Did you mean 'react'\? Known: compact, react, .* by its file"),
        ("nowhere.yaml", r"agent\.profile: there is no file 'nowhere\.yaml'"),
        (7, r"agent\.profile is 7, expected a name or a file"),
    ],
)
def test_a_name_that_is_no_profile(name: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse_config({"agent": {"profile": name}})


def test_a_setting_of_a_wrong_kind_is_told_as_in_a_config(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"config agent\.memory: .*'full', 'last' or 'append'.*got 'ful'"):
        parse_config({"model": {"path": "m"}, "agent": {"profile": own(tmp_path, "memory: ful")}})


def test_a_run_s_record_needs_its_profile_no_more(tmp_path: Path) -> None:
    path = own(tmp_path, "memory: full\nstop: [x]")
    config = parse_config({"model": {"path": "m"}, "agent": {"profile": path}})
    text = write_yaml(config.model_dump(mode="json"))
    (tmp_path / "mine.yaml").unlink()
    assert parse_config(read_yaml(text, "x")) == config
    (tmp_path / "config.yaml").write_text(text)
    changed = load_config(tmp_path / "config.yaml", ["agent.profile=compact", "agent.max_new_tokens=3"])
    assert changed.agent == AgentConfig(profile="compact", max_new_tokens=3), "the record has every key"


def test_set_lays_a_profile_below_the_keys_of_a_config_written_by_hand() -> None:
    config = load_config(ROOT / "configs" / "quickstart.yaml", ["agent.profile=react"])
    plain = load_config(ROOT / "configs" / "quickstart.yaml")
    assert config.agent.examples
    assert config.agent.max_new_tokens == plain.agent.max_new_tokens


def test_the_digest_is_of_what_the_model_reads(tmp_path: Path) -> None:
    (tmp_path / "turn.jinja").write_text("{{ goal }}: {{ observation }}")
    first = AgentConfig(prompt=str(tmp_path / "turn.jinja"))
    second = AgentConfig(prompt="{{ goal }}: {{ observation }}", name="other", check_fit=False, envs=["x"])
    assert first.digest() == second.digest()
    others = [
        AgentConfig(),
        AgentConfig(prompt="{{ goal }}; {{ observation }}"),
        AgentConfig(stop=["x"]),
        AgentConfig(temperature=0.4),
        AgentConfig(format="think"),
        *(AgentConfig(profile=name) for name in shipped()),
    ]
    assert len({first.digest(), *(agent.digest() for agent in others)}) == len(others) + 1
    assert len(first.digest()) == 16


def test_the_page_s_profile_is_one(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "profiles.md").read_text()
    text = page[page.index("```yaml\n") + 8 :]
    agent = AgentConfig(profile=own(tmp_path, text[: text.index("```")]))
    history = History(
        goal="find it.",
        observations=("a hall", "a box", "a key"),
        actions=(Action(text="go"), Action(text="open")),
        admissible=("look",),
    )
    (message,) = memory_of(agent).messages(history)
    assert message.text == "Step 3. You did go and saw a box. You did open and saw a key. \nYou can: look"
