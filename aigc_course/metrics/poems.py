"""Scores of generated Tang poems: form, rhyme, tone pattern, variety, copying; each beside real and shuffled poems.

Shapes: N poems, texts with stops and without marks (``datasets.poems``).   Taught in chapters/10_gpt2.
"""

import re
import unicodedata
from array import array
from bisect import bisect_left
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from aigc_course.datasets.poems import FORMS, LEVEL, OBLIQUE, form_of, load_poems, readings, to_lines, tone, written
from aigc_course.metrics.tables import BesideReal
from aigc_course.runtime import CourseError

# The thirteen rhyme groups of northern Mandarin and the finals of each, as the end of a syllable is spelt in pinyin.
RHYME_GROUPS = {
    "发花": ("a",),
    "梭坡": ("o", "e"),
    "乜斜": ("ie", "ye", "ue", "üe", "ê"),
    "一七": ("i", "ü", "er"),
    "姑苏": ("u",),
    "怀来": ("ai",),
    "灰堆": ("ei", "ui"),
    "遥条": ("ao",),
    "油求": ("ou", "iu"),
    "言前": ("an",),
    "人辰": ("en", "in", "un", "ün"),
    "江阳": ("ang",),
    "中东": ("eng", "ing", "ong"),
}
LONGEST = 56  # characters of the longest form

_GROUP_OF = {final: group for group, finals in RHYME_GROUPS.items() for final in finals}
_UMLAUT = re.compile("(?<=^[jqxy])u")  # pinyin writes ju for jü
_TONES = dict.fromkeys(map(ord, "\u0300\u0301\u0304\u030c"))


# --- form -------------------------------------------------------------------------------------------------------------


def form_share(texts, forms=None) -> float:
    """Share of texts in perfect form: 4 or 8 lines, all of 5 or all of 7 Chinese characters, stops in their places.

    Args:
        forms: the forms asked for, a list of N keys of ``FORMS``; any form will do unless given. That a model stopped
            by itself is not seen here.

    Raises:
        CourseError: no texts, another number of forms, or an unknown form.
    """
    texts, forms = _checked(texts, forms)
    return float(np.mean([form_of(t) == f if f else form_of(t) is not None for t, f in zip(texts, forms, strict=True)]))


# --- rhyme ------------------------------------------------------------------------------------------------------------


def rhyme_group(syllable: str) -> str | None:
    """The rhyme group of a syllable in pinyin, with or without its tone mark; None for one without a vowel."""
    plain = unicodedata.normalize("NFC", unicodedata.normalize("NFD", syllable).translate(_TONES))
    plain = _UMLAUT.sub("ü", plain)
    return next((_GROUP_OF[plain[-size:]] for size in (3, 2, 1) if plain[-size:] in _GROUP_OF), None)


@cache
def rhyme_groups(character: str) -> frozenset[str]:
    """The rhyme groups of all modern readings of a character; empty where none is known."""
    return frozenset(filter(None, map(rhyme_group, readings(character))))


def rhyme_share(texts) -> float:
    """Share of poems whose even lines all end in one rhyme group, any modern reading counting.

    A poem with fewer than two even lines, or with one character at two line ends, does not rhyme. Many lines that
    rhymed in the Tang no longer do: compare with real poems.
    """
    return float(np.mean([_rhymes(_ends(text)) for text in _checked(texts)[0]]))


def pair_rhyme_share(texts) -> float:
    """Share of pairs of even lines of one poem that rhyme, over all poems; 0 where no poem has two even lines."""
    pairs = [pair for text in _checked(texts)[0] for pair in combinations(_ends(text), 2)]
    return float(np.mean([_rhymes(pair) for pair in pairs])) if pairs else 0.0


def _ends(text):
    return [line[-1] for line in to_lines(text)[1::2]]


def _rhymes(ends):
    different = len(ends) > 1 and len(set(ends)) == len(ends)
    return different and bool(frozenset.intersection(*map(rhyme_groups, ends)))


# --- tones ------------------------------------------------------------------------------------------------------------


def tone_pattern_share(texts) -> float:
    """Share of pairs of characters that should differ in tone, level against oblique, and do.

    The pairs: inside each line characters 2 and 4, and 4 and 6 where there are seven; across the two lines of a couplet
    the characters 2, 4 and 6 of both. A character read both ways differs from every known tone, one of unknown tone
    from none. Tones are the Tang's (``datasets.poems.tone``). 0 where no poem has such a pair.
    """
    found = [_differ(*pair) for text in _checked(texts)[0] for pair in _tone_pairs(to_lines(text))]
    return float(np.mean(found)) if found else 0.0


def _tone_pairs(lines):
    for line in lines:
        yield from zip(line[1:5:2], line[3:7:2], strict=False)
    for upper, lower in zip(lines[::2], lines[1::2], strict=False):
        yield from zip(upper[1:6:2], lower[1:6:2], strict=False)


def _differ(a, b):
    """Whether one can be level and the other oblique."""
    a, b = tone(a), tone(b)
    return bool((a & LEVEL and b & OBLIQUE) or (a & OBLIQUE and b & LEVEL))


# --- variety and copying ----------------------------------------------------------------------------------------------


def distinct_n(texts, n: int) -> float:
    """Different runs of n characters over all runs, inside lines (Li et al., 2016). Falls with N: compare at one N.

    CourseError for n below 1.
    """
    if n < 1:
        raise CourseError(f"A run has one character at least, not {n}.")
    runs = [line[k : k + n] for text in _checked(texts)[0] for line in to_lines(text) for k in range(len(line) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 0.0


class Copy(NamedTuple):
    """The longest run of a text that stands in a training text: its length, which text (None: none), the run."""

    length: int
    source: int | None
    run: str


class CopyIndex:
    """Finds what a poem has in common with the poems of a set, in a suffix array (Manber & Myers, 1993).

    Args:
        train_texts: the poems that a model was trained on. Punctuation is left out here and in what is looked up, so
            that a run may go on across lines, though not from one poem to the next.
    """

    def __init__(self, train_texts):
        texts = ["".join(to_lines(text)) for text in _checked(train_texts)[0]]
        self._text = "\n".join(texts) + "\n"
        self._starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
        self._order = _suffix_array(self._text)

    def longest_run(self, text: str) -> Copy:
        """The longest run of ``text`` that stands in a training poem; the first of several."""
        wanted, best, place = "".join(to_lines(text)), "", 0
        for start in range(len(wanted)):
            if len(wanted) - start <= len(best):
                break
            length, where = self._match(wanted[start : start + LONGEST])
            if length > len(best):
                best, place = wanted[start : start + length], where
        source = int(np.searchsorted(self._starts, place, side="right")) - 1 if best else None
        return Copy(len(best), source, best)

    def _match(self, wanted):
        """Length of the longest beginning of ``wanted`` in the training poems, and where it stands."""
        place = bisect_left(self._order, wanted, key=lambda at: self._text[at : at + LONGEST])
        near = self._order[max(place - 1, 0) : place + 1]
        return max(((_common(wanted, self._text[at : at + LONGEST]), at) for at in near), key=lambda match: match[0])


def _suffix_array(text):
    """Starts of all suffixes in the order of their first ``LONGEST`` characters, by doubling the length compared."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    rank, length = np.unique(codes, return_inverse=True)[1].astype(np.int64), 1
    while length < LONGEST:
        later = np.concatenate([rank[length:] + 1, np.zeros(min(length, len(rank)), np.int64)])
        rank = np.unique(rank * (rank.max() + 2) + later, return_inverse=True)[1].astype(np.int64)
        length *= 2
    return array("q", np.argsort(rank, kind="stable").astype(np.int64).tobytes())


def _common(a, b):
    """How many characters two texts share from the start."""
    return next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


@cache
def training_index() -> CopyIndex:
    """The index of the course's training poems; made once in a process, in a few seconds."""
    return CopyIndex(load_poems().train.texts)


# --- report -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PoemFigures:
    """Scores of one set of poems; ``copied_mean`` and ``copied_95`` are the longest copied runs, in characters."""

    form: float
    rhyme: float
    pair_rhyme: float
    tones: float
    distinct_2: float
    copied_mean: float
    copied_95: float


@dataclass(frozen=True)
class PoemScore(BesideReal):
    """Scores of generated poems between those of held-out real poems and of the same real poems shuffled.

    ``num_poems`` are generated; ``num_reference`` are real, and as many shuffled.
    """

    generated: PoemFigures
    real: PoemFigures
    shuffled: PoemFigures
    num_poems: int
    num_reference: int

    things = "poems"

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """One row a score: name, samples, real poems, shuffled poems, which way is better."""
        return [
            self.row("perfect form", "form", "higher"),
            self.row("all even lines rhyme", "rhyme", "like real"),
            self.row("pairs of even lines that rhyme", "pair_rhyme", "like real"),
            self.row("tones that differ as they should", "tones", "like real"),
            self.row("different pairs of characters", "distinct_2", "like real"),
            self.row("longest copied run, mean", "copied_mean", "like real", "{:.2f}"),
            self.row("longest copied run, 95th percentile", "copied_95", "like real", "{:.0f}"),
        ]

    def caption(self) -> str:
        """How many were scored beside how many."""
        real = f"{self.num_reference:,} held-out ones"
        return f"{self.num_poems:,} poems beside {real} and these with all characters mixed"


def report(texts, forms=None, reference=None, train=None, seed: int = 0) -> PoemScore:
    """Score generated poems, with a ceiling from real poems and a floor from the same poems shuffled.

    Args:
        texts: N generated poems.
        forms: the forms asked for, N keys of ``FORMS``; the texts' own unless given.
        reference: poems that no model has seen; the test poems unless given. Of each form as many are taken as the
            samples have, or all where there are fewer, since short poems rhyme more easily than long ones.
        train: the poems trained on, a list or a ``CopyIndex``; the course's training poems unless given.
        seed: of the choice of real poems and of the shuffling, which mixes the characters of all poems of a form.

    Raises:
        CourseError: no texts, another number of forms, an unknown form, or a reference without any poem of the forms.
    """
    texts, forms = _checked(texts, forms)
    index = training_index() if train is None else train if isinstance(train, CopyIndex) else CopyIndex(train)
    rng = np.random.default_rng(seed)
    wanted = [form or form_of(text) for text, form in zip(texts, forms, strict=True)]
    real = _alike(load_poems().test.texts if reference is None else list(reference), wanted, rng)
    return PoemScore(
        generated=_figures(texts, forms, index),
        real=_figures(real, [None] * len(real), index),
        shuffled=_figures(shuffled(real, rng), [None] * len(real), index),
        num_poems=len(texts),
        num_reference=len(real),
    )


def shuffled(texts, rng) -> list[str]:
    """The poems with the characters of all poems of a form mixed: right form and frequencies, nothing else.

    Args:
        texts: N poems in perfect form.
        rng: a ``numpy.random.Generator``.
    """
    texts, by_form = list(texts), defaultdict(list)
    for number, text in enumerate(texts):
        by_form[form_of(text)].append(number)
    if None in by_form:
        raise CourseError(f"A poem to shuffle has no perfect form: {texts[by_form[None][0]]!r}.")
    for form, numbers in by_form.items():
        length, count = FORMS[form]
        characters = np.array(list("".join("".join(to_lines(texts[number])) for number in numbers)))
        mixed = rng.permutation(characters).reshape(len(numbers), count, length)
        for number, lines in zip(numbers, mixed.tolist(), strict=True):
            texts[number] = written(map("".join, lines))
    return texts


def _alike(reference, wanted, rng):
    """Poems of the reference, as many of each form as wanted, all where it has fewer."""
    by_form = defaultdict(list)
    for text in reference:
        by_form[form_of(text)].append(text)
    chosen = []
    for form in FORMS:
        rows = rng.permutation(len(by_form[form]))[: wanted.count(form)]
        chosen += [by_form[form][row] for row in rows]
    if not chosen:
        raise CourseError("The reference has no poem of the forms that the samples have.")
    return chosen


def _figures(texts, forms, index) -> PoemFigures:
    copied = [index.longest_run(text).length for text in texts]
    return PoemFigures(
        form=form_share(texts, forms),
        rhyme=rhyme_share(texts),
        pair_rhyme=pair_rhyme_share(texts),
        tones=tone_pattern_share(texts),
        distinct_2=distinct_n(texts, 2),
        copied_mean=float(np.mean(copied)),
        copied_95=float(np.percentile(copied, 95)),
    )


def _checked(texts, forms=None):
    """Both as lists of one length; None for a form that nobody asked for."""
    if isinstance(texts, str):
        raise CourseError("Give a list of poems, not one text.")
    texts = list(texts)
    if not texts:
        raise CourseError("There is no poem to score.")
    forms = [None] * len(texts) if forms is None else list(forms)
    if len(forms) != len(texts):
        raise CourseError(f"There are {len(texts)} poems and {len(forms)} forms.")
    if unknown := [form for form in forms if form is not None and form not in FORMS]:
        raise CourseError(f"The form {unknown[0]!r} is unknown; choose one of {', '.join(FORMS)}.")
    return texts, forms
