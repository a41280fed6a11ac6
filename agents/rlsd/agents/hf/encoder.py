"""Text encoders for dense retrieval: any sentence-transformers folder, or a plain transformers one.

A sentence-transformers folder specifies the pooling (`1_Pooling/config.json`) and the maximum text length
(`sentence_bert_config.json`); a plain folder is mean-pooled. Models such as E5 need a prefix for each text
("query: ", "passage: ").
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rlsd.agents.hf.models import ModelError
from rlsd.envs.searchqa.retrieval.ann import check_engine
from rlsd.envs.searchqa.retrieval.index import open_index, read_manifest
from rlsd.envs.searchqa.retrieval.local import LocalRetriever

Pooling = Literal["mean", "cls", "max", "last"]
_POOLING_KEYS: dict[str, Pooling] = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderSettings:
    """Settings that determine the vectors, and the device and batch size."""

    folder: str
    pooling: Pooling | None = None
    """None: from the folder, else mean."""
    max_tokens: int | None = None
    """None: from the folder, else 512."""
    query_prefix: str = ""
    passage_prefix: str = ""
    device: str = "cpu"
    batch: int = 64

    def to_json(self) -> dict[str, Any]:
        """The settings stored with an index; without device and batch."""
        return {k: v for k, v in asdict(self).items() if k not in ("device", "batch")}


class TextEncoder:
    """Texts to unit vectors.

    Raises:
        ModelError: a folder without an encoder, or with an unknown pooling.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        from transformers import AutoModel, AutoTokenizer

        folder = Path(settings.folder).expanduser()
        if not (folder / "config.json").is_file():
            raise ModelError(f"{settings.folder} holds no config.json: give a (sentence-)transformers folder")
        self.settings = replace(
            settings, pooling=settings.pooling or _pooling(folder), max_tokens=settings.max_tokens or _longest(folder)
        )
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False)
            model: Any = AutoModel.from_pretrained(str(folder), dtype=torch.float32, trust_remote_code=False)
        except Exception as error:  # a damaged folder can raise anything
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise ModelError(f"cannot load an encoder from {settings.folder!r}: {reason}") from error
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._tokenizer.padding_side = "right"
        self._model = model.to(settings.device).eval()

    @torch.no_grad()
    def encode(self, texts: Sequence[str], *, query: bool) -> NDArray[np.float32]:
        """(len(texts), D) unit vectors; texts of similar length share a batch, the order is kept."""
        prefix = self.settings.query_prefix if query else self.settings.passage_prefix
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        out: NDArray[np.float32] | None = None
        for start in range(0, len(order), self.settings.batch):
            chosen = order[start : start + self.settings.batch]
            vectors = self._encode([prefix + texts[i] for i in chosen])
            if out is None:
                out = np.empty((len(texts), vectors.shape[1]), np.float32)
            out[chosen] = vectors.float().cpu().numpy()
        return np.empty((0, int(self._model.config.hidden_size)), np.float32) if out is None else out

    def _encode(self, texts: list[str]) -> Tensor:
        rows = self._tokenizer(
            texts, padding=True, truncation=True, max_length=self.settings.max_tokens, return_tensors="pt"
        ).to(self._model.device)
        hidden = self._model(**rows).last_hidden_state
        pooled = _pool(hidden, rows["attention_mask"].bool(), self.settings.pooling or "mean")
        return torch.nn.functional.normalize(pooled, dim=-1)


def open_encoder(data: dict[str, Any], *, device: str = "cpu", folder: str | None = None) -> TextEncoder:
    """The encoder named in an index; `folder` if its model has moved.

    Raises:
        ModelError: the settings are not an encoder's, or its folder is missing.
    """
    try:
        settings = EncoderSettings(**data, device=device)
    except TypeError as error:
        raise ModelError(f"the index names no usable encoder: {error}") from error
    return TextEncoder(replace(settings, folder=folder) if folder else settings)


def open_dense(
    index: str | Path,
    *,
    device: str = "cpu",
    encoder: str | None = None,
    engine: str | None = None,
    verify: bool | None = None,
) -> LocalRetriever:
    """A retriever over an index folder of any kind, with its encoder loaded if it has one.

    Args:
        device, encoder: see `open_encoder`.
        engine, verify: see `open_index`.
    """
    if engine is not None:
        check_engine(engine)  # before a model is loaded
    named = read_manifest(index).encoder
    loaded = open_encoder(named, device=device, folder=encoder) if named else None
    return open_index(index, encoder=loaded, engine=engine, verify=verify)


def _pool(hidden: Tensor, kept: Tensor, pooling: Pooling) -> Tensor:
    """(B, T, D) states and (B, T) mask to (B, D)."""
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "last":
        return hidden[torch.arange(len(hidden)), kept.sum(1) - 1]
    if pooling == "max":
        return hidden.masked_fill(~kept[..., None], -torch.inf).amax(1)
    weights = kept[..., None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


def _pooling(folder: Path) -> Pooling:
    path = folder / "1_Pooling" / "config.json"
    if not path.is_file():
        return "mean"
    config = _json(path)
    if config.get("pooling_mode") in _POOLING_KEYS.values():
        return config["pooling_mode"]
    active = [key for key, value in config.items() if key.startswith("pooling_mode_") and value is True]
    if len(active) != 1 or active[0] not in _POOLING_KEYS:
        raise ModelError(f"{path} pools by {active}; rlsd knows one of {sorted(_POOLING_KEYS)}: set pooling")
    return _POOLING_KEYS[active[0]]


def _longest(folder: Path) -> int:
    path = folder / "sentence_bert_config.json"
    return int(_json(path).get("max_seq_length") or 512) if path.is_file() else 512


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path} is not JSON: {error}") from error
