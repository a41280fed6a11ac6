"""One class letter per character for the word rules of UAX #29, as Lucene implements them.

Each character is looked up in the Unicode database once and cached. Emoji properties are those of
Emoji 11 and 12, which Lucene 8 and 9 carry; later versions of Unicode have taken the pictographic property from
stars, hearts and other old symbols.

| letter | stands for | letter | stands for |
|---|---|---|---|
| A | letter | E | emoji |
| H | Hebrew letter | B | emoji that takes a skin tone |
| L | letter that is an emoji too | D | skin tone |
| N | digit | R | regional indicator |
| K | katakana | # | # and * (keycap bases) |
| U | low line and its like | C | enclosing keycap |
| m | between letters (:) | X | extends the character before it |
| n | between digits (,) | Z | zero-width joiner |
| b | between either (.) | V | presentation selector |
| q | ' | T, t | tag, last tag |
| d | " | S | Thai, Lao, Khmer, Burmese and their like |
| i | Han ideograph | h | hiragana |
| s | vowel sign of such a script: extends, too | | |
"""

from __future__ import annotations

from functools import cache

_FIXED = {
    0x200D: "Z", 0xFE0E: "V", 0xFE0F: "V", 0x20E3: "C", ord("#"): "#", ord("*"): "#", 0xE007F: "t", 0xFE10: "n",
    0xFE14: "n", **dict.fromkeys((0xB8, *range(0x2E5, 0x2EC), 0x55A, 0x55F, 0x58A), " "),
}  # fmt: skip
"""Where Lucene's tables (Unicode 12) differ from later ones."""
_BREAKS = (
    ("A", r"\p{WB=ALetter}"), ("H", r"\p{WB=Hebrew_Letter}"), ("N", r"\p{WB=Numeric}"), ("K", r"\p{WB=Katakana}"),
    ("U", r"\p{WB=ExtendNumLet}"), ("m", r"\p{WB=MidLetter}"), ("n", r"\p{WB=MidNum}"), ("b", r"\p{WB=MidNumLet}"),
    ("q", r"\p{WB=Single_Quote}"), ("d", r"\p{WB=Double_Quote}"), ("S", r"\p{LB=SA}"), ("i", r"\p{Script=Han}"),
    ("h", r"\p{Script=Hiragana}"), ("X", r"[\p{WB=Extend}\p{WB=Format}]"),
)  # fmt: skip
_PICTOGRAPHIC = (
    (0xA9, 0xA9), (0xAE, 0xAE), (0x203C, 0x203C), (0x2049, 0x2049), (0x2122, 0x2122),
    (0x2139, 0x2139), (0x2194, 0x2199), (0x21A9, 0x21AA), (0x231A, 0x231B),
    (0x2328, 0x2328), (0x2388, 0x2388), (0x23CF, 0x23CF), (0x23E9, 0x23F3), (0x23F8, 0x23FA), (0x24C2, 0x24C2),
    (0x25AA, 0x25AB), (0x25B6, 0x25B6), (0x25C0, 0x25C0), (0x25FB, 0x25FE), (0x2600, 0x2605), (0x2607, 0x2612),
    (0x2614, 0x2685), (0x2690, 0x2705), (0x2708, 0x2712), (0x2714, 0x2714), (0x2716, 0x2716), (0x271D, 0x271D),
    (0x2721, 0x2721), (0x2728, 0x2728), (0x2733, 0x2734), (0x2744, 0x2744), (0x2747, 0x2747), (0x274C, 0x274C),
    (0x274E, 0x274E), (0x2753, 0x2755), (0x2757, 0x2757), (0x2763, 0x2767), (0x2795, 0x2797), (0x27A1, 0x27A1),
    (0x27B0, 0x27B0), (0x27BF, 0x27BF), (0x2934, 0x2935), (0x2B05, 0x2B07), (0x2B1B, 0x2B1C), (0x2B50, 0x2B50),
    (0x2B55, 0x2B55), (0x3030, 0x3030), (0x303D, 0x303D), (0x3297, 0x3297), (0x3299, 0x3299), (0x1F000, 0x1F0FF),
    (0x1F10D, 0x1F10F), (0x1F12F, 0x1F12F), (0x1F16C, 0x1F171), (0x1F17E, 0x1F17F), (0x1F18E, 0x1F18E),
    (0x1F191, 0x1F19A), (0x1F1AD, 0x1F1E5), (0x1F201, 0x1F20F), (0x1F21A, 0x1F21A), (0x1F22F, 0x1F22F),
    (0x1F232, 0x1F23A), (0x1F23C, 0x1F23F), (0x1F249, 0x1F3FA), (0x1F400, 0x1F53D), (0x1F546, 0x1F64F),
    (0x1F680, 0x1F6FF), (0x1F774, 0x1F77F), (0x1F7D5, 0x1F7FF), (0x1F80C, 0x1F80F), (0x1F848, 0x1F84F),
    (0x1F85A, 0x1F85F), (0x1F888, 0x1F88F), (0x1F8AE, 0x1F8FF), (0x1F90C, 0x1F93A), (0x1F93C, 0x1F945),
    (0x1F947, 0x1FFFD),
)  # fmt: skip
"""Extended_Pictographic of Emoji 12 (unicode.org/Public/emoji/12.0/emoji-data.txt)."""


class _Classes(dict[int, str]):
    """Code point → class letter, for `str.translate`; a space for what belongs to no word."""

    def __missing__(self, code: int) -> str:
        self[code] = letter = _classify(code)
        return letter


CLASSES = _Classes()


@cache
def _patterns() -> tuple[tuple[str, object], ...]:
    import regex  # late: only text beyond ASCII needs the Unicode database

    return tuple((letter, regex.compile(pattern)) for letter, pattern in _BREAKS)


@cache
def _modifier_base() -> object:
    import regex

    return regex.compile(r"\p{Emoji_Modifier_Base}")


@cache
def _extends() -> object:
    import regex

    return regex.compile(r"[\p{WB=Extend}\p{WB=Format}]")


def _classify(code: int) -> str:
    if code in _FIXED:
        return _FIXED[code]
    if 0x1F3FB <= code <= 0x1F3FF:
        return "D"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return "R"
    if 0xE0020 <= code <= 0xE007E:
        return "T"
    character = chr(code)
    word_class = next((letter for letter, pattern in _patterns() if pattern.match(character)), " ")  # type: ignore[attr-defined]
    if any(first <= code <= last for first, last in _PICTOGRAPHIC):
        if word_class == "A":
            return "L"
        return "B" if _modifier_base().match(character) else "E"  # type: ignore[attr-defined]
    if word_class == "S" and _extends().match(character):  # type: ignore[attr-defined]
        return "s"
    return word_class
