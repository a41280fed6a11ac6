"""A server that answers every request with the same bytes, whatever they are."""

from __future__ import annotations

import gzip
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n"


def answer(body: bytes, *headers: str) -> bytes:
    """A whole answer with this body."""
    more = "".join(f"{header}\r\n" for header in headers)
    return OK + f"{more}content-length: {len(body)}\r\n\r\n".encode() + body


def bomb(size: int) -> bytes:
    """An answer of about a thousandth of the `size` it unpacks to."""
    return answer(gzip.compress(b"[" + b" " * size + b"]"), "content-encoding: gzip")


@contextmanager
def answering(*replies: bytes) -> Iterator[str]:
    """Its address. It gives the replies one after the other, the last one for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        turn = iter(replies)
        last = [b""]

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:  # closed
                    return
                last[0] = next(turn, last[0])
                threading.Thread(target=_answer, args=(connection, last[0]), daemon=True).start()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(10)


def _answer(connection: socket.socket, reply: bytes) -> None:
    with connection:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                if not (part := connection.recv(65536)):
                    return
                head += part
            connection.sendall(reply)
        except OSError:
            return
