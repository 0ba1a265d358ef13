"""The GAN game on densities: formulas against hand values, closed forms, scipy, differences and autodiff."""

import numpy as np
import pytest
from scipy import stats
from scipy.special import expit

from aigc_course import gan_theory as gt
from aigc_course import gan_theory_plots as gtp

X = gt.make_grid(-12, 15, 2701)
DX = X[1] - X[0]
P, Q = gt.gaussian(X, 1.0, 1.0), gt.gaussian(X, 2.5, 1.5)


def test_three_numbers_by_hand():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.0, 0.5, 0.5])
    np.testing.assert_allclose(gt.best_discriminator(p, q), [1, 0.5, 0])
    assert gt.value_function(gt.best_discriminator(p, q), p, q, 1) == pytest.approx(-np.log(2))
    assert gt.jensen_shannon(p, q, 1) == pytest.approx(np.log(2) / 2)
    assert gt.wasserstein_1d(p, q, 1) == pytest.approx(1)
    assert gt.best_accuracy(p, q, 1) == pytest.approx(0.75)


def test_best_discriminator_where_both_densities_are_zero():
    np.testing.assert_array_equal(gt.best_discriminator([0, 0, 2], [0, 3, 0]), [0.5, 0, 1])


def test_no_discriminator_beats_the_best():
    best = gt.best_discriminator(P, Q)
    value = gt.value_function(best, P, Q, DX)
    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 0.5):
        other = np.clip(best + size * rng.uniform(-1, 1, X.shape), 1e-12, 1 - 1e-12)
        assert gt.value_function(other, P, Q, DX) < value


def test_value_of_the_best_discriminator_is_jensen_shannon():
    value = gt.value_function(gt.best_discriminator(P, Q), P, Q, DX)
    assert value == pytest.approx(2 * gt.jensen_shannon(P, Q, DX) - np.log(4), abs=1e-9)
    assert gt.value_function(gt.best_discriminator(P, P), P, P, DX) == pytest.approx(-np.log(4), abs=1e-9)


def test_value_function_needs_the_densities():
    """B3: integrating log D itself, without the density, gives another number (here one that grows with the grid)."""
    best = gt.best_discriminator(P, Q)
    assert abs(np.sum(np.log(best) + np.log1p(-best)) * DX - gt.value_function(best, P, Q, DX)) > 1


def test_sure_and_wrong_judge_has_value_minus_infinity():
    assert gt.value_function([0, 1], [1, 0], [0, 1], 1) == -np.inf


def test_jensen_shannon_is_symmetric_and_bounded():
    assert gt.jensen_shannon(P, Q, DX) == pytest.approx(gt.jensen_shannon(Q, P, DX))
    far = gt.jensen_shannon(gt.gaussian(X, -8, 0.3), gt.gaussian(X, 10, 0.3), DX)
    assert far == pytest.approx(np.log(2), abs=1e-9)
    assert 0 < gt.jensen_shannon(P, Q, DX) < np.log(2)


def test_kl_divergence_of_gaussians():
    closed = np.log(1.5 / 1.0) + (1 + 1.5**2) / (2 * 1.5**2) - 0.5
    assert gt.kl_divergence(P, Q, DX) == pytest.approx(closed, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 0.37, -4.2])
def test_wasserstein_of_shifted_gaussians_is_the_shift(shift):
    assert gt.wasserstein_1d(P, gt.gaussian(X, 1 + shift), DX) == pytest.approx(abs(shift), abs=1e-6)


def test_wasserstein_agrees_with_scipy():
    data, fake = gt.make_line((-3.0, 0.5, 2.0)), gt.make_gaussian(1.3, 0.9)
    p, q = data.density(X), fake.density(X)
    assert gt.wasserstein_1d(p, q, DX) == pytest.approx(stats.wasserstein_distance(X, X, p, q), rel=1e-6)


def test_best_critic_attains_the_distance_and_is_lipschitz():
    critic = gt.best_critic(P, Q, DX)
    assert np.max(np.abs(np.diff(critic))) <= DX * (1 + 1e-9)
    dual = gt.expectation(critic, P, DX) - gt.expectation(critic, Q, DX)
    assert dual == pytest.approx(gt.wasserstein_1d(P, Q, DX), abs=1e-6)


def test_best_accuracy_is_a_half_for_a_perfect_generator():
    assert gt.best_accuracy(P, P, DX) == pytest.approx(0.5, abs=1e-9)
    closed = stats.norm.cdf(1.0)  # means two standard deviations apart: the border lies in the middle
    assert gt.best_accuracy(P, gt.gaussian(X, 3.0), DX) == pytest.approx(closed, abs=1e-4)


def test_bad_densities_are_refused():
    with pytest.raises(ValueError, match="different grids"):
        gt.jensen_shannon(P, Q[:-1], DX)
    with pytest.raises(ValueError, match="negative"):
        gt.best_discriminator([-1.0], [1.0])
    with pytest.raises(ValueError, match="probabilities"):
        gt.value_function([1.2], [1.0], [1.0], 1)


# -------------------------------------------------------------------------------------------------------- gradients

DATA = gt.Mixture([[0.0], [4.0]], 0.8, [0.3, 0.7])
MEAN, SCALE, STEP = 1.3, 0.9, 1e-4


def _generator(mean):
    return gt.make_gaussian(mean, SCALE)


@pytest.mark.parametrize("rule", gt.RULES)
def test_generator_gradient_by_differences_with_the_judge_held(rule):
    held, _ = gt.judge(rule, DATA, _generator(MEAN), X)
    up, down = (gt.generator_loss(rule, held, _generator(MEAN + s), X) for s in (STEP, -STEP))
    tolerance = 1e-2 if rule == "wasserstein" else 1e-6  # the critic has a kink between two grid points
    gradient = gt.generator_gradient(rule, DATA, _generator(MEAN), X)
    assert gradient == pytest.approx((up - down) / (2 * STEP), abs=tolerance)


def _difference(distance):
    p = DATA.density(X)
    return (distance(p, _generator(MEAN + STEP).density(X)) - distance(p, _generator(MEAN - STEP).density(X))) / (
        2 * STEP
    )


def test_saturating_gradient_is_that_of_jensen_shannon():
    slope = _difference(lambda p, q: 2 * gt.jensen_shannon(p, q, DX))
    assert gt.generator_gradient("saturating", DATA, _generator(MEAN), X) == pytest.approx(slope, abs=1e-6)


def test_non_saturating_gradient_is_that_of_reverse_kl_minus_jensen_shannon():
    """Arjovsky and Bottou, 2017, Theorem 2.5."""
    slope = _difference(lambda p, q: gt.kl_divergence(q, p, DX) - 2 * gt.jensen_shannon(p, q, DX))
    assert gt.generator_gradient("non-saturating", DATA, _generator(MEAN), X) == pytest.approx(slope, abs=1e-5)


def test_wasserstein_gradient_is_that_of_the_distance():
    slope = _difference(lambda p, q: gt.wasserstein_1d(p, q, DX))
    assert gt.generator_gradient("wasserstein", DATA, _generator(MEAN), X) == pytest.approx(slope, abs=1e-2)


@pytest.mark.parametrize("rule", ["saturating", "non-saturating", "B1", "B2", "D6"])
def test_generator_gradient_by_autodiff(rule):
    """Reparametrised samples mean + z through a fixed logistic judge, differentiated by the backend."""
    from keras import ops

    from aigc_course.compiled import input_gradient

    z = ops.convert_to_tensor(stats.norm.ppf((np.arange(4000) + 0.5) / 4000).astype("float32"))
    losses = {
        "saturating": lambda a: -ops.softplus(a),
        "non-saturating": lambda a: ops.softplus(-a),
        "B1": ops.sigmoid,
        "B2": lambda a: -ops.softplus(-a),
        "D6": lambda a: ops.softplus(-a),
    }

    def loss(mean):  # [1, 1] -> [1]; the best judge of N(3, 1) against N(0.5, 1) is logistic in x
        log_odds = (3 - 0.5) * (mean + z) + (0.5**2 - 3**2) / 2
        return ops.mean(losses[rule](log_odds), axis=1)

    auto = ops.convert_to_numpy(input_gradient(loss, ops.convert_to_tensor([[0.5]], dtype="float32")))
    closed = gt.generator_gradient(rule, gt.make_gaussian(3.0), gt.make_gaussian(0.5), X)
    assert closed == pytest.approx(float(auto[0, 0]), abs=2e-3)


@pytest.mark.parametrize("name", gt.RULES)
def test_slope_is_the_derivative_of_the_loss(name):
    rule, a = gt.RULES[name], np.array([-3.0, -0.2, 0.0, 1.7])
    np.testing.assert_allclose(rule.slope(a), (rule.loss(a + 1e-5) - rule.loss(a - 1e-5)) / 2e-5, atol=1e-8)


def test_one_step_on_the_logistic_judge():
    """B1, B2: one step of 0.5 from 0 on D(t) = logistic(t)."""
    step = {name: rule.direction * 0.5 * float(rule.slope(np.array(0.0))) for name, rule in gt.RULES.items()}
    assert step["saturating"] == step["non-saturating"] == 0.25
    assert step["B1"] == -0.125
    assert step["B2"] == step["D6"] == -0.25


@pytest.mark.parametrize("rule", ["saturating", "non-saturating", "wasserstein"])
def test_right_rules_come_closer_in_ten_steps(rule):
    means = gt.run_rule(rule, data_mean=3.0, start=0.0)
    assert means.shape == (11,)
    assert np.all(np.diff(np.abs(means[:6] - 3.0)) < 0)


@pytest.mark.parametrize("rule", ["B1", "B2", "D6"])
def test_wrong_signs_move_away_at_every_step(rule):
    means = gt.run_rule(rule, data_mean=3.0, start=0.0)
    assert np.all(np.diff(np.abs(means - 3.0)) > 0)


def test_b2_and_d6_are_the_same_step():
    np.testing.assert_allclose(gt.run_rule("B2"), gt.run_rule("D6"))


def test_far_apart_the_saturating_gradient_dies_and_the_others_do_not():
    data, far = gt.make_gaussian(0.0), gt.make_gaussian(10.0)
    x = gt.make_grid(-12, 22, 3401)
    assert abs(gt.generator_gradient("saturating", data, far, x)) < 1e-4
    assert gt.generator_gradient("non-saturating", data, far, x) == pytest.approx(10, abs=1e-3)
    assert gt.generator_gradient("wasserstein", data, far, x) == pytest.approx(1, abs=1e-6)


# ---------------------------------------------------------------------------------------------------------- mixtures


def test_mixture_density_and_score():
    mixture = gt.Mixture([[-1.0], [2.0]], 0.7, [0.25, 0.75])
    hand = 0.25 * stats.norm.pdf(X, -1, 0.7) + 0.75 * stats.norm.pdf(X, 2, 0.7)
    np.testing.assert_allclose(mixture.density(X), hand, atol=1e-12)
    x = np.linspace(-3, 4, 9)
    numeric = (mixture.log_density(x + 1e-5) - mixture.log_density(x - 1e-5)) / 2e-5
    np.testing.assert_allclose(mixture.score(x), numeric, atol=1e-6)
    ring = gt.make_ring()
    point = np.array([[1.9, 0.1]])
    bump = np.array([[0.0, 1e-5]])
    numeric = (ring.log_density(point + bump) - ring.log_density(point - bump)) / 2e-5
    np.testing.assert_allclose(ring.score(point)[:, 1], numeric, atol=1e-4)


def test_mixture_refuses_nonsense():
    with pytest.raises(ValueError, match="Means"):
        gt.Mixture([1.0, 2.0], 1.0)
    with pytest.raises(ValueError, match="sum to 1"):
        gt.Mixture([[1.0], [2.0]], 1.0, [0.5, 0.4])


def test_samples_repeat_and_have_the_right_moments():
    ring = gt.make_ring(radius=2.0, scale=0.1)
    samples = ring.sample(20_000, seed=3)
    assert samples.shape == (20_000, 2) and samples.dtype == np.float32
    np.testing.assert_array_equal(samples, ring.sample(20_000, seed=3))
    assert np.mean(np.sum(samples**2, axis=1)) == pytest.approx(4 + 2 * 0.01, rel=0.01)


def test_coverage_of_real_samples_is_the_floor():
    ring, line = gt.make_ring(), gt.make_line()
    real = gt.count_modes(ring.sample(20_000), ring)
    assert real.modes_hit == real.num_modes == 8
    assert real.high_quality == pytest.approx(1 - np.exp(-4.5), abs=0.005)  # chi-squared, two degrees of freedom
    assert gt.count_modes(line.sample(20_000), line).high_quality == pytest.approx(0.9973, abs=0.003)


def test_coverage_of_a_collapsed_generator():
    ring = gt.make_ring()
    one = np.tile(ring.means[5], (300, 1))
    assert gt.count_modes(one, ring).counts == (0, 0, 0, 0, 0, 300, 0, 0)
    assert gt.count_modes(one, ring).modes_hit == 1
    centre = gt.count_modes(np.zeros((300, 2)), ring)
    assert centre.modes_hit == 0 and centre.high_quality == 0


def test_a_mode_needs_its_share_of_samples():
    ring = gt.make_ring()
    stray = np.concatenate([np.tile(ring.means[0], (999, 1)), ring.means[1:2]])
    assert gt.count_modes(stray, ring).modes_hit == 1
    assert gt.count_modes(stray, ring, least_share=0).modes_hit == 2
    with pytest.raises(ValueError, match="Samples"):
        gt.count_modes(np.zeros((5, 1)), ring)


def test_networks_have_the_right_shapes():
    generator, discriminator = gt.PointGenerator(data_dim=3, latent_dim=5), gt.PointDiscriminator(data_dim=3)
    points = generator(np.ones((7, 5), "float32"))
    assert tuple(points.shape) == (7, 3)
    assert tuple(discriminator(points).shape) == (7, 1)


def test_best_judge_is_the_logistic_of_the_log_odds():
    data, fake = gt.make_gaussian(0.0, 0.8), gt.make_gaussian(1.0, 1.2)
    log_odds, _ = gt.judge("saturating", data, fake, X)
    d = gt.best_discriminator(data.density(X), fake.density(X))
    inside = np.abs(X) < 5
    np.testing.assert_allclose(expit(log_odds)[inside], d[inside], atol=1e-10)


# ---------------------------------------------------------------------------------------------------------- pictures


@pytest.mark.any_backend
@pytest.mark.parametrize("draw", [gtp.draw_game, gtp.draw_transport])
@pytest.mark.parametrize("mean", [-2.0, 3.0, 8.0])
@pytest.mark.parametrize("scale", [0.5, 1.0, 2.0])
def test_slider_pictures_at_both_ends(draw, mean, scale):
    picture = draw(mean, scale)
    assert picture.dtype == np.uint8 and picture.shape[2] == 3
    np.testing.assert_array_equal(picture, draw(mean, scale))
    assert np.any(picture != draw(mean + 0.5, scale))


def test_game_in_words_names_both_gradients():
    words = gtp.describe_game(3.0)
    assert "saturating 0.2959" in words and "non-saturating 2.704" in words


def test_points_and_coverage_pictures():
    line, ring = gt.make_line(), gt.make_ring()
    assert gtp.draw_points(line.sample(50), line).axes[0].get_title().startswith("4 of 4 modes")
    figure = gtp.draw_coverage({"all": ring.sample(800), "one": np.tile(ring.means[2], (9, 1))}, ring)
    assert [axes.get_title().split("\n")[0] for axes in figure.axes] == ["all", "one"]
    assert "1 of 8 modes, 100%" in figure.axes[1].get_title()


def test_watch_draws_what_the_gan_makes_now():
    class Fixed:
        def sample(self, num, seed=0):
            return np.zeros((num, 2), "float32")

    assert "0 of 8 modes" in gtp.watch(Fixed(), gt.make_ring())().axes[0].get_title()
