"""Tables for generated games: the furniture of a room, where objects lie, what can be done to them.

All are counted over the published training games (3,553 games in four kinds of room), so that a policy that learned
where objects are in generated games finds them in published ones, and vice versa. Objects that cannot be taken are
left out, except the few that stand on furniture.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

Room = Literal["kitchen", "livingroom", "bedroom", "bathroom"]

_FIXTURES: dict[Room, str] = {
    "kitchen": """
Cabinet 100 13.6 27, CoffeeMachine 100 1.0 1, CounterTop 100 2.3 4, DiningTable 57 1.3 3, Drawer 97 6.1 27,
Fridge 100 1.0 1, GarbageCan 100 1.0 1, Microwave 100 1.0 1, Safe 4 1.0 1, Shelf 20 3.0 3,
SideTable 11 1.0 1, SinkBasin 100 1.0 1, StoveBurner 100 4.1 6, Toaster 100 1.0 1,
""",
    "livingroom": """
ArmChair 92 1.4 3, Cabinet 16 4.4 8, CoffeeTable 83 1.2 2, Desk 1 1.0 1, DiningTable 48 1.2 2,
Drawer 78 5.1 21, Dresser 38 1.1 2, GarbageCan 100 1.0 1, Ottoman 12 1.0 1, Safe 1 1.0 1, Shelf 37 6.0 14,
SideTable 82 2.0 5, Sofa 100 1.2 2, TVStand 35 1.2 2,
""",
    "bedroom": """
ArmChair 19 1.6 3, Bed 100 1.2 2, Cabinet 16 2.7 4, CounterTop 3 1.0 1, Desk 70 1.1 2,
DiningTable 13 1.0 1, Drawer 96 6.1 17, Dresser 46 1.1 2, GarbageCan 100 1.0 1, LaundryHamper 28 1.0 1,
Safe 16 1.0 1, Shelf 68 4.4 14, SideTable 66 1.3 2,
""",
    "bathroom": """
BathtubBasin 67 1.0 1, Cabinet 44 4.4 9, Cart 8 1.0 1, CounterTop 86 1.2 2, Drawer 58 4.7 8,
Dresser 8 1.0 1, GarbageCan 100 1.0 1, HandTowelHolder 100 1.5 4, Shelf 25 2.0 4, SideTable 6 1.0 1,
SinkBasin 100 1.5 2, Toilet 100 1.0 1, ToiletPaperHanger 100 1.0 1, TowelHolder 100 1.3 2,
""",
}
"""Per room: type, share of rooms that have it in percent, mean number there, largest number."""

_THINGS: dict[Room, str] = {
    "kitchen": """
Apple 99 2.0 4: CounterTop 25 Fridge 24 DiningTable 15 Microwave 13 GarbageCan 12 SinkBasin 9 SideTable 2
Book 11 1.5 3: CounterTop 65 Cabinet 14 DiningTable 11 Drawer 5 Shelf 4
Bowl 100 2.0 4: Cabinet 36 CounterTop 21 Fridge 20 DiningTable 15 SinkBasin 3 Microwave 3 Shelf 2
Bread 100 1.6 4: CounterTop 55 DiningTable 31 Fridge 12 SideTable 1 GarbageCan 1
ButterKnife 95 1.9 4: CounterTop 59 DiningTable 27 Drawer 8 SinkBasin 5 SideTable 1
CellPhone 11 1.9 3: Drawer 43 CounterTop 41 DiningTable 17
CreditCard 9 2.0 3: CounterTop 46 Drawer 37 Shelf 17
Cup 100 2.0 4: Cabinet 23 CounterTop 21 Fridge 21 DiningTable 15 SinkBasin 9 Microwave 7 SideTable 2 Shelf 2
DishSponge 99 2.0 4: CounterTop 26 Cabinet 24 Drawer 21 DiningTable 13 SinkBasin 7 GarbageCan 5
    Shelf 3 SideTable 1
Egg 99 2.0 4: Fridge 25 CounterTop 24 SinkBasin 13 GarbageCan 13 DiningTable 12 Microwave 12 SideTable 2
Fork 98 2.0 4: CounterTop 44 DiningTable 24 Drawer 22 SinkBasin 9 SideTable 2
Glassbottle 23 2.0 4: Cabinet 31 CounterTop 27 DiningTable 14 SinkBasin 9 Fridge 9 GarbageCan 7 Shelf 4
HousePlant 36 1.1 2: CounterTop 77 DiningTable 23
Kettle 52 1.7 4: StoveBurner 41 CounterTop 25 Cabinet 24 DiningTable 7 SinkBasin 2
Knife 98 1.9 4: CounterTop 48 DiningTable 25 Drawer 21 SinkBasin 5 SideTable 1
Ladle 35 1.9 4: CounterTop 41 Cabinet 25 Drawer 18 DiningTable 14 SinkBasin 2
Lettuce 98 1.8 4: CounterTop 41 DiningTable 28 Fridge 23 SinkBasin 5 SideTable 2 GarbageCan 1
Mug 98 1.9 4: CounterTop 33 Cabinet 19 Fridge 16 DiningTable 12 Microwave 9 SinkBasin 7 Shelf 2
    SideTable 1 CoffeeMachine 1
Pan 100 1.4 3: StoveBurner 48 CounterTop 32 Cabinet 9 DiningTable 6 Fridge 5
PaperTowelRoll 35 1.0 1: CounterTop 57 DiningTable 16 GarbageCan 15 Shelf 9 SideTable 2
Pen 6 2.0 3: CounterTop 39 DiningTable 34 Drawer 21 GarbageCan 5
Pencil 7 1.8 3: Drawer 41 CounterTop 30 DiningTable 19 GarbageCan 10
PepperShaker 100 2.1 4: Cabinet 33 CounterTop 30 DiningTable 16 Drawer 15 Shelf 3 SideTable 2
Plate 97 1.8 4: Cabinet 40 CounterTop 30 DiningTable 16 Fridge 9 SinkBasin 2 Shelf 2 Microwave 1
Pot 100 1.6 3: StoveBurner 70 CounterTop 15 Fridge 5 DiningTable 5 Cabinet 4 SinkBasin 1
Potato 99 1.9 4: CounterTop 28 Fridge 26 DiningTable 17 SinkBasin 11 Microwave 10 GarbageCan 6 SideTable 1
SaltShaker 100 2.0 4: CounterTop 32 Cabinet 32 DiningTable 18 Drawer 14 Shelf 3 SideTable 2
SoapBottle 99 1.9 3: CounterTop 32 Cabinet 31 DiningTable 21 GarbageCan 10 Shelf 3 SideTable 1 Drawer 1
Spatula 100 1.9 4: CounterTop 45 DiningTable 25 Drawer 21 SinkBasin 9 SideTable 1
Spoon 99 2.0 4: CounterTop 38 Drawer 28 DiningTable 22 SinkBasin 11 SideTable 2
SprayBottle 7 1.9 3: CounterTop 33 Cabinet 33 DiningTable 22 GarbageCan 12
Statue 15 1.8 3: CounterTop 51 Shelf 44 DiningTable 5
Tomato 99 2.0 4: Fridge 33 CounterTop 30 DiningTable 20 GarbageCan 9 SinkBasin 7 SideTable 2
Vase 15 2.5 3: CounterTop 34 Shelf 32 Cabinet 31 DiningTable 3
WineBottle 42 2.0 4: CounterTop 37 Cabinet 25 DiningTable 24 GarbageCan 9 Shelf 3 Fridge 1
""",
    "livingroom": """
Book 26 1.8 4: CoffeeTable 29 Dresser 24 Sofa 17 ArmChair 11 DiningTable 9 SideTable 8 Drawer 1 TVStand 1
Bowl 11 1.8 4: DiningTable 37 CoffeeTable 27 TVStand 20 SideTable 9 Shelf 8
Box 86 1.4 3: DiningTable 26 Sofa 24 CoffeeTable 23 SideTable 8 Cabinet 4 Shelf 4 Dresser 3 ArmChair 3
    TVStand 3 Ottoman 1
Candle 9 2.4 3: SideTable 41 CoffeeTable 28 DiningTable 20 TVStand 6 Drawer 3 Dresser 2
CellPhone 21 2.0 4: Dresser 19 SideTable 17 CoffeeTable 17 Sofa 14 Drawer 13 DiningTable 9 ArmChair 4 Ottoman 4 Shelf 2
    TVStand 2 Desk 1
CreditCard 100 2.2 4: Sofa 19 CoffeeTable 15 Drawer 13 ArmChair 13 SideTable 10 DiningTable 9 TVStand 7 Dresser 7
    Shelf 5 Ottoman 1
DeskLamp 25 1.0 1: SideTable 91 CoffeeTable 9
HousePlant 66 1.0 1: SideTable 52 CoffeeTable 26 Dresser 11 DiningTable 6 TVStand 5
KeyChain 92 1.8 4: CoffeeTable 20 SideTable 16 Drawer 16 Sofa 12 ArmChair 9 TVStand 7 DiningTable 7 Dresser 6
    Shelf 5 Ottoman 1
Laptop 100 1.4 4: Sofa 27 CoffeeTable 25 DiningTable 21 Dresser 8 SideTable 7 TVStand 5 ArmChair 5 Ottoman 2
Newspaper 62 1.9 4: Sofa 20 CoffeeTable 18 DiningTable 17 SideTable 14 Shelf 11 Dresser 8 ArmChair 7 TVStand 3
    Drawer 2 Ottoman 1
Pen 20 2.0 4: CoffeeTable 34 Dresser 22 SideTable 20 TVStand 6 Drawer 6 GarbageCan 4 Shelf 4 DiningTable 4
Pencil 16 2.0 4: SideTable 32 CoffeeTable 27 Drawer 10 Dresser 7 GarbageCan 6 TVStand 6 Shelf 6 DiningTable 4
Pillow 100 1.1 3: Sofa 80 ArmChair 20
Plate 35 1.7 3: DiningTable 50 CoffeeTable 24 Shelf 13 SideTable 11 TVStand 2 Dresser 1
RemoteControl 97 2.0 4: CoffeeTable 24 Sofa 19 SideTable 13 DiningTable 11 Dresser 8 TVStand 8 ArmChair 8 Drawer 4
    Shelf 3 Ottoman 1
Statue 96 2.3 7: CoffeeTable 26 Shelf 20 DiningTable 20 SideTable 19 TVStand 9 Dresser 8
Television 71 1.0 1: TVStand 45 Dresser 43 CoffeeTable 9 SideTable 3
TissueBox 34 2.1 4: CoffeeTable 36 DiningTable 19 SideTable 19 Shelf 11 TVStand 8 Drawer 3
    Dresser 2 GarbageCan 1
Vase 49 3.0 6: Shelf 36 CoffeeTable 20 DiningTable 15 SideTable 12 Dresser 11 TVStand 5 Cabinet 2
Watch 49 2.1 4: CoffeeTable 26 Drawer 21 SideTable 18 DiningTable 11 Dresser 11 TVStand 10 Shelf 4
WateringCan 9 1.5 3: CoffeeTable 53 Shelf 38 SideTable 9
""",
    "bedroom": """
AlarmClock 99 1.7 4: Desk 34 Shelf 21 SideTable 19 Dresser 17 DiningTable 7 CounterTop 1
Book 100 1.9 4: Bed 51 Desk 19 Drawer 12 Dresser 5 SideTable 4 Cabinet 3 DiningTable 2 ArmChair 2 Shelf 2
Bowl 45 1.6 4: Desk 43 Shelf 30 Dresser 15 DiningTable 6 SideTable 4 CounterTop 2
Box 9 1.0 2: Desk 58 Shelf 42
CD 93 1.9 4: Drawer 28 Desk 20 Dresser 14 SideTable 13 GarbageCan 8 Shelf 7 DiningTable 6 Cabinet 2 ArmChair 2
CellPhone 100 2.1 4: Bed 29 Desk 18 Drawer 17 Dresser 10 SideTable 10 Shelf 8 DiningTable 3 ArmChair 3 Safe 1
    Cabinet 1 CounterTop 1
CreditCard 100 2.0 4: Drawer 29 Shelf 18 Desk 18 SideTable 16 Dresser 12 DiningTable 3 ArmChair 3 CounterTop 1
DeskLamp 71 1.1 2: Desk 35 SideTable 28 Dresser 25 Shelf 11
HousePlant 23 1.0 1: Shelf 51 Cabinet 19 Desk 19 Dresser 11
KeyChain 98 2.0 4: Drawer 27 Desk 18 SideTable 16 Shelf 16 Dresser 14 DiningTable 4 ArmChair 3
    Safe 2 Cabinet 1
Laptop 100 1.6 4: Bed 74 Desk 19 Dresser 4 DiningTable 2 ArmChair 1 CounterTop 1
Mug 49 1.9 3: Desk 36 Shelf 18 SideTable 16 Dresser 16 DiningTable 9 Cabinet 4 CounterTop 1
Pen 100 2.1 4: Desk 28 Drawer 18 Shelf 16 Dresser 15 SideTable 14 DiningTable 6 GarbageCan 2 CounterTop 1
Pencil 100 2.0 4: Desk 24 Drawer 18 SideTable 18 Shelf 17 Dresser 11 DiningTable 6 GarbageCan 5 CounterTop 1
Pillow 100 1.7 4: Bed 99 ArmChair 1
RemoteControl 12 1.9 3: Drawer 34 Desk 29 SideTable 15 CounterTop 8 ArmChair 6 DiningTable 4 Dresser 2 Shelf 1
Statue 15 1.4 3: Shelf 43 Dresser 27 Desk 25 SideTable 5
TeddyBear 27 1.0 1: Bed 100
TissueBox 14 1.9 4: Desk 37 Drawer 26 DiningTable 15 Shelf 12 SideTable 9 Dresser 2
Vase 6 2.2 4: Shelf 45 Dresser 36 Desk 11 SideTable 9
Watch 7 2.1 4: Drawer 31 Shelf 20 DiningTable 16 Desk 15 Dresser 11 SideTable 6
""",
    "bathroom": """
Candle 97 1.9 4: CounterTop 31 Toilet 30 Cabinet 13 Drawer 13 Shelf 7 SideTable 2 Cart 2 Dresser 1
Cloth 100 2.0 4: BathtubBasin 30 Cabinet 20 CounterTop 17 Drawer 15 SinkBasin 8 Shelf 4 Toilet 3
    Cart 1 Dresser 1
DishSponge 23 2.2 4: CounterTop 20 Drawer 20 BathtubBasin 18 SinkBasin 10 Shelf 10 Toilet 8 Cart 5
    Cabinet 5 GarbageCan 4
HandTowel 100 1.2 4: HandTowelHolder 96 CounterTop 4
PaperTowelRoll 13 1.0 1: CounterTop 35 Toilet 31 Shelf 17 GarbageCan 11 Cart 6
SoapBar 97 2.0 4: CounterTop 20 Toilet 16 SinkBasin 15 Cabinet 12 BathtubBasin 12 Drawer 11 GarbageCan 7 Shelf 4
    SideTable 2 Cart 1
SoapBottle 96 1.9 4: CounterTop 30 Toilet 24 Cabinet 20 Shelf 9 GarbageCan 9 Drawer 3 Dresser 2
    SideTable 1 Cart 1
SprayBottle 100 2.0 4: CounterTop 32 Toilet 27 Cabinet 16 GarbageCan 10 Shelf 7 Cart 4 SideTable 3 Dresser 2
TissueBox 25 1.9 4: CounterTop 36 Shelf 29 Drawer 20 Cabinet 5 Cart 4 SideTable 4 Toilet 3
ToiletPaper 99 2.0 4: Toilet 23 CounterTop 23 ToiletPaperHanger 12 Drawer 12 Cabinet 11 GarbageCan 9 Shelf 5 Dresser 2
    Cart 2 SideTable 1
Towel 100 1.1 2: TowelHolder 97 CounterTop 3
""",
}
"""Per room: the same four columns, then the initial places of the type, with weights in percent."""

_CAN_CONTAIN = """
ArmChair: Book Box CellPhone Cloth CreditCard KeyChain Laptop Newspaper Pillow RemoteControl
BathtubBasin: Cloth DishSponge HandTowel SoapBar
Bed: BaseballBat BasketBall Book CellPhone Laptop Pillow TennisRacket
Cabinet: Book Bowl Box CD Candle Cloth Cup DishSponge Glassbottle HandTowel Kettle Ladle Mug Newspaper Pan
    PepperShaker Plate Plunger Pot SaltShaker SoapBar SoapBottle SprayBottle TissueBox ToiletPaper Vase
    WateringCan WineBottle
Cart: Candle Cloth DishSponge HandTowel Plunger SoapBar SoapBottle SprayBottle TissueBox ToiletPaper
CoffeeMachine: Mug
CoffeeTable: Book Bowl Box Candle CellPhone CreditCard KeyChain Laptop Newspaper Pen Pencil Plate
    RemoteControl Statue TissueBox Vase Watch WateringCan
CounterTop: AlarmClock Apple Book Bowl Bread ButterKnife CD Candle CellPhone Cloth CreditCard Cup DishSponge
    Egg Fork Glassbottle HandTowel Kettle KeyChain Knife Ladle Laptop Lettuce Mug Pan Pen Pencil
    PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBar SoapBottle Spatula Spoon SprayBottle
    Statue TissueBox ToiletPaper Tomato Vase WineBottle
Desk: AlarmClock BasketBall Book Bowl Box CD CellPhone Cloth CreditCard KeyChain Laptop Mug Pen Pencil
    RemoteControl Statue TennisRacket TissueBox Vase Watch WateringCan
DiningTable: AlarmClock Apple BaseballBat BasketBall Book Bowl Box Bread ButterKnife CD Candle CellPhone
    Cloth CreditCard Cup DishSponge Egg Fork Glassbottle Kettle KeyChain Knife Ladle Laptop Lettuce Mug
    Newspaper Pan Pen Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBottle Spatula Spoon
    SprayBottle Statue TennisRacket TissueBox Tomato Vase Watch WateringCan WineBottle
Drawer: Book ButterKnife CD Candle CellPhone Cloth CreditCard DishSponge Fork HandTowel KeyChain Knife Ladle
    Newspaper Pen Pencil PepperShaker RemoteControl SaltShaker SoapBar SoapBottle Spatula Spoon SprayBottle
    TissueBox ToiletPaper Watch WateringCan
Dresser: AlarmClock BasketBall Book Bowl Box CD Candle CellPhone Cloth CreditCard KeyChain Laptop Mug
    Newspaper Pen Pencil Plate RemoteControl SprayBottle Statue TennisRacket TissueBox ToiletPaper Vase
    Watch WateringCan
Fridge: Apple Bowl Bread Cup Egg Glassbottle Lettuce Mug Pan Plate Pot Potato Tomato WineBottle
GarbageCan: Apple Bread CD Cloth DishSponge Egg HandTowel Lettuce Newspaper Pen Pencil Potato SoapBar
    SoapBottle SprayBottle TissueBox ToiletPaper Tomato WineBottle
HandTowelHolder: HandTowel
LaundryHamper: Cloth
Microwave: Apple Bowl Bread Cup Egg Glassbottle Mug Plate Potato Tomato
Ottoman: Book Box CellPhone CreditCard KeyChain Laptop Newspaper Pillow RemoteControl
Safe: CD CellPhone CreditCard KeyChain Statue Vase
Shelf: AlarmClock Book Bowl Box CD Candle CellPhone Cloth CreditCard Cup DishSponge Glassbottle HandTowel
    Kettle KeyChain Mug Newspaper Pen Pencil PepperShaker Plate Pot RemoteControl SaltShaker SoapBar
    SoapBottle SprayBottle Statue TissueBox ToiletPaper Vase Watch WateringCan WineBottle
SideTable: AlarmClock Apple BaseballBat BasketBall Book Bowl Box Bread ButterKnife CD Candle CellPhone Cloth
    CreditCard Cup DishSponge Egg Fork HandTowel Kettle KeyChain Knife Laptop Lettuce Mug Newspaper Pan Pen
    Pencil PepperShaker Plate Pot Potato RemoteControl SaltShaker SoapBar SoapBottle Spatula Spoon
    SprayBottle Statue TennisRacket TissueBox ToiletPaper Tomato Vase Watch WateringCan WineBottle
SinkBasin: Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Glassbottle HandTowel Kettle Knife Ladle
    Lettuce Mug Pan Plate Pot Potato SoapBar Spatula Spoon Tomato
Sofa: Book Box CellPhone CreditCard KeyChain Laptop Newspaper Pillow RemoteControl
StoveBurner: Kettle Pan Pot
TVStand: TissueBox
ToiletPaperHanger: ToiletPaper
Toilet: Candle Cloth DishSponge HandTowel SoapBar SoapBottle SprayBottle TissueBox ToiletPaper
TowelHolder: Towel
"""

ALWAYS_SHUT = frozenset(("Fridge", "Microwave"))
"""Receptacle types that can be opened in every game and start closed."""
SOMETIMES_SHUT = frozenset(("Cabinet", "Drawer", "Safe"))
"""Receptacle types of which a share (about 0.83) can be opened; the rest is always open."""
APPLIANCES = MappingProxyType({"clean": "SinkBasin", "heat": "Microwave", "cool": "Fridge"})
"""Treatment → the receptacle type it needs."""
NO_TARGETS = frozenset(("SinkBasin", "BathtubBasin", "LaundryHamper", "HandTowelHolder", "TowelHolder", "TVStand"))
"""Receptacle types no published goal names."""
SINGLE_USE = frozenset(
    ("Toaster", "TowelHolder", "HandTowelHolder", "ToiletPaperHanger", "CoffeeMachine", "LaundryHamper")
)
"""Receptacle types for at most one type of object: removed first when a game must be small."""

_PROPERTIES = MappingProxyType(
    {
        "cleanable": "Apple Bowl ButterKnife Cloth Cup DishSponge Egg Fork Kettle Knife Ladle Lettuce Mug Pan Plate "
        "Pot Potato SoapBar Spatula Spoon Tomato",
        "heatable": "Apple Bread Cup Egg Mug Plate Potato Tomato",
        "coolable": "Apple Bowl Bread Cup Egg Lettuce Mug Pan Plate Pot Potato Tomato WineBottle",
        "sliceable": "Apple Bread Egg Lettuce Potato Tomato",
        "toggleable": "DeskLamp FloorLamp",
        "isReceptacleObject": "Bowl Box Cup Mug Pan Plate Pot",
    }
)
_FIXED = frozenset(("DeskLamp", "FloorLamp", "HousePlant", "Television"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fixture:
    """Frequency of a receptacle type in a room.

    Example: Fixture(kind="Drawer", presence=0.97, mean=6.0, most=27)
    """

    kind: str
    presence: float
    """Share of the rooms of this sort that have one at all."""
    mean: float
    """Mean number in rooms that have any."""
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """Frequency of an object type in a room, and its places.

    Example: Thing(kind="Apple", presence=0.99, mean=2.0, most=4, homes={"Fridge": 25, "CounterTop": 24})
    """

    kind: str
    presence: float
    mean: float
    most: int
    homes: dict[str, int]
    """Receptacle type → weight, in percent of the objects of this type at the start of a game."""


@lru_cache(maxsize=1)
def fixtures() -> dict[str, dict[str, Fixture]]:
    """Room → receptacle type → its frequency. Do not modify the result."""
    table: dict[str, dict[str, Fixture]] = {}
    for room, text in _FIXTURES.items():
        rows = (entry.split() for entry in text.split(",") if entry.strip())
        table[room] = {
            kind: Fixture(kind=kind, presence=int(percent) / 100, mean=float(mean), most=int(most))
            for kind, percent, mean, most in rows
        }
    return table


@lru_cache(maxsize=1)
def things() -> dict[str, dict[str, Thing]]:
    """Room → object type → its frequency and places. Do not modify the result."""
    table: dict[str, dict[str, Thing]] = {}
    for room, text in _THINGS.items():
        table[room] = {}
        for line in _entries(text):
            head, homes = line.split(":")
            kind, percent, mean, most = head.split()
            words = homes.split()
            weights = {words[i]: int(words[i + 1]) for i in range(0, len(words), 2)}
            table[room][kind] = Thing(
                kind=kind, presence=int(percent) / 100, mean=float(mean), most=int(most), homes=weights
            )
    return table


@lru_cache(maxsize=1)
def can_contain() -> dict[str, frozenset[str]]:
    """Receptacle type → the object types that may be put in or on it. Do not modify the result."""
    rows = (line.split(":") for line in _entries(_CAN_CONTAIN))
    return {kind: frozenset(objects.split()) for kind, objects in rows}


@lru_cache(maxsize=256)
def properties(kind: str) -> frozenset[str]:
    """The PDDL properties of an object type: pickupable, cleanable, heatable, coolable, sliceable, toggleable,
    isReceptacleObject."""
    names = {name for name, kinds in _PROPERTIES.items() if kind in kinds.split()}
    return frozenset(names if kind in _FIXED else names | {"pickupable"})


def _entries(text: str) -> list[str]:
    """Lines of a table; an indented line continues the previous one."""
    return text.strip().replace("\n    ", " ").split("\n")
