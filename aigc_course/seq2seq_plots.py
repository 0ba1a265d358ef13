"""Pictures of chapter 06: attention maps, confidences, single steps of a decoder, tables of translations.

Shapes: S source tokens, T written tokens (the end sign ⊣ too), L lengths on an axis. Taught in chapters/06_seq2seq.

A ``translation`` is a ``seq2seq.Translation`` or anything with its fields: source_tokens [S], tokens [T],
probabilities [T], attention [T, S] or None, alternatives (T lists of (token, probability), best first).
All but ``accuracy_by_length`` return ``plots.Markup``, since Chinese characters need the browser's fonts. Colours are
translucent, so that they show on a light and on a dark page, and each stands beside its number or has it as a tooltip.
"""

import difflib
import unicodedata
from functools import lru_cache
from html import escape
from itertools import repeat

import numpy as np

from aigc_course import plots
from aigc_course.plots import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    TEXT,
    Markup,
    heading,
    note,
    percents,
    refusal_or,
    sentence,
    stack,
)

_SIGNS = {" ": "␣", "\u3000": "␣", "\xa0": "␣", "\t": "␣", "\n": "␣"}
_NAMES = {"␣": "space", "␀": "padding", "⊢": "start", "⊣": "end", "�": "unknown character"}
_SILENT = "␀⊢⊣"
_SMALL = f"{plots.SMALL};line-height:20px"
_CELL = "padding:3px 14px 3px 4px;text-align:left;font-size:14px;line-height:20px"


# Parts


def sign(token):
    """A token as it is shown: a space as ␣."""
    return _SIGNS.get(token, token)


def _tint(share, colour=BLUE, strongest=0.95):
    """Translucent CSS colour: faint grey for a share of 0, so that the place is seen, to ``colour`` for 1."""
    away = min(max(4 * float(share), 0.0), 1.0)
    mixed = (round(grey + (full - grey) * away) for full, grey in zip(colour, GREY, strict=True))
    return plots.tint(mixed, share, 0.1, strongest)


_SHADES = [(f'<i style="background:{_tint(k / 100)}" title="', f': {k / 100:.2f}"></i>') for k in range(101)]


def _width(token):
    """Pixels that a token needs in a column; characters as wide as high count twice."""
    units = sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in sign(token))
    return max(20, 8 * units + 4 + 6 * (len(token) > 1))


def _letter(token, style="text-align:center"):
    """A token; a sign that stands for something is fainter and says in a tooltip for what."""
    shown = sign(token)
    if shown in _NAMES:
        return f'<span style="{style};opacity:.55" title="{_NAMES[shown]}">{shown}</span>'
    return f'<span style="{style}">{escape(shown)}</span>'


def _grid(columns, cells):
    """A CSS grid of ``cells``, HTML in reading order; it scrolls sideways where it is too wide."""
    style = f"display:grid;grid-template-columns:{columns};grid-auto-rows:20px;gap:1px;white-space:nowrap;{TEXT}"
    return f'<div style="overflow-x:auto;padding:2px 0 6px 0"><div style="{style}">{cells}</div></div>'


def _columns(tokens):
    return " ".join(f"{_width(token)}px" for token in tokens)


def _shade(row, column, percent):
    """A cell of a map; the strings are ready, since a map has up to a thousand cells."""
    before, after = _SHADES[percent]
    return f"{before}{row} ← {column}{after}"


def _checked(translation):
    """source_tokens [S], tokens [T], probabilities [T], attention [T, S] or None; ValueError where lengths differ."""
    source, tokens = list(translation.source_tokens), list(translation.tokens)
    probabilities = np.asarray(translation.probabilities, "float64").reshape(-1)
    if len(probabilities) != len(tokens):
        raise ValueError(f"There are {len(probabilities)} probabilities for {len(tokens)} tokens.")
    if translation.attention is None:
        return source, tokens, probabilities, None
    attention = np.asarray(translation.attention, "float64")
    if attention.size and attention.shape != (len(tokens), len(source)):
        raise ValueError(f"The attention has shape {attention.shape}, not [T, S] = {(len(tokens), len(source))}.")
    return source, tokens, probabilities, attention.reshape(len(tokens), len(source))


def _spoken(tokens):
    """Tokens as a text, words with spaces between, without start, end and padding."""
    kept = [token for token in tokens if token not in _SILENT]
    return (" " if any(len(token) > 1 for token in kept) else "").join(kept)


def _name(token):
    return _NAMES.get(sign(token), token)


# One translation


def confidence_strip(translation, title=""):
    """The written characters, each with its probability below; the less probable, the more orange."""
    _, tokens, probabilities, _ = _checked(translation)
    if not tokens:
        return Markup(heading(title) + note("Nothing was written."), f"{title} Nothing was written.")
    least = int(probabilities.argmin())
    surest = f"least sure of {_name(tokens[least])}, {probabilities[least]:.2f}"
    tiles = "".join(map(_tile, tokens, probabilities))
    body = f'{heading(title)}<div style="display:flex;flex-wrap:wrap;gap:3px;padding:2px 0">{tiles}</div>'
    return Markup(body, f"{title} Written: “{_spoken(tokens)}”, {surest}.")


def _tile(token, probability):
    ground = f"background:{_tint(1 - probability, ORANGE, 0.8)};border-radius:3px;padding:0 4px;min-width:20px"
    letter = _letter(token, "font-size:20px;line-height:30px")
    number = f'<div style="{_SMALL}">{probability:.2f}</div>'
    return f'<div style="text-align:center"><div style="{ground}">{letter}</div>{number}</div>'


def attention_map(translation, title=""):
    """Where each written character looked: source characters in columns, written ones in rows, shade for weight.

    Each cell has its number as a tooltip; at the right stands the probability of the row's character. A translation
    without attention gets a sentence instead.
    """
    source, tokens, probabilities, attention = _checked(translation)
    if attention is None or not attention.size:
        words = "There is no attention to show: "
        words += "this model has none." if attention is None else "nothing was read or nothing was written."
        return Markup(heading(title) + note(words), f"{title} {words}")
    heads = [escape(sign(token)) for token in source]
    rows = "".join(map(_row, tokens, probabilities, percents(attention), repeat(heads)))
    head = f'<span></span>{"".join(map(_letter, source))}<span style="{_SMALL};text-align:right">sure</span>'
    grid = _grid(f"{max(map(_width, tokens))}px {_columns(source)} 42px", head + rows)
    strongest = attention.argmax(axis=1)
    looks = ", ".join(f"{_name(t)} at {_name(source[s])} ({s + 1})" for t, s in zip(tokens, strongest, strict=True))
    return Markup(
        heading(title) + grid + _LEGEND,
        f"{title} Attention from “{_spoken(tokens)}” to “{_spoken(source)}”. Each looks most at: {looks}.",
    )


def _row(token, probability, shares, heads):
    name = escape(sign(token))
    cells = "".join(map(_shade, repeat(name), heads, shares))
    sure = f"background:{_tint(1 - probability, ORANGE, 0.8)};font-size:11px;text-align:right;padding:0 4px"
    return f'{_letter(token)}{cells}<span style="{sure};margin-left:6px">{probability:.2f}</span>'


_LEGEND = (
    f'<div style="display:flex;gap:1px;padding:0 0 4px 0"><span style="{_SMALL}">weight 0&nbsp;</span>'
    + "".join(f'<i style="width:20px;height:12px;margin-top:4px;background:{_tint(k / 4)}"></i>' for k in range(5))
    + f'<span style="{_SMALL}">&nbsp;1 · point at a cell for its number</span></div>'
)


def translation_view(translation, title=""):
    """The written characters with their probabilities, and below them the attention map."""
    strip = confidence_strip(translation, title)
    return stack(strip, attention_map(translation)) if len(translation.tokens) else strip


def decoding_step(translation, step):
    """One step of the decoder: what is written so far, the best candidates for the next character, where it looks.

    ``step`` counts from 0; beyond the last one the last is shown.
    """
    source, tokens, _, attention = _checked(translation)
    if not tokens:
        return sentence("Nothing was written.")
    step = min(max(int(step), 0), len(tokens) - 1)
    candidates = list(translation.alternatives[step])[:5]
    parts = [_written(tokens, step), heading("Candidates"), _candidates(candidates, tokens[step])]
    parts += [heading("Attention"), _attention_row(source, None if attention is None else attention[step])]
    offers = ", ".join(f"{_name(token)} {share:.2f}" for token, share in candidates)
    alt = f"Step {step + 1} of {len(tokens)}. Written so far: “{_spoken(tokens[:step])}”. Candidates: {offers}. "
    return Markup("".join(parts), f"{alt}Taken: {_name(tokens[step])}.")


def _written(tokens, step):
    box = "min-width:20px;padding:0 4px;text-align:center;border-radius:3px;font-size:20px;line-height:30px"
    done = "".join(f'<div style="{box};background:{_tint(0)}">{_letter(token, "")}</div>' for token in tokens[:step])
    place = f'<div style="{box};border:2px dashed {plots.solid(BLUE)};line-height:26px">?</div>'
    count = f'<div style="{_SMALL};line-height:30px;padding-left:8px">step {step + 1} of {len(tokens)}</div>'
    return f'<div style="display:flex;flex-wrap:wrap;gap:3px;min-height:30px;padding:2px 0">{done}{place}{count}</div>'


def _candidates(candidates, taken):
    rows = [
        (_letter(token, ""), share, plots.solid(BLUE) if token == taken else _tint(0.35), "taken" * (token == taken))
        for token, share in candidates
    ]
    return _bars(rows + [("&nbsp;", None, "", "")] * (5 - len(rows)))


def _attention_row(source, weights):
    if weights is None:
        return note("This model has no attention.")
    if not source:
        return note("There is nothing to attend to.")
    shares = percents(weights)
    heads = [escape(sign(token)) for token in source]
    cells = "".join(map(_shade, repeat("weight"), heads, shares))
    numbers = "".join(
        f'<span style="{_SMALL};text-align:center">{f".{k:02d}" if 10 <= k < 100 else "1" if k >= 100 else ""}</span>'
        for k in shares
    )
    return _grid(_columns(source), "".join(map(_letter, source)) + cells + numbers)


def _bars(rows):
    """Bars with a name before and a number behind; ``rows`` hold (name as HTML, share or None, colour, remark)."""
    cells = []
    for name, share, colour, remark in rows:
        bar, number = "", ""
        if share is not None:
            wide = 100 * min(max(float(share), 0.0), 1.0)
            bar = f'<div style="width:{wide:.1f}%;min-width:2px;height:14px;margin-top:3px;background:{colour}"></div>'
            number = f"{share:.3f}"
        cells.append(f'<div style="text-align:right">{name}</div><div style="background:{_tint(0)}">{bar}</div>')
        cells.append(f'<div>{number} <span style="{_SMALL}">{remark}</span></div>')
    style = f"display:grid;grid-template-columns:max-content 260px max-content;column-gap:8px;row-gap:2px;{TEXT}"
    return f'<div style="{style}">{"".join(cells)}</div>'


# Several translations


def compare_attention(translations):
    """Attention maps one above the other; ``translations``: dict from a name to a translation."""
    return stack(*(attention_map(translation, name) for name, translation in translations.items()))


def translations_table(rows, title="Translations", columns=("source", "expected", "translated")):
    """Sources, what was expected and what was translated, with ✓ right or ✗ wrong; what differs is underlined.

    Args:
        rows: triples (source, expected, translated); or pairs (source, expected) followed by one text for each model.
        title: the table's caption.
        columns: the headings, as many as a row has entries.
    """
    rows = [tuple(map(str, row)) for row in rows]
    if wrong := next((row for row in rows if len(row) != len(columns)), None):
        raise ValueError(f"The row {wrong!r} has {len(wrong)} entries for {len(columns)} columns.")
    head = "".join(f'<th scope="col" style="{_CELL};font-weight:bold">{escape(name)}</th>' for name in columns)
    body = "".join(map(_table_row, rows))
    caption = f'<caption style="{TEXT};text-align:left;font-weight:bold;white-space:nowrap">{escape(title)}</caption>'
    table = f'<table style="border-collapse:collapse;margin:0">{caption}<thead><tr>{head}</tr></thead>'
    right = "; ".join(
        f"{name}: {sum(row[k] == row[1] for row in rows)} of {len(rows)} right"
        for k, name in enumerate(columns[2:], start=2)
    )
    return Markup(
        f'<div style="overflow-x:auto">{table}<tbody>{body}</tbody></table></div>', f"{title}. {right}.", "group"
    )


def _table_row(row):
    source, expected, *translated = row
    cells = [f'<th scope="row" style="{_CELL};font-weight:normal">{escape(source)}</th>']
    cells.append(f'<td style="{_CELL}">{escape(expected)}</td>')
    cells += [f'<td style="{_CELL}">{_marked(text, expected)}</td>' for text in translated]
    return f"<tr>{''.join(cells)}</tr>"


def _marked(text, expected):
    """``text`` after its mark, with what is not in ``expected`` underlined."""
    good = text == expected
    mark, word, colour = ("✓", "right", GREEN) if good else ("✗", "wrong", ORANGE)
    badge = f"background:{_tint(0.5, colour)};border-radius:3px;padding:0 5px;margin-right:6px"
    shown = escape(text) if good else _differences(text, expected) or '<span style="opacity:.55">(empty)</span>'
    return f'<span style="{badge}" title="{word}">{mark}</span>{shown}'


def _differences(text, expected):
    style = f"background:{_tint(0.35, ORANGE)};text-decoration:underline"
    parts = []
    for kind, _, _, start, end in difflib.SequenceMatcher(None, expected, text, autojunk=False).get_opcodes():
        part = escape("".join(map(sign, text[start:end])) if kind != "equal" else text[start:end])
        parts.append(part if kind == "equal" or not part else f'<span style="{style}">{part}</span>')
    return "".join(parts)


# Numbers


def weights_bars(labels, weights, title=""):
    """Weights in [0, 1] as bars, each with its label and its number."""
    labels, weights = list(map(str, labels)), np.asarray(weights, "float64").reshape(-1)
    if len(labels) != len(weights) or not labels:
        raise ValueError(f"There are {len(labels)} labels for {len(weights)} weights; one each, and at least one.")
    if not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError(f"The weights must lie in [0, 1], but these are {weights.tolist()}.")
    rows = [(_letter(label, ""), weight, plots.solid(BLUE), "") for label, weight in zip(labels, weights, strict=True)]
    said = ", ".join(f"{_name(label)} {weight:.3f}" for label, weight in zip(labels, weights, strict=True))
    return Markup(heading(title) + _bars(rows), f"{title or 'Weights'}: {said}.")


def accuracy_by_length(lengths, curves, errors=None, xlabel="source characters", ylabel="exact match", title=""):
    """``plots.Picture`` of shares in [0, 1] against length, one curve for each model.

    Args:
        lengths: [L] numbers, or names of groups such as "8-10".
        curves: dict from a model's name to its shares [L]; NaN where a group is empty.
        errors: dict from a model's name to standard errors [L], drawn as bars.
    """
    names = [str(length) for length in lengths]
    grouped = any(isinstance(length, str) for length in lengths)
    x = np.arange(len(names)) if grouped else np.asarray(lengths, "float64")
    lines = {name: (x, np.asarray(shares, "float64")) for name, shares in curves.items()}
    if wrong := [name for name, (_, shares) in lines.items() if shares.shape != x.shape]:
        raise ValueError(f"The curve {wrong[0]!r} needs one value for each of the {len(names)} lengths.")
    if not lines or not names:
        raise ValueError("There are no curves to draw.")
    figure, axes = plots.new_figure(6.4, 3.6)
    for (name, (_, shares)), marker in zip(lines.items(), "osD^vP*" * len(lines), strict=False):
        axes.errorbar(x, shares, (errors or {}).get(name), label=name, marker=marker, markersize=6, capsize=3)
    axes.set(xlabel=xlabel, ylabel=ylabel, title=title, ylim=(-0.03, 1.03))
    if grouped:
        axes.set_xticks(x, names)
    if len(lines) > 1:
        axes.legend(frameon=True, framealpha=0.7, edgecolor="none")
    words = title or f"{ylabel} from length {names[0]} to {names[-1]}"
    return plots.Picture(plots.png(figure, level=6), plots.describe_curves(lines, xlabel, ylabel, words))


# Sliders


def translation_panel(model):
    """``draw(text, **settings)`` for ``widgets.explore``: the translation of ``text`` with confidences and attention.

    ``settings`` go to ``model.translate_in_detail``: beam_width, temperature, seed, length_penalty. What the model
    refuses, such as a text that is too long, is said in words. With a temperature above 0 tokens are drawn, and the
    beam width is not used.
    """

    def draw(text, **settings):
        return refusal_or(lambda: translation_view(_translate(model, text, settings), _remark(settings)))

    return draw


def step_panel(model):
    """``draw(text, step, **settings)`` for ``widgets.explore``: step number ``step`` (from 1) of writing a translation.

    The last translations are kept, so that moving along the steps does not translate again.
    """

    @lru_cache(maxsize=32)
    def translated(text, settings):
        return _translate(model, text, dict(settings))

    def draw(text, step, **settings):
        return refusal_or(lambda: decoding_step(translated(text, tuple(sorted(settings.items()))), step - 1))

    return draw


def _translate(model, text, settings):
    settings = {**settings, "beam_width": 1} if _remark(settings) else settings
    return model.translate_in_detail([text], **settings)[0]


def _remark(settings):
    """What to say when a temperature and a beam are asked for at once: one draws, the other searches."""
    both = settings.get("temperature", 0) > 0 and settings.get("beam_width", 1) > 1
    return "Drawn with this temperature; the beam width is for temperature 0 only." if both else ""
