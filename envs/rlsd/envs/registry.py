"""Open any environment by name: a registered id, a class, or one that an installed package advertises.

Packages advertise under the entry-point group `rlsd.envs`: the entry's name is the id, its value the class,
as in `"acme/Maze-v0" = "acme.maze:MazeEnv"`. An entry is loaded when its id is opened, not before.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
import threading
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import load_env_creator, registry
from gymnasium.envs.registration import register as _gym_register

from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvError, RlsdError, closest

GROUP = "rlsd.envs"
HTTP_ARGUMENTS = {"split", "token", "timeout_s"}
"""Arguments that the client of a remote environment accepts."""
_IMPORTING = threading.RLock()
_imported: dict[Path, tuple[int, Any]] = {}
"""Modules of environment files, with the modification time they were read at."""
_SHIPPED = {
    "rlsd/ALFWorld-v0": "rlsd.envs.alfworld.env:ALFWorldEnv",
    "rlsd/BabyAI-v0": "rlsd.envs.babyai.env:BabyAIEnv",
    "rlsd/GEM-v0": "rlsd.envs.adapters.gem:GemEnv",
    "rlsd/Keys-v0": "rlsd.envs.key_door:KeysEnv",
    "rlsd/OpenEnv-v0": "rlsd.envs.adapters.openenv:OpenEnv",
    "rlsd/ScienceWorld-v0": "rlsd.envs.scienceworld.env:ScienceWorldEnv",
    "rlsd/SearchQA-v0": "rlsd.envs.searchqa.env:SearchQAEnv",
    "rlsd/SkyRLGym-v0": "rlsd.envs.adapters.skyrl_gym:SkyRLGymEnv",
    "rlsd/TextArena-v0": "rlsd.envs.adapters.textarena:TextArenaEnv",
    "rlsd/TextCraft-v0": "rlsd.envs.textcraft.env:TextCraftEnv",
    "rlsd/TextWorld-v0": "rlsd.envs.adapters.textworld:TextWorldEnv",
    "rlsd/ToyText-v0": "rlsd.envs.adapters.toy_text:ToyTextEnv",
    "rlsd/WebShop-v0": "rlsd.envs.webshop.env:WebShopEnv",
}


def register(env_id: str, entry_point: str | Callable[..., TextEnv], **kwargs: Any) -> None:
    """Make `gymnasium.make(env_id)` open the class; `kwargs` become its default arguments.

    It is not wrapped: a TextEnv truncates itself and is checked by `check_env`. An existing id is replaced.
    """
    registry.pop(env_id, None)
    _gym_register(env_id, entry_point=entry_point, kwargs=kwargs, order_enforce=False, disable_env_checker=True)


def register_shipped() -> None:
    """Register the environments of this package; nothing heavy is imported."""
    for env_id, entry_point in _SHIPPED.items():
        if env_id not in registry:
            register(env_id, entry_point)


def known() -> list[str]:
    """Ids that `make` opens: the registered rlsd/ ids and the advertised ones."""
    ours = {i for i in registry if i.startswith("rlsd/")} | set(_SHIPPED)
    return sorted(ours | set(_advertised()))


def make(env_id: str, **kwargs: Any) -> TextEnv:
    """Open an environment.

    Args:
        env_id: a registered id ("rlsd/Keys-v0"), "module:Class", "path/to/file.py:Class", or the address of
            `rlsd serve env` ("http://127.0.0.1:8017").
        kwargs: the environment's own arguments.

    Raises:
        EnvError: an unknown id (names the closest), a class that cannot be imported, an advertised
            environment that is broken (names the entry), or something that is not a TextEnv.
    """
    if env_id.startswith(("http://", "https://")):
        from rlsd.envs.remote.http import HttpEnv

        if more := sorted(set(kwargs) - HTTP_ARGUMENTS):
            raise EnvError(
                f"{env_id} takes no {', '.join(more)}: set them on the server (`rlsd serve env ID --arg …`); "
                "for a config that has some, add --set env.kwargs={}"
            )
        return _call(env_id, lambda **arguments: HttpEnv(env_id, **arguments), kwargs)
    if env_id in registry:
        return _bare(env_id, _call(env_id, lambda **given: _registered(env_id, given), kwargs))
    advertised = _advertised().get(env_id)
    if advertised is not None:
        try:
            factory = advertised.load()
        except Exception as error:  # report any fault of another package by its name
            raise EnvError(
                f"the environment {env_id!r}, advertised as {advertised.value!r}, cannot be loaded: "
                f"{type(error).__name__}: {error}. Fix or uninstall the package that provides it."
            ) from error
        return _bare(env_id, _call(env_id, factory, kwargs))
    if ":" in env_id:
        return _bare(env_id, _call(env_id, _find_class(env_id), kwargs))
    raise EnvError(f"unknown environment {env_id!r}{closest(env_id, known())}")


def _advertised() -> dict[str, EntryPoint]:
    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _find_class(name: str) -> Any:
    where, _, attribute = name.rpartition(":")
    try:
        module = _import_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
    except Exception as error:
        raise EnvError(f"{name!r}: {where} cannot be imported: {type(error).__name__}: {error}") from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        classes = [n for n, v in vars(module).items() if isinstance(v, type)]
        raise EnvError(f"{where} has no class {attribute!r}{closest(attribute, classes)}") from None


def _import_file(path: Path) -> Any:
    """The module of a file: run once, and again when the file has changed."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    path = path.resolve()
    with _IMPORTING:
        changed = path.stat().st_mtime_ns
        if path not in _imported or _imported[path][0] != changed:
            _imported[path] = changed, _run_file(path)
        return _imported[path][1]


def _run_file(path: Path) -> Any:
    name = f"_rlsd_env_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(name)
    sys.modules[name] = module  # dataclasses, pickle and type hints look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        if before is not None:
            sys.modules[name] = before
        raise
    return module


def _registered(env_id: str, kwargs: dict[str, Any]) -> Any:
    """An environment of gymnasium's registry; one that is no TextEnv is refused before it gets arguments that it does
    not know."""
    spec = registry[env_id]
    factory = load_env_creator(spec.entry_point) if isinstance(spec.entry_point, str) else spec.entry_point
    if isinstance(factory, type):
        if not issubclass(factory, TextEnv):
            raise _no_text_env(env_id, factory)
        _check_names(env_id, factory, {**spec.kwargs, **kwargs})
    return gymnasium.make(env_id, disable_env_checker=True, **kwargs)


def _call(name: str, factory: Any, kwargs: dict[str, Any]) -> Any:
    if not callable(factory):
        raise EnvError(f"{name!r} is a {type(factory).__name__}, expected a TextEnv class or a function that makes one")
    if isinstance(factory, type):
        _check_names(name, factory, kwargs)
    try:
        return factory(**kwargs)
    except RlsdError:
        raise
    except (TypeError, ValueError, KeyError, ImportError, gymnasium.error.Error) as error:
        if isinstance(error, KeyError) and error.args[:1] not in [(value,) for value in kwargs.values()]:
            raise  # a fault inside the class: only a value that was given, such as a split, is the caller's
        given = ", ".join(f"{key}={value!r}" for key, value in sorted(kwargs.items()))
        told = error if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: {error}"
        raise EnvError(f"{name!r} cannot be opened with {given or 'no arguments'}: {told}") from error


def _check_names(name: str, factory: type, kwargs: dict[str, Any]) -> None:
    """
    Raises:
        EnvError: an argument that the class does not have; names the closest.
    """
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return  # it does not say
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return
    known = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    if unknown := sorted(set(kwargs) - set(known)):
        raise EnvError(f"{name!r} cannot be opened with {unknown[0]!r}: no such argument{closest(unknown[0], known)}")


def _no_text_env(name: str, kind: type) -> EnvError:
    return EnvError(
        f"{name!r} made a {kind.__name__}, expected an rlsd.envs.TextEnv; derive your class from it (reset, step and "
        "tasks are all it needs)"
    )


def _bare(name: str, env: Any) -> TextEnv:
    inner = getattr(env, "unwrapped", env)
    if not isinstance(inner, TextEnv):
        raise _no_text_env(name, type(inner))
    layer = env
    while layer is not inner:
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            raise EnvError(
                f"{name!r} is registered with max_episode_steps; a TextEnv truncates itself: register it without"
            )
        layer = layer.env
    return inner
