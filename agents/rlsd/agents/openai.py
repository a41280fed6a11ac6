"""Any chat-completions endpoint as an agent: text in, text out, for evaluation only (no token ids, so no training)."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import httpx

from rlsd.agents.memory import Memory
from rlsd.agents.seeding import derive
from rlsd.agents.types import Action, EpisodeKey, FinishReason, History
from rlsd.agents.vllm.client import CONNECTIONS, ServerReply, ServerUnreachable
from rlsd.envs.answers import well_formed
from rlsd.envs.remote.answers import AnswerTooLarge, ask_async

KEY_VARIABLE = "OPENAI_API_KEY"
BACK_OFF_S = 0.5
AGAIN = (408, 409, 429, 500, 502, 503, 504)
"""Status codes after which the same request is sent again."""


class ChatAgent:
    """Acts through `POST {url}/chat/completions`.

    Args:
        url: with or without "/v1/chat/completions"; "http://host:port" is enough.
        model: the endpoint's name of the model.
        memory: turns the history into messages; its `format` parses the responses.
        max_new_tokens: longest response in tokens.
        temperature: sampling temperature; 0: greedy.
        system: a system message before the others.
        api_key: default: the variable OPENAI_API_KEY.
        retries: how often a failed request is sent again.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        memory: Memory,
        max_new_tokens: int,
        temperature: float = 0.0,
        seed: int = 0,
        system: str | None = None,
        api_key: str | None = None,
        timeout_s: float = 300.0,
        retries: int = 5,
    ) -> None:
        url = url.rstrip("/").removesuffix("/chat/completions")
        self.url = f"{url if url.endswith('/v1') else url + '/v1'}/chat/completions"
        self.model = model
        self.memory = memory
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed
        self.system = system
        self.retries = retries
        self._timeout_s = timeout_s
        key = api_key or os.environ.get(KEY_VARIABLE)
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def begin(self, key: EpisodeKey) -> None:
        pass

    def end(self, key: EpisodeKey) -> None:
        pass

    async def act(self, history: History, key: EpisodeKey) -> Action:
        """
        Raises:
            ServerUnreachable: no answer after all tries.
            ServerReply: an answer that is not a chat completion, or a refusal (status 400 to 499).
        """
        messages = [{"role": m.role, "content": m.text} for m in self.memory.messages(history)]
        if self.system:
            messages = [{"role": "system", "content": self.system}, *messages]
        body = {
            "model": self.model,
            "messages": messages,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": derive(self.seed, *key, "turn", history.turn),
        }
        reply = await self._ask(body)
        try:
            choice = reply["choices"][0]
            response = well_formed(str(choice["message"]["content"] or ""))  # the next request has to hold it
            reason = choice.get("finish_reason")
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ServerReply(f"{self.url} gave no chat completion: {str(reply)[:200]}") from error
        parsed = self.memory.format.parse(response)
        finish = FinishReason.LENGTH if reason == "length" else FinishReason.EOS
        return Action(text=parsed.text, valid=parsed.valid, response=response, finish=finish)

    async def _ask(self, body: dict[str, Any]) -> Any:
        last_error = ""
        async with httpx.AsyncClient(headers=self._headers, timeout=self._timeout_s, **CONNECTIONS) as client:
            for attempt in range(self.retries + 1):
                if attempt:
                    await asyncio.sleep(BACK_OFF_S * 2 ** (attempt - 1))
                try:
                    answer = await ask_async(client, "POST", self.url, json=body)
                except AnswerTooLarge as error:
                    raise ServerReply(str(error)) from error
                except httpx.HTTPError as error:
                    last_error = f"{type(error).__name__}: {error}"
                    continue
                if answer.status_code in AGAIN:
                    last_error = f"status {answer.status_code}"
                    continue
                if answer.status_code >= 400:
                    reason = " ".join(answer.text.split())[:300]
                    raise ServerReply(f"{self.url} answered {answer.status_code}: {reason}")
                try:
                    return answer.json()
                except (ValueError, RecursionError) as error:
                    raise ServerReply(f"{self.url} gave no JSON: {answer.text[:200]!r}") from error
        raise ServerUnreachable(f"{self.url} gave no answer ({last_error}, tried {self.retries + 1} times)")
