"""The GAN game on densities that one can draw (Goodfellow et al., 2014, section 4), and mixtures to play it on.

Shapes: N grid points, S samples, K modes, D coordinates of a sample, Z latent width. Densities are arrays ``[N]`` on an
evenly spaced grid with step ``dx``; logarithms are natural (nats). Here ``p`` is the density of the data, ``q`` that of
the generator (p_g in the paper).   Taught in chapters/02_gan_mathematics.   Corrects B1, B2, B3, B18, B19, B23, D6 and
D22.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logsumexp, rel_entr, xlog1py, xlogy

# ---------------------------------------------------------------------------------------------- densities on a grid


def make_grid(low=-6.0, high=9.0, num_points=1501):  # -> [N]
    """Evenly spaced points from ``low`` to ``high``."""
    return np.linspace(low, high, num_points)


def gaussian(x, mean=0.0, scale=1.0):  # [N] -> [N]
    """Density of N(mean, scale^2) at ``x``."""
    return np.exp(-0.5 * ((x - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))


def expectation(values, density, dx):  # [N], [N] -> number
    """E[values] = integral of values times density; points of density 0 do not count, whatever their value."""
    return float(np.sum(np.where(density > 0, values, 0.0) * density) * dx)


def _check_densities(p, q):
    p, q = np.asarray(p, dtype=float), np.asarray(q, dtype=float)
    if p.shape != q.shape:
        raise ValueError(f"The two densities stand on different grids: {p.shape} and {q.shape}.")
    if np.any(p < 0) or np.any(q < 0):
        raise ValueError("A density is negative somewhere.")
    return p, q


def best_discriminator(p, q):  # [N], [N] -> [N]
    """D*(x) = p / (p + q) (Goodfellow et al., 2014, Prop. 1); 1/2 where both are 0 and nothing is ever seen."""
    p, q = _check_densities(p, q)
    total = p + q
    return np.divide(p, total, out=np.full_like(total, 0.5), where=total > 0)


def value_function(discriminator, p, q, dx):  # [N], [N], [N] -> nats
    """V(D, G) = E_p[log D] + E_q[log(1 - D)] (Goodfellow et al., 2014, eq. 1); -inf for a sure and wrong judge.

    Args:
        discriminator: D(x) in [0, 1] at every grid point.
    """
    p, q = _check_densities(p, q)
    d = np.asarray(discriminator, dtype=float)
    if np.any((d < 0) | (d > 1)):
        raise ValueError("A discriminator gives probabilities; found a value outside [0, 1].")
    return float(np.sum(xlogy(p, d) + xlog1py(q, -d)) * dx)


def kl_divergence(p, q, dx):  # [N], [N] -> nats
    """KL(p || q) = integral of p log(p / q); infinite where p has mass and q has none."""
    p, q = _check_densities(p, q)
    return float(np.sum(rel_entr(p, q)) * dx)


def jensen_shannon(p, q, dx):  # [N], [N] -> nats
    """JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2 with m = (p + q) / 2; from 0 (equal) to log 2 (no overlap)."""
    p, q = _check_densities(p, q)
    middle = (p + q) / 2
    return (kl_divergence(p, middle, dx) + kl_divergence(q, middle, dx)) / 2


def wasserstein_1d(p, q, dx):  # [N], [N] -> units of x
    """W1(p, q) = integral of |P - Q|, the area between the two cumulative distributions (one dimension only)."""
    p, q = _check_densities(p, q)
    return float(np.sum(np.abs(np.cumsum(p - q) * dx)) * dx)


def best_critic(p, q, dx):  # [N], [N] -> [N]
    """A 1-Lipschitz f that attains E_p[f] - E_q[f] = W1(p, q) (Kantorovich-Rubinstein); its slope is sign(Q - P)."""
    return np.concatenate([[0.0], np.cumsum(_critic_slope(p, q, dx)[:-1]) * dx])


def _critic_slope(p, q, dx):
    """sign(Q - P), and 0 where the two distributions hardly differ: any slope up to 1 would do there."""
    difference = np.cumsum(np.subtract(q, p)) * dx
    return np.where(np.abs(difference) > 1e-8, np.sign(difference), 0.0)


def best_accuracy(p, q, dx):  # [N], [N] -> share
    """Share that the best judge gets right on half real, half generated data: integral of max(p, q) / 2."""
    p, q = _check_densities(p, q)
    return float(np.sum(np.maximum(p, q)) * dx / 2)


# ----------------------------------------------------------------------------------------------------- mixtures


@dataclass(frozen=True, eq=False)
class Mixture:
    """Mixture of K Gaussians of one common ``scale`` (standard deviation), equally weighted unless told otherwise."""

    means: np.ndarray  # [K, D]
    scale: float
    weights: np.ndarray | None = None  # [K]

    def __post_init__(self):
        means = np.asarray(self.means, dtype=float)
        weights = np.full(len(means), 1 / len(means)) if self.weights is None else np.asarray(self.weights, float)
        if means.ndim != 2 or weights.shape != (len(means),):
            raise ValueError(f"Means must be [K, D] and weights [K]; found {means.shape} and {weights.shape}.")
        if self.scale <= 0 or np.any(weights < 0) or not np.isclose(weights.sum(), 1):
            raise ValueError("A mixture needs a positive scale and weights that are not negative and sum to 1.")
        object.__setattr__(self, "means", means)
        object.__setattr__(self, "weights", weights)

    def _log_parts(self, points):  # [S, D] -> [S, K]
        distance2 = np.sum((points[:, None, :] - self.means) ** 2, axis=-1)
        constant = 0.5 * self.means.shape[1] * np.log(2 * np.pi * self.scale**2)
        with np.errstate(divide="ignore"):
            return np.log(self.weights) - distance2 / (2 * self.scale**2) - constant

    def log_density(self, x):  # [S, D] or, in one dimension, [S] -> [S]
        """Log density in nats, finite however far away a point lies."""
        return logsumexp(self._log_parts(self._points(x)), axis=1)

    def density(self, x):  # [S, D] or [S] -> [S]
        """Density at each point."""
        return np.exp(self.log_density(x))

    def score(self, x):  # [S, D] or [S] -> the same shape
        """Gradient of the log density by the point."""
        points = self._points(x)
        parts = self._log_parts(points)
        share = np.exp(parts - logsumexp(parts, axis=1, keepdims=True))
        return ((share @ self.means - points) / self.scale**2).reshape(np.shape(x))

    def sample(self, num_samples, seed=0):  # -> [S, D] float32
        """Independent draws; the same seed gives the same draws on every backend."""
        rng = np.random.default_rng(seed)
        mode = rng.choice(len(self.means), size=num_samples, p=self.weights)
        noise = rng.standard_normal((num_samples, self.means.shape[1]))
        return (self.means[mode] + self.scale * noise).astype("float32")

    def _points(self, x):
        x = np.asarray(x, dtype=float)
        return x[:, None] if x.ndim == 1 else x


def make_gaussian(mean, scale=1.0):
    """One Gaussian on the line, as a mixture with a single mode."""
    return Mixture([[mean]], scale)


def make_line(positions=(-3.0, -1.0, 1.0, 3.0), scale=0.2):
    """Modes on the line: the one-dimensional toy."""
    return Mixture(np.reshape(positions, (-1, 1)), scale)


def make_ring(num_modes=8, radius=2.0, scale=0.1):
    """Modes on a circle: the two-dimensional toy on which collapse is usually shown (Metz et al., 2017)."""
    angle = 2 * np.pi * np.arange(num_modes) / num_modes
    return Mixture(radius * np.stack([np.cos(angle), np.sin(angle)], axis=1), scale)


@dataclass(frozen=True)
class Coverage:
    """What a set of samples reaches of a mixture. ``high_quality``: share of samples near some mode."""

    modes_hit: int
    num_modes: int
    high_quality: float
    counts: tuple[int, ...]  # high-quality samples of each mode

    def __str__(self):
        return f"{self.modes_hit} of {self.num_modes} modes, {self.high_quality:.0%} of the samples near a mode"


def count_modes(samples, mixture, num_scales=3.0, least_share=0.01):  # [S, D] -> Coverage
    """Coverage of ``mixture`` by ``samples``, in the manner of Srivastava et al., 2017.

    A sample is of high quality within ``num_scales`` standard deviations of its nearest mode. A mode is hit when at
    least ``least_share`` of all samples are of high quality and nearest to it (the paper asks for one sample only).
    """
    samples = np.asarray(samples, dtype=float)
    if samples.ndim != 2 or samples.shape[1] != mixture.means.shape[1]:
        raise ValueError(f"Samples must be [S, {mixture.means.shape[1]}]; found {samples.shape}.")
    distance = np.linalg.norm(samples[:, None, :] - mixture.means, axis=-1)  # [S, K]
    good = distance.min(axis=1) <= num_scales * mixture.scale
    counts = np.bincount(distance.argmin(axis=1)[good], minlength=len(mixture.means))
    hit = int(np.sum(counts >= max(1.0, least_share * len(samples))))
    return Coverage(hit, len(mixture.means), float(good.mean()), tuple(counts.tolist()))


# ------------------------------------------------------------ the generator's rules, one parameter, judge held fixed


@dataclass(frozen=True)
class Rule:
    """What one update of the generator does. ``loss`` and ``slope`` are functions of the judge's output at a sample.

    The judge is the log-odds of "real", log p - log q, or the best 1-Lipschitz critic. ``direction`` -1 descends.
    """

    loss: Callable[[np.ndarray], np.ndarray]
    slope: Callable[[np.ndarray], np.ndarray]  # derivative of loss
    direction: int = -1
    judge: str = "log-odds"


def _softplus(x):
    return np.logaddexp(0.0, x)


RULES = {
    "saturating": Rule(lambda a: -_softplus(a), lambda a: -expit(a)),  # log(1 - D)
    "non-saturating": Rule(lambda a: _softplus(-a), lambda a: -expit(-a)),  # -log D
    "wasserstein": Rule(lambda f: -f, lambda f: -np.ones_like(f), judge="critic"),
    "B1": Rule(expit, lambda a: expit(a) * expit(-a)),  # descends on D
    "B2": Rule(lambda a: -_softplus(-a), lambda a: expit(-a)),  # descends on log D
    "D6": Rule(lambda a: _softplus(-a), lambda a: -expit(-a), direction=+1),  # adds the gradient of -log D
}


def judge(rule, data, generator, x):  # -> [N], [N]
    """Output of the best judge of ``data`` against ``generator`` (one-dimensional mixtures) and its slope by x."""
    if RULES[rule].judge == "critic":
        dx = x[1] - x[0]
        p, q = data.density(x), generator.density(x)
        return best_critic(p, q, dx), _critic_slope(p, q, dx)
    return data.log_density(x) - generator.log_density(x), data.score(x) - generator.score(x)


def generator_loss(rule, judgement, generator, x):  # [N] -> number
    """E_q[loss] for the generator's samples under a judge whose output on the grid is ``judgement``."""
    return expectation(RULES[rule].loss(judgement), generator.density(x), x[1] - x[0])


def generator_gradient(rule, data, generator, x):  # -> number
    """Derivative of ``generator_loss`` by a shift of the generator, with the best judge held fixed.

    Shifting every sample by s moves E_q[h(x)] at the rate E_q[h'(x)], and h' = slope(judge) * judge' (chain rule).
    """
    judgement, judgement_slope = judge(rule, data, generator, x)
    return expectation(RULES[rule].slope(judgement) * judgement_slope, generator.density(x), x[1] - x[0])


def run_rule(rule, data_mean=3.0, start=0.0, scale=1.0, learning_rate=0.5, num_steps=10):  # -> [num_steps + 1]
    """Means of a Gaussian generator that takes ``num_steps`` steps by ``rule``, with a new best judge at each step."""
    data, means = make_gaussian(data_mean, scale), [float(start)]
    for _ in range(num_steps):
        middle = (means[-1] + data_mean) / 2
        reach = abs(means[-1] - data_mean) / 2 + 10 * scale
        x = make_grid(middle - reach, middle + reach)
        gradient = generator_gradient(rule, data, make_gaussian(means[-1], scale), x)
        means.append(means[-1] + RULES[rule].direction * learning_rate * gradient)
    return np.array(means)


# ------------------------------------------------------------------------------------------------ small networks


def _build_mlp(name, widths, seed):
    """ReLU network through the given ``widths``, the first being the input's; its own seed, so a rebuild is equal."""
    import keras

    layers = [keras.Input((widths[0],))]
    for i, width in enumerate(widths[1:]):
        start = keras.initializers.GlorotUniform(seed=1000 * seed + i)
        activation = "relu" if i < len(widths) - 2 else None
        layers.append(keras.layers.Dense(width, activation=activation, kernel_initializer=start))
    return keras.Sequential(layers, name=name)


def PointGenerator(data_dim=2, latent_dim=8, hidden_dim=64, num_layers=2, seed=0):  # -> Keras model
    """Network ``[B, Z] -> [B, D]`` with no squashing at the end: its output lives in the data's own units."""
    return _build_mlp("point_generator", [latent_dim, *[hidden_dim] * num_layers, data_dim], seed)


def PointDiscriminator(data_dim=2, hidden_dim=64, num_layers=2, seed=1):  # -> Keras model
    """Network ``[B, D] -> [B, 1]``: the log-odds of "real", a real number and not a probability."""
    return _build_mlp("point_discriminator", [data_dim, *[hidden_dim] * num_layers, 1], seed)
