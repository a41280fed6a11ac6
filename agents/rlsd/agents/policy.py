"""The language-model agent: memory → prompt → sampler → parser."""

from __future__ import annotations

from dataclasses import replace

from rlsd.agents.chat import ChatFormat
from rlsd.agents.memory import Appended, FullHistory, Memory
from rlsd.agents.parsing import Parsed, hide_thought, token_span, unfinished_thought
from rlsd.agents.quoting import quoted
from rlsd.agents.types import (
    Action,
    EpisodeKey,
    FinishReason,
    History,
    Prompt,
    Sampler,
    SampleRequest,
    SampleResult,
)


class PolicyAgent:
    """Acts with a language model.

    Args:
        chat: renders prompts and reads tokens.
        memory: turns the history into messages; its `format` parses the responses.
        sampler: samples the tokens.
        max_new_tokens: longest response in tokens.
    """

    def __init__(self, *, chat: ChatFormat, memory: Memory, sampler: Sampler, max_new_tokens: int) -> None:
        self.chat = chat
        self.memory = memory
        self.sampler = sampler
        self.max_new_tokens = max_new_tokens

    def begin(self, key: EpisodeKey) -> None:
        self.sampler.join(key)

    def end(self, key: EpisodeKey) -> None:
        self.sampler.leave(key)

    async def act(self, history: History, key: EpisodeKey) -> Action:
        prompt = self.prompt(history)
        request = SampleRequest(key=key, turn=history.turn, prompt_ids=prompt.ids, max_new_tokens=self.max_new_tokens)
        return self.read(prompt, await self.sampler.sample(request))

    def prompt(self, history: History) -> Prompt:
        """The student view of `history`, built on the previous turn's prompt if the template allows it."""
        if isinstance(self.memory, Appended) and history.actions:
            return self._appended(self.memory, history)
        if isinstance(self.memory, FullHistory) and self.chat.extends and history.actions:
            last = history.actions[-1]
            if last.prompt is not None:
                text = self.memory.user_text(history, history.turn)
                return self.chat.extend(last.prompt, last.token_ids, self._quoted(text))
        messages = [replace(m, text=self._quoted(m.text)) for m in self.memory.messages(history)]
        return self.chat.prompt(messages, [a.token_ids for a in history.actions])

    def _appended(self, memory: Appended, history: History) -> Prompt:
        """The previous turn's prompt with its response and what came of it."""
        last = history.actions[-1]
        before = last.prompt
        if before is None:
            before = self.prompt(replace(history, observations=history.observations[:-1], actions=history.actions[:-1]))
        return self.chat.append(before, last.token_ids, self._quoted(memory.user_text(history, history.turn)))

    def _quoted(self, text: str) -> str:
        """A message in which nothing looks like hindsight, which only the teacher view adds behind it."""
        return quoted(text, preface=self.memory.format.hindsight_preface)

    def read(self, prompt: Prompt, result: SampleResult) -> Action:
        """Parse a response; its spans are in tokens."""
        ids = result.token_ids
        text_ids = ids[:-1] if result.finish is FinishReason.EOS else ids
        response = self.chat.decode(text_ids)
        parsed = self._parsed(response)
        return Action(
            text=parsed.text,
            valid=parsed.valid,
            response=response,
            prompt=prompt,
            token_ids=ids,
            logps=result.logps,
            action_span=token_span(text_ids, parsed.action, self.chat.decode),
            thought_span=token_span(text_ids, parsed.thought, self.chat.decode),
            finish=result.finish,
            policy_version=result.policy_version,
            versions=result.versions,
        )

    def _parsed(self, response: str) -> Parsed:
        """The response as its format reads it. A thinking model's thought may have been opened by the prompt; it is no
        place for actions, and one that does not end leaves no action."""
        chat, parse = self.chat, self.memory.format.parse
        if not chat.thinks or self.memory.format.literal:
            return parse(response)
        opened = chat.opening if chat.opens_thought or "</think>" not in response else ""
        whole = hide_thought(opened + response)
        if unfinished_thought(whole):
            return Parsed(text="", valid=False, action=(0, 0), thought=(0, len(response)))
        parsed, shift = parse(whole), len(opened)
        action, thought = ((max(0, a - shift), max(0, b - shift)) for a, b in (parsed.action, parsed.thought))
        return replace(parsed, action=action, thought=thought)

    def demonstrate(self, history: History, response: str) -> Action:
        """The action as if the policy had written `response` itself (warm starts)."""
        ids = self.chat.response(response)
        result = SampleResult(token_ids=ids, logps=(0.0,) * len(ids), finish=FinishReason.EOS, policy_version=0)
        return self.read(self.prompt(history), result)
