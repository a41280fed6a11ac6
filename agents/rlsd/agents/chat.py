"""Chat templates from token pieces.

The response ids the policy sampled are never tokenised again. A prompt that extends an earlier one is
`earlier prompt ids + response ids + closing piece + new user message + header`, where the pieces come from the model's
own chat template. Templates that do not work so (they strip earlier thinking, say) are detected when the `ChatFormat`
is created; their prompts are rendered as a whole each turn, and rows do not merge.

Hindsight is inserted as ids at the end of a user message's text, so every other token is unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from rlsd.agents.memory import Message
from rlsd.agents.types import Prompt
from rlsd.envs.errors import RlsdError

_PROBE_RESPONSES = ("<think>first thought</think><action>go north</action>", "open door 7", "plain\nanswer")
_CACHED_CHARS = 1024
"""Longer texts (whole prompts) rarely repeat, so caching their ids would waste memory."""
_FIRST, _LAST, _GUARD = "\ue000", "\ue001", "\ue002"
"""Private-use characters that mark places in a rendering; removed from every text before it is rendered."""


class TemplateError(RlsdError, ValueError):
    """A chat template that cannot be used, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pieces:
    """`head user tail response mid user tail response …`: the parts of an extendable template."""

    head: str
    tail: str
    mid: str


class ChatFormat:
    """Messages to prompts for one tokenizer.

    Args:
        tokenizer: a fast transformers tokenizer with a chat template.
        eos_ids: ids that end a response; default: the tokenizer's end token.
        system: a system message before the user's in every prompt.

    Raises:
        TemplateError: the template drops the user's message, or the system message.
    """

    def __init__(self, tokenizer: Any, eos_ids: Sequence[int] | None = None, *, system: str | None = None) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise TemplateError("the tokenizer has no chat template; set tokenizer.chat_template first")
        self.tokenizer = tokenizer
        if eos_ids is None:
            if tokenizer.eos_token_id is None:
                raise TemplateError("the tokenizer has no end token; pass eos_ids")
            eos_ids = [tokenizer.eos_token_id]
        self.eos_ids = frozenset(eos_ids)
        special = {i: t.content for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        self._special_ids = frozenset(special) - {tokenizer.unk_token_id}
        names = sorted((n for n in special.values() if len(n) > 1), key=len, reverse=True) or ["\0\0"]
        self._special_names = re.compile("|".join(map(re.escape, names)))
        self._guarded_names = re.compile("(" + "|".join(re.escape(n[0] + _GUARD + n[1:]) for n in names) + ")")
        self._system = [{"role": "system", "content": self._guard(system.strip())}] if system else []
        self._pieces = self._probe()
        self._cache: dict[tuple[str, bool], tuple[int, ...]] = {}

    @property
    def extends(self) -> bool:
        """Whether a longer conversation's prompt begins with the shorter one's tokens."""
        return self._pieces is not None

    def encode(self, text: str, *, special: bool = False) -> tuple[int, ...]:
        """Ids of `text` alone. With `special=False` a special token's name in a text stays plain text, so an
        observation that contains one cannot end a message."""
        key = (text, special)
        ids = self._cache.get(key)
        if ids is None:
            ids = self._tokenize(text, special=special)
            if not special and not self._special_ids.isdisjoint(ids):  # the vocabulary contains the name as plain text
                pieces = self._special_names.sub(lambda m: m[0][0] + _GUARD + m[0][1:], text).split(_GUARD)
                ids = tuple(i for piece in pieces for i in self._tokenize(piece, special=False))
            if len(text) <= _CACHED_CHARS:
                if len(self._cache) > 50_000:
                    self._cache.clear()
                self._cache[key] = ids
        return ids

    def _tokenize(self, text: str, *, special: bool) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False, split_special_tokens=not special)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of `ids`, special tokens left out, spaces untouched."""
        return self.tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)

    def prompt(self, messages: Sequence[Message], responses: Sequence[Sequence[int]]) -> Prompt:
        """The prompt after `messages`, the last of which is the user's.

        Args:
            messages: user and assistant in turn, user first and last.
            responses: sampled ids by response number; they are inserted unchanged.
        """
        pieces = self._pieces
        if pieces is None:
            return self._whole(messages)
        ids: list[int] = self._encode_guarded(pieces.head)
        episode_slot = turn_slot = 0
        for i, message in enumerate(messages):
            if message.role == "user":
                ids += self.encode(message.text)
                turn_slot = len(ids)
                episode_slot = episode_slot or turn_slot
                ids += self.encode(pieces.tail, special=True)
                continue
            if message.response is None:
                raise ValueError(f"message {i} is the assistant's but names no response")
            sampled = responses[message.response]
            ids += sampled
            ids += self._closing(ended=bool(sampled) and sampled[-1] in self.eos_ids)
        return Prompt(ids=tuple(ids), episode_slot=episode_slot, turn_slot=turn_slot)

    def extend(self, prompt: Prompt, response: Sequence[int], user_text: str) -> Prompt:
        """The prompt of the next turn, in time linear in the new text. Only if `extends` is True."""
        assert self._pieces is not None
        ids = [*prompt.ids, *response, *self._closing(ended=bool(response) and response[-1] in self.eos_ids)]
        ids += self.encode(user_text)
        slot = len(ids)
        ids += self.encode(self._pieces.tail, special=True)
        return Prompt(ids=tuple(ids), episode_slot=prompt.episode_slot, turn_slot=slot)

    def response(self, text: str) -> tuple[int, ...]:
        """Ids of a response that was not sampled (a demonstration), with the end token that a policy would sample."""
        return (*self.encode(text), self.end_id)

    @property
    def end_id(self) -> int:
        """The id that ends a response: the template's end of an assistant message if that is in `eos_ids`."""
        if self._pieces is not None:
            for token in self.encode(self._pieces.mid, special=True):
                if token in self.eos_ids:
                    return token
        return self.tokenizer.eos_token_id if self.tokenizer.eos_token_id in self.eos_ids else min(self.eos_ids)

    def _closing(self, *, ended: bool) -> tuple[int, ...]:
        """What follows a response up to the next user text; the end token is not repeated if it was sampled."""
        assert self._pieces is not None
        mid = self.encode(self._pieces.mid, special=True)
        if ended:
            for i, token in enumerate(mid):
                if token in self.eos_ids:
                    return mid[i + 1 :]
        return mid

    def _whole(self, messages: Sequence[Message]) -> Prompt:
        """Render the whole conversation at once (templates that rewrite earlier turns)."""
        users = [i for i, m in enumerate(messages) if m.role == "user"]
        dicts = [{"role": m.role, "content": self._guard(m.text)} for m in messages]
        dicts[users[0]]["content"] += _FIRST
        if len(users) > 1:
            dicts[users[-1]]["content"] += _LAST
        before, marker, after = self._render(dicts).partition(_FIRST)
        between = ""
        if len(users) > 1:
            between, last_marker, after = after.partition(_LAST)
            marker = marker and last_marker
        if not marker:
            raise TemplateError("the chat template drops user messages; rlsd cannot place hindsight in it")
        ids = self._encode_guarded(before)
        episode_slot = len(ids)
        ids += self._encode_guarded(between)
        turn_slot = len(ids)
        ids += self._encode_guarded(after)
        return Prompt(ids=tuple(ids), episode_slot=episode_slot, turn_slot=turn_slot)

    def _guard(self, text: str) -> str:
        """`text` with every special token's name split by a mark, to distinguish it from the template's own."""
        text = text.translate({ord(c): None for c in (_FIRST, _LAST, _GUARD)})
        return self._special_names.sub(lambda m: m[0][0] + _GUARD + m[0][1:], text)

    def _encode_guarded(self, rendered: str) -> list[int]:
        """Ids of a rendering; special names that `_guard` split come from messages and stay plain text."""
        ids: list[int] = []
        for i, part in enumerate(self._guarded_names.split(rendered)):
            ids += self.encode(part.replace(_GUARD, ""), special=i % 2 == 0) if part else ()
        return ids

    def _render(self, messages: list[dict[str, str]]) -> str:
        return self.tokenizer.apply_chat_template(
            [*self._system, *messages], tokenize=False, add_generation_prompt=True
        )

    def _probe(self) -> _Pieces | None:
        """The template's pieces, or None if they do not reproduce a conversation exactly."""
        users = ["⟦user0⟧", "⟦user1⟧", "⟦user2⟧", "⟦user3⟧"]
        try:
            first = self._render([{"role": "user", "content": users[0]}])
        except jinja2.TemplateError as error:
            what = "with a system message (put the text into agent.prompt instead)" if self._system else "a message"
            raise TemplateError(f"the chat template cannot render {what}: {error}") from error
        if self._system and self._system[0]["content"] not in first:
            raise TemplateError("the chat template drops the system message; put its text into agent.prompt instead")
        head, user_text, tail = first.partition(users[0])
        if not user_text:
            raise TemplateError("the chat template does not show the user's message")
        pieces: _Pieces | None = None
        messages: list[dict[str, str]] = [{"role": "user", "content": users[0]}]
        expected = first
        for user, response in zip(users[1:], _PROBE_RESPONSES):
            messages += [{"role": "assistant", "content": response}, {"role": "user", "content": user}]
            text = self._render(messages)
            if pieces is None:
                start = expected + response
                if not text.startswith(start) or not text.endswith(user + tail):
                    return None
                pieces = _Pieces(head=head, tail=tail, mid=text[len(start) : -len(user + tail)])
            expected += response + pieces.mid + user + tail
            if text != expected:
                return None
        return pieces
