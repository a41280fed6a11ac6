"""A small fake vLLM server: the same routes over a transformers model, for tests and for trying a config.

It samples, loads weights and adapters, and can be set to misbehave. It is slow: one request at a time.

    python -m rlsd.agents.vllm.fake.server FOLDER --port 8000
"""

from __future__ import annotations

import argparse
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache

from rlsd.agents.hf.models import cache_argument, load_policy
from rlsd.agents.vllm.fake.http import Handler, Server
from rlsd.agents.vllm.fake.receiver import Receiver
from rlsd.agents.vllm.proof import PROBE


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
    token_delay_s: float = 0.0
    """Pause before each token."""
    broken_transfers: int = 0
    """Number of weight transfers that break off."""
    transfer: str | None = "rlsd_gloo"
    """The weight transfer back-end it was started with."""


class FakeVLLM:
    """A server on a thread of this process.

    Args:
        folder: a transformers model folder.
        port: 0 picks a free one.
        context: `max_model_len`.
    """

    def __init__(self, folder: str | Path, *, port: int = 0, context: int | None = None) -> None:
        self.folder = str(folder)
        self.policy = load_policy(folder)
        self.context = context or self.policy.context
        self.probe = self.policy.tokenizer.encode(PROBE, add_special_tokens=False)
        self.wrong = Misbehaviour()
        self.lock = threading.Lock()
        """Locked while the model computes or changes."""
        self.loading = threading.Lock()
        """Locked while an adapter is loaded, so that one of two requests for a name is refused, as in vLLM."""
        self.adapters: dict[str, Any] = {}
        self.receiver = Receiver(self)
        self._adapter: Any = None
        """The last loaded adapter."""
        self.weight_version = "default"
        self.completions = 0
        self.scored_tokens = 0
        """Prompt tokens scored, without the probe's."""
        self.decoded_tokens = 0
        self.aborted = 0
        """Completions whose client disconnected early."""
        self.cache_resets = 0
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.fake = self
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop like a killed server: the port is closed. A second call does nothing."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self.receiver.close()

    def model(self, name: str) -> Any:
        """The model of a request's `model`; KeyError if there is none."""
        return self.policy.model if name == self.folder else self.adapters[name]

    def lacks(self, name: str) -> bool:
        return name in self.wrong.lacks

    def load_weights(self, fresh: dict[str, Tensor]) -> None:
        if not self.wrong.keep_weights:
            with self.lock:
                self.policy.model.load_state_dict(fresh)

    def load_adapter(self, name: str, folder: str) -> None:
        from peft import PeftModel

        with self.lock:
            if self.wrong.keep_weights and self._adapter is not None:
                self.adapters[name] = self._adapter
                return
            self.adapters[name] = PeftModel.from_pretrained(load_policy(self.folder).model, folder).eval()
            self._adapter = self.adapters[name]

    @torch.inference_mode()
    def prompt_logps(self, model: Any, ids: list[int]) -> list[float]:
        logp = torch.log_softmax(model(input_ids=torch.tensor([ids])).logits[0, :-1].float(), dim=-1)
        return logp.gather(-1, torch.tensor(ids[1:])[:, None]).squeeze(-1).tolist()

    @torch.inference_mode()
    def sample(self, model: Any, body: dict[str, Any], gone: Any) -> tuple[list[int], list[float], str] | None:
        """Ids, log-probs of the temperature-scaled distribution, and the finish reason; None when `gone()`."""
        rng = torch.Generator().manual_seed(int(body.get("seed") or 0))
        temperature, ends = float(body.get("temperature", 1.0)), set(body.get("stop_token_ids") or ())
        ids, logps, cache = [], [], DynamicCache()
        fed = torch.tensor([body["prompt"]])
        while len(ids) < int(body["max_tokens"]):
            if self.wrong.token_delay_s:
                threading.Event().wait(self.wrong.token_delay_s)
            if gone():
                return None
            with self.lock:
                out = model(input_ids=fed, use_cache=True, **{cache_argument(model): cache})
            logp = torch.log_softmax(out.logits[0, -1].float() / (temperature or 1.0), dim=-1)
            token = int(torch.multinomial(logp.exp(), 1, generator=rng)) if temperature else int(logp.argmax())
            self.decoded_tokens += 1
            ids.append(token)
            logps.append(float(logp[token]))
            fed = torch.tensor([[token]])
            if token in ends:
                return ids, logps, "stop"
        return ids, logps, "length"


def main() -> None:
    """Serve a folder until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    if not (Path(arguments.folder) / "config.json").is_file():
        parser.error(f"{arguments.folder} has no config.json: give a transformers model folder")
    try:
        fake = FakeVLLM(arguments.folder, port=arguments.port)
    except OSError as error:
        parser.error(f"cannot listen on port {arguments.port}: {error.strerror}")
    print(fake.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
