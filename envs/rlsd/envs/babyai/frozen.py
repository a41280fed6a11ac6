"""What was measured once over the levels of minigrid 3.2, and stays: levels left out, digests of the panels."""

from __future__ import annotations

from types import MappingProxyType

_STRICT = "since most of its missions cannot be won (the first door of two counts as the wrong one when it is opened)"

BEYOND_THE_BOT = MappingProxyType(
    {
        "KeyInBox": "since the package's bot does not solve it (the key is in a box)",
        "OpenDoorsOrderN2Debug": _STRICT,
        "OpenDoorsOrderN4Debug": _STRICT,
    }
)
"""Level → why it is left out."""

LISTED = ("GoToRedBall", "GoToLocal", "PickupLoc", "PutNextLocal")
"""Levels whose panels `rlsd envs` lists; layouts of others take longer to make."""

FROZEN: MappingProxyType[str, tuple[str, str]] = MappingProxyType(
    {
        "ActionObjDoor": ("16a3e07aae02d198", "80888f07eb3a28cf"),
        "BlockedUnlockPickup": ("cc106cf676a4761c", "2a9d2adf58d10d8a"),
        "BossLevel": ("5ccec75376a21d21", "3301ad9c07cd5192"),
        "BossLevelNoUnlock": ("c9ea95e06e1aae09", "1cada3cb081721f0"),
        "FindObjS5": ("4c7f8277174b5be0", "3568282bf608fe64"),
        "FindObjS6": ("b150e76de8dbca64", "f3ddca6a323160b8"),
        "FindObjS7": ("26812647bfb1c4ff", "114cdee3770efd29"),
        "GoTo": ("3930110eb59be65a", "407df113f9c44c01"),
        "GoToDoor": ("4b5349c4f5d12d68", "2420e5d2733914ee"),
        "GoToLocal": ("677454fd6ea141e5", "3a30abf5f9b4e3c5"),
        "GoToLocalS5N2": ("5682104ed94c66bd", "017899e11238385a"),
        "GoToLocalS6N2": ("6c9d7403299c6fd2", "b3df1df42722e6de"),
        "GoToLocalS6N4": ("5b7d0bc37db68e2c", "0c8ada96097ba999"),
        "GoToLocalS7N4": ("13795d28151696b6", "d0477cebda43fd0b"),
        "GoToLocalS8N2": ("c30a5f34c42c0e1e", "2ce79eb7d076801e"),
        "GoToLocalS8N6": ("ae5f47ae10909d18", "a0faa52cfe96970a"),
        "GoToObjMazeS4R2": ("1043a793a0909f80", "b727909a88957514"),
        "GoToObjS4": ("b03e237c5774dfc4", "c85dc92e6a0791ec"),
        "GoToRedBall": ("bfbcd266873f2a42", "593476bb8d1a9bfd"),
        "OpenDoorColor": ("f41525539d6e743d", "a5c1e761996bbd4b"),
        "OpenDoorDebug": ("52a29d2227d2f83f", "aa64d3869dad68b6"),
        "OpenDoorLoc": ("07743115f64e23b4", "440094a6b099de96"),
        "PickupDist": ("b9e16e9decc40863", "79c39b558e6fb579"),
        "PickupDistDebug": ("5293e73db180fd58", "4badd30d1e164e9f"),
        "PickupLoc": ("03d642aa2c0f2ed4", "141953962a3e4e03"),
        "PutNextLocal": ("3fd613682816be3e", "68b9fb405e7adc67"),
        "PutNextLocalS5N3": ("03f672dff901ede1", "51375aac32200fdf"),
        "PutNextLocalS6N4": ("c984ae7c1ff5fd51", "2a5efef9444fbd6c"),
        "PutNextS6N3Carrying": ("930c2e29993b1ebf", "aef975b462db7118"),
    }
)
"""Level → digests of its panels valid and test (`Panel.of` over the whole split)."""
