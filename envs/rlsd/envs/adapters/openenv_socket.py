"""OpenEnv's protocol from the client's side: JSON messages over one WebSocket, one at a time. Needs no package."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from rlsd.envs.errors import EnvError
from rlsd.envs.remote.answers import MAX_BYTES
from rlsd.envs.remote.http_client import HttpClient, HttpFailure
from rlsd.envs.remote.loop import REQUESTS

_CLIENT = HttpClient()


class OpenEnvSocket:
    """One session of a server.

    Args:
        url: as in "http://127.0.0.1:8000".
        token: sent as `Authorization: Bearer`.
        timeout_s: seconds of connecting, and of one answer.

    Raises:
        EnvError: the server cannot be reached.
    """

    def __init__(self, url: str, *, token: str | None, timeout_s: float) -> None:
        self._url, self._timeout_s = url.rstrip("/"), timeout_s
        self._headers = {"Authorization": f"Bearer {token.strip()}"} if token else {}
        self._session: Any = None
        self._socket: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __del__(self) -> None:
        """Close what nobody closed, without waiting: this may run in any thread, that of the connections too."""
        if getattr(self, "_session", None) is not None and self._loop is not None and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(_closed(self._socket, self._session), self._loop)

    def get(self, path: str) -> Any:
        """The JSON at a path; None where the server has none.

        Raises:
            EnvError: no answer.
        """
        try:
            answer = REQUESTS.run(_CLIENT.request("GET", self._url + path, timeout_s=self._timeout_s, **self._headers))
        except HttpFailure as error:
            raise EnvError(f"{self._url}{path} gave no answer ({error}); is an OpenEnv server there?") from error
        if answer.status in (401, 403):
            raise EnvError(f"{self._url} refused ({answer.status}): {answer.text[:200]}; give its token")
        try:
            return json.loads(answer.body) if answer.status == 200 else None
        except ValueError:
            return None

    def ask(self, kind: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        """The data of the answer to a message.

        Raises:
            EnvError: no connection, no answer in time, or the server's own error.
        """
        message = {"type": kind} if data is None else {"type": kind, "data": data}
        try:
            reply = REQUESTS.run(self._ask(json.dumps(message)))
        except HttpFailure as error:
            raise EnvError(f"{self._url}: {error}") from error
        answered = reply.get("data") if isinstance(reply, dict) else None
        if not isinstance(answered, dict):
            raise EnvError(f"{self._url} answered {str(reply)[:200]!r} to {kind}, expected an object with data")
        if reply.get("type") == "error":
            told = f"{answered.get('message')} ({answered.get('code')})"
            raise EnvError(f"{self._url} answered {kind} with an error: {told[:500]}")
        return answered

    def close(self) -> None:
        """Say goodbye; a later `ask` connects again."""
        if self._socket is not None:
            try:
                REQUESTS.run(self._close())
            except HttpFailure:
                self._socket = self._session = None

    async def _ask(self, text: str) -> Any:
        import aiohttp

        try:
            if self._socket is None or self._socket.closed:
                await self._close()
                self._session = aiohttp.ClientSession(headers=self._headers)
                self._loop = asyncio.get_running_loop()
                address = "ws" + self._url.removeprefix("http") + "/ws"
                connect = self._session.ws_connect(address, max_msg_size=MAX_BYTES)
                self._socket = await asyncio.wait_for(connect, self._timeout_s)
            await self._socket.send_str(text)
            message = await self._socket.receive(timeout=self._timeout_s)
        except TimeoutError as error:
            await self._close()
            raise HttpFailure("slow", f"no answer within {self._timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            await self._close()
            raise HttpFailure("connect", f"no WebSocket ({error}); is an OpenEnv server there?") from error
        if message.type is not aiohttp.WSMsgType.TEXT:
            await self._close()
            raise HttpFailure("broken", "the server closed the session")
        try:
            return json.loads(message.data)
        except ValueError as error:
            raise HttpFailure("broken", f"an answer that is no JSON: {message.data[:100]!r}") from error

    async def _close(self) -> None:
        socket, session = self._socket, self._session
        self._socket = self._session = None
        await _closed(socket, session)


async def _closed(socket: Any, session: Any) -> None:
    if socket is not None:
        await socket.close()
    if session is not None:
        await session.close()
