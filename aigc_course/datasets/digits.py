"""Grey 28 x 28 pictures with labels: 10,000 digits in ``data/``, the full MNIST and Fashion-MNIST for who is online.

Shapes: N pictures, 28 rows, 28 columns, 1 channel; grey levels in [0, 1] (0 is black background).
"""

import gzip
import hashlib
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aigc_course.datasets.files import checked, load_arrays
from aigc_course.runtime import CourseError

DIGIT_NAMES = tuple("0123456789")
FASHION_NAMES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

ORIGIN = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/"
MNIST_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
# SHA-256 of the unpacked files: mirrors pack them differently.
FASHION_SHA256 = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


@dataclass(frozen=True)
class Pictures:
    """``images`` [N, 28, 28, 1] float32 in [0, 1] and ``labels`` [N] int64 in 0..9."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)


@dataclass(frozen=True)
class Digits:
    """Three sets of pictures that share none, and the names of the ten classes."""

    train: Pictures
    validation: Pictures
    test: Pictures
    class_names: tuple[str, ...] = DIGIT_NAMES


def load_digits(name: str = "course", folder: str | Path | None = None) -> Digits:
    """Handwritten digits.

    Args:
        name: ``"course"``, the 10,000 digits that ship with the course, split 8,000 / 1,000 / 1,000 by class; or
            ``"mnist"``, all 70,000, split 50,000 / 10,000 / 10,000 (the last 10,000 training images validate).
        folder: where ``mnist.npz`` lies or is to be put; ``~/.keras/datasets`` unless told. Only for ``"mnist"``.

    Raises:
        CourseError: file missing, damaged or not to be fetched (no network); the message says what to do.
    """
    if name == "course":
        arrays = load_arrays("digits")
        parts = (_pictures(arrays[f"{p}_images"], arrays[f"{p}_labels"]) for p in ("train", "validation", "test"))
        return Digits(*parts)
    if name == "mnist":
        path = checked(_fetch("mnist.npz", folder), MNIST_SHA256)
        with np.load(path, allow_pickle=False) as arrays:
            train = _pictures(arrays["x_train"], arrays["y_train"])
            return _hold_out(train, _pictures(arrays["x_test"], arrays["y_test"]), 10_000, DIGIT_NAMES)
    raise CourseError(f"There are no digits called {name!r}; choose 'course' or 'mnist'.")


def load_fashion(folder: str | Path | None = None) -> Digits:
    """Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017; MIT licence), split 50,000 / 10,000 / 10,000.

    Args:
        folder: where the four ``*-ubyte.gz`` files lie or are to be put; unless told,
            ``~/.keras/datasets/fashion-mnist``.

    Raises:
        CourseError: file missing, damaged or not to be fetched (no network); the message says what to do.
    """
    folder = folder or _cache() / "fashion-mnist"
    arrays = [_read_idx(_fetch(name, folder), expected) for name, expected in FASHION_SHA256.items()]
    train, test = _pictures(arrays[0], arrays[1]), _pictures(arrays[2], arrays[3])
    return _hold_out(train, test, 10_000, FASHION_NAMES)


def _pictures(grey, labels) -> Pictures:
    images = (grey.astype(np.float32) / 255.0).reshape(-1, 28, 28, 1)
    return Pictures(images, labels.astype(np.int64))


def _hold_out(train: Pictures, test: Pictures, count: int, class_names) -> Digits:
    kept = Pictures(train.images[:-count], train.labels[:-count])
    return Digits(kept, Pictures(train.images[-count:], train.labels[-count:]), test, class_names)


def _cache() -> Path:
    return Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets"


def _fetch(name: str, folder: str | Path | None) -> Path:
    """Path of ``name`` in ``folder``, downloaded beside it and renamed if it was not there."""
    path = Path(folder or _cache()) / name
    if path.exists():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        with urllib.request.urlopen(ORIGIN + name, timeout=30) as answer:
            part.write_bytes(answer.read())
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        part.unlink(missing_ok=True)
        raise CourseError(
            f"{name} could not be downloaded ({getattr(error, 'reason', error)}): "
            f"connect to the internet, or put the file into {path.parent}."
        ) from None
    return part.replace(path)


def _read_idx(path: Path, expected: str) -> np.ndarray:
    """Array of bytes in an IDX file: two zeros, type 8, number of axes, sizes (big-endian), values."""
    try:
        raw = gzip.decompress(path.read_bytes())
    except (OSError, EOFError):
        raw = b""
    if hashlib.sha256(raw).hexdigest() != expected:
        raise CourseError(f"{path.name} in {path.parent} is damaged; delete it and call again to fetch it anew.")
    shape = np.frombuffer(raw, ">i4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(shape)
