"""Two machines on one: network namespaces joined by a cable, which can be cut."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
PORT = 29577


def possible() -> bool:
    """Whether this user may make network namespaces."""
    try:
        made = subprocess.run(["unshare", "-n", "ip", "link"], capture_output=True, check=False)
    except FileNotFoundError:
        return False
    return made.returncode == 0 and os.geteuid() == 0


@dataclass
class Nodes:
    """Addresses 10.77.0.1 and .2 in namespaces of their own."""

    names: tuple[str, str]
    running: list[subprocess.Popen[str]] = field(default_factory=list)

    def torchrun(self, *words: str) -> None:
        """The same command on both, one process each, all one run."""
        for node, name in enumerate(self.names):
            env = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": f"cable{node}"}
            launch = ["--nnodes", "2", "--node_rank", str(node), "--nproc_per_node", "1"]
            launch += ["--rdzv_backend", "c10d", "--rdzv_id", "test", "--rdzv_endpoint", f"10.77.0.1:{PORT}"]
            launch += ["--rdzv_conf", f"is_host={int(node == 0)}", "--local_addr", f"10.77.0.{node + 1}"]
            command = [sys.executable, "-m", "torch.distributed.run", *launch, "-m", "--", *words]
            self.running.append(
                subprocess.Popen(
                    ["ip", "netns", "exec", name, *command],
                    cwd=ROOT,
                    env=env,
                    text=True,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )

    def power_cut(self, node: int) -> None:
        """Kill everything on a node; the other one gets no word of it, since the cable is cut first."""
        _ip("-n", self.names[node], "link", "set", f"cable{node}", "down")
        self._kill(self.running[node])

    def outcome(self, node: int, *, timeout_s: float) -> tuple[int, str]:
        """Exit code and output of a node's command."""
        out, _ = self.running[node].communicate(timeout=timeout_s)
        return self.running[node].returncode, out

    def close(self) -> None:
        for process in self.running:
            if process.poll() is None:
                self._kill(process)
            if process.stdout is not None:
                process.stdout.close()
        for name in self.names:
            _ip("netns", "del", name)

    @staticmethod
    def _kill(process: subprocess.Popen[str]) -> None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def two_nodes() -> Iterator[Nodes]:
    """Two nodes and the cable between them."""
    names = (f"rlsd-a-{os.getpid()}", f"rlsd-b-{os.getpid()}")
    nodes = Nodes(names)
    for name in names:
        _ip("netns", "add", name)
    try:
        _ip("link", "add", "cable0", "netns", names[0], "type", "veth", "peer", "name", "cable1", "netns", names[1])
        for node, name in enumerate(names):
            _ip("-n", name, "address", "add", f"10.77.0.{node + 1}/24", "dev", f"cable{node}")
            for device in ("lo", f"cable{node}"):
                _ip("-n", name, "link", "set", device, "up")
        yield nodes
    finally:
        nodes.close()


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
