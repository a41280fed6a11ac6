"""YAML as configs are written: numbers such as 1e-2 are numbers, a key stands once, every number is finite."""

from __future__ import annotations

import contextlib
import json
import math
import re
from typing import Any

import yaml

from rlsd.harness.config.blocks import ConfigError

_EXPONENT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)[eE][-+]?[0-9]+\Z")
"""Numbers of YAML 1.2 that PyYAML, which follows 1.1, reads as text."""
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    def __init__(self, text: str, what: str) -> None:
        super().__init__(text)
        self.what = what

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        lines: dict[tuple[str, str], int] = {}
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == _MERGE:
                continue
            name, line = (key.tag, key.value), key.start_mark.line + 1
            if name in lines:
                raise ConfigError(
                    f"{self.what}, line {line}: the key {key.value!r} is there already (line {lines[name]}); keep one"
                )
            lines[name] = line
        return node

    def flatten_mapping(self, node: Any) -> None:
        """Put merged keys (`<<: *anchor`) in place: own keys go before merged ones, earlier merges before later ones.
        PyYAML itself takes the outermost value of a key that a merged mapping has overridden."""
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        known, merged = {_name(key) for key, _ in own}, []
        for _, value in (pair for pair in node.value if pair[0].tag == _MERGE):
            for other in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if not isinstance(other, yaml.MappingNode):
                    raise yaml.constructor.ConstructorError(None, None, "expected a mapping to merge", other.start_mark)
                self.flatten_mapping(other)
                merged += [pair for pair in other.value if _name(pair[0]) not in known]
                known.update(_name(key) for key, _ in other.value)
        node.value = merged + own


def _name(key: Any) -> Any:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that the loader would take for numbers."""


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def read_yaml(text: str, what: str) -> Any:
    """Plain data; `what` names the text's origin in errors.

    Raises:
        ConfigError: not YAML, or a key that stands twice; names its lines.
    """
    try:
        data = _Loader(text, what).get_single_data()
        with contextlib.suppress(TypeError):  # a key that JSON lacks
            json.dumps(data, default=str)
        return data
    except (RecursionError, ValueError) as error:
        raise ConfigError(f"{what} cannot be used: it refers to itself, or nests too deeply ({error})") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{what} is not YAML: {' '.join(str(error).split())}") from error


def write_yaml(data: Any) -> str:
    """Text that `read_yaml` reads back as the same data."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False)


def check_finite(value: Any, where: str) -> None:
    """Refuse infinite numbers and NaN anywhere in plain data.

    Raises:
        ConfigError: names the place.
    """
    if isinstance(value, dict):
        for name, inner in value.items():
            check_finite(inner, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            check_finite(inner, f"{where}.{i}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"config {where}: {value} is no finite number; give one, or quote it if it is a text")
