"""A small stand-in for a vLLM server: the same routes over a transformers model, for tests and for trying a config out.

It really samples, really loads weights and adapters, and can be told to misbehave. It is slow: one request at a time.

    python -m rlsd.agents.vllm_fake FOLDER --port 8000
"""

from __future__ import annotations

import argparse
import json
import select
import sys
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from rlsd.agents.models import load_policy
from rlsd.agents.vllm_fake_receiver import Receiver, Refused
from rlsd.agents.vllm_proof import PROBE

BODY_LIMIT = 16 * 1024 * 1024


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
        self._server = _Server(("127.0.0.1", port), _Handler)
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
        ids, logps, cache = [], [], None
        fed = torch.tensor([body["prompt"]])
        while len(ids) < int(body["max_tokens"]):
            if self.wrong.token_delay_s:
                threading.Event().wait(self.wrong.token_delay_s)
            if gone():
                return None
            with self.lock:
                out = model(input_ids=fed, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logp = torch.log_softmax(out.logits[0, -1].float() / (temperature or 1.0), dim=-1)
            token = int(torch.multinomial(logp.exp(), 1, generator=rng)) if temperature else int(logp.argmax())
            self.decoded_tokens += 1
            ids.append(token)
            logps.append(float(logp[token]))
            fed = torch.tensor([[token]])
            if token in ends:
                return ids, logps, "stop"
        return ids, logps, "length"


class _Server(ThreadingHTTPServer):
    fake: FakeVLLM
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news; anything else is."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: requests are no news."""

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if size > BODY_LIMIT:
            return self._answer(413, {"error": "too large"})
        try:
            body = json.loads(self.rfile.read(size) or b"{}")
        except ValueError:
            return self._answer(400, {"error": "no JSON"})
        self._serve(body)

    def _serve(self, body: dict[str, Any]) -> None:
        fake, path = self.server.fake, self.path.partition("?")[0]
        found = ROUTES.get(path)
        if found is None or fake.lacks(path):
            return self._answer(404, {"detail": "Not Found"})
        try:
            answer = found(self, body)
        except (KeyError, FileNotFoundError, ValueError) as error:  # a name or folder that the request got wrong
            return self._answer(404, {"error": {"message": f"{type(error).__name__}: {error}"}})
        except Refused as error:
            return self._answer(500, {"error": {"message": str(error)}})
        if answer is not None:
            self._answer(200, answer)

    def _answer(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        try:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)
        except OSError:  # the client has gone
            self.close_connection = True

    # ------------------------------------------------------------------ routes

    def _openapi(self, _: dict[str, Any]) -> dict[str, Any]:
        fake = self.server.fake
        fields = {name: {} for name in ("return_token_ids", "prompt_logprobs") if not fake.lacks(name)}
        lora = {name: {} for name in ("lora_name", "lora_path") if not fake.lacks(name)}
        shown: dict[str, Any] = {path: {} for path in ROUTES if not fake.lacks(path)}
        if "/v1/completions" in shown:
            shown["/v1/completions"] = {"post": {"body": {"$ref": "#/components/schemas/Completion"}}}
        if "/v1/load_lora_adapter" in shown:
            shown["/v1/load_lora_adapter"] = {"post": {"body": {"$ref": "#/components/schemas/Lora"}}}
        schemas = {"Completion": {"properties": fields}, "Lora": {"properties": lora}}
        return {"paths": shown, "components": {"schemas": schemas}}

    def _models(self, _: dict[str, Any]) -> dict[str, Any]:
        fake = self.server.fake
        base = {"id": fake.folder, "root": fake.folder, "max_model_len": fake.context}
        return {"data": [base, *({"id": name, "root": name} for name in fake.adapters)]}

    def _tokenize(self, body: dict[str, Any]) -> dict[str, Any]:
        return {"tokens": self.server.fake.policy.tokenizer.encode(body["prompt"], add_special_tokens=False)}

    def _complete(self, body: dict[str, Any]) -> dict[str, Any] | None:
        fake = self.server.fake
        model = fake.model(body["model"])
        if body.get("prompt_logprobs") is not None:
            return self._score(model, body)
        fake.completions += 1
        wrong = fake.wrong
        if wrong.fail > 0:
            wrong.fail -= 1
            return self._answer(500, {"error": "Internal Server Error"})
        if wrong.garbage > 0:
            wrong.garbage -= 1
            return {"model": body["model"], "choices": [{"text": "hello", "token_ids": None}]}
        made = fake.sample(model, body, self._gone)
        if made is None:
            fake.aborted += 1
            self.close_connection = True
            return None
        ids, logps, reason = made
        name = body["model"]
        if wrong.wrong_model > 0:
            wrong.wrong_model -= 1
            name = "another"
        choice = {"index": 0, "text": "", "token_ids": ids, "logprobs": {"token_logprobs": logps}}
        return {"model": name, "choices": [{**choice, "finish_reason": reason}]}

    def _score(self, model: Any, body: dict[str, Any]) -> dict[str, Any]:
        fake, ids, shift = self.server.fake, body["prompt"], 0.0
        if len(ids) + int(body["max_tokens"]) > fake.context:
            raise ValueError(f"{len(ids)} prompt tokens and {body['max_tokens']} new ones exceed {fake.context}")
        if ids != fake.probe[: len(ids)]:
            fake.scored_tokens += len(ids)
            shift = fake.wrong.prompt_shift
        with fake.lock:
            logps = fake.prompt_logps(model, ids)
        places = [{str(i): {"logprob": x + shift}} for i, x in zip(ids[1:], logps, strict=True)]
        return {"model": body["model"], "choices": [{"prompt_logprobs": [None, *places]}]}

    def _gone(self) -> bool:
        """The client has closed its side of the connection."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable) and not self.connection.recv(1, 2)  # 2: MSG_PEEK

    def _rpc(self, body: dict[str, Any]) -> dict[str, Any] | None:
        if body.get("method") != "reload_weights":
            return self._answer(500, {"error": f"no method {body.get('method')!r}"})
        self.server.fake.load_weights(load_file(Path(body["kwargs"]["weights_path"]) / "model.safetensors"))
        return {"results": [None]}

    def _load_lora(self, body: dict[str, Any]) -> dict[str, Any] | None:
        fake = self.server.fake
        with fake.loading:
            if body["lora_name"] in fake.adapters:
                return self._answer(400, {"error": f"adapter {body['lora_name']!r} is loaded already"})
            fake.load_adapter(body["lora_name"], body["lora_path"])
        return {"message": "Success"}

    def _unload_lora(self, body: dict[str, Any]) -> dict[str, Any]:
        del self.server.fake.adapters[body["lora_name"]]
        return {"message": "Success"}

    def _reset_cache(self, _: dict[str, Any]) -> dict[str, Any]:
        fake = self.server.fake
        if fake.wrong.stuck_cache > 0:
            fake.wrong.stuck_cache -= 1
            return {"success": False}
        fake.cache_resets += 1
        return {"success": True}

    def _set_version(self, body: dict[str, Any]) -> dict[str, Any]:
        self.server.fake.weight_version = body["new_version"]
        return {"success": True, "new_version": body["new_version"]}

    def _get_version(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"weight_version": self.server.fake.weight_version}


ROUTES: dict[str, Any] = {
    "/health": lambda handler, body: {},
    "/openapi.json": _Handler._openapi,
    "/v1/models": _Handler._models,
    "/tokenize": _Handler._tokenize,
    "/v1/completions": _Handler._complete,
    "/collective_rpc": _Handler._rpc,
    "/reset_prefix_cache": _Handler._reset_cache,
    "/v1/load_lora_adapter": _Handler._load_lora,
    "/v1/unload_lora_adapter": _Handler._unload_lora,
    "/update_weight_version": _Handler._set_version,
    "/weight_info": _Handler._get_version,
    "/get_world_size": lambda handler, body: {"world_size": 1},
    "/init_weight_transfer_engine": lambda handler, body: handler.server.fake.receiver.meet(body["init_info"]),
    "/shutdown_weight_transfer_engine": lambda handler, body: handler.server.fake.receiver.shut_down(),
    "/start_weight_update": lambda handler, body: handler.server.fake.receiver.start(),
    "/update_weights": lambda handler, body: handler.server.fake.receiver.receive(body["update_info"]),
    "/finish_weight_update": lambda handler, body: handler.server.fake.receiver.finish(),
}


def main() -> None:
    """Serve a folder until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, default=8000)
    given = parser.parse_args()
    fake = FakeVLLM(given.folder, port=given.port)
    print(fake.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
