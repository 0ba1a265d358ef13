"""Pictures that the sliders of chapter 08 draw: KL, plane, dimensions, beta, ways between digits, classes.

Shapes: N images [N, 28, 28, 1] in [0, 1], Z latent width, K latent dimensions on sliders, H W sides of a picture.
Taught in chapters/08_vae.

Every ``..._panel`` encodes what it needs, draws its background once and returns ``draw``, a plain function of the
sliders' values that decodes a few codes and paints them onto a copy of the background.
"""

from typing import NamedTuple

import numpy as np
from keras import ops
from scipy.special import ndtri

from aigc_course import metrics, plots
from aigc_course import vae_painting as painting
from aigc_course.gan import sample_noise
from aigc_course.gan_plots import spherical, straight
from aigc_course.plots import enlarge, image_grid
from aigc_course.vae import kl_by_dimension

# Petroff (2021), "Accessible color sequences for data visualization": ten colours that colour-blind readers tell apart
# too; in such an order that digits which lie side by side in the plane (4 and 9, 3 and 8) differ most.
DIGIT_COLOURS = (
    "#3F90DA", "#A96B59", "#92DADD", "#FFA90E", "#94A4A2", "#717581", "#B9AC70", "#E76300", "#BD1F01", "#832DB6",
)  # fmt: skip
_DARK_DIGITS = (1, 5, 8, 9)  # white numerals read better on their colours
DAMAGES = ("noise", "hole", "half")
_DARK, _GREY, _BLUE, _ORANGE = (20, 20, 20), (140, 140, 140), (0, 114, 178), (213, 94, 0)


# The rate of one dimension


def kl_panel():
    """``draw(mean, deviation)``: a normal posterior beside the prior N(0, 1), and its place on a map of their KL.

    The map's lines join posteriors of equal cost in nats. It reaches from -5 to 5 and from 0.05 to 2; a dot that would
    lie outside stays on its border, the number above it does not.
    """
    page, densities, chart = _kl_page()
    left, right = (round(densities.place(x, 0)[0]) for x in (-5, 5))
    x = (np.arange(left + 1, right) - densities.origin[0]) / densities.unit[0]
    dot, rim, numerals = painting.disc(6.5), painting.disc(8.5), painting.numerals()

    def draw(mean, deviation):  # -> [H, W, 3] uint8
        picture = page.copy()
        density = np.exp(-0.5 * ((x - mean) / deviation) ** 2) / (deviation * np.sqrt(2 * np.pi))
        painting.curve(picture, left + 1, densities.place(0, np.minimum(density, _HIGHEST))[1], _BLUE)
        place = chart.place(np.clip(mean, -5, 5), np.log(np.clip(deviation, *_DEVIATIONS)))
        painting.stamp(picture, rim, (255, 255, 255), *place)
        painting.stamp(picture, dot, _BLUE, *place)
        nats = float(_nats(mean, 2 * np.log(deviation)))
        number = np.concatenate([numerals[character] for character in f"{max(nats, 0.0):.2f}"], axis=1)
        painting.stamp(picture, number, _DARK, _NATS_PLACE[0] - number.shape[1] // 2, _NATS_PLACE[1])
        return picture

    return draw


def _nats(mean, log_var):  # [...], [...] -> [...]
    """``kl_by_dimension`` for arrays."""
    return ops.convert_to_numpy(kl_by_dimension(*(np.array(part, "float32") for part in (mean, log_var))))


_HIGHEST, _DEVIATIONS, _NATS_PLACE = 1.7, (0.05, 2.0), (626, 18)


def _kl_page():  # -> [H, W, 3] uint8, frame of the densities, frame of the map (mean, log deviation)
    figure, axes = painting.canvas(880, 330)
    densities, chart = painting.inset(figure, 44, 34, 400, 240), painting.inset(figure, 530, 34, 336, 240)
    x = np.linspace(-5, 5, 201)
    densities.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), color="0.35", linestyle="--", label="prior p(z)")
    densities.plot([], [], color=plots.PALETTE[0], linestyle="-", label="posterior q(z | x)")
    densities.set(xlim=(-5, 5), ylim=(-0.05, _HIGHEST), xlabel="z")
    densities.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, frameon=False, borderaxespad=0.1)
    heights = np.log(np.linspace(*_DEVIATIONS, 160))
    nats = _nats(*np.broadcast_arrays(x, 2 * heights[:, None]))
    lines = chart.contour(x, heights, nats, levels=[0.1, 0.5, 1, 2, 4, 8], colors="0.45", linewidths=1.3)
    at = [(0, 1.36), (0, 1.72), *((-mean, 0.35) for mean in (0.88, 1.67, 2.6, 3.84))]
    chart.clabel(lines, fontsize=10, fmt="%g", manual=[(mean, np.log(deviation)) for mean, deviation in at])
    ticks = (0.05, 0.1, 0.2, 0.5, 1, 2)
    chart.set_yticks(np.log(ticks), [f"{tick:g}" for tick in ticks])
    chart.set(xlabel="mean of q", ylabel="deviation of q", xticks=[-4, -2, 0, 2, 4])
    axes.text(530, 24, "KL =")
    axes.text(632, 24, "nats, and lines of equal KL")
    return plots.pixels(figure), painting.frame(densities), painting.frame(chart)


# The plane of a VAE with two latent dimensions


def plane_panel(vae2d, images, labels, reach=4.0):
    """``draw(x, y)``: the plane with the posterior means of ``images``, a cross at (x, y), beside it the digit there.

    Args:
        vae2d: VAE with two latent dimensions.
        images, labels: digits [N, 28, 28, 1] whose codes are shown, and their classes [N] in 0..9.
        reach: the plane is shown from -reach to reach in both directions; codes outside are not seen.
    """
    _demand_plane(vae2d)
    page, frame = _plane_page(vae2d.encode(images)[0], np.asarray(labels), reach)
    outline, cross = painting.cross(16, 3, 5), painting.cross(15, 4, 3)

    def draw(x, y):  # -> [H, W, 3] uint8
        picture = page.copy()
        painting.stamp(picture, outline, (255, 255, 255), *frame.place(x, y))
        painting.stamp(picture, cross, _DARK, *frame.place(x, y))
        painting.paste(picture, painting.tiles(vae2d.decode([[x, y]]), 1, 11), *_DIGIT_PLACE)
        return picture

    return draw


_DIGIT_PLACE = (520, 42)


def _plane_page(codes, labels, reach):  # [N, 2], [N] -> [H, W, 3] uint8, frame of the plane
    figure, axes = painting.canvas(848, 488)
    plane = painting.inset(figure, 62, 14, 416, 416)
    _draw_codes(plane, codes, labels, reach)
    x, y = _DIGIT_PLACE
    axes.text(x, y - 14, "decoded at the cross")
    _draw_legend(axes, x, y + 28 * 11 + 44)
    return plots.pixels(figure), painting.frame(plane)


def _draw_codes(plane, codes, labels, reach):
    """Scatter of codes in the colours of their digits, each digit's badge at the median of its codes."""
    order = np.random.default_rng(0).permutation(len(codes))  # no class lies on top of all others
    plane.scatter(*codes[order].T, s=14, c=np.array(DIGIT_COLOURS)[labels[order]], linewidths=0, alpha=0.85)
    for digit in np.unique(labels):
        x, y = np.median(codes[labels == digit], axis=0)
        badge = {"boxstyle": "circle,pad=0.2", "facecolor": DIGIT_COLOURS[digit], "edgecolor": "white"}
        style = {"size": 13, "weight": "bold", "ha": "center", "va": "center", "bbox": badge, "clip_on": True}
        plane.text(x, y, str(digit), color="white" if digit in _DARK_DIGITS else "black", **style)
    plane.set(xlim=(-reach, reach), ylim=(-reach, reach), xlabel="x: first latent dimension")
    plane.set_ylabel("y: second latent dimension", labelpad=0)
    plane.set_axisbelow(True)


def _draw_legend(axes, left, top):
    """Ten coloured dots, each beside its numeral, in two rows."""
    axes.text(left, top, "posterior means of test digits")
    for digit, colour in enumerate(DIGIT_COLOURS):
        x, y = left + 8 + digit % 5 * 62, top + 24 + digit // 5 * 30
        axes.plot([x], [y], marker="o", markersize=10, color=colour)
        axes.text(x + 13, y, str(digit), va="center_baseline")


def plane_grid(vae2d, side=20, quantiles=(0.01, 0.99)):  # -> [28 side, 28 side] uint8
    """Decoded digits on a grid over the plane, x to the right and y upwards as in ``plane_panel``.

    The grid lines are quantiles of the prior, evenly spaced in probability from the first of ``quantiles`` to the
    second, so that each digit stands for an equal share of what the model generates (Kingma and Welling, 2014, app. A).
    """
    _demand_plane(vae2d)
    line = ndtri(np.linspace(*quantiles, side))
    codes = np.stack(np.meshgrid(line, line[::-1]), axis=-1).reshape(-1, 2)
    return image_grid(vae2d.decode(codes), side, padding=0)


def _demand_plane(vae):
    if vae.latent_dim != 2:
        raise ValueError(f"A plane needs a VAE with two latent dimensions; this one has {vae.latent_dim}.")


# Single dimensions of a code


def active_dimensions(vae, images, labels=None, count=10):  # -> [K], [K]
    """The latent dimensions that carry most and the nats each carries: KL from the prior, mean over images.

    K is ``count``, or Z if that is smaller. ``labels`` are for a conditional VAE.
    """
    rates = _nats(*vae.encode(images, labels)).mean(axis=0)
    order = np.argsort(-rates, kind="stable")[:count]
    return order, rates[order]


def code_panel(vae, images, labels=None, count=10):
    """``draw(digit, d1, d2, ...)``: digit number ``digit``, its reconstruction, and what its moved code decodes to.

    The sliders d1, d2, ... move the K dimensions that carry most, strongest first, by so many deviations of the prior.
    At the right is the code itself: grey, with a bar of two deviations of the posterior, as encoded; orange as moved.

    Args:
        vae: any VAE; a conditional one encodes and decodes with the digits' own labels.
        images, labels: digits [N, 28, 28, 1] to choose from, which also tell the active dimensions; their classes [N],
            which only a conditional VAE needs.
        count: largest K; there are fewer sliders where Z is smaller.
    """
    given = (np.asarray(labels),) if vae.num_classes else ()
    mean, log_var = vae.encode(images, *given)
    chosen, rates = active_dimensions(vae, images, *given, count=count)
    page, lanes = _code_page(rates)
    originals, names = _bytes(images), [f"d{k + 1}" for k in range(len(chosen))]

    def draw(digit, **moves):  # -> [H, W, 3] uint8
        steps = np.array([moves[name] for name in names], "float32")
        codes = np.stack([mean[digit], mean[digit]])
        codes[1, chosen] += steps
        decoded = _bytes(vae.decode(codes, *(np.repeat(part[digit], 2) for part in given)))
        picture = page.copy()
        for tile, left in zip((originals[digit], *decoded), _CODE_PLACES, strict=True):
            painting.paste(picture, enlarge(tile[..., 0], 6), left, 36)
        _draw_lanes(picture, lanes, mean[digit, chosen], np.exp(0.5 * log_var[digit, chosen]), codes[1, chosen])
        return picture

    return draw


_CODE_PLACES, _LANES, _LANE_STEP, _LANE_REACH = (0, 184, 368), 606, 34, 5.0
_DOT, _MOVED_DOT = painting.disc(5.0), painting.disc(7.0)


def _bytes(images):  # [N, H, W, 1] -> [N, H, W, 1] uint8
    return np.rint(np.asarray(images) * 255).astype(np.uint8)


def _code_page(rates):  # [K] -> [H, W, 3] uint8, frame of the lanes
    figure, axes = painting.canvas(_LANES + _LANE_STEP * len(rates), 250)
    for left, words in zip(_CODE_PLACES, ("test digit", "reconstruction", "moved code"), strict=True):
        axes.text(left, 26, words)
    lanes = painting.inset(figure, _LANES - _LANE_STEP // 2, 36, _LANE_STEP * len(rates), 168)
    lanes.set(xlim=(-0.5, len(rates) - 0.5), ylim=(-_LANE_REACH, _LANE_REACH), yticks=[-4, -2, 0, 2, 4])
    lanes.set_xticks(range(len(rates)), [f"d{k + 1}\n{rate:.1f}" for k, rate in enumerate(rates)])
    lanes.tick_params(length=0)
    lanes.grid(alpha=0.3)
    lanes.spines[:].set_visible(False)
    lanes.axhspan(-1, 1, color="0.93", zorder=0)
    axes.text(_LANES - _LANE_STEP // 2, 26, "its code, and nats a dimension")
    return plots.pixels(figure), painting.frame(lanes)


def _draw_lanes(picture, lanes, mean, deviation, moved):  # [H, W, 3], frame, [K], [K], [K]
    """Each number of the code in its lane, grey as encoded and orange as moved; beyond its ends it stays at the end."""
    values = np.stack([mean, mean + 2 * deviation, mean - 2 * deviation, moved], axis=1).clip(-_LANE_REACH, _LANE_REACH)
    rows = np.rint(lanes.place(0, values)[1]).astype(int)
    for k, (middle, high, low, now) in enumerate(rows):
        x = round(lanes.place(k, 0)[0])
        picture[high : low + 1, x - 1 : x + 2] = _GREY
        painting.stamp(picture, _DOT, _GREY, x, middle)
        painting.stamp(picture, _MOVED_DOT, _ORANGE, x, now)


# A ladder of beta


class RatePoint(NamedTuple):
    """One model on the rate-distortion curve: both in nats a digit, and how many latent dimensions are active."""

    beta: object
    rate: float
    distortion: float
    active: int


def rate_distortion(ladder, images, seed=0):  # -> list of RatePoint, smallest beta first
    """Mean rate and distortion over ``images`` of every model of ``ladder``.

    Args:
        ladder: dict from beta, a number or its text, to a trained ``VAE``.
    """
    points = []
    for beta, vae in sorted(ladder.items(), key=lambda rung: float(rung[0])):
        distortion, rate = (float(np.mean(term)) for term in vae.elbo_terms(images, seed=seed))
        points.append(RatePoint(beta, rate, distortion, int(vae.active_units(images).sum())))
    return points


def beta_panel(ladder, images, points=None, columns=10):
    """``draw(beta, seed)``: digits, reconstructions and samples of the model of that beta; its place on the curve.

    Args:
        ladder: dict from beta, a number or its text, to a trained ``VAE``; the ``beta`` of ``draw`` is one of its keys.
        images: digits [N, 28, 28, 1]; the first ``columns`` of them are shown.
        points: what ``rate_distortion`` found, on ``images`` unless given.
    """
    points = points or rate_distortion(ladder, images)
    pages = _beta_pages(points, {point.beta: ladder[point.beta].reconstruct(images[:columns]) for point in points})
    originals = painting.tiles(images[:columns], columns, 2)
    for page in pages.values():
        painting.paste(page, originals, 0, _BETA_ROWS[0])

    def draw(beta, seed=0):  # -> [H, W, 3] uint8
        picture = pages[beta].copy()
        samples = ladder[beta].sample(columns, seed=int(seed))
        painting.paste(picture, painting.tiles(samples, columns, 2), 0, _BETA_ROWS[2])
        return picture

    return draw


_BETA_ROWS, _CURVE_WIDTH = (66, 158, 250), 330


def _beta_pages(points, reconstructions):  # -> dict from beta to [H, W, 3] uint8
    """For every beta the background with its words, its reconstructions and its place on the curve."""
    columns = len(next(iter(reconstructions.values())))
    left = 58 * columns + 74
    pages, ring = {}, painting.disc(12.0, inner=8.5)
    for point in points:
        figure, axes = painting.canvas(left + _CURVE_WIDTH, 320)
        axes.text(0, 22, _beta_words(point), weight="bold")
        for top, words in zip(_BETA_ROWS, ("test digits", "reconstructions", "samples"), strict=True):
            axes.text(0, top - 8, words)
        curve = painting.inset(figure, left, _BETA_ROWS[0] - 8, _CURVE_WIDTH - 12, 320 - _BETA_ROWS[0] - 46)
        _draw_curve(curve, points)
        pages[point.beta] = plots.pixels(figure)
        painting.paste(pages[point.beta], painting.tiles(reconstructions[point.beta], columns, 2), 0, _BETA_ROWS[1])
        painting.stamp(pages[point.beta], ring, _ORANGE, *painting.frame(curve).place(point.rate, point.distortion))
    return pages


def _draw_curve(curve, points):
    """Rate against distortion, a dot for each beta, and the line on which their sum is as low as at the best dot."""
    rates, distortions = (np.array(values) for values in zip(*((p.rate, p.distortion) for p in points), strict=True))
    best = (rates + distortions).min()
    curve.plot(rates, distortions, marker="o", markersize=6)
    margin = [0.12 * max(np.ptp(values), 1.0) for values in (rates, distortions)]
    curve.set(xlim=(rates.min() - margin[0], rates.max() + 2 * margin[0]), xlabel="rate in nats")
    curve.set(ylim=(distortions.min() - margin[1], distortions.max() + margin[1]), ylabel="distortion in nats")
    ends = np.array(curve.get_xlim())
    curve.plot(ends, best - ends, color="0.5", linestyle="--", linewidth=1.2, label=f"sum of both = {best:.1f}")
    for place, names in _names_by_place(points, painting.frame(curve)):
        curve.annotate(names, place, xytext=(9, 7), textcoords="offset points", size=10)
    curve.legend(loc="upper right", handlelength=1.4, borderaxespad=0)


def _names_by_place(points, frame, closest=16.0):
    """(rate, distortion) and the betas of all points that would be written over each other there."""
    groups = []
    for point in points:
        pixel = np.array(frame.place(point.rate, point.distortion))
        if groups and np.linalg.norm(pixel - groups[-1][0]) < closest:
            groups[-1][2].append(str(point.beta))
        else:
            groups.append((pixel, (point.rate, point.distortion), [str(point.beta)]))
    return [(place, ", ".join(names)) for _, place, names in groups]


def describe_beta(points):
    """``alt(beta, seed)`` for the panel: the chosen model's numbers, for readers who cannot see the picture."""
    found = {point.beta: point for point in points}

    def alt(beta, seed=0):
        return f"Test digits, their reconstructions and samples. {_beta_words(found[beta])}"

    return alt


def _beta_words(point):
    used = f"{point.active} latent dimension{'' if point.active == 1 else 's'} in use"
    return f"β = {point.beta}: rate {point.rate:.1f} nats, distortion {point.distortion:.1f} nats, {used}"


# From one digit to another, VAE and GAN


def nearest_codes(gan, images, num_candidates=2000, seed=0):  # [N, 28, 28, 1] -> [N, Z]
    """For every image the code of the most similar of ``num_candidates`` samples, in the features of the scorer.

    A GAN has no encoder; trying many codes is the simplest stand-in.
    """
    noise = sample_noise(num_candidates, gan.latent_dim, seed)
    features = metrics.scorer().features
    samples = np.concatenate([gan.generate(noise[i : i + 250]) for i in range(0, num_candidates, 250)])
    return noise[metrics.nearest(features(images), features(samples))[1]]


def pair_panel(vae, gan, images, columns=9, num_candidates=2000):
    """``draw(first, second)``: the way from one of ``images`` to another through the codes of a VAE and of a GAN.

    The VAE's way is straight between the two posterior means; the GAN's is spherical between the codes of those of its
    samples that resemble the two digits most (``nearest_codes``, found once when the panel is made).
    """
    means, found = vae.encode(images)[0], nearest_codes(gan, images, num_candidates)
    page, digits = _pair_page(columns), _bytes(images)
    shares = np.linspace(0.0, 1.0, columns)[:, None]

    def draw(first, second):  # -> [H, W] uint8
        picture = page.copy()
        for digit, left in ((first, 0), (second, page.shape[1] - 84)):
            picture[:84, left : left + 84] = enlarge(digits[digit, ..., 0], 3)
        ways = (
            vae.decode(straight(means[[first]], means[[second]], shares)),
            gan.generate(spherical(found[[first]], found[[second]], shares)),
        )
        for way, top in zip(ways, _PAIR_ROWS, strict=True):
            picture[top : top + 84] = painting.tiles(way, columns, 3)
        return picture

    return draw


_PAIR_ROWS = (122, 244)


def _pair_page(columns):  # -> [H, W] uint8
    width = 87 * columns - 3
    figure, axes = painting.canvas(width, _PAIR_ROWS[-1] + 84)
    axes.text(width / 2, 46, "from this test digit to that one", ha="center")
    axes.annotate("", (width - 104, 62), (104, 62), arrowprops={"arrowstyle": "->", "linewidth": 1.5})
    axes.text(0, _PAIR_ROWS[0] - 9, "VAE: from code to code of the two digits, straight")
    axes.text(0, _PAIR_ROWS[1] - 9, "GAN: from code to code of its most similar samples, spherical")
    return plots.pixels(figure)[..., 0]


# Damaged digits


def damage(images, kind, seed=0):  # [N, H, W, 1] -> [N, H, W, 1], [N, H, W, 1] of bool
    """Images with a part spoilt, and which pixels are still known to be right.

    Args:
        kind: ``"noise"``: a random 30 % of the pixels get a random grey level, and none is known to be right;
            ``"hole"``: a black square of 10 x 10 pixels somewhere near the middle; ``"half"``: the lower half is black.

    Raises:
        ValueError: another kind.
    """
    if kind not in DAMAGES:
        raise ValueError(f"kind must be one of {', '.join(DAMAGES)}; {kind!r} is not.")
    images, rng = np.asarray(images, "float32"), np.random.default_rng(seed)
    if kind == "noise":
        struck = rng.random(images.shape) < 0.3
        return np.where(struck, rng.random(images.shape, "float32"), images), np.zeros(images.shape, bool)
    known = np.ones(images.shape, bool)
    if kind == "half":
        known[:, images.shape[1] // 2 :] = False
    else:
        for mask, (top, left) in zip(known, rng.integers(6, 13, (len(images), 2)), strict=True):
            mask[top : top + 10, left : left + 10] = False
    return np.where(known, images, 0.0).astype("float32"), known


def repair(vae, damaged, known, repeats=10):  # [N, H, W, 1], [N, H, W, 1] of bool -> [N, H, W, 1]
    """Encode and decode ``repeats`` times, each time putting the known pixels back (Rezende et al., 2014, app. F)."""
    images = damaged
    for _ in range(repeats):
        images = np.where(known, damaged, vae.reconstruct(images))
    return images


def damaged_rows(vae, images, kind, seed=0, repeats=10):  # [N, H, W, 1] -> [3 N, H, W, 1]
    """Originals, then the same digits damaged as ``damage`` does, then repaired by the VAE: three rows of N.

    Where no pixel is known to be right (``"noise"``) one pass is made: further ones would only drift to typical digits.
    """
    damaged, known = damage(images, kind, seed)
    return np.concatenate([images, damaged, repair(vae, damaged, known, repeats if known.any() else 1)])


# Classes of a conditional VAE


def strongest_dimensions(cvae, count=2, step=2.0):  # -> [K]
    """The latent dimensions that change the picture most between -step and step, all others at 0, mean over classes."""
    width, classes = cvae.latent_dim, cvae.num_classes
    codes = step * np.eye(width, dtype="float32")
    labels = np.repeat(np.arange(classes), width)
    ends = [cvae.decode(np.tile(sign * codes, (classes, 1)), labels) for sign in (-1, 1)]
    change = np.square(ends[1] - ends[0]).mean(axis=(1, 2, 3)).reshape(classes, width).mean(axis=0)
    return np.argsort(-change, kind="stable")[:count]


def class_panel(cvae, columns=10):
    """``draw(label, seed, d1, d2)``: styles of one class, and the first of these styles in every class.

    The styles are codes drawn from the prior with ``seed``; ``d1`` and ``d2`` move them all along the two latent
    dimensions that change pictures most, in deviations of the prior.

    Raises:
        ValueError: a VAE that is not conditional.
    """
    if not cvae.num_classes:
        raise ValueError("class_panel needs a conditional VAE, such as VAE(8, num_classes=10).")
    chosen = strongest_dimensions(cvae)
    classes, page = np.arange(cvae.num_classes), _class_page(max(columns, cvae.num_classes))

    def draw(label, seed, d1=0.0, d2=0.0):  # -> [H, W, 3] uint8
        codes = sample_noise(columns, cvae.latent_dim, int(seed))
        codes[:, chosen] += np.array([d1, d2], "float32")[: len(chosen)]
        both = np.concatenate([codes, np.repeat(codes[:1], len(classes), axis=0)])
        images = cvae.decode(both, np.concatenate([np.full(columns, label), classes]))
        picture = page.copy()
        painting.paste(picture, painting.tiles(images[:columns], columns, 3), 4, _CLASS_ROWS[0])
        x, y = 4 + 87 * int(label), _CLASS_ROWS[1]
        painting.paste(picture, painting.tiles(images[columns:], len(classes), 3), 4, y)
        picture[y - 3 : y + 87, x - 3 : x + 87] = _ORANGE
        painting.paste(picture, painting.tiles(images[columns + int(label)][None], 1, 3), x, y)
        return picture

    return draw


_CLASS_ROWS = (28, 154)


def _class_page(columns):  # -> [H, W, 3] uint8
    figure, axes = painting.canvas(87 * columns + 5, _CLASS_ROWS[1] + 88)
    axes.text(4, _CLASS_ROWS[0] - 9, "styles of the chosen class")
    axes.text(4, _CLASS_ROWS[1] - 11, "the first style in every class")
    return plots.pixels(figure)
