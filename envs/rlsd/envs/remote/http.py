"""The client of `rlsd serve env`: an environment behind HTTP.

Every call carries a number. The server answers a repeated number with its earlier reply, so a call can be sent again
after a broken connection without being executed twice.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from typing import Any

from rlsd.envs.errors import EnvError, EnvLost
from rlsd.envs.remote.answers import ask
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
        EnvError: no reply, a wrong token, an answer too large, or a server at its session limit.
    """

    def __init__(
        self, url: str, *, split: str | None = None, token: str | None = None, timeout_s: float = 60.0
    ) -> None:
        super().__init__(_HttpTransport(url.rstrip("/"), split, token or os.environ.get(TOKEN_VARIABLE), timeout_s))


class _HttpTransport:
    def __init__(self, url: str, split: str | None, token: str | None, timeout_s: float) -> None:
        import httpx  # not needed to import rlsd.envs

        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {token}"} if token else {})
        self.url = url
        self._client = httpx.Client(
            headers=headers,
            timeout=timeout_s,
            trust_env=False,
            verify=url.startswith("https:"),  # reading all certificates for each environment is slow
            limits=httpx.Limits(max_keepalive_connections=0),
        )
        self._numbers = itertools.count()
        try:
            opened = self._post("/sessions", {} if split is None else {"split": split})
            named = value(opened, url)
            if not isinstance(named, dict) or not isinstance(named.get("session"), str):
                raise EnvError(f"{url} opened no session ({str(named)[:200]!r}); is `rlsd serve env` running there?")
            self._session = named["session"]
        except BaseException:
            self._client.close()
            raise

    def ask(self, op: str, arguments: dict[str, Any]) -> Any:
        call = {"number": next(self._numbers), "op": op, "given": arguments}
        return value(self._post(f"/sessions/{self._session}", call), self.url)

    def close(self) -> None:
        import httpx

        with contextlib.suppress(httpx.HTTPError):  # the server ends idle sessions by itself
            self._client.delete(f"{self.url}/sessions/{self._session}", timeout=5.0)
        self._client.close()

    def abandon(self) -> EnvLost | None:
        threading.Thread(target=self.close, daemon=True).start()

    def _post(self, path: str, body: Any) -> Any:
        import httpx

        failure = ""
        for attempt in range(TRIES):
            if attempt:
                time.sleep(BACK_OFF_S * 2 ** (attempt - 1))
            try:
                reply = ask(self._client, "POST", self.url + path, content=dumps(body))
            except httpx.HTTPError as error:
                failure = f"{type(error).__name__}: {error}"
                continue
            if reply.status_code in BUSY:
                failure = f"status {reply.status_code}"
                continue
            return self._read(reply)
        raise EnvError(
            f"{self.url}{path} gave no answer ({failure}, tried {TRIES} times); is `rlsd serve env` running?"
        )

    def _read(self, reply: Any) -> Any:
        try:
            data = reply.json()
        except (ValueError, RecursionError):
            data = None
        if reply.status_code == 200:
            return data
        message = data.get("error") if isinstance(data, dict) else None
        if isinstance(message, dict):
            return data
        raise EnvError(f"{self.url} answered {reply.status_code}: {message or reply.text[:200]}")
