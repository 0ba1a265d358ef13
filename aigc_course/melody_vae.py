"""A small MusicVAE (Roberts et al., 2018, without its hierarchy): two bars of a melody as one point of a latent space.

Shapes: N melodies, S sixteenths, C tokens of a melody, Z latent width.   Taught in chapters/07_wavenet.   Corrects A18.

``log p(x) >= E_q log p(x | z) - KL(q(z | x) || p(z))`` as in ``aigc_course.vae``; x is one token for each sixteenth.
"""

import keras
import numpy as np
from keras import layers

from aigc_course.datasets.chorales import RANGES
from aigc_course.runtime import CourseError
from aigc_course.vae import VAE

SIXTEENTHS = 32  # two bars of four quarters
REST, HOLD, FIRST_NOTE = 0, 1, 2
LOW, HIGH = RANGES["soprano"]
NUM_TOKENS = FIRST_NOTE + HIGH - LOW + 1  # rest, hold, and a note at each pitch of the soprano


def melodies(chorales, length=SIXTEENTHS, transpose=True):  # -> [N, S]
    """Tokens of the sopranos from every bar line on, int32: 0 a rest, 1 held, 2 and on a note from the lowest up.

    Args:
        chorales: a ``ChoraleSet`` or a list of chorales; those not in 4/4 are passed over.
        length: sixteenths of a melody.
        transpose: also in every key in which the chorale's voices stay inside their ranges.
    """
    found = []
    for chorale in chorales:
        if chorale.meter != "4/4":
            continue
        begins = [s for s in np.flatnonzero(chorale.beats == 0) if s + length <= len(chorale)]
        rows = [_tokens(chorale.crop(int(s), length)) for s in begins]
        for move in chorale.transpositions() if transpose else [0]:
            found += [np.where(row >= FIRST_NOTE, row + move, row) for row in rows]
    return np.unique(np.array(found, "int32").reshape(-1, length), axis=0)


def _tokens(chorale):
    """[S] tokens of the soprano; CourseError for a note outside its range."""
    pitches = chorale.pitches[:, 0].astype("int32")
    if ((pitches > 0) & ((pitches < LOW) | (pitches > HIGH))).any():
        raise CourseError(f"A soprano has the pitches {LOW} to {HIGH}; that of BWV {chorale.bwv} leaves them.")
    return np.where(pitches == 0, REST, np.where(chorale.starts[:, 0], pitches - LOW + FIRST_NOTE, HOLD))


def one_hot(token_ids):  # [N, S] -> [N, S, 1, C]
    """Melodies as the images of a ``VAE``: S rows, one column, C channels.

    Raises:
        CourseError: an id that is no token of a melody, or no array [N, S].
    """
    ids = _checked(token_ids, 2)
    return np.eye(NUM_TOKENS, dtype="float32")[ids][:, :, None]


def _checked(token_ids, num_axes):
    """Ids as an array of ``num_axes`` axes; CourseError for anything that is no token of a melody."""
    ids = np.asarray(token_ids)
    if ids.ndim != num_axes or (ids.size and ids.dtype.kind not in "iu"):
        shape = "[N, S]" if num_axes == 2 else "[S]"
        raise CourseError(f"Melodies are whole numbers {shape}, not {ids.dtype} {list(ids.shape)}.")
    if ids.size and not 0 <= ids.min() <= ids.max() < NUM_TOKENS:
        raise CourseError(f"The ids run from {ids.min()} to {ids.max()}; a melody has 0 to {NUM_TOKENS - 1}.")
    return ids.astype("int32")


def most_probable(probabilities):  # [N, S, 1, C] -> [N, S]
    """The most probable token of each sixteenth; to hold on at the beginning is a rest."""
    ids = np.asarray(probabilities)[:, :, 0].argmax(-1).astype("int32")
    ids[:, 0] = np.where(ids[:, 0] == HOLD, REST, ids[:, 0])
    return ids


def to_notes(token_ids):  # [S] -> [S, 1], [S, 1]
    """MIDI pitches (0 a rest) and starts of one melody, as one voice for ``audio`` and the pictures of chapter 07.

    Raises:
        CourseError: an id that is no token of a melody.
    """
    ids, pitch = _checked(token_ids, 1), 0
    pitches = np.zeros((len(ids), 1), np.uint8)
    for place, token in enumerate(ids):
        pitch = pitch if token == HOLD else 0 if token == REST else int(token) - FIRST_NOTE + LOW
        pitches[place] = pitch
    return pitches, (ids >= FIRST_NOTE)[:, None]


def build_melody_vae(latent_dim=32, hidden_dim=192, beta=0.5, seed=0):
    """An untrained ``VAE`` of melodies: an encoder that reads in both directions, a decoder that is told the code at
    every sixteenth. ``beta`` below 1 lets codes keep more than the bound would pay for (see chapter 08)."""
    shape = (SIXTEENTHS, 1, NUM_TOKENS)
    melody = keras.Input(shape)
    read = layers.Reshape((SIXTEENTHS, NUM_TOKENS))(melody)
    read = layers.Bidirectional(layers.GRU(hidden_dim))(read)
    heads = [layers.Dense(latent_dim, name=name)(read) for name in ("mean", "log_var")]
    code = keras.Input((latent_dim,))
    written = layers.RepeatVector(SIXTEENTHS)(layers.Dense(hidden_dim, activation="tanh")(code))
    written = _Places()(written)
    for _ in range(2):
        written = layers.Bidirectional(layers.GRU(hidden_dim // 2, return_sequences=True))(written)
    written = layers.Reshape(shape)(layers.Dense(NUM_TOKENS)(written))
    return VAE(
        latent_dim,
        beta=beta,
        likelihood="categorical",
        encoder=keras.Model(melody, heads, name="encoder"),
        decoder=keras.Model(code, written, name="decoder"),
        seed=seed,
    )


@keras.saving.register_keras_serializable("aigc_course")
class _Places(layers.Layer):
    """Adds to each sixteenth a learned vector of its place in the two bars."""

    def build(self, shape):
        self.table = self.add_weight(shape[1:], "random_normal", name="table")

    def call(self, inputs):  # [N, S, D] -> [N, S, D]
        return inputs + self.table
