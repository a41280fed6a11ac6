"""Search QA under load: environment steps, the retrieval server at 1, 16 and 256 agents, BM25 over many paragraphs.

    python benchmarks/searchqa.py [--paragraphs 1000000] [--seconds 5] [--parts env,server,index] [--out FOLDER]

env       steps/s of the oracle through gymnasium.make on generated encyclopedias (search included), and the memory per
          environment with 64 in one process.
server    a server process over an index folder; a closed-loop async client with N connections: requests/s, p50,
          p95, p99 in ms, the server's memory and CPU time per request. In the same run, the same retriever in process,
          one query after the other, for the ratio.
index     paragraphs are generated while the index is built: seconds (without generation), the builder's peak
          memory, the peak temporary disk use, ms per query from another process. On a busy machine CPU time is more
          reliable than wall-clock time.

Needs the extra `serve`. Ends with one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import gymnasium

import rlsd.envs  # noqa: F401  (registers the ids)
from rlsd.envs.remote.http_client import HttpClient
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.index import build_index, open_index
from rlsd.envs.searchqa.world.encyclopedia import WorldConfig, build

AGENTS = (1, 16, 256)
_BOOK = WorldConfig(
    counts={"person": 2200, "town": 800, "region": 200, "work": 1400, "academy": 400, "river": 300},
    gatherings=700,
    pool=2000,
)
"""6,000 paragraphs; a large corpus is many such volumes."""


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    at = lambda share: ordered[min(len(ordered) - 1, int(share * len(ordered)))]  # noqa: E731
    return {f"p{round(100 * share)}_ms": round(1000 * at(share), 2) for share in (0.5, 0.95, 0.99)}


def rss_mib(pid: int | None = None) -> float:
    """Resident memory of a process, without pages it shares through files (memory-mapped indices)."""
    lines = Path(f"/proc/{pid or os.getpid()}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return round(int(fields["RssAnon"].split()[0]) / 1024, 1)


# environments ---------------------------------------------------------------------------------------------------------


def bench_env(seconds: float) -> dict[str, Any]:
    """Steps/s by preset, and MiB per environment."""
    out: dict[str, Any] = {}
    for name in ("gen-tiny", "gen-default"):
        env = gymnasium.make("rlsd/SearchQA-v0", questions=name, split="test", disable_env_checker=True)
        world: Any = env.unwrapped
        tasks = [task.task_id for task in world.tasks()]
        for task in tasks:  # cache volumes and their indices
            env.reset(options={"task": task})
        steps, searches, began = 0, 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            env.reset(options={"task": tasks[steps % len(tasks)]})
            done = False
            while not done:
                action = world.expert("oracle")
                searches += action.startswith("<search>")
                _, _, terminated, truncated, _ = env.step(action)
                done, steps = terminated or truncated, steps + 1
        taken = time.perf_counter() - began
        out[name] = {"steps_per_s": round(steps / taken, 1), "searches_share": round(searches / steps, 3)}
    before = rss_mib()
    envs = [
        gymnasium.make("rlsd/SearchQA-v0", questions="gen-default", split="test", disable_env_checker=True)
        for _ in range(64)
    ]
    for i, env in enumerate(envs):
        env.reset(seed=i)
    out["mib_per_environment"] = round((rss_mib() - before) / len(envs), 3)
    return out


def busy_s(pid: int) -> float:
    """CPU time of a process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# server ---------------------------------------------------------------------------------------------------------------


def queries_of(passages: Sequence[Passage], count: int, seed: int) -> list[str]:
    """A title and a few words of another sentence, like an agent's query."""
    draw = random.Random(seed)
    return [f"{(p := draw.choice(passages)).title} {' '.join(p.text.split()[-4:])}" for _ in range(count)]


async def load(url: str, queries: Sequence[str], agents: int, seconds: float) -> dict[str, Any]:
    """Every agent sends its next query when it has the answer to the last."""
    taken: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds
    client = HttpClient(headers={"Content-Type": "application/json"})

    async def agent(number: int) -> None:
        nonlocal failed
        turn = number
        began = 0.0
        while began < end:
            began = time.perf_counter()
            payload = json.dumps({"queries": [queries[turn % len(queries)]], "topk": 3, "return_scores": True})
            reply = await client.post(f"{url}/retrieve", payload, timeout_s=60)
            taken.append(time.perf_counter() - began)
            failed += reply.status != 200 or not json.loads(reply.body)["result"][0]
            turn += agents

    began = time.perf_counter()
    await asyncio.gather(*(agent(i) for i in range(agents)))
    elapsed = time.perf_counter() - began
    return {
        "requests": len(taken),
        "requests_per_s": round(len(taken) / elapsed, 1),
        **percentiles(taken),
        "failed": failed,
    }


def bench_server(folder: Path, seconds: float) -> dict[str, Any]:
    volume = build("benchmark server", _BOOK)
    index = folder / "server"
    build_index(lambda: volume.articles, index, source="benchmark")
    queries = queries_of(volume.articles, 5000, seed=1)
    retriever = open_index(index)
    began, busy, asked = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - began < seconds:
        retriever.search_now([queries[asked % len(queries)]], 3)
        asked += 1
    direct, alone = asked / (time.perf_counter() - began), (time.process_time() - busy) / asked
    out: dict[str, Any] = {"paragraphs": len(volume.articles), "in_process_queries_per_s": round(direct, 1)}
    out["in_process_cpu_ms"] = round(1000 * alone, 3)
    command = [sys.executable, "-m", "rlsd", "serve", "search", str(index), "--port", "0", "--max-requests", "1024"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[-1]
        try:
            asyncio.run(load(url, queries, 4, min(1.0, seconds)))  # warm
            for agents in AGENTS:
                busy = busy_s(server.pid)
                figures = asyncio.run(load(url, queries, agents, seconds))
                figures["server_cpu_ms"] = round(1000 * (busy_s(server.pid) - busy) / figures["requests"], 3)
                out[f"agents_{agents}"] = {**figures, "server_mib": rss_mib(server.pid)}
        finally:
            server.terminate()
            server.wait(30)
    out["server_over_in_process"] = round(out["agents_16"]["requests_per_s"] / direct, 3)
    out["server_cpu_over_in_process_cpu"] = round(out["agents_16"]["server_cpu_ms"] / (1000 * alone), 2)
    return out


# index ----------------------------------------------------------------------------------------------------------------


def paragraphs(count: int) -> Iterator[Passage]:
    """`count` generated paragraphs, one volume at a time."""
    made, volume = 0, 0
    while made < count:
        for passage in build(f"benchmark {volume}", _BOOK).articles:
            if made == count:
                return
            yield Passage(title=passage.title, text=passage.text, doc_id=str(made))
            made += 1
        volume += 1


class Timed:
    """Passes items on and measures the wall-clock and CPU time to generate them."""

    def __init__(self, items: Iterator[Passage]) -> None:
        self.items, self.seconds, self.busy = items, 0.0, 0.0

    def __iter__(self) -> Timed:
        return self

    def __next__(self) -> Passage:
        began, busy = time.perf_counter(), time.process_time()
        try:
            return next(self.items)
        finally:
            self.seconds += time.perf_counter() - began
            self.busy += time.process_time() - busy


class DiskWatch:
    """Peak size of a folder during the block, in bytes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.most, self._stop = folder, 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> DiskWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self.most = max(self.most, size_of(self.folder))


def size_of(folder: Path) -> int:
    """Bytes on disk; ignores files that disappear meanwhile."""
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_blocks * 512 if path.is_file() else 0
        except OSError:
            continue
    return total


def _build_alone(folder: str, count: int, results: Any) -> None:
    """Runs in a separate process, so that its peak memory is the build's."""
    timed = Timed(paragraphs(count))
    sum(1 for _ in paragraphs(len(_BOOK.counts)))  # the memory of generation alone
    peak_before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, busy = time.perf_counter(), time.process_time()
    manifest = build_index(lambda: timed, folder, source="benchmark")
    taken, busy = time.perf_counter() - began - timed.seconds, time.process_time() - busy - timed.busy
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results.put(
        {
            "paragraphs": manifest.documents,
            "build_s": round(taken, 1),
            "build_cpu_s": round(busy, 1),
            "generating_s": round(timed.seconds, 1),
            "peak_mib": round(peak / 1024, 1),
            "peak_before_build_mib": round(peak_before / 1024, 1),
        }
    )


def _ask_alone(folder: str, queries: list[str], results: Any) -> None:
    began = time.perf_counter()
    retriever = open_index(folder)
    opened = time.perf_counter() - began
    seconds, busy = [], time.process_time()
    for query in queries:
        began = time.perf_counter()
        retriever.search_now([query], 3)
        seconds.append(time.perf_counter() - began)
    results.put(
        {
            "open_s": round(opened, 3),
            "ms_a_query": round(1000 * statistics.mean(seconds), 3),
            "cpu_ms_a_query": round(1000 * (time.process_time() - busy) / len(seconds), 3),
            **percentiles(seconds),
            "reader_mib": rss_mib(),
        }
    )


def bench_index(folder: Path, count: int) -> dict[str, Any]:
    """Build and search in separate processes."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    place = folder / "large"
    place.mkdir()
    with DiskWatch(place) as disk:
        worker = context.Process(target=_build_alone, args=(str(place), count, results))
        worker.start()
        out = results.get()
        worker.join()
    final = size_of(place)
    out["index_mib"] = round(final / 2**20, 1)
    out["temporary_disk_mib"] = round(max(0, disk.most - final) / 2**20, 1)
    sample = build("benchmark 0", _BOOK).articles[:2000]
    reader = context.Process(target=_ask_alone, args=(str(place), queries_of(sample, 500, seed=2), results))
    reader.start()
    out.update(results.get())
    reader.join()
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paragraphs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--parts", default="env,server,index")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    parts = arguments.parts.split(",")
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "env" in parts:
            result["env"] = bench_env(arguments.seconds)
        if "server" in parts:
            result["server"] = bench_server(folder, arguments.seconds)
        if "index" in parts:
            result["index"] = bench_index(folder, arguments.paragraphs)
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "load.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
