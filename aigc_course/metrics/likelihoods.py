"""Likelihoods in the units that papers print: bits per dimension and perplexity.

Shapes: N pictures; D values in a picture; B sequences; T tokens.
"""

import numpy as np

from aigc_course.runtime import CourseError


def bits_per_dimension(negative_log_likelihood, num_dimensions: int, num_levels: int | None = None):
    """Bits per dimension, ``nll / (D ln 2) + log2(levels)`` (Theis, van den Oord and Bethge, 2016, sec. 3.1).

    Args:
        negative_log_likelihood: nats for a whole picture, a number or [N].
        num_dimensions: D, values in a picture, 784 for a digit.
        num_levels: for a density of values scaled to [0, 1], the number of grey levels that were scaled (256); None
            where the likelihood is that of the grey levels themselves.

    Returns:
        Bits, of the shape of ``negative_log_likelihood``. A uniform guess over 256 levels scores 8.

    Raises:
        CourseError: a D or a number of levels below 1.
    """
    if num_dimensions < 1 or (num_levels is not None and num_levels < 1):
        raise CourseError("Bits per dimension need at least one dimension and at least one grey level.")
    bits = np.asarray(negative_log_likelihood, np.float64) / (num_dimensions * np.log(2))
    bits = bits + np.log2(num_levels or 1)
    return float(bits) if bits.ndim == 0 else bits


def perplexity(negative_log_likelihoods, padding_mask=None) -> float:
    """Perplexity, ``exp`` of the mean negative log-likelihood of a token (Jelinek et al., 1977).

    Args:
        negative_log_likelihoods: nats of each token, any shape, such as [B, T].
        padding_mask: of the same shape, true (1) for tokens and false (0) for padding, which does not count.

    Returns:
        At least 1 for a probability model; a uniform guess over V tokens scores V. Every token weighs the same.

    Raises:
        CourseError: no token left, NaN, or a mask of another shape.
    """
    nats = np.asarray(negative_log_likelihoods, np.float64)
    mask = np.ones(nats.shape, bool) if padding_mask is None else np.asarray(padding_mask).astype(bool)
    if mask.shape != nats.shape:
        raise CourseError(f"The padding mask has shape {mask.shape}, the likelihoods {nats.shape}; give the same.")
    if not mask.any():
        raise CourseError("There is no token to score: every one is padding.")
    mean = nats[mask].mean()
    if np.isnan(mean):
        raise CourseError("The negative log-likelihood of a token is NaN; look at the logits.")
    with np.errstate(over="ignore"):
        return float(np.exp(mean))
