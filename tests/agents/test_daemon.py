"""Work in a daemon thread: its result or error later."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from rlsd.agents.daemon import daemon_future


def test_the_work_runs_in_a_daemon_thread_of_that_name_beside_the_caller() -> None:
    go = threading.Event()

    def work() -> tuple[str, bool]:
        assert go.wait(10), "the caller was held"
        thread = threading.current_thread()
        return thread.name, thread.daemon

    future = daemon_future(work, "rollout 3")
    assert not future.done()
    assert not future.cancel()
    go.set()
    assert future.result(10) == ("rollout 3", True)


@pytest.mark.parametrize("error", [OSError("no disk"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_it_raises_is_the_futures(error: BaseException) -> None:
    def work() -> None:
        raise error

    future = daemon_future(work, "fails")
    assert future.exception(10) is error
    with pytest.raises(type(error)):
        future.result()


def test_a_process_does_not_wait_for_work_that_hangs() -> None:
    code = "import threading\nfrom rlsd.agents.daemon import daemon_future\ndaemon_future(threading.Event().wait, 'x')"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
