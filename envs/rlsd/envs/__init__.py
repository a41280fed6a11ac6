"""Text environments: the contract, the shipped environments, and how to open and check any of them.

Importing this package registers every shipped id with Gymnasium.
"""

from rlsd.envs.checker import Finding, check_env
from rlsd.envs.core import AnyText, Hindsight, Info, Panel, Rewindable, Task, TextEnv
from rlsd.envs.errors import DataError, EnvError, GameFileError, RlsdError, TaskError
from rlsd.envs.registry import known, make, register, register_shipped

register_shipped()

__all__ = [
    "AnyText",
    "DataError",
    "EnvError",
    "Finding",
    "GameFileError",
    "Hindsight",
    "Info",
    "Panel",
    "Rewindable",
    "RlsdError",
    "Task",
    "TaskError",
    "TextEnv",
    "check_env",
    "known",
    "make",
    "register",
]
