"""A worker process: environments on demand, one thread each; JSON lines on standard input and output.

    python -m rlsd.envs.remote.worker
    in   {"id": 7, "session": "a", "op": "open", "given": {"env": "rlsd/Keys-v0", "kwargs": {"rooms": 4}}}
    out  {"id": 7, "ok": null}

It exits when its input ends, so it cannot outlive its parent.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import sys
import threading
from typing import Any

from rlsd.envs.core import TextEnv
from rlsd.envs.registry import make
from rlsd.envs.remote.wire import answer, dumps, failure


def main() -> None:
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # an environment that prints must not write between the replies
    sys.stdout = sys.stderr
    writing = threading.Lock()
    sessions: dict[str, queue.SimpleQueue[Any]] = {}

    def reply(number: int, result: dict[str, Any]) -> None:
        try:
            line = dumps({"id": number, **result})
        except Exception as error:  # whatever an object in `info` does when it is written
            line = dumps({"id": number, **failure(error)})
        with writing, contextlib.suppress(OSError):  # the parent is gone
            replies.write(line + "\n")

    for line in sys.stdin:
        call = json.loads(line)
        name = call["session"]
        if call["op"] == "open":
            sessions[name] = queue.SimpleQueue()
            threading.Thread(target=_session, args=(sessions[name], reply), daemon=True).start()
        if name in sessions:
            sessions[name].put(call)
        if call["op"] == "close":
            sessions.pop(name, None)
    os._exit(0)  # threads of hung environments would keep the interpreter alive


def _session(calls: queue.SimpleQueue[Any], reply: Any) -> None:
    env: TextEnv | None = None
    while True:
        call = calls.get()
        if call["op"] == "close":
            with contextlib.suppress(BaseException):
                if env is not None:
                    env.close()
            return
        if call["op"] == "open":
            try:
                env = make(call["given"]["env"], **call["given"]["kwargs"])
                result: dict[str, Any] = {"ok": None}
            except BaseException as error:  # SystemExit too: it would end this thread without a reply
                result = failure(error)
        elif env is None:
            result = failure(RuntimeError("no environment is open"))
        else:
            result = answer(env, call["op"], call["given"])
        reply(call["id"], result)


if __name__ == "__main__":
    main()
