"""The formats of known chat-template families, in our own words: markers, order and white space, and nothing else.

tests/support/chat_tokenizers.py trains a tokenizer with the markers as added tokens and compares prompts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["bytes", "gpt2", "llama", "first", "bare"]
"""Tokenizers: byte-level BPE that joins line breaks to one word as Llama 3's does (bytes), or cuts words as GPT-2's
(gpt2); SentencePiece-like BPE with a space before every piece (llama), before the first one only (first), or never
(bare)."""
PLAIN = 'm["content"]'
TRIMMED = 'm["content"] | trim'
UNTHOUGHT = 'm["content"].split("</think>")[-1].lstrip("\\n")'


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One format. `differs` states in a line why rlsd's ids are not the template's; "": they are."""

    template: str
    special: tuple[str, ...]
    """Added tokens that are flagged special; the last one is the tokenizer's end token."""
    plain: tuple[str, ...] = ()
    """Added tokens that are not flagged."""
    kind: Kind = "bytes"
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    keep: bool | None = None
    """`agent.keep_thoughts`."""
    tags: tuple[str, str] = ("<think>", "</think>")
    """How the family marks a thought."""
    differs: str = ""
    eats_space: tuple[str, ...] = ()
    """Special tokens that swallow the white space behind them."""


def literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def turns(
    user: str,
    assistant: str,
    reply: str,
    *,
    system: str = "",
    start: str = "",
    said: str = PLAIN,
    user_text: str = PLAIN,
) -> str:
    """A template that writes one piece per message, `@` standing for its text, and `reply` at the end.

    Args:
        said: the expression for an assistant's text.
        start: what stands before everything; Jinja code in braces is kept.
    """

    def shown(piece: str, expression: str) -> str:
        before, at, after = piece.partition("@")
        parts = [literal(before), f"({expression})", literal(after)] if at else [literal(before)]
        return "{{ " + " + ".join(parts) + " }}"

    opening = start if start.startswith("{%") else "{{ " + literal(start) + " }}"
    return (
        opening
        + '{% for m in messages %}{% if m["role"] == "system" %}'
        + shown(system, PLAIN)
        + '{% elif m["role"] == "user" %}'
        + shown(user, user_text)
        + "{% else %}"
        + shown(assistant, said)
        + "{% endif %}{% endfor %}{% if add_generation_prompt %}"
        + (reply if reply.startswith("{") else "{{ " + literal(reply) + " }}")
        + "{% endif %}"
    )


def _chatml(reply: str = "<|im_start|>assistant\n", **settings: Any) -> str:
    return turns(
        "<|im_start|>user\n@<|im_end|>\n",
        "<|im_start|>assistant\n@<|im_end|>\n",
        reply,
        system="<|im_start|>system\n@<|im_end|>\n",
        **settings,
    )


def _unless_system(text: str) -> str:
    return '{% if messages[0]["role"] != "system" %}{{ ' + literal(text) + " }}{% endif %}"


_IM = ("<|im_start|>", "<|endoftext|>", "<|im_end|>")
_IM_BASE = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_THINK = ("<think>", "</think>")
_TOOLS = ("<tool_call>", "</tool_call>")
ALONE = "each prompt alone is the template's, rows do not merge"
_STRIPS = f"the template strips thoughts from earlier responses; {ALONE}"
_QWEN3_REPLY = (
    '{{ "<|im_start|>assistant\\n" }}'
    '{% if enable_thinking is defined and enable_thinking is false %}{{ "<think>\\n\\n</think>\\n\\n" }}{% endif %}'
)
_QWEN3 = Family(
    template=_chatml(_QWEN3_REPLY, said=UNTHOUGHT)
    + '{# tools are called as <tool_call>…</tool_call> #}{% if tools %}{{ "<tool_call></tool_call>" }}{% endif %}',
    special=_IM,
    plain=(*_THINK, *_TOOLS),
)
_LLAMA3 = ("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>")


def _llama3(start: str) -> str:
    head = "<|start_header_id|>{}<|end_header_id|>\n\n"
    return turns(
        head.format("user") + "@<|eot_id|>",
        head.format("assistant") + "@<|eot_id|>",
        head.format("assistant"),
        system=head.format("system") + "@<|eot_id|>",
        start=start,
        said=TRIMMED,
        user_text=TRIMMED,
    )


_DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>")
_OPENED = "<|im_start|>assistant\n<think>\n"

FAMILIES: dict[str, Family] = {
    "chatml": Family(template=_chatml(), special=_IM),
    "chatml, markers not flagged": Family(
        template=_chatml(), special=("<|endoftext|>",), plain=("<|im_start|>", "<|im_end|>")
    ),
    "llama-2": Family(
        template=turns(
            "<s>[INST] @ [/INST]", " @ </s>", "", system="<s>[INST] <<SYS>>\n@\n<</SYS>>\n\n[/INST]", said=TRIMMED
        ),
        special=("<s>", "</s>"),
        kind="llama",
        differs="the template writes a space before </s>, a policy samples </s> right behind its text",
    ),
    "llama-3": Family(template=_llama3("<|begin_of_text|>"), special=_LLAMA3),
    "llama-3.1": Family(
        template=_llama3(
            '{% set today = date_string if date_string is defined else strftime_now("%d %b %Y") %}'
            '{{ "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + today }}'
            '{{ "\\n\\n<|eot_id|>" }}'
        ),
        special=_LLAMA3,
        kwargs={"strftime_now": "2025-01-31"},
    ),
    "mistral v1": Family(
        template=turns("[INST] @ [/INST]", "@</s>", "", start="<s>"), special=("<s>", "</s>"), kind="llama"
    ),
    "mistral v3": Family(
        template=turns("[INST] @[/INST]", " @</s>", "", start="<s>"),
        special=("<s>", "[INST]", "[/INST]", "</s>"),
        kind="first",
    ),
    "mistral v7": Family(
        template=turns("[INST]@[/INST]", "@</s>", "", start="<s>", system="[SYSTEM_PROMPT]@[/SYSTEM_PROMPT]"),
        special=("<s>", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]", "</s>"),
    ),
    "magistral": Family(
        template=turns("[INST]@[/INST]", "@</s>", "", start="<s>") + '{% if false %}{{ "[THINK][/THINK]" }}{% endif %}',
        special=("<s>", "[INST]", "[/INST]", "[THINK]", "[/THINK]", "</s>"),
        tags=("[THINK]", "[/THINK]"),
    ),
    "gemma": Family(
        template=turns(
            "<start_of_turn>user\n@<end_of_turn>\n",
            "<start_of_turn>model\n@<end_of_turn>\n",
            "<start_of_turn>model\n",
            start="<bos>",
            said=TRIMMED,
            user_text=TRIMMED,
        ),
        special=("<bos>", "<start_of_turn>", "<end_of_turn>", "<eos>"),
        kind="bare",
    ),
    "phi-3": Family(
        template=turns(
            "<|user|>\n@<|end|>\n", "<|assistant|>\n@<|end|>\n", "<|assistant|>\n", system="<|system|>\n@<|end|>\n"
        ),
        special=("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"),
        kind="llama",
        eats_space=("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
    ),
    "phi-4": Family(
        template=turns(
            "<|im_start|>user<|im_sep|>@<|im_end|>",
            "<|im_start|>assistant<|im_sep|>@<|im_end|>",
            "<|im_start|>assistant<|im_sep|>",
            system="<|im_start|>system<|im_sep|>@<|im_end|>",
        ),
        special=("<|im_start|>", "<|im_sep|>", "<|im_end|>", "<|endoftext|>"),
    ),
    "qwen2.5": Family(
        template=_chatml(start=_unless_system("<|im_start|>system\nYou answer briefly.<|im_end|>\n"))
        + '{% if tools %}{{ "<tool_call></tool_call>" }}{% endif %}',
        special=_IM,
        plain=_TOOLS,
    ),
    "qwen3": Family(template=_QWEN3.template, special=_IM, plain=_QWEN3.plain, differs=_STRIPS),
    "qwen3, thoughts kept": Family(
        template=_QWEN3.template,
        special=_IM,
        plain=_QWEN3.plain,
        keep=True,
        differs="the template strips thoughts from earlier responses, agent.keep_thoughts keeps them",
    ),
    "qwen3, not thinking": Family(
        template=_QWEN3.template,
        special=_IM,
        plain=_QWEN3.plain,
        kwargs={"enable_thinking": False},
        differs=_STRIPS,
    ),
    "qwen3.5": Family(
        template=_chatml(_OPENED, said=UNTHOUGHT), special=_IM, plain=(*_THINK, *_TOOLS), differs=_STRIPS
    ),
    "thoughts opened and kept": Family(template=_chatml(_OPENED), special=_IM, plain=_THINK),
    "deepseek v2": Family(
        template=turns(
            "User: @\n\n",
            "Assistant: @<｜end▁of▁sentence｜>",
            "Assistant:",
            start="<｜begin▁of▁sentence｜>",
            system="@\n\n",
        ),
        special=_DEEPSEEK,
    ),
    "deepseek v3": Family(
        template=turns(
            "<｜User｜>@",
            "<｜Assistant｜>@<｜end▁of▁sentence｜>",
            "<｜Assistant｜>",
            start="<｜begin▁of▁sentence｜>",
            system="@",
        ),
        special=_DEEPSEEK,
        plain=("<｜User｜>", "<｜Assistant｜>"),
    ),
    "deepseek r1 distill": Family(
        template=turns(
            "<｜User｜>@",
            "<｜Assistant｜>@<｜end▁of▁sentence｜>",
            "<｜Assistant｜><think>\n",
            start="<｜begin▁of▁sentence｜>",
            said='m["content"].split("</think>")[-1]',
        ),
        special=_DEEPSEEK,
        plain=("<｜User｜>", "<｜Assistant｜>", *_THINK),
        differs=_STRIPS,
    ),
    "zephyr": Family(
        template=turns("<|user|>\n@</s>\n", "<|assistant|>\n@</s>\n", "<|assistant|>\n", system="<|system|>\n@</s>\n"),
        special=("<s>", "</s>"),
        kind="llama",
    ),
    "vicuna": Family(
        template=turns("USER: @ ", "ASSISTANT: @</s>", "ASSISTANT:", start="<s>", system="@ "),
        special=("<s>", "</s>"),
        kind="llama",
    ),
    "command-r": Family(
        template=turns(
            "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>@<|END_OF_TURN_TOKEN|>",
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>@<|END_OF_TURN_TOKEN|>",
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
            start="<BOS_TOKEN>",
            system="<|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>@<|END_OF_TURN_TOKEN|>",
        ),
        special=(
            "<BOS_TOKEN>",
            "<|START_OF_TURN_TOKEN|>",
            "<|USER_TOKEN|>",
            "<|CHATBOT_TOKEN|>",
            "<|SYSTEM_TOKEN|>",
            "<|END_OF_TURN_TOKEN|>",
        ),
    ),
    "granite": Family(
        template=turns(
            "<|start_of_role|>user<|end_of_role|>@<|end_of_text|>\n",
            "<|start_of_role|>assistant<|end_of_role|>@<|end_of_text|>\n",
            "<|start_of_role|>assistant<|end_of_role|>",
            start='{% if messages[0]["role"] != "system" %}{{ "<|start_of_role|>system<|end_of_role|>Date: " '
            '+ strftime_now("%B %d, %Y") + ".<|end_of_text|>\\n" }}{% endif %}',
            system="<|start_of_role|>system<|end_of_role|>@<|end_of_text|>\n",
        ),
        special=("<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"),
        kwargs={"strftime_now": "2025-01-31"},
    ),
    "falcon": Family(
        template=turns("User: @\n\n", "Assistant: @\n\n", "Assistant:", system="@\n\n"),
        special=("<|endoftext|>",),
        kind="gpt2",
        differs="the template writes no end token behind a response, the sampled one stays",
    ),
    "olmo": Family(
        template=turns(
            "<|user|>\n@\n",
            "<|assistant|>\n@<|endoftext|>\n",
            "<|assistant|>\n",
            start="<|endoftext|>",
            system="<|system|>\n@\n",
        ),
        special=("<|endoftext|>",),
        kind="gpt2",
    ),
    "smollm2": Family(
        template=_chatml(start=_unless_system("<|im_start|>system\nYou are small and helpful.<|im_end|>\n")),
        special=_IM,
        kind="gpt2",
    ),
    "smollm3": Family(
        template=_chatml(
            "{% if enable_thinking is defined and not enable_thinking %}"
            '{{ "<|im_start|>assistant\\n<think>\\n\\n</think>\\n" }}'
            '{% else %}{{ "<|im_start|>assistant\\n" }}{% endif %}',
            start='{% if messages[0]["role"] != "system" %}{{ "<|im_start|>system\\nToday Date: " '
            '+ strftime_now("%d %B %Y") + "\\nReasoning Mode: /think<|im_end|>\\n" }}{% endif %}',
        ),
        special=_IM,
        plain=_THINK,
        kwargs={"strftime_now": "2025-01-31"},
    ),
    "glm-4": Family(
        template=turns(
            "<|user|>\n@", "<|assistant|>\n@", "<|assistant|>\n", start="[gMASK]<sop>", system="<|system|>\n@"
        ),
        special=("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>"),
    ),
    "glm-4.5, not thinking": Family(
        template=turns(
            "<|user|>\n@{nothink}",
            "<|assistant|>\n<think></think>\n@",
            "<|assistant|>\n<think></think>\n",
            start="[gMASK]<sop>",
            said='m["content"].split("</think>")[-1].strip()',
        ).replace('"{nothink}"', '("" if enable_thinking else "/nothink")'),
        special=("[gMASK]", "<sop>", "<|user|>", "<|assistant|>", "<|system|>", "<|endoftext|>"),
        plain=(*_THINK, "/nothink"),
        kwargs={"enable_thinking": False},
        differs=_STRIPS,
    ),
    "internlm2": Family(
        template=_chatml(start="<s>"), special=("<s>", "</s>"), plain=("<|im_start|>", "<|im_end|>"), kind="first"
    ),
    "yi": Family(template=_chatml(), special=_IM_BASE, kind="bare"),
    "minicpm": Family(
        template=turns("<用户>@", "<AI>@</s>", "<AI>", start="<s>", user_text=TRIMMED),
        special=("<s>", "</s>"),
        kind="llama",
    ),
    "nemotron": Family(
        template=turns(
            "<extra_id_1>User\n@\n",
            "<extra_id_1>Assistant\n@\n",
            "<extra_id_1>Assistant\n",
            start=_unless_system("<extra_id_0>System\n\n"),
            system="<extra_id_0>System\n@\n",
        ),
        special=("<extra_id_0>", "<extra_id_1>", "</s>"),
        differs="the template writes a newline before the token that ends a response, a policy samples that right away",
    ),
    "nemotron, switched in a message": Family(
        template=turns(
            "<SPECIAL_11>User\n@\n",
            "<SPECIAL_11>Assistant\n@\n<SPECIAL_12>\n",
            '{% if "/no_think" in messages[-1]["content"] %}{{ "<SPECIAL_11>Assistant\\n<think></think>" }}'
            '{% else %}{{ "<SPECIAL_11>Assistant\\n<think>\\n" }}{% endif %}',
            start="<SPECIAL_10>System\n\n",
            said='m["content"].split("</think>")[-1].strip()',
        ),
        special=("<SPECIAL_10>", "<SPECIAL_11>", "<SPECIAL_12>"),
        plain=_THINK,
        differs=_STRIPS,
    ),
    "gpt-oss": Family(
        template=turns(
            "<|start|>user<|message|>@<|end|>",
            "<|start|>assistant<|channel|>final<|message|>@{end}",
            "<|start|>assistant",
            said=UNTHOUGHT,
            start='{% set today = strftime_now("%Y-%m-%d") %}'
            '{{ "<|start|>system<|message|>Current date: " + today + "<|end|>" }}',
            system="<|start|>developer<|message|>@<|end|>",
        ).replace('"{end}"', '("<|return|>" if loop.last and not add_generation_prompt else "<|end|>")'),
        special=("<|start|>", "<|end|>", "<|message|>", "<|channel|>", "<|endoftext|>", "<|return|>"),
        kwargs={"strftime_now": "2025-01-31"},
        differs=f"the template drops the analysis channel of earlier responses; {ALONE}",
    ),
    "kimi k2": Family(
        template=turns(
            "<|im_user|>user<|im_middle|>@<|im_end|>",
            "<|im_assistant|>assistant<|im_middle|>@<|im_end|>",
            "<|im_assistant|>assistant<|im_middle|>",
            system="<|im_system|>system<|im_middle|>@<|im_end|>",
        ),
        special=("<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>", "<|im_end|>", "[EOS]"),
    ),
    "solar": Family(
        template=turns(
            "### User:\n@\n\n", "### Assistant:\n@\n\n", "### Assistant:\n", start="<s>", system="### System:\n@\n\n"
        ),
        special=("<s>", "</s>"),
        kind="llama",
        differs="the template writes no end token behind a response, the sampled one stays",
    ),
    "exaone": Family(
        template=turns(
            "[|user|]@\n", "[|assistant|]@[|endofturn|]\n", "[|assistant|]", system="[|system|]@[|endofturn|]\n"
        ),
        special=("[BOS]", "[|user|]", "[|assistant|]", "[|system|]", "[|endofturn|]"),
    ),
}
