"""The `agent` block: how a model is prompted, sampled and read. A profile is this block as a file."""

from __future__ import annotations

import hashlib
import json
from datetime import date
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from rlsd.agents.formats import AUTO, TOOLS, FormatError, find_format
from rlsd.agents.prompt_file import is_inline, read_prompt
from rlsd.harness.config.blocks import Block
from rlsd.harness.config.profile import PROMPTS, with_profile


class ExampleConfig(Block):
    """One exchange that is shown before every conversation."""

    user: str
    """What the user says."""
    assistant: str
    """What the model answers."""


class AgentConfig(Block):
    profile: str | None = None
    """A profile whose settings are this block's defaults: react, think, search, tool-calling, compact, a YAML file, or
    a folder of weights with `rlsd.json` (docs/profiles.md). Null once it is read: its settings then stand here."""
    name: str = ""
    """Name of the profile that the settings come from."""
    envs: list[str] = Field(default=[])
    """Ids of the environments that the profile is written for; empty: any that fits its format."""
    check_fit: bool = True
    """Refuse an environment that the profile is not written for; false: play it all the same."""
    format: str = AUTO
    """What responses look like: think, compact, search, tool, shop, react … (`rlsd.agents.formats`), your own as
    `module:NAME`, `auto`: what the environment says, else think, or `native-tools`: native calls of the tools that fit
    the environment."""
    memory: Literal["full", "last", "append"] = "last"
    """`full`: the whole conversation, rows merge; `last`: the last `history_turns` turns in one message; `append`: one
    message, and observations are written into the policy's own text (not for chat endpoints). Goal and instructions
    stand in the prompt of every turn."""
    history_turns: int = Field(default=2, ge=0)
    """Earlier turns that memory `last` shows."""
    list_commands: bool | None = None
    """Whether messages list the commands that the environment accepts; null: with memory `last`, as the format has
    it, and for `prompt`."""
    max_new_tokens: int = Field(default=512, ge=1)
    """Longest response in tokens."""
    context: int | None = Field(default=None, ge=32)
    """Longest prompt + response in tokens; default: the model's."""
    temperature: float | None = Field(default=None, ge=0)
    """Sampling temperature of `rlsd eval --agent`; null: 0. Runs have `sampler.temperature` and `eval.temperature`."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Below 1, evaluations draw from the likeliest tokens that together have this probability; training never does."""
    stop: list[str] = Field(default=[])
    """Texts that end a response, and belong to it."""
    system: str | None = None
    """A system message before the user's messages."""
    prompt: str | None = None
    """A Jinja2 template, or a file with one, that renders the user message of a turn (memory `full` and `append`: the
    first one) from goal, observation, observations, actions, step, admissible, instructions, history_turns."""
    later_prompt: str | None = None
    """The same for every turn but the first; null: `prompt` with memory `last`, else the observation."""
    examples: list[ExampleConfig] = Field(default=[])
    """Exchanges that stand before every conversation."""
    template_kwargs: dict[str, Any] = Field(default={})
    """Values for the model's chat template, as in `{enable_thinking: false}`. A run freezes the date of a template that
    asks for it here, under `strftime_now`."""
    keep_thoughts: bool | None = None
    """Whether earlier responses keep their thoughts in memory `full`: true: rows merge even where the template would
    strip them; false: dropped, rows do not merge; null: as the template has it."""

    @model_validator(mode="before")
    @classmethod
    def _with_profile(cls, values: Any) -> Any:
        return with_profile(values, cls.model_fields) if isinstance(values, dict) else values

    @field_validator("template_kwargs")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        plain = {k: v.isoformat() if isinstance(v, date) else v for k, v in value.items()}
        try:
            json.dumps(plain)
        except TypeError as error:
            raise ValueError(f"agent.template_kwargs: expected values that JSON can hold, but {error}") from error
        taken = sorted(
            {"messages", "tools", "documents", "add_generation_prompt", "tokenize", "chat_template"} & set(plain)
        )
        if taken:
            raise ValueError(f"agent.template_kwargs cannot set {taken[0]!r}: rlsd hands that to the template itself")
        return plain

    @model_validator(mode="after")
    def _known(self) -> AgentConfig:
        if self.format not in (AUTO, TOOLS) and ":" not in self.format:  # modules are imported when they are needed
            try:
                find_format(self.format)
            except FormatError as error:
                raise ValueError(f"agent.format: {error}") from error
        return self

    def digest(self) -> str:
        """First 16 hex digits of the SHA-256 over everything that decides what the model reads and how it is sampled:
        equal for equal profiles, whatever their names and files are called.

        Raises:
            FormatError: the format does not exist, or a prompt file cannot be read.
        """
        data = self.model_dump(mode="json", exclude={"profile", "name", "envs", "check_fit"})
        for key in PROMPTS:
            if data[key] is not None and not is_inline(data[key]):
                data[key] = read_prompt(data[key], key=f"agent.{key}")
        if self.format not in (AUTO, TOOLS):
            data["instructions"] = find_format(self.format).instructions
        return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]
