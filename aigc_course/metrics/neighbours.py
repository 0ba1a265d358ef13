"""What nearest neighbours tell: precision, recall and memorisation.

Shapes: N, M rows; D width of a vector; T training and H held-out pictures.   Taught in chapters/03_gan_images.
"""

from dataclasses import dataclass

import numpy as np

from aigc_course.metrics.checks import as_rows, blocks, same_width
from aigc_course.runtime import CourseError


def _squared_distances(a, b) -> np.ndarray:
    """``|a_i|^2 + |b_j|^2 - 2 a_i.b_j`` [N, M] in float64; what is left of the rounding counts as zero."""
    scale = np.einsum("nd,nd->n", a, a)[:, None] + np.einsum("md,md->m", b, b)
    squared = scale - 2 * (a @ b.T)
    squared[squared < 1e-12 * scale] = 0
    return squared


def nearest(queries, candidates):
    """Nearest candidate of every query, by Euclidean distance.

    Args:
        queries, candidates: [N, ...] and [M, ...], flattened to vectors.

    Returns:
        ``(distance [N], index [N])``. The search runs in float32 on centred vectors, in blocks; the distance to the one
        found is then computed from the difference in float64, so that an exact copy has distance 0.

    Raises:
        CourseError: no rows, NaN, or different widths.
    """
    a, b = as_rows(queries, "queries", 1, np.float32), as_rows(candidates, "candidates", 1, np.float32)
    same_width(a, b)
    centre = b.mean(axis=0)
    centred = b - centre
    half_norms = np.einsum("md,md->m", centred, centred) / 2
    index = np.empty(len(a), np.int64)
    distance = np.empty(len(a))
    for part in blocks(len(a), max(len(b), b.shape[1])):
        index[part] = np.argmin(half_norms - (a[part] - centre) @ centred.T, axis=1)
        distance[part] = np.linalg.norm(a[part].astype(np.float64) - b[index[part]], axis=1)
    return distance, index


def precision_recall(real, fake, k: int = 3) -> tuple[float, float]:
    """Improved precision and recall (Kynkäänniemi et al., 2019, eq. 1 and 2).

    The manifold of a set is the union of balls around its points, each reaching to the k-th nearest other point.
    Precision is the share of fakes inside the manifold of the real ones, recall the share of real ones inside the
    manifold of the fakes. A collapsed model has high precision and low recall.

    Args:
        real, fake: features [N, F] and [M, F]; compare values at the same N and M only.
        k: which neighbour sets the radius.

    Returns:
        ``(precision, recall)``, each in [0, 1].

    Raises:
        CourseError: not more than k rows, NaN, or different widths.
    """
    if k < 1:
        raise CourseError(f"k is {k}; the radius reaches to the k-th neighbour, k >= 1.")
    real, fake = as_rows(real, "real", k + 1), as_rows(fake, "fake", k + 1)
    same_width(real, fake)
    centre = real.mean(axis=0)  # distances keep, rounding shrinks
    real, fake = real - centre, fake - centre
    precision = _inside(fake, real, _squared_radii(real, k))
    recall = _inside(real, fake, _squared_radii(fake, k))
    return precision, recall


def _squared_radii(points, k: int) -> np.ndarray:
    """Squared distance [N] from every point to its k-th nearest other point."""
    radii = np.empty(len(points))
    for part in blocks(len(points), len(points)):
        squared = _squared_distances(points[part], points)
        np.fill_diagonal(squared[:, part], np.inf)
        radii[part] = np.partition(squared, k - 1, axis=1)[:, k - 1]
    return radii


def _inside(points, centres, squared_radii) -> float:
    """Share of the points that lie in at least one ball; touching counts, up to rounding."""
    reach = squared_radii * (1 + 1e-9)
    hits = [
        (_squared_distances(points[part], centres) <= reach).any(axis=1) for part in blocks(len(points), len(centres))
    ]
    return float(np.concatenate(hits).mean())


@dataclass(frozen=True)
class NeighbourReport:
    """Nearest real pictures of generated ones, and whether the training pictures are nearer than chance makes them.

    Attributes:
        train_distance, train_index: [N] distance to, and index of, the nearest training picture.
        held_out_distance, held_out_index: [N] the same among the held-out pictures.
        baseline: [H] distance of every held-out picture to its nearest training picture.
        below_1_percent, below_5_percent: share of the samples nearer to a training picture than the 1st and 5th
            percentile of ``baseline``. Real pictures score 0.01 and 0.05; smooth pictures score more without any
            memorisation, since they are near to everything.
        share_train: share of the samples whose nearest real picture, of all, is a training picture.
        expected_share, standard_error: what ``share_train`` would be if nothing was memorised, and how much it varies.
        num_copies: samples at less than half the smallest ``baseline`` distance from a training picture, and at less
            than half the distance to the nearest held-out picture.
        closest: [N] indices of the samples, those nearest to a training picture first.
    """

    train_distance: np.ndarray
    train_index: np.ndarray
    held_out_distance: np.ndarray
    held_out_index: np.ndarray
    baseline: np.ndarray
    below_1_percent: float
    below_5_percent: float
    share_train: float
    expected_share: float
    standard_error: float
    num_copies: int
    closest: np.ndarray

    @property
    def z_score(self) -> float:
        """``share_train`` minus ``expected_share``, in standard errors."""
        return (self.share_train - self.expected_share) / self.standard_error

    @property
    def memorised(self) -> bool:
        """True where there are copies, or where the excess is more than three standard errors."""
        return self.num_copies > 0 or self.z_score > 3

    def verdict(self) -> str:
        """One or two sentences with the numbers."""
        head = (
            f"The nearest real picture is a training picture for {self.share_train:.1%} of {len(self.closest):,} "
            f"samples; {self.expected_share:.1%} ± {self.standard_error:.1%} is expected if nothing is memorised."
        )
        if self.num_copies:
            return f"{head} {self.num_copies:,} samples are copies of training pictures."
        if self.z_score > 3:
            return f"{head} That is {self.z_score:.1f} standard errors more: training pictures are memorised in part."
        return f"{head} No sign of memorisation."

    def __str__(self):
        return self.verdict()


def nearest_neighbour_report(generated, train, held_out, baseline=None) -> NeighbourReport:
    """Are generated pictures nearer to the training pictures than new real pictures would be?

    If nothing is memorised, training and held-out pictures are exchangeable for the generator: the nearest of all T + H
    real pictures is a training picture with probability ``T / (T + H)``. Samples that share a neighbour are not
    independent, so the standard error is that of the permutation test which deals the T + H labels anew,
    ``sqrt(p (1 - p) M / (M - 1) (sum_z c_z^2 - N^2 / M)) / N`` with M = T + H, p = T / M, and ``c_z`` the number of
    samples whose neighbour is z. A collapsed generator gets the wide error that it deserves.

    Args:
        generated: [N, ...] pictures (or features).
        train: [T, ...] what the generator was trained on.
        held_out: [H, ...] pictures of the same kind that it has never seen, none of them in ``train``.
        baseline: ``report.baseline`` of an earlier report on the same ``train`` and ``held_out``, to save its time.

    Returns:
        A ``NeighbourReport``; distances are Euclidean, over all values of a picture.

    Raises:
        CourseError: fewer than two rows, NaN, or different widths.
    """
    generated, train, held_out = (
        as_rows(x, name, 2, np.float32)
        for x, name in ((generated, "generated"), (train, "train"), (held_out, "held_out"))
    )
    train_distance, train_index = nearest(generated, train)
    held_out_distance, held_out_index = nearest(generated, held_out)
    baseline = nearest(held_out, train)[0] if baseline is None else baseline
    to_train = np.where(train_distance == held_out_distance, 0.5, train_distance < held_out_distance)
    neighbour = np.where(to_train >= 0.5, train_index, len(train) + held_out_index)
    copies = train_distance < np.minimum(baseline.min(), held_out_distance) / 2
    return NeighbourReport(
        train_distance,
        train_index,
        held_out_distance,
        held_out_index,
        baseline,
        below_1_percent=float(np.mean(train_distance < np.percentile(baseline, 1))),
        below_5_percent=float(np.mean(train_distance < np.percentile(baseline, 5))),
        share_train=float(to_train.mean()),
        expected_share=len(train) / (len(train) + len(held_out)),
        standard_error=_permutation_error(neighbour, len(train), len(held_out)),
        num_copies=int(copies.sum()),
        closest=np.argsort(train_distance, kind="stable"),
    )


def _permutation_error(neighbour, num_train: int, num_held_out: int) -> float:
    """Standard error of the share of training neighbours when the labels of all real pictures are dealt anew."""
    total = num_train + num_held_out
    counts = np.bincount(neighbour, minlength=total)
    chance = num_train / total
    spread = np.sum(counts**2) - len(neighbour) ** 2 / total
    return float(np.sqrt(chance * (1 - chance) * total / (total - 1) * spread)) / len(neighbour)
