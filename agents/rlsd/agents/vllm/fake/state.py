"""What the fake server holds and computes: model, adapters, faults to inject, counts of what it did."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from rlsd.agents.hf.models import cache_argument, load_policy
from rlsd.agents.vllm.checks import PROBE

_ONE_AT_A_TIME = threading.Lock()
"""Locked while a model is made: transformers cannot make two of them in threads of one process."""


class Refused(Exception):
    """A request that vLLM answers with status 500."""


@dataclass(slots=True, kw_only=True)
class Misbehaviour:
    """Faults to inject, and how often."""

    fail: int = 0
    """Completions answered with status 500."""
    garbage: int = 0
    """Completions answered with an invalid reply."""
    wrong_model: int = 0
    """Completions attributed to another model."""
    keep_weights: bool = False
    """Answer 200 to new weights but keep the old ones."""
    stuck_cache: int = 0
    """Number of prefix cache resets that fail."""
    lacks: tuple[str, ...] = ()
    """Routes and fields the server does not have."""
    prompt_shift: float = 0.0
    """Nats added to prompt log-probs except the probe's: only the check on episodes detects it."""
    aborted_scores: int = 0
    """Number of requests for prompt log-probs that are ended early."""
    aborted_at_once: bool = False
    """Every completion is ended before its first token."""
    token_delay_s: float = 0.0
    """Pause before each token."""
    hang: threading.Event | None = None
    """Requests to end all completions are held until it is set, and end none before."""
    refuse: int = 0
    """Number of requests to end all completions that are answered with status 500."""
    broken_transfers: int = 0
    """Number of weight transfers that break off."""
    transfer: str | None = "rlsd_gloo"
    """The weight transfer back-end it was started with."""
    sleepless: bool = False
    """Started without `--enable-sleep-mode`, or a CPU build."""


class FakeState:
    """A model behind locks, with the faults to inject.

    Args:
        folder: a transformers model folder.
        context: `max_model_len`; default: the model's.
    """

    def __init__(self, folder: str | Path, *, context: int | None = None) -> None:
        self.folder = str(folder)
        with _ONE_AT_A_TIME:
            self.policy = load_policy(folder)
        self.context = context or self.policy.context
        self.probe = self.policy.tokenizer.encode(PROBE, add_special_tokens=False)
        self.wrong = Misbehaviour()
        self.lock = threading.Lock()
        """Locked while the model computes or changes."""
        self.loading = threading.Lock()
        """Locked while an adapter is loaded, so that one of two requests for a name is refused, as in vLLM."""
        self.adapters: dict[str, Any] = {}
        self._adapter: Any = None
        """The last loaded adapter."""
        self.weight_version = "default"
        self.completions = 0
        self.scored_tokens = 0
        """Prompt tokens scored, without the probe's."""
        self.decoded_tokens = 0
        self.aborted = 0
        """Completions whose client disconnected early."""
        self.interruptions = 0
        """Requests to end all completions that were carried out."""
        self.hung = 0
        """Such requests that were held."""
        self.interrupted = 0
        """Completions that were ended so."""
        self.cache_resets = 0
        self.asleep: set[str] = set()
        """What of it sleeps: "weights", "kv_cache"."""
        self.slept: list[str] = []
        """Every sleep and waking, in order."""

    def end_all(self) -> None:
        """End all completions with the tokens that they have."""
        if self.wrong.hang is not None:
            self.hung += 1
            self.wrong.hang.wait()
        if self.wrong.refuse > 0:
            self.wrong.refuse -= 1
            raise Refused("engine is busy")
        self.interruptions += 1

    def model(self, name: str) -> Any:
        """The model of a request's `model`; KeyError if there is none."""
        return self.policy.model if name == self.folder else self.adapters[name]

    def lacks(self, name: str) -> bool:
        return name in self.wrong.lacks

    def sleep(self, level: int) -> None:
        """Level 2 loses the weights."""
        if self.wrong.sleepless:
            raise Refused("Sleep mode is not enabled.")
        with self.lock:
            self.asleep = {"weights", "kv_cache"}
            self.slept.append(f"sleep {level}")
            if level == 2:
                for weight in self.policy.model.parameters():
                    weight.data.zero_()

    def wake(self, part: str) -> None:
        self.asleep.discard(part)
        self.slept.append(f"wake {part}")

    def load_weights(self, fresh: dict[str, Tensor]) -> None:
        if "weights" in self.asleep:
            raise Refused("weights are loaded into a server that sleeps")
        if not self.wrong.keep_weights:
            with self.lock:
                self.policy.model.load_state_dict(fresh)

    def load_adapter(self, name: str, folder: str) -> None:
        from peft import PeftModel

        with self.lock:
            if self.wrong.keep_weights and self._adapter is not None:
                self.adapters[name] = self._adapter
                return
            with _ONE_AT_A_TIME:
                base = load_policy(self.folder).model
                self._adapter = PeftModel.from_pretrained(base, folder, trust_remote_code=False).eval()
            self.adapters[name] = self._adapter

    @torch.inference_mode()
    def prompt_logps(self, model: Any, ids: list[int]) -> list[float]:
        logp = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, :-1].float(), dim=-1)
        return logp.gather(-1, torch.tensor(ids[1:])[:, None]).squeeze(-1).tolist()

    def _stops(self, ids: list[int], strings: Sequence[str]) -> bool:
        text = self.policy.tokenizer.decode(ids, skip_special_tokens=False) if strings else ""
        return any(string in text for string in strings)

    @torch.inference_mode()
    def sample(self, model: Any, body: dict[str, Any], gone: Any) -> tuple[list[int], list[float], str] | None:
        """Ids, log-probs of the temperature-scaled distribution, and the finish reason; None when `gone()`."""
        rng = torch.Generator().manual_seed(int(body.get("seed") or 0))
        temperature, ends = float(body.get("temperature", 1.0)), set(body.get("stop_token_ids") or ())
        ids, logps, cache, before = [], [], DynamicCache(), self.interruptions
        fed = torch.tensor([body["prompt"]])
        while len(ids) < int(body["max_tokens"]):
            if self.wrong.token_delay_s:
                threading.Event().wait(self.wrong.token_delay_s)
            if gone():
                return None
            if self.interruptions > before or self.wrong.aborted_at_once:
                self.interrupted += 1
                return ids, logps, "abort"
            with self.lock:
                out = model(input_ids=fed, use_cache=True, **{cache_argument(model): cache})
            logp = torch.log_softmax(out.logits[0, -1].float() / (temperature or 1.0), dim=-1)
            token = int(torch.multinomial(logp.exp(), 1, generator=rng)) if temperature else int(logp.argmax())
            self.decoded_tokens += 1
            ids.append(token)
            logps.append(float(logp[token]))
            fed = torch.tensor([[token]])
            if token in ends or self._stops(ids, body.get("stop") or ()):
                return ids, logps, "stop"
        return ids, logps, "length"
