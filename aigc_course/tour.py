"""Pictures and small numbers of chapter 00: a walk in latent space, the map of families, the pipeline, a first score.

Shapes: N pictures, Z latent width, H W image side, F features a picture.   Taught in chapters/00_start_here.
Corrects A22, B10, B11, B14, B21, C35, D11, D27, E1, E9, E11: families and uses are two axes, and no family stands
under another.
"""

import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aigc_course.runtime import course_root

USES = ("text", "pictures", "sound", "video")


@dataclass(frozen=True)
class Family:
    """One way to learn a distribution; ``examples`` names a published model and its year for every use in ``USES``."""

    name: str
    idea: str
    colour: str
    examples: dict[str, str]
    chapters: dict[str, str]


FAMILIES = (
    Family(
        "autoregressive",
        "one piece after another, each from all before it",
        "#1f6f8b",
        {"text": "GPT-2, 2019", "pictures": "PixelRNN, 2016", "sound": "WaveNet, 2016", "video": "VPN, 2017"},
        {"text": "05, 06, 09, 10", "sound": "07"},
    ),
    Family(
        "latent variable",
        "an encoder and a decoder around a small code",
        "#3d7a3a",
        {"text": "Bowman et al., 2016", "pictures": "VAE, 2013", "sound": "MusicVAE, 2018", "video": "SVG-LP, 2018"},
        {"pictures": "08"},
    ),
    Family(
        "adversarial",
        "a generator against a judge",
        "#a8531d",
        {"text": "TextGAN, 2017", "pictures": "DCGAN, 2016", "sound": "WaveGAN, 2019", "video": "VGAN, 2016"},
        {"pictures": "02, 03, 04"},
    ),
    Family(
        "diffusion",
        "noise taken away in many small steps",
        "#6d4aa3",
        {
            "text": "Diffusion-LM, 2022",
            "pictures": "DDPM, 2020",
            "sound": "DiffWave, 2021",
            "video": "Video Diffusion, 2022",
        },
        {"pictures": "11"},
    ),
)

REAL_COLOUR = (61, 122, 58)

MAINSTREAM = {("autoregressive", "text"), ("diffusion", "pictures")}

HISTORY = (
    (1913, "autoregressive", "Markov"),
    (1948, "autoregressive", "Shannon"),
    (2003, "autoregressive", "neural\nlanguage\nmodel"),
    (2013, "latent variable", "VAE"),
    (2014, "adversarial", "GAN"),
    (2015, "diffusion", "diffusion\nprocess"),
    (2016, "autoregressive", "WaveNet"),
    (2016, "adversarial", "DCGAN"),
    (2017, "autoregressive", "Transformer"),
    (2018, "latent variable", "MusicVAE"),
    (2019, "autoregressive", "GPT-2"),
    (2019, "adversarial", "StyleGAN"),
    (2020, "diffusion", "DDPM"),
    (2022, "diffusion", "latent\ndiffusion"),
    (2022, "autoregressive", "ChatGPT"),
)

# Works on the map and the time line that bibliography.toml does not hold.
SOURCES = (
    "S. Bond-Taylor, A. Leach, Y. Long, C. G. Willcocks. Deep Generative Modelling: A Comparative Review of VAEs, "
    "GANs, Normalizing Flows, Energy-Based and Autoregressive Models. IEEE TPAMI, 2022 (arXiv 2103.04922).",
    "E. Denton, R. Fergus. Stochastic Video Generation with a Learned Prior. ICML, 2018.",
    "C. Donahue, J. McAuley, M. Puckette. Adversarial Audio Synthesis. ICLR, 2019.",
    "B. Hayes. First Links in the Markov Chain. American Scientist, 2013 (on Markov's count of 1913).",
    "J. Ho et al. Video Diffusion Models. NeurIPS, 2022 (arXiv 2204.03458).",
    "N. Kalchbrenner et al. Video Pixel Networks. ICML, 2017 (arXiv 1610.00527).",
    "T. Karras, S. Laine, T. Aila. A Style-Based Generator Architecture for Generative Adversarial Networks. "
    "CVPR, 2019.",
    "Z. Kong et al. DiffWave: A Versatile Diffusion Model for Audio Synthesis. ICLR, 2021.",
    "X. L. Li et al. Diffusion-LM Improves Controllable Text Generation. NeurIPS, 2022.",
    "A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu. Pixel Recurrent Neural Networks. ICML, 2016 (arXiv 1601.06759).",
    "OpenAI. Introducing ChatGPT. Web page, 30 November 2022.",
    "R. Rombach et al. High-Resolution Image Synthesis with Latent Diffusion Models. CVPR, 2022.",
    "C. E. Shannon. A Mathematical Theory of Communication. Bell System Technical Journal, 1948.",
    "J. Sohl-Dickstein et al. Deep Unsupervised Learning using Nonequilibrium Thermodynamics. ICML, 2015.",
)

CHAPTERS = (
    ("00", "start here", "what AIGC is, the families, how to read the course"),
    ("01", "neural networks", "activations, back-propagation, descent"),
    ("02", "GAN mathematics", "value function, best discriminator, vanishing gradients"),
    ("03", "GAN images", "MLP GAN and DCGAN on digits, scores, collapse"),
    ("04", "colour and cartoons", "conditional GAN"),
    ("05", "words and recurrence", "word vectors, RNN, LSTM"),
    ("06", "seq2seq", "translation with attention"),
    ("07", "WaveNet and music", "causal convolutions, Bach chorales"),
    ("08", "autoencoder and VAE", "codes, the evidence lower bound"),
    ("09", "Transformer", "self-attention"),
    ("10", "GPT-2", "a language model from scratch, sampling"),
    ("11", "diffusion", "noise and its removal"),
    ("12", "video", "pictures with a time axis"),
    ("13", "multimodal", "text and pictures in one space"),
    ("14", "smaller and faster", "transfer, quantisation, pruning"),
    ("15", "applications", "summaries, answers, sentiment, recommendation"),
    ("16", "responsible use", "memorisation, watermarks, privacy, provenance"),
    ("17", "implicit and meta", "implicit representation, meta-learning"),
)


def circle_points(angle, seed, num=16, latent_dim=64):  # -> [N, Z]
    """``cos(a) u + sin(a) v`` for N pairs of independent standard normal vectors u, v that ``seed`` fixes.

    Args:
        angle: a, in degrees.

    The variance of each number is cos^2 + sin^2 = 1 at every angle, so every stop of the walk is a fair draw.
    """
    start, quarter = np.random.default_rng(seed).standard_normal((2, num, latent_dim))
    turn = np.radians(angle)
    return (np.cos(turn) * start + np.sin(turn) * quarter).astype("float32")


def latent_walk(gan, rows=4, columns=4):
    """Return ``draw(angle, seed)`` -> picture [H, W] uint8: ``rows * columns`` samples of ``gan`` on the circle.

    Args:
        gan: has ``latent_dim`` and ``generate(noise [N, Z])`` -> images [N, 28, 28, 1] in [0, 1], as ``gan.GAN``.
    """
    from aigc_course.plots import enlarge, image_grid

    def draw(angle, seed):
        noise = circle_points(angle, int(seed), rows * columns, gan.latent_dim)
        return enlarge(image_grid(gan.generate(noise), columns), 3)

    return draw


def family_map():
    """Figure: families (rows) by uses (columns), each place with a published model, filled where it leads today."""
    figure, axes = _canvas(9.6, 4.3, (0, 5.6), (4.72, -0.5))
    for column, use in enumerate(USES):
        axes.text(2.1 + column, -0.25, use, ha="center", va="center", fontsize=12, weight="bold")
    for row, family in enumerate(FAMILIES):
        axes.text(0.02, row + 0.32, family.name, fontsize=12, weight="bold", color=family.colour, va="center")
        idea = "\n".join(textwrap.wrap(family.idea, 25))
        axes.text(0.02, row + 0.53, idea, fontsize=9, va="top", linespacing=1.15)
        for column, use in enumerate(USES):
            _map_cell(axes, row, column, family, use)
    notes = ("filled: the usual choice today", "“ch.”: this course builds such a model", "no row descends from another")
    axes.text(0.02, 4.45, "        ".join(notes), fontsize=9, color="#444444", va="center")
    return figure


def _map_cell(axes, row, column, family, use):
    from matplotlib.patches import FancyBboxPatch

    leads = (family.name, use) in MAINSTREAM
    box = FancyBboxPatch(
        (1.64 + column, row + 0.1), 0.92, 0.8, boxstyle="round,pad=0,rounding_size=0.06",
        facecolor=family.colour if leads else "white", edgecolor=family.colour, linewidth=1.4,
    )  # fmt: skip
    axes.add_patch(box)
    ink = "white" if leads else "#222222"
    chapter = family.chapters.get(use)
    axes.text(2.1 + column, row + (0.38 if chapter else 0.5), family.examples[use], ha="center", va="center",
              fontsize=9.5, color=ink)  # fmt: skip
    if chapter:
        axes.text(2.1 + column, row + 0.68, f"ch. {chapter}", ha="center", va="center", fontsize=9, color=ink)


def map_sources() -> str:
    """Markdown list of ``SOURCES``."""
    return "\n".join(f"- {source}" for source in SOURCES)


def timeline():
    """Figure: the models of ``HISTORY``, one lane a family; years are in order, not to scale."""
    years = sorted({year for year, _, _ in HISTORY})
    figure, axes = _canvas(9.6, 3.3, (-2.9, len(years) - 0.3), (4.2, -0.7))
    for row, family in enumerate(FAMILIES):
        axes.text(-2.85, row, family.name, fontsize=11, weight="bold", color=family.colour, va="center")
        axes.plot([-0.5, len(years) - 0.5], [row, row], color=family.colour, alpha=0.3, linewidth=1.2, zorder=0)
        frame = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": family.colour}
        for year, name, label in HISTORY:
            if name == family.name:
                _centred(axes, years.index(year), row, label, fontsize=8, linespacing=1.1, bbox=frame)
    for column, year in enumerate(years):
        axes.text(column, 3.85, str(year), ha="center", va="center", fontsize=9.5)
    return figure


def pipeline_stages(digits):
    """The eight stages from data to release, each with one line about this course's digits."""
    count = [len(part) for part in (digits.train, digits.validation, digits.test)]
    height, width, channels = digits.train.images.shape[1:]
    return (
        ("1 data", f"{sum(count):,} digits,\n{height} x {width} x {channels}, in [0, 1]"),
        ("2 split", f"{count[0]:,} train\n{count[1]:,} validate, {count[2]:,} test"),
        ("3 model", "a family from the map\nand a network"),
        ("4 loss", "the number (or two) that\ntraining pushes down"),
        ("5 training", "read the train part,\nwatch the validation part"),
        ("6 sampling", "fresh noise in,\nnew digits out"),
        ("7 scoring", "against the test part,\nbeside a floor and a\ntrivial model"),
        ("8 release", "weights, checksum and\na card: data, recipe, scores"),
    )


def pipeline_figure(digits):
    """Figure: the stages of ``pipeline_stages`` in two rows, joined by arrows in the order of work."""
    from matplotlib.patches import FancyBboxPatch

    figure, axes = _canvas(9.6, 3.2, (0, 4.05), (2.05, 0))
    for number, (title, words) in enumerate(pipeline_stages(digits)):
        row, column = divmod(number, 4)
        axes.add_patch(
            FancyBboxPatch((column + 0.06, row + 0.13), 0.8, 0.74, boxstyle="round,pad=0,rounding_size=0.05",
                           facecolor="#f3f6f8", edgecolor="#1f6f8b", linewidth=1.3)
        )  # fmt: skip
        axes.text(
            column + 0.46, row + 0.28, title, ha="center", va="center", fontsize=11, weight="bold", color="#1f6f8b"
        )
        axes.text(column + 0.46, row + 0.6, words, ha="center", va="center", fontsize=9, linespacing=1.25)
        if column < 3:
            axes.annotate("", (column + 1.05, row + 0.5), (column + 0.87, row + 0.5), arrowprops={"arrowstyle": "->"})
    axes.plot([3.46, 3.46, 0.46], [0.87, 1.0, 1.0], color="black", linewidth=1.0)
    axes.annotate("", (0.46, 1.13), (0.46, 0.995), arrowprops={"arrowstyle": "->"})
    return figure


def _canvas(width, height, x_range, y_range):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=x_range, ylim=y_range)
    axes.axis("off")
    return figure, axes


def _centred(axes, x, y, words, **style):
    axes.text(x, y, words, ha="center", va="center", **style)


def tiny_sets(digits, num, seed=0):  # dict of [N, 28, 28, 1]
    """Test digits to compare with, and three sets to be judged: real digits, the mean picture, noise."""
    rng = np.random.default_rng(seed)
    real = digits.train.images[rng.choice(len(digits.train), num, replace=False)]
    reference = digits.test.images[rng.choice(len(digits.test), num, replace=False)]
    mean = np.repeat(digits.train.images.mean(axis=0, keepdims=True), num, axis=0)
    noise = rng.uniform(size=real.shape).astype("float32")
    return reference, {"other real digits": real, "the mean picture": mean, "noise": noise}


def mean_gap(images, reference):  # [N, ...], [M, ...] -> float
    """Root of the mean squared difference between the average pictures of two sets, in grey levels (0 to 1)."""
    return float(np.sqrt(np.mean((images.mean(axis=0) - reference.mean(axis=0)) ** 2)))


def block_features(images, block=4):  # [N, 28, 28, 1] -> [N, F]
    """Mean grey level of each ``block`` x ``block`` square: F = (28 / block)^2 numbers a picture."""
    num, height, width, _ = images.shape
    blocks = images.reshape(num, height // block, block, width // block, block)
    return blocks.mean(axis=(2, 4)).reshape(num, -1)


def block_distance(images, reference):  # [N, ...], [M, ...] -> float
    """Fréchet distance between the block features of two sets: their means and their covariances count."""
    from aigc_course.metrics import frechet_distance

    return float(frechet_distance(block_features(images), block_features(reference)))


def score_table(scores) -> str:
    """Markdown table of ``scores``: name of a score -> (name of a set -> value); best, that is lowest, set first."""
    first = next(iter(scores.values()))
    lines = ["| set | " + " | ".join(scores) + " |", "|---" * (1 + len(scores)) + "|"]
    for name in sorted(first, key=first.get):
        values = " | ".join(f"{values[name]:.3g}" for values in scores.values())
        lines.append(f"| {name} | {values} |")
    return "\n".join(lines)


def real_wins(score, digits, num=300, seeds=(11, 12, 13)) -> bool:
    """Whether ``score(images, reference)`` is lower for real digits than for the mean picture and noise, every time."""
    for seed in seeds:
        reference, sets = tiny_sets(digits, num, seed)
        real, mean, noise = (float(score(images, reference)) for images in sets.values())
        if not (real < mean and real < noise):
            return False
    return True


def floor_walk(digits, gan=None, seed=0):
    """Return ``draw(num_pictures)`` -> picture [H, W, 3] uint8: bars of ``block_distance`` for sets of that size."""
    from aigc_course.metrics import frechet_distance

    size = len(digits.test)
    reference, sets = tiny_sets(digits, size, seed)
    if gan is not None:
        sets = {"the generator": gan.sample(size, seed=seed + 1), **sets}
    wanted, features = block_features(reference), {name: block_features(images) for name, images in sets.items()}

    def draw(num_pictures):
        num = int(num_pictures)
        values = {name: frechet_distance(rows[:num], wanted[:num]) for name, rows in features.items()}
        return bar_picture(values, f"Fréchet distance to {num} test digits (log scale)")

    return draw


def bar_picture(values, title, low=0.01, high=20.0, width=640):  # -> [H, W, 3] uint8
    """Horizontal bars on a logarithmic axis from ``low`` to ``high``, drawn in a few milliseconds."""
    from PIL import Image, ImageDraw, ImageFont

    font, left, line = ImageFont.truetype(_font_file(), 13), 150, 34
    picture = Image.new("RGB", (width, 40 + line * len(values)), "white")
    pen = ImageDraw.Draw(picture)
    pen.text((8, 8), title, fill="#222222", font=font)
    for row, (name, value) in enumerate(values.items()):
        top = 38 + row * line
        share = np.clip(np.log(max(value, low) / low) / np.log(high / low), 0.0, 1.0)
        end = left + 4 + int(share * (width - left - 80))
        pen.text((8, top + 4), name, fill="#222222", font=font)
        pen.rectangle((left, top, end, top + 24), fill=(REAL_COLOUR if "real" in name else "#1f6f8b"))
        pen.text((end + 6, top + 4), f"{value:.3g}", fill="#222222", font=font)
    return np.asarray(picture)


def _font_file() -> str:
    """DejaVu Sans as it comes with matplotlib: the same letters on every machine."""
    import matplotlib

    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")


def chapter_file(number, root: Path | None = None) -> Path | None:
    """The built notebook of a chapter such as ``"03"``, or its source, or None when neither exists yet."""
    folder = (root or course_root()) / "chapters"
    found = sorted(folder.glob(f"{number}_*.ipynb")) + sorted((folder / "src").glob(f"{number}_*.py"))
    return found[0] if found else None


def course_map(root: Path | None = None) -> str:
    """Markdown table of all chapters; those whose file is there are links to their notebooks."""
    lines = ["| no. | chapter | about | there now |", "|---|---|---|---|"]
    for number, topic, about in CHAPTERS:
        path = chapter_file(number, root)
        name = f"[{topic}]({path.stem}.ipynb)" if path else topic
        lines.append(f"| {number} | {name} | {about} | {'yes' if path else 'to come'} |")
    return "\n".join(lines)


def milliseconds(draw, positions) -> float:
    """Median time of ``draw(**position)`` over ``positions``, in milliseconds, after one call to warm up."""
    from time import perf_counter

    draw(**positions[0])
    times = []
    for position in positions:
        start = perf_counter()
        draw(**position)
        times.append(1000.0 * (perf_counter() - start))
    return float(np.median(times))
