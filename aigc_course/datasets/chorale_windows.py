"""Windows of chorales as data for ``fit``: other places and other keys in every pass.

Shapes: B batch, S sixteenths of a window, T = 4 S tokens, F condition features.   Taught in chapters/07_wavenet.
"""

import keras
import numpy as np

from aigc_course.datasets.chorales import FEATURES, PADDING, VOICES, windows


class ChoraleWindows(keras.utils.PyDataset):
    """Batches ``((token_ids [B, T], conditions [B, T, F]), targets [B, T])`` for a ``WaveNet``.

    Row t of the inputs scores target t, with the conditions of the target. Where the melody is told, the soprano's
    targets do not count (they are PADDING): they could be read off the conditions.

    Args:
        chorales: a ``ChoraleSet`` or a list of chorales.
        length: S.
        batch_size: B; a batch that cannot be filled is left out.
        seed: of places, keys and order; every pass draws anew, the same seed draws the same.
        melody: share of windows that are told the melody.
        transpose: move windows into other keys.

    Raises:
        ValueError: not enough music for one batch.
    """

    def __init__(self, chorales, length=64, batch_size=16, seed=0, melody=0.5, transpose=True):
        super().__init__()
        self.chorales, self.length, self.batch_size = chorales, length, batch_size
        self.options = {"melody": melody, "transpose": transpose}
        self.draw = np.random.default_rng(seed)
        self.on_epoch_end()
        if not len(self):
            raise ValueError(f"These chorales fill no batch of {batch_size} windows of {length} sixteenths.")

    def on_epoch_end(self):
        """Draw the windows of the next pass."""
        seed = int(self.draw.integers(2**31))
        self.token_ids, self.conditions = windows(self.chorales, self.length, seed, **self.options)
        self.targets = scored_targets(self.token_ids[:, 1:], self.conditions)

    def __len__(self):
        return len(self.token_ids) // self.batch_size

    def __getitem__(self, index):
        rows = slice(index * self.batch_size, (index + 1) * self.batch_size)
        return (self.token_ids[rows, :-1], self.conditions[rows]), self.targets[rows]


def scored_targets(targets, conditions):  # [N, T], [N, T, F] -> [N, T]
    """The targets, PADDING for the soprano's where the conditions know the melody."""
    told = conditions[..., FEATURES.index("melody known")] > 0
    soprano = np.arange(targets.shape[1]) % len(VOICES) == 0
    return np.where(told & soprano, PADDING, targets)
