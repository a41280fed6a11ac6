"""Responses in channels (gpt-oss):
`<|channel|>analysis<|message|>…<|end|><|start|>assistant<|channel|>final<|message|>…`.

Response formats read the analysis as a thought, `<think>…</think>`, and the rest as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

CHANNEL, MESSAGE, START, END = "<|channel|>", "<|message|>", "<|start|>", "<|end|>"
_ANALYSIS = f"{CHANNEL}analysis{MESSAGE}"
_FINAL = f"{CHANNEL}final{MESSAGE}"


def speaks_in_channels(names: Mapping[int, str]) -> bool:
    """Whether the control tokens `names` are those of this format."""
    return {CHANNEL, MESSAGE, START, END} <= set(names.values())


def read_channels(ids: Sequence[int], names: Mapping[int, str], decode: Callable[[Sequence[int]], str]) -> str:
    """Text of a response. The text of its beginning is a beginning of its text, as for any decoder."""
    text = ""
    header: list[int] | None = None
    part: list[int] = []
    thinking = False
    for token in ids:
        name = names.get(token)
        if name in (CHANNEL, START):
            text, part, header = text + decode(part), [], []
        elif name == MESSAGE:
            thinking = header is not None and decode(header).strip().startswith("analysis")
            text, part, header = text + decode(part) + ("<think>" if thinking else ""), [], None
        elif name is not None:
            text, part = text + decode(part) + ("</think>" if thinking else ""), []
            thinking = False
        elif header is not None:
            header.append(token)
        else:
            part.append(token)
    return text + decode(part)


def in_channels(text: str, guard: Callable[[str], str]) -> str:
    """A response's text as the model would write it: its thought in the analysis channel, the rest in the final one."""
    thought, closed, rest = text.partition("</think>")
    if not closed:
        return _FINAL + guard(text)
    inner = thought.lstrip().removeprefix("<think>")
    return f"{_ANALYSIS}{guard(inner.strip())}{END}{START}assistant{_FINAL}{guard(rest.lstrip())}"
