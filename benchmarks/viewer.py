"""The viewer with many episodes: seconds to write and to open, and the page's size.

    python benchmarks/viewer.py                      10,000 episodes of 12 turns with 24 tokens, in 40 iterations
    python benchmarks/viewer.py --iterations 1       the same in one file, as an evaluation has them

Makes a run directory with made-up episodes and their tokens' credit, then writes `rlsd report`'s page, starts
`rlsd view`, and, with chromium and chromedriver on the PATH, opens both in a fresh headless browser.

    listed_s, open_s    from the request to the moment when the first episode is shown, and all are listed
    open_cpu_s          processor time of the page's main thread meanwhile, which a busy machine does not stretch
    index_cpu_s         processor time of reading the index of all episodes in Python, as `rlsd view` does
"""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from rlsd.harness.report.report import write_report
from rlsd.harness.report.sources import open_source
from rlsd.harness.runs.token_credit import VALUES
from rlsd.harness.serve.listener import Background, Listener
from rlsd.harness.serve.viewer import viewer_app

CONFIG = "algorithm: rlsd\nmodel: {tiny: {}}\n"
TEXT = [f"word{i * i % 97}" for i in range(5000)]
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--window-size=1280,900")


def episode(rng: np.random.Generator, number: int, turns: int, tokens: int) -> dict[str, Any]:
    """A made-up episode in the form in which runs keep theirs."""

    def words(n: int) -> str:
        start = int(rng.integers(0, len(TEXT) - n))
        return " ".join(TEXT[start : start + n])

    shown = [words(40) for _ in range(turns + 1)]
    group = number // 8
    return {
        "key": ["train", 0, group, number % 8, 0],
        "task": {"env_id": "x", "task_id": f"task-{group}", "split": "train", "task_type": f"type-{group % 6}"},
        "goal": words(8),
        "stop": "terminated" if number % 3 else "truncated",
        "success": bool(number % 3),
        "score": float(number % 3 > 0),
        "episode_return": float(number % 3 > 0),
        "error": None,
        "turn_credit": np.round(rng.standard_normal(turns), 6).tolist(),
        "sizes": {"turns": turns, "tokens": turns * tokens, "refused": 0},
        "turns": [
            {
                "observation": shown[k],
                "action": words(4),
                "format_ok": True,
                "response": words(tokens),
                "token_ids": rng.integers(0, 50_000, tokens).tolist(),
                "logps": np.round(-rng.exponential(0.4, tokens), 6).tolist(),
                "action_span": [tokens - 5, tokens - 1],
                "thought_span": [0, tokens - 6],
                "finish": "eos",
                "reward": 0.0,
                "next_observation": shown[k + 1],
                "valid": True,
                "hindsight_before": {"plan": [words(4) for _ in range(4)], "distance": 4.0},
                "hindsight_after": {},
            }
            for k in range(turns)
        ],
        "hindsight_read": [words(20) for _ in range(turns)],
    }


def make_run(folder: Path, *, episodes: int, iterations: int, turns: int, tokens: int) -> None:
    rng = np.random.default_rng(0)
    (folder / "rollouts").mkdir(parents=True)
    (folder / "config.yaml").write_text(CONFIG)
    metrics = [{"step": i, "kind": "train", "success": 0.5, "timing": {"iteration_s": 1.0}} for i in range(iterations)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in metrics))
    pieces = {i: f" w{i}" for i in range(50_000)}
    for step in range(iterations):
        n = episodes // iterations
        records = [episode(rng, i, turns, tokens) for i in range(n)]
        with gzip.open(folder / "rollouts" / f"step-{step:06d}.jsonl.gz", "wt", compresslevel=5) as file:
            file.writelines(json.dumps(r) + "\n" for r in records)
        ids = np.array([i for r in records for t in r["turns"] for i in t["token_ids"]], dtype=np.int32)
        columns = {
            "episode_start": np.arange(0, n * turns + 1, turns, dtype=np.int32),
            "turn_start": np.arange(0, len(ids) + 1, tokens, dtype=np.int32),
            "ids": ids,
            **{name: rng.standard_normal(len(ids)).astype(np.float32) for name in VALUES},
        }
        used = {int(i): pieces[int(i)] for i in np.unique(ids)}
        place = folder / "rollouts" / f"step-{step:06d}.tokens.safetensors"
        save_file(columns, place, {"rlsd": json.dumps({"pieces": used})})


def opened(url: str, episodes: int) -> dict[str, float]:
    """Seconds until everything is listed, the next episode is shown, and a search is answered, in a fresh browser."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))

    def until(condition: str) -> float:
        started = time.perf_counter()
        while not browser.execute_script(f"return {condition}"):
            if time.perf_counter() - started > 120:
                raise SystemExit(f"never came: {condition}")
            time.sleep(0.01)
        return time.perf_counter() - started

    try:
        browser.get("about:blank")
        browser.execute_cdp_cmd("Performance.enable", {"timeDomain": "threadTicks"})
        started = time.perf_counter()
        browser.get(url + "#tab=episodes")
        until("document.querySelector('section.turn') !== null")
        listed_s = time.perf_counter() - started
        until(f"document.body.dataset.ready === '{episodes}' && document.querySelector('section.turn') !== null")
        open_s = time.perf_counter() - started
        metrics = {m["name"]: m["value"] for m in browser.execute_cdp_cmd("Performance.getMetrics", {})["metrics"]}
        browser.execute_script("window.before = state.episodes[0]; choose(list.at + 40)")
        next_s = until("state.episodes[0] !== window.before")
        search = "const t = performance.now(); searchFor('type:type-3 is:lost'); return performance.now() - t"
        search_s = browser.execute_script(search) / 1000
        heap = browser.execute_script("return performance.memory.usedJSHeapSize") / (1 << 20)
    finally:
        browser.quit()
    return {
        "listed_s": listed_s,
        "open_s": open_s,
        "open_cpu_s": metrics["TaskDuration"],
        "next_episode_s": next_s,
        "search_s": search_s,
        "browser_heap_mib": heap,
    }


def timed(do: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    found = do()
    return time.perf_counter() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=10_000)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--tokens", type=int, default=24)
    parser.add_argument("--run", type=Path, help="where to make the run, or where it was made before")
    arguments = parser.parse_args()
    browser = shutil.which("chromium") is not None and shutil.which("chromedriver") is not None
    figures: dict[str, Any] = {name: value for name, value in vars(arguments).items() if name != "run"}
    with tempfile.TemporaryDirectory() as place:
        run = arguments.run or Path(place) / "run"
        if not run.exists():
            make_run(run, **figures)
        sizes = {end: sum(p.stat().st_size for p in run.rglob(f"*.{end}")) for end in ("jsonl.gz", "safetensors")}
        figures |= {"episodes_mib": sizes["jsonl.gz"] / (1 << 20), "tokens_mib": sizes["safetensors"] / (1 << 20)}
        figures["report_write_s"], page = timed(lambda: write_report(run))
        figures["report_mib"] = page.stat().st_size / (1 << 20)
        figures["report"] = opened(page.as_uri(), arguments.episodes) if browser else None
        before = time.process_time()
        indexed = [len(kept.index["task"]) for kept in open_source(run).episodes.values()]
        figures["index_cpu_s"] = time.process_time() - before
        assert sum(indexed) == arguments.episodes
        figures["view_start_s"], app = timed(lambda: viewer_app([run]))
        with Background(Listener(app)) as url:
            figures["view"] = opened(url, arguments.episodes) if browser else None
            figures["view_again"] = opened(url, arguments.episodes) if browser else None
    if not browser:
        sys.stderr.write("chromium or chromedriver is missing: nothing was opened\n")
    print(json.dumps(figures, default=float))


if __name__ == "__main__":
    main()
