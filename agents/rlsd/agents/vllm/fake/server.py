"""A small stand-in for a vLLM server: the same routes over a transformers model, for tests and for trying a config out.

It really samples, really loads weights and adapters, and can be told to misbehave. It is slow: one request at a time.

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
    """What goes wrong, and how often from now on."""

    fail: int = 0
    """Completions answered with status 500."""
    garbage: int = 0
    """Completions answered with something that is no completion."""
    wrong_model: int = 0
    """Completions that say they come from another model."""
    keep_weights: bool = False
    """Answer 200 to new weights and keep the old ones."""
    stuck_cache: int = 0
    """Attempts to empty the prefix cache that fail."""
    lacks: tuple[str, ...] = ()
    """Routes and fields the server does not have."""
    prompt_shift: float = 0.0
    """Nats added to the prompt log-probs of anything but the probe: a server that only the check on episodes finds."""
    token_delay_s: float = 0.0
    """Pause before each token."""
    broken_transfers: int = 0
    """Transfers of weights that break off in the middle."""
    transfer: str | None = "rlsd_gloo"
    """The back-end it was started to receive weights with."""


class FakeVLLM:
    """A server in this process, on a thread of its own.

    Args:
        folder: a transformers model folder.
        port: 0 takes a free one.
        context: `max_model_len`.
    """

    def __init__(self, folder: str | Path, *, port: int = 0, context: int | None = None) -> None:
        self.folder = str(folder)
        self.policy = load_policy(folder)
        self.context = context or self.policy.context
        self.probe = self.policy.tokenizer.encode(PROBE, add_special_tokens=False)
        self.wrong = Misbehaviour()
        self.lock = threading.Lock()
        """Held while the model computes or changes."""
        self.loading = threading.Lock()
        """Held while an adapter is loaded, so that of two requests for a name one is refused, as vLLM does."""
        self.adapters: dict[str, Any] = {}
        self.receiver = Receiver(self)
        self._adapter: Any = None
        """The one that was loaded last."""
        self.weight_version = "default"
        self.completions = 0
        self.scored_tokens = 0
        """Prompt tokens whose log-probs were asked for, the probe's apart."""
        self.decoded_tokens = 0
        self.aborted = 0
        """Completions whose client went away before they were done."""
        self.cache_resets = 0
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.fake = self
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Go away, as a killed server does: nobody answers at the port any more. A second time does nothing."""
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
        """Ids, log-probs of the temperature-scaled distribution, and why it ended; None when `gone()`."""
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
    given = parser.parse_args()
    if not (Path(given.folder) / "config.json").is_file():
        parser.error(f"{given.folder} holds no config.json: give a transformers model folder")
    try:
        fake = FakeVLLM(given.folder, port=given.port)
    except OSError as error:
        parser.error(f"cannot listen on port {given.port}: {error.strerror}")
    print(fake.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
