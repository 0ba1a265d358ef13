"""VAE: terms by hand and by SciPy, bounds on a model whose likelihood is known, one training step by differences."""

import keras
import numpy as np
import pytest
from keras import layers, ops
from scipy import integrate, stats
from scipy.special import expit, softmax

from aigc_course import vae
from aigc_course.compiled import input_gradient

SHAPE = (2, 3, 1)  # images of six pixels, Z = 5
LATENT = 5


def array(value):
    return ops.convert_to_numpy(value)


def tensor(value):
    return ops.convert_to_tensor(np.asarray(value, "float32"))


def images(rows=3, seed=1, binary=False):
    grey = np.random.default_rng(seed).uniform(0.05, 0.95, (rows, *SHAPE)).astype("float32")
    return np.round(grey) if binary else grey


def networks(num_classes=0, shape=SHAPE, latent=LATENT):
    """Encoder and decoder of one dense layer each, so that NumPy can repeat what they do."""
    image, codes, label = keras.Input(shape), keras.Input((latent,)), keras.Input((num_classes or 1,))
    seen, given = layers.Flatten()(image), codes
    if num_classes:
        seen, given = layers.Concatenate()([seen, label]), layers.Concatenate()([codes, label])
    heads = [layers.Dense(latent, name=name)(seen) for name in ("mean", "log_var")]
    picture = layers.Reshape(shape)(layers.Dense(int(np.prod(shape)), name="picture")(given))
    with_label = lambda inputs: [inputs, label] if num_classes else inputs  # noqa: E731
    return keras.Model(with_label(image), heads), keras.Model(with_label(codes), picture)


def tiny_vae(likelihood="gaussian", num_classes=0, seed=0, **options):
    """Images [B, 2, 3, 1], codes [B, 5]; every weight and offset is some way from 0."""
    encoder, decoder = networks(num_classes)
    model = vae.VAE(LATENT, likelihood=likelihood, num_classes=num_classes, encoder=encoder, decoder=decoder, **options)
    rng = np.random.default_rng([seed, 7])
    for network in (encoder, decoder):
        network.set_weights([rng.normal(scale=0.4, size=w.shape) for w in network.get_weights()])
    return model


def linear_gaussian(exact=True, num_classes=0, deviation=0.3):
    """A VAE whose p(x) is a normal, N(offset, W W' + deviation^2): the density of ``evidence``.

    The columns of W are orthogonal, so the exact posterior has independent dimensions and the encoder can be exact;
    else it is too wide and off its place.
    """
    model = tiny_vae(num_classes=num_classes, deviation=deviation)
    rng = np.random.default_rng(3)
    columns = np.linalg.qr(rng.normal(size=(6, LATENT)))[0] * [0.2, 0.5, 0.9, 0.4, 0.7]
    offset, by_label = rng.uniform(0.3, 0.7, 6), rng.normal(scale=0.3, size=(num_classes, 6))
    model.decoder.get_layer("picture").set_weights([np.concatenate([columns.T, by_label]), offset])
    variance = 1 / (1 + (columns**2).sum(axis=0) / deviation**2)  # of the exact posterior
    inward = columns * variance / deviation**2  # [6, Z]: exact mean = (x - offset - offset of the label) inward
    kernel = np.concatenate([inward, -by_label @ inward])
    shift, width = (0.0, 0.0) if exact else (0.1, 0.5)
    model.encoder.get_layer("mean").set_weights([kernel, -offset @ inward + shift])
    model.encoder.get_layer("log_var").set_weights([0 * kernel, np.log(variance) + width])
    covariance = columns @ columns.T + deviation**2 * np.eye(6)

    def evidence(x, labels=None):
        means = offset if labels is None else offset + by_label[labels]
        density = stats.multivariate_normal(np.zeros(6), covariance)
        return np.atleast_1d(density.logpdf(np.reshape(x, (len(x), 6)) - means))

    return model, evidence


def closed_kl(mean, log_var):
    return 0.5 * (np.square(mean) + np.exp(log_var) - 1 - log_var)


# KL


@pytest.mark.parametrize("mean, log_var", [(0.0, 0.0), (1.5, -2.0), (-0.3, 1e-4), (2.0, 3.0), (0.1, -30.0)])
def test_kl_is_its_closed_form_and_its_integral(mean, log_var):
    value = float(array(vae.kl_divergence(tensor([[mean]]), tensor([[log_var]])))[0])
    assert value == pytest.approx(closed_kl(mean, log_var), abs=1e-6, rel=1e-6)
    if log_var > -20:
        posterior, prior = stats.norm(mean, np.exp(0.5 * log_var)), stats.norm()
        width = 12 * np.exp(0.5 * log_var)
        integral, _ = integrate.quad(
            lambda z: posterior.pdf(z) * (posterior.logpdf(z) - prior.logpdf(z)), mean - width, mean + width
        )
        assert value == pytest.approx(integral, abs=1e-6, rel=1e-6)


def test_kl_by_hand():
    """N(1, 1) and N(0, e): 1/2 and (e - 2) / 2 nats; dimensions add up and images stay apart."""
    mean, log_var = tensor([[1, 0, 0], [0, 0, 0]]), tensor([[0, 1, 0], [0, 0, 0]])
    np.testing.assert_allclose(array(vae.kl_divergence(mean, log_var)), [0.5 + (np.e - 2) / 2, 0.0], atol=1e-6)
    np.testing.assert_allclose(array(vae.kl_by_dimension(mean, log_var))[0], [0.5, (np.e - 2) / 2, 0.0], atol=1e-6)


@pytest.mark.parametrize("log_var", [-80.0, -1e-3, 1e-6, 20.0, 60.0])
def test_kl_holds_for_tiny_and_huge_variances(log_var):
    value = float(array(vae.kl_divergence(tensor(np.zeros((1, 1))), tensor([[log_var]])))[0])
    assert value == pytest.approx(0.5 * (np.expm1(log_var) - log_var), abs=1e-6, rel=1e-5)


def test_kl_agrees_with_monte_carlo():
    rng = np.random.default_rng(0)
    mean, log_var = np.array([0.5, -1.0, 0.2]), np.array([0.4, -1.5, 1.0])
    z = array(vae.reparameterise(tensor(mean), tensor(log_var), tensor(rng.standard_normal((50_000, 3)))))
    ratios = (stats.norm(mean, np.exp(0.5 * log_var)).logpdf(z) - stats.norm.logpdf(z)).sum(axis=1)
    value = float(array(vae.kl_divergence(tensor([mean]), tensor([log_var])))[0])
    assert value == pytest.approx(ratios.mean(), abs=4 * ratios.std() / np.sqrt(len(ratios)))


def test_reparameterised_draws_are_those_of_the_posterior():
    """N(3, 4) and N(-1, 1/4): by Kolmogorov's and Smirnov's test, and exactly for three draws."""
    noise = np.random.default_rng(1).standard_normal((4000, 2))
    draws = array(vae.reparameterise(tensor([3, -1]), tensor(np.log([4, 0.25])), tensor(noise)))
    np.testing.assert_allclose(draws, [3, -1] + noise * [2, 0.5], rtol=1e-5, atol=1e-5)
    for column, (mean, deviation) in zip(draws.T, [(3, 2), (-1, 0.5)], strict=True):
        assert stats.kstest(column, stats.norm(mean, deviation).cdf).pvalue > 0.001


# Likelihoods


def test_bernoulli_is_that_of_scipy():
    x, logits = images(4, binary=True), np.random.default_rng(2).normal(scale=3, size=(4, *SHAPE))
    expected = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(x).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(array(vae.bernoulli_log_likelihood(tensor(x), tensor(logits))), expected, rtol=1e-5)
    both = [array(vae.bernoulli_log_likelihood(tensor([[[b]]]), tensor([[[-1.7]]]))) for b in (0.0, 1.0)]
    assert np.exp(both).sum() == pytest.approx(1.0, abs=1e-6)


def test_bernoulli_holds_for_huge_logits():
    """Sure and right costs nothing, sure and wrong 10,000 nats a pixel; the slope is x - sigmoid(logit)."""
    logits = tensor(np.array([1e4, -1e4, 0.5]).reshape(3, 1, 1, 1))
    for x, expected in ((0.0, [-1e4, 0.0, -np.log1p(np.exp(0.5))]), (1.0, [0.0, -1e4, -np.log1p(np.exp(-0.5))])):
        np.testing.assert_allclose(array(vae.bernoulli_log_likelihood(x, logits)), expected, rtol=1e-6, atol=1e-6)
        slope = array(input_gradient(lambda given, x=x: vae.bernoulli_log_likelihood(x, given), logits)).ravel()
        np.testing.assert_allclose(slope, x - np.array([1.0, 0.0, 1 / (1 + np.exp(-0.5))]), atol=1e-6)


@pytest.mark.parametrize("deviation", [0.01, 0.2, 3.0])
def test_gaussian_is_that_of_scipy(deviation):
    x, mean = images(3), images(3, seed=5)
    expected = stats.norm(mean, deviation).logpdf(x).sum(axis=(1, 2, 3))
    value = array(vae.gaussian_log_likelihood(tensor(x), tensor(mean), tensor(np.log(deviation))))
    np.testing.assert_allclose(value, expected, rtol=1e-4)


def test_gaussian_of_deviation_root_half_is_the_squared_error():
    x, mean = images(3), images(3, seed=5)
    value = array(vae.gaussian_log_likelihood(tensor(x), tensor(mean), tensor(0.5 * np.log(0.5))))
    np.testing.assert_allclose(value, -np.square(x - mean).sum(axis=(1, 2, 3)) - 3 * np.log(np.pi), rtol=1e-5)


def logistic_of_all_levels(mean, log_scale):
    """Log-probabilities of the 256 levels as so many images of one pixel."""
    levels = tensor(np.arange(256).reshape(256, 1, 1, 1) / 255)
    return array(vae.logistic_log_likelihood(levels, tensor(mean), tensor(log_scale))).astype("float64")


@pytest.mark.parametrize("log_scale", [-10.0, -7.0, -3.0, -0.5, 2.0, 12.0, 60.0])
@pytest.mark.parametrize("mean", [-1e3, -2.0, 0.0, 0.3, 0.5, 1.0, 7.0, 1e4])
def test_logistic_probabilities_sum_to_one(mean, log_scale):
    logs = logistic_of_all_levels(mean, log_scale)
    assert np.isfinite(logs).all()
    assert np.exp(logs).sum() == pytest.approx(1.0, abs=1e-3 if log_scale == -10 else 1e-5)


@pytest.mark.parametrize("mean, scale", [(0.4, 0.02), (-0.1, 0.3), (1.2, 1.0)])
def test_logistic_is_the_mass_between_the_borders(mean, scale):
    borders = [-np.inf, *((np.arange(255) + 0.5) / 255), np.inf]
    expected = np.diff(stats.logistic(mean, scale).cdf(borders))
    np.testing.assert_allclose(np.exp(logistic_of_all_levels(mean, np.log(scale))), expected, rtol=1e-3, atol=1e-7)


def level_mass(x, mean, scale):
    """Log-probability of inner grey levels, from the tail that is the smaller one: the other has no digits left."""
    near, far = np.abs(x - mean) - 0.5 / 255, np.abs(x - mean) + 0.5 / 255
    return np.log(stats.logistic.sf(near / scale) - stats.logistic.sf(far / scale))


def test_logistic_has_a_scale_for_each_pixel():
    x, mean, scales = images(2), images(2, seed=4), np.linspace(0.05, 0.6, 6).reshape(SHAPE)
    expected = level_mass(x, mean, scales).sum(axis=(1, 2, 3))
    np.testing.assert_allclose(
        array(vae.logistic_log_likelihood(tensor(x), tensor(mean), tensor(np.log(scales)))), expected, rtol=1e-4
    )


@pytest.mark.parametrize("log_scale", [-10.0, -3.0, 12.0])
def test_logistic_slopes_are_finite_where_the_mass_is_all_at_an_end(log_scale):
    means = tensor(np.array([-1e3, 0.0, 0.5, 1.0, 1e3]).reshape(5, 1, 1, 1))
    for level in (0.0, 0.2, 1.0):
        slope = input_gradient(lambda m, x=level: vae.logistic_log_likelihood(x + 0 * m, m, tensor(log_scale)), means)
        assert np.isfinite(array(slope)).all()


def test_log_mean_exp_by_hand():
    """(e^-1000 + 3 e^-1000) / 2 = 2 e^-1000: single precision or a bare exp would give -inf or lose the digits."""
    values = np.array([[-1000.0, 0.0], [-1000.0 + np.log(3), -1e5]])
    result = vae.log_mean_exp(values)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, [-1000 + np.log(2), -np.log(2)], rtol=1e-14)
    np.testing.assert_allclose(vae.log_mean_exp(values, axis=1), [-np.log(2), -1000 + np.log(3) - np.log(2)])
    assert vae.log_mean_exp(np.float32([-1000.0, -1000.25])).dtype == np.float64


def test_binarise_draws_grey_pixels_and_keeps_the_others():
    binary = images(4, binary=True)
    np.testing.assert_array_equal(vae.binarise(binary, seed=3), binary)
    grey = np.tile(images(1), (20_000, 1, 1, 1))
    drawn = vae.binarise(grey)
    assert drawn.dtype == np.float32 and set(np.unique(drawn)) == {0.0, 1.0}
    assert (np.abs(drawn.mean(axis=0) - grey[0]) < 4 * np.sqrt(0.25 / len(grey))).all()
    np.testing.assert_array_equal(drawn, vae.binarise(grey))
    assert (drawn != vae.binarise(grey, seed=1)).any()
    assert vae.binarise(np.zeros((0, *SHAPE))).shape == (0, *SHAPE)


# Bounds on a model whose likelihood is known


@pytest.mark.parametrize("num_samples, batch_size", [(1, 2048), (7, 2048), (7, 3), (40, 100)])
def test_exact_posterior_makes_every_weight_the_likelihood(num_samples, batch_size):
    """p(x, z) / q(z | x) = p(x) for every z, so any number of samples in any batches gives log p(x) itself."""
    model, evidence = linear_gaussian()
    x = images(7)
    found = model.log_likelihood(x, num_samples=num_samples, batch_size=batch_size)
    np.testing.assert_allclose(found, evidence(x), atol=1e-3)


@pytest.mark.parametrize("num_samples, batch_size", [(1, 2048), (7, 2048), (7, 32), (7, 3), (150, 2048)])
def test_likelihood_takes_as_many_samples_as_it_is_asked_for(num_samples, batch_size):
    model, taken = tiny_vae(), {}
    whole = model._weigh

    def weigh(block, noise):
        assert len(noise) * len(block) <= batch_size
        for image in array(block):
            taken[image.tobytes()] = taken.get(image.tobytes(), 0) + len(noise)
        return whole(block, noise)

    model._weigh = weigh
    model.log_likelihood(images(7), num_samples=num_samples, batch_size=batch_size)
    assert list(taken.values()) == [num_samples] * 7


@pytest.mark.parametrize("batch_size", [2048, 5])
def test_exact_posterior_with_labels(batch_size):
    """Each image's likelihood is that under its own label, whatever the order of samples and images."""
    model, evidence = linear_gaussian(num_classes=3)
    x, labels = images(7), np.array([2, 0, 1, 1, 2, 0, 0])
    found = model.log_likelihood(x, num_samples=4, labels=labels, batch_size=batch_size)
    np.testing.assert_allclose(found, evidence(x, labels), atol=1e-3)
    assert np.abs(evidence(x, labels) - evidence(x, labels[::-1])).max() > 0.5


def test_elbo_is_the_likelihood_for_the_exact_posterior():
    """In the mean over draws: the same image 4,000 times, within four standard errors."""
    model, evidence = linear_gaussian()
    x = np.tile(images(1), (4000, 1, 1, 1))
    values = model.elbo(x)
    assert values.mean() == pytest.approx(evidence(x[:1])[0], abs=4 * values.std() / np.sqrt(len(values)))
    assert values.std() > 0.1


def test_bound_is_below_the_likelihood_and_tightens_with_more_samples():
    """With a posterior that is off: in the mean the ELBO is the bound of one sample, below those of 5 and 50."""
    model, evidence = linear_gaussian(exact=False)
    x = np.tile(images(3), (200, 1, 1, 1))  # 200 draws of each bound
    truth = evidence(x).mean()
    elbo = model.elbo(x)
    bounds = [model.log_likelihood(x, k, seed=k, batch_size=60_000) for k in (1, 5, 50)]
    one, five, fifty = (bound.mean() for bound in bounds)
    errors = [values.std() / np.sqrt(len(x)) for values in (elbo, *bounds)]
    assert elbo.mean() == pytest.approx(one, abs=4 * np.hypot(*errors[:2]))
    assert one + 0.3 < five < fifty < truth + 3 * errors[3], "a bound, and it tightens"
    assert fifty == pytest.approx(truth, abs=0.05), "and tightens up to the truth"


def test_elbo_terms_are_distortion_and_rate():
    """The rate is the closed form, the mean distortion E|x - Wz - b|^2 / 2s^2 and constants: the decoder is linear."""
    model, _ = linear_gaussian(exact=False)
    x = np.tile(images(1), (4000, 1, 1, 1))
    distortion, rate = model.elbo_terms(x)
    mean, log_var = (part[0] for part in model.encode(x[:1]))
    kernel, offset = (array(w.value) for w in model.decoder.get_layer("picture").variables)
    np.testing.assert_allclose(rate, closed_kl(mean, log_var).sum(), rtol=1e-5)
    squares = np.square(x[0].ravel() - mean @ kernel - offset).sum() + (np.exp(log_var) @ np.square(kernel)).sum()
    expected = squares / (2 * 0.09) + 6 * np.log(0.3) + 3 * np.log(2 * np.pi)
    assert distortion.mean() == pytest.approx(expected, abs=4 * distortion.std() / np.sqrt(len(x)))
    np.testing.assert_allclose(model.elbo(x), -distortion - rate, rtol=1e-6)
    np.testing.assert_array_equal(model.elbo(x), model.elbo(x))
    assert (model.elbo(x, seed=1) != model.elbo(x)).any()


def test_bernoulli_bound_agrees_with_the_sum_over_a_grid_of_codes():
    """Z = 1: p(x) by quadrature over the prior; 20,000 samples come within 0.03 nats of it."""
    encoder, decoder = networks(latent=1)
    model = vae.VAE(1, encoder=encoder, decoder=decoder)
    rng = np.random.default_rng(4)
    encoder.set_weights([rng.normal(scale=0.2, size=w.shape) for w in encoder.get_weights()])
    decoder.set_weights([rng.normal(size=w.shape) for w in decoder.get_weights()])
    x, z = images(3, binary=True), np.linspace(-8, 8, 2001)
    kernel, offset = (array(w.value) for w in decoder.get_layer("picture").variables)
    logits = z[:, None] @ kernel + offset  # [2001, 6]
    given = stats.bernoulli(1 / (1 + np.exp(-logits))).logpmf(x.reshape(3, 1, 6)).sum(axis=-1)
    truth = np.log(integrate.trapezoid(np.exp(given) * stats.norm.pdf(z), z, axis=1))
    np.testing.assert_allclose(model.log_likelihood(x, 20_000, batch_size=320_000), truth, atol=0.03)


# Training


def known_loss(values, x, observed, noise, condition, likelihood, beta, free_bits):
    """The loss in double precision from the weights in the order of ``step_of``: loss, distortion, rate."""
    (mean_w, mean_b, var_w, var_b, out_w, out_b), log_scale = values[:6], values[6] if len(values) > 6 else None
    x = x.reshape(len(x), -1)
    seen = np.concatenate([observed, condition], axis=1)
    mean, log_var = seen @ mean_w + mean_b, seen @ var_w + var_b
    outputs = np.concatenate([mean + np.exp(0.5 * log_var) * noise, condition], axis=1) @ out_w + out_b
    if likelihood == "bernoulli":
        logs = stats.bernoulli(1 / (1 + np.exp(-outputs))).logpmf(observed)
    elif likelihood == "gaussian":
        logs = stats.norm(outputs, np.exp(log_scale)).logpdf(x)
    else:
        logs = level_mass(x, outputs, np.exp(log_scale.ravel()))
    rates = closed_kl(mean, log_var).mean(axis=0)
    distortion = -logs.sum(axis=1).mean()
    return distortion + beta * np.maximum(rates, free_bits).sum(), distortion, rates.sum(), rates


def step_of(model, x, labels=None):
    """Weights before and after one step of gradient descent of rate 0.1, what the step saw, and what it recorded."""
    variables = [
        *(w for name in ("mean", "log_var") for w in model.encoder.get_layer(name).variables),
        *model.decoder.get_layer("picture").variables,
        *([model.log_scale] if model.likelihood != "bernoulli" else []),
    ]
    before = [array(v.value).astype("float64") for v in variables]
    state = array(model.seed_generator.state.value).copy()
    model.compile(keras.optimizers.SGD(0.1))
    history = model.fit(x, labels, batch_size=len(x), shuffle=False, verbose=0).history
    after = [array(v.value).astype("float64") for v in variables]
    model.seed_generator.state.assign(state)
    observed = array(model(x if labels is None else (x, labels))["observed"]).reshape(len(x), -1)
    noise = array(keras.random.normal((len(x), LATENT), seed=model.seed_generator))
    return before, after, observed, noise, history


def slopes(function, values):
    """Gradient of ``function(values)`` by every entry, by central differences."""
    result = [np.zeros_like(v) for v in values]
    for place, value in enumerate(values):
        for index in np.ndindex(value.shape):
            ends = []
            for step in (1e-5, -1e-5):
                changed = value.copy()
                changed[index] += step
                ends.append(function([*values[:place], changed, *values[place + 1 :]]))
            result[place][index] = (ends[0] - ends[1]) / 2e-5
    return result


@pytest.mark.parametrize(
    "likelihood, beta, free_bits, num_classes",
    [("bernoulli", 1.0, 0.0, 0), ("gaussian", 0.3, 0.25, 4), ("logistic", 2.5, 0.0, 0)],
)
def test_one_step_follows_the_slope_of_the_loss(likelihood, beta, free_bits, num_classes):
    """Every weight of encoder, decoder and scale moves by minus rate times the gradient, through the draw of z too."""
    model, x = tiny_vae(likelihood, num_classes, beta=beta, free_bits=free_bits), images(3)
    labels = np.array([3, 0, 2]) if num_classes else None
    before, after, observed, noise, history = step_of(model, x, labels)
    condition = np.eye(4)[labels] if num_classes else np.zeros((3, 0))
    loss = lambda values: known_loss(values, x, observed, noise, condition, likelihood, beta, free_bits)  # noqa: E731
    *expected, rates = loss(before)
    np.testing.assert_allclose([history[name][0] for name in ("loss", "distortion", "rate")], expected, rtol=1e-4)
    assert not free_bits or rates.min() < free_bits < rates.max(), "both sides of the floor are tried"
    for old, new, slope in zip(before, after, slopes(lambda v: loss(v)[0], before), strict=True):
        assert np.abs(slope).max() > 1e-3
        np.testing.assert_allclose(new - old, -0.1 * slope, rtol=2e-3, atol=2e-5)


def test_scale_moves_only_if_it_is_learned():
    learned, given = tiny_vae(), tiny_vae(deviation=0.4)
    for model in (learned, given):
        step_of(model, images())
    assert array(learned.log_scale.value) != pytest.approx(np.log(0.2), abs=1e-4)
    assert array(given.log_scale.value) == np.float32(np.log(0.4))


@pytest.mark.parametrize("free_bits, moves", [(50.0, False), (0.0, True)])
def test_rate_below_the_free_bits_does_not_pull(free_bits, moves):
    """A decoder that ignores z leaves the encoder nothing but the KL: below the floor it must not move at all."""
    model = tiny_vae(free_bits=free_bits, beta=2.0)
    kernel = model.decoder.get_layer("picture").kernel
    kernel.assign(0 * array(kernel.value))
    before, after, *_, history = step_of(model, images())
    assert any((a != b).any() for a, b in zip(before[:4], after[:4], strict=True)) == moves
    priced = history["loss"][0] - history["distortion"][0]
    assert priced == pytest.approx(2.0 * (LATENT * free_bits or history["rate"][0]), rel=1e-4)
    assert history["rate"][0] < 50.0


@pytest.mark.parametrize("binary", [False, True])
def test_every_epoch_draws_anew(binary):
    """Grey pixels are drawn as 0 or 1 each time (with z held still), and so is the noise (on binary images)."""
    model = tiny_vae("bernoulli")
    if not binary:
        head = model.encoder.get_layer("log_var")
        head.set_weights([0 * w for w in head.get_weights()])
        head.bias.assign(np.full(LATENT, -60.0))
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(images(5, binary=binary), epochs=4, batch_size=5, verbose=0).history
    assert len(set(history["distortion"])) == 4
    assert (np.ptp(history["rate"]) < 1e-5) == binary


def test_pixels_are_drawn_with_their_grey_level_as_probability():
    x = np.tile(images(1), (4000, 1, 1, 1))
    model = tiny_vae("bernoulli")
    first, second = (array(model(x)["observed"]) for _ in range(2))
    assert set(np.unique(first)) == {0.0, 1.0} and (first != second).any()
    assert (np.abs(first.mean(axis=0) - x[0]) < 4 * np.sqrt(0.25 / len(x))).all()
    binary = images(4, binary=True)
    np.testing.assert_array_equal(array(model(binary)["observed"]), binary)
    np.testing.assert_array_equal(array(tiny_vae("gaussian")(x)["observed"]), x)


def test_ten_images_are_learned_by_heart():
    """Ten random binary images of 20 pixels: a coin toss for each costs 13.9 nats, 250 steps far less."""
    shape = (4, 5, 1)
    ten = np.random.default_rng(0).integers(0, 2, (10, *shape)).astype("float32")
    encoder = vae.MLPEncoder(LATENT, hidden_dim=32, image_shape=shape)
    model = vae.VAE(LATENT, encoder=encoder, decoder=vae.MLPDecoder(LATENT, hidden_dim=32, image_shape=shape))
    before = -model.elbo(ten).mean()
    model.compile(keras.optimizers.Adam(1e-2))
    model.fit(np.tile(ten, (250, 1, 1, 1)), batch_size=10, shuffle=False, verbose=0)
    after = -np.mean([model.elbo(ten, seed=seed) for seed in range(20)])
    assert before > 13.0 and after < 8.0
    assert (np.round(model.reconstruct(ten)) == ten).mean() > 0.97
    assert after > np.log(10) - 0.3, "the likelihood of ten equally likely images cannot be above 1/10 in the mean"


def test_last_batch_may_be_smaller_and_images_may_be_few():
    """Batches of four and of one image; afterwards one image is encoded as the first of two."""
    model, labels = tiny_vae(num_classes=2), np.array([1, 0, 0, 1, 1])
    model.compile(keras.optimizers.SGD(1e-3))
    assert np.isfinite(model.fit(images(5), labels, batch_size=4, verbose=0).history["loss"]).all()
    one, two = (model.encode(images(5)[:rows], labels[:rows])[0] for rows in (1, 2))
    np.testing.assert_allclose(one[0], two[0], atol=1e-5)


def test_recorded_terms_add_up_to_the_loss_when_the_last_batch_is_smaller():
    model = tiny_vae(beta=1.0)
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(images(5), batch_size=4, verbose=0).history
    assert history["loss"][0] == pytest.approx(history["distortion"][0] + history["rate"][0], rel=1e-5)


def test_warm_up_raises_beta_epoch_by_epoch_and_restores_it():
    """The step itself sees the new beta: (loss - distortion) / rate is 0, 1/2, 1, 3/2, 2 and stays 2."""
    model = tiny_vae("bernoulli", beta=2.0)
    model.compile(keras.optimizers.SGD(1e-3))
    history = model.fit(images(6), epochs=6, batch_size=3, callbacks=[vae.WarmUp(4)], verbose=0).history
    loss, distortion, rate = (np.array(history[name]) for name in ("loss", "distortion", "rate"))
    np.testing.assert_allclose(loss - distortion, np.array([0, 0.5, 1, 1.5, 2, 2]) * rate, atol=1e-4)
    assert rate.min() > 0.1
    assert array(model.beta.value) == 2.0
    model.fit(images(6), epochs=2, batch_size=3, callbacks=[vae.WarmUp(4)], verbose=0)
    assert array(model.beta.value) == 2.0, "also where training ends before the warm-up does"


# Codes and pictures


@pytest.mark.parametrize("likelihood", vae.LIKELIHOODS)
def test_encode_and_decode_are_the_networks(likelihood):
    """Encoding shows grey levels as they are; decoding gives means, cut to the range of images, or probabilities."""
    model, x, codes = tiny_vae(likelihood), images(4), np.random.default_rng(2).normal(scale=3, size=(4, LATENT))
    for found, expected in zip(model.encode(x), model.encoder(x), strict=True):
        np.testing.assert_allclose(found, array(expected), atol=1e-5)
    outputs = array(model.decoder(tensor(codes)))
    means = {"bernoulli": expit, "categorical": lambda logits: softmax(logits, axis=-1)}
    expected = means.get(likelihood, lambda location: np.clip(location, 0, 1))(outputs)
    np.testing.assert_allclose(model.decode(codes), expected, atol=1e-5)
    assert outputs.min() < 0 and outputs.max() > 1
    np.testing.assert_allclose(model.reconstruct(x), model.decode(model.encode(x)[0]), atol=1e-6)


def test_internal_batches_leave_no_trace():
    """1,100 images are more than two internal batches: all results are those of any part of them."""
    model, x = tiny_vae(num_classes=2), images(1100)
    labels = np.arange(1100) % 2
    for found, part in zip(model.encode(x, labels), model.encode(x[-100:], labels[-100:]), strict=True):
        assert found.shape == (1100, LATENT)
        np.testing.assert_allclose(found[-100:], part, atol=1e-5)
    picture = model.reconstruct(x, labels)
    np.testing.assert_allclose(picture[-100:], model.reconstruct(x[-100:], labels[-100:]), atol=1e-5)
    assert model.elbo(x, labels).shape == (1100,)


@pytest.mark.parametrize("network", vae.NETWORKS)
def test_networks_have_the_shapes_of_the_digits(network):
    x, labels = np.random.default_rng(0).uniform(size=(3, 28, 28, 1)), np.array([4, 0, 9])
    model = vae.VAE(LATENT, network=network, num_classes=10)
    mean, log_var = model.encode(x, labels)
    assert mean.shape == log_var.shape == (3, LATENT) and (mean != log_var).any()
    assert model.reconstruct(x, labels).shape == (3, 28, 28, 1)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_no_images_give_no_results(network):
    model, none = vae.VAE(LATENT, network=network), np.zeros((0, 28, 28, 1))
    assert [part.shape for part in model.encode(none)] == [(0, LATENT)] * 2
    assert model.decode(np.zeros((0, LATENT))).shape == model.reconstruct(none).shape == none.shape
    assert model.sample(0).shape == none.shape and model.log_likelihood(none).shape == (0,)
    assert [part.shape for part in model.elbo_terms(none)] == [(0,)] * 2


def test_sample_decodes_the_prior_and_is_a_function_of_its_seed():
    model = tiny_vae("bernoulli")
    np.testing.assert_array_equal(model.sample(3, seed=5), model.sample(3, seed=5))
    assert np.abs(model.sample(3, seed=5) - model.sample(3, seed=6)).max() > 0.01
    kernel, offset = np.zeros((LATENT, 6)), np.zeros(6)
    kernel[:, :LATENT] = np.eye(LATENT)
    model.decoder.get_layer("picture").set_weights([kernel, offset])
    shares = model.sample(3000).reshape(3000, 6)[:, :LATENT]
    assert stats.kstest(np.log(shares / (1 - shares)).ravel(), stats.norm.cdf).pvalue > 0.001


def test_sample_shows_the_trained_weights():
    """Sample, train, sample again: a compiled function must not keep the old weights (it would on JAX)."""
    model, x = tiny_vae(), images()
    first, bound, likelihood = model.sample(3), model.elbo(x), model.log_likelihood(x, 3)
    mean = model.encode(x)[0]
    step_of(model, x)
    codes = np.random.default_rng(0).standard_normal((3, LATENT))
    second = model.sample(3)
    assert np.abs(first - second).max() > 1e-4
    np.testing.assert_allclose(second, np.clip(array(model.decoder(tensor(codes))), 0, 1), atol=1e-5)
    np.testing.assert_allclose(model.encode(x)[0], array(model.encoder(x)[0]), atol=1e-5)
    assert np.abs(model.encode(x)[0] - mean).max() > 1e-4
    assert np.abs(model.elbo(x) - bound).min() > 1e-4
    assert np.abs(model.log_likelihood(x, 3) - likelihood).min() > 1e-4


def test_interpolation_runs_straight_from_one_reconstruction_to_the_other():
    model, (first, second) = tiny_vae("bernoulli", num_classes=3), images(2)
    way = model.interpolate(first, second, num_steps=7, labels=2)
    assert way.shape == (7, *SHAPE)
    np.testing.assert_allclose(way[[0, -1]], model.reconstruct(np.stack([first, second]), np.array([2, 2])), atol=1e-5)
    logits = np.log(way / (1 - way))  # the decoder is linear, so its logits are too
    np.testing.assert_allclose(np.diff(logits, axis=0), np.tile(logits[1] - logits[0], (6, 1, 1, 1)), atol=1e-3)
    assert np.abs(logits[1] - logits[0]).max() > 0.01


def test_active_units_are_those_whose_mean_varies():
    """Means 0.05, 0.2, 0, 3 and -1 times one pixel of variance 1/4: 0.01 divides 0.2 from 0.05 (0.0006 and 0.01)."""
    model, kernel = tiny_vae(), np.zeros((6, LATENT))
    kernel[0] = [0.05, 0.21, 0.0, 3.0, -1.0]
    model.encoder.get_layer("mean").set_weights([kernel, np.full(LATENT, 9.0)])
    x = np.zeros((8, *SHAPE))
    x[::2] = 1.0
    assert model.active_units(x).tolist() == [False, True, False, True, True]
    assert model.active_units(x, threshold=0.3).tolist() == [False, False, False, True, False]


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistic"])
def test_saved_weights_give_the_same_outputs(likelihood, tmp_path):
    model, x = tiny_vae(likelihood, beta=3.0), images(3)
    step_of(model, x)
    model.save_weights(tmp_path / "vae.weights.h5")
    twin = tiny_vae(likelihood, seed=1)
    assert np.abs(twin.elbo(x) - model.elbo(x)).max() > 0.01
    twin.load_weights(tmp_path / "vae.weights.h5")
    for name in ("elbo", "reconstruct"):
        np.testing.assert_allclose(getattr(twin, name)(x), getattr(model, name)(x), rtol=1e-5)
    assert array(twin.beta.value) == 3.0


# Labels


def test_labels_change_what_is_decoded_and_stay_with_their_codes():
    model, codes, labels = tiny_vae("bernoulli", num_classes=3), np.ones((3, LATENT)), np.array([2, 0, 1])
    pictures = model.decode(codes, labels)
    assert min(np.abs(pictures[a] - pictures[b]).max() for a, b in ((0, 1), (0, 2), (1, 2))) > 0.01
    np.testing.assert_allclose(model.decode(codes, labels[::-1]), pictures[::-1], atol=1e-6)
    np.testing.assert_allclose(model.decode(codes[:1], np.array([0])), pictures[1:2], atol=1e-6)


def calls_with(model, x, labels):
    """Everything that takes images or codes, with ``labels``."""
    return [
        lambda: model.fit(x, labels, verbose=0),
        lambda: model.encode(x, labels),
        lambda: model.decode(np.zeros((3, LATENT)), labels),
        lambda: model.sample(3, labels),
        lambda: model.reconstruct(x, labels),
        lambda: model.elbo(x, labels),
        lambda: model.log_likelihood(x, 2, labels),
        lambda: model.active_units(x, labels),
    ]


@pytest.mark.parametrize(
    "labels", [None, np.array([0, 1]), np.array([0, 1, 3]), np.array([0, -1, 1]), np.array([0.0, 1.0, 2.0]), 1]
)
def test_wrong_labels_are_refused_everywhere(labels):
    model, x = tiny_vae(num_classes=3), images(3)
    model.compile("sgd")
    for call in calls_with(model, x, labels):
        with pytest.raises(ValueError, match=r"label for each of 3|Labels must lie from 0 to 2"):
            call()


def test_labels_are_refused_where_there_are_no_classes():
    """They would be left out without a word, and the samples taken for those of a class."""
    model, x, labels = tiny_vae(), images(3), np.array([0, 1, 1])
    model.compile("sgd")
    for call in [*calls_with(model, x, labels), lambda: model.interpolate(x[0], x[1], labels=1)]:
        with pytest.raises(ValueError, match="not conditional"):
            call()


def test_a_way_has_one_label():
    model, (first, second) = tiny_vae("bernoulli", num_classes=3), images(2)
    with pytest.raises(ValueError, match="one label, not 2"):
        model.interpolate(first, second, labels=[0, 2])


# Errors


@pytest.mark.parametrize("value", [-0.01, 1.5, 255, float("nan"), float("inf")])
def test_grey_levels_outside_the_range_are_refused_everywhere(value):
    model, x = tiny_vae("bernoulli"), images(3)
    x[1, 0, 2, 0] = value
    model.compile("sgd")
    for call in (model.fit, model.encode, model.reconstruct, model.elbo, model.log_likelihood, model.active_units):
        with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
            call(x)
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        model.interpolate(x[0], x[1])


@pytest.mark.parametrize("shape", [(3, 3, 2, 1), (3, 2, 3), (2, 3, 1), (3, 2, 3, 2), (3, 6), ()])
def test_images_of_another_shape_are_refused_everywhere(shape):
    model, x = tiny_vae("bernoulli"), np.zeros(shape)
    model.compile("sgd")
    for call in (model.fit, model.encode, model.elbo, model.log_likelihood):
        with pytest.raises(ValueError, match=r"Images must have the shape \['N', 2, 3, 1\]"):
            call(x)


@pytest.mark.parametrize("shape", [(3, LATENT + 1), (LATENT,), (3, LATENT, 1)])
def test_codes_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"Codes must have the shape \[N, 5\]"):
        tiny_vae().decode(np.zeros(shape))


def test_tensors_and_validation_data_are_checked_as_arrays_are():
    model, x = tiny_vae(), images(3)
    model.compile("sgd")
    with pytest.raises(ValueError, match=r"in \[0, 1\]"):
        model.fit(tensor(2 * x), verbose=0)
    for held_out in ((2 * x,), (2 * x, None), [tensor(2 * x)]):
        with pytest.raises(ValueError, match=r"in \[0, 1\]"):
            model.fit(x, validation_data=held_out, verbose=0)
    assert "val_loss" in model.fit(tensor(x), validation_data=(x,), verbose=0).history


def test_validation_data_bring_labels_as_the_training_does():
    model, x, labels = tiny_vae(num_classes=3), images(3), np.array([0, 2, 1])
    model.compile("sgd")
    for held_out in ((x,), (x, labels[:2]), (x, labels + 1)):
        with pytest.raises(ValueError, match=r"label for each of 3|Labels must lie from 0 to 2"):
            model.fit(x, labels, validation_data=held_out, verbose=0)
    assert "val_loss" in model.fit(x, labels, validation_data=(x, labels), verbose=0).history


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_codes_that_are_no_finite_numbers_are_refused(value):
    codes = np.zeros((3, LATENT))
    codes[1, 2] = value
    with pytest.raises(ValueError, match="Codes must be finite"):
        tiny_vae().decode(codes)


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_images_do_not_tell_what_varies(count):
    with pytest.raises(ValueError, match=f"at least 2 images, not on {count}"):
        tiny_vae().active_units(images()[:count])


@pytest.mark.parametrize("odd", ["encoder", "decoder"])
def test_networks_of_another_width_are_named(odd):
    given = dict(zip(("encoder", "decoder"), networks(), strict=True))
    other = dict(zip(("encoder", "decoder"), networks(latent=LATENT + 1), strict=True))
    with pytest.raises(ValueError, match=f"The {odd} has codes of 6 numbers, latent_dim is 5"):
        vae.VAE(LATENT, **{**given, odd: other[odd]})


@pytest.mark.parametrize(
    "options, named",
    [
        ({"likelihood": "mse"}, "likelihood must be one of bernoulli, gaussian, logistic, categorical; 'mse'"),
        ({"network": "transformer"}, "network must be one of mlp, conv; 'transformer'"),
        ({"latent_dim": 0}, "latent_dim"),
        ({"latent_dim": 2.5}, "latent_dim must be a whole number of at least 1, not 2.5"),
        ({"num_classes": -1}, "num_classes must be a whole number of at least 0, not -1"),
        ({"beta": -1.0}, "beta = -1.0"),
        ({"beta": float("nan")}, "beta = nan"),
        ({"beta": float("inf")}, "beta = inf"),
        ({"free_bits": -0.1}, "free_bits = -0.1"),
        ({"free_bits": float("inf")}, "free_bits = inf"),
        ({"likelihood": "gaussian", "deviation": 0.0}, "deviation = 0.0"),
        ({"likelihood": "gaussian", "deviation": -1.0}, "deviation = -1.0"),
        ({"likelihood": "gaussian", "deviation": float("inf")}, "deviation = inf"),
        ({"likelihood": "bernoulli", "deviation": 0.2}, "deviation belongs to the likelihood 'gaussian'"),
    ],
)
def test_wrong_options_are_named(options, named):
    with pytest.raises(ValueError, match=named):
        vae.VAE(**options)


def test_warm_up_of_no_epochs_is_refused():
    with pytest.raises(ValueError, match="at least 1 epoch, not 0"):
        vae.WarmUp(0)


def test_weights_of_samples_and_classes_are_refused():
    model = tiny_vae()
    model.compile("sgd")
    for name, value in (("sample_weight", np.ones(3)), ("class_weight", {0: 2.0})):
        with pytest.raises(ValueError, match=name):
            model.fit(images(), verbose=0, **{name: value})


def test_a_deviation_is_for_the_gaussian_alone():
    for likelihood in ("bernoulli", "logistic"):
        with pytest.raises(ValueError, match="deviation belongs"):
            vae.VAE(2, likelihood=likelihood, deviation=0.5)


def test_logistic_stays_finite_where_the_mean_is_far_away_or_the_scale_nearly_zero():
    shape = (1, 1, 1, 1)
    for mean, log_scale in ((1e6, -1.0), (-1e6, -1.0), (0.5, -100.0), (1e6, -100.0)):
        value = vae.logistic_log_likelihood(tensor(np.full(shape, 0.5)), tensor(np.full(shape, mean)), log_scale)
        assert np.isfinite(array(value)).all(), (mean, log_scale)


def test_no_samples_give_no_likelihood():
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        tiny_vae().log_likelihood(images(), num_samples=0)


def test_likelihoods_take_numpy_arrays():
    x, outputs = images(), np.random.default_rng(2).normal(size=(3, *SHAPE)).astype("float32")
    scale = tensor(np.zeros(SHAPE))
    for value in (
        vae.bernoulli_log_likelihood(x, outputs),
        vae.gaussian_log_likelihood(x, outputs, scale),
        vae.logistic_log_likelihood(x, outputs, scale),
    ):
        assert array(value).shape == (3,) and np.isfinite(array(value)).all()
