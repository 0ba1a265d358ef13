"""Pictures of chapter 08's sliders: what is painted is what the models decode, at its place, and quickly."""

import time

import numpy as np
import pytest
from scipy.special import ndtri

from aigc_course import gan, plots, vae_painting, vae_plots, widgets
from aigc_course.plots import enlarge
from aigc_course.vae import VAE, kl_divergence
from aigc_course.vae_networks import MLPDecoder, MLPEncoder


def small_vae(latent_dim, num_classes=0, beta=1.0):
    """An untrained VAE whose decoder is stirred, so that nearby codes make different pictures."""
    networks = [make(latent_dim, 12, num_classes) for make in (MLPEncoder, MLPDecoder)]
    rng = np.random.default_rng(latent_dim)
    for network in networks:
        for layer in network.layers:
            layer.set_weights([weights + 0.2 * rng.standard_normal(weights.shape) for weights in layer.get_weights()])
    return VAE(latent_dim, beta=beta, encoder=networks[0], decoder=networks[1], num_classes=num_classes)


@pytest.fixture(scope="module")
def plane():
    return small_vae(2)


@pytest.fixture(scope="module")
def model():
    return small_vae(5)


@pytest.fixture(scope="module")
def conditional():
    return small_vae(3, num_classes=10)


@pytest.fixture(scope="module")
def maker():
    return gan.GAN(gan.DCGANGenerator(6, width=3), gan.DCGANDiscriminator(width=3))


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).random((11, 28, 28, 1), dtype="float32") ** 3


@pytest.fixture(scope="module")
def labels():
    return np.arange(11) % 10


@pytest.fixture(scope="module")
def panels(plane, model, conditional, maker, images, labels):
    """Name -> (draw, controls)."""
    whole, real = widgets.slider(0, 10, 1, 4, "number"), widgets.slider(-4.0, 4.0, 0.5, 0.5, "place")
    ladder = {"0.1": small_vae(3), "1": small_vae(4), "10": small_vae(5)}
    beta = {"beta": widgets.choice(list(ladder), "1", "beta"), "seed": whole}
    deviation = widgets.slider(0.05, 2.0, 0.05, 1.0, "deviation")
    return {
        "kl": (vae_plots.kl_panel(), {"mean": real, "deviation": deviation}),
        "plane": (vae_plots.plane_panel(plane, images, labels), {"x": real, "y": real}),
        "code": (
            vae_plots.code_panel(model, images, labels),
            {"digit": whole, **{f"d{k}": real for k in range(1, 6)}},
        ),
        "beta": (vae_plots.beta_panel(ladder, images, columns=4), beta),
        "pair": (
            vae_plots.pair_panel(model, maker, images, columns=5, num_candidates=20),
            {"first": whole, "second": widgets.slider(0, 10, 1, 7, "second")},
        ),
        "class": (
            vae_plots.class_panel(conditional, columns=4),
            {"label": widgets.slider(0, 9, 1, 4, "class"), "seed": whole, "d1": real, "d2": real},
        ),
    }


NAMES = ("kl", "plane", "code", "beta", "pair", "class")


@pytest.mark.parametrize("name", NAMES)
def test_every_panel_draws_at_its_ends_and_middle(panels, name):
    draw, controls = panels[name]
    panel = widgets.explore(draw, alt="a panel", **controls)
    start = panel.picture.data
    panel.set(**panel.positions()[-1])
    assert panel.picture.data != start
    panel.reset()
    assert panel.picture.data == start


@pytest.mark.parametrize("name", NAMES)
def test_every_control_changes_the_picture_and_the_same_values_do_not(panels, name):
    draw, controls = panels[name]
    values = {key: control.value for key, control in controls.items()}
    first = draw(**values)
    assert first.dtype == np.uint8 and first.ndim in (2, 3)
    for key, control in controls.items():
        assert (draw(**{**values, key: control.tries()[-1]}) != first).any(), key
    np.testing.assert_array_equal(draw(**values), first)


@pytest.mark.parametrize("name", NAMES)
def test_every_step_is_quick(panels, name):
    draw, controls = panels[name]
    values = {key: control.value for key, control in controls.items()}
    times = []
    for _ in range(7):
        start = time.process_time()
        plots.png(draw(**values))
        times.append(time.process_time() - start)
    assert np.median(times) < 0.15


def tile(image, scale):
    """[28, 28, 1] as it stands in a picture."""
    return enlarge(np.rint(np.asarray(image)[..., 0] * 255).astype(np.uint8), scale)


def assert_shows(picture, image, scale, left, top):
    side = 28 * scale
    part = picture[top : top + side, left : left + side]
    part = part if part.ndim == 2 else part[..., 1]
    assert part.shape == (side, side)
    assert np.abs(part.astype(int) - tile(image, scale)).max() <= 1


# Colours


@pytest.mark.any_backend
def test_ten_colours_differ_for_colour_blind_readers():
    """CIELAB distance of every pair, also as seen without one kind of cone (Machado et al., 2009, severity 1)."""
    hexes = [colour.lstrip("#") for colour in vae_plots.DIGIT_COLOURS]
    colours = np.array([[int(h[i : i + 2], 16) for i in (0, 2, 4)] for h in hexes]) / 255
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    protan = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    deutan = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    tritan = [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    for sight in (np.eye(3), protan, deutan, tritan):
        seen = cielab(np.clip(linear @ np.array(sight).T, 0, 1))
        distance = np.linalg.norm(seen[:, None] - seen, axis=-1) + 1e9 * np.eye(10)
        assert distance.min() > 15
        assert distance[4, 9] > 30 and distance[3, 8] > 30 and distance[3, 5] > 30


def cielab(linear):  # [N, 3] linear sRGB -> [N, 3]
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
    )
    xyz = linear @ to_xyz.T / [0.95047, 1.0, 1.08883]
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


# KL


def test_kl_map_has_its_lines_where_the_closed_form_says():
    page, _, chart = vae_plots._kl_page()
    for mean in (2.0, -2.0, 1.0, -4.0):  # 2, 2, 0.5 and 8 nats at deviation 1
        assert float(kl_divergence([[mean]], [[0.0]])[0]) in (0.5, 2.0, 8.0)
        x, y = (round(pixel) for pixel in chart.place(mean, 0.0))
        assert page[y, x - 1 : x + 2, 0].min() < 180
    x, y = (round(pixel) for pixel in chart.place(0.0, np.log(0.3)))
    assert page[y - 2 : y + 3, x - 2 : x + 3].min() > 200


def test_kl_number_is_that_of_the_closed_form():
    draw, numerals = vae_plots.kl_panel(), vae_painting.numerals()
    expected = np.concatenate([numerals[c] for c in "2.32"], axis=1)  # 1/2 (4 + 1/4 - 1) + log 2
    right, middle = vae_plots._NATS_PLACE
    left = right - expected.shape[1] // 2 * 2
    shown = 1 - draw(2.0, 0.5)[middle - 11 : middle + 11, left : left + expected.shape[1], 0] / 255
    assert np.corrcoef(shown.ravel(), expected.ravel())[0, 1] > 0.99


# The plane


def test_codes_and_cross_lie_at_their_coordinates(plane, images, labels):
    codes = np.array([[-3.0, 2.0], [2.0, -1.0], [2.0, -1.0]])  # the badge of the class lies on the median
    page, frame = vae_plots._plane_page(codes, np.array([7, 7, 7]), 4.0)
    x, y = (round(pixel) for pixel in frame.place(-3.0, 2.0))
    colour = [int(vae_plots.DIGIT_COLOURS[7][i : i + 2], 16) for i in (1, 3, 5)]
    assert np.abs(page[y, x].astype(int) - colour).max() < 60
    assert page[y - 6 : y + 7, x - 6 : x + 7][[0, 0, -1, -1], [0, -1, 0, -1]].min() > 200
    picture = vae_plots.plane_panel(plane, images, labels)(-3.0, 2.0)
    assert (picture[y, [x - 8, x + 8]] == vae_plots._DARK).all() and (
        picture[[y - 8, y + 8], x] == vae_plots._DARK
    ).all()


@pytest.mark.parametrize("place", [(-4.0, -4.0), (0.5, 1.5), (4.0, 4.0), (60.0, -60.0)])
def test_plane_shows_the_digit_decoded_at_the_cross(plane, images, labels, place):
    picture = vae_plots.plane_panel(plane, images, labels)(*place)
    assert_shows(picture, plane.decode([place])[0], 11, *vae_plots._DIGIT_PLACE)


def test_plane_grid_runs_right_and_up_by_quantiles(plane):
    grid = vae_plots.plane_grid(plane, side=3, quantiles=(0.1, 0.9))
    assert grid.shape == (84, 84)
    low, high = ndtri(0.1), ndtri(0.9)
    for code, left, top in (((low, low), 0, 56), ((high, low), 56, 56), ((low, high), 0, 0), ((0, 0), 28, 28)):
        assert_shows(grid, plane.decode([code])[0], 1, left, top)


def test_a_plane_needs_two_dimensions(model, images, labels):
    with pytest.raises(ValueError, match="this one has 5"):
        vae_plots.plane_panel(model, images, labels)
    with pytest.raises(ValueError, match="this one has 5"):
        vae_plots.plane_grid(model)


# Codes


def test_active_dimensions_are_ordered_by_their_nats(images):
    model = small_vae(3)
    for name, bias in (("mean", [0.0, 2.0, 1.0]), ("log_var", [0.0, 0.0, 0.0])):
        head = model.encoder.get_layer(name)
        head.set_weights([0 * head.get_weights()[0], np.array(bias)])
    order, nats = vae_plots.active_dimensions(model, images, count=2)
    np.testing.assert_array_equal(order, [1, 2])
    np.testing.assert_allclose(nats, [2.0, 0.5], rtol=1e-6)


def test_code_panel_moves_the_dimension_of_its_slider(model, images):
    draw = vae_plots.code_panel(model, images, count=3)
    chosen, _ = vae_plots.active_dimensions(model, images, count=3)
    code = model.encode(images)[0][6]
    moved = code.copy()
    moved[chosen[1]] += 2.0
    for steps, last in (((0, 0, 0), code), ((0, 2.0, 0), moved)):
        picture = draw(6, d1=steps[0], d2=steps[1], d3=steps[2])
        shown = (images[6], *model.decode(np.stack([code, last])))
        for image, left in zip(shown, vae_plots._CODE_PLACES, strict=True):
            assert_shows(picture, image, 6, left, 36)


def test_code_panel_of_a_conditional_vae_uses_the_digit_s_label(conditional, images, labels):
    picture = vae_plots.code_panel(conditional, images, labels)(3, d1=0, d2=0, d3=0)
    restored = conditional.reconstruct(images[3:4], labels[3:4])[0]
    assert_shows(picture, restored, 6, vae_plots._CODE_PLACES[1], 36)


# Beta


def test_rate_distortion_is_the_mean_of_the_terms(images):
    ladder = {"10": small_vae(4), "0.5": small_vae(3)}
    points = vae_plots.rate_distortion(ladder, images)
    assert [point.beta for point in points] == ["0.5", "10"]
    distortion, rate = ladder["10"].elbo_terms(images)
    np.testing.assert_allclose(points[1][1:3], [rate.mean(), distortion.mean()], rtol=1e-6)
    assert points[1].active == ladder["10"].active_units(images).sum()


def test_beta_panel_shows_digits_reconstructions_samples_and_the_point(images):
    ladder = {0.5: small_vae(3), 4: small_vae(4)}
    points = vae_plots.rate_distortion(ladder, images)
    draw = vae_plots.beta_panel(ladder, images, points, columns=3)
    for beta, model in ladder.items():
        picture = draw(beta, seed=5)
        rows = images[:3], model.reconstruct(images[:3]), model.sample(3, seed=5)
        for row, top in zip(rows, vae_plots._BETA_ROWS, strict=True):
            assert_shows(picture, row[2], 2, 2 * 58, top)
        assert str(beta) in vae_plots.describe_beta(points)(beta, seed=5)
    places = [np.argwhere((draw(beta) == vae_plots._ORANGE).all(-1)).mean(axis=0) for beta in ladder]
    order = np.argsort([point.rate for point in points])
    assert places[order[0]][1] < places[order[1]][1] - 20  # more rate, further to the right


def test_points_that_coincide_share_their_label():
    points = [
        vae_plots.RatePoint(*values) for values in ((1, 10.0, 90.0, 4), (30, 0.01, 200.0, 0), (100, 0.0, 200.1, 0))
    ]
    frame = vae_painting.Frame(np.array([0.0, 0.0]), np.array([20.0, -2.0]))
    assert [names for _, names in vae_plots._names_by_place(points, frame)] == ["1", "30, 100"]


# GAN and VAE


def test_nearest_codes_find_the_gan_s_own_samples_again(maker):
    noise = gan.sample_noise(40, maker.latent_dim, seed=2)
    found = vae_plots.nearest_codes(maker, maker.generate(noise[[31, 4]]), num_candidates=40, seed=2)
    np.testing.assert_array_equal(found, noise[[31, 4]])


def test_pair_panel_begins_and_ends_at_its_digits(model, maker, images):
    picture = vae_plots.pair_panel(model, maker, images, columns=5, num_candidates=20)(2, 9)
    codes = vae_plots.nearest_codes(maker, images, 20)
    right = picture.shape[1] - 84
    for i, left in ((2, 0), (9, right)):
        assert_shows(picture, images[i], 3, left, 0)
        assert_shows(picture, model.reconstruct(images[i : i + 1])[0], 3, left, vae_plots._PAIR_ROWS[0])
        assert_shows(picture, maker.generate(codes[i : i + 1])[0], 3, left, vae_plots._PAIR_ROWS[1])
    middle = model.decode(model.encode(images)[0][[2, 9]].mean(axis=0, keepdims=True))[0]
    assert_shows(picture, middle, 3, 2 * 87, vae_plots._PAIR_ROWS[0])


# Damage


@pytest.mark.parametrize("kind", vae_plots.DAMAGES)
def test_damage_leaves_the_known_pixels_and_is_the_same_for_a_seed(images, kind):
    damaged, known = vae_plots.damage(images, kind, seed=3)
    np.testing.assert_array_equal(damaged[known], images[known])
    assert (damaged != images).any(axis=(1, 2, 3)).all() and damaged.min() >= 0 and damaged.max() <= 1
    np.testing.assert_array_equal(vae_plots.damage(images, kind, seed=3)[0], damaged)
    lost = {"noise": 784, "hole": 100, "half": 392}[kind]
    assert ((~known).sum(axis=(1, 2, 3)) == lost).all()


def test_repair_keeps_known_pixels_and_repeats(model, images):
    damaged, known = vae_plots.damage(images, "hole")
    once, twice = (vae_plots.repair(model, damaged, known, repeats) for repeats in (1, 2))
    np.testing.assert_array_equal(twice[known], damaged[known])
    np.testing.assert_allclose(once[~known], model.reconstruct(damaged)[~known], rtol=1e-6)
    np.testing.assert_allclose(twice[~known], model.reconstruct(once)[~known], rtol=1e-6)


def test_damaged_rows_are_originals_damaged_and_repaired(model, images):
    rows = vae_plots.damaged_rows(model, images[:3], "noise", seed=1)
    damaged, _ = vae_plots.damage(images[:3], "noise", seed=1)
    np.testing.assert_allclose(rows, np.concatenate([images[:3], damaged, model.reconstruct(damaged)]), rtol=1e-6)


def test_unknown_damage_is_refused(images):
    with pytest.raises(ValueError, match="'rain' is not"):
        vae_plots.damage(images, "rain")


# Classes


def test_strongest_dimensions_ignore_those_the_decoder_ignores():
    model = small_vae(4, num_classes=3)
    dense = model.decoder.layers[3]
    kernel, bias = dense.get_weights()
    assert kernel.shape[0] == 7  # four numbers of the code, three classes
    kernel[[0, 1]] = 0.0
    kernel[3] = 0.1 * kernel[2]
    dense.set_weights([kernel, bias])
    np.testing.assert_array_equal(vae_plots.strongest_dimensions(model, 2), [2, 3])


def test_class_panel_shows_its_class_in_moved_styles(conditional):
    picture = vae_plots.class_panel(conditional, columns=4)(7, seed=3, d1=1.5, d2=-0.5)
    codes = gan.sample_noise(4, 3, 3)
    codes[:, vae_plots.strongest_dimensions(conditional)] += [1.5, -0.5]
    for k, image in enumerate(conditional.decode(codes, np.full(4, 7))):
        assert_shows(picture, image, 3, 4 + 87 * k, vae_plots._CLASS_ROWS[0])
    for label in (0, 6, 7, 9):
        image = conditional.decode(codes[:1], np.array([label]))[0]
        assert_shows(picture, image, 3, 4 + 87 * label, vae_plots._CLASS_ROWS[1])


def test_class_panel_needs_classes(model):
    with pytest.raises(ValueError, match="conditional"):
        vae_plots.class_panel(model)
