"""Relations between the entities of the encyclopedia, with all their wording.

A relation gives every entity of its kind exactly one value, which its article states once; so a chain of relations from
a named entity has exactly one answer. `{x}` is the subject, `{v}` the value. Articles and questions use different words
for the same relation, and each has several ways to put it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["person", "town", "region", "work", "academy", "river", "date", "year", "number"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """Subject kind → value kind, in words."""

    name: str
    subject: Kind
    value: Kind
    says: tuple[str, ...]
    """Sentences of the subject's article; "{x}" begins most of them and may become a pronoun."""
    asks: tuple[str, ...]
    """Whole questions."""
    called: tuple[str, ...] = ()
    """Noun phrases for the value; empty if no question continues from here."""
    query: str = ""
    """A word or two that a searcher adds to the subject's name."""


RELATIONS: tuple[Relation, ...] = (
    Relation(
        name="teacher", subject="person", value="person", query="teacher",
        says=("{x} learned the craft from {v}.", "{x} was a pupil of {v}.", "As a child {x} took lessons with {v}."),
        asks=("Who taught {x}?", "Who was the teacher of {x}?", "Under whom did {x} study?"),
        called=("the teacher of {x}", "the one who taught {x}"),
    ),
    Relation(
        name="spouse", subject="person", value="person", query="married",
        says=("{x} shared a house with {v} for life.", "{x} exchanged rings with {v}.",
              "The wedding of {x} and {v} was talked about for years."),
        asks=("Who was {x} married to?", "Who was the spouse of {x}?", "To whom was {x} wed?"),
        called=("the spouse of {x}", "the person {x} was married to"),
    ),
    Relation(
        name="birthplace", subject="person", value="town", query="born in",
        says=("{x} came into the world in {v}.", "{x} was a native of {v}.",
              "The family of {x} lived in {v} at the birth."),
        asks=("In which town was {x} born?", "What is the birthplace of {x}?", "Where was {x} born?"),
        called=("the birthplace of {x}", "the town where {x} was born"),
    ),
    Relation(
        name="born", subject="person", value="date", query="date of birth",
        says=("{x} first saw daylight on {v}.", "The parish book gives {v} for the birth of {x}."),
        asks=("When was {x} born?", "What is the date of birth of {x}?", "On what day was {x} born?"),
    ),
    Relation(
        name="school", subject="person", value="academy", query="studied at",
        says=("{x} was enrolled at {v}.", "{x} spent the student years at {v}.",
              "A diploma of {v} hung over the desk of {x}."),
        asks=("Where did {x} study?", "Which academy did {x} attend?"),
        called=("the academy that {x} attended", "the school of {x}"),
    ),
    Relation(
        name="region", subject="town", value="region", query="lies in region",
        says=("{x} belongs to {v}.", "{x} is a market town of {v}.", "On maps {x} is drawn within {v}."),
        asks=("In which region is {x}?", "Which region is {x} located in?"),
        called=("the region around {x}", "the region in which {x} lies"),
    ),
    Relation(
        name="founder", subject="town", value="person", query="founded by",
        says=("{x} goes back to {v}, who laid the first stone.", "{v} drew the first streets of {x}.",
              "{x} owes its beginnings to {v}."),
        asks=("Who founded {x}?", "Who was the founder of {x}?"),
        called=("the founder of {x}", "the person who founded {x}"),
    ),
    Relation(
        name="town_year", subject="town", value="year", query="year founded",
        says=("{x} received its charter in {v}.", "The charter of {x} is dated {v}."),
        asks=("In what year was {x} chartered?", "When did {x} become a chartered town?"),
    ),
    Relation(
        name="river", subject="town", value="river", query="river",
        says=("The {v} runs past {x}.", "{x} was built along the {v}.", "Barges reach {x} on the {v}."),
        asks=("Which river flows through {x}?", "On which river does {x} stand?"),
        called=("the river of {x}", "the river that flows through {x}"),
    ),
    Relation(
        name="capital", subject="region", value="town", query="capital",
        says=("{x} is governed from {v}.", "The council of {x} sits in {v}.", "{v} is the seat of power in {x}."),
        asks=("What is the capital of {x}?", "Which town is the capital of {x}?"),
        called=("the capital of {x}", "the capital town of {x}"),
    ),
    Relation(
        name="ruler", subject="region", value="person", query="ruler",
        says=("For a generation {v} held the reins in {x}.", "{x} answered to {v} in those years."),
        asks=("Who ruled {x}?", "Who was the ruler of {x}?"),
        called=("the ruler of {x}", "the person who ruled {x}"),
    ),
    Relation(
        name="author", subject="work", value="person", query="author",
        says=("{x} is a book by {v}.", "{x} came from the pen of {v}.", "{v} published {x}."),
        asks=("Who wrote {x}?", "Who is the author of {x}?"),
        called=("the author of {x}", "the writer of {x}"),
    ),
    Relation(
        name="setting", subject="work", value="town", query="set in",
        says=("The story of {x} unfolds in {v}.", "{x} takes its readers to {v}."),
        asks=("In which town is {x} set?", "Where is {x} set?"),
        called=("the town in which {x} is set", "the setting of {x}"),
    ),
    Relation(
        name="dedicated", subject="work", value="person", query="dedicated to",
        says=("On its first page {x} thanks {v}.", "{x} bears an inscription to {v}."),
        asks=("To whom is {x} dedicated?", "Who is the dedicatee of {x}?"),
        called=("the dedicatee of {x}", "the person to whom {x} is dedicated"),
    ),
    Relation(
        name="work_year", subject="work", value="year", query="year published",
        says=("{x} left the printer in {v}.", "{x} was in the shops by {v}."),
        asks=("In what year was {x} published?", "When did {x} appear?"),
    ),
    Relation(
        name="head", subject="academy", value="person", query="first head",
        says=("{v} was the first to run {x}.", "{x} opened under {v}."),
        asks=("Who first headed {x}?", "Who was the first head of {x}?"),
        called=("the first head of {x}", "the person who first headed {x}"),
    ),
    Relation(
        name="seat", subject="academy", value="town", query="located in town",
        says=("{x} stands in {v}.", "The halls of {x} are a landmark of {v}."),
        asks=("In which town is {x}?", "Where is {x} located?"),
        called=("the home town of {x}", "the town where {x} is located"),
    ),
    Relation(
        name="pupils", subject="academy", value="number", query="number of pupils",
        says=("{x} takes in {v} pupils.", "There are {v} places at {x}."),
        asks=("How many pupils does {x} have?", "What is the number of pupils at {x}?"),
    ),
    Relation(
        name="length", subject="river", value="number", query="length kilometres",
        says=("{x} covers {v} kilometres from spring to mouth.", "A barge on {x} travels {v} kilometres in all."),
        asks=("How many kilometres long is {x}?", "What is the length of {x} in kilometres?"),
    ),
    Relation(
        name="mouth", subject="river", value="town", query="mouth at town",
        says=("{x} meets the sea at {v}.", "The last bridge over {x} is that of {v}, by the sea."),
        asks=("At which town does {x} reach the sea?", "Which town lies at the mouth of {x}?"),
        called=("the town at the mouth of {x}", "the town where {x} reaches the sea"),
    ),
)  # fmt: skip

BY_NAME = {relation.name: relation for relation in RELATIONS}
KINDS: tuple[Kind, ...] = ("person", "town", "region", "work", "academy", "river")
"""Kinds that have articles."""
OPENINGS: dict[str, tuple[str, ...]] = {
    "person": ("{x} was a well-known {trade}.", "{x} was a {trade}.", "{x} made a living as a {trade}."),
    "town": ("{x} is a town.", "{x} is a quiet town."),
    "region": ("{x} is a region of wide fields.", "{x} is a region."),
    "work": ("{x} is a novel.", "{x} is a play.", "{x} is a book of tales."),
    "academy": ("{x} is a place of learning.", "{x} is a school."),
    "river": ("{x} is a stream.", "{x} is a slow river."),
}
TRADES = ("painter", "physician", "mapmaker", "botanist", "composer", "judge", "clockmaker", "historian")
PRONOUNS: dict[str, str] = {
    "person": "this {trade}", "town": "the town", "region": "the region", "work": "the book", "academy": "the school",
    "river": "the river",
}  # fmt: skip
GATHERINGS = (
    "The {x} was held in {town}. Among those who came were {people}.",
    "For a week the {x} filled the streets of {town}. The guests included {people}.",
)
"""Paragraphs that name people without stating a fact that is asked for."""
REMARKS = (
    "A copy of {work} changed hands there.", "Much was said about {work}.", "Nobody agreed about {work}.",
)  # fmt: skip
MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
