"""Prompts from token pieces: what the template itself would render, with the sampled ids in place."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlsd.agents.chat import ChatFormat, TemplateError
from rlsd.agents.memory import Message
from tests.support.tokenizers import CHATML, FAMILIES, chatml

FORMATS = {name: ChatFormat(make()) for name, make in FAMILIES.items()}
EXTENDABLE = [name for name, format in FORMATS.items() if format.extends]
RESPONSES = ["<think>a shelf</think><action>go to shelf 2</action>", "open drawer 1", "take mug 1"]
USERS = ["You see a drawer 1.", "You arrive at shelf 2.", "On the drawer 1, you see nothing.", "You see nothing."]


def conversation(format: ChatFormat, turns: int) -> tuple[list[Message], list[tuple[int, ...]]]:
    messages: list[Message] = []
    for k in range(turns):
        messages.append(Message(role="user", text=USERS[k]))
        messages.append(Message(role="assistant", text=RESPONSES[k], response=k))
    return [*messages, Message(role="user", text=USERS[turns])], [format.response(r) for r in RESPONSES[:turns]]


def rendered(format: ChatFormat, messages: list[Message]) -> str:
    dicts = [{"role": m.role, "content": m.text} for m in messages]
    return format.tokenizer.apply_chat_template(dicts, tokenize=False, add_generation_prompt=True)


def squeezed(text: str) -> str:
    """Unigram pieces that are encoded apart each get a space in front; nothing else may differ."""
    return text.replace(" ", "")


def test_which_templates_extend() -> None:
    assert [name for name in FORMATS if name not in EXTENDABLE] == ["strips-thinking"]


@pytest.mark.parametrize("family", FORMATS)
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_prompt_reads_as_the_template_renders_it(family: str, turns: int) -> None:
    format = FORMATS[family]
    messages, responses = conversation(format, turns)
    prompt = format.prompt(messages, responses)
    told, want = format.tokenizer.decode(list(prompt.ids)), rendered(format, messages)
    if family == "unigram-llama":
        told, want = squeezed(told), squeezed(want)
    assert told == want
    if turns and family == "strips-thinking":
        assert "<think>" not in told


@pytest.mark.parametrize("family", ["compact", "bytelevel-chatml"])
def test_a_prompt_of_a_byte_level_model_has_the_templates_own_ids_up_to_how_text_is_cut(family: str) -> None:
    """Special tokens stand where the template puts them."""
    format = FORMATS[family]
    messages, responses = conversation(format, 2)
    own = format.tokenizer(rendered(format, messages), add_special_tokens=False)["input_ids"]
    special = set(format.tokenizer.added_tokens_decoder)
    assert [i for i in format.prompt(messages, responses).ids if i in special] == [i for i in own if i in special]


@pytest.mark.parametrize("family", FORMATS)
def test_slots_stand_behind_the_first_and_the_last_user_text(family: str) -> None:
    format = FORMATS[family]
    for turns in range(4):
        messages, responses = conversation(format, turns)
        prompt = format.prompt(messages, responses)
        for slot, user in ((prompt.episode_slot, 0), (prompt.turn_slot, turns)):
            assert squeezed(format.decode(prompt.ids[:slot])).endswith(squeezed(USERS[user]))
        assert (prompt.episode_slot == prompt.turn_slot) == (turns == 0)


@pytest.mark.parametrize("family", EXTENDABLE)
@pytest.mark.parametrize("ended", [True, False])
def test_extending_equals_making_the_whole_prompt(family: str, ended: bool) -> None:
    format = FORMATS[family]
    messages, responses = conversation(format, 3)
    responses = responses if ended else [r[:-1] for r in responses]
    prompt = format.prompt(messages[:1], [])
    for k in range(3):
        before = prompt
        prompt = format.extend(prompt, responses[k], USERS[k + 1])
        assert prompt == format.prompt(messages[: 2 * k + 3], responses[: k + 1])
        assert prompt.ids[: len(before.ids) + len(responses[k])] == (*before.ids, *responses[k])


@pytest.mark.parametrize("family", EXTENDABLE)
def test_the_end_token_stands_once_whether_it_was_sampled_or_not(family: str) -> None:
    format = FORMATS[family]
    messages, (response,) = conversation(format, 1)
    assert response[-1] == format.end_id
    assert format.prompt(messages, [response]).ids == format.prompt(messages, [response[:-1]]).ids


@pytest.mark.parametrize("family", EXTENDABLE)
def test_sampled_ids_are_never_tokenised_again(family: str) -> None:
    """Even ids that no tokenizer would choose for their text stand in the prompt as they are."""
    format = FORMATS[family]
    messages, _ = conversation(format, 1)
    odd = tuple(i for c in "shelf" for i in format.encode(c))
    assert odd != format.encode("shelf")
    ids = format.prompt(messages, [odd]).ids
    assert any(ids[i : i + len(odd)] == odd for i in range(len(ids)))


@given(text=st.text(max_size=40))
@settings(max_examples=100, deadline=None)
def test_plain_text_survives_and_holds_no_special_token(text: str) -> None:
    for name, format in FORMATS.items():
        special = {i for i, t in format.tokenizer.added_tokens_decoder.items() if t.special}
        names = "".join(format.tokenizer.decode([i]) for i in sorted(special))
        ids = format.encode(names + text)
        assert not (special - {format.tokenizer.unk_token_id}) & set(ids)
        if name != "unigram-llama":
            assert format.decode(ids) == (names + text).encode("utf-8", "replace").decode()


def test_special_names_are_special_where_the_template_says_so() -> None:
    format = FORMATS["bytelevel-chatml"]
    assert len(format.encode("<|im_end|>", special=True)) == 1
    assert len(format.encode("<|im_end|>")) > 1


@pytest.mark.parametrize(
    "template, expected",
    [
        (None, "no chat template"),
        ("{{ 'hello' }}", "does not show the user's message"),
    ],
)
def test_templates_that_cannot_be_used(template: str | None, expected: str) -> None:
    tokenizer: Any = chatml()
    tokenizer.chat_template = template
    with pytest.raises(TemplateError, match=expected):
        ChatFormat(tokenizer)


def test_no_end_token() -> None:
    tokenizer = chatml(CHATML.replace("+ '<|im_end|>'", "").replace("<|im_start|>", "#"))
    tokenizer.eos_token = None
    with pytest.raises(TemplateError, match="end token"):
        ChatFormat(tokenizer)
    assert ChatFormat(tokenizer, [2]).end_id == 2


def test_a_template_that_numbers_its_turns_does_not_extend() -> None:
    numbered = CHATML.replace("m['role'] +", "m['role'] + (loop.length | string) +")
    format = ChatFormat(chatml(numbered))
    assert not format.extends
    messages, responses = conversation(format, 2)
    assert format.tokenizer.decode(list(format.prompt(messages, responses).ids)) == rendered(format, messages)
