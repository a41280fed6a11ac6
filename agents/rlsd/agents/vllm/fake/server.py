"""A small fake vLLM server: the same routes over a transformers model, for tests and for trying a config.

It samples, loads weights and adapters, and can be set to misbehave. It is slow: one request at a time.

    python -m rlsd.agents.vllm.fake.server FOLDER --port 8000
"""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

from rlsd.agents.vllm.fake.http import Handler, Server
from rlsd.agents.vllm.fake.receiver import Receiver
from rlsd.agents.vllm.fake.state import FakeState


class FakeVLLM(FakeState):
    """A server on a thread of this process.

    Args:
        folder: a transformers model folder.
        port: 0 picks a free one.
        context: `max_model_len`.
    """

    def __init__(self, folder: str | Path, *, port: int = 0, context: int | None = None) -> None:
        super().__init__(folder, context=context)
        self.receiver = Receiver(self)
        self._server = Server(("127.0.0.1", port), Handler)
        self._server.fake, self._server.receiver = self, self.receiver
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop like a killed server: port and connections are closed. A second call does nothing."""
        if not self._thread.is_alive():
            return
        self._server.shutdown()
        self._server.server_close()
        self._server.hang_up()
        self._thread.join()
        self.receiver.close()


def main() -> None:
    """Serve a folder until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    if not (Path(arguments.folder) / "config.json").is_file():
        parser.error(f"{arguments.folder} has no config.json: give a transformers model folder")
    try:
        fake = FakeVLLM(arguments.folder, port=arguments.port)
    except OSError as error:
        parser.error(f"cannot listen on port {arguments.port}: {error.strerror}")
    print(fake.url, flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
