"""Pictures of chapter 07: what a stack of convolutions sees, the gate, mu-law by ear, and music to play and to read.

The music panel takes the function that writes the music, so that a model, a data set or a test can stand behind it.
Taught in chapters/07_wavenet.
"""

from functools import lru_cache

import numpy as np

from aigc_course import plots
from aigc_course.audio import Clip, music_clip, quantised, signal_to_noise
from aigc_course.plots import Markup, Picture, refusal_or
from aigc_course.sampling import Sampler
from aigc_course.score import bar_length, marks, piano_roll, score

NARROWEST = 24  # steps that the tree shows at least
TEMPO = 120  # quarter notes a minute in the panels: four bars of 4/4 fit into a clip
_BLUE, _ORANGE, _GREY = plots.PALETTE[0], plots.PALETTE[1], "#c8c8c8"


# What a stack sees


def tree(num_layers, kernel_size=2, dilated=True, causal=True):
    """The steps of every layer from which the last layer's step 0 follows.

    Args:
        dilated: dilations 1, 2, 4, ...; else all 1.
        causal: the kernel ends at its own step; else it lies about it as with ``padding="same"``.

    Returns:
        (active, edges): ``active`` has one set of steps for the input and for each layer, 0 being the step that is
        predicted from and positive ones its future; ``edges`` are pairs ((step, layer below), (step, layer)).
    """
    if num_layers < 1 or kernel_size < 1:
        raise ValueError(f"A stack has a layer and a kernel of at least one, not {num_layers} and {kernel_size}.")
    active, edges = [{0}], []
    for layer in range(num_layers, 0, -1):
        dilation = 2 ** (layer - 1) if dilated else 1
        reach = (kernel_size - 1) * dilation
        left = reach if causal else reach // 2
        taps = [tap * dilation - left for tap in range(kernel_size)]
        edges += [((step + tap, layer - 1), (step, layer)) for step in active[0] for tap in taps]
        active.insert(0, {step + tap for step in active[0] for tap in taps})
    return active, edges


def tree_words(num_layers, kernel_size=2, dilated=True, causal=True):
    """What the tree shows, in a sentence; also the ``alt`` of its panel."""
    inputs = tree(num_layers, kernel_size, dilated, causal)[0][0]
    dilations = ", ".join(str(2**layer if dilated else 1) for layer in range(num_layers))
    future = sum(step > 0 for step in inputs)
    layers = f"{num_layers} layers" if num_layers > 1 else "1 layer"
    dilations = f"dilations {dilations}" if num_layers > 1 else f"dilation {dilations}"
    steps = f"{len(inputs)} steps" if len(inputs) > 1 else "1 step"
    warning = f", {future} of them in its future" if future else ""
    return f"{layers}, kernel {kernel_size}, {dilations}: an output sees {steps}{warning}"


def receptive_tree(num_layers, kernel_size=2, dilated=True, causal=True):
    """``plots.Picture`` of the tree: blue what step 0 of the last layer sees, orange what it should not see."""
    from matplotlib.collections import LineCollection

    active, edges = tree(num_layers, kernel_size, dilated, causal)
    first, last = min(min(active[0]) - 1, 1 - NARROWEST), max(max(active[0]) + 1, 2)
    figure, axes = plots.new_figure(8.4, 1.5 + 0.55 * num_layers, layout=None)
    figure.subplots_adjust(left=0.11, right=0.99, bottom=0.55 / (1.5 + 0.55 * num_layers), top=0.86)
    size = min(90, 9_000 / (last - first) ** 1.3)
    grid = np.array([(step, layer) for layer in range(num_layers + 1) for step in range(first, last + 1)])
    axes.scatter(*grid.T, s=size, facecolor="white", edgecolor=_GREY, linewidth=0.8, zorder=2)
    colours = [_ORANGE if below[0] > 0 or above[0] > 0 else _BLUE for below, above in edges]
    axes.add_collection(LineCollection(edges, colors=colours, linewidth=1.0, zorder=1))
    for colour, marker, chosen in ((_BLUE, "o", lambda step: step <= 0), (_ORANGE, "D", lambda step: step > 0)):
        seen = [(step, layer) for layer, steps in enumerate(active) for step in steps if chosen(step)]
        if seen:
            axes.scatter(*np.array(seen).T, s=size, color=colour, marker=marker, zorder=3)
    axes.axvline(0.5, color="black", linewidth=1, linestyle=":")
    names = ["input", *(f"layer {layer}" for layer in range(1, num_layers + 1))]
    axes.set_yticks(range(num_layers + 1), names)
    axes.set(xlim=(first - 0.7, last + 0.7), ylim=(-0.5, num_layers + 0.5), xlabel="steps from the present one")
    axes.grid(False)
    words = tree_words(num_layers, kernel_size, dilated, causal)
    axes.set_title(words, fontsize=12)
    return Picture(plots.png(figure, level=1), f"{words}.")


# The gate


def gate_curves(filter_weight=1.0, gate_weight=1.0, gate_bias=0.0):
    """``plots.Picture`` of ``tanh(w x)``, ``sigmoid(v x + b)`` and their product over x: the unit of WaveNet (eq. 2).

    Args:
        filter_weight, gate_weight: w and v.
        gate_bias: b, where a condition enters (section 2.5): a large negative one shuts the gate, a large positive one
            opens it.
    """
    x, filters, gates = _gate(filter_weight, gate_weight, gate_bias)
    lines = {"tanh: what is said": (x, filters), "sigmoid: how loud": (x, gates), "product": (x, filters * gates)}
    figure, axes = plots.new_figure(6.4, 3.4, layout=None)
    plots.add_curves(axes, lines, "input x", "", "Gated unit")
    axes.set(ylim=(-1.08, 1.08))
    axes.legend(loc="upper left", frameon=True, framealpha=0.7, edgecolor="none")
    return Picture(plots.png(figure, level=1), gate_words(filter_weight, gate_weight, gate_bias))


def gate_words(filter_weight=1.0, gate_weight=1.0, gate_bias=0.0):
    """What the curves show, in a sentence; also the ``alt`` of their panel."""
    _, filters, gates = _gate(filter_weight, gate_weight, gate_bias)
    product = filters * gates
    ends = f"the gate runs from {gates[0]:.2f} to {gates[-1]:.2f}, the product from {product.min():.2f}"
    return f"Gated unit over x from -4 to 4: {ends} to {product.max():.2f}."


def _gate(filter_weight, gate_weight, gate_bias):  # -> x [X], tanh [X], sigmoid [X]
    x = np.linspace(-4, 4, 161)
    return x, np.tanh(filter_weight * x), 1 / (1 + np.exp(-(gate_weight * x + gate_bias)))


# Levels


def mu_law_panel(clip, milliseconds=12):
    """``draw(levels, law, loudness)``: the clip through that many levels, to hear, and a piece to see.

    Args:
        clip: ``audio.Clip``, a few seconds.
        milliseconds: of the wave that are drawn, about its loudest sample.

    With a ``loudness`` below 1 the clip is sent that much quieter, and made as loud as before for the listener.
    """

    def draw(levels, law="mu-law", loudness=1.0):
        coarse = (quantised(loudness * clip.samples, levels, law) / loudness).clip(-1, 1)
        decibels = signal_to_noise(clip.samples, coarse)
        quieter = f", sent at {loudness:g} of its loudness" if loudness != 1 else ""
        words = f"{clip.label}{quieter}, {levels} levels ({law}), {decibels:.1f} dB of signal to noise"
        player = Clip(coarse, clip.sample_rate, words)
        picture = _levels_picture(clip, coarse, levels, law, milliseconds)
        return Markup(player.html() + picture.html(), f"{words}.", "group")

    return draw


def _levels_picture(clip, coarse, levels, law, milliseconds):
    figure, (left, right) = plots.new_figure(8.4, 3.0, columns=2, layout=None, gridspec_kw={"width_ratios": (1, 2)})
    figure.subplots_adjust(left=0.085, right=0.99, bottom=0.18, top=0.89, wspace=0.22)
    x = np.linspace(-1, 1, 801)
    left.plot(x, quantised(x, levels, law), color=_ORANGE, linestyle="-", linewidth=1.5)
    left.plot(x, x, color=_GREY, linestyle="-", linewidth=1, zorder=1)
    left.set(xlabel="sample", ylabel="what is left of it", title=f"{levels} levels, {law}")
    left.set(xticks=(-1, 0, 1), yticks=(-1, 0, 1))
    length = min(max(2, round(milliseconds / 1000 * clip.sample_rate)), len(clip.samples))
    middle = int(np.abs(clip.samples).argmax())
    begin = min(max(0, middle - length // 2), len(clip.samples) - length)
    time = np.arange(length) / clip.sample_rate * 1000
    right.plot(time, clip.samples[begin : begin + length], color=_BLUE, linestyle="-", label="as it was")
    right.step(time, coarse[begin : begin + length], color=_ORANGE, linestyle="-", where="mid", label="as it is sent")
    right.set(xlabel="milliseconds", title=f"{milliseconds:g} ms of it", ylim=(-1.45, 1.08), yticks=(-1, 0, 1))
    right.legend(loc="lower right", frameon=True, framealpha=0.7, edgecolor="none", ncols=2)
    return Picture(
        plots.png(figure, level=1), f"Curve of {levels} levels ({law}), and {milliseconds:g} ms of the wave."
    )


def level_distribution(probabilities, actual=None, title="Next sample"):
    """``plots.Picture``: a probability for each level, with its mean, which a regression would have answered.

    Args:
        probabilities: [V], they sum to 1.
        actual: id of the level that came, or None.
    """
    shares = np.asarray(probabilities, "float64")
    if shares.ndim != 1 or not len(shares) or (shares < 0).any() or abs(shares.sum() - 1) > 1e-3:
        raise ValueError("Probabilities are one number for each level, none negative, and sum to 1.")
    ids = np.arange(len(shares))
    mean, likely = float(ids @ shares), int(shares.argmax())
    figure, axes = plots.new_figure(6.4, 3.2)
    edges = np.append(ids, len(ids)) - 0.5
    axes.stairs(shares, edges, fill=True, color=_BLUE, label="probability of a level")
    axes.axvline(mean, color=_ORANGE, linestyle="--", label="their mean")
    if actual is not None:
        axes.plot(
            [actual], [0], marker="^", markersize=11, color="black", linestyle="none", clip_on=False, label="came"
        )
    axes.set(xlabel="level", ylabel="probability", title=title, xlim=(-1, len(shares)))
    axes.set_ylim(0, 1.25 * shares.max())
    axes.legend(loc="upper center", ncols=3, frameon=True, framealpha=0.7, edgecolor="none")
    came = "" if actual is None else f" Level {actual} came, of probability {shares[actual]:.3f}."
    words = f"{title}. Most probable is level {likely} with {shares[likely]:.3f}; the mean is level {mean:.1f}, "
    return Picture(plots.png(figure, level=6), f"{words}of probability {shares[round(mean)]:.3f}.{came}")


def belief_panel(shares, ids):
    """``draw(place)``: what was expected of one sample, and what came.

    Args:
        shares: [T, V] probabilities of all levels for every sample, as a ``WaveNet`` gives them.
        ids: [T] levels of the samples.
    """
    return lambda place: level_distribution(shares[place], int(ids[place]), f"Sample {place}")


# Music


def music_panel(generate, tempo=TEMPO, label="Chorale"):
    """``draw(soprano, view, **others)`` for ``widgets.explore``: music to play and to see.

    Args:
        generate: called as ``generate(keep_soprano=, **others)``; it returns the music as an object with ``pitches``
            [S, 4], ``starts`` [S, 4] and, if it has them, ``beats``, ``meter``, ``fermatas``, ``tonic``, ``mode``,
            ``title`` (a ``Chorale``), or as a pair (pitches, starts). It raises ``CourseError`` for what it cannot do.
            Its last answers are kept, so that another view does not write again.
        tempo: quarter notes a minute; the player holds eight seconds.
        label: what stands above the player.
    """
    written = lru_cache(maxsize=32)(generate)

    def draw(soprano=True, view="piano roll", **others):
        music = written(keep_soprano=bool(soprano), **others)
        return music_view(music, view, ("soprano",) if soprano else (), tempo, label)

    return lambda **values: refusal_or(lambda: draw(**values))


def harmony_panel(writer, plans, tempo=TEMPO, label="Written just now"):
    """``draw(tune, temperature, seed, soprano, bars, view)``: a ``ChoraleWriter`` at work on the opening of a chorale.

    Args:
        writer: the ``ChoraleWriter``.
        plans: the chorales that ``tune`` chooses from.
        tempo, label: as for ``music_panel``.
    """

    def generate(tune, temperature, seed, keep_soprano, bars):
        plan = plans[tune]
        return writer.write(plan.crop(0, bars * bar_length(plan.meter)), Sampler(temperature), seed, keep_soprano)

    return music_panel(generate, tempo, label)


def morph_panel(melodist, first, second, tempo=TEMPO):
    """``draw(share)``: the melody that lies at this share of the way from the code of one melody to that of another.

    Args:
        melodist: the ``VAE`` of ``melody_vae.build_melody_vae``, trained.
        first, second: melodies, tokens [S] each.
        tempo: quarter notes a minute.
    """
    from aigc_course import melody_vae

    ends = melodist.encode(melody_vae.one_hot(np.stack([first, second])))[0]

    def draw(share):
        decoded = melodist.decode(((1 - share) * ends[0] + share * ends[1])[None])
        notes = melody_vae.to_notes(melody_vae.most_probable(decoded)[0])
        return music_view(notes, tempo=tempo, label=f"{share:.0%} of the way")

    return draw


def music_view(music, view="piano roll", given=(), tempo=TEMPO, label="Chorale"):
    """``plots.Markup``: a player above a piano roll, or above the score with ``view="score"``.

    Args:
        music: an object as ``music_panel`` says, or a pair (pitches, starts).
        given: names of the voices that were given.
    """
    if view not in ("piano roll", "score"):
        raise ValueError(f'The view is "piano roll" or "score", not {view!r}.')
    pitches, starts = music if isinstance(music, tuple) else (music.pitches, music.starts)
    known = {} if isinstance(music, tuple) else marks(music)
    written = f", {', '.join(given)} given" if given else ""
    player = music_clip(pitches, starts, tempo, label=f"{label}{written}")
    if view == "piano roll":
        places = {name: known[name] for name in ("beats", "meter") if name in known}
        picture = piano_roll(pitches, starts, given=given, level=1, **places)
    else:
        picture = refusal_or(lambda: score(pitches, starts, **known))
    return Markup(player.html() + picture.html(), f"{player.alt}. {picture.alt}", "group")
