"""Pictures of chapter 07: trees that count right, curves, sounds that panels play, music panels with any writer."""

import re
import time
from types import SimpleNamespace

import numpy as np
import pytest

from aigc_course import audio, widgets
from aigc_course import wavenet_plots as pictures
from aigc_course.datasets.chorales import load_chorales
from aigc_course.melody_vae import FIRST_NOTE, HOLD, to_notes
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend


def chord_music(bars=2, soprano=72):
    pitches = np.tile(np.array([soprano, 67, 64, 48], "uint8"), (16 * bars, 1))
    starts = np.zeros((16 * bars, 4), bool)
    starts[::4] = True
    marks = {"beats": np.arange(16 * bars) % 16, "meter": "4/4", "tonic": 0, "mode": "major", "title": "Chords"}
    return SimpleNamespace(pitches=pitches, starts=starts, **marks)


class Fake:
    """Writes chords, a step higher for each seed, and refuses seed 13."""

    def __init__(self):
        self.asked = []

    def __call__(self, **values):
        self.asked.append(values)
        if values["seed"] == 13:
            raise CourseError("The model does not write on seed 13.")
        return chord_music(values["bars"], 72 + values["seed"] % 5)


# What a stack sees


@pytest.mark.parametrize(("layers", "kernel"), [(1, 2), (4, 2), (3, 3), (5, 3), (2, 5)])
def test_tree_sees_what_the_formula_says(layers, kernel):
    active, edges = pictures.tree(layers, kernel)
    assert active[0] == set(range(-(kernel - 1) * (2**layers - 1), 1)) and active[-1] == {0}
    assert pictures.tree(layers, kernel, dilated=False)[0][0] == set(range(-(kernel - 1) * layers, 1))
    assert all(below[1] == above[1] - 1 and below[0] <= above[0] for below, above in edges)
    assert len(edges) == kernel * sum(map(len, active[1:]))


def test_three_layers_of_width_five_see_thirteen_steps_of_which_six_are_to_come():
    active, _ = pictures.tree(3, 5, dilated=False, causal=False)
    assert active[0] == set(range(-6, 7))
    assert pictures.tree_words(3, 5, False, False).endswith("an output sees 13 steps, 6 of them in its future")
    assert pictures.tree_words(4).endswith("dilations 1, 2, 4, 8: an output sees 16 steps")
    with pytest.raises(ValueError, match="layer"):
        pictures.tree(0)


def test_tree_panel_moves():
    panel = widgets.explore(
        pictures.receptive_tree,
        alt=pictures.tree_words,
        num_layers=widgets.slider(1, 6, 1, 4, "layers"),
        kernel_size=widgets.slider(2, 3, 1, 2, "kernel"),
        dilated=widgets.choice({"1, 2, 4, ...": True, "all 1": False}, True, "dilations"),
        causal=widgets.choice({"causal": True, "same": False}, True, "padding"),
    )
    before = panel.picture.data
    panel.set(num_layers=6, kernel_size=3)
    assert panel.picture.data != before and "sees 127 steps" in panel.picture.alt
    panel.set(causal=False)
    assert "63 of them in its future" in panel.picture.alt


# The gate


def test_gate_is_the_product():
    _, filters, gates = pictures._gate(2.0, 3.0, 1.0)
    x = np.linspace(-4, 4, 161)
    assert np.allclose(filters * gates, np.tanh(2 * x) / (1 + np.exp(-3 * x - 1)))
    assert "product from -0.00 to 0.00" in pictures.gate_words(gate_bias=-20.0)
    assert "gate runs from 1.00 to 1.00, the product from -1.00 to 1.00" in pictures.gate_words(gate_bias=20.0)


def test_gate_panel_moves():
    weights = {name: widgets.slider(-3.0, 3.0, 0.1, 1.0, name) for name in ("filter_weight", "gate_weight")}
    bias = widgets.slider(-6.0, 6.0, 0.1, 0.0, "condition")
    panel = widgets.explore(pictures.gate_curves, alt=pictures.gate_words, **weights, gate_bias=bias)
    before = panel.picture.data
    panel.inputs["gate_bias"].value = -6.0
    assert panel.picture.data != before


# Levels


def test_mu_law_panel_plays_fewer_levels_and_says_the_noise():
    clip = audio.music_clip(np.array([[60]] * 8 + [[64]] * 8), tempo=120, label="Two notes")
    panel = widgets.explore(
        pictures.mu_law_panel(clip),
        alt="Sound",
        levels=widgets.choice([2, 4, 16, 256], 16, "levels"),
        law=widgets.choice(["mu-law", "linear"], "mu-law", "law"),
    )
    noise, players = [], set()
    for levels in (2, 4, 16, 256):
        panel.set(levels=levels)
        noise.append(float(re.search(r"(-?[\d.]+) dB", panel.picture.alt)[1]))
        players.add(re.search(r"base64,([^\"]+)", panel.picture.html())[1])
    assert noise == sorted(noise) and noise[-1] > 30 and len(players) == 4
    assert panel.picture.role == "group" and "Two notes" in panel.picture.alt  # a player inside can be reached
    assert panel.picture.html().count("<audio controls") == 1 and 'alt="Curve of 256 levels' in panel.picture.html()


def test_quiet_sounds_are_what_the_mu_law_is_for():
    draw = pictures.mu_law_panel(audio.music_clip(np.array([[60]] * 8), tempo=120, label="A note"))
    noise = {
        (law, loudness): float(re.search(r"(-?[\d.]+) dB", draw(32, law, loudness).alt)[1])
        for law in ("mu-law", "linear")
        for loudness in (1.0, 0.1)
    }
    assert noise["linear", 1.0] > noise["mu-law", 1.0] and noise["mu-law", 0.1] > noise["linear", 0.1] + 10
    assert noise["mu-law", 1.0] - noise["mu-law", 0.1] < 3
    assert "sent at 0.1 of its loudness" in draw(32, loudness=0.1).alt


def test_any_clip_can_be_put_through_levels():
    for samples in (np.zeros(1), np.zeros(50), np.ones(7)):
        draw = pictures.mu_law_panel(audio.Clip(samples, 8_000, "Short"))
        assert draw(levels=2, law="linear").html()


def test_distribution_names_mode_and_mean():
    shares = np.zeros(256)
    shares[[10, 200]] = 0.6, 0.4
    picture = pictures.level_distribution(shares, actual=200)
    assert "Most probable is level 10 with 0.600; the mean is level 86.0, of probability 0.000" in picture.alt
    assert "Level 200 came, of probability 0.400" in picture.alt
    for wrong in ([0.5, 0.6], [1.5, -0.5], [[1.0]]):
        with pytest.raises(ValueError, match="Probabilities"):
            pictures.level_distribution(wrong)


# Music


def music_controls():
    return {
        "temperature": widgets.slider(0.1, 2.0, 0.1, 1.0, "temperature"),
        "seed": widgets.slider(0, 20, 1, 0, "seed"),
        "soprano": widgets.choice({"keep it": True, "write it": False}, True, "soprano"),
        "bars": widgets.slider(1, 4, 1, 2, "bars"),
        "view": widgets.choice(["piano roll", "score"], "piano roll", "view"),
    }


def test_music_panel_asks_for_what_the_sliders_say():
    writer = Fake()
    panel = widgets.explore(pictures.music_panel(writer), alt="Music", **music_controls())
    assert "Chorale, soprano given (4.0 s). Piano roll" in panel.picture.alt
    assert panel.picture.role == "group" and panel.picture.html().count("<audio controls") == 1
    asked = len(writer.asked)
    panel.set(temperature=0.3, seed=7, soprano=False, bars=3)
    assert writer.asked[asked:] == [{"temperature": 0.3, "seed": 7, "keep_soprano": False, "bars": 3}]
    assert "given" not in panel.picture.alt and "(6.0 s)" in panel.picture.alt
    panel.set(view="score")  # the same music, written once
    assert len(writer.asked) == asked + 1
    assert "image/svg+xml" in panel.picture.html() and "C major" in panel.picture.alt
    panel.set(seed=13)
    assert panel.picture.alt.endswith("The model does not write on seed 13.") and panel.error == ""


def test_harmony_panel_writes_the_opening_of_the_tune():
    asked = []

    def write(plan, sampler, seed, keep_soprano):
        asked.append((len(plan), plan.bwv, sampler.temperature, seed, keep_soprano))
        return plan

    plans = [load_chorales().test[number] for number in (5, 17)]  # in 4/4 and in 3/4
    draw = pictures.harmony_panel(SimpleNamespace(write=write), plans)
    picture = draw(tune=0, temperature=0.5, seed=3, soprano=True, bars=2, view="piano roll")
    assert "Written just now, soprano given (4.0 s)" in picture.alt
    draw(tune=0, temperature=0.5, seed=3, soprano=True, bars=2, view="score")  # another view, not written again
    draw(tune=1, temperature=1.0, seed=0, soprano=False, bars=1, view="piano roll")
    assert asked == [(32, plans[0].bwv, 0.5, 3, True), (12, plans[1].bwv, 1.0, 0, False)]


def test_belief_panel_shows_one_sample_and_what_came():
    shares = np.eye(8)[[3, 5]] * 0.93 + 0.07 / 8
    draw = pictures.belief_panel(shares, np.array([3, 2]))
    assert "Sample 0. Most probable is level 3" in draw(0).alt and "Level 3 came" in draw(0).alt
    assert "Sample 1. Most probable is level 5" in draw(1).alt and "Level 2 came" in draw(1).alt


def test_morph_panel_ends_on_its_melodies():
    first, second = np.full((2, 32), HOLD)
    first[0], second[0], second[16] = FIRST_NOTE, FIRST_NOTE + 4, FIRST_NOTE + 7
    codes = lambda images: (images.reshape(len(images), -1), None)  # noqa: E731
    melodist = SimpleNamespace(encode=codes, decode=lambda code: code.reshape(1, 32, 1, -1))
    draw = pictures.morph_panel(melodist, first, second, tempo=60)
    alone = [pictures.music_view(to_notes(ids), tempo=60, label="x").alt for ids in (first, second)]
    for share, alt in zip((0.0, 1.0), alone, strict=True):
        assert draw(share).alt == alt.replace("x (8.0 s)", f"{share:.0%} of the way (8.0 s)")


def test_music_that_is_only_notes_can_be_shown():
    music = chord_music(1)
    for view in ("piano roll", "score"):
        picture = pictures.music_view((music.pitches, music.starts), view, tempo=60, label="Notes")
        assert "Notes (4.0 s)" in picture.alt
    with pytest.raises(ValueError, match="view"):
        pictures.music_view(music, "tablature")


def test_without_verovio_the_music_plays_and_the_score_says_what_to_do(monkeypatch):
    def missing(*_, **__):
        raise CourseError("The score needs Verovio.")

    monkeypatch.setattr(pictures, "score", missing)
    picture = pictures.music_view(chord_music(), "score")
    assert "<audio controls" in picture.html() and "The score needs Verovio." in picture.html()


def seconds_of(panel, position):
    start = time.process_time()
    panel.set(**position)
    return time.process_time() - start


def test_pictures_of_panels_are_quick_and_small():
    """Both ends and the middle of every control under 0.15 s of computing, in one of three tries."""
    clip = audio.music_clip(*(np.repeat(a, 2, axis=0) for a in (chord_music().pitches, chord_music().starts)))
    tree = {"num_layers": widgets.slider(1, 6, 1, 4, "layers"), "kernel_size": widgets.slider(2, 3, 1, 2, "kernel")}
    panels = [
        widgets.explore(pictures.receptive_tree, alt="Tree", **tree),
        widgets.explore(pictures.mu_law_panel(clip), alt="Sound", levels=widgets.choice([2, 256], 2, "levels")),
        widgets.explore(pictures.music_panel(Fake()), alt="Music", **music_controls()),
    ]
    for panel in panels:
        for position in panel.positions():
            assert any(seconds_of(panel, position) < 0.15 for _ in range(3)), f"{position} is slow"
            assert len(panel.picture.html()) < 420_000
