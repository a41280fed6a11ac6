"""WebShop as a Gymnasium environment: text in, text out, the original's pages word for word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from rlsd.envs.core import Hindsight, Info, Task, TextEnv
from rlsd.envs.errors import EnvError, TaskError, closest
from rlsd.envs.webshop.catalogue.goals import Goal
from rlsd.envs.webshop.catalogue.products import Product
from rlsd.envs.webshop.engine.nouns import Nouns, nouns_by
from rlsd.envs.webshop.engine.pages import MODES, Page
from rlsd.envs.webshop.engine.reward import Score, score
from rlsd.envs.webshop.engine.shop import Session
from rlsd.envs.webshop.experts import Explorer, Oracle
from rlsd.envs.webshop.hindsight import Witness
from rlsd.envs.webshop.shops import ENV_ID, find_goal, open_shop

SEARCH_HERE = "search[<your query>]"
"""The placeholder for a search in the list of admissible actions."""
_ARGUMENTS = (
    "catalogue", "split", "observation", "max_steps", "prices", "protocol", "nouns", "goals", "products",
    "show_attributes", "draw_seed", "max_chars",
)  # fmt: skip
_CUT = " … [cut]"


class WebShopEnv(TextEnv):
    """Buy what an instruction asks for: `search[words]`, `click[label]`, `click[buy now]`.

    Args:
        catalogue: None or "gen-default", "gen-tiny", "gen-N" (generated, no data needed), "real" (the published
            files, located by WEBSHOP_DATA or RLSD_DATA), a folder with them, the products' file, or a folder that
            `python -m rlsd.envs.webshop build` made.
        split: train, valid, test or test_products (shares no product with other splits); under the other protocols
            train, valid, test or all, by index.
        observation: "text", "text_rich" or "html".
        max_steps: the episode is truncated after this many steps.
        prices: product id → dollars, or a JSON file with this mapping, replaces the fixed draws for price ranges.
        protocol: "rlsd" (faults fixed, see `quirks.py`), "original" (exactly the original), "legacy" (goals and reward
            of published training code: drawn with a worker's seed, split by index, 10 for a score of 1, else 0).
        nouns: "builtin", "spacy" (as the original), or a function title → nouns.
        goals: "human", "synthetic", or "auto" (human if their file exists).
        products: read only the first N published products.
        show_attributes: item pages have an "Attributes" button.
        draw_seed: seeds prices, limits and order under "original" and "legacy".
        max_chars: longer observations are cut, with a mark (not under "original").

    Reward is the score of the purchase (0 to 1) when something is bought, else 0; success is a score of exactly 1.
    `reset(options={"goal": …})` opens a goal by id or in the published format.

    Raises:
        EnvError: an unknown argument or value.
        DataError: files that are missing or damaged.

    Example:
        >>> import gymnasium, rlsd.envs
        >>> env = gymnasium.make("rlsd/WebShop-v0", catalogue="gen-tiny", split="test")
        >>> observation, info = env.reset(seed=0)
        >>> observation, reward, terminated, truncated, info = env.step("search[wool socks]")
    """

    blocking = False
    response_format = "shop"
    accepts_formats = ("shop", "think", "compact")
    profiles = ("react", "tool-calling", "compact", "think")

    def __init__(
        self,
        *,
        catalogue: str | Path | None = None,
        split: str = "train",
        observation: str = "text",
        max_steps: int = 15,
        prices: str | Path | Mapping[str, float] | None = None,
        protocol: str = "rlsd",
        nouns: str | Nouns = "builtin",
        goals: str = "auto",
        products: int | None = None,
        show_attributes: bool = False,
        draw_seed: int = 0,
        max_chars: int = 65_536,
        render_mode: None = None,
        **unknown: Any,
    ) -> None:
        for name in unknown:
            raise EnvError(f"{ENV_ID} takes no argument {name!r}{closest(name, _ARGUMENTS)}")
        if observation not in MODES:
            raise EnvError(f"unknown observation {observation!r}{closest(str(observation), MODES)}")
        for name, value in (("max_steps", max_steps), ("max_chars", max_chars)):
            if not isinstance(value, int) or value < 1:
                raise EnvError(f"{name} must be a whole number of at least 1, got {value!r}")
        self._original = protocol != "rlsd"
        super().__init__(max_chars=2**24 if self._original else max_chars)
        self._shop = open_shop(
            catalogue, prices=prices, protocol=protocol, goals=goals, products=products, draw_seed=draw_seed
        )
        self._shelf = self._shop.shelf(split)
        self._show: Callable[[Page], str] = MODES[observation]
        self._max_steps, self._max_chars, self._legacy = max_steps, max_chars, protocol == "legacy"
        self._nouns, self._show_attributes, self._split = nouns_by(nouns), show_attributes, split
        self._session: Session | None = None

    def tasks(self) -> Sequence[Task]:
        return self._shelf.tasks

    def content(self, task_id: str) -> str:
        """The goal and the catalogue's digest."""
        goal = self._shelf.goals.get(task_id)
        if goal is None:
            raise TaskError(f"unknown task {task_id!r}{closest(task_id, list(self._shelf.goals)[:2000])}")
        return f"{self._shop.catalogue.digest} {goal.content}"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Open `options["task"]` or `options["goal"]`, else a task drawn with the environment's random generator.

        Raises:
            TaskError: an unknown task or goal, or a goal whose product the catalogue does not have.
        """
        super().reset(seed=seed)
        wanted = (options or {}).get("goal")
        if wanted is not None:
            goal = find_goal(self._shop, wanted)
            name = f"{self._shop.catalogue.name}/{goal.goal_id}"
            task = Task(env_id=ENV_ID, task_id=name, split=self._split, task_type=goal.category or "goal")
        else:
            task = self.pick_task(options)
            goal = self._shelf.goals[task.task_id]
        self._open(task, goal)
        return self._observe(), self._info(True)

    def _open(self, task: Task, goal: Goal) -> None:
        self._task, self._goal, self._steps, self._score = task, goal, 0, 0.0
        session = Session(
            self._shop.catalogue,
            goal.instruction,
            original=self._original,
            show_attributes=self._show_attributes,
            draw=Random(f"{task.task_id}"),
        )
        oracle = Oracle(self._shop.catalogue, goal, self._scored, original=self._original)
        self._session, self._oracle = session, oracle
        self._witness = Witness(session, goal, oracle)
        self._explorer: Explorer | None = None
        self._bought: Score | None = None

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Execute one action; an action the page does not offer, or any after the purchase, changes nothing."""
        session = self._open_session()
        self._steps += 1
        if self._bought is not None:
            return self._observe(), 0.0, True, False, self._info(False)
        valid = isinstance(action, str) and self._witness.step(action)
        reward = 0.0
        if session.bought:
            product = session.product
            assert product is not None
            self._bought = self._scored(product, session.options)
            self._score = self._bought.total
            session.show_done(self._score)
            reward = (10.0 if self._score == 1 else 0.0) if self._legacy else self._score
        truncated = self._steps >= self._max_steps and not session.bought
        return self._observe(), reward, session.bought, truncated, self._info(valid)

    def hindsight(self) -> Hindsight:
        session = self._open_session()
        scored = self._bought
        if scored is None and session.product is not None:
            scored = self._scored(session.product, session.options)
        return self._witness.hindsight(scored)

    def expert(self, kind: str) -> str | None:
        """The next action of "oracle" (knows the goal's product) or "explorer" (reads pages alone).

        Raises:
            EnvError: another kind.
        """
        session = self._open_session()
        if kind == "oracle":
            route = self._witness.plan()
            return route[0] if route else "click[back to search]" if route is None else "search[done]"
        if kind != "explorer":
            raise EnvError(f"unknown expert {kind!r}{closest(kind, ('explorer', 'oracle'))}")
        if self._explorer is None:
            self._explorer = Explorer(session.instruction)
        return self._explorer.choose(session.page)

    @property
    def page(self) -> Page:
        """The current page."""
        return self._open_session().page

    @property
    def goal(self) -> Goal:
        """The goal. Privileged: only the teacher, and people who have finished, may see it."""
        self._open_session()
        return self._goal

    @property
    def session(self) -> Session:
        """The customer's state: search, product, chosen options."""
        return self._open_session()

    @property
    def bought(self) -> Score | None:
        """The score of the purchase, None before it. Privileged, like the goal."""
        self._open_session()
        return self._bought

    @property
    def steps_left(self) -> int:
        """Steps until the episode is truncated."""
        self._open_session()
        return max(0, self._max_steps - self._steps)

    def instruction(self, task_id: str) -> str:
        """The instruction of a task.

        Raises:
            TaskError: an unknown task.
        """
        self.content(task_id)
        return self._shelf.goals[task_id].instruction

    def close(self) -> None:
        """Forget the episode; the environment can be reset again."""
        self._session = None

    def _scored(self, product: Product, chosen: Mapping[str, str]) -> Score:
        price = self._shop.price(product)
        return score(product, self._goal, price=price, chosen=chosen, nouns=self._nouns, original=self._original)

    def _open_session(self) -> Session:
        if self._session is None:
            raise EnvError("no episode is open; call reset() first")
        return self._session

    def _observe(self) -> str:
        text = self._show(self._open_session().page)
        if len(text) > self._max_chars and not self._original:
            return text[: max(0, self._max_chars - len(_CUT))] + _CUT[: self._max_chars]
        return text

    def _info(self, valid: bool) -> dict[str, Any]:
        page = self._open_session().page
        clicks = [f"click[{label}]" for label in page.clickables if label != "search"]
        info: Info = {
            "task_id": self._task.task_id,
            "task_type": self._task.task_type,
            "goal": self._goal.instruction,
            "admissible_actions": ([SEARCH_HERE] if page.name == "search" else []) + clicks,
            "valid_action": valid,
            "success": self._score == 1,
            "score": self._score,
            "feedback": "",
        }
        if self._bought is not None:
            info["parts"] = self._bought.parts()
        return dict(info)
