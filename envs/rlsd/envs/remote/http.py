"""The client of `rlsd serve env`: an environment behind HTTP.

Every call carries a number. The server answers a repeated number with its earlier reply, so a call can be sent again
after a broken connection without being executed twice.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import threading
import time
from typing import Any

from rlsd.envs.errors import EnvError, EnvLost
from rlsd.envs.remote.answers import AnswerTooLarge
from rlsd.envs.remote.http_client import Answer, HttpClient, HttpFailure
from rlsd.envs.remote.loop import REQUESTS
from rlsd.envs.remote.wire import RemoteEnv, dumps, value

TOKEN_VARIABLE = "RLSD_TOKEN"
TRIES = 4
"""Attempts per call before the environment counts as lost."""
BACK_OFF_S = 0.1
BUSY = (429, 502, 503)
"""Status codes after which the same call is sent again."""


class HttpEnv(RemoteEnv):
    """An environment served by `rlsd serve env` at `url`; only the split can be chosen here.

    Args:
        url: as in "http://127.0.0.1:8017".
        split: a split name of the served environment; None: its default.
        token: the server's secret; default: the variable RLSD_TOKEN.
        timeout_s: time limit of one reply, in seconds.

    Raises:
        EnvError: no reply, a wrong token, or a server at its session limit; AnswerTooLarge.
    """

    def __init__(
        self, url: str, *, split: str | None = None, token: str | None = None, timeout_s: float = 60.0
    ) -> None:
        super().__init__(_HttpTransport(url.rstrip("/"), split, token or os.environ.get(TOKEN_VARIABLE), timeout_s))


class _HttpTransport:
    def __init__(self, url: str, split: str | None, token: str | None, timeout_s: float) -> None:
        self.url = url
        self._headers = {"Content-Type": "application/json"}
        if token:
            self._headers["Authorization"] = f"Bearer {token.strip()}"
        self._timeout_s = timeout_s
        self._numbers = itertools.count()
        opened = value(self._post("/sessions", {} if split is None else {"split": split}), url)
        if not isinstance(opened, dict) or not isinstance(opened.get("session"), str):
            raise EnvError(f"{url} opened no session ({str(opened)[:200]!r}); is `rlsd serve env` running there?")
        self._session = opened["session"]

    def ask(self, op: str, arguments: dict[str, Any]) -> Any:
        call = {"number": next(self._numbers), "op": op, "given": arguments}
        return value(self._post(f"/sessions/{self._session}", call), self.url)

    def close(self) -> None:
        path = f"{self.url}/sessions/{self._session}"
        with contextlib.suppress(HttpFailure):  # the server ends idle sessions by itself
            REQUESTS.run(_CLIENT.request("DELETE", path, timeout_s=5.0, **self._headers))

    def abandon(self) -> EnvLost | None:
        threading.Thread(target=self.close, daemon=True).start()

    def _post(self, path: str, body: Any) -> Any:
        failure, attempt = "", 0
        content = dumps(body)
        for attempt in range(TRIES):
            if attempt:
                time.sleep(BACK_OFF_S * 2 ** (attempt - 1))
            try:
                reply = REQUESTS.run(_CLIENT.post(self.url + path, content, timeout_s=self._timeout_s, **self._headers))
            except HttpFailure as error:
                if error.kind == "too_large":
                    raise AnswerTooLarge(f"{self.url}{path}: {error}") from error
                failure = str(error)
                if error.kind == "encoding":
                    break  # as it would be again
                continue
            if reply.status in BUSY:
                failure = f"status {reply.status}"
                continue
            return self._read(reply)
        raise EnvError(
            f"{self.url}{path} gave no answer ({failure}, tried {attempt + 1} times); is `rlsd serve env` running?"
        )

    def _read(self, reply: Answer) -> Any:
        try:
            data = json.loads(reply.body)
        except (ValueError, RecursionError):
            data = None
        if reply.status == 200:
            return data
        message = data.get("error") if isinstance(data, dict) else None
        if isinstance(message, dict):
            return data
        raise EnvError(f"{self.url} answered {reply.status}: {message or reply.text[:200]}")


_CLIENT = HttpClient()
"""Its connections are shared by all remote environments of this process."""
