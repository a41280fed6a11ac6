"""How the cost of a turn grows with the length of its hindsight and of its observation.

    python benchmarks/long_hindsight.py

Seconds of one turn with N and with 4 N items of hindsight (one in a turn's view, most left out for length), and of
encoding an observation of N and of 4 N sentences. Work in proportion to the text gives ratios of about 4.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

from rlsd.agents.chat import ChatFormat
from rlsd.agents.hf.models import train_tokenizer
from rlsd.envs.core import Hindsight
from rlsd.harness.hindsight.hints import Hinter, HintSettings


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The shortest of a few runs, on this process's own clock."""
    best = float("inf")
    for _ in range(repeats):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    chat = ChatFormat(
        train_tokenizer(["go to desk 1 and take the red mug. you see a key, 23 cups.\n"] * 4, vocab_size=400)
    )
    hinter = Hinter(HintSettings(contexts=("plan",)), chat, context=4096, max_new_tokens=64)

    def turn(items: int) -> None:
        knowledge = Hindsight(plan=tuple(f"go to desk {i} and take mug {i}" for i in range(items)))
        assert hinter.at(knowledge, knowledge, used=100) is not None

    def encode(sentences: int) -> None:
        chat.encode("you see a red mug, a key and 23 cups. " * sentences)

    result: dict[str, float] = {}
    for name, work in (("hindsight", turn), ("observation", encode)):
        one, four = (seconds(lambda n=n, work=work: work(n), args.repeats) for n in (args.items, 4 * args.items))
        print(f"{name}: {one:.4f} s with {args.items}, {four:.4f} s with {4 * args.items}: ratio {four / one:.2f}")
        result |= {f"{name}_s": one, f"{name}_4x_s": four, f"{name}_ratio": four / one}
    print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
