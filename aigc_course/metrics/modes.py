"""How many of the classes a model reaches.

Shapes: N samples; K classes.   Taught in chapters/03_gan_images.
"""

import numpy as np

from aigc_course.runtime import CourseError


def mode_histogram(labels, num_classes: int = 10) -> np.ndarray:
    """Number of samples in each class.

    Args:
        labels: whole numbers [N] in 0 .. num_classes - 1, such as the classifier's most probable class.

    Returns:
        Counts [num_classes] that sum to N.

    Raises:
        CourseError: no labels, or a label that is not a class.
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not len(labels):
        raise CourseError(f"Labels have shape {labels.shape}; give one class for each sample, [N].")
    if not np.issubdtype(labels.dtype, np.integer) or labels.min() < 0 or labels.max() >= num_classes:
        raise CourseError(f"Labels must be whole numbers from 0 to {num_classes - 1}.")
    return np.bincount(labels, minlength=num_classes)


def effective_modes(labels_or_probabilities, num_classes: int = 10) -> float:
    """Effective number of modes: ``exp(H)``, H the entropy in nats of the share of samples in each class.

    Args:
        labels_or_probabilities: classes [N], or probabilities [N, K] that sum to 1 and are averaged over the samples.
        num_classes: K; read from the array where probabilities are given.

    Returns:
        From 1 (every sample in one class) to K (all classes equally often). Balanced real data scores about
        ``K (1 - (K - 1) / 2N)`` at N samples, since the entropy of a sample is a little too low.

    Raises:
        CourseError: labels that are no classes, or rows that are no probabilities.
    """
    values = np.asarray(labels_or_probabilities)
    if values.ndim == 2:
        if not len(values) or not (values >= 0).all() or not np.allclose(values.sum(axis=1), 1, atol=1e-3):
            raise CourseError("Each row of probabilities [N, K] must be at least 0 and sum to 1; give softmax(logits).")
        shares = values.mean(axis=0, dtype=np.float64)
    else:
        shares = mode_histogram(values, num_classes) / len(values)
    shares = shares[shares > 0] / shares.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))
