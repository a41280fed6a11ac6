"""The shop in a browser: a person plays a goal on the same catalogue, search and pages, and sees the reward's parts.

    GET  /                 choose a goal
    POST /start            goal=ID or nothing (one at random)      → 303 to the session's page
    GET  /s/SESSION        the page that is open
    POST /s/SESSION        words=… (search) or label=… (click)     → 303 back to it
    GET  /health           no token needed

Every session that did something is recorded as one trajectory when it ends: bought, out of steps, left, or shut down.
No script runs in the pages, every text of a product is escaped, and nothing is loaded from elsewhere.
"""

from __future__ import annotations

import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from rlsd.agents.types import Action, EpisodeKey
from rlsd.envs.core import Hindsight, Task
from rlsd.envs.errors import EnvError, TaskError
from rlsd.envs.webshop.env import WebShopEnv
from rlsd.envs.webshop.hindsight import shortfalls
from rlsd.harness.rollout.trajectory import StopReason, Trajectory, Turn
from rlsd.harness.serve.guard import Limits, ServeError
from rlsd.harness.serve.sessions import SessionError, Sessions

if TYPE_CHECKING:
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response

_log = logging.getLogger(__name__)
_PAGES = Path(__file__).parent / "pages"
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_OFFERED = 12
"""Goals listed on the first page."""
_LONGEST = 2000
"""Characters of a search or label."""


@dataclass(slots=True, kw_only=True)
class Visit:
    """One person's episode."""

    env: WebShopEnv
    task: Task
    goal: str
    observation: str
    info: dict[str, Any]
    hindsight: Hindsight
    turns: list[Turn] = field(default_factory=list)
    stop: StopReason | None = None
    notice: str = ""
    """Shown once, above the page."""

    def act(self, action: str) -> None:
        """Do an action and note it down; an episode that is over stays as it is."""
        if self.stop is not None:
            return
        began = time.perf_counter()
        observation, reward, terminated, truncated, info = self.env.step(action)
        after = self.env.hindsight()
        self.turns.append(
            Turn(
                observation=self.observation,
                action=Action(text=action),
                reward=reward,
                next_observation=observation,
                valid=bool(info["valid_action"]),
                hindsight_before=self.hindsight,
                hindsight_after=after,
                step_s=time.perf_counter() - began,
            )
        )
        self.observation, self.info, self.hindsight = observation, info, after
        self.notice = "" if info["valid_action"] else "This page has no such button; nothing happened."
        if terminated or truncated:
            self.stop = StopReason.TERMINATED if terminated else StopReason.TRUNCATED

    def trajectory(self, number: int) -> Trajectory:
        """What was played so far."""
        return Trajectory(
            key=EpisodeKey("person", number, 0, 0),
            task=self.task,
            goal=self.goal,
            turns=tuple(self.turns),
            stop=self.stop or StopReason.MAX_TURNS,
            success=bool(self.info["success"]),
            score=float(self.info["score"]),
            episode_return=sum(turn.reward for turn in self.turns),
        )


class Recorder:
    """Appends finished visits to a file of JSON lines, one trajectory each; ".gz" compresses."""

    def __init__(self, path: Path | None) -> None:
        self._path, self._count = path, 0
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, visit: Visit) -> None:
        if self._path is None or not visit.turns:
            return
        line = json.dumps(visit.trajectory(self._count).to_json(), ensure_ascii=False) + "\n"
        self._count += 1
        data = line.encode("utf-8", "replace")
        try:
            with self._path.open("ab") as file:
                file.write(gzip.compress(data) if self._path.suffix == ".gz" else data)
        except OSError as error:
            _log.error("a session could not be recorded in %s: %s", self._path, error)


def shop_app(
    env_kwargs: Mapping[str, Any] | None = None, *, record: Path | None = None, limits: Limits | None = None
) -> Starlette:
    """The application; put it behind `rlsd.harness.serve.listener.Listener`.

    Args:
        env_kwargs: of `WebShopEnv`: catalogue, split, max_steps …
        record: file for the trajectories; None keeps none.

    Raises:
        ServeError: the extra `serve` is not installed.
        RlsdError: an environment argument that is wrong.
    """
    try:
        from starlette.applications import Starlette
        from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
        from starlette.routing import Route
    except ImportError as error:
        raise ServeError("serving needs uvicorn and starlette: pip install 'rlsd[serve]'") from error
    kwargs = dict(env_kwargs or {})
    sample = WebShopEnv(**kwargs)
    recorder = Recorder(record)
    sessions: Sessions[Visit] = Sessions(limits or Limits(), on_end=recorder)
    render = _renderer()

    def page(name: str, status: int = 200, **values: Any) -> Response:
        return HTMLResponse(render(name, **values), status, headers=_HEADERS)

    async def home(_: Request) -> Response:
        tasks = sample.tasks()
        goals = [(task.task_id, sample.instruction(task.task_id)) for task in tasks[:_OFFERED]]
        return page("home.html", goals=goals, count=len(tasks))

    async def start(request: Request) -> Response:
        wanted = (await _form(request)).get("goal", "")
        try:
            name = sessions.open(_open(kwargs, wanted))
        except (TaskError, SessionError) as error:
            return page("error.html", 400, message=str(error))
        return RedirectResponse(f"/s/{name}", 303, headers=_HEADERS)

    async def show(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            visit = sessions.get(name)
        except SessionError as error:
            return page("error.html", 404, message=str(error))
        return page(f"{_template(visit)}.html", **_values(visit, name))

    async def act(request: Request) -> Response:
        name = request.path_params["name"]
        try:
            visit = sessions.get(name)
            action = _action(await _form(request))
        except (SessionError, EnvError) as error:
            return page("error.html", 404 if isinstance(error, SessionError) else 400, message=str(error))
        running = visit.stop is None
        visit.act(action)
        if running and visit.stop is not None:
            recorder(visit)
            visit.turns.clear()  # recorded; the last page stays open
        return RedirectResponse(f"/s/{name}", 303, headers=_HEADERS)

    async def style(_: Request) -> Response:
        return PlainTextResponse((_PAGES / "shop.css").read_text(encoding="utf-8"), media_type="text/css")

    async def health(_: Request) -> Response:
        return JSONResponse({"status": "ok", "sessions": len(sessions)})

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        sessions.close()

    routes = [
        Route("/", home),
        Route("/start", start, methods=["POST"]),
        Route("/s/{name}", show),
        Route("/s/{name}", act, methods=["POST"]),
        Route("/shop.css", style),
        Route("/health", health),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def _open(kwargs: Mapping[str, Any], wanted: str) -> Visit:
    env = WebShopEnv(**kwargs)
    observation, info = env.reset(options={"task": wanted} if wanted else None)
    task = next(task for task in env.tasks() if task.task_id == info["task_id"])
    return Visit(env=env, task=task, goal=info["goal"], observation=observation, info=info, hindsight=env.hindsight())


async def _form(request: Request) -> dict[str, str]:
    fields = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=8)
    return {name: values[0] for name, values in fields.items()}


def _action(form: Mapping[str, str]) -> str:
    for name, verb in (("label", "click"), ("words", "search")):
        if form.get(name):
            if len(form[name]) > _LONGEST:
                raise EnvError(f"{len(form[name])} characters, at most {_LONGEST} are taken")
            return f"{verb}[{form[name]}]"
    raise EnvError("expected words to search for, or the label of a button")


def _template(visit: Visit) -> str:
    if visit.stop is not None:
        return "done"
    name = visit.env.page.name
    return name if name in ("search", "results", "item") else "about"


def _values(visit: Visit, name: str) -> dict[str, Any]:
    """What a template shows."""
    env, session = visit.env, visit.env.session
    values: dict[str, Any] = {
        "session": name, "goal": visit.goal, "notice": visit.notice, "page": env.page, "product": session.product,
        "steps_left": env.steps_left, "keywords": " ".join(session.keywords), "number": session.page_number,
        "hits": len(session.hits), "shown": session.shown(), "options": session.option_groups(),
        "sub_page": session.sub_page,
    }  # fmt: skip
    if visit.stop is not None:
        scored = env.bought
        values |= {
            "score": visit.info["score"], "success": visit.info["success"], "parts": visit.info.get("parts", {}),
            "lost": shortfalls(scored, env.goal, session) if scored is not None else (), "wanted": env.goal,
            "chosen": session.options,
        }  # fmt: skip
    return values


def _renderer() -> Callable[..., str]:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    pages = Environment(
        loader=FileSystemLoader(_PAGES), autoescape=select_autoescape(default=True), undefined=StrictUndefined
    )
    return lambda name, **values: pages.get_template(name).render(**values)
