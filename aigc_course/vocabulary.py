"""Text as numbers and back: characters or words, with four ids for what no text contains.

Shapes: N texts, T steps; ids are int32, rows padded on the right.   Taught in chapters/06_seq2seq.
"""

from collections import Counter

import numpy as np

from aigc_course.runtime import CourseError

PAD, START, END, UNKNOWN = range(4)
SPECIAL = ("␀", "⊢", "⊣", "�")
UNITS = ("character", "word")


class Vocabulary:
    """The tokens that a model knows; id 0 pads, 1 starts, 2 ends, 3 stands for every other token.

    Args:
        tokens: characters or words in the order of their ids, from 4 on.
        unit: ``"character"``, or ``"word"`` for what stands between white space.

    Raises:
        TypeError: a token that is no string.
        ValueError: an unknown unit, a repeated token, or a character token that is not one character.
    """

    def __init__(self, tokens, unit="character"):
        if unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {unit!r}.")
        tokens = list(tokens)
        if len(set(tokens)) != len(tokens):
            raise ValueError("A vocabulary may hold each token once.")
        if wrong := next((type(token) for token in tokens if not isinstance(token, str)), None):
            raise TypeError(f"A token must be a string, not {wrong.__name__}.")
        broken = next((token for token in tokens if unit == "character" and len(token) != 1), None)
        if broken is not None:
            raise ValueError(f"{broken!r} is not one character.")
        self.unit, self.tokens = unit, [*SPECIAL, *tokens]
        self._ids = {token: number for number, token in enumerate(tokens, len(SPECIAL))}

    @classmethod
    def build(cls, texts, unit="character", max_size=None, min_count=1):
        """The vocabulary of ``texts``: frequent tokens first, equally frequent ones in the order of their code.

        Args:
            max_size: most tokens to keep, the four special ones not counted.
            min_count: rarer tokens are left out.
        """
        split = cls([], unit).split
        counts = Counter(token for text in texts for token in split(text))
        ranked = sorted((token for token in counts if counts[token] >= min_count), key=lambda t: (-counts[t], t))
        return cls(ranked[:max_size], unit)

    def __len__(self):
        return len(self.tokens)

    def __contains__(self, token):
        return token in self._ids

    def __eq__(self, other):
        return isinstance(other, Vocabulary) and self.get_config() == other.get_config()

    __hash__ = None

    def __repr__(self):
        return f"Vocabulary({len(self)} {self.unit}s)"

    def get_config(self):
        """What ``Vocabulary(**config)`` needs to make this one again."""
        return {"tokens": self.tokens[len(SPECIAL) :], "unit": self.unit}

    def split(self, text):
        """The tokens of ``text`` as a list of strings."""
        return list(text) if self.unit == "character" else text.split()

    def encode(self, texts, max_length=None, start=False, end=False):  # N texts -> [N, T]
        """Ids of ``texts``, each row padded to the longest (T is at least 1).

        Args:
            max_length: most ids a row may have, START and END included.
            start, end: put START before and END after every text.

        Raises:
            TypeError: one string in place of a list, or something that is no string.
            CourseError: a text that is longer than ``max_length``.
        """
        rows = [self._row(text, start, end) for text in demand_texts(texts)]
        longest = max(map(len, rows), default=0)
        if max_length is not None and longest > max_length:
            text, row = next(pair for pair in zip(texts, rows, strict=True) if len(pair[1]) > max_length)
            limit = max_length - start - end
            raise CourseError(
                f"The text {shortened(text)!r} has {len(row) - start - end} {self.unit}s; "
                f"this model takes at most {limit}. Split it, or shorten it."
            )
        ids = np.full((len(rows), max(longest, 1)), PAD, "int32")
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
        return ids

    def _row(self, text, start, end):
        return [
            *([START] if start else []),
            *(self._ids.get(token, UNKNOWN) for token in self.split(text)),
            *([END] if end else []),
        ]

    def decode(self, ids):  # [N, T] -> N texts
        """Texts of ``ids``, an array or a list of rows: each ends before its first END; PAD and START are left out."""
        return [self.join(self.words(row)) for row in ids]

    def words(self, row):
        """The tokens of one row of ids, up to END."""
        row = list(row)
        row = row[: row.index(END)] if END in row else row
        return [self.tokens[number] for number in row if number not in (PAD, START)]

    def join(self, tokens):
        """Tokens as one text."""
        return ("" if self.unit == "character" else " ").join(tokens)


def demand_texts(texts):
    """``texts`` as a list; TypeError for a single string, or for something in it that is no string."""
    if isinstance(texts, str):
        raise TypeError(f"Pass a list of texts, [{shortened(texts)!r}], not one text.")
    texts = list(texts)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f"A text must be a string, not {type(text).__name__}.")
    return texts


def shortened(text, length=40):
    """``text``, cut after ``length`` characters with an ellipsis."""
    return text if len(text) <= length else text[: length - 1] + "…"
