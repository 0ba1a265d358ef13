"""Pictures of chapter 10: poems with reading and meaning, distributions before and after cutting, tokens, the clock.

A ``writer`` is a ``poet.Poet``. Nearly all return ``plots.Markup``, since Chinese characters need the browser's fonts:
inline styles, translucent colours, and each colour beside its number or its words. Taught in chapters/10_gpt2.

A panel with top-k and top-p keeps both always at work: one kind of sampler, so that moving a slider compiles nothing.
"""

import time
from html import escape

import ipywidgets
import numpy as np

from aigc_course import plots
from aigc_course.datasets import poems
from aigc_course.plots import BLUE, GREEN, GREY, ORANGE, TEXT, Markup, note, refusal_or, sentence, tint
from aigc_course.poet import AS_IT_IS, CALM, CONTEXT
from aigc_course.runtime import CourseError
from aigc_course.sampling import Sampler

COOLEST, WIDEST = 0.01, 0.999  # temperature and top-p at which a sampler still draws and still cuts
SHOWN = 12  # bars of a distribution
FORM_CHOICE = {"four lines of 5": "5x4", "four lines of 7": "7x4", "eight lines of 5": "5x8", "eight lines of 7": "7x8"}
_COLOURS = (BLUE, ORANGE, GREEN, (204, 121, 167), (230, 159, 0))
_SMALL = f"{plots.SMALL};line-height:14px"


# Parts


def _ground(colour, share):
    """Translucent CSS colour, the stronger the larger ``share`` in [0, 1]."""
    return tint(colour, share, 0.08, 0.8)


def _chinese(text, size=22):
    return f'<span lang="zh" style="font-size:{size}px;line-height:{size + 8}px">{escape(text)}</span>'


# Poems


def poem_view(text, given="", heads=False, title=""):
    """A poem, line by line: each character with its reading and its meaning below.

    Args:
        text: with stops; it may break its form.
        given: the beginning that was asked for; its characters stand on blue, and so does the first of every line with
            ``heads``.
    """
    lines, place = [], 0
    for line in _lines(text):
        blue = [place + k < len(given) or (heads and k == 0) for k in range(len(line))]
        lines.append([_meaning_cell(c, stop, b) for (c, stop), b in zip(_with_stops(line), blue, strict=False)])
        place += len(line)
    return _page(lines, text, title)


def confidence_view(text, probabilities, title=""):
    """A poem with the probability of every character below it; the less probable, the more orange.

    Args:
        probabilities: one for each character of ``text``, stops included.
    """
    probabilities = np.asarray(probabilities, "float64").reshape(-1)
    if len(probabilities) != len(text):
        raise ValueError(f"There are {len(probabilities)} probabilities for {len(text)} characters.")
    lines, place = [], 0
    for line in _lines(text):
        shares = probabilities[place : place + len(line)]
        lines.append([_share_cell(character, share) for character, share in zip(line, shares, strict=True)])
        place += len(line)
    page = _page(lines, text, title)
    if len(text):
        least = int(probabilities.argmin())
        page.alt += f" Least expected: {text[least]}, {probabilities[least]:.3f}."
    return page


def poems_list(texts, title="Poems"):
    """Poems one below the other, each line with its pinyin and the meanings of its characters."""
    texts = list(texts)
    items = "".join(f'<li style="padding:4px 0">{"".join(map(_line_block, _lines(text)))}</li>' for text in texts)
    body = f'<div style="{TEXT};font-weight:bold">{escape(title)}</div><ol style="{TEXT}">{items}</ol>'
    return Markup(body, f"{title}: {len(texts)} poem{'s' * (len(texts) != 1)} with pinyin and meanings.", "group")


def _line_block(line):
    words = " · ".join(poems.gloss(c) or "?" for c in line if c not in poems.STOPS)
    return (
        f"<div>{_chinese(line, 18)} <i>{escape(poems.pinyin(line))}</i>"
        f'<div style="{_SMALL};padding-bottom:3px">{escape(words)}</div></div>'
    )


def _lines(text):
    """The lines of a text with their stops."""
    lines = [""]
    for character in text:
        lines[-1] += character
        if character in poems.STOPS:
            lines.append("")
    return [line for line in lines if line]


def _with_stops(line):
    """Pairs of a character and the stop behind it, if any; a stop that follows nothing stands alone."""
    pairs = []
    for character in line:
        if character in poems.STOPS and pairs:
            pairs[-1] = (pairs[-1][0], character)
        else:
            pairs.append((character, ""))
    return pairs


def _meaning_cell(character, stop, blue):
    ground = f"background:{_ground(BLUE, 0.3)};" if blue else ""
    reading, meaning = (poems.readings(character) or ("",))[0], poems.gloss(character)
    return (
        f'<div style="width:84px;text-align:center;border-radius:4px;{ground}">{_chinese(character + stop)}'
        f'<div style="font-size:12px;line-height:16px">{escape(reading) or "&nbsp;"}</div>'
        f'<div style="{_SMALL};overflow-wrap:anywhere;min-height:28px">{escape(meaning) or "&nbsp;"}</div></div>'
    )


def _share_cell(character, share):
    ground = f"background:{_ground(ORANGE, 1 - share)};border-radius:3px;padding:0 4px;min-width:28px"
    return (
        f'<div style="text-align:center;min-width:36px"><div style="{ground}">{_chinese(character)}</div>'
        f'<div style="{_SMALL}">{share:.3f}</div></div>'
    )


def _page(lines, text, title):
    rows = "".join(
        f'<div style="display:flex;flex-wrap:wrap;gap:3px;padding:2px 0">{"".join(row)}</div>' for row in lines
    )
    head = note(title) if title else ""
    if not text:
        return Markup(head + note("Nothing was written."), f"{title} Nothing was written.".strip())
    return Markup(head + rows, f"{title} The text “{text}”, read {poems.pinyin(text)}".strip())


# Distributions


def choices_bars(before, after, title=""):
    """The most probable tokens as pairs of bars: grey what the model says, blue what is drawn from.

    Args:
        before: pairs (token, probability), best first; the first twelve are drawn.
        after: dict from token to probability; 0 or missing is cut.
    """
    before = list(before)
    rest = sum(share for _, share in before[SHOWN:]), sum(after.get(token, 0) for token, _ in before[SHOWN:])
    rows = "".join(_choice_row(token, share, after.get(token, 0.0)) for token, share in before[:SHOWN])
    rows += _bar_row(f"{len(before) - SHOWN:,} others", *rest) if len(before) > SHOWN else ""
    style = f"display:grid;grid-template-columns:max-content 280px max-content;column-gap:8px;row-gap:3px;{TEXT}"
    said = ", ".join(f"{token} {share:.3f} becomes {after.get(token, 0):.3f}" for token, share in before[:SHOWN])
    key = note("grey: what the model says · blue: what is drawn from")
    return Markup(f'{note(title, "")}<div style="{style}">{rows}</div>{key}', f"{title}. {said}.".lstrip(". "))


def _choice_row(token, share, drawn):
    cut = "" if drawn else ";opacity:.45"
    words = escape(" ".join(filter(None, [(poems.readings(token) or ("",))[0], poems.gloss(token)])))
    return _bar_row(
        f'<span style="{_SMALL}{cut}">{words}</span> <span style="{cut[1:]}">{_chinese(token, 18)}</span>', share, drawn
    )


def _bar_row(name, share, drawn):
    bars = "".join(
        f'<div style="width:{100 * min(max(float(value), 0.0), 1.0):.1f}%;min-width:1px;height:{height}px;'
        f'background:{tint(colour, 1, strongest=0.85)}"></div>'
        for value, height, colour in ((share, 6, GREY), (drawn, 12, BLUE))
    )
    number = f"{drawn:.3f}" if drawn else "cut"
    return (
        f'<div style="text-align:right">{name}</div><div style="padding-top:3px">{bars}</div>'
        f"<div>{share:.3f} → {number}</div>"
    )


# Tokens


def token_tiles(pieces, title=""):
    """Tokens as tiles of changing colour.

    Args:
        pieces: bytes of each token; what is no whole character is written in hexadecimal.
    """
    pieces = list(map(_readable, pieces))
    tiles = "".join(
        f'<span style="background:{_ground(_COLOURS[k % len(_COLOURS)], 0.35)};border-radius:3px;padding:1px 3px;'
        f'white-space:pre-wrap">{escape(piece)}</span>'
        for k, piece in enumerate(pieces)
    )
    body = f'{note(title, "")}<div style="display:flex;flex-wrap:wrap;gap:2px;{TEXT};font-size:16px">{tiles}</div>'
    return Markup(body, f"{title} Tokens: {' | '.join(pieces)}".strip())


def _readable(piece):
    try:
        return piece.decode("utf-8").replace(" ", "␣").replace("\n", "⏎")
    except UnicodeDecodeError:
        return " ".join(f"{byte:02x}" for byte in piece)


# Numbers


def copied_runs(lengths, title="Longest run that stands in a training poem"):
    """``plots.Picture``: share of poems by the length of their longest copied run, one curve for each set.

    Args:
        lengths: dict from the name of a set to the lengths of its poems' runs.

    Raises:
        ValueError: no set, or one without a poem.
    """
    if not lengths or not all(map(len, lengths.values())):
        raise ValueError("There is no run to draw: one set at least, each with one poem at least.")
    from matplotlib.ticker import MaxNLocator

    longest = max(max(runs) for runs in lengths.values())
    x = np.arange(1, longest + 1)
    lines = {name: (x, np.bincount(runs, minlength=longest + 1)[1:] / len(runs)) for name, runs in lengths.items()}
    figure, axes = plots.new_figure(6.4, 3.4)
    for (name, (_, shares)), marker in zip(lines.items(), "osD^v", strict=False):
        axes.plot(x, shares, label=name, marker=marker)
    axes.set(xlabel="characters in the run", ylabel="share of poems", title=title)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.legend(frameon=True, framealpha=0.7, edgecolor="none")
    words = plots.describe_curves(lines, "characters in the run", "share of poems", title)
    return plots.Picture(plots.png(figure, level=6), words)


def text_figure(text, title="", lines=14, width=44):
    """A Matplotlib figure with English text in it, for the live picture of a training."""
    figure, axes = plots.new_figure(5.0, 3.4, layout=None)
    axes.axis("off")
    shown = [row[k : k + width] for row in text.split("\n") for k in range(0, max(len(row), 1), width)][:lines]
    style = {"family": "monospace", "fontsize": 9, "va": "top", "parse_math": False}
    figure.text(0.02, 0.9, "\n".join(shown), **style)
    figure.text(0.02, 0.95, title, fontsize=11)
    return figure


# Sliders


def poem_panel(writer):
    """``draw(form, prompt, show, temperature, top_k, top_p, seed)`` for ``widgets.explore``: one poem.

    ``show`` is "meaning" (pinyin and meanings) or "confidence" (the probability that the model gave each character, at
    temperature 1 and with nothing cut).
    """

    def draw(form, prompt="", show="meaning", temperature=0.8, top_k=4000, top_p=WIDEST, seed=0):
        text = writer.write(form, prompt, sampler=always_cutting(temperature, top_k, top_p), seed=seed)[0]
        if show == "meaning":
            return poem_view(text, given=prompt)
        return confidence_view(text, character_probabilities(writer, text, form))

    return lambda **values: refusal_or(lambda: draw(**values))


def acrostic_panel(writer):
    """``draw(heads, temperature, seed)`` for ``widgets.explore``: a poem whose lines begin with ``heads``."""

    def draw(heads, temperature=0.8, seed=0):
        if len(heads) not in (4, 8):
            return Markup(note("Type four or eight characters."), "No poem: four or eight characters are needed.")
        sampler = Sampler(max(float(temperature), COOLEST))
        return poem_view(writer.acrostic(heads, sampler=sampler, seed=seed), heads=True)

    return lambda **values: refusal_or(lambda: draw(**values))


def choices_panel(writer):
    """``draw(prompt, form, temperature, top_k, top_p, penalty)`` for ``widgets.explore``: what may come next."""

    def draw(prompt, form="5x4", temperature=1.0, top_k=4000, top_p=1.0, penalty=1.0):
        sampler = Sampler(temperature, min(top_k, len(writer.vocabulary)), top_p, penalty)
        logits = writer.next_logits(prompt, form)
        before = possible(writer.ranked(*logits, AS_IT_IS, len(writer.vocabulary)))
        after = dict(possible(writer.ranked(*logits, sampler, len(writer.vocabulary))))
        words = f"After “{prompt}”, {len(after):,} of {len(before):,} tokens are left"
        return choices_bars(before, after, words)

    return lambda **values: refusal_or(lambda: draw(**values))


def english_panel(model, vocabulary, length=160):
    """``draw(prompt, temperature, top_k, seed)`` for ``widgets.explore``: English text by a model of characters."""

    def draw(prompt, temperature=0.8, top_k=100, seed=0):
        text = go_on(model, vocabulary, prompt, length, always_cutting(temperature, top_k, WIDEST), seed)
        start = f"<b>{escape(text[: len(prompt)])}</b>"
        style = f"{TEXT};font-family:monospace;white-space:pre-wrap;min-height:120px"
        return Markup(f'<div style="{style}">{start}{escape(text[len(prompt) :])}</div>', f"The text “{text}”.")

    return draw


def go_on(model, vocabulary, prompt, length, sampler, seed=0):
    """``prompt`` and ``length`` characters more, drawn by a ``GPT2`` of characters; "" begins with a line end."""
    row = vocabulary.encode([prompt or "\n"])[0]
    special = range(len(vocabulary) - len(vocabulary.get_config()["tokens"]))
    ids = model.generate([row], length, sampler, seed, forbidden=tuple(special))[0]
    return (prompt or "\n") + "".join(vocabulary.tokens[number] for number in ids[len(row) :])


def tokens_panel(tokeniser):
    """``draw(text, merges)`` for ``widgets.explore``: ``text`` cut by the first ``merges`` merges of a tokeniser."""

    def draw(text, merges):
        shorter = with_merges(tokeniser, merges)
        pieces = [shorter.to_bytes([number]) for number in shorter.encode(text)]
        title = f"{len(text)} characters, {len(text.encode('utf-8', 'replace'))} bytes, {len(pieces)} tokens"
        return token_tiles(pieces, title)

    return lambda **values: refusal_or(lambda: draw(**values))


def with_merges(tokeniser, count):
    """The tokeniser that had stopped learning after ``count`` merges."""
    merges = tokeniser.merges[:count]
    made = dict.fromkeys(left + right for left, right in merges)
    return type(tokeniser)([*tokeniser.tokens[:256], *made], merges)


def always_cutting(temperature, top_k, top_p):
    """A ``Sampler`` of the one kind that the panels use, whatever the numbers."""
    return Sampler(max(float(temperature), COOLEST), max(int(top_k), 1), min(max(float(top_p), COOLEST), WIDEST))


def possible(choices):
    """The pairs (token, probability) whose probability is not 0."""
    return [(token, share) for token, share in choices if share > 0]


def character_probabilities(writer, text, form):
    """The probability of every character of ``text`` given those before it, stops included; a list."""
    row = writer.vocabulary.encode([poems.marked(text, form)], start=True, end=True)[0][:CONTEXT]
    padded = np.zeros((1, CONTEXT), "int32")
    padded[0, : len(row)] = row
    marks = len(poems.marked("", form))
    return np.exp(writer.model.log_probabilities(padded)[0, marks : marks + len(text)]).tolist()


# Text that streams


class StreamBox(ipywidgets.VBox):
    """Writes one poem before the reader's eyes, with a clock; a button writes the next.

    Args:
        writer: ``poet.Poet``.
        prompt, form, seed: of the first poem.
        pause: seconds to wait after every character, for the eye; the clock does not count them.

    ``picture``: the ``plots.Markup`` on show.   ``seconds``: what the clock showed last.
    """

    def __init__(self, writer, prompt="", form="7x4", seed=0, pause=0.04):
        self._writer, self._pause, self._ready, self.seconds = writer, pause, set(), 0.0
        self.prompt = ipywidgets.Text(value=prompt, description="beginning")
        self.form = ipywidgets.Dropdown(options=list(FORM_CHOICE.items()), value=form, description="form")
        self.seed = ipywidgets.BoundedIntText(value=seed, min=0, max=9999, description="seed")
        self.cached = ipywidgets.Checkbox(value=True, description="cache")
        self.button = ipywidgets.Button(description="Write", tooltip="Write this poem, character by character")
        self.button.on_click(lambda _: self.write())
        self._page = ipywidgets.HTML()
        super().__init__([self.prompt, self.form, self.seed, self.cached, self.button, self._page])
        self.write()

    def write(self):
        """Stream the poem that the controls ask for into the page."""
        try:
            way = self.cached.value, len(self.prompt.value)  # a beginning of another length is read by other code
            if way not in self._ready:  # compiled first, so that the clock shows what writing takes
                self._show("", 0.0)
                list(self._steps())
                self._ready.add(way)
            self._write()
        except CourseError as error:
            self.picture = sentence(str(error))
            self._page.value = self.picture.html()

    def _steps(self):
        settings = {"seed": self.seed.value, "cached": self.cached.value}
        return self._writer.stream(self.form.value, self.prompt.value, CALM, **settings)

    def _write(self):
        self.seconds, start = 0.0, time.perf_counter()
        for text in self._steps():
            self.seconds += time.perf_counter() - start
            self._show(text, self.seconds)
            time.sleep(self._pause)
            start = time.perf_counter()

    def _show(self, text, seconds):
        self.picture = stream_view(text, seconds, self.cached.value)
        self._page.value = self.picture.html()

    def _repr_mimebundle_(self, **kwargs):
        """The widget, and beside it the poem for readers whose notebook has no kernel."""
        page, metadata = self.picture._repr_mimebundle_()
        page["text/plain"] = f"[box that writes a poem: {self.picture.alt}]"
        return super()._repr_mimebundle_(**kwargs) | page, metadata


def stream_view(text, seconds, cached):
    """The text so far, and the clock."""
    way = "with the cache" if cached else "without the cache"
    clock = f"{len(text)} characters, {1000 * seconds:.0f} ms {way}" if text else f"compiling, {way}"
    lines = "".join(f"<div>{_chinese(line)}</div>" for line in _lines(text))
    return Markup(f'<div style="min-height:130px">{lines}</div>{note(clock)}', f"“{text}”. {clock}.")
