"""Bach's four-part chorales on a grid of sixteenths, and their tokens and conditions for a model.

Tokens run voice by voice inside a sixteenth, soprano, alto, tenor, bass, like an arpeggio. Each names the pitch that
sounds: 0 a rest, then for every MIDI pitch from LOWEST on a note that begins (BEGUN and on), then for every pitch a
note that is held on (HELD and on). So the last four tokens are the chord, however long ago its notes began.
Shapes: N windows, S sixteenths of a chorale, T = 4 S tokens, F condition features.   Taught in chapters/07_wavenet.
"""

from dataclasses import dataclass, replace

import numpy as np

from aigc_course.datasets.files import load_arrays
from aigc_course.runtime import CourseError

VOICES = ("soprano", "alto", "tenor", "bass")
RANGES = {"soprano": (57, 81), "alto": (53, 74), "tenor": (48, 69), "bass": (36, 64)}  # of the training part
LOWEST, HIGHEST = 34, 86  # MIDI pitches that have a token
REST, BEGUN = 0, 1
HELD = BEGUN + HIGHEST - LOWEST + 1
PADDING = HELD + HIGHEST - LOWEST + 1  # after the end of a chorale, in windows
NUM_TOKENS = PADDING + 1

_MAJOR = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
_MINOR = ("C", "C sharp", "D", "D sharp", "E", "F", "F sharp", "G", "G sharp", "A", "B flat", "B")
_SHARPS = (0, -5, 2, -3, 4, -1, 6, 1, -4, 3, -2, 5)  # of major keys; a minor key has those of the major a third above


@dataclass(frozen=True, eq=False)
class Chorale:
    """Four voices of S sixteenths.

    pitches: [S, 4] MIDI numbers, 0 for a rest. starts: [S, 4] whether the note begins here; else it is held.
    beats: [S] sixteenths since the bar line. fermatas: [S] whether the soprano is on the last note of a line.
    meter: that of the beginning, such as "4/4". tonic: 0 (C) to 11 (B). mode: "major" or "minor".
    title: "" where none is known. bwv: number in Bach's list of works, such as "269" or "20.7".
    """

    pitches: np.ndarray
    starts: np.ndarray
    beats: np.ndarray
    meter: str
    fermatas: np.ndarray
    tonic: int
    mode: str
    title: str = ""
    bwv: str = ""

    def __len__(self):
        return len(self.pitches)

    @property
    def key(self) -> str:
        """Such as "G minor"."""
        return f"{(_MAJOR if self.mode == 'major' else _MINOR)[self.tonic]} {self.mode}"

    @property
    def sharps(self) -> int:
        """Sharps of the key signature as usual today; flats are negative."""
        return _SHARPS[(self.tonic + (0 if self.mode == "major" else 3)) % 12]

    def transposed(self, semitones: int) -> "Chorale":
        """The chorale so many semitones higher; CourseError if a note has no token then."""
        sounding = self.pitches > 0
        pitches = np.where(sounding, self.pitches.astype(int) + semitones, 0)
        if sounding.any() and not LOWEST <= pitches[sounding].min() <= pitches.max() <= HIGHEST:
            raise CourseError(
                f"Moved by {semitones} semitones the notes run from {pitches[sounding].min()} to {pitches.max()}; "
                f"tokens reach from {LOWEST} to {HIGHEST}."
            )
        return replace(self, pitches=pitches.astype(np.uint8), tonic=(self.tonic + semitones) % 12)

    def transpositions(self) -> list[int]:
        """Semitones by which the chorale can move, -6 to 5, so that every voice stays inside RANGES; 0 always."""
        room = [-6, 5]
        for (low, high), voice in zip(RANGES.values(), self.pitches.T.astype(int), strict=True):
            notes = voice[voice > 0]
            if notes.size:
                room = [max(room[0], low - notes.min()), min(room[1], high - notes.max())]
        return sorted({0, *range(room[0], room[1] + 1)})

    def crop(self, first: int, length: int) -> "Chorale":
        """``length`` sixteenths from ``first`` on; a note that began earlier begins here."""
        part = slice(first, first + length)
        starts = self.starts[part].copy()
        if len(starts):
            starts[0] = self.pitches[first] > 0
        return replace(
            self, pitches=self.pitches[part], starts=starts, beats=self.beats[part], fermatas=self.fermatas[part]
        )


@dataclass(frozen=True)
class ChoraleSet:
    """N chorales, in ``chorales``; also by number, and in a loop."""

    chorales: tuple[Chorale, ...]

    def __len__(self):
        return len(self.chorales)

    def __getitem__(self, number):
        return self.chorales[number]

    def find(self, text: str) -> Chorale:
        """The first chorale with that BWV number, or else with ``text`` in its title, in whatever case.

        Raises:
            CourseError: there is none; the message lists the titles.
        """
        for fits in (lambda one: one.bwv == text, lambda one: text.casefold() in one.title.casefold()):
            found = next(filter(fits, self.chorales), None)
            if found is not None:
                return found
        known = "; ".join(sorted({f"{one.title} ({one.bwv})" for one in self.chorales if one.title}))
        raise CourseError(f"There is no chorale {text!r} here; there are: {known}.")


@dataclass(frozen=True)
class Chorales:
    """Three sets of chorales; those on one tune lie in the same set."""

    train: ChoraleSet
    validation: ChoraleSet
    test: ChoraleSet


def load_chorales() -> Chorales:
    """The chorales that ship with the course, 362 by J. S. Bach, split 80 / 10 / 10 so that no tune is in two parts.

    The card ``data/chorales.json`` says where they come from.

    Raises:
        CourseError: file missing or damaged; the message says what to do.
    """
    arrays = load_arrays("chorales")
    return Chorales(*(_part(arrays, name) for name in ("train", "validation", "test")))


# --- tokens -----------------------------------------------------------------------------------------------------------


def tokens(chorale: Chorale) -> np.ndarray:  # -> [T]
    """The tokens of a chorale, int32, four for each sixteenth; CourseError for a note without a token."""
    pitches = chorale.pitches.astype(np.int32)
    sounding = pitches[pitches > 0]
    if sounding.size and not LOWEST <= sounding.min() <= sounding.max() <= HIGHEST:
        raise CourseError(
            f"The notes run from {sounding.min()} to {sounding.max()}; tokens reach from {LOWEST} to {HIGHEST}."
        )
    notes = pitches - LOWEST + np.where(chorale.starts, BEGUN, HELD)
    return np.where(pitches > 0, notes, REST).astype(np.int32).reshape(-1)


def from_tokens(token_ids) -> tuple[np.ndarray, np.ndarray]:  # [T] -> [S, 4], [S, 4]
    """Pitches and starts of tokens; a note that is held on though it did not sound begins there.

    Raises:
        CourseError: a number of tokens that is no multiple of four, or an id that is no token of music.
    """
    ids = np.asarray(token_ids)
    if ids.ndim != 1 or len(ids) % len(VOICES):
        raise CourseError(f"Tokens come in fours, one for each voice; these have the shape {list(ids.shape)}.")
    if ids.size and not REST <= ids.min() <= ids.max() < PADDING:
        raise CourseError(f"The ids run from {ids.min()} to {ids.max()}; music has 0 to {PADDING - 1}.")
    ids = ids.astype(np.int32).reshape(-1, len(VOICES))
    pitches = np.where(ids == REST, 0, ids - np.where(ids < HELD, BEGUN, HELD) + LOWEST).astype(np.uint8)
    before = np.pad(pitches, ((1, 0), (0, 0)))[:-1]
    return pitches, (pitches > 0) & ((ids < HELD) | (pitches != before))


def with_tokens(chorale: Chorale, token_ids) -> Chorale:
    """The music of ``token_ids`` in the bars, lines and key of ``chorale``, as far as the shorter of both goes."""
    pitches, starts = from_tokens(token_ids)
    shorter = chorale.crop(0, len(pitches))
    return replace(shorter, pitches=pitches[: len(shorter)], starts=starts[: len(shorter)])


# --- conditions -------------------------------------------------------------------------------------------------------

# Features of one token, in this order; the melody is told at three places.
FEATURES = (
    *VOICES,
    *(f"sixteenth {k} of the beat" for k in (1, 2, 3, 4)),
    *(f"beat {k}" for k in ("1", "2", "3", "4 or later")),
    "bar of three",
    "fermata here",
    "fermata at the next beat",
    "fermata two beats on",
    "last four beats",
    "major",
    *(f"tonic {k}" for k in range(12)),
    "melody known",
    *(f"{what}, {where}" for where in ("here", "next beat", "two beats on")
      for what in ("melody begins", "melody's height", *(f"melody's pitch class {k}" for k in range(12)))),
)  # fmt: skip
CONDITION_DIM = len(FEATURES)


def conditions(chorale: Chorale, melody: bool = True) -> np.ndarray:  # -> [T, F]
    """What is known of each token before the music is: ``FEATURES``, float32; row t belongs to token t.

    Args:
        melody: whether the soprano is known too, here and one and two beats on; if not, all its features are 0. Then
            only the lower three voices are left to predict: score those.
    """
    return _for_each_voice(_known(chorale, melody)).reshape(-1, CONDITION_DIM)


def _known(chorale, melody):  # -> [S, F - 4]
    """The features that all four voices of a sixteenth have in common."""
    size = len(chorale)
    places, inside = _beats_ahead(chorale)  # [S, 3]
    beats, per_bar = (int(number) for number in chorale.meter.split("/"))
    known = np.zeros((size, CONDITION_DIM - len(VOICES)), np.float32)
    known[np.arange(size), chorale.beats % 4] = 1
    known[np.arange(size), 4 + np.minimum(chorale.beats // 4, 3)] = 1
    known[:, 8] = 4 * beats == 3 * per_bar
    known[:, 9:12] = chorale.fermatas[places] & inside
    known[-16:, 12] = 1
    known[:, 13] = chorale.mode == "major"
    known[:, 14 + chorale.tonic] = 1
    if melody:
        known[:, 26] = 1
        known[:, 27:] = _melody(chorale, places, inside)
    return known


def _for_each_voice(known):  # [..., S, F - 4] -> [..., S, 4, F]
    """The features with those of each voice in front."""
    rows = np.empty((*known.shape[:-1], len(VOICES), CONDITION_DIM), np.float32)
    rows[..., : len(VOICES)] = np.eye(len(VOICES))
    rows[..., len(VOICES) :] = known[..., None, :]
    return rows


def _beats_ahead(chorale):
    """[S, 3] places of this sixteenth, the next beat and the one after, and whether they lie inside the chorale."""
    here = np.arange(len(chorale))[:, None]
    places = here + np.array([0, 4, 8]) - (chorale.beats % 4)[:, None] * np.array([0, 1, 1])
    inside = places < len(chorale)
    return np.where(inside, places, 0), inside


def _melody(chorale, places, inside):
    """[S, 3 x 14] the soprano at those places: whether it begins, octaves above F sharp above middle C, pitch class."""
    pitches = chorale.pitches[places, 0].astype(int)
    sounding = (pitches > 0) & inside
    found = np.zeros((*places.shape, 14), np.float32)
    found[:, :, 0] = chorale.starts[places, 0] & inside
    found[:, :, 1] = np.where(sounding, (pitches - 66) / 12, 0)
    found[:, :, 2:] = (pitches[:, :, None] % 12 == np.arange(12)) & sounding[:, :, None]
    return found.reshape(len(places), -1)


# --- examples for a model ---------------------------------------------------------------------------------------------


def example(chorale: Chorale, melody: bool = True) -> tuple[np.ndarray, np.ndarray]:  # -> [1 + T], [T, F]
    """A whole chorale for a model: a rest, then its tokens, and the conditions of the tokens that follow the rest.

    So row t of the tokens predicts token t + 1 with row t of the conditions.
    """
    return np.concatenate([[REST], tokens(chorale)]).astype(np.int32), conditions(chorale, melody)


def windows(chorales, length: int, seed: int = 0, count: int | None = None, transpose: bool = True, melody=0.5):
    """Windows of ``length`` sixteenths from random places, as many as cover the set once, unless ``count`` is given.

    A place is drawn alike among all sixteenths; it is the middle of the window, which is then moved into its chorale.
    So many windows begin or end with theirs: whoever writes chorales has to begin one.

    Args:
        chorales: a ``ChoraleSet`` or a list of chorales.
        transpose: move each window by as many semitones as keep its chorale's voices inside RANGES.
        melody: the share of windows whose conditions know the melody; 1 all, 0 none.

    Returns:
        token_ids [N, 1 + 4 length] int32: what stands before the window (a rest at the beginning), then its tokens;
        PADDING after the end of a chorale shorter than the window. conditions [N, 4 length, F] float32, 0 there.
    """
    if length < 1:
        raise CourseError(f"A window of {length} sixteenths is too short; give at least 1.")
    rng, ends = np.random.default_rng(seed), np.cumsum([len(chorale) for chorale in chorales])
    count = -(-int(ends[-1]) // length) if count is None else count
    ids = np.full((count, 1 + len(VOICES) * length), PADDING, np.int32)
    known = np.zeros((count, length, CONDITION_DIM - len(VOICES)), np.float32)
    with_melody = rng.random(count) < melody
    for row, place in enumerate(rng.integers(ends[-1], size=count)):
        number = int(np.searchsorted(ends, place, side="right"))
        chorale = chorales[number]
        middle = int(place - ends[number]) + len(chorale)
        first = max(min(middle - length // 2, len(chorale) - length), 0)
        if transpose:
            chorale = chorale.transposed(int(rng.choice(chorale.transpositions())))
        features = _known(chorale, bool(with_melody[row]))[first : first + length]
        before = np.concatenate([[REST], tokens(chorale)])
        part = before[len(VOICES) * first :][: ids.shape[1]]
        ids[row, : len(part)], known[row, : len(features)] = part, features
    rows = _for_each_voice(known)
    rows[..., : len(VOICES)] *= known.any(axis=-1)[..., None, None]  # no voices where there is padding
    return ids, rows.reshape(count, -1, CONDITION_DIM)


# --- the file ---------------------------------------------------------------------------------------------------------


def _part(arrays, name):
    ends = np.cumsum(arrays[f"{name}_lengths"], dtype=int)[:-1]
    cut = {what: np.split(arrays[f"{name}_{what}"], ends) for what in ("pitches", "starts", "beats", "fermatas")}
    texts = (arrays[f"{name}_{what}"].tobytes().decode().split("\n") for what in ("meters", "titles", "bwvs"))
    modes = np.where(arrays[f"{name}_minor"], "minor", "major").tolist()
    columns = (*cut.values(), arrays[f"{name}_tonics"].tolist(), modes, *texts)
    return ChoraleSet(
        tuple(
            Chorale(pitches, starts, beats, meter, fermatas, tonic, mode, title, bwv)
            for pitches, starts, beats, fermatas, tonic, mode, meter, title, bwv in zip(*columns, strict=True)
        )
    )
