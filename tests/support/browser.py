"""Drives the shop in headless Chromium, and keeps a picture of every kind of page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rlsd.envs.webshop.env import WebShopEnv

FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--window-size=1100,900",
)  # fmt: skip


def buy_the_goal(webdriver: Any, url: str, env_kwargs: dict[str, Any], pictures: Path) -> None:
    """Play the oracle's plan for the first listed goal; the done page must show a score of 1."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={pictures / 'profile'}"):
        options.add_argument(flag)
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    env = WebShopEnv(**env_kwargs)
    env.reset(options={"task": env.tasks()[0].task_id})
    browser = webdriver.Chrome(options=options, service=service)
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
