"""Pictures of chapter 09: maps of attention, masks, scores with and without their scale, positions, a model's parts.

Shapes: S source tokens, T rows, H heads, L blocks, D width.   Taught in chapters/09_transformer.

Everything that names a token is ``plots.Markup``, since Chinese characters need the browser's fonts. Colours are
translucent, so that they show on a light and on a dark page.
"""

from functools import lru_cache
from html import escape
from itertools import product
from string import ascii_lowercase as LETTERS

import numpy as np

from aigc_course import plots
from aigc_course.plots import (
    BLUE,
    ORANGE,
    TEXT,
    Markup,
    heading,
    note,
    percents,
    refusal_or,
    sentence,
    solid,
    stack,
    tint,
)
from aigc_course.seq2seq_plots import sign, weights_bars
from aigc_course.transformer import sinusoidal_table
from aigc_course.vocabulary import SPECIAL, START

KINDS = {
    "cross: written looks at source": "cross",
    "encoder: source looks at source": "encoder",
    "decoder: written looks at written": "decoder",
}
_SMALL = f"{plots.SMALL};line-height:16px"
WIDEST = 512  # vectors of which ``scaling_weights`` takes the first numbers
_WIDE = 0x2E80  # characters from here on are as wide as high
NOTHING = "Nothing was written. Type a date."


# Parts


_SHADES = [(f'<i style="background:{tint(BLUE, k / 100)}" title="', f': {k / 100:.2f}"></i>') for k in range(101)]
_PLAIN = [f'<i style="background:{tint(BLUE, k / 100)}"></i>' for k in range(101)]


def _grid(widths, cells, height=20, gap=1):
    """CSS grid with columns of ``widths`` pixels; it scrolls sideways where it is too wide."""
    columns = " ".join(f"{width}px" for width in widths)
    style = f"display:grid;grid-template-columns:{columns};grid-auto-rows:{height}px;gap:{gap}px;white-space:nowrap"
    return f'<div style="overflow-x:auto;padding:2px 0 6px 0"><div style="{style};{TEXT}">{cells}</div></div>'


def _width(token):
    return max(20, sum(16 if character >= chr(_WIDE) else 9 for character in sign(token)) + 4)


def _heads(tokens):
    return "".join(f'<span style="text-align:center">{escape(sign(token))}</span>' for token in tokens)


# Maps


def weight_map(rows, columns, weights, title=""):
    """Weights [T, S] in [0, 1] as shaded cells, a token before each row and above each column.

    Each cell has its number as a tooltip. ValueError for another shape.
    """
    rows, columns, weights = list(rows), list(columns), np.asarray(weights, "float64")
    if weights.shape != (len(rows), len(columns)) or not weights.size:
        raise ValueError(f"The weights have shape {weights.shape}, not [T, S] = {(len(rows), len(columns))}.")
    names = [escape(sign(token)) for token in columns]
    lines = [_line(escape(sign(token)), names, row) for token, row in zip(rows, percents(weights), strict=True)]
    widths = [max(map(_width, rows)), *map(_width, columns)]
    best = ", ".join(f"{sign(a)} at {sign(columns[b])} ({b + 1})" for a, b in zip(rows, weights.argmax(1), strict=True))
    body = heading(title) + _grid(widths, f"<span></span>{_heads(columns)}{''.join(lines)}")
    return Markup(body, f"{title or 'Attention'}. Each row looks most at: {best}.")


def _line(name, names, shares):
    cells = (f"{_SHADES[k][0]}{name} ← {other}{_SHADES[k][1]}" for other, k in zip(names, shares, strict=True))
    return f'<span style="text-align:center">{name}</span>{"".join(cells)}'


def small_maps(maps, titles, cell=7):
    """Several maps side by side without names: ``maps`` a list of [T, S] in [0, 1], one title each."""
    maps, titles = [np.asarray(one, "float64") for one in maps], list(map(str, titles))
    if len(maps) != len(titles) or not maps:
        raise ValueError(f"There are {len(maps)} maps for {len(titles)} titles; one each, and at least one.")
    boxes = []
    for one, title in zip(maps, titles, strict=True):
        cells = "".join(_PLAIN[k] for row in percents(one) for k in row)
        style = f"display:grid;grid-template-columns:repeat({one.shape[1]},{cell}px);grid-auto-rows:{cell}px;gap:1px"
        boxes.append(f'<div><div style="{_SMALL}">{escape(title)}</div><div style="{style}">{cells}</div></div>')
    told = "; ".join(f"{t}: rows put {m.max(1).mean():.0%} in one place" for t, m in zip(titles, maps, strict=True))
    return Markup(
        f'<div style="display:flex;flex-wrap:wrap;gap:14px;padding:4px 0">{"".join(boxes)}</div>',
        f"{len(maps)} maps, weights as shades. On average, {told}.",
    )


def mask_map(kind, length, padding):
    """Who may look at whom: ``kind`` "none", "padding", "causal" or "both"; the last ``padding`` steps are padding."""
    allowed = make_mask(kind, length, padding)
    tokens = [*(LETTERS[step % len(LETTERS)] for step in range(length - padding)), *"·" * padding]
    picture = weight_map(tokens, tokens, allowed.astype(float))
    count = f"{int(allowed.sum())} of {length * length} pairs may look (filled)"
    words = f"{count}; a row is the step that looks, · is padding."
    return Markup(note(words) + picture.body, words)


def make_mask(kind, length, padding):  # -> [T, T]
    """Booleans, True where the step of the row may look at the step of the column."""
    if kind not in ("none", "padding", "causal", "both"):
        raise ValueError(f'kind is "none", "padding", "causal" or "both", not {kind!r}.')
    if not 0 <= padding < length:
        raise ValueError(f"padding lies between 0 and length - 1 = {length - 1}, not {padding}.")
    steps = np.arange(length)
    allowed = np.ones((length, length), bool)
    if kind in ("causal", "both"):
        allowed &= steps[:, None] >= steps
    return allowed & (steps < length - padding) if kind in ("padding", "both") else allowed


# Attention of a trained model


def looked(model, text):
    """What a ``Transformer`` writes for ``text``, and its maps: (Translation, dict as ``attention_maps`` for one text).

    The dict is empty where nothing was written.
    """
    found = model.translate_in_detail([text])[0]
    maps = model.attention_maps([text], [found.text]) if found.text else {}
    return found, {kind: values[0] for kind, values in maps.items()}


def sides(found, kind):
    """Tokens that look and tokens that are looked at: encoder source/source, decoder written/read, cross."""
    written = list(found.tokens)
    read = [SPECIAL[START], *written[:-1]]
    return {
        "encoder": (found.source_tokens, found.source_tokens),
        "decoder": (written, read),
        "cross": (written, found.source_tokens),
    }[kind]


def attention_panel(model):
    """``draw(text, kind, block, head)`` for ``widgets.explore``: the map of one head, counted from 1.

    ``kind``: "encoder", "decoder" or "cross". The last texts are kept: moving along heads computes nothing again.
    """
    known = lru_cache(maxsize=16)(lambda text: looked(model, text))

    def draw(text, kind, block, head):
        found, maps = known(text)
        if not maps:
            return sentence(NOTHING)
        rows, columns = sides(found, kind)
        weights = maps[kind][block - 1, head - 1][: len(rows), : len(columns)]
        words = f"It writes {found.text}.   {kind}, block {block}, head {head}"
        return weight_map(rows, columns, weights, words)

    return lambda *values, **named: refusal_or(lambda: draw(*values, **named))


def every_head(model, text, kind):
    """All heads of a kind as ``small_maps``."""
    found, maps = looked(model, text)
    if not maps:
        return sentence(NOTHING)
    rows, columns = sides(found, kind)
    blocks, heads = maps[kind].shape[:2]
    where = list(product(range(blocks), range(heads)))
    return small_maps(
        [maps[kind][block, head][: len(rows), : len(columns)] for block, head in where],
        [f"block {block + 1}, head {head + 1}" for block, head in where],
    )


# Scores and their scale


def scaling_weights(width, num_keys=6, seed=0):  # -> [S] scores, [S] weights as they are, [S] weights divided
    """Scores of a standard normal query of ``width`` with as many normal keys, and their softmax without and with
    division by the root of the width, which is ``WIDEST`` at most: one draw serves all widths."""
    if not 1 <= width <= WIDEST:
        raise ValueError(f"width lies in 1 to {WIDEST}, not {width}.")
    rng = np.random.default_rng(seed)
    keys, query = rng.standard_normal((num_keys, WIDEST))[:, :width], rng.standard_normal(WIDEST)[:width]
    scores = keys @ query
    return scores, _softmax(scores), _softmax(scores / np.sqrt(width))


def _softmax(scores):
    raised = np.exp(scores - scores.max())
    return raised / raised.sum()


def scaling_bars(width, seed=0):
    """Attention to six random keys, the scores as they are and divided by the root of the width."""
    scores, plain, scaled = scaling_weights(width, seed=seed)
    names = [f"key {number + 1}" for number in range(len(scores))]
    return stack(
        weights_bars(names, plain, f"Scores as they are, spread {scores.std():.1f}"),
        weights_bars(names, scaled, f"Divided by √{width}, spread {scores.std() / np.sqrt(width):.1f}"),
    )


# Positions


def table_picture(length=60, width=64):
    """``plots.Picture`` of the sinusoidal table, one row a position."""
    figure, axes = plots.new_figure(6.4, 3.6)
    shown = axes.imshow(sinusoidal_table(length, width), aspect="auto", cmap="RdBu", vmin=-1, vmax=1)
    axes.set(xlabel="column", ylabel="position", title=f"Sines and cosines, {length} positions, width {width}")
    axes.grid(False)
    figure.colorbar(shown)
    words = "The left columns change sign every few rows, the right ones hardly change over the whole table."
    return plots.Picture(plots.png(figure, level=6), f"Table of sines and cosines. {words}")


def positions_view(first, second, length=60, width=32):
    """Two rows of the table, and the similarity (dot product over D / 2) of the first with every position."""
    table = sinusoidal_table(length, width)
    likeness = table @ table[first] / (width / 2)
    strips = "".join(
        f'<span style="{_SMALL}">position {position}</span>' + "".join(map(_signed, table[position]))
        for position in (first, second)
    )
    bars = "".join(_bar(value, number == second) for number, value in enumerate(likeness))
    words = f"Similarity of positions {first} and {second}: {likeness[second]:.2f}"
    told = f"{words}. Of position {first} with its neighbours at distance 1: {likeness[first - 1 if first else 1]:.2f}."
    return Markup(
        _grid([72, *[14] * width], strips, height=18, gap=0)
        + heading(words)
        + f'<div style="display:flex;align-items:center;height:124px;gap:1px">{bars}</div>'
        + note(f"One bar for each position, 0 to {length - 1}; the second position is orange."),
        told,
    )


def _signed(value):
    return f'<i style="background:{tint(BLUE if value > 0 else ORANGE, abs(value))}" title="{value:.2f}"></i>'


def _bar(value, marked):
    """A bar up or down from the middle of 120 pixels."""
    high = 60 * min(abs(value), 1.0)
    above, below = (60 - high, 60) if value >= 0 else (60, 60 - high)
    colour = solid(ORANGE if marked else BLUE)
    style = f"width:8px;height:{max(high, 1):.0f}px;margin:{above:.0f}px 0 {below:.0f}px 0;background:{colour}"
    return f'<i style="{style}" title="{value:.2f}"></i>'


# The whole model

_ENCODER = (("norm", "self-attention"), ("norm", "feed-forward"))
_DECODER = (("norm", "causal self-attention"), ("norm", "cross-attention"), ("norm", "feed-forward"))
_SHADE = {"norm": "#E6E6E6", "feed-forward": "#CCE3F0"}  # every attention is orange


def model_sketch():
    """``plots.Picture`` of the pre-norm encoder-decoder, tokens at the bottom, logits at the top."""
    figure, axes = plots.new_figure(7.4, 6.6)
    axes.set(xlim=(0, 10), ylim=(-0.4, 12.5))
    axes.axis("off")
    top = _column(axes, 2.2, "source tokens", _ENCODER)
    _column(axes, 7.4, "target so far", _DECODER, ("logits: matrix with bias",))
    axes.plot([2.2, 2.2, 4.75, 4.75], [top, top + 0.7, top + 0.7, 6], color="black", linewidth=1.5, linestyle="-")
    _arrow(axes, (4.75, 6), (6.55, 6))
    axes.text(4.75, top + 0.85, "memory: keys and values", ha="right", fontsize=10)
    words = (
        "The whole model. Encoder, from below: source tokens; embedding plus positions; L blocks of "
        f"{_told(_ENCODER)}; a last norm. Decoder: target so far; embedding plus positions; L blocks of "
        f"{_told(_DECODER)}; a last norm; logits. Around each norm and its part a path leads straight to the sum. The "
        "encoder's output goes into the cross-attention of every decoder block as keys and values."
    )
    return plots.Picture(plots.png(figure, level=6), words)


def _told(parts):
    return ", ".join(f"{', '.join(part)}, sum" for part in parts)


def _column(axes, x, tokens, parts, ends=()):
    """One stack around ``x``, a row for each box; returns the height of its top."""
    axes.text(x, 0, tokens, ha="center", va="center", fontsize=11)
    _box(axes, x, 1, "embedding + positions")
    row = 2
    for part in parts:
        for name in part:
            _box(axes, x, row, name)
            row += 1
        _sum(axes, x, row, len(part))
        row += 1
    axes.add_patch(_frame(x, 1.58, row - 0.62))
    axes.text(x + 1.95, (row + 1) / 2, "block, L times", rotation=270, ha="center", va="center", fontsize=10)
    for name in ("norm", *ends):
        _box(axes, x, row, name)
        row += 1
    return row - 0.74


def _box(axes, x, row, words):
    """A box, and the arrow that leads into it from below."""
    shade = "white" if "embedding" in words or "logits" in words else _SHADE.get(words, "#F7DDCB")
    frame = {"boxstyle": "round,pad=0.35", "facecolor": shade, "edgecolor": "black", "linewidth": 0.8}
    _arrow(axes, (x, row - 0.74), (x, row - 0.27))
    axes.text(x, row, words, ha="center", va="center", fontsize=10, bbox=frame, zorder=3)


def _sum(axes, x, row, height):
    """A plus sign, and the path around the ``height`` boxes below it."""
    _arrow(axes, (x, row - 0.74), (x, row - 0.25))
    axes.text(x, row, "+", ha="center", va="center", fontsize=12, zorder=3)
    axes.plot(x, row, "o", markersize=16, markerfacecolor="white", markeredgecolor="black", zorder=2)
    below = row - height - 0.52
    axes.plot([x, x + 1.6, x + 1.6], [below, below, row], color=plots.PALETTE[0], linewidth=1.5, linestyle="-")
    _arrow(axes, (x + 1.6, row), (x + 0.17, row), plots.PALETTE[0])


def _frame(x, bottom, top):
    from matplotlib.patches import FancyBboxPatch

    style = {"boxstyle": "round,pad=0.05", "facecolor": "none", "edgecolor": "grey", "linestyle": "--"}
    return FancyBboxPatch((x - 1.72, bottom - 0.2), 3.44, top - bottom + 0.3, **style)


def _arrow(axes, start, end, colour="black"):
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=style)
