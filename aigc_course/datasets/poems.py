"""Regular Tang poems in simplified characters, with readings and meanings for who reads no Chinese.

A poem is 4 or 8 lines of 5 or 7 characters; a comma stands after odd lines and a full stop after even ones.
Shapes: N poems in a part; K characters in all.   Taught in chapters/10_gpt2.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache

import numpy as np

from aigc_course.datasets.files import load_arrays
from aigc_course.runtime import CourseError

FORMS = {"5x4": (5, 4), "5x8": (5, 8), "7x4": (7, 4), "7x8": (7, 8)}  # characters of a line, lines
FORM_NAMES = {"5x4": "五绝", "5x8": "五律", "7x4": "七绝", "7x8": "七律"}
STOPS = "，。"
MARKS = {5: "⑤", 7: "⑦", 4: "④", 8: "⑧"}
LEVEL, OBLIQUE = 1, 2  # bits of a tone: 3 is a character read both ways, 0 one of unknown tone

_DROP_STOPS = str.maketrans("", "", STOPS)
_DROP_MARKS = str.maketrans("", "", "".join(MARKS.values()))


@dataclass(frozen=True)
class PoemSet:
    """N poems: ``texts`` with punctuation, ``forms`` (keys of ``FORMS``), ``titles`` and ``authors``, lists of N."""

    texts: list[str]
    forms: list[str]
    titles: list[str]
    authors: list[str]

    def __len__(self):
        return len(self.texts)


@dataclass(frozen=True)
class Poems:
    """Three sets of poems; versions of one poem lie in the same set, as far as shared lines show them."""

    train: PoemSet
    validation: PoemSet
    test: PoemSet


def load_poems() -> Poems:
    """The poems that ship with the course, about 36,000, split 90 / 5 / 5.

    Poems that share at least a quarter of their lines, or half of them up to one character, lie in one part. The card
    ``data/poems.json`` says where they come from.

    Raises:
        CourseError: file missing or damaged; the message says what to do.
    """
    arrays = _arrays()
    authors = _texts(arrays["authors"])
    return Poems(*(_part(arrays, name, arrays["characters"], authors) for name in ("train", "validation", "test")))


def load_characters() -> str:
    """The characters of the vocabulary: two stops, four marks, then all seen five times in training, frequent first."""
    return STOPS + "".join(MARKS.values()) + _alphabet()[: int(_arrays()["num_known"])]


# --- lines, forms and marks -------------------------------------------------------------------------------------------


def to_lines(text: str) -> list[str]:
    """The lines of a poem without punctuation and white space; what follows the last stop is a line too."""
    return [line for line in "".join(text.split()).replace(STOPS[0], STOPS[1]).split(STOPS[1]) if line]


def written(lines) -> str:
    """The text of a poem's lines: a comma after the first line, a full stop after the second, and so on."""
    return "".join(line + STOPS[number % 2] for number, line in enumerate(lines))


def form_of(text: str) -> str | None:
    """The key of ``FORMS`` whose form ``text`` has to the letter, stops and Chinese characters included, or None."""
    lines = to_lines(text)
    shapes = {(len(line), len(lines)) for line in lines}
    if len(shapes) != 1 or written(lines) != text or not all(map(_is_chinese, "".join(lines))):
        return None
    return next((name for name, shape in FORMS.items() if {shape} == shapes), None)


def marked(text: str, form: str | None = None) -> str:
    """``text`` with two marks in front, characters of a line and lines: ⑤④ asks for four lines of five characters.

    Args:
        text: a poem, or its beginning, or "".
        form: a key of ``FORMS``; the form that ``text`` has, unless told.

    Raises:
        CourseError: an unknown form, or none given for a text that has none.
    """
    form = form or form_of(text)
    if form is None:
        raise CourseError(f"{text!r} has none of the forms; name the one that it begins: {', '.join(FORMS)}.")
    if form not in FORMS:
        raise CourseError(f"The form {form!r} is unknown; choose one of {', '.join(FORMS)}.")
    return "".join(MARKS[size] for size in FORMS[form]) + text


def unmarked(text: str) -> str:
    """``text`` without marks."""
    return text.translate(_DROP_MARKS)


def _is_chinese(character):
    return unicodedata.name(character, "").startswith("CJK UNIFIED")


# --- readings and meanings --------------------------------------------------------------------------------------------


def readings(character: str) -> tuple[str, ...]:
    """Modern readings in pinyin with tone marks, the most usual in poems first; () where none is known."""
    place = _places().get(character)
    return () if place is None else tuple(_lines("readings")[place].split())


def gloss(character: str) -> str:
    """A short English meaning, the first of Unihan's; "" where none is known."""
    place = _places().get(character)
    return "" if place is None else _lines("glosses")[place]


def tone(character: str) -> int:
    """LEVEL, OBLIQUE, both (3) or unknown (0), as in the Tang.

    From Unihan's kTang (H. M. Stimson, T'ang Poetic Vocabulary, 1976): level has no mark there; rising, departing, and
    entering (a final -p, -t or -k) are oblique. Some thirty are set by hand (``data/make_poems.py``); other characters
    that are not in that list have their modern tones: 1 and 2 level, 3 and 4 oblique.
    """
    place = _places().get(character)
    return 0 if place is None else int(_arrays()["tones"][place])


def pinyin(text: str) -> str:
    """``text`` in one line of pinyin, each character in its usual reading; other characters as they are."""
    words = []
    for character in unmarked(text):
        if character in STOPS and words:
            words[-1] += ",."[STOPS.index(character)]
        else:
            words.append((readings(character) or (character,))[0])
    return " ".join(words)


# --- the file ---------------------------------------------------------------------------------------------------------


def _part(arrays, name, alphabet, authors):
    forms = arrays[f"{name}_forms"]
    sizes = np.prod([FORMS[form] for form in FORMS], axis=1)[forms]
    starts, running = np.cumsum(sizes) - sizes, alphabet[arrays[f"{name}_characters"]]
    texts = np.empty(len(forms), object)
    for number, (length, count) in enumerate(FORMS.values()):
        rows = np.flatnonzero(forms == number)
        texts[rows] = _written_all(running[starts[rows, None] + np.arange(length * count)].reshape(-1, count, length))
    names = np.array(list(FORMS))[forms].tolist()
    writers = [authors[number] for number in arrays[f"{name}_authors"]]
    return PoemSet(texts.tolist(), names, _texts(arrays[f"{name}_titles"]), writers)


def _written_all(codes):  # [N, lines, characters of a line] -> N texts
    """``written`` for N poems of one form, given as code points."""
    stops = np.resize(np.array([ord(stop) for stop in STOPS], np.uint32), (*codes.shape[:2], 1))
    codes = np.concatenate([codes, stops], axis=2).reshape(len(codes), -1)
    return codes.view(f"U{codes.shape[1]}")[:, 0].tolist()


def _texts(packed):
    return packed.tobytes().decode().split("\n")


@cache
def _arrays():
    return load_arrays("poems")


@cache
def _alphabet():
    return "".join(map(chr, _arrays()["characters"]))


@cache
def _places():
    return {character: place for place, character in enumerate(_alphabet())}


@cache
def _lines(name):
    return _texts(_arrays()[name])
