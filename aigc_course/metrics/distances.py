"""Distances between two sets of features: Fréchet (FID) and kernel (KID).

Shapes: N, M rows; F width of the features; S subsets.   Taught in chapters/03_gan_images.   Corrects B19.
"""

import numpy as np

from aigc_course.metrics.checks import as_rows, blocks, same_width
from aigc_course.runtime import CourseError


def frechet_distance(features_a, features_b) -> float:
    """Fréchet distance of two Gaussians fitted to features (Heusel et al., 2017, eq. 6).

    ``|m_a - m_b|^2 + Tr(C_a + C_b - 2 (C_a C_b)^(1/2))``, the square of the 2-Wasserstein distance of the Gaussians.

    Args:
        features_a, features_b: features [N, F] and [M, F], or a pair ``(mean [F], covariance [F, F])``.

    Returns:
        A number >= 0 in squared units of the features. It is biased upwards, the more so the smaller N: compare only
        values at the same N, and beside the value of real pictures against real pictures.

    Raises:
        CourseError: fewer than two rows, NaN, different widths, or a covariance that is not one.
    """
    mean_a, covariance_a = _gaussian(features_a, "features_a")
    mean_b, covariance_b = _gaussian(features_b, "features_b")
    same_width(mean_a, mean_b)
    # Tr (A B)^(1/2) is the sum of the singular values of A^(1/2) B^(1/2). Unlike the root of a product that is not
    # symmetric, it stays real and accurate where a covariance is singular.
    cross = np.linalg.svd(_factor(covariance_a).T @ _factor(covariance_b), compute_uv=False).sum()
    gap = mean_a - mean_b
    return max(0.0, float(gap @ gap + np.trace(covariance_a) + np.trace(covariance_b) - 2 * cross))


def _gaussian(features, name: str):
    """Mean [F] and covariance [F, F] (divided by N - 1) of features, or the given pair after checks."""
    if isinstance(features, tuple):
        mean, covariance = (np.asarray(part, np.float64) for part in features)
        if mean.ndim != 1 or covariance.shape != (len(mean), len(mean)):
            raise CourseError(f"{name}: mean {mean.shape} and covariance {covariance.shape} do not fit together.")
        if not (np.isfinite(mean).all() and np.isfinite(covariance).all()):
            raise CourseError(f"{name} holds NaN or infinite values; look at the pictures that it was made from.")
        if not np.allclose(covariance, covariance.T, rtol=1e-6, atol=1e-9 * np.abs(covariance).max()):
            raise CourseError(f"{name}: the covariance is not symmetric.")
        return mean, (covariance + covariance.T) / 2
    rows = as_rows(features, name)
    centred = rows - rows.mean(axis=0)
    return rows.mean(axis=0), centred.T @ centred / (len(rows) - 1)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """``L`` [F, rank] with ``L L^T`` = covariance; eigenvalues at the level of rounding count as zero."""
    values, vectors = np.linalg.eigh(covariance)
    largest = np.abs(values).max()
    if values.min() < -1e-6 * largest:
        raise CourseError(f"A covariance has the negative eigenvalue {values.min():.3g}; it is not a covariance.")
    kept = values > len(values) * np.finfo(np.float64).eps * largest
    return vectors[:, kept] * np.sqrt(values[kept])


def kernel_distance(features_a, features_b, num_subsets: int = 100, subset_size: int | None = None, seed: int = 0):
    """Kernel distance, KID (Bińkowski et al., 2018, sec. 3): the unbiased squared MMD with ``k(x, y) = (x.y/F + 1)^3``.

    ``mean_(i != j) k(a_i, a_j) + mean_(i != j) k(b_i, b_j) - 2 mean_(i, j) k(a_i, b_j)``. Its expectation is 0 for two
    samples of one distribution at every N, so a value may come out a little below 0.

    Args:
        features_a, features_b: [N, F] and [M, F].
        num_subsets: random subsets, each without replacement, that the standard error is taken from.
        subset_size: rows in a subset; half of each set unless told.
        seed: of the subsets.

    Returns:
        ``(value, standard_error)``. The value uses all rows: it is what the average over all subsets of any size comes
        to. Subsets overlap, so their spread is turned into a sampling error as in the delete-d jackknife (Shao and Wu,
        1989): variance of the subsets times ``m / (N - m)``. It is right where the sets differ, and up to 1.7 times too
        large where they do not.

    Raises:
        CourseError: fewer than four rows, NaN, different widths, or subsets that are not smaller than the sets.
    """
    a, b = as_rows(features_a, "features_a", 4), as_rows(features_b, "features_b", 4)
    same_width(a, b)
    size_a, size_b = (subset_size or len(x) // 2 for x in (a, b))
    if num_subsets < 2 or not 2 <= size_a < len(a) or not 2 <= size_b < len(b):
        raise CourseError(
            f"{num_subsets} subsets of {subset_size} out of {min(len(a), len(b))} rows: "
            "take at least two subsets, each of at least two rows and smaller than the set."
        )
    rng = np.random.default_rng(seed)
    members_a = _subsets(rng, len(a), size_a, num_subsets)
    members_b = _subsets(rng, len(b), size_b, num_subsets)
    values = _within(a, members_a) + _within(b, members_b) - 2 * _between(a, b, members_a, members_b)
    spread = values[1:].var(ddof=1) * max(size_a / (len(a) - size_a), size_b / (len(b) - size_b))
    return float(values[0]), float(np.sqrt(spread))


def _subsets(rng, num_rows: int, size: int, count: int) -> np.ndarray:
    """[num_rows, 1 + count] of 0 and 1: all rows in the first column, a random subset in each other one."""
    members = np.ones((num_rows, 1 + count))
    members[:, 1:] = rng.permuted(np.tile(np.arange(num_rows) < size, (count, 1)), axis=1).T
    return members


def _cubic(products, width: int) -> np.ndarray:
    """The kernel of inner products; two multiplications are many times faster than ``** 3``."""
    base = products / width + 1
    return base * base * base


def _between(a, b, members_a, members_b) -> np.ndarray:
    """Mean of ``k(a_i, b_j)`` over the members of each subset, [S]."""
    total = 0.0
    for part in blocks(len(a), len(b)):
        total = total + np.sum(members_a[part] * (_cubic(a[part] @ b.T, a.shape[1]) @ members_b), axis=0)
    return total / (members_a.sum(axis=0) * members_b.sum(axis=0))


def _within(a, members) -> np.ndarray:
    """Mean of ``k(a_i, a_j)`` over the members i != j of each subset, [S]."""
    size = members.sum(axis=0)
    diagonal = _cubic(np.einsum("nf,nf->n", a, a), a.shape[1]) @ members
    return (_between(a, a, members, members) * size**2 - diagonal) / (size * (size - 1))
