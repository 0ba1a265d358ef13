"""Pictures of chapter 03's sliders: directions against an SVD, paths between codes, every slider at its ends."""

import numpy as np
import pytest
from keras import ops

from aigc_course import gan, gan_plots


@pytest.fixture(scope="module")
def model():
    return gan.GAN(gan.DCGANGenerator(6, width=3), gan.DCGANDiscriminator(width=3))


def test_main_directions_are_orthonormal_and_stretched_most_first(model):
    found = gan_plots.main_directions(model.generator, 4)
    np.testing.assert_allclose(found @ found.T, np.eye(4), atol=1e-5)
    kernel = ops.convert_to_numpy(model.generator.layers[0].kernel)
    stretch = np.linalg.norm(found @ kernel, axis=1)
    assert (np.diff(stretch) <= 1e-5).all()
    np.testing.assert_allclose(stretch[0], np.linalg.norm(kernel, 2), rtol=1e-5)


def test_main_directions_see_the_normalisation():
    generator = gan.DCGANGenerator(3, width=2)
    dense, normalisation = generator.layers[:2]
    units = dense.kernel.shape[1]
    dense.kernel.assign(np.eye(3, units))
    gain = np.ones(units)
    gain[2] = 5.0
    normalisation.gamma.assign(gain)
    np.testing.assert_allclose(gan_plots.main_directions(generator, 1), [[0, 0, 1]], atol=1e-6)


def test_more_directions_than_numbers_are_refused(model):
    with pytest.raises(ValueError, match="no 7 directions"):
        gan_plots.main_directions(model.generator, 7)


def test_directions_move_the_lower_row_only(model):
    draw = gan_plots.direction_panel(model, count=2, columns=5)
    still, moved = draw(1, d1=0, d2=0), draw(1, d1=6, d2=-6)
    half = len(still) // 2
    np.testing.assert_array_equal(still[: half - 3], moved[: half - 3])
    assert (still[half + 3 :] != moved[half + 3 :]).any()


@pytest.mark.parametrize("values", [(0.05, 0), (1.5, 20), (3, 40)])
def test_truncation_panel_draws_at_its_ends(model, values):
    draw = gan_plots.truncation_panel(model, rows=2, columns=3)
    np.testing.assert_array_equal(draw(*values), draw(*values))


@pytest.mark.parametrize("path", ["straight", "spherical"])
@pytest.mark.parametrize("seeds", [(0, 60), (5, 5)])
def test_interpolation_begins_and_ends_at_its_seeds(model, path, seeds):
    picture = gan_plots.interpolation_panel(model, columns=3)(*seeds, path)
    assert picture.dtype == np.uint8 and picture.ndim == 2


def test_spherical_keeps_the_length_and_meets_the_ends():
    rng = np.random.default_rng(0)
    start, end = rng.normal(size=(2, 5, 7))
    start, end = (code / np.linalg.norm(code, axis=1, keepdims=True) for code in (start, end))
    for share in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(np.linalg.norm(gan_plots.spherical(start, end, share), axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(gan_plots.spherical(start, end, 0.0), start, atol=1e-6)
    np.testing.assert_allclose(gan_plots.spherical(start, end, 1.0), end, atol=1e-6)
    quarter = gan_plots.spherical(np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]]), 1 / 3)
    np.testing.assert_allclose(quarter, [[np.cos(np.pi / 6), np.sin(np.pi / 6)]], atol=1e-6)


def test_spherical_of_parallel_codes_is_straight():
    code = np.array([[1.0, 2.0]])
    np.testing.assert_allclose(gan_plots.spherical(code, 3 * code, 0.5), 2 * code, rtol=1e-6)
    np.testing.assert_allclose(gan_plots.spherical(code, -code, 0.25), 0.5 * code, rtol=1e-6)
    np.testing.assert_allclose(gan_plots.spherical(code, 0 * code, 0.5), 0.5 * code, rtol=1e-6)


def test_neighbour_rows_put_the_nearest_below():
    train = np.zeros((3, 28, 28, 1), "float32")
    train[1], train[2] = 0.5, 1.0
    images = np.full((2, 28, 28, 1), 0.9, "float32")
    images[1] = 0.4
    rows = gan_plots.neighbour_rows(images, train)
    np.testing.assert_array_equal(rows[:2], images)
    np.testing.assert_array_equal(rows[2:, 0, 0, 0], [1.0, 0.5])
