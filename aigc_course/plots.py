"""Pictures of the course: one style, readable sizes, colours that survive colour blindness, and alt text on each.

``image_grid`` and ``png`` are fast enough for a slider; ``show_images`` and ``show_curves`` put a picture into the
notebook, ``draw_images`` and ``draw_curves`` return the same picture without showing it. Labels are English: the
default font has no Chinese glyphs. A picture with Chinese characters is ``Markup``, written in HTML, where the
browser has the glyphs.

Shapes: N images, H height, W width, C colour channels (1 grey or 3 red, green, blue). Images hold values in [0, 1].
"""

import base64
import html
import math
import struct
import sys
import zlib

import numpy as np

from aigc_course.runtime import CourseError

# Okabe & Ito (2008), "Color universal design": colours that most colour-blind readers tell apart; yellow left out.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 1)))
STYLE = {
    "font.size": 12,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "xtick.labelsize": 11,
    "ytick.labelsize": 11,
    "legend.fontsize": 11,
    "lines.linewidth": 2,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "figure.dpi": 100,
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
}
# Of ``Markup``: colours (red, green, blue) that show on a light and on a dark page, and two sizes of text.
BLUE, ORANGE, GREEN, GREY = (20, 135, 215), (213, 94, 0), (0, 158, 115), (128, 128, 128)
TEXT = "font-size:14px;line-height:20px"
SMALL = "font-size:11px;opacity:.8"


class Picture:
    """A PNG with its alt text: HTML ``<img alt>`` for JupyterLab, ``image/png`` for everything else."""

    def __init__(self, data, alt):
        self.data, self.alt = bytes(data), str(alt)

    @property
    def size(self):
        """Width and height in pixels, read from the PNG header."""
        return int.from_bytes(self.data[16:20], "big"), int.from_bytes(self.data[20:24], "big")

    def html(self):
        """An ``<img>`` element that needs nothing from outside."""
        return img(self.data, self.alt)

    def _repr_mimebundle_(self, include=None, exclude=None):
        encoded = base64.b64encode(self.data).decode("ascii")
        bundle = {"text/plain": f"[picture: {self.alt}]", "text/html": self.html(), "image/png": encoded}
        return bundle, {"image/png": {"alt": self.alt}}


class Markup:
    """A picture in HTML with its alt text, for what Matplotlib cannot write: Chinese characters, text that wraps.

    The body has to show in light and dark themes and without trust, where JupyterLab drops scripts, style sheets, SVG
    and CSS variables: inline styles, translucent colours over the page's own ground, the page's own text colour.

    Args:
        body: HTML that needs nothing from outside; its texts are escaped already.
        alt: what a reader who cannot see it should hear.
        role: "img" is heard as one picture, ``alt`` alone; "group" is heard as ``alt`` and then the body itself, right
            for a real table.
    """

    def __init__(self, body, alt, role="img"):
        if not str(alt).strip():
            raise ValueError("Say in alt what there is to see in this picture.")
        if role not in ("img", "group"):
            raise ValueError(f'role must be "img" or "group", not {role!r}.')
        self.body, self.alt, self.role = str(body), str(alt), role

    def html(self):
        """A ``<div>`` that needs nothing from outside."""
        return f'<div role="{self.role}" aria-label="{html.escape(self.alt)}">{self.body}</div>'

    def _repr_mimebundle_(self, include=None, exclude=None):
        bundle = {"text/plain": f"[picture: {self.alt}]", "text/html": self.html()}
        return bundle, {"text/html": {"alt": self.alt}}


def stack(*pictures):
    """``Markup`` of several, one above the other."""
    if not pictures:
        raise ValueError("There is nothing to stack.")
    alt = " ".join(picture.alt for picture in pictures)
    if all(picture.role == "img" for picture in pictures):
        return Markup("".join(picture.body for picture in pictures), alt)
    return Markup("".join(picture.html() for picture in pictures), f"{len(pictures)} pictures", "group")


def tint(colour, share, faintest=0.06, strongest=0.96):
    """CSS colour as opaque as ``share`` in [0, 1] asks for, between ``faintest`` and ``strongest``."""
    share = min(max(float(share), 0.0), 1.0)
    return "rgba({},{},{},{:.2f})".format(*colour, faintest + (strongest - faintest) * share)


def solid(colour):
    """CSS colour that hides what is behind it."""
    return "rgb({},{},{})".format(*colour)


def percents(weights):  # [...] -> the same of ints from 0 to 100
    """Shares as whole percents in nested lists; NaN is 0."""
    return (np.nan_to_num(weights).clip(0, 1) * 100).round().astype(int).tolist()


def heading(words):
    """A line of HTML in bold; "" for no words."""
    return f'<div style="{TEXT};font-weight:bold;padding:4px 0 2px 0">{html.escape(words)}</div>' if words else ""


def note(words, style="opacity:.8"):
    """A line of HTML beside a picture."""
    return f'<div style="{TEXT};{style};padding:2px 0">{html.escape(words)}</div>'


def sentence(words):
    """``Markup`` of words where there is nothing to draw."""
    return Markup(note(words), words)


def refusal_or(draw):
    """What ``draw`` makes, or the sentence of its ``CourseError``."""
    try:
        return draw()
    except CourseError as error:
        return sentence(str(error))


def img(data, alt):
    """HTML ``<img>`` of PNG bytes with its size, so that the page does not jump, and its alt text."""
    picture = Picture(data, alt)
    width, height = picture.size
    source = base64.b64encode(picture.data).decode("ascii")
    return (
        f'<img alt="{html.escape(picture.alt)}" width="{width}" height="{height}" decoding="sync" '
        f'style="max-width:100%;height:auto" src="data:image/png;base64,{source}">'
    )


def png(picture, level=1):
    """PNG bytes of an array, a Matplotlib figure, a ``Picture`` or bytes that are a PNG already.

    Args:
        picture: uint8 or float in [0, 1], [H, W], [H, W, 1] or [H, W, 3]; or a figure.
        level: 1 is quick, for sliders; 6 makes files about a fifth smaller, for pictures that stay.

    Raises:
        ValueError: another shape, values outside [0, 1], NaN, or bytes that are not a PNG.
    """
    if isinstance(picture, Picture):
        return picture.data
    if isinstance(picture, bytes | bytearray | memoryview):
        data = bytes(picture)
        if not data.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError(f"These {len(data)} bytes are not a PNG.")
        return data
    if hasattr(picture, "savefig"):
        return _encode(pixels(picture), level)
    return _encode(_as_bytes(picture, "picture", dimensions=(2, 3)), level)


def image_grid(images, columns=None, padding=1):
    """Arrange images on a white grid.

    Args:
        images: [N, H, W], [N, H, W, 1] or [N, H, W, 3] in [0, 1] (or uint8), N >= 1.
        columns: images in a row; by default up to ten, near a square.
        padding: white pixels between neighbours.

    Returns:
        uint8 array [rows * H + gaps, columns * W + gaps], with a last axis of 3 for colour.

    Raises:
        ValueError: no images, another shape, values outside [0, 1] (such as [-1, 1] from tanh), or NaN.
    """
    tiles = _as_bytes(images, "images", dimensions=(3, 4))
    if tiles.ndim == 4 and tiles.shape[-1] == 1:
        tiles = tiles[..., 0]
    count, height, width = tiles.shape[:3]
    columns = _columns(count, columns)
    rows = math.ceil(count / columns)
    colour = tiles.shape[3:]
    cells = np.full((rows * columns, height + padding, width + padding, *colour), 255, np.uint8)
    cells[:count, :height, :width] = tiles
    grid = cells.reshape(rows, columns, height + padding, width + padding, *colour).swapaxes(1, 2)
    grid = grid.reshape(rows * (height + padding), columns * (width + padding), *colour)
    return np.ascontiguousarray(grid[: grid.shape[0] - padding, : grid.shape[1] - padding])


def enlarge(array, scale):
    """Repeat every pixel ``scale`` times in both directions: crisp, no smoothing."""
    return array.repeat(scale, axis=0).repeat(scale, axis=1)


def draw_images(images, columns=None, titles=None, row_labels=None, scale=2, alt=None):
    """The picture that ``show_images`` shows, as a ``Picture``."""
    count = _count(images)
    columns = _columns(count, columns)
    rows = math.ceil(count / columns)
    grid = enlarge(image_grid(images, columns, padding=1), scale)
    alt = alt or _describe_images(count, rows, columns, titles, row_labels)
    if titles is None and row_labels is None:
        return Picture(_encode(grid, level=6), alt)
    _demand_length(titles, count, "titles", "image")
    _demand_length(row_labels, rows, "row_labels", "row")
    return Picture(_encode(_labelled(images, columns, titles, row_labels, scale), level=6), alt)


def show_images(images, columns=None, titles=None, row_labels=None, scale=2, alt=None):
    """Show images as a grid in the notebook.

    Args:
        images: [N, H, W], [N, H, W, 1] or [N, H, W, 3], values in [0, 1] or uint8.
        columns: images in a row.
        titles: N short texts, one above each image.
        row_labels: one text a row, to its left.
        scale: every pixel becomes scale x scale pixels.
        alt: what a reader who cannot see it should hear; by default the number of images and their titles.
    """
    show(draw_images(images, columns, titles, row_labels, scale, alt))


def new_figure(width=6.4, height=3.6, rows=1, columns=1, layout="constrained", **subplots):
    """A Matplotlib figure in the course's style, outside pyplot (nothing is shown twice, nothing stays in memory).

    Args:
        width, height: inches at 100 pixels an inch.
        rows, columns, subplots: as in ``Figure.subplots``.
        layout: "constrained" leaves room for every label; None is about 10 ms quicker, for sliders.

    Returns:
        (figure, axes), axes being one ``Axes`` or an array of them.
    """
    import matplotlib
    from cycler import cycler
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE | {"axes.prop_cycle": cycler(color=PALETTE) + cycler(linestyle=DASHES)}):
        figure = Figure(figsize=(width, height), layout=layout)
        if layout is None:
            figure.subplots_adjust(left=0.8 / width, right=1 - 0.15 / width, bottom=0.6 / height, top=1 - 0.4 / height)
        return figure, figure.subplots(rows, columns, **subplots)


def draw_curves(curves, x=None, xlabel="step", ylabel="", title="", log=False, bands=None, alt=None, size=(6.4, 3.6)):
    """The picture that ``show_curves`` shows, as a ``Picture``."""
    lines = {name: _line(name, values, x) for name, values in curves.items()}
    if not lines:
        raise ValueError("There are no curves to draw.")
    figure, axes = new_figure(*size)
    add_curves(axes, lines, xlabel, ylabel, title, log)
    for name, (low, high) in (bands or {}).items():
        colour = PALETTE[list(lines).index(name) % len(PALETTE)]
        axes.fill_between(lines[name][0], low, high, color=colour, alpha=0.2, linewidth=0)
    return Picture(png(figure, level=6), alt or describe_curves(lines, xlabel, ylabel, title))


def show_curves(curves, x=None, xlabel="step", ylabel="", title="", log=False, bands=None, alt=None, size=(6.4, 3.6)):
    """Show one or more curves in the notebook.

    Args:
        curves: dict from a name to its values [T], or to a pair (x [T], values [T]).
        x: the common horizontal values [T]; by default 0, 1, 2, ...
        log: logarithmic vertical axis.
        bands: dict from a curve's name to (low [T], high [T]), shaded.
        alt: what a reader who cannot see it should hear; by default each curve's first, last, lowest and highest value.
        size: inches, width and height.
    """
    show(draw_curves(curves, x, xlabel, ylabel, title, log, bands, alt, size))


def show(picture, alt=""):
    """Put an array, a figure, PNG bytes, ``Picture`` or ``Markup`` into the notebook; in a terminal print its alt text.

    Args:
        alt: the text for readers who cannot see it; needed unless ``picture`` is a ``Picture`` or ``Markup``.
    """
    if not isinstance(picture, Picture | Markup):
        if not alt:
            raise ValueError("Say in alt=... what there is to see in this picture.")
        picture = Picture(png(picture, level=6), alt)
    if in_notebook():
        from IPython.display import display

        display(picture)
    else:
        print(f"[picture: {picture.alt}]")


def in_notebook():
    """Whether a front end listens that can show pictures (a Jupyter kernel), as against a terminal or a script."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return shell is not None and hasattr(shell, "kernel")


def add_curves(axes, lines, xlabel="", ylabel="", title="", log=False):
    """Draw ``lines``, a dict from a name to (x, y), into ``axes`` with a legend where there is more than one."""
    for name, (xs, ys) in lines.items():
        axes.plot(xs, ys, label=name, marker="o" if len(ys) == 1 else None)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title)
    if log:
        axes.set_yscale("log")
    if len(lines) > 1:
        beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if len(lines) > 4 else {}
        axes.legend(frameon=True, framealpha=0.7, edgecolor="none", **beside)


def describe_curves(lines, xlabel="", ylabel="", title=""):
    """A sentence for each curve: where it starts and ends, its lowest and highest value."""
    parts = []
    for name, (_, ys) in lines.items():
        finite = ys[np.isfinite(ys)]
        if not finite.size:
            parts.append(f"{name}: no finite values")
            continue
        parts.append(
            f"{name} from {finite[0]:.3g} to {finite[-1]:.3g}, between {finite.min():.3g} and {finite.max():.3g}"
        )
    over = f" over {xlabel}" if xlabel else ""
    return f"{title or 'Curves'}{over}{f' ({ylabel})' if ylabel else ''}: {'; '.join(parts)}."


def _line(name, values, x):
    """(x [T], y [T]) as float arrays, checked."""
    if isinstance(values, tuple) and len(values) == 2 and np.ndim(values[0]) == 1:
        x, values = values
    ys = np.asarray(values, np.float64)
    if ys.ndim != 1 or not ys.size:
        raise ValueError(f"The curve {name!r} has shape {ys.shape}; expected [T] with at least one value.")
    xs = np.arange(len(ys), dtype=np.float64) if x is None else np.asarray(x, np.float64)
    if xs.shape != ys.shape:
        raise ValueError(f"The curve {name!r} has {len(ys)} values for {xs.size} positions.")
    return xs, ys


def _as_bytes(images, label, dimensions):
    """uint8 copy of images in [0, 1], or a ValueError that says what is wrong with them."""
    images = images.detach().cpu() if hasattr(images, "detach") else images
    array = np.asarray(images)
    wanted = {(3, 4): "[N, H, W], [N, H, W, 1] or [N, H, W, 3]", (2, 3): "[H, W], [H, W, 1] or [H, W, 3]"}[dimensions]
    channels = array.shape[-1] if array.ndim == dimensions[1] else 1
    if array.ndim not in dimensions or channels not in (1, 3):
        raise ValueError(f"The {label} must have shape {wanted}, but this is {array.shape}.")
    if not array.size:
        raise ValueError(f"The {label} must hold at least one pixel, but this has shape {array.shape}.")
    if array.dtype == np.uint8:
        return array
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    try:
        array = array.astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"The {label} must hold numbers, but this holds {array.dtype}.") from None
    _demand_unit_range(array, label)
    return (array * 255 + 0.5).clip(0, 255).astype(np.uint8)


def _demand_unit_range(array, label, slack=1e-3):
    low, high = float(array.min()), float(array.max())
    if math.isnan(low) or math.isnan(high):
        raise ValueError(f"There is NaN in {int(np.isnan(array).sum())} of {array.size} values of the {label}.")
    if low >= -slack and high <= 1 + slack:
        return
    advice = "clip or rescale them first."
    if -1 - slack <= low < 0 and high <= 1 + slack:
        advice = "this looks like the range of tanh, [-1, 1]: use (x + 1) / 2."
    elif low >= 0 and high <= 255:
        advice = "this looks like [0, 255]: divide by 255."
    raise ValueError(f"The {label} must lie in [0, 1], but the values run from {low:.3g} to {high:.3g}; {advice}")


def _encode(array, level=1):
    """PNG bytes of a uint8 array [H, W], [H, W, 1] or [H, W, 3] (PNG specification, 3rd edition, sections 10 and 11).

    Written out here because it takes half the time of Pillow, which tries five filters on every row.
    """
    height, width = array.shape[:2]
    colour = array.ndim == 3 and array.shape[-1] == 3
    rows = np.zeros((height, 1 + width * (3 if colour else 1)), np.uint8)  # each row begins with filter type 0
    rows[:, 1:] = array.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if colour else 0, 0, 0, 0)
    body = _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, level)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pixels(figure):
    """uint8 [H, W, 3] of a figure. One that pyplot keeps is closed, or the notebook would show it a second time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.array(canvas.buffer_rgba())[..., :3]
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close(figure)
    return pixels


def _labelled(images, columns, titles, row_labels, scale):
    """Grid with a title above every image and a label at the left of every row: uint8 [H, W] or [H, W, 3]."""
    tiles = [enlarge(image_grid(np.asarray(images)[i : i + 1]), scale) for i in range(_count(images))]
    height, width = tiles[0].shape[:2]
    above, left, gap = (18 if titles else 0), _label_width(row_labels), 4
    rows = math.ceil(len(tiles) / columns)
    page = np.full((rows * (height + above + gap), left + columns * (width + gap), *tiles[0].shape[2:]), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, start = (i // columns) * (height + above + gap) + above, left + (i % columns) * (width + gap)
        page[top : top + height, start : start + width] = tile
    return _write(page, titles, row_labels, columns, (height + above + gap, width + gap), left, above)


def _write(page, titles, row_labels, columns, step, left, above):
    """Write the titles and row labels onto ``page``."""
    from PIL import Image, ImageDraw

    canvas = Image.fromarray(page)
    pen, font = ImageDraw.Draw(canvas), _font()
    black = 0 if page.ndim == 2 else (0, 0, 0)
    for i, title in enumerate(titles or ()):
        x = left + (i % columns) * step[1] + (step[1] - 4) / 2
        pen.text((x, (i // columns) * step[0] + above - 3), str(title), fill=black, font=font, anchor="ms")
    for i, label in enumerate(row_labels or ()):
        pen.text(
            (left - 8, i * step[0] + above + (step[0] - above) / 2), str(label), fill=black, font=font, anchor="rm"
        )
    return np.asarray(canvas)


def _font(size=13):
    """DejaVu Sans, which comes with Matplotlib."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(str(matplotlib.get_data_path()) + "/fonts/ttf/DejaVuSans.ttf", size)


def _label_width(row_labels):
    return 16 + math.ceil(max(_font().getlength(str(label)) for label in row_labels)) if row_labels else 0


def _columns(count, columns):
    if columns is None:
        return count if count <= 10 else min(10, math.ceil(math.sqrt(count)))
    if int(columns) != columns or columns < 1:
        raise ValueError(f"columns must be a whole number of at least 1, not {columns!r}.")
    return min(int(columns), max(count, 1))


def _count(images):
    return len(images) if hasattr(images, "__len__") else 0


def _demand_length(labels, count, argument, thing):
    if labels is not None and len(labels) != count:
        raise ValueError(f"{argument} has {len(labels)} entries for {count} {thing}{'s' if count != 1 else ''}.")


def _describe_images(count, rows, columns, titles, row_labels):
    text = "One image" if count == 1 else f"{count} images in {rows} row{'s' if rows > 1 else ''} of {columns}"
    text += f"; titles: {', '.join(map(str, titles))}" if titles else ""
    return text + (f"; rows: {', '.join(map(str, row_labels))}" if row_labels else "") + "."
