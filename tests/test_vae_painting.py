"""Painting on picture arrays: masks have the area of their shape, stamps fall where they should, also off the page."""

import numpy as np
import pytest

from aigc_course import plots
from aigc_course import vae_painting as painting

pytestmark = pytest.mark.any_backend


def page(height=40, width=50, grey=100):
    return np.full((height, width, 3), grey, np.uint8)


@pytest.mark.parametrize("radius, inner", [(3.0, 0.0), (6.5, 0.0), (12.0, 8.5)])
def test_disc_has_the_area_of_a_disc_or_ring(radius, inner):
    mask = painting.disc(radius, inner)
    assert mask.sum() == pytest.approx(np.pi * (radius**2 - inner**2), rel=0.01)
    np.testing.assert_allclose(mask, mask[::-1, ::-1])
    assert mask[len(mask) // 2, len(mask) // 2] == (0.0 if inner else 1.0)


def test_cross_leaves_its_middle_open():
    mask = painting.cross(5, 2, 3)
    assert mask.shape == (11, 11) and not mask[4:7, 4:7].any()
    assert mask[5, 0] == mask[0, 5] == mask[4, 0] == mask[6, 10] == 1 and mask[3, 0] == 0
    assert mask.sum() == 4 * 4 * 3


def test_stamp_mixes_colour_by_its_mask():
    given, mask = page(), np.zeros((3, 3))
    mask[1, 1], mask[0, 2] = 1.0, 0.5
    painting.stamp(given, mask, (200, 0, 100), 10, 20)
    assert given[20, 10].tolist() == [200, 0, 100] and given[19, 11].tolist() == [150, 50, 100]
    assert (given != 100).any(axis=-1).sum() == 2


@pytest.mark.parametrize(
    "x, y, left", [(0, 0, 4), (49, 39, 4), (0, 20, 6), (-2, 10, 0), (70, 10, 0), (10, -30, 0), (10, 99, 0)]
)
def test_stamp_leaves_out_what_lies_outside(x, y, left):
    given = page()
    painting.stamp(given, np.ones((3, 3)), (0, 0, 0), x, y)
    assert (given == 0).all(axis=-1).sum() == left


def test_paste_takes_grey_and_coloured_pictures():
    given = page()
    painting.paste(given, np.full((2, 4), 7, np.uint8), 5, 6)
    painting.paste(given, np.tile(np.uint8([1, 2, 3]), (2, 2, 1)), 20, 30)
    assert (given[6:8, 5:9] == 7).all() and (given[30:32, 20:22] == [1, 2, 3]).all()
    assert (given != 100).any(axis=-1).sum() == 8 + 4


def test_curve_is_a_line_of_even_thickness():
    """Level, it covers 2.4 pixels; however steep, it is nowhere interrupted."""
    level = page(grey=0)
    painting.curve(level, 5, np.full(30, 20.0), (255, 255, 255))
    assert level[:, 6:34, 0].sum(axis=0) / 255 == pytest.approx(np.full(28, 2.4), abs=0.05)
    assert not level[:, :5].any() and not level[:, 35:].any()
    steep = page(grey=0)
    painting.curve(steep, 5, np.where(np.arange(30) < 15, 5.0, 33.0), (255, 255, 255))
    assert (steep[6:33, :, 0].max(axis=1) > 200).all()


def test_frame_says_where_values_lie():
    """A mark drawn by Matplotlib is centred where the frame places its values."""
    figure, _ = painting.canvas(300, 200)
    axes = painting.inset(figure, 40, 30, 220, 120)
    axes.set(xlim=(-2, 3), ylim=(10, 20))
    axes.set_axis_off()
    axes.plot([1.5], [12.5], marker="s", markersize=6, color="black")
    frame, drawn = painting.frame(axes), plots.pixels(figure)[..., 0] < 128
    rows, columns = np.nonzero(drawn)
    assert frame.place(1.5, 12.5) == pytest.approx((columns.mean(), rows.mean()), abs=0.75)
    assert frame.place(-2, 20) == pytest.approx((39.5, 29.5), abs=0.01)


def test_numerals_differ_and_are_as_high_as_each_other():
    masks = painting.numerals()
    assert sorted(masks) == sorted("0123456789.")
    assert {mask.shape[0] for mask in masks.values()} == {22} and masks["."].shape[1] == 5
    inked = [masks[c] for c in "0123456789"]
    assert all(mask.max() > 0.8 and mask[:, 0].max() < 0.5 for mask in inked)
    assert min(np.abs(a - b).sum() for i, a in enumerate(inked) for b in inked[:i]) > 5


def test_tiles_are_enlarged():
    images = np.random.default_rng(0).random((3, 28, 28, 1))
    picture = painting.tiles(images, 3, 2)
    assert picture.dtype == np.uint8 and picture.shape[0] == 56
    assert np.abs(picture[::2, :56:2] - images[0, ..., 0] * 255).max() <= 0.51
