"""Variational autoencoder (Kingma and Welling, 2014) for 28 x 28 grey images.

Shapes: B batch, N images, K samples a image, Z latent width, H W image side, L labels.   Taught in chapters/08_vae.
Corrects A26, C23, D7, D8, D9, D10, D25.

``log p(x) >= E_q log p(x | z) - KL(q(z | x) || p(z))``, the evidence lower bound (ELBO). Every term is summed over the
pixels or latent dimensions of an image, averaged over images only, and in nats.
"""

import keras
import numpy as np
from keras import ops
from scipy.special import logsumexp

from aigc_course.compiled import compiled
from aigc_course.gan import demand_unit_range, sample_noise
from aigc_course.vae_networks import ConvDecoder, ConvEncoder, MLPDecoder, MLPEncoder

LIKELIHOODS = ("bernoulli", "gaussian", "logistic", "categorical")
NETWORKS = ("mlp", "conv")
LOG_TWO_PI = float(np.log(2 * np.pi))
GREY_LEVELS = 256
NO_LABELS = "This VAE is not conditional (num_classes is 0): it takes no labels."


def kl_divergence(mean, log_var):  # [B, Z], [B, Z] -> [B]
    """KL(N(mean, exp(log_var)) || N(0, 1)), summed over latent dimensions, in nats (Kingma and Welling, 2014, app. B).

    ``1/2 sum(mean^2 + var - log var - 1)``: 0 for the standard normal itself and positive for every other.
    """
    return ops.sum(kl_by_dimension(mean, log_var), axis=-1)


def kl_by_dimension(mean, log_var):  # [B, Z], [B, Z] -> [B, Z]
    """The terms of ``kl_divergence``, one for each latent dimension."""
    mean, log_var = ops.convert_to_tensor(mean), ops.convert_to_tensor(log_var)
    return 0.5 * (ops.square(mean) + ops.expm1(log_var) - log_var)


def reparameterise(mean, log_var, noise):  # [B, Z] x 2, [..., B, Z] -> [..., B, Z]
    """``z = mean + deviation * noise``: a draw from the posterior through which the gradient passes."""
    return mean + ops.exp(0.5 * log_var) * noise


def binarise(images, seed=0):  # [N, ...] in [0, 1] -> [N, ...] of 0 and 1
    """Draw every pixel: 1 with its grey level as probability. Pixels that are 0 or 1 already stay what they are."""
    images = np.asarray(images, "float32")
    return (np.random.default_rng(seed).random(images.shape, dtype="float32") < images).astype("float32")


def bernoulli_log_likelihood(images, logits):  # [..., H, W, C] x 2 -> [...]
    """Log-probability of binary pixels, summed: ``x l - log(1 + e^l)``, safe for any logit."""
    images, logits = ops.convert_to_tensor(images), ops.convert_to_tensor(logits)
    return _sum_pixels(images * logits - ops.softplus(logits))


def gaussian_log_likelihood(images, mean, log_deviation):  # [..., H, W, C] x 2, [] -> [...]
    """Log-density of grey levels under a normal of one deviation for all pixels.

    With deviation ``sqrt(1/2)`` it is minus the squared error and a constant: the squared error has a weight in it.
    """
    images, mean = ops.convert_to_tensor(images), ops.convert_to_tensor(mean)
    error = (images - mean) * ops.exp(-log_deviation)
    return _sum_pixels(-0.5 * ops.square(error) - log_deviation - 0.5 * LOG_TWO_PI)


def logistic_log_likelihood(images, mean, log_scale):  # [..., H, W, C] x 2, [H, W, C] -> [...]
    """Log-probability of the 256 grey levels: the mass of a logistic distribution between the levels' borders.

    The lowest level takes everything below it and the highest everything above (Kingma et al., 2016; the open ends as
    Salimans et al., 2017, section 2.1), so these are probabilities, not densities, and divided by 784 log 2 they are
    bits per dimension.
    """
    images, mean = ops.convert_to_tensor(images), ops.convert_to_tensor(mean)
    inverse, half = ops.exp(-ops.maximum(log_scale, -7.0)), 0.5 / (GREY_LEVELS - 1)  # narrower is rounding error
    upper, lower = (images - mean + half) * inverse, (images - mean - half) * inverse
    # log(sigmoid(u) - sigmoid(l)) = -softplus(-u) - softplus(l) + log(1 - exp(l - u))
    inside = -ops.softplus(-upper) - ops.softplus(lower) + ops.log(-ops.expm1(-2.0 * half * inverse))
    first, last = images < half, images > 1.0 - half
    return _sum_pixels(ops.where(first, -ops.softplus(-upper), ops.where(last, -ops.softplus(lower), inside)))


def categorical_log_likelihood(images, logits):  # [..., H, W, C] x 2 -> [...]
    """Log-probability of cells, each one of C classes, one-hot along the last axis: ``sum x log softmax(l)``."""
    images, logits = ops.convert_to_tensor(images), ops.convert_to_tensor(logits)
    return _sum_pixels(images * ops.log_softmax(logits, axis=-1))


def _sum_pixels(values):  # [..., H, W, C] -> [...]
    return ops.sum(values, axis=(-3, -2, -1))


def log_mean_exp(values, axis=0):  # [..., K, ...] -> [...]
    """``log(mean(exp(values)))`` in double precision, safe for values such as -1,000."""
    values = np.asarray(values, "float64")
    return logsumexp(values, axis=axis) - np.log(values.shape[axis])


class VAE(keras.Model):
    """Variational autoencoder trained by ``compile`` and ``fit(images)``, or ``fit(images, labels)`` if conditional.

    Calling it gives ``{"observed": x, "mean": [B, Z], "log_var": [B, Z]}``: what it was shown and the posterior.

    Args:
        latent_dim: Z.
        beta: weight of the KL term; 1 gives the ELBO (others: Higgins et al., 2017). Later: ``vae.beta.assign(...)``.
        likelihood: ``"bernoulli"``: pixels are drawn as 0 or 1 with their grey level as probability, anew each time;
            ``"gaussian"``: grey levels with one deviation; ``"logistic"``: the 256 grey levels; ``"categorical"``: each
            cell one of C classes, one-hot in the channels (the melodies of chapter 07).
        network: ``"mlp"`` or ``"conv"``, or give ``encoder`` and ``decoder``.
        num_classes: 0, or the number of classes on which encoder and decoder are conditioned. Labels are then needed
            wherever images or codes are given, and refused otherwise.
        free_bits: nats that each latent dimension may use at no cost, in the mean over the batch (Kingma et al., 2016).
        deviation: of ``"gaussian"``; learned unless given.
        seed: of the noise drawn while training.

    Raises:
        ValueError: an unknown likelihood or network, a number out of range, or an encoder or decoder of another Z.
    """

    def __init__(
        self,
        latent_dim=2,
        beta=1.0,
        likelihood="bernoulli",
        network="mlp",
        num_classes=0,
        free_bits=0.0,
        deviation=None,
        encoder=None,
        decoder=None,
        seed=0,
    ):
        super().__init__()
        _check_options(latent_dim, beta, likelihood, network, num_classes, free_bits, deviation)
        builders = {"mlp": (MLPEncoder, MLPDecoder), "conv": (ConvEncoder, ConvDecoder)}[network]
        self.encoder = encoder or builders[0](latent_dim, num_classes=num_classes)
        self.decoder = decoder or builders[1](latent_dim, num_classes=num_classes)
        _check_widths(self.encoder, self.decoder, latent_dim)
        self.latent_dim, self.likelihood, self.num_classes = latent_dim, likelihood, num_classes
        self.image_shape = tuple(self.decoder.output_shape[1:])
        self.free_bits = free_bits
        self.beta = self.add_weight((), keras.initializers.Constant(beta), trainable=False, name="beta")
        self._add_scale(deviation)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.trackers = [keras.metrics.Mean(name=name) for name in ("distortion", "rate")]
        self._compile_functions()
        self.built = True

    def _add_scale(self, deviation):
        """What the likelihood needs besides the decoder: a deviation for all pixels, or a scale for each."""
        if self.likelihood in ("bernoulli", "categorical"):
            return
        shape = self.image_shape if self.likelihood == "logistic" else ()
        start = keras.initializers.Constant(float(np.log(deviation or 0.2)))
        self.log_scale = self.add_weight(shape, start, trainable=deviation is None, name="log_scale")

    def _compile_functions(self):
        self._encode = compiled(self._posterior, self)
        self._decode = compiled(self._picture, self)
        self._bound = compiled(self._bound_terms, self)
        self._weigh = compiled(self._log_weights, self)

    # Graph: tensors in, tensors out

    def call(self, inputs, training=False):
        images, labels = inputs if isinstance(inputs, (tuple, list)) else (inputs, None)
        images = ops.cast(images, self.compute_dtype)
        if self.likelihood == "bernoulli":
            drawn = keras.random.uniform(ops.shape(images), seed=self.seed_generator) < images
            images = ops.cast(drawn, images.dtype)
        condition = self._one_hot(labels)
        mean, log_var = self._posterior(images, condition, training=training)
        outputs = {"observed": images, "mean": mean, "log_var": log_var}
        return outputs if condition is None else {**outputs, "condition": condition}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        mean, log_var, condition = y_pred["mean"], y_pred["log_var"], y_pred.get("condition")
        noise = keras.random.normal(ops.shape(mean), seed=self.seed_generator)
        outputs = self._outputs(reparameterise(mean, log_var, noise), condition, training=training)
        distortion = -ops.mean(self._log_likelihood(y_pred["observed"], outputs))
        rates = ops.mean(kl_by_dimension(mean, log_var), axis=0)  # [Z]
        for tracker, value in zip(self.trackers, (distortion, ops.sum(rates)), strict=True):
            tracker.update_state(value, sample_weight=ops.shape(mean)[0])
        return distortion + self.beta * ops.sum(ops.maximum(rates, self.free_bits))

    def _one_hot(self, labels):
        return ops.one_hot(ops.cast(labels, "int32"), self.num_classes) if self.num_classes else None

    def _posterior(self, images, condition=None, training=False):
        return self.encoder(images if condition is None else [images, condition], training=training)

    def _outputs(self, codes, condition=None, training=False):
        return self.decoder(codes if condition is None else [codes, condition], training=training)

    def _picture(self, codes, condition=None):  # where p(x | z) lies: its mean or location, cut to the range of images
        outputs = self._outputs(codes, condition)
        if self.likelihood == "categorical":
            return ops.softmax(outputs, axis=-1)
        return ops.sigmoid(outputs) if self.likelihood == "bernoulli" else ops.clip(outputs, 0.0, 1.0)

    def _log_likelihood(self, images, outputs):  # [B, H, W, 1] x 2 -> [B]
        if self.likelihood == "bernoulli":
            return bernoulli_log_likelihood(images, outputs)
        if self.likelihood == "categorical":
            return categorical_log_likelihood(images, outputs)
        density = gaussian_log_likelihood if self.likelihood == "gaussian" else logistic_log_likelihood
        return density(images, outputs, self.log_scale)

    def _bound_terms(self, images, noise, condition=None):  # [B, H, W, 1], [B, Z] -> [B], [B]
        mean, log_var = self._posterior(images, condition)
        outputs = self._outputs(reparameterise(mean, log_var, noise), condition)
        return -self._log_likelihood(images, outputs), kl_divergence(mean, log_var)

    def _log_weights(self, images, noise, condition=None):  # [B, H, W, 1], [K, B, Z] -> [K, B]
        """log p(x | z) + log p(z) - log q(z | x); the constants of the two normals cancel."""
        mean, log_var = self._posterior(images, condition)
        codes = reparameterise(mean, log_var, noise)  # [K, B, Z]
        if condition is not None:  # [B, L] -> [K B, L]
            condition = ops.reshape(ops.zeros_like(codes[..., :1]) + condition, (-1, self.num_classes))
        outputs = self._outputs(ops.reshape(codes, (-1, self.latent_dim)), condition)
        outputs = ops.reshape(outputs, (-1, *ops.shape(images)))  # [K, B, H, W, 1]
        prior = 0.5 * ops.sum(ops.square(noise) - ops.square(codes) + log_var, axis=-1)
        return self._log_likelihood(images, outputs) + prior

    # For users: NumPy in, NumPy out

    def fit(self, x=None, y=None, **options):
        """``keras.Model.fit`` for images [N, H, W, 1] in [0, 1] and, if conditional, their labels [N].

        ``validation_data`` is ``(images,)`` or ``(images, labels)`` likewise. A data set brings ``(images,)`` or
        ``((images, labels),)`` and is not checked.
        """
        for name in ("sample_weight", "class_weight"):
            if options.get(name) is not None:
                raise ValueError(f"A VAE is trained without {name}: its loss is the plain mean of the bound.")
        held_out = options.get("validation_data")
        if isinstance(held_out, (tuple, list)) and len(held_out) <= 2:
            options["validation_data"] = self._checked(*held_out)
        return super().fit(*self._checked(x, y), **options)

    def _checked(self, x, y=None):
        """``x`` and ``y`` as Keras is to have them: arrays and tensors checked, all else as it is."""
        if not (isinstance(x, np.ndarray) or ops.is_tensor(x)):
            return x, y
        x = self._images(ops.convert_to_numpy(x))
        if self.num_classes:
            return (x, self._labels(y, len(x))), None
        if y is not None:
            raise ValueError(NO_LABELS)
        return x, None

    def encode(self, images, labels=None):  # [N, H, W, 1] -> [N, Z], [N, Z]
        """Mean and log-variance of the posterior of each image, shown as it is (grey levels too)."""
        return tuple(self._in_batches(self._encode, [self._images(images)], labels))

    def decode(self, codes, labels=None):  # [N, Z] -> [N, H, W, 1] in [0, 1]
        """The mean image of each code."""
        codes = np.asarray(codes, "float32")
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim:
            raise ValueError(f"Codes must have the shape [N, {self.latent_dim}], not {list(codes.shape)}.")
        if not np.isfinite(codes).all():
            raise ValueError("Codes must be finite numbers; after a training that broke down they are not.")
        return self._in_batches(self._decode, [codes], labels)[0]

    def sample(self, num_images, labels=None, seed=0):  # -> [N, H, W, 1]
        """The mean images of ``num_images`` codes drawn from the prior; the same seed gives the same images."""
        return self.decode(sample_noise(num_images, self.latent_dim, seed), labels)

    def reconstruct(self, images, labels=None):  # [N, H, W, 1] -> [N, H, W, 1]
        """Each image decoded from the mean of its posterior."""
        return self.decode(self.encode(images, labels)[0], labels)

    def interpolate(self, first, second, num_steps=9, labels=None):  # [H, W, 1] x 2 -> [S, H, W, 1]
        """The decoded way from one image to another, on the straight line between their posterior means.

        Args:
            labels: if conditional, one label for the whole way.
        """
        if labels is not None and np.size(labels) != 1:
            raise ValueError(f"The whole way has one label, not {np.size(labels)}.")
        start, end = self.encode(np.stack([first, second]), None if labels is None else np.resize(labels, 2))[0]
        shares = np.linspace(0.0, 1.0, num_steps)[:, None]
        return self.decode(
            (1 - shares) * start + shares * end, None if labels is None else np.resize(labels, num_steps)
        )

    def elbo_terms(self, images, labels=None, seed=0):  # -> [N], [N]
        """Distortion ``-E log p(x | z)`` (one draw of z) and rate, the KL, of each image, in nats.

        With ``"bernoulli"``, grey pixels are first drawn as 0 or 1 with this seed.
        """
        images, rng = self._observed(images, seed), np.random.default_rng([seed, 1])  # not the pixels' numbers again
        noise = rng.standard_normal((len(images), self.latent_dim)).astype("float32")
        return tuple(self._in_batches(self._bound, [images, noise], labels))

    def elbo(self, images, labels=None, seed=0):  # -> [N]
        """Evidence lower bound of each image in nats, one draw of z an image: minus distortion, minus rate."""
        distortion, rate = self.elbo_terms(images, labels, seed)
        return -distortion - rate

    def log_likelihood(self, images, num_samples=100, labels=None, seed=0, batch_size=2048):  # -> [N]
        """Importance-sampled ``log p(x)`` of each image in nats (Burda, Grosse and Salakhutdinov, 2016, eq. 8).

        ``log(1/K sum_k p(x, z_k) / q(z_k | x))`` with z_k from the posterior: a lower bound in expectation that rises
        with K = ``num_samples``.

        Args:
            batch_size: how many codes are decoded at once.
        """
        images, rng = self._observed(images, seed), np.random.default_rng([seed, 1])  # not the pixels' numbers again
        condition = self._condition(labels, len(images))
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1, not {num_samples}.")
        draws = min(num_samples, max(1, batch_size // 16))  # of each image at once
        rows = max(1, batch_size // draws)
        results = [np.zeros(0)]
        for i in range(0, len(images), rows):
            block, extra = images[i : i + rows], [part[i : i + rows] for part in condition]
            weights = []
            for done in range(0, num_samples, draws):
                shape = (min(draws, num_samples - done), len(block), self.latent_dim)
                noise = rng.standard_normal(shape, dtype="float32")
                given = (ops.convert_to_tensor(array) for array in (block, noise, *extra))
                weights.append(ops.convert_to_numpy(self._weigh(*given)))
            results.append(log_mean_exp(np.concatenate(weights)))
        return np.concatenate(results)

    def active_units(self, images, labels=None, threshold=0.01):  # -> [Z] of bool
        """Which latent dimensions are used: variance of the posterior mean over images above ``threshold``
        (Burda et al., 2016, sec. 5.2)."""
        means = self.encode(images, labels)[0]
        if len(means) < 2:
            raise ValueError(f"Whether a latent dimension varies is seen on at least 2 images, not on {len(means)}.")
        return means.var(axis=0) > threshold

    def _in_batches(self, function, arrays, labels, batch_size=512):
        count = len(arrays[0])
        arrays = [*arrays, *self._condition(labels, count)]
        if not count:  # some backends refuse to convolve nothing
            arrays = [np.zeros((1, *array.shape[1:]), "float32") for array in arrays]
        parts = []
        for i in range(0, max(1, count), batch_size):
            results = function(*(ops.convert_to_tensor(array[i : i + batch_size]) for array in arrays))
            results = results if isinstance(results, (tuple, list)) else [results]
            parts.append([ops.convert_to_numpy(result) for result in results])
        return [np.concatenate(part)[:count] for part in zip(*parts, strict=True)]

    def _condition(self, labels, count):
        if self.num_classes:
            return [np.eye(self.num_classes, dtype="float32")[self._labels(labels, count)]]
        if labels is not None:
            raise ValueError(NO_LABELS)
        return []

    def _observed(self, images, seed):
        images = self._images(images)
        return binarise(images, seed) if self.likelihood == "bernoulli" else images

    def _images(self, images):
        images = np.asarray(images)
        if images.shape[1:] != self.image_shape:
            raise ValueError(f"Images must have the shape {['N', *self.image_shape]}, not {list(images.shape)}.")
        return demand_unit_range(images)

    def _labels(self, labels, count):
        labels = np.asarray([] if labels is None else labels, None if count else "int64")
        if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
            raise ValueError(f"This VAE is conditional: it needs one whole-number label for each of {count} images.")
        if count and not (labels.min() >= 0 and labels.max() < self.num_classes):
            raise ValueError(f"Labels must lie from 0 to {self.num_classes - 1}.")
        return labels


class WarmUp(keras.callbacks.Callback):
    """Raises ``beta`` evenly from 0 to its value over the first epochs (Bowman et al., 2016).

    A training that is broken off leaves ``beta`` where it was then; assign it anew before the next.
    """

    def __init__(self, epochs):
        super().__init__()
        if epochs < 1:
            raise ValueError(f"A warm-up takes at least 1 epoch, not {epochs}.")
        self.epochs = epochs

    def on_train_begin(self, logs=None):
        self.target = float(ops.convert_to_numpy(self.model.beta.value))

    def on_epoch_begin(self, epoch, logs=None):
        self.model.beta.assign(self.target * min(1.0, epoch / self.epochs))

    def on_train_end(self, logs=None):
        self.model.beta.assign(self.target)


def _check_options(latent_dim, beta, likelihood, network, num_classes, free_bits, deviation):
    for name, value, known in (("likelihood", likelihood, LIKELIHOODS), ("network", network, NETWORKS)):
        if value not in known:
            raise ValueError(f"{name} must be one of {', '.join(known)}; {value!r} is not.")
    for name, value, least in (("latent_dim", latent_dim, 1), ("num_classes", num_classes, 0)):
        if not isinstance(value, (int, np.integer)) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, not {value!r}.")
    if deviation is not None and likelihood != "gaussian":
        raise ValueError(f"deviation belongs to the likelihood 'gaussian', not to {likelihood!r}.")
    if not (0 <= beta < np.inf and 0 <= free_bits < np.inf and (deviation is None or 0 < deviation < np.inf)):
        raise ValueError(
            f"beta = {beta} and free_bits = {free_bits} must be finite and at least 0, "
            f"deviation = {deviation} finite and above 0."
        )


def _check_widths(encoder, decoder, latent_dim):
    """Both networks must have codes of ``latent_dim`` numbers."""
    for name, width in (("encoder", encoder.outputs[0].shape[-1]), ("decoder", decoder.inputs[0].shape[-1])):
        if width != latent_dim:
            raise ValueError(f"The {name} has codes of {width} numbers, latent_dim is {latent_dim}.")
