"""Corrections of autoencoders and VAEs: heads, samples, the KL term, the bound, a prior to draw from.

See tests/ledger.py. Tiny networks: images of five pixels [B, 5, 1, 1], codes of two or three numbers.
"""

import keras
import numpy as np
import pytest
from keras import layers, losses, ops
from ledger import Pair, correction, verify
from scipy import stats

from aigc_course import metrics, vae
from aigc_course.datasets import load_digits

SHAPE = (5, 1, 1)
IMAGES = np.random.default_rng(1).uniform(0.05, 0.95, (4, *SHAPE)).astype("float32")


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def tensor(values):
    return ops.convert_to_tensor(np.asarray(values, "float32"))


def dense_encoder(latent, mean="linear", log_var="linear"):
    """Images -> mean and log-variance, one dense layer each."""
    image = keras.Input(SHAPE)
    flat = layers.Flatten()(image)
    heads = [layers.Dense(latent, name=name, activation=a)(flat) for name, a in (("mean", mean), ("log_var", log_var))]
    return keras.Model(image, heads)


def dense_decoder(latent):
    codes = keras.Input((latent,))
    return keras.Model(codes, layers.Reshape(SHAPE)(layers.Dense(5, name="picture")(codes)))


# --- two heads --------------------------------------------------------------------------------------------------------


def squashed_encoder(num_heads):
    """Mean and deviation from one sigmoid layer (as written), or from two."""
    image = keras.Input(SHAPE)
    flat = layers.Flatten()(image)
    heads = [layers.Dense(2, "sigmoid")(flat) for _ in range(num_heads)]
    return keras.Model(image, [heads[0], heads[-1]])


def with_deviation(encoder):
    """The encoder with the deviation for its second output instead of the log-variance."""
    mean, log_var = encoder.output
    return keras.Model(encoder.input, [mean, ops.exp(0.5 * log_var)])


def reaches_posterior(encoder, mean=(2.0, -1.0), deviation=(0.3, 1.5), num_steps=150):
    """Whether training brings mean and deviation of every image to these values."""
    images = np.tile(IMAGES, (num_steps, 1, 1, 1))
    goal = [np.tile(np.float32(values), (len(images), 1)) for values in (mean, deviation)]
    encoder.compile(keras.optimizers.Adam(0.1), ["mse", "mse"])
    encoder.fit(images, goal, batch_size=len(IMAGES), shuffle=False, verbose=0)
    reached = [array(output) for output in encoder(IMAGES)]
    return all(np.abs(a - b[: len(IMAGES)]).max() < 0.1 for a, b in zip(reached, goal, strict=True))


@correction("D7")
def test_d7_heads_of_their_own_reach_a_mean_of_two():
    ours = vae.MLPEncoder(2, hidden_dim=7, image_shape=SHAPE)
    before = array(ours(IMAGES)[0])
    head = ours.get_layer("log_var")
    head.set_weights([weights + 1 for weights in head.get_weights()])
    assert np.array_equal(array(ours(IMAGES)[0]), before), "the head of the log-variance moves the mean"
    return Pair(
        faulty=[lambda: squashed_encoder(1), lambda: squashed_encoder(2)],
        right=[lambda: with_deviation(ours)],
        is_right=reaches_posterior,
    )


# --- a sample ---------------------------------------------------------------------------------------------------------

SIGMA = np.array([0.1, 0.7, 2.0])


class Received(layers.Layer):
    """Passes codes on and keeps the last ones: what a decoder is given in training."""

    def call(self, codes):
        self.last = codes
        return codes


def codes_in_training(rows=4000):
    """The codes [2, B, 3] that two training losses of the course's VAE decode, one image in all rows."""
    encoder, received, codes = dense_encoder(3), Received(), keras.Input((3,))
    encoder.get_layer("log_var").set_weights([np.zeros((5, 3)), 2 * np.log(SIGMA)])
    decoder = keras.Model(codes, dense_decoder(3)(received(codes)))
    model = vae.VAE(3, likelihood="gaussian", encoder=encoder, decoder=decoder)
    images = tensor(np.repeat(IMAGES[:1], rows, axis=0))
    drawn = []
    for _ in range(2):
        model.compute_loss(images, y_pred=model(images, training=True), training=True)
        drawn.append(array(received.last))
    return np.stack(drawn)


def follows_sigma(codes):  # [2, B, 3]
    """Two decodings of one image differ, and their spread is that of the posterior."""
    return not np.array_equal(*codes) and np.allclose(codes.std(axis=1), SIGMA, rtol=0.1)


@correction("D8")
def test_d8_codes_are_drawn_with_the_spread_of_the_posterior():
    mean = np.ones((2, 4000, 3))
    noise = np.random.default_rng(0).standard_normal((2, 4000, 3))
    drawn = vae.reparameterise(tensor(mean), tensor(np.log(SIGMA**2) + 0 * mean), tensor(noise))
    return Pair(
        faulty=[lambda: mean, lambda: mean + noise, lambda: mean + SIGMA * noise[:1]],
        right=[codes_in_training, lambda: array(drawn)],
        is_right=follows_sigma,
    )


# --- the KL term ------------------------------------------------------------------------------------------------------


def kl_as_written(mean, sigma):
    return np.log(sigma) - sigma + 1 + 0 * mean


def kl_of_course(mean, sigma):
    mean, sigma = np.broadcast_arrays(np.asarray(mean, "float32"), np.asarray(sigma, "float32"))
    return array(vae.kl_by_dimension(tensor(mean), tensor(2 * np.log(sigma)))).astype("float64")


def kl_by_draws(mean, sigma, num_draws=200_000):
    """Mean of log q(z) - log p(z) over draws z of q = N(mean, sigma^2), and its standard error."""
    z = np.random.default_rng(0).normal(mean, sigma, num_draws)
    ratios = stats.norm.logpdf(z, mean, sigma) - stats.norm.logpdf(z)
    return ratios.mean(), ratios.std() / np.sqrt(num_draws)


@correction("D9")
def test_d9_closed_form_agrees_with_draws():
    posteriors = [(3.0, 1.0), (0.0, 0.1), (-1.5, 0.4), (0.5, 2.0)]
    measured = [kl_by_draws(*posterior) for posterior in posteriors]
    assert kl_as_written(3.0, 1.0) == 0
    assert kl_as_written(0.0, 0.1) == pytest.approx(-1.40, abs=0.005)
    assert kl_of_course([3.0, 0.0], [1.0, 0.1]) == pytest.approx([4.5, 1.81], abs=0.005)

    def agrees(formula):
        return all(
            abs(float(formula(*posterior)) - value) < 4 * error + 1e-5
            for posterior, (value, error) in zip(posteriors, measured, strict=True)
        )

    return Pair(
        faulty=[
            lambda: kl_as_written,
            lambda: lambda mean, sigma: -0.5 * kl_as_written(mean, sigma),  # the deviation for the variance
            lambda: lambda mean, sigma: -0.5 * kl_as_written(mean, sigma**2),  # the mean left out
        ],
        right=[lambda: kl_of_course, lambda: lambda mean, sigma: (mean**2 + sigma**2 - 1) / 2 - np.log(sigma)],
        is_right=agrees,
    )


def test_d9_minimised_as_written_it_collapses_the_posterior():
    """With the deviation read as the variance it is -2 times the KL at mean 0, so its descent runs the wrong way."""
    variance = np.geomspace(1e-6, 0.99, 50)
    written, right = kl_as_written(0.0, variance), kl_of_course(0.0, np.sqrt(variance))
    assert written == pytest.approx(-2 * right, abs=1e-3)
    assert written.max() < 0 < right.min()
    assert (np.diff(written) > 0).all() and (np.diff(right) < 0).all()  # towards 0: downhill, and uphill
    assert kl_as_written(0.0, 1e-30) < -60


# --- one objective, in nats -------------------------------------------------------------------------------------------


class LinearGaussian:
    """x = W z + 1/2 + noise of variance 1/2, whose log p(x) is known; a VAE of it with a posterior a little too wide.

    The columns of W [5, 2] are orthogonal, so the exact posterior has independent dimensions.
    """

    def __init__(self, num_draws=5000):
        axes = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 2)))[0]
        self.mixing = axes * [0.6, 1.1]
        precision = 1 + 2 * np.array([0.6, 1.1]) ** 2
        encoder, decoder = dense_encoder(2), dense_decoder(2)
        towards = 2 * self.mixing / precision  # [5, 2]
        encoder.get_layer("mean").set_weights([towards, -0.5 * towards.sum(axis=0)])
        encoder.get_layer("log_var").set_weights([np.zeros((5, 2)), 0.4 - np.log(precision)])
        decoder.get_layer("picture").set_weights([self.mixing.T, np.full(5, 0.5)])
        self.vae = vae.VAE(2, likelihood="gaussian", deviation=np.sqrt(0.5), encoder=encoder, decoder=decoder)
        self.images = np.repeat(IMAGES, num_draws, axis=0)
        self.pixels = self.images.reshape(-1, 5)
        self.mean, log_var = self.vae.encode(self.images)
        self.sigma = np.exp(0.5 * log_var)
        noise = np.random.default_rng(0).standard_normal(self.mean.shape)
        self.error = self.pixels - 0.5 - (self.mean + self.sigma * noise) @ self.mixing.T  # [N, 5]
        self.kl = vae.kl_divergence(self.mean, log_var)

    def evidence(self):  # -> [4], exact
        covariance = self.mixing @ self.mixing.T + 0.5 * np.eye(5)
        return stats.multivariate_normal(np.full(5, 0.5), covariance).logpdf(IMAGES.reshape(4, 5))

    def training_loss(self):
        images = tensor(self.images)
        loss = self.vae.compute_loss(images, y_pred=self.vae(images, training=True), training=True)
        return float(array(loss))


@correction("D10")
def test_d10_elbo_in_nats_is_a_tight_lower_bound():
    model = LinearGaussian()
    squared, kl = np.square(model.error).sum(axis=1).mean(), float(array(model.kl).mean())
    written = kl_as_written(model.mean, model.sigma).sum(axis=1).mean()
    sampled = model.vae.log_likelihood(IMAGES, num_samples=3000)
    assert sampled == pytest.approx(model.evidence(), abs=0.02)

    def over_the_data_width():  # one d for both sums, that of the data
        return -sum(
            np.square(model.error[:, j]).mean() + kl_as_written(0.0, model.sigma[:, j]).mean() for j in range(5)
        )

    def over_the_code_width():  # or that of the code: three pixels are left out
        density = stats.norm.logpdf(model.error[:, :2], scale=np.sqrt(0.5))
        return density.sum(axis=1).mean() - kl

    return Pair(
        faulty=[
            lambda: -squared,  # the terms are never added
            lambda: -written,
            lambda: -squared - written,
            lambda: -squared - kl,  # the squared error for a log-likelihood: its constant is missing
            over_the_data_width,
            over_the_code_width,
        ],
        right=[lambda: model.vae.elbo(model.images).mean(), lambda: -model.training_loss()],
        is_right=lambda bound: sampled.mean() - 0.2 < bound <= sampled.mean(),
        raises=IndexError,
        message="out of bounds",
    )


def test_d10_squared_error_is_a_gaussian_of_variance_one_half():
    error = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype("float32")
    density = array(vae.gaussian_log_likelihood(tensor(error), tensor(0 * error), tensor(np.log(np.sqrt(0.5)))))
    assert density == pytest.approx(-np.square(error).sum(axis=(1, 2, 3)) - 2.5 * np.log(np.pi), rel=1e-5)


def test_d25_both_networks_follow_one_bound():
    """The step of each network is the slope of the mean ELBO; two separate losses are not (the VAE's half of D25)."""
    model = LinearGaussian().vae
    images, rate = np.repeat(IMAGES, 5000, axis=0), 1e-3
    watched = [(model.encoder.get_layer("mean"), 0), (model.encoder.get_layer("log_var"), 0)]
    watched.append((model.decoder.get_layer("picture"), 1))
    start = model.get_weights()

    def offsets():
        return np.array([layer.get_weights()[1][unit] for layer, unit in watched])

    def terms():  # minus distortion, minus rate
        return -np.array([term.mean(dtype="float64") for term in model.elbo_terms(images)])

    def slopes(step=0.05):  # [2, 3]: of each term by each watched offset
        found = []
        for layer, unit in watched:
            kernel, offset = layer.get_weights()
            ends = []
            for side in (1, -1):
                layer.set_weights([kernel, offset + side * step * np.eye(len(offset))[unit]])
                ends.append(terms())
            layer.set_weights([kernel, offset])
            found.append((ends[0] - ends[1]) / (2 * step))
        return np.transpose(found)

    def step_of_fit():
        before = offsets()
        model.compile(keras.optimizers.SGD(rate))
        model.fit(images, batch_size=len(images), verbose=0)
        moved = (offsets() - before) / rate
        model.set_weights(start)
        return moved

    of_distortion, of_rate = slopes()
    of_elbo = of_distortion + of_rate
    pair = Pair(
        faulty=[
            lambda: np.append(of_rate[:2], of_distortion[2]),  # a loss for each network: the KL, the error
            lambda: of_distortion,  # the error for both
        ],
        right=[step_of_fit],
        is_right=lambda direction: np.abs(direction - of_elbo).max() < 0.2 * np.abs(of_elbo).max(),
    )
    verify(pair)


# --- a prior to draw from ---------------------------------------------------------------------------------------------


class PlainAutoencoder:
    """The course's encoder and decoder without noise and without a prior."""

    def __init__(self, latent_dim, hidden_dim):
        encoder, self.decoder = vae.MLPEncoder(latent_dim, hidden_dim), vae.MLPDecoder(latent_dim, hidden_dim)
        self.encoder = keras.Model(encoder.input, encoder.output[0])
        self.model = keras.Model(encoder.input, self.decoder(self.encoder.output))

    def fit(self, images, **options):
        self.model.compile(keras.optimizers.Adam(0.002), losses.BinaryCrossentropy(from_logits=True))
        self.model.fit(images, images, **options)

    def decode(self, codes):
        return array(ops.sigmoid(self.decoder(tensor(codes))))

    def reconstruct(self, images):
        return self.decode(array(self.encoder(images)))


@pytest.mark.slow
@correction("C23")
def test_c23_random_codes_need_a_prior():
    """Share of decoded random codes that lie among held-out digits, by the features of the course's classifier."""
    digits, latent, hidden = load_digits(), 8, 128
    train, held_out = digits.train.images, digits.test.images[:500]
    options = dict(epochs=6, batch_size=100, verbose=0)
    plain = PlainAutoencoder(latent, hidden)
    plain.fit(train, **options)
    model = vae.VAE(latent, encoder=vae.MLPEncoder(latent, hidden), decoder=vae.MLPDecoder(latent, hidden))
    model.compile(keras.optimizers.Adam(0.002))
    model.fit(train, **options)
    scorer = metrics.Scorer()
    real = scorer.features(held_out)
    random = np.random.default_rng(0).standard_normal((500, latent))
    codes = array(plain.encoder(train))

    def among_digits(images):
        return metrics.precision_recall(real, scorer.features(images))[0]

    assert among_digits(plain.reconstruct(held_out)) > 0.5, "it must be a good autoencoder"
    return Pair(
        faulty=[lambda: plain.decode(random)],
        right=[
            lambda: model.decode(random),
            lambda: plain.decode(codes.mean(axis=0) + codes.std(axis=0) * random),  # a prior added afterwards
        ],
        is_right=lambda images: among_digits(images) > 0.2,
    )
