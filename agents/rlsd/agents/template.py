"""A tokenizer's chat template: rendering it the same way every day, and what it says about tokens.

`Template` renders messages with the settings of `agent.template_kwargs`. `control_tokens` and `end_of_turn` find out
from the template which tokens are structure and which one closes a turn.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import jinja2

from rlsd.envs.errors import RlsdError

NOW = "strftime_now"
"""Key of `agent.template_kwargs` that holds the date (ISO) which a template gets for today."""
_DIRECTIVES = "aAbBdHIjmMpSyYwUWfzZcxXGuVeDFTRhnt"
_USER, _RESPONSE, _NEXT = "⟦user⟧", "⟦response⟧", "⟦next⟧"


class TemplateError(RlsdError, ValueError):
    """A chat template that cannot be used, with the reason."""


class Template:
    """The chat template of one tokenizer with its settings.

    Args:
        tokenizer: a transformers tokenizer with a chat template.
        kwargs: values that the template reads, such as `enable_thinking`. `strftime_now`, an ISO date, is what the
            template's function of this name takes for today; default: the day this object was made.

    Raises:
        TemplateError: no chat template, or no such date.
    """

    def __init__(self, tokenizer: Any, kwargs: Mapping[str, Any] | None = None) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise TemplateError("the tokenizer has no chat template; set tokenizer.chat_template first")
        self._tokenizer = tokenizer
        self._kwargs = dict(kwargs or {})
        given = str(self._kwargs.pop(NOW, None) or date.today().isoformat())
        self.source: str = tokenizer.get_chat_template()
        self._dated: str | None = None
        if NOW in self.source:
            try:
                now = datetime.fromisoformat(given)
            except ValueError:
                raise TemplateError(
                    f"agent.template_kwargs.{NOW} is {given!r}, expected a date as in 2025-01-31"
                ) from None
            self._dated = _clock(now) + self.source

    def render(self, messages: Sequence[Mapping[str, Any]], *, generation: bool = True, **kwargs: Any) -> str:
        """The text of `messages`, with the generation prompt at its end unless `generation` is False."""
        return self._tokenizer.apply_chat_template(
            list(messages),
            chat_template=self._dated,
            tokenize=False,
            add_generation_prompt=generation,
            **{**self._kwargs, **kwargs},
        )


def reads_date(tokenizer: Any) -> bool:
    """Whether the chat template asks for today's date, so that prompts change from day to day unless it is frozen."""
    return bool(getattr(tokenizer, "chat_template", None)) and NOW in tokenizer.get_chat_template()


def control_tokens(tokenizer: Any, template: Template) -> dict[int, str]:
    """Names of the tokens that are structure, by id: those flagged special, and every other added token that the
    template writes (turn markers added as plain tokens, `/nothink` …) or that marks thoughts and tool calls.

    The unknown token, white space and single characters are text, whatever their flags.
    """
    written = {i for text in set(_samples(template)) for i in tokenizer(text, add_special_tokens=False)["input_ids"]}
    literals = "\n".join(_literals(template.source))
    out: dict[int, str] = {}
    for i, token in tokenizer.added_tokens_decoder.items():
        name = token.content
        if i == tokenizer.unk_token_id or len(name) < 2 or not name.strip():
            continue
        # a bare word among a template's strings is rather the key of a message, as in message['content']
        named = i in written or (name in literals and not name.isalnum())
        if token.special or named or name in THOUGHT_TAGS or name in TOOL_TAGS:
            out[i] = name
    return out


THOUGHT_TAGS: dict[str, str] = {
    "<think>": "<think>",
    "</think>": "</think>",
    "[THINK]": "<think>",
    "[/THINK]": "</think>",
    "<|START_THINKING|>": "<think>",
    "<|END_THINKING|>": "</think>",
    "<seed:think>": "<think>",
    "</seed:think>": "</think>",
    "◁think▷": "<think>",
    "◁/think▷": "</think>",
}
"""How model families mark a thought, and the tag that response formats read for it."""
TOOL_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")


def end_of_turn(tokenizer: Any, template: Template, control: Mapping[int, str]) -> tuple[int, bool] | None:
    """The control token that the template writes right behind an assistant's message, and whether it closes a last
    message too; if not, it may rather open the next turn, which ends a response just as well. None: no such token."""
    names = {name: i for i, name in control.items() if i != tokenizer.bos_token_id}
    if not names:
        return None
    pattern = re.compile(r"\s*(" + "|".join(map(re.escape, sorted(names, key=len, reverse=True))) + ")")
    said: list[dict[str, str]] = [{"role": "user", "content": _USER}, {"role": "assistant", "content": _RESPONSE}]
    for messages, last in ((said, True), ([*said, {"role": "user", "content": _NEXT}], False)):
        try:
            rest = template.render(messages, generation=not last).partition(_RESPONSE)[2]
        except Exception:  # a template may raise whatever it likes; the caller's own rendering reports it
            continue
        if match := pattern.match(rest):
            return names[match[1]], last
    return None


def end_ids(tokenizer: Any) -> frozenset[int]:
    """The end token and the one that closes a turn in the chat template, which differ in some models."""
    ids = {tokenizer.eos_token_id} - {None}
    if getattr(tokenizer, "chat_template", None):
        template = Template(tokenizer)
        if found := end_of_turn(tokenizer, template, control_tokens(tokenizer, template)):
            ids.add(found[0])
    return frozenset(ids)


def _samples(template: Template) -> Iterator[str]:
    """Renderings of small conversations, to see what the template writes around the texts."""
    user, assistant = {"role": "user", "content": _USER}, {"role": "assistant", "content": _RESPONSE}
    thought = {"role": "assistant", "content": f"<think>\n{_RESPONSE}\n</think>\n\n{_RESPONSE}"}
    tool = {"role": "tool", "content": _RESPONSE, "name": "f", "tool_call_id": "c"}
    call = {"type": "function", "id": "c", "function": {"name": "f", "arguments": {}}}
    for messages in (
        [user],
        [{"role": "system", "content": _NEXT}, user, assistant, user],
        [user, thought, user, thought],
        [user, {"role": "assistant", "content": "", "tool_calls": [call]}, tool],
    ):
        for kwargs in ({}, {"enable_thinking": False}, {"enable_thinking": True}):
            try:
                yield template.render(messages, **kwargs)
            except Exception:  # not every template knows tools, thoughts or a system message
                continue


def _literals(source: str) -> Iterator[str]:
    """The texts and strings of a template, without its code."""
    try:
        for _, kind, value in jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).lex(source):
            if kind in ("data", "string"):
                yield value
    except jinja2.TemplateError:
        yield source


def _clock(now: datetime) -> str:
    """A macro in front of the template that stands for `strftime_now`. transformers passes no functions on to a
    template, so every directive is replaced by its text."""
    steps = "".join(
        f".replace({directive!r}, {now.strftime(directive)!r})"
        for letter in _DIRECTIVES
        for directive in (f"%{letter}", f"%-{letter}")
    )
    return "{%- macro " + NOW + "(f) -%}{{ f" + steps + ".replace('%%', '%') }}{%- endmacro -%}"
