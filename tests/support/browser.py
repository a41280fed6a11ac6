"""Headless Chromium, driven by keyboard and mouse as by a person."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from rlsd.envs.webshop.env import WebShopEnv

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1100,900",
)  # fmt: skip


def missing() -> str | None:
    """What a browser test lacks here; None if it can run."""
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        return "needs chromium and chromedriver on the PATH"
    return None


def open_browser(webdriver: Any, folder: Path) -> Any:
    """A browser with a fresh profile in `folder`; its console is kept."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))


def buy_the_goal(webdriver: Any, url: str, env_kwargs: dict[str, Any], pictures: Path) -> None:
    """Play the oracle's plan for the first listed goal; the done page must show a score of 1. Keeps pictures."""
    env = WebShopEnv(**env_kwargs)
    env.reset(options={"task": env.tasks()[0].task_id})
    browser = open_browser(webdriver, pictures)
    try:
        browser.get(url)
        browser.save_screenshot(str(pictures / "home.png"))
        browser.find_element("css selector", "button[name=goal]").click()
        for action in env.hindsight().plan:
            verb, argument = re.fullmatch(r"(search|click)\[(.*)\]", action).groups()  # type: ignore[union-attr]
            browser.save_screenshot(str(pictures / f"{env.page.name}.png"))
            if verb == "search":
                field = browser.switch_to.active_element  # the search field has the focus
                field.send_keys(argument)
                field.submit()
            else:
                browser.find_element("css selector", f'button[name=label][value="{argument}"]').click()
            env.step(action)
        browser.save_screenshot(str(pictures / "done.png"))
        assert browser.find_element("id", "score").text == "1.00"
        assert "Exactly what was asked for" in browser.page_source
    finally:
        browser.quit()
