"""Recipes of chapter 07: small networks learn a little in one pass, and the figures are those that a card needs."""

import keras
import numpy as np
import pytest

from aigc_course import chorale_writer, melody_vae, music_recipes
from aigc_course.datasets import chorales
from aigc_course.datasets.chorales import load_chorales

pytestmark = pytest.mark.slow


@pytest.fixture
def few_chorales(monkeypatch):
    every = load_chorales()
    sizes = ((every.train, 60), (every.validation, 2), (every.test, 4))
    few = chorales.Chorales(*(chorales.ChoraleSet(part.chorales[:size]) for part, size in sizes))
    monkeypatch.setattr(music_recipes, "load_chorales", lambda: few)


def test_chorales_are_learned_and_measured(few_chorales):
    model = chorale_writer.build_chorale_wavenet((1, 2, 4, 8), residual_dim=16, skip_dim=16, dropout=0.0)
    before = chorale_writer.ChoraleWriter(model).nats(music_recipes.load_chorales().test)
    music_recipes.train_chorales(model, epochs=3, seed=0)
    figures = music_recipes.measure_chorales(model)
    assert max(figures["nats_harmony"], figures["nats_all_voices"]) < before - 1
    assert {"harmonised_chords", "composed_ending", "composed_copied_melody"} < set(figures)
    assert all(np.isfinite(value) for value in figures.values())


def test_sound_is_learned_and_measured(monkeypatch):
    monkeypatch.setattr(music_recipes, "NUM_PIECES", 16)
    monkeypatch.setattr(music_recipes, "PIECE_SECONDS", 0.05)
    monkeypatch.setattr(music_recipes, "SCORED_SECONDS", 0.1)
    model = music_recipes.build_tone_wavenet(residual_dim=8, skip_dim=16)
    before = music_recipes.measure_tones(model)["bits_per_sample"]
    music_recipes.train_tones(model, epochs=15, seed=0)
    assert 2.0 < music_recipes.measure_tones(model)["bits_per_sample"] < before - 0.5


def test_melodies_are_learned_and_measured():
    keras.utils.set_random_seed(0)
    model = melody_vae.build_melody_vae(latent_dim=4, hidden_dim=16)
    before = music_recipes.measure_melodies(model)
    music_recipes.train_melodies(model, epochs=1, seed=0)
    after = music_recipes.measure_melodies(model)
    assert after["num_test"] == len(melody_vae.melodies(load_chorales().test, transpose=False))
    assert after["distortion"] < 0.7 * before["distortion"] and after["reconstructed"] > before["reconstructed"]
