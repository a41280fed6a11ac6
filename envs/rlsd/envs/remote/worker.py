"""A worker process: environments on demand, one thread each; JSON lines on standard input and output.

    python -m rlsd.envs.remote.worker PARENT
    in   {"id": 7, "session": "a", "op": "open", "given": {"env": "rlsd/Keys-v0", "kwargs": {"rooms": 4}}}
    out  {"id": 7, "begun": true}, then {"id": 7, "ok": null}

The first line out, of id -1, says that it is ready. `{"id": 8, "op": "ping"}` is answered by the thread that reads, at
once unless the whole process hangs. It exits when its input ends, and is killed when the process PARENT ends.
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
from rlsd.envs.remote.answers import MAX_BYTES
from rlsd.envs.remote.spawning import end_with_parent
from rlsd.envs.remote.wire import answer, dumps, failure, too_large

READY = -1
"""Number of the first line."""


def main() -> None:
    if len(sys.argv) > 1:
        end_with_parent(int(sys.argv[1]))
    calls = os.fdopen(os.dup(0), encoding="utf-8")
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)  # an environment that reads its input must not read the calls
    os.dup2(2, 1)  # an environment that prints must not write between the replies
    sys.stdout = sys.stderr
    writing = threading.Lock()
    sessions: dict[str, queue.SimpleQueue[Any]] = {}

    def reply(number: int, result: dict[str, Any]) -> None:
        line = _line(number, result)
        try:
            with writing:
                replies.write(line + "\n")
                replies.flush()
        except (OSError, ValueError):  # the parent is gone, or an environment closed the pipe: no answer can leave
            os._exit(1)

    reply(READY, {"ok": "ready"})
    for line in calls:
        call = json.loads(line)
        if call["op"] == "ping":
            reply(call["id"], {"ok": None})
            continue
        name = call["session"]
        if call["op"] == "open":
            sessions[name] = queue.SimpleQueue()
            threading.Thread(target=_session, args=(sessions[name], reply), daemon=True).start()
        if name in sessions:
            sessions[name].put(call)
        elif call["op"] != "close":
            reply(call["id"], failure(RuntimeError("no environment is open")))
        if call["op"] == "close":
            sessions.pop(name, None)
    os._exit(0)  # threads of hung environments would keep the interpreter alive


def _line(number: int, result: dict[str, Any]) -> str:
    """A reply on one line; what cannot be sent becomes an error."""
    try:
        line = dumps({"id": number, **result})
    except Exception as error:  # whatever the values of an environment do when they are read
        return dumps({"id": number, **failure(error)})
    return line if len(line) < MAX_BYTES else dumps({"id": number, **failure(too_large(len(line)))})


def _session(calls: queue.SimpleQueue[Any], reply: Any) -> None:
    env: TextEnv | None = None
    while True:
        call = calls.get()
        if call["op"] == "close":
            with contextlib.suppress(BaseException):
                if env is not None:
                    env.close()
            return
        reply(call["id"], {"begun": True})
        try:
            if call["op"] == "open":
                env = make(call["given"]["env"], **call["given"]["kwargs"])
                result: dict[str, Any] = {"ok": None}
            elif env is None:
                result = failure(RuntimeError("no environment is open"))
            else:
                result = answer(env, call["op"], call["given"])
        except BaseException as error:  # SystemExit too: this thread must go on answering
            result = failure(error)
        reply(call["id"], result)


if __name__ == "__main__":
    main()
