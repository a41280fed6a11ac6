"""Copies of a whole world, of thousands of small objects, for which `copy.deepcopy` is slow."""

from __future__ import annotations

import copy
import enum
import types
from dataclasses import is_dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_ATOMS = {type(None), bool, int, float, str, type, types.FunctionType, types.BuiltinFunctionType}


def copied_world(world: T) -> T:
    """As `copy.deepcopy`: what is shared inside stays shared, and functions are kept as they are."""
    return _copy(world, {})


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    kind = type(value)
    if kind in _ATOMS:
        return value
    known = memo.get(id(value))
    if known is not None:
        return known
    if kind is list:
        new: Any = []
        memo[id(value)] = new
        new += [_copy(one, memo) for one in value]
    elif kind is dict:
        new = {}
        memo[id(value)] = new
        for key, one in value.items():
            new[_copy(key, memo)] = _copy(one, memo)
    elif kind is tuple:
        parts = [_copy(one, memo) for one in value]
        known = memo.get(id(value))  # it was part of itself
        new = known if known is not None else value if all(map(_same, parts, value)) else tuple(parts)
        memo[id(value)] = new
    elif issubclass(kind, enum.Enum):
        return value
    elif _is_plain(kind):
        new = object.__new__(kind)
        memo[id(value)] = new
        state = getattr(value, "__dict__", None)
        if state:
            new.__dict__.update({name: _copy(one, memo) for name, one in state.items()})
        for name in _slots(kind):
            if hasattr(value, name):
                object.__setattr__(new, name, _copy(getattr(value, name), memo))
    else:
        new = copy.deepcopy(value, memo)
    return new


def _same(new: Any, old: Any) -> bool:
    return new is old


_OWN_WAYS = ("__deepcopy__", "__getstate__", "__setstate__", "__reduce__", "__reduce_ex__", "__getnewargs__")
_PLAIN: dict[type, bool] = {}
_SLOTS: dict[type, tuple[str, ...]] = {}


def _is_plain(kind: type) -> bool:
    """Whether an object is nothing but its attributes, and is copied in no way of its own."""
    known = _PLAIN.get(kind)
    if known is None:
        own = {name for name in _OWN_WAYS if getattr(kind, name, None) is not getattr(object, name, None)}
        if is_dataclass(kind):
            own -= {"__getstate__", "__setstate__"}  # of frozen ones with slots: the same attributes
        known = _PLAIN[kind] = kind.__new__ is object.__new__ and not own
    return known


def _slots(kind: type) -> tuple[str, ...]:
    known = _SLOTS.get(kind)
    if known is None:
        known = _SLOTS[kind] = tuple(
            name
            for base in kind.__mro__
            for name, one in vars(base).items()
            if isinstance(one, types.MemberDescriptorType)
        )
    return known
