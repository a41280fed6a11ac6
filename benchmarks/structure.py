"""The shape of the code: modules a folder, imports between modules and folders, circles, the longest functions.

    python benchmarks/structure.py [CHECKOUT]

Reads the four layers of a checkout (default: this one) without importing them, so two states can be set side by side.
Imports under `if TYPE_CHECKING` count too. The last line is JSON.
"""

from __future__ import annotations

import ast
import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

LAYERS = ("envs", "agents", "algorithms", "harness")


def modules(root: Path) -> dict[str, Path]:
    """Dotted name → file, packages without their `__init__`."""
    found: dict[str, Path] = {}
    for layer in LAYERS:
        for path in sorted((root / layer / "rlsd" / layer).rglob("*.py")):
            name = ".".join(path.relative_to(root / layer).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


def imports(path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    """The modules of the project that a file imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield from [m for m in (inner if inner in known else node.module,) if m in known]
        elif isinstance(node, ast.Import):
            yield from [a.name for a in node.names if a.name in known]


def module_graph(known: Mapping[str, Path]) -> dict[str, set[str]]:
    """Each module with those it imports."""
    return {name: set(imports(path, known)) - {name} for name, path in known.items()}


def folder(root: Path, path: Path) -> str:
    return str(path.parent.relative_to(root))


def folder_graph(root: Path, known: Mapping[str, Path], graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Each folder with those it imports from; a module at the top of a layer (the loop, errors) stands for itself."""
    tops = {f"{layer}/rlsd/{layer}" for layer in LAYERS}
    home = {name: name if (place := folder(root, path)) in tops else place for name, path in known.items()}
    rooms: dict[str, set[str]] = {place: set() for place in home.values()}
    for name, targets in graph.items():
        rooms[home[name]] |= {home[target] for target in targets} - {home[name]}
    return rooms


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of nodes that import each other, directly or not (Tarjan 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    out: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = [stack.pop()]
            while group[-1] != node:
                group.append(stack.pop())
            if len(group) > 1:
                out.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return out


def functions(known: Mapping[str, Path]) -> list[tuple[int, str]]:
    """(lines, name) of every function, longest first."""
    found = [
        (node.end_lineno - node.lineno + 1, f"{name}:{node.name}")
        for name, path in known.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    ]
    return sorted(found, reverse=True)


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).resolve().parents[1])
    known = modules(root)
    graph = module_graph(known)
    rooms = folder_graph(root, known, graph)
    sizes = Counter(folder(root, path) for path in known.values() if path.name != "__init__.py")
    for place, count in sorted(sizes.items()):
        print(f"{count:4d} modules  {place}")
    longest = functions(known)[:10]
    for lines, name in longest:
        print(f"{lines:4d} lines    {name}")
    summary = {
        "modules": sum(sizes.values()),
        "folders": len(sizes),
        "largest_folder": max(sizes.values()),
        "imports": sum(len(targets) for targets in graph.values()),
        "folder_arrows": sum(len(targets) for targets in rooms.values()),
        "module_circles": circles(graph),
        "folder_circles": circles(rooms),
        "longest_function": longest[0][0],
        "train_lines": len((root / "harness/rlsd/harness/train.py").read_text().splitlines()),
    }
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
