"""What a thing may be able to do: hold others, be switched, be used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Holder:
    """Whether things can be put in."""

    holds: bool
    is_open: bool
    closable: bool


def closed_holder() -> Holder:
    return Holder(True, False, True)


def open_holder() -> Holder:
    return Holder(True, True, False)


def no_holder() -> Holder:
    return Holder(False, False, False)


@dataclass(slots=True)
class Device:
    """What can be switched or used."""

    activable: bool = False
    activated: bool = False
    usable: bool = False
    broken: bool = False
