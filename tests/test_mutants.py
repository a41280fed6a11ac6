"""`make mutants`: which changes it tries, and whether it tells good tests from bad ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.mutants import TARGETS, MutantsError, Target, mutations, run

TOY = "def older(a, b):\n    return a > b\n"
GOOD = "from toy import older\n\ndef test_it():\n    assert (older(2, 1), older(1, 1)) == (True, False)\n"
BAD = "from toy import older\n\ndef test_it():\n    assert older(2, 1)\n"


def toy(folder: Path, test: str) -> tuple[Path, Target]:
    (folder / "toy.py").write_text(TOY)
    (folder / "test_toy.py").write_text(test)
    return folder, Target(path="toy.py", tests=("test_toy.py",))


def test_a_good_test_kills_every_change(tmp_path: Path) -> None:
    root, target = toy(tmp_path, GOOD)
    counts, survivors = run(root, [target], minutes=1, tell=False)
    assert counts == {"tried": 2, "killed": 2, "survived": 0}
    assert survivors == []
    assert (root / "toy.py").read_text() == TOY


def test_a_bad_test_leaves_a_survivor(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    root, target = toy(tmp_path, BAD)
    counts, survivors = run(root, [target], minutes=1)
    assert counts == {"tried": 2, "killed": 1, "survived": 1}
    assert survivors == ["toy.py:2: return a > b -> return a >= b"]
    assert capfd.readouterr().out == survivors[0] + "\n"


def test_a_change_that_hangs_is_noticed(tmp_path: Path) -> None:
    """Counting down by adding never ends; the trial is stopped after the time limit."""
    (tmp_path / "toy.py").write_text("def count(n):\n    while n > 0:\n        n -= 1\n    return n\n")
    (tmp_path / "test_toy.py").write_text("from toy import count\n\ndef test_it():\n    assert count(3) == 0\n")
    target = Target(path="toy.py", tests=("test_toy.py",))
    counts, survivors = run(tmp_path, [target], minutes=2, reconnect_s=1, tell=False)
    assert counts["tried"] == counts["killed"] + len(survivors)
    assert not any("n += 1" in s for s in survivors)


def test_tests_that_cannot_judge_are_refused(tmp_path: Path) -> None:
    root, target = toy(tmp_path, "def test_it():\n    assert 1 + 1 == 3\n")
    with pytest.raises(MutantsError, match=r"exit code 1\) on unchanged code"):
        run(root, [target], minutes=1, tell=False)
    root, target = toy(tmp_path, "def test_it():\n    pass\n")
    with pytest.raises(MutantsError, match=r"do not import toy\.py"):
        run(root, [target], minutes=1, tell=False)


def test_no_time_is_no_trial(tmp_path: Path) -> None:
    root, target = toy(tmp_path, GOOD)
    assert run(root, [target], minutes=0)[0] == {"tried": 0, "killed": 0, "survived": 0}


@pytest.mark.parametrize(
    "before, after",
    [
        ("x = a < b <= c", ["x = a <= b <= c", "x = a < b < c"]),
        ("x = a is None", ["x = a is not None"]),
        ("x = 'µ' in b", ["x = 'µ' not in b"]),
        ("x = a and b and c", ["x = a or b and c", "x = a and b or c"]),
        ("x = not a", ["x = a"]),
        ("x = a & ~b", ["x = a | ~b", "x = a & b"]),
        ("x += -y * z", ["x -= -y * z", "x += -y / z", "x += y * z"]),
        ("x = 2", ["x = (3)", "x = (1)"]),
        ("x = f(0.5, on=True)", ["x = f((1.5), on=True)", "x = f((-0.5), on=True)", "x = f(0.5, on=False)"]),
        ("x = a if b else c", ["x = a if (not (b)) else c"]),
        ("def f(x: int | None = 1): return x == y", ["= (2)): return x == y", "= (0)): return x == y"]),
        ("raise E(f'{a + 1}')", []),
        ("x = f'{a + 1}'", []),
    ],
)
def test_what_is_changed(before: str, after: list[str]) -> None:
    source = before.encode()
    found = [m.applied(source).decode() for m in mutations(source)]
    if before.startswith("def"):
        head = "def f(x: int | None "
        after = [head + tail for tail in after]
        after += ["def f(x: int | None = 1): return (not (x == y))", "def f(x: int | None = 1): return x != y"]
    assert sorted(found) == sorted(after)


def test_only_one_function_is_changed() -> None:
    source = b"def f():\n    return 1\n\n\ndef g():\n    return 5\n"
    assert [m.told(source) for m in mutations(source, "g")] == [
        "6: return 5 -> return (6)",
        "6: return 5 -> return (4)",
    ]


def test_every_target_and_its_tests_are_there() -> None:
    root = Path(__file__).parents[1]
    for target in TARGETS:
        assert mutations((root / target.path).read_bytes(), target.only)
        assert [t for t in target.tests if not (root / t).is_file()] == []
