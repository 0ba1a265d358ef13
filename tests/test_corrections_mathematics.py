"""Corrections of the mathematics of GANs: signs, densities, the best judge. See tests/ledger.py."""

import keras
import numpy as np
import pytest
from keras import ops
from ledger import Pair, correction
from scipy.special import expit, log_expit, softmax

from aigc_course import gan, gan_theory
from aigc_course.compiled import input_gradient


def first_step(loss, rate=0.5):
    """Where descent takes the one-parameter generator G(z) = theta from theta = 0, judged by D = logistic."""
    theta = ops.zeros((1, 1))
    return -rate * float(ops.convert_to_numpy(input_gradient(loss, theta))[0, 0])


def first_step_of_rule(name, rate=0.5):
    rule = gan_theory.RULES[name]
    return rule.direction * rate * float(rule.slope(np.zeros(1))[0])


def towards_real(step):
    return step > 0


@correction("B1")
def test_b1_generator_moves_towards_real():
    assert first_step(ops.sigmoid) == pytest.approx(-0.125)
    assert first_step(lambda theta: gan.generator_loss(theta, "minimax")) == pytest.approx(0.25)
    return Pair(
        faulty=[lambda: first_step(ops.sigmoid), lambda: first_step_of_rule("B1")],
        right=[
            lambda: first_step(lambda theta: gan.generator_loss(theta, "minimax")),
            lambda: first_step(lambda theta: gan.generator_loss(theta, "non-saturating")),
            lambda: first_step_of_rule("saturating"),
            lambda: first_step_of_rule("non-saturating"),
        ],
        is_right=towards_real,
    )


@correction("B2")
def test_b2_log_d_is_not_minimised():
    assert first_step(ops.log_sigmoid) == pytest.approx(-0.25)
    return Pair(
        faulty=[lambda: first_step(ops.log_sigmoid), lambda: first_step_of_rule("B2")],
        right=[
            lambda: first_step(lambda theta: gan.generator_loss(theta, "minimax")),
            lambda: first_step(lambda theta: gan.generator_loss(theta, "non-saturating")),
        ],
        is_right=towards_real,
    )


@correction("B3")
def test_b3_integral_keeps_its_density():
    x = gan_theory.make_grid()
    dx = x[1] - x[0]
    draws = log_expit(np.random.default_rng(0).standard_normal(100_000))
    without = float(np.trapezoid(log_expit(x), x))
    assert without == pytest.approx(-19.64, abs=0.01)
    assert draws.mean() == pytest.approx(-0.81, abs=0.01)
    return Pair(
        faulty=[lambda: without],
        right=[lambda: gan_theory.expectation(log_expit(x), gan_theory.gaussian(x), dx)],
        is_right=lambda value: abs(value - draws.mean()) < 4 * draws.std() / np.sqrt(len(draws)),
    )


@correction("B18")
def test_b18_best_judge_of_equal_densities_is_a_coin():
    x = gan_theory.make_grid()
    dx, p = x[1] - x[0], gan_theory.gaussian(x)
    rng = np.random.default_rng(0)
    real, fake = rng.standard_normal(200), rng.standard_normal(200)
    best_possible = 0.5 + np.sum(np.abs(p - p)) * dx / 4  # (1 + total variation) / 2

    def judge_that_knows_its_sample():
        points, labels = np.concatenate([real, fake]), np.repeat([1, 0], 200)
        nearest = np.abs(points[:, None] - points).argmin(axis=1)
        return float(np.mean(labels[nearest] == labels))

    assert np.allclose(gan_theory.best_discriminator(p, p), 0.5)
    return Pair(
        faulty=[judge_that_knows_its_sample],
        right=[lambda: gan_theory.best_accuracy(p, p, dx)],
        is_right=lambda accuracy: accuracy <= best_possible + 1e-6,
    )


@correction("B20")
def test_b20_likelihood_has_a_gradient_argmax_has_none():
    logits = ops.convert_to_tensor([[0.1, 0.4, 0.2]])
    opinion = ops.convert_to_tensor([[0.3], [0.5], [-1.0]])  # the judge's logit for each of three tokens

    def through_argmax():
        def judged(values):
            picked = ops.one_hot(ops.argmax(values, axis=-1), 3, dtype="float32")
            return ops.softplus(-ops.matmul(picked, opinion))

        return input_gradient(judged, logits)

    def likelihood():
        return input_gradient(lambda values: -ops.log_softmax(values)[:, :1], logits)

    return Pair(
        faulty=[through_argmax],
        right=[likelihood],
        is_right=lambda gradient: gradient is not None and np.abs(ops.convert_to_numpy(gradient)).max() > 1e-3,
        raises=RuntimeError,  # PyTorch
        message="does not require grad",
    )


def test_b20_three_tokens_trained_both_ways():
    """Likelihood reaches the data's frequencies; through argmax the model stays where it was (distance in nats)."""
    data, opinion, nudges = np.array([0.7, 0.2, 0.1]), np.array([2.0, -1.0, -1.0]), 1e-4 * np.eye(3)
    start = np.array([-0.1, 0.1, 0.0])

    def judged(logits):  # [..., 3] -> [...], the judge's opinion of the token that is picked
        return opinion[logits.argmax(axis=-1)]

    def distance(logits):
        return float(np.sum(data * np.log(data / softmax(logits))))

    by_likelihood, by_judge = start, start
    for _ in range(300):
        by_likelihood = by_likelihood + 0.5 * (data - softmax(by_likelihood))
        by_judge = by_judge + 0.5 * (judged(by_judge + nudges) - judged(by_judge - nudges)) / 2e-4
    assert distance(by_likelihood) < 1e-4
    assert distance(by_judge) == distance(start) > 0.3


def change_of_loss(direction, rate=0.5, num_steps=10):
    """How -log D(theta) changes over ten steps along ``direction`` times its gradient."""
    loss = gan.generator_loss
    start = theta = ops.zeros((1, 1))
    for _ in range(num_steps):
        theta = theta + direction * rate * input_gradient(loss, theta)
    return float(loss(theta)) - float(loss(start))


def change_of_distance(rule):
    means = gan_theory.run_rule(rule, data_mean=3.0, start=0.0)
    return abs(means[-1] - 3.0) - abs(means[0] - 3.0)


@correction("D6")
def test_d6_a_step_lowers_the_loss():
    return Pair(
        faulty=[lambda: change_of_loss(+1), lambda: change_of_distance("D6")],
        right=[lambda: change_of_loss(-1), lambda: change_of_distance("non-saturating")],
        is_right=lambda change: change < 0,
    )


@correction("D22")
def test_d22_judge_returns_log_odds():
    keras.utils.set_random_seed(0)
    rng, x = np.random.default_rng(0), np.linspace(-2, 3, 51)
    points = np.concatenate([rng.normal(0, 1, 10_000), rng.normal(1, 1, 10_000)]).astype("float32")[:, None]
    real = np.repeat([1.0, 0.0], 10_000)[:, None]
    best = gan_theory.best_discriminator(gan_theory.gaussian(x), gan_theory.gaussian(x, 1.0))
    judge = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    judge.compile(keras.optimizers.Adam(0.1), keras.losses.BinaryCrossentropy(from_logits=True))
    judge.fit(points, real, batch_size=2000, epochs=10, verbose=0)
    output = ops.convert_to_numpy(judge(x[:, None].astype("float32")))[:, 0].astype("float64")
    assert not np.isin(output, [0, 1]).any()
    return Pair(
        faulty=[lambda: (expit(output) > 0.5).astype(float)],  # a label
        right=[lambda: expit(output)],
        is_right=lambda estimate: np.abs(estimate - best).max() < 0.05,
    )


@correction("D25")
def test_d25_loss_is_an_expectation():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(0, 1, (20_000, 1)), rng.normal(1, 1, (20_000, 1))

    def logit(points):
        return ops.convert_to_tensor(0.5 - points, "float32")

    x = gan_theory.make_grid()
    judge = expit(0.5 - x)
    value = gan_theory.value_function(judge, gan_theory.gaussian(x), gan_theory.gaussian(x, 1.0), x[1] - x[0])

    def pair(i):
        return float(gan.discriminator_loss(logit(real[i : i + 1]), logit(fake[i : i + 1])))

    return Pair(
        faulty=[lambda i=i: pair(i) for i in range(3)],
        right=[lambda: float(gan.discriminator_loss(logit(real), logit(fake)))],
        is_right=lambda loss: abs(loss + value) < 0.02,
    )
