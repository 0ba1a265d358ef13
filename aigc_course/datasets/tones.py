"""Raw audio for WaveNet, made and not fetched: voices of chorales, synthesised at 8 kHz, as mu-law ids of 256 levels.

Shapes: N pieces, T samples, V voices, F features = 3 + 12 + OCTAVES for each voice.   Taught in chapters/07_wavenet.

Everything follows from the chorales and a seed: which chorale, where in it, how fast and how loud. A piece begins with
a note of the soprano; voices that hold a note there join in with their next one. ``conditions[n, t]`` belong to sample
t of piece n, as ``WaveNet`` takes them; they say what the score says, the notes with their beginnings and ends, and
nothing of the sound.
"""

from dataclasses import dataclass

import numpy as np

from aigc_course.audio import (
    TIMBRES,
    VOICES,
    Clip,
    checked_music,
    mu_law_decode,
    mu_law_encode,
    notes,
    sixteenth_seconds,
    tone,
)

RATE = 8_000  # samples a second, as telephones have (ITU-T G.711)
LEVELS = 256
SILENCE = 128  # the id of the sample 0
TEMPI = (60.0, 120.0)  # quarter notes a minute, drawn evenly between
LOUDNESS = (0.4, 0.8)  # of a piece's loudest possible sample
EDGE = 0.02  # seconds in which the features of a beginning and an end rise and fall by the factor e
LOWEST_OCTAVE, OCTAVES = 2, 6  # octaves 2 to 7: MIDI pitches 24 to 95, middle C begins octave 5 in this count
FEATURES = 3 + 12 + OCTAVES


@dataclass(frozen=True, eq=False)
class Tones:
    """Pieces of sound.

    ``ids`` [N, T] int32: mu-law ids in 0 to 255.   ``pitches`` [N, T, V] uint8: the MIDI pitch that sounds in every
    voice, 0 for none.   ``since`` and ``until`` [N, T, V] int32: samples from the beginning and to the end of its note.
    """

    ids: np.ndarray
    pitches: np.ndarray
    since: np.ndarray
    until: np.ndarray

    def __len__(self):
        return len(self.ids)

    @property
    def condition_dim(self):
        """F of ``conditions``."""
        return FEATURES * self.pitches.shape[-1]

    def conditions(self, part=slice(None)):  # [N, T, F] float32
        """What the score says about every sample; ``part`` chooses pieces, since all of them may be large.

        For each voice: 1 where it sounds, e^(-t / 20 ms) of the time since its note began and of the time until it
        ends, pitch class as one of twelve, octave as one of six. All are 0 in a rest.
        """
        pitches, sounding = self.pitches[part], self.pitches[part] > 0
        features = np.zeros((*pitches.shape, FEATURES), "float32")
        features[..., 0] = sounding
        for place, samples in ((1, self.since[part]), (2, self.until[part])):
            features[..., place] = np.exp(-samples / (EDGE * RATE)) * sounding
        places = np.stack([3 + pitches % 12, 15 + pitches.astype(int) // 12 - LOWEST_OCTAVE], axis=-1)
        values = np.repeat(sounding[..., None], 2, axis=-1).astype("float32")
        np.put_along_axis(features, np.where(sounding[..., None], places, 3), values, axis=-1)
        return features.reshape(*pitches.shape[:-1], -1)

    def samples(self, piece):  # [T] float32
        """The sound of a piece, as its ids have it."""
        return mu_law_decode(self.ids[piece], LEVELS)

    def clip(self, piece, label="Real tones"):
        """A piece as ``audio.Clip``."""
        return Clip(self.samples(piece), RATE, label)


def make_tones(chorales, count=32, seconds=0.5, seed=0, voices=1):
    """Synthesise pieces of chorales.

    Args:
        chorales: a sequence; ``pitches`` [S, 4] and ``starts`` [S, 4] of each entry are used.
        count: N.
        seconds: length of a piece, so that T = seconds * 8,000, rounded.
        seed: same seed, same pieces.
        voices: V, from 1 (the soprano alone) to 4; each has the timbre that it has in ``audio.render``.

    Raises:
        ValueError: no chorales, no pieces, no time, other voices, or pitches outside 24 to 95.
    """
    length = round(seconds * RATE)
    if not len(chorales) or count < 1 or length < 1 or voices not in range(1, len(VOICES) + 1):
        raise ValueError("Tones need a chorale, a piece, a moment of time and from one to four voices.")
    random = np.random.default_rng(seed)
    pieces = [_piece(chorales[int(random.integers(len(chorales)))], length, random, voices) for _ in range(count)]
    return Tones(*(np.stack(parts) for parts in zip(*pieces, strict=True)))


def _piece(chorale, length, random, voices):
    """ids [T], pitches [T, V], since [T, V], until [T, V] of one piece that begins where a note of the soprano does."""
    pitches, starts = checked_music(chorale.pitches, chorale.starts)
    found = notes(pitches[:, :voices], starts[:, :voices])
    begins = [note.begin for note in found if note.voice == 0] or [0]
    step = sixteenth_seconds(random.uniform(*TEMPI)) * RATE
    enough = [begin for begin in begins if (len(pitches) - begin) * step >= length]  # not the end alone
    first = int(random.choice(enough or begins[:1]))
    loudness = random.uniform(*LOUDNESS) / sum(loud for _, loud in TIMBRES[:voices])
    samples = np.zeros(length)
    score = np.zeros((3, length, voices), "int32")
    for note in found:
        begin, end = round((note.begin - first) * step), round((note.end - first) * step)
        if 0 <= begin < length:
            _add(note, begin, end, samples, score, loudness)
    return mu_law_encode(samples, LEVELS), score[0].astype("uint8"), score[1], score[2]


def _add(note, begin, end, samples, score, loudness):
    """Add a note to ``samples`` [T] and to ``score`` [3, T, V]: pitch, samples since it began and until it ends."""
    if not 0 <= note.pitch // 12 - LOWEST_OCTAVE < OCTAVES:
        raise ValueError(f"Tones have MIDI pitches from 24 to 95, not {note.pitch}.")
    stop = min(end, len(samples))
    samples[begin:stop] += loudness * tone(note.pitch, end - begin, RATE, note.voice)[: stop - begin]
    times = np.arange(stop - begin)
    score[:, begin:stop, note.voice] = np.full_like(times, note.pitch), times, end - begin - 1 - times


# What a model has to beat


def predictor_bits(train_ids, test_ids, order=16):
    """Held-out bits per sample of a linear predictor with a table of its errors; ``order=0`` copies the last sample.

    Weights (least squares on the samples) and table (how often which id came, given the predicted one; errors are
    counted apart for 16 ranges of the predicted id) come from ``train_ids``. Before a piece there is silence.

    Args:
        train_ids, test_ids: [N, T] mu-law ids.
        order: samples that the prediction looks back.

    Returns:
        Mean over ``test_ids`` of -log2 of the probability of the id that came; 8 bits is chance.
    """
    weights = np.ones(1) if order == 0 else _least_squares(train_ids, order)
    errors = np.full((16, 2 * LEVELS - 1), 1e-2)
    predicted = _predicted(train_ids, weights)
    np.add.at(errors, (predicted // 16, np.asarray(train_ids) - predicted + LEVELS - 1), 1)
    ids = np.arange(LEVELS)
    table = errors[ids[:, None] // 16, ids - ids[:, None] + LEVELS - 1]  # [predicted id, id that came]
    table /= table.sum(axis=1, keepdims=True)
    return float(-np.log2(table[_predicted(test_ids, weights), np.asarray(test_ids)]).mean())


def _history(ids, order):  # [N, T] -> [N, T, order], the oldest first
    samples = mu_law_decode(ids, LEVELS).astype("float64")
    samples = np.pad(samples, ((0, 0), (order, 0)))
    return np.lib.stride_tricks.sliding_window_view(samples[:, :-1], order, axis=1)


def _least_squares(ids, order):  # -> [order]
    past = _history(ids, order).reshape(-1, order)
    now = mu_law_decode(ids, LEVELS).reshape(-1).astype("float64")
    return np.linalg.solve(past.T @ past + 1e-6 * len(past) * np.eye(order), past.T @ now)


def _predicted(ids, weights):  # [N, T] -> [N, T]
    return mu_law_encode(_history(ids, len(weights)) @ weights, LEVELS)
