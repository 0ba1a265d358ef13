"""The VAE of melodies: tokens there and back, its likelihood, what it learns, refusals."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from scipy.special import log_softmax

from aigc_course import melody_vae, vae
from aigc_course.datasets import chorales
from aigc_course.runtime import CourseError


def tune(*tokens):
    """A melody of these tokens, the last one held."""
    return np.array([*tokens, *[melody_vae.HOLD] * (melody_vae.SIXTEENTHS - len(tokens))])


@pytest.fixture(scope="module")
def sopranos():
    return melody_vae.melodies(chorales.load_chorales().test, transpose=False)


def test_melodies_are_the_sopranos_from_their_bar_lines(sopranos):
    """Every row, as notes, stands in some chorale at a bar line."""
    assert sopranos.shape[1] == 32 and len(sopranos) > 200
    assert sopranos.min() == 0 and sopranos.max() < melody_vae.NUM_TOKENS
    assert (sopranos[:, 0] != melody_vae.HOLD).all()
    places = {
        tuple(chorale.pitches[s : s + 32, 0])
        for chorale in chorales.load_chorales().test
        for s in np.flatnonzero(chorale.beats == 0)
    }
    assert all(tuple(melody_vae.to_notes(row)[0].ravel()) in places for row in sopranos)


def test_transposed_melodies_keep_their_intervals():
    some = chorales.load_chorales().test[:2]
    plain, moved = (melody_vae.melodies(some, transpose=choice) for choice in (False, True))
    shapes = {tuple(np.diff(melody_vae.to_notes(row)[0][:, 0].astype(int))) for row in plain}
    assert len(moved) > len(plain)
    assert {tuple(np.diff(melody_vae.to_notes(row)[0][:, 0].astype(int))) for row in moved} == shapes


def test_no_chorale_gives_no_melody():
    assert melody_vae.melodies([]).shape == (0, 32)


def test_a_soprano_outside_its_range_is_refused():
    chorale = chorales.load_chorales().test[0]
    for pitch in (melody_vae.LOW - 1, melody_vae.HIGH + 1):
        pitches = chorale.pitches.copy()
        pitches[pitches[:, 0] > 0, 0] = pitch
        with pytest.raises(CourseError, match="A soprano has the pitches"):
            melody_vae.melodies([replace(chorale, pitches=pitches)], transpose=False)


def test_notes_by_hand():
    """A fourth up from the lowest note, held; a rest; held after a rest is a rest."""
    pitches, starts = melody_vae.to_notes([2, 1, 7, 0, 1])
    assert pitches.ravel().tolist() == [57, 57, 62, 0, 0]
    assert starts.ravel().tolist() == [True, False, True, False, False]


def test_one_hot_and_back(sopranos):
    assert np.array_equal(melody_vae.most_probable(melody_vae.one_hot(sopranos)), sopranos)
    assert melody_vae.most_probable(melody_vae.one_hot([tune(melody_vae.HOLD)]))[0, 0] == melody_vae.REST
    with pytest.raises(CourseError, match="run from 0 to 27"):
        melody_vae.one_hot([[0, 27]])
    assert melody_vae.one_hot(np.zeros((0, 32), "int32")).shape == (0, 32, 1, 27)
    for odd in ([], [0, 1], [[1.5]]):
        with pytest.raises(CourseError, match=r"whole numbers \[N, S\]"):
            melody_vae.one_hot(odd)
    for odd in ([27], [-1], [250], [[0]], [0.5]):
        with pytest.raises(CourseError):
            melody_vae.to_notes(odd)


def test_categorical_log_likelihood_is_that_of_scipy():
    rng = np.random.default_rng(0)
    logits, ids = rng.normal(size=(3, 5, 2, 4)).astype("float32"), rng.integers(4, size=(3, 5, 2))
    found = keras.ops.convert_to_numpy(vae.categorical_log_likelihood(np.eye(4, dtype="float32")[ids], logits))
    expected = np.take_along_axis(log_softmax(logits, axis=-1), ids[..., None], -1).sum((1, 2, 3))
    assert np.allclose(found, expected, atol=1e-5)


@pytest.mark.slow
def test_a_melody_vae_learns_ten_melodies_by_heart(sopranos):
    keras.utils.set_random_seed(0)
    ten = melody_vae.one_hot(sopranos[::20][:10])
    model = melody_vae.build_melody_vae(latent_dim=8, hidden_dim=64, beta=0.01)
    model.compile(keras.optimizers.Adam(5e-3))
    history = model.fit(ten, epochs=150, batch_size=10, verbose=0).history["loss"]
    right = (melody_vae.most_probable(model.reconstruct(ten)) == ten.argmax(-1)[:, :, 0]).mean()
    assert history[-1] < history[0] / 5 and right > 0.9
    assert np.allclose(model.decode(np.zeros((2, 8))).sum(-1), 1, atol=1e-5)
    walk = model.interpolate(ten[0], ten[1], num_steps=5)
    assert walk.shape == (5, 32, 1, melody_vae.NUM_TOKENS)
