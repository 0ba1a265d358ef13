"""Painting on picture arrays, for the sliders of chapter 08: what moves is stamped on a background drawn once.

Shapes: H W sides of a page, h w of a mask or a part of it, N images [N, 28, 28, 1] in [0, 1]. Pages are [H, W, 3] uint8
and pixels (x, y) count from the upper left corner.   Used by vae_plots.
"""

from typing import NamedTuple

import numpy as np

from aigc_course import plots
from aigc_course.plots import enlarge, image_grid


def canvas(width, height):
    """An empty figure, and axes over all of it that count pixels from the upper left corner."""
    figure, axes = plots.new_figure(width / 100, height / 100, layout=None)
    axes.set_position([0, 0, 1, 1])
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure, axes


def inset(figure, left, top, width, height):
    """New axes at a place given in pixels from the upper left corner."""
    across, down = figure.get_size_inches() * figure.dpi
    return figure.add_axes([left / across, 1 - (top + height) / down, width / across, height / down])


class Frame(NamedTuple):
    """Where values of linear axes lie on the page: the pixel (x, y) of the values 0, 0 and the pixels of a unit."""

    origin: np.ndarray
    unit: np.ndarray

    def place(self, x, y):
        """Pixels (x, y) from the upper left corner."""
        return self.origin[0] + self.unit[0] * x, self.origin[1] + self.unit[1] * y


def frame(axes):
    """The ``Frame`` of axes as they lie on their figure now."""
    height = axes.figure.bbox.height
    origin, one = axes.transData.transform([(0.0, 0.0), (1.0, 1.0)]) * [1, -1] + [-0.5, height - 0.5]
    return Frame(origin, one - origin)


def tiles(images, columns, scale):  # [N, 28, 28, 1] -> [H, W] uint8
    """Images side by side in ``columns``, every pixel ``scale`` pixels wide."""
    return enlarge(image_grid(images, columns), scale)


def paste(page, picture, left, top):
    """Put a grey picture [h, w] or a coloured one [h, w, 3] on ``page`` [H, W, 3], in place."""
    picture = picture[..., None] if picture.ndim == 2 else picture
    page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture


def stamp(page, mask, colour, x, y):
    """Paint ``colour`` through ``mask`` [h, w] in [0, 1], centred at pixel (x, y); what lies outside is left out."""
    top, left = round(y) - mask.shape[0] // 2, round(x) - mask.shape[1] // 2
    above, before = max(0, -top), max(0, -left)
    part = page[max(0, top) : max(0, top + mask.shape[0]), max(0, left) : max(0, left + mask.shape[1])]
    share = mask[above : above + part.shape[0], before : before + part.shape[1], None]
    part[:] = np.rint(part * (1 - share) + share * np.array(colour, "float32"))


def disc(radius, inner=0.0, fine=8):  # -> [h, w] in [0, 1]
    """Mask of a disc, or of a ring from ``inner`` to ``radius``, with soft edges."""
    side = 2 * int(np.ceil(radius)) + 1
    steps = (np.arange(side * fine) + 0.5) / fine - side / 2
    distance = np.hypot(steps, steps[:, None])
    inside = (distance <= radius) & (distance >= inner)
    return inside.reshape(side, fine, side, fine).mean((1, 3))


def cross(arm, gap, thickness):  # -> [h, w] of 0 and 1
    """Mask of a cross whose four arms leave the middle open."""
    steps = np.abs(np.arange(-arm, arm + 1))
    long, narrow = (steps >= gap).astype("float32"), (steps <= thickness // 2).astype("float32")
    return np.maximum(np.outer(long, narrow), np.outer(narrow, long))


def curve(page, left, rows, colour):
    """A line, two to three pixels thick, whose height is ``rows`` [w] in the pixel columns from ``left``; in place."""
    before, after = np.concatenate([rows[:1], rows[:-1]]), np.concatenate([rows[1:], rows[-1:]])
    low = np.minimum(rows, np.minimum(before + rows, after + rows) / 2) - 1.2
    high = np.maximum(rows, np.maximum(before + rows, after + rows) / 2) + 1.2
    height = np.arange(page.shape[0])[:, None]
    mask = np.clip(np.minimum(height - low, high - height) + 0.5, 0.0, 1.0)
    stamp(page, mask, colour, left + len(rows) // 2, page.shape[0] // 2)


def numerals():  # -> dict from character to [h, w] in [0, 1]
    """Masks of the digits and the point, for numbers that change with a slider."""
    figure, axes = canvas(11 * 20, 120)
    for k, character in enumerate("0123456789."):
        axes.text(20 * k + 4, 17, character)
    page = 1.0 - plots.pixels(figure)[:22, :, 0] / 255.0
    return {c: page[:, 20 * k + 4 : 20 * k + (9 if c == "." else 14)] for k, c in enumerate("0123456789.")}
