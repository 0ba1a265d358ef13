"""Batches of texts of similar length, so that little time goes into padding.

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
    """

    def __init__(self, inputs, targets, bounds, batch_size=64, seed=0):
        super().__init__()
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

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        number, rows = self.batches[index]
        source, target = self.bounds[number]
        return (self.source_ids[rows, :source], self.decoder_ids[rows, :target]), self.targets[rows, :target]
