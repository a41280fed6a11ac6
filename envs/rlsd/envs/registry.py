"""Open any environment by name: a registered id, a class, or one that an installed package advertises.

Packages advertise under the entry-point group `rlsd.envs`: the entry's name is the id, its value the class,
as in `"acme/Maze-v0" = "acme.maze:MazeEnv"`. An entry is loaded when its id is opened, not before.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

import gymnasium
from gymnasium.envs.registration import register as _gym_register
from gymnasium.envs.registration import registry

from rlsd.envs.core import TextEnv
from rlsd.envs.errors import EnvError, RlsdError, closest

GROUP = "rlsd.envs"
_SHIPPED = {
    "rlsd/ALFWorld-v0": "rlsd.envs.alfworld.env:ALFWorldEnv",
    "rlsd/Keys-v0": "rlsd.envs.keys:KeysEnv",
    "rlsd/WebShop-v0": "rlsd.envs.webshop.env:WebShopEnv",
