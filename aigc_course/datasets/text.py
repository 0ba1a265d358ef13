"""English text for language models: the documentation inside Python itself, or any text file of your own.

*Python's text.* The module ``pydoc_data.topics`` holds what ``help("lambda")`` and its like print: some eighty chapters
of the language reference, under the licence of Python (PSF). It needs no network and no copy in this repository. It
differs a little from one version of Python to the next, so that losses on it compare within one version only.

Left out are chapters that stand again inside longer ones (``if`` inside ``compound``), drawn tables, lines under
headings and the stars of *emphasis*; curly quotes, dashes and dots become plain ones.

*Split.* Python's text by chapter: none is in two parts. A file of your own by position, at line ends: the first 90
percent are for training, the last 5 for the test.   Taught in chapters/10_gpt2.
"""

import importlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aigc_course.runtime import CourseError

NAMES = ("python",)
HELD_OUT = 0.05  # share of the characters that goes to the validation part, and to the test part
LEAST = 1_000  # characters that a file must have

_PLAIN = str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "–": "-", "—": "--", "…": "..."})
_CLEANING = (  # what is replaced, and by what, in this order
    (re.compile(r"^[ ]*[+|].*[+|]$\n?", re.MULTILINE), ""),  # a drawn table
    (re.compile(r"^[ ]*([*=~^-])\1{2,}$\n?", re.MULTILINE), ""),  # the line under a heading
    (re.compile(r"-\[ (.+) \]-"), r"\1"),  # -[ Footnotes ]-
    (
        re.compile(r"(?<![\w*\"'/])(\*\*?)(\w(?:(?:[^*\n\"]|\n(?!\n))*[\w.:])?)\1(?![\w*\"])"),
        r"\2",
    ),  # *stress*, **more**
    (re.compile(r'""([^"\n]+)""'), r'"\1"'),  # a quoted quotation
    (re.compile(r"[ \t]+$", re.MULTILINE), ""),
    (re.compile(r"\n{3,}"), "\n\n"),
)


@dataclass(frozen=True)
class Text:
    """Three parts of a text, each one string."""

    train: str
    validation: str
    test: str

    def __repr__(self):
        return f"Text({len(self.train):,} + {len(self.validation):,} + {len(self.test):,} characters)"


def load_text(name: str = "python", path: str | Path | None = None, seed: int = 0) -> Text:
    """Load an English text in three parts, 90 / 5 / 5 percent of its characters.

    Args:
        name: ``"python"``, the documentation inside Python.
        path: a UTF-8 text file of your own, in place of ``name``.
        seed: which chapters of Python's text are held out; of no effect on a file.

    Raises:
        CourseError: an unknown name; a file that is missing, not UTF-8 text, or too short to be split.
    """
    if path is not None:
        return split_by_position(_read(Path(path)), name=str(path))
    if name not in NAMES:
        raise CourseError(f"There is no text {name!r}; choose one of {', '.join(NAMES)}, or give the path of a file.")
    return _split_by_topic(_topics(), seed)


def characters(text: str) -> str:
    """The different characters of ``text``, sorted: ``"hello"`` gives ``"ehlo"``."""
    return "".join(sorted(set(text)))


def clean(text: str) -> str:
    """A chapter of Python's documentation as plain text that ends with a line end."""
    text = text.translate(_PLAIN)
    for pattern, replacement in _CLEANING:
        text = pattern.sub(replacement, text)
    return text.strip() + "\n"


def split_by_position(text: str, name: str = "The text") -> Text:
    """First 90 percent, next 5, last 5; each cut is moved on to the end of its line.

    Raises:
        CourseError: fewer than 1,000 characters, or lines so long that a part would be empty.
    """
    if len(text) < LEAST:
        raise CourseError(f"{name} has {len(text):,} characters; a language model needs at least {LEAST:,}.")
    first = _line_end(text, round(len(text) * (1 - 2 * HELD_OUT)))
    second = _line_end(text, max(first, round(len(text) * (1 - HELD_OUT))))
    parts = text[:first], text[first:second], text[second:]
    if not all(part.strip() for part in parts):
        raise CourseError(f"{name} has too few line ends near its end to be cut into three parts; break long lines.")
    return Text(*parts)


def _line_end(text, position):
    return text.find("\n", position) + 1 or len(text)


def _read(path):
    """The text of a file, line ends as \\n, without a byte order mark."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise CourseError(f"{path} is missing; give the path of a text file, or none for Python's own text.") from None
    except UnicodeDecodeError:
        raise CourseError(f"{path} is not UTF-8 text; save it as UTF-8.") from None
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}).") from None
    if "\x00" in text:
        raise CourseError(f"{path} holds zero bytes, so it is not text; save it as UTF-8 text.")
    return text


def _topics():
    """Cleaned chapters of Python's documentation by name, without those that longer ones contain."""
    try:
        topics = importlib.import_module("pydoc_data.topics").topics
    except ImportError:
        raise CourseError("This Python came without pydoc_data.topics; give load_text the path of a file.") from None
    return without_repeats({name: clean(topics[name]) for name in sorted(topics)})


def without_repeats(topics: dict[str, str]) -> dict[str, str]:
    """``topics`` without those of which more than half stands, paragraph by paragraph, in longer ones."""
    seen, kept = set(), set()
    for name in sorted(topics, key=lambda name: len(topics[name]), reverse=True):
        paragraphs = [" ".join(paragraph.split()) for paragraph in topics[name].split("\n\n")]
        repeated = sum(len(paragraph) for paragraph in paragraphs if paragraph in seen)
        if repeated <= sum(map(len, paragraphs)) / 2:
            kept.add(name)
            seen.update(paragraphs)
    return {name: text for name, text in topics.items() if name in kept}


def _split_by_topic(topics, seed):
    """Chapters in a seeded order; each goes to the test or validation part while there is room, else to training."""
    parts = {"test": [], "validation": [], "train": []}
    total = sum(map(len, topics.values()))
    room = {"test": HELD_OUT * total, "validation": HELD_OUT * total, "train": total}
    for k in np.random.default_rng(seed).permutation(len(topics)):
        text = list(topics.values())[k]
        part = next(name for name in parts if len(text) <= room[name])
        parts[part].append(text)
        room[part] -= len(text)
    return Text(**{name: "\n\n".join(texts) for name, texts in parts.items()})
