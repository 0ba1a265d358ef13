"""Pictures that the sliders of chapter 03 draw: directions in latent space, truncation, interpolation, neighbours.

Shapes: N samples, Z latent width, K directions, 28 x 28 grey levels in [0, 1].   Taught in chapters/03_gan_images.

Every ``..._panel`` returns ``draw``, a plain function of the sliders' values.
"""

import numpy as np
from keras import ops

from aigc_course.gan import sample_noise
from aigc_course.plots import enlarge, image_grid


def main_directions(generator, count=4):  # -> [K, Z]
    """Unit directions of the code that move the generator's first dense layer most, strongest first.

    The left singular vectors of the layer's kernel [Z, units] (Shen and Zhou, 2021), each output scaled as the
    normalisation after it scales it. The sign of a singular vector is arbitrary: here its largest number is positive.

    Raises:
        ValueError: more directions than the code has numbers.
    """
    dense, normalisation = generator.layers[:2]
    kernel = ops.convert_to_numpy(dense.kernel)  # [Z, units]
    if count > len(kernel):
        raise ValueError(f"A code of {len(kernel)} numbers has no {count} directions.")
    gain, variance = (ops.convert_to_numpy(v) for v in (normalisation.gamma, normalisation.moving_variance))
    directions = np.linalg.svd(kernel * gain / np.sqrt(variance + normalisation.epsilon), full_matrices=False)[0].T[
        :count
    ]
    signs = np.sign(np.take_along_axis(directions, np.abs(directions).argmax(1)[:, None], axis=1))
    return (directions * signs).astype("float32")


def direction_panel(gan, count=4, columns=8):
    """``draw(seed, d1, d2, ...)``: eight samples, their codes moved along the main directions by the sliders."""
    directions = main_directions(gan.generator, count)

    def draw(seed, **steps):
        moves = np.array([steps[f"d{k + 1}"] for k in range(count)], "float32")
        noise = sample_noise(columns, gan.latent_dim, int(seed))
        both = np.concatenate([noise, noise + moves @ directions])
        return enlarge(image_grid(gan.generate(both), columns), 3)

    return draw


def truncation_panel(gan, rows=4, columns=8):
    """``draw(truncation, seed)``: samples whose noise is cut off at plus and minus ``truncation``."""

    def draw(truncation, seed):
        noise = sample_noise(rows * columns, gan.latent_dim, int(seed), truncation)
        return enlarge(image_grid(gan.generate(noise), columns), 3)

    return draw


def straight(start, end, share):  # [N, Z] x 2 -> [N, Z]
    """Linear interpolation; half-way between two independent normal codes the deviation is only 0.71."""
    return (1.0 - share) * start + share * end


def spherical(start, end, share):  # [N, Z] x 2 -> [N, Z]
    """Interpolation along the great circle between the codes' directions (slerp), row by row.

    Rows that point the same way (or opposite ways) have no such circle and are joined by a straight line.
    """
    start, end = (np.asarray(code, "float64") for code in (start, end))
    units = [code / np.maximum(np.linalg.norm(code, axis=-1, keepdims=True), 1e-12) for code in (start, end)]
    angle = np.arccos(np.clip(np.sum(units[0] * units[1], axis=-1, keepdims=True), -1.0, 1.0))
    zero = np.minimum(*(np.linalg.norm(code, axis=-1, keepdims=True) for code in (start, end))) == 0
    narrow = zero | (np.sin(angle) < 1e-4)
    sine = np.where(narrow, 1.0, np.sin(angle))
    arc = (np.sin((1.0 - share) * angle) * start + np.sin(share * angle) * end) / sine
    return np.where(narrow, straight(start, end, share), arc).astype("float32")


def interpolation_panel(gan, columns=9):
    """``draw(first, second, path)``: the way from the sample of one seed to that of another, in nine stops."""
    paths = {"straight": straight, "spherical": spherical}

    def draw(first, second, path):
        start, end = (sample_noise(1, gan.latent_dim, int(seed)) for seed in (first, second))
        stops = [paths[path](start, end, share) for share in np.linspace(0.0, 1.0, columns)]
        return enlarge(image_grid(gan.generate(np.concatenate(stops)), columns), 3)

    return draw


def neighbour_rows(images, train):  # [N, ...], [T, ...] -> [2 N, ...]
    """Images in the first half, and under each the training image nearest to it in pixels."""
    from aigc_course.metrics import nearest

    flat = [np.asarray(part, "float32").reshape(len(part), -1) for part in (images, train)]
    return np.concatenate([images, train[nearest(*flat)[1]]])
