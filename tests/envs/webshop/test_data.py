"""Published files, stored catalogues, the generated shop, goals and splits."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rlsd.envs import make
from rlsd.envs.core import Panel
from rlsd.envs.errors import DataError, EnvError, TaskError
from rlsd.envs.webshop.__main__ import main
from rlsd.envs.webshop.catalogue.catalogue import fixed_price
from rlsd.envs.webshop.catalogue.goals import NO_LIMIT, Goal, goals_of
from rlsd.envs.webshop.catalogue.products import NO_ATTRIBUTE, Product, products_of
from rlsd.envs.webshop.catalogue.publishing import publish
from rlsd.envs.webshop.catalogue.reading import find_files, read_array, read_entries
from rlsd.envs.webshop.catalogue.store import build_catalogue, load_catalogue
from rlsd.envs.webshop.engine.legacy import draw_goals, index_split
from rlsd.envs.webshop.env import WebShopEnv
from rlsd.envs.webshop.generate.generator import generate, generated
from rlsd.envs.webshop.shops import SPLITS, open_shop, read_products
from tests.support import webshop_shelf as shelf


def test_lone_surrogates_in_products_and_instructions_are_replaced() -> None:
    """In every text of the published files; pages show them, and instructions become goals."""
    lone = "x\ud83d"
    record = shelf.record(
        "B0000000\ud83d", lone, full_description=lone, small_description=[lone], query=lone, category=lone,
        product_category=lone, images=[lone], customization_options={lone: [{"value": lone, "image": lone}]},
    )  # fmt: skip
    mined = {"attributes": [lone], "instruction": lone, "instruction_attributes": [lone]}
    asked = [{"instruction": lone, "instruction_attributes": [lone], "instruction_options": [lone]}]
    for human in (None, {record["asin"]: asked}):
        (product,) = products_of([record], {record["asin"]: mined}, human, source="shelf")
        assert product.asin == "B0000000\ufffd"
        assert product.instructions[0].text == "x\ufffd", "found under the id as the files spell it"
        spelled = json.dumps(product.to_json(), ensure_ascii=False)
        assert spelled.encode().decode() == spelled
        assert spelled.count("x\ufffd") == 14 + (human is not None)
    goal = Goal.from_published({**next(goals_of([product], fixed_price)).to_published(), "instruction_text": lone})
    assert goal.instruction == "x\ufffd"


def test_products_follow_the_published_rules() -> None:
    shoes, walking, tea = shelf.products()
    assert shoes.options == {"color": ("red", "navy | blue"), "size": ("8", "9")}
    assert (shoes.prices, shoes.price_tag) == ((20.0, 35.0), "$20.0 to $35.0")
    assert (tea.prices, tea.price_tag, tea.attributes) == ((100.0,), "$100.0", (NO_ATTRIBUTE,))
    assert walking.query == "shoes"
    assert shoes.search_text == "red running shoes  first point. color: red, navy | blue, and size: 8, 9"
    assert all(Product.from_json(json.loads(json.dumps(p.to_json()))) == p for p in (shoes, walking, tea))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": None}, "name is NoneType"),
        ({"small_description": [1]}, "small_description"), ({"customization_options": {"a": [{}]}}, "option 'a'"),
        ({"customization_options": "x"}, "expected an object"), ({"images": "x"}, "images must be a list"),
        ({"asin": 7}, "asin is int"),
    ],
)  # fmt: skip
def test_a_damaged_product_is_named_with_its_field(change: dict[str, Any], message: str) -> None:
    broken = {**shelf.RECORDS[1], **change}
    with pytest.raises(DataError, match=message) as caught:
        list(products_of([shelf.RECORDS[0], broken], {}, None, source="items.json"))
    assert "items.json, product 1" in str(caught.value)


@pytest.mark.parametrize("price", ["free", "12.99", "$1.2.3", "$", "$" + "9" * 400, 12, math.nan, ["$1"]])
def test_a_product_whose_price_is_no_number_is_left_out_and_counted(
    price: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = shelf.write_files(tmp_path)
    whole = list(read_products(path))
    assert capsys.readouterr().err == ""
    items = find_files(path)[0]
    records = json.loads(items.read_text())
    records[1]["pricing"] = price
    items.write_text(json.dumps(records))
    assert list(read_products(path)) == [whole[0], *whole[2:]]
    told = capsys.readouterr().err
    asin = records[1]["asin"]
    assert told.startswith(f"{items}: 1 of {len(whole)} products have no number as their price and are left out, e.g. ")
    assert f"product 1 ({asin})" in told
    assert told.count("\n") == 1
    for record in records:
        record["pricing"] = price
    items.write_text(json.dumps(records))
    with pytest.raises(DataError, match=f"{len(whole)} of {len(whole)} products have no number as their price"):
        list(read_products(path))


@pytest.mark.parametrize("text", ["", "{}", "[1, 2", '[{"asin": "x"', "[{]", '["\\ud8"]x', "null"])
def test_a_damaged_file_gives_one_clear_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "items_shuffle_1000.json"
    path.write_text(text)
    with pytest.raises(DataError, match="items_shuffle_1000"):
        list(read_products(path))


def test_a_large_array_is_read_piece_by_piece(tmp_path: Path) -> None:
    entries = [{"i": i, "text": "ü" * (i % 5000)} for i in range(700)]
    path = tmp_path / "big.json"
    path.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    assert list(read_array(path)) == entries


def test_missing_files_name_the_command_that_fetches_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="gdown"):
        make("rlsd/WebShop-v0", catalogue=str(tmp_path))
    with pytest.raises(EnvError, match="gen-tiny"):
        make("rlsd/WebShop-v0", catalogue="gen-tinny")
    shelf.write_files(tmp_path)
    with pytest.raises(DataError, match="items_human_ins"):
        make("rlsd/WebShop-v0", catalogue=str(tmp_path), goals="human")


def test_human_goals_are_used_where_their_file_is(tmp_path: Path) -> None:
    shelf.write_files(tmp_path, human=True)
    (goal,) = goals_of(read_products(tmp_path), lambda product: 9.0)
    assert (goal.asin, goal.options, goal.named) == ("B000000002", (("", "blue"),), False)
    assert goal.instruction.startswith("i need blue shoes, and price lower than ")
    synthetic = list(goals_of(read_products(tmp_path, "synthetic"), lambda product: 9.0))
    assert [g.asin for g in synthetic] == ["B000000001"] * 4


def test_goals_keep_their_content_whatever_else_is_in_the_catalogue() -> None:
    shoes = shelf.products()[0]
    alone = list(goals_of([shoes], fixed_price))
    among = [g for g in goals_of(reversed(shelf.products()), fixed_price) if g.asin == shoes.asin]
    assert {g.goal_id for g in alone} == {g.goal_id for g in among}
    assert alone[0].instruction.startswith(
        "Find me arch support shoes with rubber sole with color: red, and size: 8, and price"
    )
    dear = replace(shoes, prices=(985.0,))
    assert next(iter(goals_of([dear], fixed_price))).price_upper == NO_LIMIT


def test_a_goal_survives_the_published_format() -> None:
    for goal in goals_of(shelf.products(shelf.HUMAN) + shelf.products(), fixed_price):
        assert Goal.from_published(json.loads(json.dumps(goal.to_published()))) == goal
    with pytest.raises(TaskError, match="lacks asin"):
        Goal.from_published({})
    with pytest.raises(TaskError, match="attributes"):
        Goal.from_published({**goal.to_published(), "attributes": []})


@pytest.mark.parametrize("catalogue", ["gen-tiny", "gen-default"])
def test_splits_share_no_sentence_and_held_out_products_stay_out(catalogue: str) -> None:
    shop = open_shop(catalogue)
    goals = {split: list(shop.shelf(split).goals.values()) for split in SPLITS}
    sentences = [{g.instruction for g in goals[split]} for split in SPLITS]
    for i, one in enumerate(sentences):
        assert all(not one & other for other in sentences[i + 1 :])
    held_out = {g.asin for g in goals["test_products"]}
    assert not held_out & {g.asin for split in ("train", "valid", "test") for g in goals[split]}
    assert all(len(goals[split]) >= 50 for split in SPLITS)


def test_reshuffling_a_worker_leaks_its_validation_goals_into_training_and_ours_does_not() -> None:
    products = list(generate("gen-default"))[:400]
    workers = [draw_goals(products, seed, shuffle_seed=None).goals for seed in (0, 1000)]

    def known(goals: tuple[Goal, ...], split: str) -> list[tuple[str, tuple[tuple[str, str], ...]]]:
        return [(goals[i].asin, goals[i].options) for i in index_split(goals, split, "legacy")]

    valid, train = known(workers[1], "valid"), set(known(workers[0], "train"))
    leaked = sum(goal in train for goal in valid) / len(valid)
    assert leaked > 0.3  # by index, one worker trains on what another validates on
    train_env, test_env = (make("rlsd/WebShop-v0", split=split) for split in ("train", "test"))
    ids = [{task.task_id for task in env.tasks()} for env in (train_env, test_env)]
    assert not ids[0] & ids[1]
    again = WebShopEnv(split="test")
    again.reset(seed=99)  # the seed of an episode changes no goal
    assert Panel.of(test_env, test_env.tasks()) == Panel.of(again, again.tasks())


def test_a_stored_catalogue_is_the_same_shop(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "gen-300", str(tmp_path)]) == 0
    assert "300 products" in capsys.readouterr().out
    stored, memory = load_catalogue(tmp_path), generated("gen-300")
    assert len(stored) == 300
    assert [stored.product(i) for i in (0, 7, 299)] == [memory.product(i) for i in (0, 7, 299)]
    assert [stored.find(memory.product(i).asin) for i in range(300)] == list(range(300))
    assert stored.find("B0NOTHERE0") is None
    assert list(stored.instructed()) == list(memory.instructed())
    for query in ("wool socks", "blue rubber sole shoes", "premium tea"):
        assert stored.index.search(query, 50) == memory.index.search(query, 50)
    stored_env, memory_env = (
        make("rlsd/WebShop-v0", catalogue=str(tmp_path)),
        make("rlsd/WebShop-v0", catalogue="gen-300"),
    )
    assert [t.task_id for t in stored_env.tasks()] == [t.task_id for t in memory_env.tasks()]


def test_a_published_catalogue_is_read_back_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "gen-300", str(tmp_path)]) == 0
    assert "300 products" in capsys.readouterr().out
    assert list(read_products(tmp_path)) == list(generate("gen-300"))
    asked = next(iter(products_of(shelf.RECORDS[1:], shelf.ATTRIBUTES, shelf.HUMAN, source="shelf")))
    with pytest.raises(DataError, match="human instructions"):
        publish([asked], tmp_path)


@pytest.mark.parametrize("text", ["", "[]", '{"a": {}', '{"a" {}}', "{1: 2}", '{"a": tru', '{"a": {"b": }}', "null"])
def test_a_damaged_attributes_file_gives_one_clear_error(tmp_path: Path, text: str) -> None:
    path = shelf.write_files(tmp_path)
    (tmp_path / "items_ins_v2_1000.json").write_text(text)
    with pytest.raises(DataError, match="items_ins_v2_1000"):
        list(read_products(path))


def test_entries_are_those_of_the_file(tmp_path: Path) -> None:
    data = {"a": {"b": [1, 2.5, None, "é\n"]}, "c": [], 'é"': "x" * 3_000_000, "d": 7}
    path = tmp_path / "entries.json"
    for indent in (None, 1):
        path.write_text(json.dumps(data, indent=indent))
        assert dict(read_entries(path)) == data


def test_a_file_too_large_for_memory_is_not_read_but_its_command_named(tmp_path: Path) -> None:
    path = shelf.write_files(tmp_path)
    with path.open("ab") as file:
        file.truncate(300 << 20)  # sparse: takes no room
    with pytest.raises(DataError, match=r"python -m rlsd\.envs\.webshop build"):
        open_shop(path)
    assert len(open_shop(path, products=2).catalogue) == 2


def test_a_damaged_stored_catalogue_says_so(tmp_path: Path) -> None:
    build_catalogue("x", generate("gen-20"), tmp_path)
    blob = tmp_path / "products.bin"
    data = bytearray(blob.read_bytes())
    data[40:80] = b"\0" * 40
    blob.write_bytes(data)
    with pytest.raises(DataError, match="product 0 is damaged"):
        load_catalogue(tmp_path).product(0)
    blob.write_bytes(data[:-5])
    with pytest.raises(DataError, match="do not match"):
        load_catalogue(tmp_path)
    (tmp_path / "ids.npy").unlink()
    with pytest.raises(DataError, match=r"ids\.npy"):
        load_catalogue(tmp_path)
    (tmp_path / "catalogue.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        load_catalogue(tmp_path)


def test_the_generated_shop_is_varied_seeded_and_has_unique_ids() -> None:
    products = list(generate("gen-500"))
    assert products == list(generate("gen-500"))
    assert list(generate("gen-9000", first=480, last=500)) == products[480:]  # a larger one begins with the smaller
    assert len({p.asin for p in products}) == 500
    assert len({p.title for p in products}) > 480
    assert {p.category for p in products} == {"fashion", "beauty", "electronics", "grocery", "garden"}
    assert all(set(i.attributes) <= set(p.attributes) for p in products for i in p.instructions)
    with pytest.raises(EnvError, match="build gen-60000"):
        generated("gen-60000")
    assert main(["build", "gen-no", "/nowhere"]) == 2


def test_prices_can_be_given(tmp_path: Path) -> None:
    path = shelf.write_files(tmp_path)
    (tmp_path / "prices.json").write_text('{"B000000001": 21.5}')
    for prices in ({"B000000001": 21.5}, tmp_path / "prices.json"):
        shop = open_shop(path, prices=prices)
        assert shop.price(shop.catalogue.product(0)) == 21.5
        assert shop.price(shop.catalogue.product(1)) == 12.5
    for price in (math.nan, math.inf, "x", None):
        (tmp_path / "prices.json").write_text(json.dumps({"B000000001": price}))
        for prices in ({"B000000001": price}, tmp_path / "prices.json"):
            with pytest.raises(DataError, match="B000000001 costs"):
                open_shop(path, prices=prices)
    (tmp_path / "prices.json").write_text("[1]")
    with pytest.raises(DataError, match="product id → dollars"):
        open_shop(path, prices=tmp_path / "prices.json")
    shop = open_shop(path)
    assert 20 <= shop.price(shop.catalogue.product(0)) <= 35
