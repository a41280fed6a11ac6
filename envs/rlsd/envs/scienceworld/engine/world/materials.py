"""What things are made of: a table of facts, and the material of one thing with its present temperature."""

from __future__ import annotations

from dataclasses import dataclass

SOLID, LIQUID, GAS = "solid", "liquid", "gas"
STATES = (SOLID, LIQUID, GAS)


@dataclass(slots=True, kw_only=True)
class Material:
    """Temperatures in °C."""

    substance: str
    names: dict[str, str]
    """Names of a thing by its state of matter; empty: its name stays."""
    color: str
    temperature: float
    heat_conductivity: float
    state: str
    boiling_point: float
    melting_point: float
    combustion_point: float
    conductive: bool
    """For electricity."""
    friction: float
    burning: bool = False
    burned: bool = False
    """It is on fire, or has been."""
    burn_ticks: int = 100
    """Ticks it burns for; 0 for what cannot burn any more."""


def material(name: str, *, temperature: float | None = None) -> Material:
    """A new material by its name in the table."""
    substance, names, color, start, heat, state, boils, melts, burns, conductive, friction = _TABLE[name]
    ash = name == "ash"
    return Material(
        substance=substance,
        names=dict(zip(STATES, names)),
        color=color,
        temperature=start if temperature is None else temperature,
        heat_conductivity=heat,
        state=state,
        boiling_point=boils,
        melting_point=melts,
        combustion_point=burns,
        conductive=conductive,
        friction=friction,
        burned=ash,
        burn_ticks=0 if ash else 100,
    )


_Row = tuple[str, tuple[str, ...], str, float, float, str, float, float, float, bool, float]
_FACTS = """
air | solid air, liquid air, air | clear | 10 0.01 gas -194 -215 100000 no 0
sodium | = | grey | 10 0.2 solid 881 98 100000 yes 0
metal | = | grey | 10 1 solid 2000 1000 100000 yes 0.5
aluminum | = | grey | 10 1 solid 2470 660 100000 yes 0.45
brass | = | brown | 10 1 solid 1100 900 100000 yes 0.5
bronze | = | brown | 10 1 solid 2300 910 100000 yes 0.4
caesium | solid caesium, liquid caesium, gaseous caesium | gold | 10 1 solid 671 29 100000 yes 0.5
copper | = | brown | 10 1 solid 2500 1083 100000 yes 0.6
gallium | = | silver | 10 1 liquid 2400 30 100000 yes 0
gold | = | brown | 10 1 solid 2700 1063 100000 yes 0
iron | = | grey | 10 1 solid 2862 1538 100000 yes 0.7
lead | = | grey | 10 1 solid 1740 327 100000 yes 0.43
mercury | solid mercury, liquid mercury, gaseous mercury | silver | 10 1 liquid 357 -39 100000 yes 0.1
platinum | = | grey | 10 1 solid 4400 1770 100000 yes 0.8
silicon | = | grey | 10 1 solid 2600 1420 100000 yes 0
steel | = | grey | 10 1 solid 2900 1400 100000 yes 0.6
tin | = | grey | 10 1 solid 2602 232 100000 yes 0.3
titanium | = | grey | 10 1 solid 3200 1670 100000 yes 0
zinc | = | brown | 10 1 solid 906 419 100000 yes 0.62
glass | = | clear | 10 1 solid 2200 1400 100000 no 0.2
rust | - | red | 10 0.9 solid 100001 100000 100000 no 0.7
plastic | = | white | 10 1 solid 300 200 100000 no 0.1
ceramic | = | white | 10 0.02 solid 10001 2000 10000 no 0.65
wood | - | brown | 10 0.5 solid 10001 10000 350 no 0.2
paper | - | white | 10 0.5 solid 10001 10000 210 no 0.2
sandpaper | - | brown | 10 0.5 solid 10001 10000 230 no 0.98
cotton cloth (cloth) | - | white | 10 0.1 solid 10001 10000 300 no 0.3
rubber | = | black | 10 0.5 solid 10001 180 260 no 0.95
water | ice, water, steam | clear | 10 0.5 liquid 100 0 100000 no 0.1
orange juice | solid orange juice, orange juice, gaseous orange juice | orange | 10 0.5 liquid 100 0 100000 no 0.1
apple juice | solid apple juice, apple juice, gaseous apple juice | yellow | 10 0.5 liquid 160 -2 100000 no 0.1
soil | - | brown | 10 0.5 solid 10001 10000 10000 no 0.3
plant matter | - | green | 10 0.5 solid 10001 10000 200 no 0.3
flower matter | - | purple | 10 0.5 solid 10001 10000 200 no 0.3
pollen matter | - | yellow | 10 0.5 solid 10001 10000 200 no 0.5
chocolate | solid chocolate, liquid chocolate, gaseous chocolate | brown | 10 0.5 solid 100000 30 95 no 0.32
sugar | - | white | 10 0.5 solid 100000 186 350 no 0.7
marshmallow | = | white | 10 0.5 solid 100000 36 350 no 0.7
soap | = | white | 10 0.5 solid 100000 140 537 no 0.05
ice cream | = | white | -15 0.5 solid 101 -10 100000 no 0.1
flour | - | white | 10 0.5 solid 10001 10000 380 no 0.5
jam | - | red | 10 0.5 solid 10001 10000 400 no 0.5
dough | - | white | 10 0.5 solid 10001 10000 380 no 0.5
nut | - | brown | 10 0.5 solid 10001 10000 400 no 0.5
ash | - | grey | 10 0.5 solid 10001 10000 10002 no 0.9
sodium chloride | = | white | 10 0.2 solid 1465 801 100000 no 0.73
acetic acid | solid acetic acid, acetic acid, gaseous acetic acid | clear | 10 0.2 solid 119 17 100000 no 0.1
sodium bicarbonate | - | white | 10 0.2 solid 10001 10000 100 no 0.73
sodium acetate | sodium bicarbonate, sodium bicarbonate, sodium bicarbonate | clear | 10 0.5 solid 881 324 100000 no 0.5
salt water | solid salt water, salt water, gaseous salt water | white | 10 0.2 solid 110 -2 100000 yes 0.15
soapy water | solid soapy water, soapy water, gaseous soapy water | white | 10 0.2 solid 105 -1 100000 no 0.06
sugar water | solid sugar water, sugar water, gaseous sugar water | white | 10 0.2 solid 112 -3 100000 no 0.06
brick | - | red | 10 0.1 solid 100001 1500 100000 no 0.9
generic paint (whitepaint) | paint | white | 10 0.2 liquid 10000 0 293 no 0.3
white paint (whitepaint) | paint | white | 10 0.2 liquid 10000 0 293 no 0.3
black paint (blackpaint) | paint | black | 10 0.2 liquid 10000 0 293 no 0.3
red paint (redpaint) | paint | red | 10 0.2 liquid 10000 0 293 no 0.3
blue paint (bluepaint) | paint | blue | 10 0.2 liquid 10000 0 293 no 0.3
yellow paint (yellowpaint) | paint | yellow | 10 0.2 liquid 10000 0 293 no 0.3
violet paint (violetpaint) | paint | violet | 10 0.2 liquid 10000 0 293 no 0.3
green paint (greenpaint) | paint | green | 10 0.2 liquid 10000 0 293 no 0.3
orange paint (orangepaint) | paint | orange | 10 0.2 liquid 10000 0 293 no 0.3
brown paint (brownpaint) | paint | brown | 10 0.2 liquid 10000 0 293 no 0.3
yellow orange paint (yellow-orangepaint) | paint | yellow-orange | 10 0.2 liquid 10000 0 293 no 0.3
red orange paint (red-orangepaint) | paint | red-orange | 10 0.2 liquid 10000 0 293 no 0.3
violet red paint (violet-redpaint) | paint | violet-red | 10 0.2 liquid 10000 0 293 no 0.3
blue violet paint (blue-violetpaint) | paint | blue-violet | 10 0.2 liquid 10000 0 293 no 0.3
green blue paint (green-bluepaint) | paint | green-blue | 10 0.2 liquid 10000 0 293 no 0.3
yellow green paint (yellow-greenpaint) | paint | yellow-green | 10 0.2 liquid 10000 0 293 no 0.3
unknown friction material (unknown material) | - | grey | 10 0.1 solid 100002 100001 100000 no 0
unknown friction material a (unknown material A) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.1
unknown friction material b (unknown material B) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.7
unknown friction material c (unknown material C) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.4
unknown friction material d (unknown material D) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.6
unknown friction material e (unknown material E) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.2
unknown friction material f (unknown material F) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.8
unknown friction material g (unknown material G) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.3
unknown friction material h (unknown material H) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.9
unknown friction material j (unknown material J) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.9
default friction material (unknown material J) | - | grey | 10 0.1 solid 100002 100001 100000 no 0.5
"""
"""A line each: name (its substance, where that differs) | names as solid, liquid, gas ("=": the substance, "liquid ..."
and "gaseous ..."; "-": the name stays) | color | temperature, heat conductivity, state, boiling, melting and combustion
point, whether it conducts electricity, friction."""


def _read(line: str) -> tuple[str, _Row]:
    left, names, color, numbers = (part.strip() for part in line.split("|"))
    name, _, rest = left.partition(" (")
    substance = rest.removesuffix(")") or name
    told = {
        "=": (substance, f"liquid {substance}", f"gaseous {substance}"),
        "-": (),
        "paint": (f"dried {color} paint", f"{color} paint", f"gaseous {color} paint"),
    }
    start, heat, state, boils, melts, burns, conductive, friction = numbers.split()
    row = (
        substance, told[names] if names in told else tuple(names.split(", ")), color, float(start), float(heat), state,
        float(boils), float(melts), float(burns), conductive == "yes", float(friction),
    )  # fmt: skip
    return name, row


_TABLE: dict[str, _Row] = dict(_read(line) for line in _FACTS.strip().splitlines())
