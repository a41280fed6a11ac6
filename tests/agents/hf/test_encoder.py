"""Text encoders: pooling by hand, folders as they are published, an index that finds its encoder again."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rlsd.agents.hf.encoder import EncoderSettings, TextEncoder, open_dense, open_encoder
from rlsd.agents.hf.models import ModelError
from rlsd.envs.searchqa.questions.types import Passage
from rlsd.envs.searchqa.retrieval.index import build_index
from tests.support.pretend_device import pretend_cuda

TEXTS = ["a mug on the shelf", "the", "a pen in the drawer of the desk", ""]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a word-level tokenizer."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(" ".join(TEXTS).split()), "query:", "passage:"]
    raw = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    torch.manual_seed(0)
    model = BertModel(
        BertConfig(
            vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
    )
    path = tmp_path_factory.mktemp("bert")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def encoder(folder: Path, **settings: Any) -> TextEncoder:
    return TextEncoder(EncoderSettings(folder=str(folder), **settings))


def states(made: TextEncoder, text: str) -> torch.Tensor:
    """(T, D) of one text by itself, without padding."""
    rows = made._tokenizer([text], return_tensors="pt")
    with torch.no_grad():
        return made._model(**rows).last_hidden_state[0]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
def test_pooling(folder: Path, pooling: str) -> None:
    made = encoder(folder, pooling=pooling, batch=3)
    got = made.encode(TEXTS, query=True)
    by_hand = {
        "mean": lambda h: h.mean(0), "cls": lambda h: h[0], "max": lambda h: h.amax(0), "last": lambda h: h[-1],
    }[pooling]  # fmt: skip
    for text, vector in zip(TEXTS, got, strict=True):
        wanted = torch.nn.functional.normalize(by_hand(states(made, text)), dim=0)
        np.testing.assert_allclose(vector, wanted.numpy(), atol=1e-5)
    assert made.encode([], query=True).shape == (0, 8)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real device")
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "last"])
def test_vectors_come_back_from_a_gpu(folder: Path, pooling: str) -> None:
    wanted = encoder(folder, pooling=pooling).encode(TEXTS, query=True)
    with pretend_cuda() as gpu:
        made = encoder(folder, pooling=pooling, device="cuda")
        np.testing.assert_allclose(made.encode(TEXTS, query=True), wanted, atol=1e-6)
        assert made._model.device.type == "cuda"
        assert gpu.reads > 0


def test_prefixes_and_lengths(folder: Path) -> None:
    plain, marked = encoder(folder), encoder(folder, query_prefix="query: ", passage_prefix="passage: ")
    assert np.allclose(plain.encode(["query: a mug"], query=True), marked.encode(["a mug"], query=True))
    assert np.allclose(plain.encode(["passage: a mug"], query=False), marked.encode(["a mug"], query=False))
    short = encoder(folder, max_tokens=4)
    assert np.allclose(short.encode(["a mug on the shelf"], query=True), short.encode(["a mug"], query=True))


def test_a_sentence_transformers_folder_says_how(folder: Path, tmp_path: Path) -> None:
    import shutil

    path = Path(shutil.copytree(folder, tmp_path / "st"))
    (path / "1_Pooling").mkdir()
    pooling = path / "1_Pooling" / "config.json"
    pooling.write_text(json.dumps({"word_embedding_dimension": 8, "pooling_mode_cls_token": True}))
    (path / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    made = encoder(path)
    assert (made.settings.pooling, made.settings.max_tokens) == ("cls", 4)
    pooling.write_text('{"pooling_mode_weightedmean_tokens": true}')
    with pytest.raises(ModelError, match="set pooling"):
        encoder(path)
    pooling.write_text("{")
    with pytest.raises(ModelError, match="is not JSON"):
        encoder(path)


def test_folders_that_hold_no_encoder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        encoder(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelError, match="cannot load an encoder"):
        encoder(tmp_path)
    with pytest.raises(ModelError, match="names no usable encoder"):
        open_encoder({"model": "x"})


def test_an_index_finds_its_encoder_again(folder: Path, tmp_path: Path) -> None:
    made = encoder(folder, query_prefix="query: ")
    passages = [Passage(title=text, text="the shelf") for text in TEXTS[:3]]
    build_index(lambda: passages, tmp_path / "i", kind="hybrid", encoder=made, encoder_settings=made.settings.to_json())
    retriever = open_dense(tmp_path / "i")
    assert len(retriever.search_now(["a pen in the drawer of the desk"], 3)[0]) == 3
    moved = folder.rename(folder.with_name("moved"))
    try:
        with pytest.raises(ModelError, match=r"holds no config\.json"):
            open_dense(tmp_path / "i")
        assert open_dense(tmp_path / "i", encoder=str(moved)).search_now(["the"], 1)
    finally:
        moved.rename(folder)


def test_the_command_line_builds_with_an_engine_and_the_server_opens_it(folder: Path, tmp_path: Path) -> None:
    """`rlsd index build --engine hnsw`, and what `rlsd serve search` opens; without hnswlib the package is named."""
    from rlsd.harness.cli.app import main
    from rlsd.harness.cli.index import open_served

    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"title": text, "text": "the shelf"}) + "\n" for text in TEXTS[:3]))
    command = ["index", "build", str(corpus), str(tmp_path / "i"), "--kind", "hybrid", "--encoder", str(folder)]
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--engine", "hnsw", "--quiet"])
    if importlib.util.find_spec("hnswlib") is None:
        assert stopped.value.code == 2
        assert not (tmp_path / "i").exists()
        pytest.skip("needs hnswlib")
    assert stopped.value.code == 0
    for engine in (None, "exact"):
        found = open_served(str(tmp_path / "i"), engine=engine).search_now([TEXTS[2]], 3)
        assert found[0][0].title == TEXTS[2]
