"""Batches of texts of similar or equal length, so that little time goes into padding.

Shapes: N texts, S source steps, T target steps; ids are padded on the right with 0.
"""

import keras
import numpy as np


class Buckets(keras.utils.PyDataset):
    """Data for ``fit``: every text goes into the first bucket that holds it, and a batch comes from one bucket.

    Each bucket has one shape, so a compiled step is compiled once for each. Texts and batches are shuffled anew for
    every pass, the same way for the same seed; a batch that a bucket cannot fill is shorter.

    Args:
        inputs: tuple ``(source_ids [N, S], decoder_ids [N, T])``.
        targets: [N, T].
        bounds: largest (S, T) of each bucket, rising; longer texts go into a last one of full size.
        batch_size: most texts of a batch.
        seed: of the order.

    Raises:
        ValueError: bounds that do not rise, or a batch size below 1.
    """

    def __init__(self, inputs, targets, bounds, batch_size=64, seed=0):
        super().__init__()
        _demand_batch_size(batch_size)
        if np.any(np.diff(np.reshape(bounds, (-1, 2)), axis=0) < 0):
            raise ValueError(f"The bounds of the buckets must rise: {bounds}.")
        self.source_ids, self.decoder_ids = inputs
        self.targets, self.batch_size = targets, batch_size
        self.bounds = [*bounds, (self.source_ids.shape[1], targets.shape[1])]
        lengths = [(ids != 0).sum(1)[:, None] for ids in (self.source_ids, targets)]
        fits = np.all(
            [size <= np.array(limit) for size, limit in zip(lengths, zip(*self.bounds, strict=True), strict=True)], 0
        )
        self.bucket_of = fits.argmax(1)
        self.draw = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self):
        """Shuffle for the next pass."""
        self.batches = []
        for number in range(len(self.bounds)):
            rows = self.draw.permutation(np.flatnonzero(self.bucket_of == number))
            self.batches += [(number, rows[at : at + self.batch_size]) for at in range(0, len(rows), self.batch_size)]
        self.draw.shuffle(self.batches)
        _differ_at_first(self.batches)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        number, rows = self.batches[index]
        source, target = self.bounds[number]
        return (self.source_ids[rows, :source], self.decoder_ids[rows, :target]), self.targets[rows, :target]


class EqualLengths(keras.utils.PyDataset):
    """Data for ``fit`` of a language model: each batch is of rows of one length, targets are one step ahead.

    Rows and batches are shuffled anew for every pass, the same way for the same seed. What fills no batch is left
    out of that pass (other rows are left out of the next), unless there are fewer rows of a length than ``batch_size``.

    Args:
        token_ids: [N, T], padded on the right with 0, two tokens a row at least.
        batch_size: rows of a batch.
        seed: of the order.

    Raises:
        ValueError: other than whole numbers [N, T], padding in front of a token, a row of fewer than two tokens, or a
            batch size below 1.
    """

    def __init__(self, token_ids, batch_size=64, seed=0):
        super().__init__()
        _demand_batch_size(batch_size)
        token_ids = np.asarray(token_ids)
        if token_ids.ndim != 2 or token_ids.dtype.kind not in "iu":
            raise ValueError(f"Pass whole numbers [N, T], not {token_ids.dtype} of shape {token_ids.shape}.")
        self.token_ids, self.batch_size = token_ids.astype("int32"), batch_size
        real = self.token_ids != 0
        if (real[:, 1:] > real[:, :-1]).any():
            raise ValueError("Padding (0) stands behind a row's tokens, not in front of one.")
        lengths = real.sum(axis=1)
        if not len(lengths) or lengths.min() < 2:
            raise ValueError("Each row needs two tokens at least.")
        self.groups = [(int(length), np.flatnonzero(lengths == length)) for length in np.unique(lengths)]
        self.draw = np.random.default_rng(seed)
        self.on_epoch_end()

    def on_epoch_end(self):
        """Shuffle for the next pass."""
        self.batches = []
        for length, rows in self.groups:
            rows = self.draw.permutation(rows)
            full = max(len(rows) // self.batch_size, 1) * self.batch_size
            starts = range(0, min(full, len(rows)), self.batch_size)
            self.batches += [(length, rows[at : at + self.batch_size]) for at in starts]
        self.draw.shuffle(self.batches)
        _differ_at_first(self.batches)

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        length, rows = self.batches[index]
        return self.token_ids[rows, : length - 1], self.token_ids[rows, 1:length]


def _demand_batch_size(batch_size):
    if batch_size < 1:
        raise ValueError(f"batch_size is a whole number from 1 on, not {batch_size}.")


def _differ_at_first(batches):
    """Bring a batch of another size to the second place: from the first two, Keras learns which axes vary."""
    other = next((place for place, batch in enumerate(batches) if batch[0] != batches[0][0]), None)
    if other is not None:
        batches[1], batches[other] = batches[other], batches[1]
