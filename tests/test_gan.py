"""GAN: losses by hand, gradients by finite differences, each network moved by its own term only."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from aigc_course import gan, recipes


def array(value):
    return ops.convert_to_numpy(value)


def tiny_gan(loss="non-saturating", seed=0, normalise=True, hidden=4, **options):
    """Noise [B, 3] -> data [B, 5], with batch normalisation in both networks (no dropout: steps can be compared)."""
    keras.utils.set_random_seed(seed)
    generator = keras.Sequential([keras.Input((3,)), layers.Dense(hidden), *_normalisation(normalise), layers.Dense(5)])
    normalise = normalise and loss != "wasserstein-gp"
    discriminator = keras.Sequential(
        [keras.Input((5,)), layers.Dense(hidden, activation="tanh"), *_normalisation(normalise), layers.Dense(1)]
    )
    return gan.GAN(generator, discriminator, loss=loss, **options)


def _normalisation(wanted):
    return [layers.BatchNormalization()] if wanted else []


def data(rows=6, seed=1):
    return np.random.default_rng(seed).normal(size=(rows, 5)).astype("float32")


def weights(network):
    return [array(v.value).copy() for v in network.variables if "seed" not in v.path]


def moved(before, after):
    return [not np.array_equal(b, a) for b, a in zip(before, after, strict=True)]


def one_step(model, rows=6):
    model.compile(keras.optimizers.SGD(0.1))
    model.fit(data(rows), batch_size=rows, epochs=1, verbose=0)


# Losses


def test_losses_by_hand():
    real, fake = np.array([[2.0], [0.0]]), np.array([[-1.0], [1.0]])
    sigmoid = lambda x: 1 / (1 + np.exp(-x))  # noqa: E731
    expected = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()
    assert array(gan.discriminator_loss(real, fake)) == pytest.approx(expected, rel=1e-6)
    assert array(gan.generator_loss(fake)) == pytest.approx(-np.log(sigmoid(fake)).mean(), rel=1e-6)
    assert array(gan.generator_loss(fake, "minimax")) == pytest.approx(np.log(1 - sigmoid(fake)).mean(), rel=1e-6)
    assert array(gan.discriminator_loss(real, fake, "wasserstein-gp")) == pytest.approx(0.0 - 1.0)
    assert array(gan.generator_loss(fake + 3, "wasserstein-gp")) == pytest.approx(-3.0)


def test_undecided_judge_costs_log_four():
    zeros = np.zeros((4, 1), "float32")
    assert array(gan.discriminator_loss(zeros, zeros)) == pytest.approx(np.log(4), rel=1e-6)


def test_losses_stay_finite_at_huge_logits():
    sure = np.array([[1e4]], "float32")
    for loss in gan.LOSSES:
        assert np.isfinite(array(gan.discriminator_loss(-sure, sure, loss)))
        assert np.isfinite(array(gan.generator_loss(-sure, loss)))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.4])
def test_label_smoothing_moves_the_best_logit_to_its_target(smoothing):
    """The loss of a real image is least where the sigmoid of the logit is 1 - s, and fakes keep the target 0."""
    logits = np.linspace(-6, 6, 241)
    none = np.full((1, 1), -30.0)
    losses = [float(array(gan.discriminator_loss(np.full((1, 1), x), none, label_smoothing=smoothing))) for x in logits]
    best = 1 / (1 + np.exp(-logits[np.argmin(losses)]))
    assert best == pytest.approx(min(1 - smoothing, 1 / (1 + np.exp(-6))), abs=1e-2)


@pytest.mark.parametrize("smoothing", [-0.1, 0.5, 1.2, float("nan")])
def test_label_smoothing_outside_its_range_is_refused(smoothing):
    with pytest.raises(ValueError, match="label_smoothing"):
        tiny_gan(label_smoothing=smoothing)


def test_gradient_penalty_of_a_linear_critic():
    """The slope of w.x is w everywhere, so the penalty is (|w| - 1)^2, whatever the images."""
    w = np.array([[1.0], [2.0], [2.0]], "float32")
    x, y = np.ones((2, 3), "float32"), np.zeros((2, 3), "float32")
    mix = np.array([[0.25], [0.75]], "float32")
    x, y, mix = (ops.convert_to_tensor(a) for a in (x, y, mix))
    penalty = gan.gradient_penalty(lambda images: ops.matmul(images, ops.convert_to_tensor(w)), x, y, mix)
    assert array(penalty) == pytest.approx((3 - 1) ** 2, rel=1e-5)


# Who moves


def test_one_step_is_two_gradient_steps(loss="non-saturating"):
    """SGD's change of each network equals minus rate times its own term's gradient, by central differences."""
    model = tiny_gan(loss)
    before = [array(v.value).copy() for v in model.trainable_variables]
    seed_state = array(model.seed_generator.state.value).copy()
    one_step(model)
    after = [array(v.value).copy() for v in model.trainable_variables]
    for variable, value in zip(model.trainable_variables, before, strict=True):
        variable.assign(value)
    model.seed_generator.state.assign(seed_state)
    noise = keras.random.normal((6, 3), seed=model.seed_generator)

    def term(owner):
        fake = model.generator(noise, training=True)
        fake_logits = model.discriminator(fake, training=True)
        if owner is model.generator:
            return float(array(gan.generator_loss(fake_logits, loss)))
        return float(array(gan.discriminator_loss(model.discriminator(data(), training=True), fake_logits, loss)))

    for owner in (model.generator, model.discriminator):
        variable = owner.trainable_variables[0]
        place = next(i for i, v in enumerate(model.trainable_variables) if v is variable)
        slope = central_difference(variable, (1, 2), lambda owner=owner: term(owner))
        assert (after[place] - before[place])[1, 2] == pytest.approx(-0.1 * slope, rel=2e-2, abs=1e-5)


def central_difference(variable, index, function, step=1e-2):
    values = []
    start = array(variable.value).copy()
    for sign in (1, -1):
        changed = start.copy()
        changed[index] += sign * step
        variable.assign(changed)
        values.append(function())
    variable.assign(start)
    return (values[0] - values[1]) / (2 * step)


def test_discriminator_term_leaves_the_generator_alone(monkeypatch):
    monkeypatch.setattr(gan, "generator_loss", lambda logits, loss: 0.0 * ops.mean(logits))
    model = tiny_gan()
    generator, discriminator = weights(model.generator)[:4], weights(model.discriminator)
    one_step(model)
    assert not any(moved(generator, weights(model.generator)[:4]))
    assert any(moved(discriminator, weights(model.discriminator)))


def test_generator_term_leaves_the_discriminator_alone(monkeypatch):
    """No weight of the judge moves, and its normalisation statistics are those of its own term only."""
    model = tiny_gan()
    monkeypatch.setattr(
        gan.GAN, "_discriminator_term", lambda self, real, logits, fake, training: 0.0 * ops.mean(logits)
    )
    judge = [array(v.value).copy() for v in model.discriminator.trainable_variables]
    maker = weights(model.generator)
    one_step(model)
    assert not any(moved(judge, [array(v.value) for v in model.discriminator.trainable_variables]))
    assert any(moved(maker, weights(model.generator)))


def test_generator_term_leaves_the_discriminators_statistics_alone(monkeypatch):
    model = tiny_gan(seed=3)
    one_step(model)
    with_generator = [array(v.value) for v in model.discriminator.non_trainable_variables]
    monkeypatch.setattr(gan.GAN, "_frozen_judgement", lambda self, fake, training: ops.zeros((6, 1)))
    twin = tiny_gan(seed=3)
    one_step(twin)
    without = [array(v.value) for v in twin.discriminator.non_trainable_variables]
    assert with_generator
    for a, b in zip(with_generator, without, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("loss", gan.LOSSES)
def test_both_networks_learn_with_every_loss(loss):
    model = tiny_gan(loss)
    generator, discriminator = weights(model.generator), weights(model.discriminator)
    one_step(model)
    assert any(moved(generator, weights(model.generator)))
    assert any(moved(discriminator, weights(model.discriminator)))
    assert all(np.isfinite(w).all() for w in weights(model.generator))


@pytest.mark.parametrize("loss", gan.LOSSES)
def test_generator_finds_the_data(loss):
    """Real data around (2, 2, ...), first samples around 0: 1,000 steps take the means two thirds of the way."""
    model = tiny_gan(loss, normalise=False, hidden=16)
    model.compile(keras.optimizers.Adam(2e-3, beta_1=0.0, beta_2=0.9, use_ema=True, ema_momentum=0.995))
    before = np.linalg.norm(model.sample(200, seed=1).mean(axis=0) - 2.0)
    model.fit(0.5 * data(64 * 1000) + 2.0, batch_size=64, verbose=0)
    assert before > 1.5 * np.sqrt(5)
    assert np.linalg.norm(model.sample(200, seed=1).mean(axis=0) - 2.0) < 0.35 * before


def test_last_batch_may_be_smaller():
    model = tiny_gan()
    model.compile("sgd")
    model.fit(data(7), batch_size=4, verbose=0)


# Networks


def test_networks_have_the_shapes_of_the_digits():
    for generator, discriminator in (
        (gan.MLPGenerator(5), gan.MLPDiscriminator()),
        (gan.DCGANGenerator(5, width=3), gan.DCGANDiscriminator(width=3)),
    ):
        images = generator(np.random.default_rng(0).normal(size=(2, 5)).astype("float32"))
        assert tuple(images.shape) == (2, 28, 28, 1)
        assert np.abs(array(images)).max() <= 1.0
        assert tuple(discriminator(images).shape) == (2, 1)


def test_networks_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="expects"):
        gan.GAN(gan.MLPGenerator(5, image_shape=(28, 28, 3)), gan.MLPDiscriminator())
    with pytest.raises(ValueError, match="one logit"):
        gan.GAN(gan.MLPGenerator(5), keras.Sequential([keras.Input((28, 28, 1)), layers.Flatten(), layers.Dense(2)]))
    with pytest.raises(ValueError, match="loss must be one of"):
        tiny_gan("hinge")


def test_random_shift_moves_each_image_and_fills_with_background():
    images = np.full((40, 5, 7, 2), -1.0, "float32")
    images[:, 2, 3, :] = (0.5, 0.25)
    moved_images = array(gan.RandomShift(2, seed=0)(images, training=True))
    places = [tuple(place) for place in np.argwhere(moved_images[..., 0] > -1)]
    assert [place[0] for place in places] == list(range(40)), "each image keeps its one bright pixel"
    assert {place[1] for place in places} == {0, 1, 2, 3, 4}
    assert {place[2] for place in places} == {1, 2, 3, 4, 5}
    assert len({place[1:] for place in places}) > 10, "rows and columns move apart from each other"
    np.testing.assert_allclose(sorted(moved_images[..., 1].ravel())[-40:], 0.25, rtol=1e-6)
    assert moved_images.min() == -1.0


def test_random_shift_rests_in_inference_and_at_zero():
    images = np.random.default_rng(0).uniform(-1, 1, (3, 5, 7, 1)).astype("float32")
    np.testing.assert_array_equal(array(gan.RandomShift(2)(images)), images)
    np.testing.assert_allclose(array(gan.RandomShift(0)(images, training=True)), images, atol=1e-6)


# Sampling


def test_sample_shows_the_trained_weights():
    """Generate, train, generate again: a compiled sampler must not keep the old weights (it would on JAX)."""
    model = tiny_gan()
    first = model.sample(3)
    one_step(model)
    second = model.sample(3)
    assert np.abs(first - second).max() > 1e-6
    np.testing.assert_allclose(
        second, array(model.generator(gan.sample_noise(3, 3), training=False)), rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("num", [0, 1, 5])
def test_sample_counts(num):
    model = gan.GAN(gan.MLPGenerator(4), gan.MLPDiscriminator())
    images = model.sample(num, batch_size=2)
    assert images.shape == (num, 28, 28, 1)
    assert ((images >= 0) & (images <= 1)).all()


def test_sample_is_a_function_of_its_seed():
    model = gan.GAN(gan.MLPGenerator(4), gan.MLPDiscriminator())
    np.testing.assert_array_equal(model.sample(3, seed=5), model.sample(3, seed=5))
    assert np.abs(model.sample(3, seed=5) - model.sample(3, seed=6)).max() > 0
    np.testing.assert_allclose(model.sample(5, seed=5, batch_size=2), model.sample(5, seed=5), atol=1e-6)


def test_truncation_cuts_the_normal_off():
    noise = gan.sample_noise(20_000, 2, seed=1, truncation=0.7)
    assert np.abs(noise).max() <= 0.7
    # deviation of a standard normal cut off at +-t: sqrt(1 - 2 t phi(t) / (2 Phi(t) - 1))
    t, density, mass = 0.7, np.exp(-0.245) / np.sqrt(2 * np.pi), 0.5160727
    assert noise.std() == pytest.approx(np.sqrt(1 - 2 * t * density / mass), rel=0.02)
    with pytest.raises(ValueError, match="truncation"):
        gan.sample_noise(1, 2, truncation=0.0)


# Ranges


def test_ranges_go_there_and_back():
    images = np.linspace(0, 1, 7, dtype="float32")
    np.testing.assert_allclose(gan.to_images(gan.to_model_range(images)), images, atol=1e-6)
    assert gan.to_model_range(images).min() == -1 and gan.to_model_range(images).max() == 1
    assert gan.to_model_range(np.zeros((0, 28, 28, 1))).shape == (0, 28, 28, 1)


@pytest.mark.parametrize("value", [-0.01, 1.5, 255, float("nan")])
def test_grey_levels_outside_the_range_are_named(value):
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        gan.to_model_range(np.array([0.5, value]))


def test_batch_mean_appends_the_mean_of_all_rows():
    rows = np.array([[1.0, 5.0, -2.0], [3.0, 1.0, 0.0]], "float32")
    np.testing.assert_allclose(array(gan.BatchMean()(rows)), [[1, 5, -2, 2, 3, -1], [3, 1, 0, 2, 3, -1]])


def test_judge_with_batch_mean_sees_the_company_of_an_image():
    images = np.random.default_rng(0).uniform(-1, 1, (5, 28, 28, 1)).astype("float32")
    together, alone = gan.DCGANDiscriminator(width=2), gan.DCGANDiscriminator(width=2, batch_mean=False)
    others = np.concatenate([images[:1], -images[1:]])
    assert np.abs(array(together(images))[0] - array(together(others))[0]) > 1e-6
    np.testing.assert_allclose(array(alone(images))[0], array(alone(others))[0], atol=1e-5)


def test_the_gradient_penalty_refuses_a_critic_that_sees_batches():
    generator = gan.DCGANGenerator(5, width=2)
    with pytest.raises(ValueError, match="judges each image alone"):
        gan.GAN(generator, gan.DCGANDiscriminator(width=2), loss="wasserstein-gp")
    gan.GAN(generator, gan.DCGANDiscriminator(width=2, batch_mean=False), loss="wasserstein-gp")
    recipes.build_dcgan(loss="wasserstein-gp")
