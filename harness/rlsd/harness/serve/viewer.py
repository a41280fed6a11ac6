"""The credit viewer over HTTP: the page of `rlsd report`, whose episodes are fetched when they are opened.

    GET /                                      the page, with the results of all runs
    GET /index.json?run=0&step=20              columns of the episodes of an iteration
    GET /episode.json?run=0&step=20&number=3   one episode
    GET /health                                no token needed

Runs are read again when the page is loaded, so that a run that still trains shows what it has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlsd.harness.report.page import page, policy, text
from rlsd.harness.report.report import start_of
from rlsd.harness.report.sources import Source, names_of, open_source
from rlsd.harness.runs.rundir import RunError
from rlsd.harness.serve.guard import ServeError

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}


class Shelf:
    """The runs of one viewer. Methods may be called from several threads.

    Raises:
        RunError: a folder is no run or evaluation.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self.names = names_of(folders)
        self._lock = threading.Lock()
        self._sources = [open_source(folder) for folder in folders]
        self._fresh = True

    def start(self) -> dict[str, Any]:
        """What the page starts with; runs are read again, indexes of files that did not change are kept."""
        with self._lock:
            if not self._fresh:
                self._sources = [self._again(f, s) for f, s in zip(self.folders, self._sources)]
            self._fresh = False
            return start_of(self._sources, self.names, served=True)

    def index(self, run: int, step: int) -> Mapping[str, Any]:
        with self._lock:
            return self._sources[run].episodes[step].index

    def episode(self, run: int, step: int, number: int) -> dict[str, Any]:
        with self._lock:
            return self._sources[run].episodes[step].episode(number)

    @staticmethod
    def _again(folder: Path, known: Source) -> Source:
        new = open_source(folder)
        kept = {
            step: old if (old := known.episodes.get(step)) is not None and old.unchanged() else episodes
            for step, episodes in new.episodes.items()
        }
        return Source(about=new.about, episodes=kept)


def viewer_app(folders: Sequence[Path]) -> Starlette:
    """The application.

    Raises:
        RunError: a folder is no run or evaluation.
        ServeError: the extra `serve` is missing.
    """
    try:
        from starlette.applications import Starlette
        from starlette.responses import PlainTextResponse, Response
        from starlette.routing import Route
    except ImportError as error:
        raise ServeError("serving needs uvicorn and starlette: pip install 'rlsd[serve]'") from error
    shelf = Shelf(folders)

    def answer(data: Any, status: int = 200) -> Response:
        return Response(text(data), status, _HEADERS, media_type="application/json")

    def numbers(names: Sequence[str], find: Callable[..., Any]) -> Callable[[Request], Response]:
        def handle(request: Request) -> Response:
            try:
                wanted = [int(request.query_params[name]) for name in names]
                if min(wanted) < 0:
                    raise IndexError(f"{min(wanted)} is no number")
                return answer(find(*wanted))
            except RunError as error:
                return answer({"error": str(error)}, 500)
            except (KeyError, IndexError, ValueError) as error:
                return answer({"error": f"there is no such thing: {error}; reload the page"}, 404)

        return handle

    def home(_: Request) -> Response:
        headers = {**_HEADERS, "Content-Security-Policy": policy(served=True) + "; frame-ancestors 'none'"}
        try:
            return Response(page(shelf.start(), served=True), 200, headers, media_type="text/html")
        except RunError as error:
            return PlainTextResponse(str(error), 500, headers)

    def health(_: Request) -> Response:
        return PlainTextResponse("ok")

    return Starlette(
        routes=[
            Route("/", home),
            Route("/index.json", numbers(("run", "step"), shelf.index)),
            Route("/episode.json", numbers(("run", "step", "number"), shelf.episode)),
            Route("/health", health),
        ]
    )
