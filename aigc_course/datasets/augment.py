"""Deformed copies of pictures: more training data from few, for models that would learn 8,000 digits by heart.

Shapes: N pictures, H W side.   Used by the recipes of chapters/08_vae.
"""

import keras
import numpy as np
from scipy import ndimage

# Interpolation blurs. With this contrast the grey levels spread as before: the sum of x (1 - x) over a picture is 14.6
# for the course's digits, 23.5 once they are moved, and 14.6 again with more contrast.
_CONTRAST = 1.4


def deform(images, seed=0, rotation=5.0, scale=0.05, shear=0.05, shift=0.3, wave=0.5):  # [N, H, W, 1] -> [N, H, W, 1]
    """Each picture turned, scaled, sheared, moved and bent a little, differently; what comes in from outside is 0.

    Args:
        images: grey levels in [0, 1].
        rotation: standard deviation of the angle, in degrees.
        scale, shear: standard deviation of the factor's distance from 1, and of the slope.
        shift: standard deviation of the move along each side, in pixels.
        wave: standard deviation, in pixels, of a smooth displacement that differs from place to place (Simard,
            Steinkraus and Platt, 2003).
    """
    images, rng = np.asarray(images, "float32"), np.random.default_rng(seed)
    count, height, width = images.shape[:3]
    angle = np.radians(rng.normal(0, rotation, count))
    stretch = 1 + rng.normal(0, scale, (2, count))
    slope = rng.normal(0, shear, count)
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    rows, columns = np.meshgrid(np.arange(height) - centre[0], np.arange(width) - centre[1], indexing="ij")
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # [2, 2, N]
    from_rows = turn[:, 0] * stretch[0]  # [2, N]
    from_columns = (turn[:, 1] + turn[:, 0] * slope) * stretch[1]
    move = rng.normal(0, shift, (2, count)) + centre[:, None]
    places = from_rows[..., None, None] * rows + from_columns[..., None, None] * columns + move[..., None, None]
    places = places + _smooth_noise(rng, (2, count, height, width), wave)  # [2, N, H, W]
    index = np.broadcast_to(np.arange(count)[:, None, None], places.shape[1:])
    moved = ndimage.map_coordinates(images[..., 0], [index, *places], order=1)
    return np.clip(0.5 + _CONTRAST * (moved - 0.5), 0.0, 1.0)[..., None]


def _smooth_noise(rng, shape, deviation, width=4.0):
    """Normal noise, smoothed over ``width`` pixels along the last two axes and brought to ``deviation``."""
    noise = ndimage.gaussian_filter(rng.normal(size=shape).astype("float32"), (0, 0, width, width), mode="wrap")
    return noise * (deviation * 2 * np.sqrt(np.pi) * width)


class Deformed(keras.utils.PyDataset):
    """Batches for ``fit``: of each picture one of several deformed copies, drawn anew in each epoch.

    Args:
        images: [N, H, W, 1] in [0, 1].
        labels: [N]; if given, a batch is the pair (images, labels) as one input, for a conditional model.
        num_copies: deformed copies of each, made beforehand (one byte a pixel); the picture itself is one more.
        batch_size: rows a batch; the last one may be smaller.
        seed: of the copies and of the order.
        options: of ``deform``.
    """

    def __init__(self, images, labels=None, num_copies=16, batch_size=64, seed=0, **options):
        super().__init__()
        copies = [deform(images, seed=[seed, k], **options) for k in range(num_copies)]
        self.pool = np.stack([np.rint(copy * 255).astype("uint8") for copy in (images, *copies)])
        self.labels = None if labels is None else np.asarray(labels)
        self.batch_size, self.rng = batch_size, np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return -(-self.pool.shape[1] // self.batch_size)

    def __getitem__(self, index):
        rows = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images = self.pool[self.copy[rows], rows].astype("float32") / 255.0
        return (images,) if self.labels is None else ((images, self.labels[rows]),)

    def on_epoch_end(self):
        count = self.pool.shape[1]
        self.order, self.copy = self.rng.permutation(count), self.rng.integers(0, len(self.pool), count)
