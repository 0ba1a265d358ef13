"""Scores of four-part music: pitch classes, steps, chords, parallels, key, ending, copying; beside real and shuffled.

All on ``datasets.chorales.Chorale``, in NumPy. Distances between histograms are total variation: the share of one that
must move to make the other, 0 to 1.
Shapes: N chorales, S sixteenths, T = 4 S tokens.   Taught in chapters/07_wavenet.
"""

from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from typing import NamedTuple

import numpy as np

from aigc_course.datasets.chorales import BEGUN, HELD, RANGES, REST, VOICES, load_chorales, tokens
from aigc_course.metrics.poems import Copy, CopyIndex
from aigc_course.metrics.tables import BesideReal
from aigc_course.runtime import CourseError

# How well listeners find that a tone fits a key, from the tonic upwards (Krumhansl & Kessler, 1982).
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
# Semitones above the root: triads major, minor, diminished, augmented; sevenths dominant, minor, major, half
# diminished, diminished. Fewer notes of one of these count too: a fifth, a third, a seventh.
CHORDS = (
    *((0, 4, 7), (0, 3, 7), (0, 3, 6), (0, 4, 8)),
    *((0, 4, 7, 10), (0, 3, 7, 10), (0, 4, 7, 11), (0, 3, 6, 10), (0, 3, 6, 9)),
)
WIDEST = 12  # semitones: larger steps count as this one

_UNSEEN = 0x10000  # steps and chords are looked up as text; from here on no character is a stop or ends a line


# --- baseline ---------------------------------------------------------------------------------------------------------


def copy_last_chord(token_ids) -> np.ndarray:  # [T] -> [T]
    """The guess that the last chord goes on: what sounded a sixteenth earlier is held, and a rest stays one.

    At the first sixteenth there is no last chord, and the guess is REST.
    """
    ids = np.asarray(token_ids).reshape(-1, len(VOICES))
    guess = np.full(ids.shape, REST, np.int32)
    guess[1:] = np.where((ids >= BEGUN) & (ids < HELD), ids - BEGUN + HELD, ids)[:-1]
    return guess.reshape(-1)


def copy_accuracy(chorales) -> float:
    """Share of tokens that ``copy_last_chord`` guesses, over all tokens of all chorales."""
    found = [copy_last_chord(ids) == ids for ids in map(tokens, _checked(chorales))]
    return float(np.concatenate(found).mean())


# --- histograms -------------------------------------------------------------------------------------------------------


def pitch_class_histogram(chorales) -> np.ndarray:  # -> [12]
    """Shares of the sounding sixteenths, all voices, by semitones above the tonic without octaves."""
    counts = np.zeros(12)
    for chorale in _checked(chorales):
        counts += np.roll(_pitch_classes(chorale), -chorale.tonic)
    return counts / max(counts.sum(), 1)


def interval_histogram(chorales) -> np.ndarray:  # -> [4, 25]
    """Shares of the steps from a voice's note to its next, from an octave down to an octave up; each row sums to 1.

    Larger steps count as an octave, a rest between two notes makes no difference. A row without steps is 0.
    """
    counts = np.zeros((len(VOICES), 2 * WIDEST + 1))
    for chorale in _checked(chorales):
        for voice in range(len(VOICES)):
            steps = np.clip(np.diff(_notes(chorale, voice)), -WIDEST, WIDEST)
            counts[voice] += np.bincount(steps + WIDEST, minlength=counts.shape[1])
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def total_variation(a, b) -> float:
    """Half the sum of absolute differences of two histograms, 0 to 1; the mean over rows where there are several."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        raise CourseError(f"The histograms have the shapes {list(a.shape)} and {list(b.shape)}.")
    return float(np.abs(a - b).sum(axis=-1).mean() / 2)


def _pitch_classes(chorale):
    """[12] sounding sixteenths of each pitch class, C first."""
    return np.bincount(chorale.pitches[chorale.pitches > 0] % 12, minlength=12)


def _notes(chorale, voice):
    """The pitches of a voice's notes, one after the other."""
    return chorale.pitches[chorale.starts[:, voice], voice].astype(int)


# --- voices -----------------------------------------------------------------------------------------------------------


def range_share(chorales) -> float:
    """Share of notes inside the range that their voice has in the training part; 0 without notes."""
    inside = [
        (low <= notes) & (notes <= high)
        for chorale in _checked(chorales)
        for voice, (low, high) in enumerate(RANGES.values())
        for notes in [_notes(chorale, voice)]
    ]
    inside = np.concatenate(inside)
    return float(inside.mean()) if inside.size else 0.0


def notes_per_beat(chorales) -> float:
    """Notes that begin in a beat, the mean of all voices."""
    chorales = _checked(chorales)
    return float(sum(c.starts.sum() for c in chorales) / max(sum(map(len, chorales)), 1))  # 4 voices, 4 sixteenths


class Parallels(NamedTuple):
    """Parallel fifths and octaves, and the changes of chord among which they were counted."""

    count: int
    changes: int


def parallels(chorale) -> Parallels:
    """Pairs of voices that go in parallel fifths, octaves or unisons from one chord to the next.

    A chord is what sounds at a sixteenth where any note begins. Both voices must move, in the same direction, and be a
    fifth (or an octave) apart before and after, whole octaves more not counting.
    """
    chords = chorale.pitches[chorale.starts.any(axis=1)].astype(int)
    count = 0
    for a, b in combinations(range(len(VOICES)), 2):
        pair = chords[:, [a, b]]
        apart = np.abs(pair[:, 0] - pair[:, 1]) % 12
        steps = np.diff(pair, axis=0)
        same = (apart[1:] == apart[:-1]) & np.isin(apart[1:], (0, 7)) & (steps[:, 0] * steps[:, 1] > 0)
        count += int((same & (pair[1:] > 0).all(axis=1) & (pair[:-1] > 0).all(axis=1)).sum())
    return Parallels(count, max(len(chords) - 1, 0))


def parallel_rate(chorales) -> float:
    """Parallel fifths, octaves and unisons for each hundred changes of chord."""
    found = [parallels(chorale) for chorale in _checked(chorales)]
    return 100 * sum(one.count for one in found) / max(sum(one.changes for one in found), 1)


# --- harmony ----------------------------------------------------------------------------------------------------------


def chord_share(chorales) -> float:
    """Share of beats with two notes or more that together belong to one of ``CHORDS``; 0 without such beats."""
    beats = np.concatenate([chorale.pitches[chorale.beats % 4 == 0] for chorale in _checked(chorales)])
    sets = ((beats > 0) << (beats.astype(np.int64) % 12)).T  # bit 0 is C
    sets = np.bitwise_or.reduce(sets, axis=0)[(beats > 0).sum(axis=1) > 1]
    return float(_is_chord()[sets].mean()) if sets.size else 0.0


@cache
def _is_chord():
    """[4096] whether the pitch classes that a number's bits tell belong to a chord."""
    wholes = [sum(1 << (root + k) % 12 for k in chord) for chord in CHORDS for root in range(12)]
    numbers = np.arange(1 << 12)
    return np.any([(numbers & ~whole) == 0 for whole in wholes], axis=0)


class Key(NamedTuple):
    """Tonic 0 (C) to 11 (B), "major" or "minor", and the correlation with that key's profile."""

    tonic: int
    mode: str
    correlation: float


def estimate_key(chorale) -> Key:
    """The Krumhansl-Schmuckler key: that whose profile is most correlated with how long each pitch class sounds.

    It finds the key of four chorales in five; most of its errors take the dominant for the tonic. The correlation is 0
    where all pitch classes sound equally long.
    """
    lengths = _pitch_classes(chorale).astype(float)
    lengths -= lengths.mean()
    keys, profiles = _profiles()
    scale = np.linalg.norm(lengths)
    fits = profiles @ lengths / scale if scale else np.zeros(len(keys))
    best = int(fits.argmax())
    return Key(*keys[best], float(fits[best]))


@cache
def _profiles():
    """24 keys and their profiles [24, 12], C first, centred, of length 1."""
    keys = [(tonic, mode) for mode in ("major", "minor") for tonic in range(12)]
    profiles = np.array([np.roll(MAJOR if mode == "major" else MINOR, tonic) for tonic, mode in keys])
    profiles = profiles - profiles.mean(axis=1, keepdims=True)
    return keys, profiles / np.linalg.norm(profiles, axis=1, keepdims=True)


def ends_on_tonic(chorale) -> bool:
    """Whether the last chord is the tonic's triad, major or minor, with the tonic in the bass.

    The third or the fifth may be missing; a chorale in minor may end on the major triad, as they usually do.
    """
    sounding = np.flatnonzero((chorale.pitches > 0).any(axis=1))
    if not sounding.size:
        return False
    notes = chorale.pitches[sounding[-1]].astype(int)
    notes = (notes[notes > 0] - chorale.tonic) % 12
    return bool(notes[-1] == 0 and (set(notes.tolist()) <= {0, 4, 7} or set(notes.tolist()) <= {0, 3, 7}))


# --- copying ----------------------------------------------------------------------------------------------------------


class MusicCopyIndex:
    """Finds what a chorale has in common with the chorales of a set, in any key: runs of notes and runs of chords.

    A run of a melody is a row of steps in semitones from note to note of one voice, rhythm not counting. A run of
    chords has one chord wherever a note begins: the bass's step, and the other voices' distances from the bass. Runs
    longer than 56 are cut to 56.

    Args:
        train: the chorales that a model was trained on.
    """

    def __init__(self, train):
        train = _checked(train)
        melodies = [_steps(chorale, voice) for chorale in train for voice in range(len(VOICES))]
        chords = [_chord_steps(chorale) for chorale in train]
        seen = dict.fromkeys(row for rows in (*melodies, *chords) for row in rows)
        self._codes = {row: chr(number) for number, row in enumerate(seen, start=_UNSEEN + 1)}
        self._melodies = CopyIndex(map(self._encode, melodies))
        self._chords = CopyIndex(map(self._encode, chords))

    def longest_melody(self, chorale, voice: int = 0) -> Copy:
        """The longest run of one voice's steps; its source is the number of the training chorale."""
        found = self._melodies.longest_run(self._encode(_steps(chorale, voice)))
        return found._replace(source=None if found.source is None else found.source // len(VOICES))

    def longest_chords(self, chorale) -> Copy:
        """The longest run of chords."""
        return self._chords.longest_run(self._encode(_chord_steps(chorale)))

    def _encode(self, rows):
        """One character for each row; the same for the same row, and one for all that training does not have."""
        return "".join(self._codes.get(row, chr(_UNSEEN)) for row in rows)


def _steps(chorale, voice):
    return [(step,) for step in np.diff(_notes(chorale, voice)).tolist()]


def _chord_steps(chorale):
    """For each change of chord (step of the bass, distances of soprano, alto, tenor from it); -100 for a rest."""
    chords = chorale.pitches[chorale.starts.any(axis=1)].astype(int)
    bass = chords[:, 3:]
    above = np.where((chords[:, :3] > 0) & (bass > 0), chords[:, :3] - bass, -100)
    rows = np.concatenate([np.diff(bass[:, 0], prepend=bass[:1, 0])[:, None], above], axis=1)
    return [tuple(row) for row in rows[1:].tolist()]


@cache
def training_index() -> MusicCopyIndex:
    """The index of the course's training chorales, made once in a process."""
    return MusicCopyIndex(load_chorales().train)


# --- report -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MusicFigures:
    """Scores of one set of chorales; the copied runs are means, in steps from note to note and in chords."""

    pitch_classes: float
    steps: float
    notes_per_beat: float
    in_range: float
    chords: float
    parallels: float
    key: float
    ending: float
    copied_melody: float
    copied_chords: float


@dataclass(frozen=True)
class MusicScore(BesideReal):
    """Scores of generated chorales between those of held-out real chorales and of the same with shuffled notes.

    ``num_chorales`` are generated; ``num_reference`` are real, and as many shuffled.
    """

    generated: MusicFigures
    real: MusicFigures
    shuffled: MusicFigures
    num_chorales: int
    num_reference: int

    things = "chorales"

    def rows(self) -> list[tuple[str, str, str, str, str]]:
        """One row a score: name, samples, real chorales, shuffled notes, which way is better."""
        return [
            self.row("pitch classes, distance from training", "pitch_classes", "lower", "{:.3f}"),
            self.row("steps of the voices, distance from training", "steps", "lower", "{:.3f}"),
            self.row("notes in a beat, each voice", "notes_per_beat", "like real", "{:.2f}"),
            self.row("notes inside their voice's range", "in_range", "higher"),
            self.row("beats that are a triad or a seventh chord", "chords", "like real"),
            self.row("parallel fifths and octaves, a hundred changes", "parallels", "like real", "{:.2f}"),
            self.row("estimated tonic is the one asked for", "key", "like real"),
            self.row("ends on the tonic's chord", "ending", "like real"),
            self.row("longest copied melody, steps", "copied_melody", "like real", "{:.1f}"),
            self.row("longest copied run of chords", "copied_chords", "like real", "{:.1f}"),
        ]

    def caption(self) -> str:
        """How many were scored beside how many."""
        return (
            f"{self.num_chorales:,} chorales beside {self.num_reference:,} held-out chorales and these with their "
            "notes shuffled"
        )


def report(chorales, reference=None, train=None, seed: int = 0) -> MusicScore:
    """Score generated chorales, with a ceiling from real chorales and a floor from the same with shuffled notes.

    Args:
        chorales: N generated ones, with the key and the bars that were asked for (``chorales.with_tokens``).
        reference: chorales that no model has seen; the test part unless given. As many are drawn as there are samples,
            or all where there are fewer: histograms of few notes lie farther from training.
        train: the chorales trained on, for the histograms and for what is copied; the course's unless given.
        seed: of the choice of real chorales and of the shuffling, which mixes the pitches of each voice over all of
            them and leaves the rhythm: notes in a beat and ranges have no floor.

    Raises:
        CourseError: no chorales in one of the sets.
    """
    chorales, rng = _checked(chorales), np.random.default_rng(seed)
    index = training_index() if train is None else MusicCopyIndex(train)
    train = _checked(load_chorales().train if train is None else train)
    histograms = pitch_class_histogram(train), interval_histogram(train)
    reference = _checked(load_chorales().test if reference is None else reference)
    real = [reference[number] for number in rng.permutation(len(reference))[: len(chorales)]]
    return MusicScore(
        generated=_figures(chorales, histograms, index),
        real=_figures(real, histograms, index),
        shuffled=_figures(shuffled(real, rng), histograms, index),
        num_chorales=len(chorales),
        num_reference=len(real),
    )


def shuffled(chorales, rng) -> list:
    """The chorales with the pitches of each voice mixed over all of them; every note keeps its place and length.

    Args:
        rng: a ``numpy.random.Generator``.
    """
    chorales = _checked(chorales)
    mixed = [rng.permutation(np.concatenate([_notes(c, voice) for c in chorales])) for voice in range(len(VOICES))]
    changed, used = [], [0] * len(VOICES)
    for chorale in chorales:
        pitches = np.zeros_like(chorale.pitches)
        for voice in range(len(VOICES)):
            numbers = np.cumsum(chorale.starts[:, voice])  # 0 before the first note
            notes = np.concatenate([[0], mixed[voice][used[voice] : used[voice] + numbers[-1]]])
            pitches[:, voice] = np.where(chorale.pitches[:, voice] > 0, notes[numbers], 0)
            used[voice] += numbers[-1]
        changed.append(replace(chorale, pitches=pitches))
    return changed


def _figures(chorales, histograms, index) -> MusicFigures:
    return MusicFigures(
        pitch_classes=total_variation(pitch_class_histogram(chorales), histograms[0]),
        steps=total_variation(interval_histogram(chorales), histograms[1]),
        notes_per_beat=notes_per_beat(chorales),
        in_range=range_share(chorales),
        chords=chord_share(chorales),
        parallels=parallel_rate(chorales),
        key=float(np.mean([estimate_key(chorale).tonic == chorale.tonic for chorale in chorales])),
        ending=float(np.mean([ends_on_tonic(chorale) for chorale in chorales])),
        copied_melody=float(np.mean([index.longest_melody(chorale).length for chorale in chorales])),
        copied_chords=float(np.mean([index.longest_chords(chorale).length for chorale in chorales])),
    )


def _checked(chorales) -> list:
    """The chorales as a list with something in it."""
    if hasattr(chorales, "pitches"):
        raise CourseError("Give a list of chorales, not one chorale.")
    chorales = list(chorales)
    if not chorales:
        raise CourseError("There is no chorale to score.")
    return chorales
