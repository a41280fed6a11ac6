"""HTTP of the fake server: vLLM's routes, answered from a `FakeState`."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from safetensors.torch import load_file

from rlsd.agents.vllm.fake.receiver import Receiver
from rlsd.agents.vllm.fake.state import FakeState, Refused

BODY_LIMIT = 16 * 1024 * 1024


class Server(ThreadingHTTPServer):
    fake: FakeState
    receiver: Receiver
    request_queue_size = 128

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._open: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """Close every connection, as the end of a process does."""
        for request in list(self._open):
            with contextlib.suppress(OSError):  # closed already
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore disconnected clients; report other errors."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    server: Server  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        if size > BODY_LIMIT:
            return self._answer(413, {"error": "too large"})
        try:
            body = json.loads(self.rfile.read(size) or b"{}")
        except ValueError:
            return self._answer(400, {"error": "not JSON"})
        self._serve(body)

    def _serve(self, body: dict[str, Any]) -> None:
        fake, path = self.server.fake, self.path.partition("?")[0]
        route = ROUTES.get(path)
        if route is None or fake.lacks(path):
            return self._answer(404, {"detail": "Not Found"})
        try:
            answer = route(self, body)
        except (KeyError, FileNotFoundError, ValueError) as error:  # a wrong name or folder in the request
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
        except OSError:  # the client disconnected
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
        if fake.asleep:
            raise Refused(f"asleep: {', '.join(sorted(fake.asleep))}")
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
        if fake.wrong.aborted_scores > 0:
            fake.wrong.aborted_scores -= 1
            return {"model": body["model"], "choices": [{"finish_reason": "abort", "prompt_logprobs": [None]}]}
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

    def _sleep(self, _: dict[str, Any]) -> dict[str, Any]:
        self.server.fake.sleep(int(self._asked("level")))
        return {}

    def _wake(self, _: dict[str, Any]) -> dict[str, Any]:
        self.server.fake.wake(self._asked("tags"))
        return {}

    def _asked(self, name: str) -> str:
        """A value of the request's query."""
        return parse_qs(self.path.partition("?")[2])[name][0]

    def _reset_cache(self, _: dict[str, Any]) -> dict[str, Any]:
        fake = self.server.fake
        if fake.wrong.stuck_cache > 0:
            fake.wrong.stuck_cache -= 1
            return {"success": False}
        fake.cache_resets += 1
        return {"success": True}

    def _abort(self, _: dict[str, Any]) -> dict[str, Any]:
        self.server.fake.end_all()
        return {"status": "aborted"}

    def _set_version(self, body: dict[str, Any]) -> dict[str, Any]:
        self.server.fake.weight_version = body["new_version"]
        return {"success": True, "new_version": body["new_version"]}

    def _get_version(self, _: dict[str, Any]) -> dict[str, Any]:
        return {"weight_version": self.server.fake.weight_version}


ROUTES: dict[str, Any] = {
    "/health": lambda handler, body: {},
    "/openapi.json": Handler._openapi,
    "/v1/models": Handler._models,
    "/tokenize": Handler._tokenize,
    "/v1/completions": Handler._complete,
    "/collective_rpc": Handler._rpc,
    "/reset_prefix_cache": Handler._reset_cache,
    "/abort_requests": Handler._abort,
    "/sleep": Handler._sleep,
    "/wake_up": Handler._wake,
    "/v1/load_lora_adapter": Handler._load_lora,
    "/v1/unload_lora_adapter": Handler._unload_lora,
    "/update_weight_version": Handler._set_version,
    "/weight_info": Handler._get_version,
    "/get_world_size": lambda handler, body: {"world_size": 1},
    "/init_weight_transfer_engine": lambda handler, body: handler.server.receiver.meet(body["init_info"]),
    "/shutdown_weight_transfer_engine": lambda handler, body: handler.server.receiver.shut_down(),
    "/start_weight_update": lambda handler, body: handler.server.receiver.start(),
    "/update_weights": lambda handler, body: handler.server.receiver.receive(body["update_info"]),
    "/finish_weight_update": lambda handler, body: handler.server.receiver.finish(),
}
