"""Ends the responses that servers have under way, on all servers at the same time."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import Future, wait

from rlsd.agents.daemon import daemon_future
from rlsd.agents.vllm.client import ABORT, NEEDS, VLLMServer
from rlsd.agents.vllm.errors import ServerReply, ServerUnreachable

_log = logging.getLogger(__name__)
PATIENCE_S = 0.5
"""Longest wait in seconds for the answers; what comes later is not waited for here."""


class Interruption:
    """Asks servers to end their requests, each in a thread of its own, so that one that hangs holds up no other.

    What keeps a server from it is logged once for each server.

    Args:
        servers: all of a run.
    """

    def __init__(self, servers: Sequence[VLLMServer]) -> None:
        self._servers = tuple(servers)
        self._asked: dict[str, Future[bool]] = {}
        """By URL: whether the server can end its requests, once it has answered."""
        self._told: set[str] = set()
        """URLs of servers that a warning has named."""

    def ask(self) -> bool:
        """Ask every server that is not still busy with the last time. False if no server can end its requests.

        One that has not answered yet may still do it, and so may one that is gone: it may be back in time.
        """
        asked = [server for server in self._servers if self._answered(server)]
        for server in asked:
            self._asked[server.url] = daemon_future(lambda server=server: self._end(server), f"end {server}")
        wait([self._asked[server.url] for server in asked], PATIENCE_S)
        return any(not future.done() or future.result() for future in self._asked.values())

    def settle(self, server: VLLMServer) -> None:
        """Return when `server` is no longer being asked: it would end a request that checks it, too."""
        if server.url in self._asked:
            wait([self._asked[server.url]])

    def _answered(self, server: VLLMServer) -> bool:
        return server.url not in self._asked or self._asked[server.url].done()

    def _end(self, server: VLLMServer) -> bool:
        """End the requests of one server; False if it cannot."""
        try:
            if not server.abort():
                self._tell(server, f"{server} has no route {ABORT}, so updates wait for its responses: {NEEDS[ABORT]}")
                return False
        except ServerUnreachable as error:
            if error.kind in ("server_error", "timeout"):  # else it is gone, and its requests fail
                self._tell(server, _failed(server, error))
        except ServerReply as error:
            self._tell(server, _failed(server, error))
            return False
        return True

    def _tell(self, server: VLLMServer, message: str) -> None:
        if server.url not in self._told:
            self._told.add(server.url)
            _log.warning("%s", message)


def _failed(server: VLLMServer, error: Exception) -> str:
    return f"{server} was asked to end its responses and did not ({error}), so updates wait until they end"
