"""Usual places: per object type the receptacle types that contain it, most likely first.

Counted over the published training games only: the share of receptacles of a type that contain such an object,
halved for those that must be opened first; long tails are cut.
"""

from __future__ import annotations

_TABLE = """
alarmclock: diningtable desk countertop dresser sidetable shelf
apple: diningtable sidetable garbagecan fridge countertop sinkbasin microwave
book: bed coffeetable desk diningtable countertop sofa dresser armchair tvstand sidetable cabinet drawer shelf
bowl: desk coffeetable diningtable dresser tvstand fridge countertop shelf sidetable sinkbasin microwave
box: diningtable coffeetable sofa desk tvstand ottoman sidetable dresser armchair cabinet shelf
bread: diningtable countertop sidetable fridge
butterknife: diningtable countertop sidetable sinkbasin drawer
candle: sidetable countertop toilet coffeetable cart tvstand diningtable dresser shelf cabinet drawer
cd: diningtable dresser desk sidetable garbagecan armchair drawer shelf cabinet safe
cellphone: bed desk diningtable coffeetable ottoman dresser tvstand countertop sofa sidetable armchair safe
cloth: bathtubbasin cart countertop dresser cabinet sinkbasin toilet shelf drawer sidetable
creditcard: desk dresser diningtable tvstand sofa countertop coffeetable sidetable armchair ottoman shelf
cup: diningtable sidetable fridge sinkbasin countertop microwave shelf cabinet
desklamp: sidetable desk dresser coffeetable shelf
dishsponge: bathtubbasin cart diningtable countertop toilet sinkbasin sidetable garbagecan shelf drawer
egg: diningtable sidetable garbagecan sinkbasin fridge countertop microwave
fork: diningtable countertop sidetable sinkbasin drawer
glassbottle: diningtable countertop sinkbasin garbagecan shelf fridge cabinet
handtowel: handtowelholder countertop
kettle: diningtable stoveburner countertop sinkbasin cabinet
keychain: desk dresser coffeetable diningtable tvstand sidetable ottoman safe sofa armchair shelf countertop
knife: diningtable countertop sidetable sinkbasin drawer
ladle: diningtable countertop sinkbasin drawer cabinet
laptop: bed countertop diningtable desk coffeetable sofa tvstand dresser ottoman armchair sidetable
lettuce: diningtable countertop sidetable fridge sinkbasin garbagecan
mug: desk coffeemachine dresser diningtable sidetable countertop fridge sinkbasin microwave shelf cabinet
newspaper: diningtable dresser coffeetable sofa ottoman sidetable armchair tvstand shelf
pan: countertop stoveburner diningtable fridge
pen: desk diningtable coffeetable dresser countertop sidetable tvstand shelf garbagecan drawer
pencil: desk diningtable coffeetable dresser sidetable countertop tvstand shelf garbagecan drawer
peppershaker: sidetable diningtable countertop shelf drawer cabinet
pillow: bed sofa armchair ottoman
plate: diningtable coffeetable countertop tvstand dresser sidetable fridge shelf sinkbasin cabinet
pot: stoveburner countertop diningtable fridge shelf
potato: diningtable countertop sidetable fridge sinkbasin garbagecan microwave
remotecontrol: countertop desk coffeetable tvstand dresser diningtable sofa ottoman sidetable armchair shelf
saltshaker: diningtable sidetable countertop shelf cabinet drawer
soapbar: sidetable countertop bathtubbasin toilet cart sinkbasin shelf garbagecan cabinet drawer
soapbottle: diningtable dresser toilet countertop sidetable cart garbagecan shelf cabinet
spatula: diningtable countertop sinkbasin sidetable drawer
spoon: diningtable sidetable countertop sinkbasin drawer
spraybottle: sidetable cart toilet countertop dresser diningtable shelf garbagecan cabinet
statue: coffeetable desk diningtable dresser tvstand countertop sidetable shelf
tissuebox: coffeetable desk countertop diningtable cart tvstand shelf sidetable dresser cabinet toilet drawer
toiletpaper: toilet sidetable countertop dresser cart toiletpaperhanger shelf garbagecan cabinet drawer
tomato: diningtable sidetable fridge countertop garbagecan sinkbasin
vase: dresser coffeetable desk diningtable tvstand countertop shelf sidetable cabinet
watch: tvstand desk diningtable dresser coffeetable sidetable shelf drawer
wateringcan: shelf coffeetable sidetable
winebottle: diningtable countertop garbagecan shelf sidetable cabinet fridge
"""

HABITS: dict[str, tuple[str, ...]] = {
    thing: tuple(places.split()) for thing, _, places in (line.partition(": ") for line in _TABLE.strip().splitlines())
}
"""Object type → receptacle types, most likely first."""

USUAL = (
    "diningtable",
    "countertop",
    "desk",
    "fridge",
    "dresser",
    "coffeetable",
    "bed",
    "cart",
    "tvstand",
    "sidetable",
    "sofa",
    "toilet",
    "sinkbasin",
    "bathtubbasin",
    "ottoman",
    "microwave",
    "shelf",
    "armchair",
    "handtowelholder",
    "garbagecan",
    "stoveburner",
    "drawer",
    "cabinet",
    "safe",
    "coffeemachine",
    "toiletpaperhanger",
    "toaster",
)
"""The order for an object type not in the table."""
