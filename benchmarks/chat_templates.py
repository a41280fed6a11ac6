"""Prompts of known chat-template families: rlsd's ids, built turn by turn, beside the template's own.

    python benchmarks/chat_templates.py             the table; --out results/chat_templates.md writes it too

Each family's format is re-created in tests/support/chat_families.py with a tokenizer trained there. Three turns are
played with responses as a policy would sample them; the four prompts are compared with the ids of
`tokenizer(apply_chat_template(conversation so far))`. Exit code 1 if a family raises, differs without a stated reason,
or has a reason that is not needed. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.support.chat_families import ALONE, FAMILIES, Family  # noqa: E402
from tests.support.chat_tokenizers import compare  # noqa: E402


def row(name: str, family: Family) -> dict[str, Any]:
    try:
        found = compare(family)
    except Exception as error:  # the table says so, and the exit code too
        return {
            "family": name,
            "prompts": "error",
            "rows": "",
            "ends with": "",
            "note": f"{type(error).__name__}: {error}",
        }
    equal = sum(found.equal)
    return {
        "family": name,
        "prompts": f"{equal} of {len(found.equal)}",
        "rows": "one" if found.merges else "one a turn",
        "ends with": found.end,
        "note": family.differs,
    }


def wrong(line: dict[str, Any]) -> bool:
    """Whether a row says something that its family's note does not."""
    alone = ALONE in line["note"]
    equal = line["prompts"] == "4 of 4"
    return line["prompts"] == "error" or equal != (alone or not line["note"]) or (line["rows"] == "one") == alone


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the table to this file too")
    arguments = parser.parse_args()
    rows = [row(name, family) for name, family in FAMILIES.items()]
    heads = ["family", "prompts", "rows", "ends with", "note"]
    cells = [heads, ["---"] * len(heads), *([str(r[h]).replace("|", "\\|") for h in heads] for r in rows)]
    table = "\n".join("| " + " | ".join(c) + " |" for c in cells)
    print(table)
    bad = [r["family"] for r in rows if wrong(r)]
    summary = {
        "families": len(rows),
        "all_prompts_equal": sum(r["prompts"] == "4 of 4" for r in rows),
        "rows_merge": sum(r["rows"] == "one" for r in rows),
        "stated": sum(bool(r["note"]) for r in rows),
        "wrong": bad,
    }
    if arguments.out:
        text = (
            "# Chat templates\n\n`python benchmarks/chat_templates.py --out results/chat_templates.md`: of the four "
            "prompts of three turns, those whose ids equal the template's own; whether an episode is one training row; "
            f"the token that ends a response.\n\n{table}\n\n```json\n{json.dumps(summary)}\n```\n"
        )
        arguments.out.write_text(text, encoding="utf-8")
    print(json.dumps(summary))
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
