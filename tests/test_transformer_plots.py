"""Pictures of chapter 09: the right weight at the right place, sliders that work at their ends, quick enough."""

import re
import time
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops

from aigc_course import plots, transformer, transformer_plots, widgets
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

TEXT = "二〇二一年三月四日"


class Fake:
    """Two blocks of three heads with random weights; writes every text backwards and counts what it is asked."""

    num_layers, num_heads = 2, 3

    def __init__(self):
        self.asked = []

    def translate_in_detail(self, texts):
        self.asked.append(texts[0])
        if len(texts[0]) > 48:
            raise CourseError("The text has 60 characters; the limit is 48.")
        tokens = [*texts[0][::-1], "⊣"] if texts[0] else []
        return [SimpleNamespace(text=texts[0][::-1], tokens=tokens, source_tokens=[*texts[0], "⊣"])]

    def attention_maps(self, sources, targets):
        source, target = len(sources[0]) + 1, len(targets[0]) + 1
        sizes = {"encoder": (source, source), "decoder": (target, target), "cross": (target, source)}
        rng = np.random.default_rng(0)
        return {kind: rng.dirichlet(np.ones(s), (1, 2, 3, t)) for kind, (t, s) in sizes.items()}


def explored(model, text=TEXT):
    """The panel as the chapter makes it."""
    return widgets.explore(
        transformer_plots.attention_panel(model),
        alt="Attention",
        text=widgets.text(text, "a date", examples=("x" * 60, "<b>&")),
        kind=widgets.choice(transformer_plots.KINDS, "cross", "kind"),
        block=widgets.slider(1, 2, 1, 1, "block"),
        head=widgets.slider(1, 3, 1, 1, "head"),
    )


def tooltips(picture):
    return re.findall(r'title="([^"]*)"', picture.html())


# Maps


def test_every_cell_says_who_looks_at_whom_and_how_much():
    picture = transformer_plots.weight_map("月⊣", "3 <", [[0.7, 0.2, 0.1], [0.0, 0.25, 0.75]], "A & B")
    assert tooltips(picture) == [
        "月 ← 3: 0.70", "月 ← ␣: 0.20", "月 ← &lt;: 0.10", "⊣ ← 3: 0.00", "⊣ ← ␣: 0.25", "⊣ ← &lt;: 0.75",
    ]  # fmt: skip
    assert picture.alt == "A & B. Each row looks most at: 月 at 3 (1), ⊣ at < (3)."
    assert "A &amp; B" in picture.html() and not re.search(r"<script|<style|url\(|var\(", picture.html())


@pytest.mark.parametrize("weights", [np.ones((3, 2)), np.ones((0, 3)), np.ones(6)])
def test_a_map_of_another_shape_is_refused(weights):
    with pytest.raises(ValueError, match=r"not \[T, S\] = \(2, 3\)"):
        transformer_plots.weight_map("ab", "xyz", weights)


def test_small_maps_have_one_cell_a_weight():
    picture = transformer_plots.small_maps([np.eye(3), np.full((2, 5), 0.2)], ["first", "<second>"])
    assert picture.html().count("<i ") == 19 and "&lt;second&gt;" in picture.html()
    assert "first: rows put 100% in one place" in picture.alt and "<second>: rows put 20%" in picture.alt
    for maps, titles in (([], []), ([np.eye(2)], [])):
        with pytest.raises(ValueError, match="one each"):
            transformer_plots.small_maps(maps, titles)


# Masks


def test_masks_allow_what_their_names_say():
    causal, padding = (transformer_plots.make_mask(kind, 5, 2) for kind in ("causal", "padding"))
    assert np.array_equal(causal, np.tril(np.ones((5, 5), bool)))
    assert padding[:, :3].all() and not padding[:, 3:].any()
    assert np.array_equal(transformer_plots.make_mask("both", 5, 2), causal & padding)
    assert transformer_plots.make_mask("none", 5, 2).all()


def test_the_drawn_causal_mask_is_the_models():
    theirs = ops.convert_to_numpy(transformer.causal_mask(7))
    assert np.array_equal(transformer_plots.make_mask("causal", 7, 0), theirs)


@pytest.mark.parametrize(("kind", "padding"), [("future", 0), ("causal", 6), ("causal", -1)])
def test_a_senseless_mask_is_refused(kind, padding):
    with pytest.raises(ValueError, match=r"kind|padding"):
        transformer_plots.make_mask(kind, 6, padding)


@pytest.mark.parametrize("kind", ["none", "padding", "causal", "both"])
@pytest.mark.parametrize(("length", "padding"), [(6, 0), (6, 5), (10, 2), (14, 5), (30, 1)])
def test_mask_slider_at_its_ends(kind, length, padding):
    picture = transformer_plots.mask_map(kind, length, padding)
    allowed = transformer_plots.make_mask(kind, length, padding)
    assert sum(tip.endswith("1.00") for tip in tooltips(picture)) == allowed.sum()
    assert picture.alt.startswith(f"{allowed.sum()} of {length**2} pairs")


# The trained model's panel


def test_panel_draws_the_head_that_is_asked_for():
    model = Fake()
    panel = explored(model)
    maps = model.attention_maps([TEXT], [TEXT[::-1]])
    panel.set(kind="encoder", block=2, head=3)
    shown = [float(tip[-4:]) for tip in tooltips(panel.picture)]
    assert np.allclose(shown, maps["encoder"][0, 1, 2].ravel(), atol=0.0051)
    assert "encoder, block 2, head 3" in panel.picture.alt
    panel.set(kind="decoder")
    assert tooltips(panel.picture)[0].startswith("日 ← ⊢"), "the decoder reads what it wrote before"


def test_panel_computes_once_for_all_heads_and_refuses_in_words():
    model = Fake()
    panel = explored(model)
    before = len(model.asked)
    panel.set(head=3)
    panel.set(block=2, kind="decoder")
    assert len(model.asked) == before
    panel.set(text="y" * 60)
    assert "the limit is 48" in panel.picture.alt and panel.error == ""
    panel.set(text="")
    assert "Type a date." in panel.picture.alt


def test_all_heads_are_drawn_with_their_names():
    picture = transformer_plots.every_head(Fake(), TEXT, "cross")
    assert "block 1, head 1:" in picture.alt and picture.alt.startswith("6 maps")
    assert picture.html().count("<i ") == 6 * 10 * 10
    assert "Type a date." in transformer_plots.every_head(Fake(), "", "encoder").alt


# Scores and positions


@pytest.mark.parametrize("width", [2, 256, 512])
def test_division_by_the_root_keeps_the_weights_spread(width):
    scores, plain, scaled = transformer_plots.scaling_weights(width, num_keys=2000)
    assert plain.sum() == pytest.approx(1) and scaled.sum() == pytest.approx(1)
    assert scores.std() == pytest.approx(np.sqrt(width), rel=1.0)
    assert scaled.max() < 0.05
    assert width == 2 or plain.max() > 0.3


@pytest.mark.parametrize("width", [0, 513])
def test_a_width_without_vectors_is_refused(width):
    with pytest.raises(ValueError, match="1 to 512"):
        transformer_plots.scaling_weights(width)


def test_scaling_bars_show_both():
    picture = transformer_plots.scaling_bars(512)
    assert "Scores as they are" in picture.alt and "Divided by √512" in picture.alt
    assert transformer_plots.scaling_bars(512).html() == picture.html()
    assert transformer_plots.scaling_bars(512, seed=1).html() != picture.html()


def test_similarity_of_positions_depends_on_their_distance():
    def told(first, second):
        return transformer_plots.positions_view(first, second).alt.split(". Of")[0].split(": ")[1]

    assert told(7, 7) == "1.00" and told(3, 9) == told(40, 46) == told(46, 40)
    assert float(told(20, 21)) > float(told(20, 30))
    for first in (0, 1, 59):
        neighbour = 1 if first == 0 else first - 1
        assert transformer_plots.positions_view(first, 7).alt.count(f"distance 1: {told(first, neighbour)}.") == 1


@pytest.mark.parametrize(("first", "second"), [(0, 0), (59, 0), (30, 30), (59, 59), (0, 59)])
def test_position_slider_at_its_ends(first, second):
    picture = transformer_plots.positions_view(first, second)
    assert picture.html().count("<i ") == 2 * 32 + 60
    assert picture.html().count("213,94,0)") >= 1 and f"positions {first} and {second}" in picture.alt


def test_the_table_is_a_described_picture():
    picture = transformer_plots.table_picture()
    assert isinstance(picture, plots.Picture) and picture.size == (640, 360) and "left columns" in picture.alt


# The whole model


def test_the_sketch_has_the_parts_of_the_blocks_in_their_order():
    picture = transformer_plots.model_sketch()
    encoder, decoder = picture.alt.split("Decoder:")
    assert isinstance(picture, plots.Picture) and picture.size == (740, 660)
    assert "norm, self-attention, sum, norm, feed-forward, sum; a last norm" in encoder
    assert (
        "norm, causal self-attention, sum, norm, cross-attention, sum, norm, feed-forward, sum; a last norm" in decoder
    )
    for stack, cross in ((encoder, False), (decoder, True)):
        block = transformer.TransformerBlock(2, 4, cross_attention=cross)
        assert stack.count("norm, ") == sum(isinstance(x, keras.layers.LayerNormalization) for x in block._layers)


# Speed


def best_of(draw, times=8):
    """Seconds of the quickest of several calls, since the machine may be busy."""
    found = []
    for _ in range(times):
        start = time.perf_counter()
        draw().html()
        found.append(time.perf_counter() - start)
    return min(found)


def test_every_slider_is_quick():
    long = transformer_plots.attention_panel(Fake())
    long("x" * 48, "encoder", 1, 1)
    for draw in (
        lambda: long("x" * 48, "encoder", 2, 3),
        lambda: transformer_plots.mask_map("both", 14, 5),
        lambda: transformer_plots.scaling_bars(512),
        lambda: transformer_plots.positions_view(59, 0),
    ):
        assert best_of(draw) < 0.05
