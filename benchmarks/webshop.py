"""Speed and memory of WebShop, on generated shops; the comparison with the original is in `webshop_parity.py`.

    python benchmarks/webshop.py                                    1,000 products, 256 environments
    python benchmarks/webshop.py --stored 1000000 --folder FOLDER   also a stored catalogue, built in one pass

The stored catalogue is built twice: from the generator, and from files in the published format with the same products,
as the full catalogue is read. Every part runs in a separate process, so that its memory can be measured; `cpu` figures
are CPU time, for a shared machine. The last line printed is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MIB = 1024 * 1024


def resident() -> float:
    """Private memory of this process in MiB, without mapped files."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def walk(env: Any, steps: int, seed: int) -> int:
    """Random clicks and searches; returns the number of episodes begun."""
    draw = random.Random(seed)
    words = ["black", "large", "wireless", "shoes", "organic", "tea", "cotton", "women's", "gluten", "free", "clean"]
    _, info = env.reset(seed=seed)
    begun = 1
    for _ in range(steps):
        actions = info["admissible_actions"]
        action = draw.choice(actions) if actions else "search[x]"
        if action.startswith("search") or draw.random() < 0.15:
            action = f"search[{' '.join(draw.sample(words, 3))}]"
        _, _, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            _, info = env.reset()
            begun += 1
    return begun


def small(steps: int) -> dict[str, Any]:
    """A 1,000-product shop: load, one environment, 256 environments."""
    import rlsd.envs

    rlsd.envs.make("rlsd/Keys-v0").close()
    before = resident()
    began, cpu = time.perf_counter(), time.process_time()
    first = rlsd.envs.make("rlsd/WebShop-v0", catalogue="gen-1000")
    first.reset(seed=0)
    first.step("search[shoes]")
    load_s, load_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    began, cpu = time.perf_counter(), time.process_time()
    walk(first, steps, 1)
    single, single_cpu = steps / (time.perf_counter() - began), steps / (time.process_time() - cpu)
    oracle_steps = 0
    began = time.perf_counter()
    for task in first.tasks()[:50]:
        first.reset(options={"task": task.task_id})
        ended = False
        while not ended:
            first.hindsight()
            *_, terminated, truncated, _ = first.step(first.expert("oracle") or "")
            ended = terminated or truncated
            oracle_steps += 1
    with_hindsight = oracle_steps / (time.perf_counter() - began)
    many = [rlsd.envs.make("rlsd/WebShop-v0", catalogue="gen-1000") for _ in range(256)]
    for i, env in enumerate(many):
        walk(env, 12, i)
    return {
        "load_1000_s": load_s, "load_1000_cpu_s": load_cpu_s, "steps_per_s": single, "steps_per_cpu_s": single_cpu,
        "steps_per_s_with_hindsight_and_oracle": with_hindsight,
        "memory_256_environments_mib": resident(), "memory_of_the_shop_mib": resident() - before,
    }  # fmt: skip


def publish_files(count: int, folder: str) -> dict[str, Any]:
    """Write the products in the published format."""
    from rlsd.envs.webshop.catalogue.publishing import publish
    from rlsd.envs.webshop.generate.generator import generate

    publish(generate(f"gen-{count}"), Path(folder))
    return {"files_mib": disk(folder)}


def build(count: int, folder: str, published: str | None = None) -> dict[str, Any]:
    """Store a catalogue in one pass, generated or from the published format; watch memory and disk."""
    from rlsd.envs.webshop.catalogue.store import build_catalogue
    from rlsd.envs.webshop.generate.generator import generate
    from rlsd.envs.webshop.shops import read_products

    peak, stop = {"memory": 0.0, "disk": 0.0}, threading.Event()

    def watch() -> None:
        while not stop.wait(0.5):
            peak["memory"] = max(peak["memory"], resident())
            peak["disk"] = max(peak["disk"], disk(folder))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    began, cpu = time.perf_counter(), time.process_time()
    products = generate(f"gen-{count}") if published is None else read_products(Path(published))
    build_catalogue(f"gen-{count}", products, Path(folder))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    stop.set()
    watcher.join()
    return {
        "build_s": seconds, "build_cpu_s": cpu, "build_peak_memory_mib": max(peak["memory"], resident()),
        "build_peak_disk_mib": max(peak["disk"], disk(folder)), "stored_mib": disk(folder),
    }  # fmt: skip


def disk(folder: str) -> float:
    total = 0
    for path in Path(folder).rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue  # a deleted temporary file
    return total / MIB


def stored(folder: str, steps: int) -> dict[str, Any]:
    """Open a stored catalogue and shop in it."""
    from rlsd.envs.webshop.engine.shop import Session
    from rlsd.envs.webshop.shops import open_shop

    began = time.perf_counter()
    shop = open_shop(folder)
    catalogue = shop.catalogue
    catalogue.index.search("shoes", 1)
    open_s = time.perf_counter() - began
    draw = random.Random(5)
    queries = [catalogue.product(draw.randrange(len(catalogue))).title for _ in range(200)]
    seconds, cpu = [], time.process_time()
    for query in queries:
        began = time.perf_counter()
        catalogue.index.search(query, 50)
        seconds.append(time.perf_counter() - began)
    query_cpu_ms = 1000 * (time.process_time() - cpu) / len(queries)
    began, cpu = time.perf_counter(), time.process_time()
    for i, query in enumerate(queries[:100]):  # like an agent: a few words of a sentence
        catalogue.index.search(" ".join(query.split()[i % 3 : i % 3 + 4]), 50)
    short_cpu_ms = 1000 * (time.process_time() - cpu) / 100
    began, cpu = time.perf_counter(), time.process_time()
    session = Session(catalogue, "Find me shoes")
    for i in range(steps):
        choices = [f"click[{label}]" for label in session.page.clickables if label not in ("search", "buy now")]
        searched = i % 6 == 0 or not choices
        session.act(f"search[{draw.choice(queries)[:60]}]" if searched else draw.choice(choices))
    return {
        "open_s": open_s, "query_ms_median": 1000 * statistics.median(seconds), "query_cpu_ms": query_cpu_ms,
        "query_of_four_words_cpu_ms": short_cpu_ms, "steps_per_s": steps / (time.perf_counter() - began),
        "steps_per_cpu_s": steps / (time.process_time() - cpu),
        "memory_mib": resident(),
    }  # fmt: skip


def alone(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--stored", type=int, default=20_000, help="products of the stored catalogue")
    parser.add_argument("--folder", help="keep the catalogue here; default: temporary")
    parser.add_argument("--out", type=Path, help="also write the last line here")
    arguments = parser.parse_args()
    result = alone(small, arguments.steps)
    print(f"1,000 products: {result}", flush=True)
    with tempfile.TemporaryDirectory(dir=arguments.folder and Path(arguments.folder).parent) as scratch:
        folder = arguments.folder or str(Path(scratch) / "stored")
        built = alone(build, arguments.stored, folder)
        print(f"{arguments.stored} products: {built}", flush=True)
        opened = alone(stored, folder, arguments.steps)
        print(f"opened: {opened}", flush=True)
        files, twin = Path(scratch) / "published", Path(scratch) / "twin"
        read = alone(publish_files, arguments.stored, str(files))
        read |= alone(build, arguments.stored, str(twin), str(files))
        ids = [(Path(place) / "ids.npy").read_bytes() for place in (folder, twin)]
        assert ids[0] == ids[1], "the files contain other products"
    print(f"from the published format: {read}")
    figures = {f"stored_{name}": value for name, value in {**built, **opened}.items()}
    figures |= {f"published_{name}": value for name, value in read.items()}
    rounded = {name: round(value, 3) for name, value in {**result, **figures}.items()}
    text = json.dumps({"stored_products": arguments.stored, **rounded})
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(json.loads(text), indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
