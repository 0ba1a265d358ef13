"""Checks and blocks that every measure on sets of vectors shares."""

import numpy as np

from aigc_course.runtime import CourseError

BLOCK = 4_000_000  # entries of a distance matrix held at one time: 16 MB in float32, 32 MB in float64


def as_rows(values, name: str, least: int = 2, dtype=np.float64) -> np.ndarray:
    """``values`` as a finite array [N, D], with everything after the first axis flattened."""
    array = np.asarray(values, dtype=dtype)
    if array.ndim < 2:
        raise CourseError(f"{name} has shape {array.shape}; give one row for each picture, [N, D].")
    if len(array) < least:
        raise CourseError(f"{name} has {len(array)} rows; at least {least} are needed.")
    if not np.isfinite(array).all():
        raise CourseError(f"{name} holds NaN or infinite values; look at the pictures that it was made from.")
    return array.reshape(len(array), -1)


def same_width(a: np.ndarray, b: np.ndarray):
    """CourseError unless both arrays end in an axis of the same length."""
    if a.shape[-1] != b.shape[-1]:
        raise CourseError(f"The two sets have different widths, {a.shape[-1]} and {b.shape[-1]}; use one feature map.")


def blocks(num_rows: int, num_columns: int):
    """Slices over rows, so that a block of the matrix [num_rows, num_columns] has at most ``BLOCK`` entries."""
    step = max(1, BLOCK // num_columns)
    return [slice(start, min(start + step, num_rows)) for start in range(0, num_rows, step)]
