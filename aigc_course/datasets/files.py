"""Files in ``data/`` and their cards: nothing is parsed before its SHA-256 agrees with the card."""

import hashlib
import json
from pathlib import Path

import numpy as np

from aigc_course.runtime import CourseError, data_path


def sha256(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def card_of(name: str) -> dict:
    """The card ``data/NAME.json`` beside a data file or a checkpoint."""
    path = data_path(f"{name}.json")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"data/{name}.json is missing; restore it with `git checkout data`.") from None
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise CourseError(f"data/{name}.json is damaged; restore it with `git checkout data`.") from None


def checked(path: Path, expected: str) -> Path:
    """Return ``path`` if the file is there and whole; raise CourseError with the remedy if not."""
    try:
        found = sha256(path)
    except FileNotFoundError:
        raise CourseError(f"{path.name} is missing from {path.parent}; restore it with `git checkout data`.") from None
    if found != expected:
        raise CourseError(
            f"{path.name} is damaged (SHA-256 {found[:12]}…, expected {expected[:12]}…); "
            "restore it with `git checkout data`."
        )
    return path


def load_arrays(name: str) -> dict[str, np.ndarray]:
    """The arrays of ``data/NAME.npz``, after its checksum was compared with ``data/NAME.json``; never unpickles."""
    path = checked(data_path(f"{name}.npz"), card_of(name)["sha256"])
    with np.load(path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}
