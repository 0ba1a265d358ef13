"""Trained weights in ``data/checkpoints``: one ``NAME.weights.h5`` and one card ``NAME.json`` each.

A card tells how the weights were made and what was measured on them. The SHA-256 in it is compared before a byte of the
weights is parsed; nothing is ever unpickled. ``aigc-course train NAME`` makes a checkpoint again.
"""

import json
import os
from pathlib import Path

import h5py
import numpy as np

from aigc_course.datasets.files import card_of, checked, sha256
from aigc_course.runtime import CourseError, data_path, write_whole

SUFFIX = ".weights.h5"
MAX_BYTES = 12 * 2**20


def folder() -> Path:
    """Where the checkpoints lie."""
    return data_path("checkpoints")


def names() -> list[str]:
    """Names of all checkpoints that have a card, sorted."""
    return sorted(path.stem for path in folder().glob("*.json") if not path.name.startswith("."))


def card(name: str) -> dict:
    """The card of a checkpoint: recipe, seed, data checksum, backend, device, minutes, metrics, bytes and SHA-256."""
    if name not in names():
        raise CourseError(f"There is no checkpoint {name!r}; there are: {', '.join(names()) or 'none'}.")
    return card_of(f"checkpoints/{name}")


def load(name: str):
    """The trained Keras model of a checkpoint, ready to use.

    Raises:
        CourseError: unknown name, file missing or damaged, or weights that do not fit the recipe's network.
    """
    from aigc_course.recipes import RECIPES

    path = checked(folder() / f"{name}{SUFFIX}", card(name)["sha256"])
    if name not in RECIPES:
        raise CourseError(f"There is no recipe {name!r}; there are: {', '.join(RECIPES)}.")
    model = RECIPES[name].build()
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        raise CourseError(
            f"The weights {path.name} do not fit the network of this version ({error}); "
            f"make them again with `aigc-course train {name}`."
        ) from None
    return model


def short(value) -> float:
    """A figure as cards have it: five significant digits."""
    return float(f"{value:.5g}")


def save(name: str, model, card: dict, target: Path | None = None) -> Path:
    """Write weights (float32 as float16, compressed) and card; each file appears whole or not at all.

    Args:
        card: what is told about the weights; file name, bytes and SHA-256 are added here.
        target: folder to write to, ``data/checkpoints`` unless told.

    Returns:
        Path of the weights.

    Raises:
        CourseError: weights with NaN or too large for half precision, or a file above 12 MB.
    """
    target = Path(target or folder())
    target.mkdir(parents=True, exist_ok=True)
    path, part = target / f"{name}{SUFFIX}", target / f".{name}.part{SUFFIX}"
    try:
        model.save_weights(part, overwrite=True)
        _shrink(part)
        if part.stat().st_size > MAX_BYTES:
            raise CourseError(
                f"The weights of {name} take {part.stat().st_size / 2**20:.1f} MB; at most 12 MB may ship."
            )
        facts = {"file": path.name, "bytes": part.stat().st_size, "sha256": sha256(part)}
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    text = json.dumps({**facts, **card, **facts}, indent=2, ensure_ascii=False) + "\n"
    write_whole({target / f"{name}.json": text.encode("utf-8")})
    return path


def _shrink(path: Path):
    """Rewrite a Keras weights file without the optimiser's state, in half precision, compressed."""
    small = path.with_name(path.name + ".small")
    try:
        with h5py.File(path) as source, h5py.File(small, "w") as copy:
            copy.attrs.update(source.attrs)
            source.visititems(lambda name, node: _copy_node(name, node, copy))
        os.replace(small, path)
    finally:
        small.unlink(missing_ok=True)


def _copy_node(name, node, copy):
    if name.split("/")[0] == "optimizer":
        return
    if isinstance(node, h5py.Group):
        copy.require_group(name).attrs.update(node.attrs)
        return
    values = node[()]
    if np.issubdtype(values.dtype, np.floating):
        if not np.isfinite(values).all():
            raise CourseError(f"The weight {name} holds NaN or infinity; nothing was saved.")
        values = _halved(values, name) if values.dtype == np.float32 else values
    options = {"compression": "gzip", "shuffle": True} if values.size > 64 else {}
    copy.create_dataset(name, data=values, **options).attrs.update(node.attrs)


def _halved(values, name):
    """``values`` in half precision, whose largest number is 65,504."""
    if np.abs(values).max(initial=0) > np.finfo(np.float16).max:
        raise CourseError(f"The weight {name} is too large for half precision; nothing was saved.")
    return values.astype(np.float16)
