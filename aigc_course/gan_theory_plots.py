"""Pictures of the GAN game on densities and mixtures: each a plain function of its values, quick enough for a slider.

Shapes: S samples, D coordinates (1 or 2).   Taught in chapters/02_gan_mathematics.
"""

from functools import cache

import numpy as np
from scipy.special import expit

from aigc_course import gan_theory, plots

BLUE, ORANGE = plots.PALETTE[:2]
_X = gan_theory.make_grid(-10.0, 16.0, 651)  # holds every generator of the sliders up to four standard deviations
_LEFT, _RIGHT = -4.0, 10.0  # the part that is drawn
_MEANS = np.linspace(-2.0, 8.0, 61)  # where a generator's mean is tried
_DATA = {"color": BLUE, "linestyle": "-", "label": "data p"}
_FAKE = {"color": ORANGE, "linestyle": "--", "label": "generator q"}
_JUDGE = {"color": "black", "linestyle": ":"}
_SHOWN = {"saturating": (ORANGE, "-"), "non-saturating": (BLUE, "--")}


@cache
def _gradient_curve(rule, scale):
    """Gradient of ``rule`` for every generator mean of ``_MEANS``."""
    data = gan_theory.make_gaussian(0.0)
    return np.array([gan_theory.generator_gradient(rule, data, gan_theory.make_gaussian(m, scale), _X) for m in _MEANS])


def describe_game(mean, scale=1.0):
    """The numbers of ``draw_game`` in words, for readers who cannot see the picture."""
    data, fake = gan_theory.make_gaussian(0.0), gan_theory.make_gaussian(mean, scale)
    slopes = {rule: gan_theory.generator_gradient(rule, data, fake, _X) for rule in ("saturating", "non-saturating")}
    return (
        f"Data at 0, generator at {mean:g} with width {scale:g}: densities and best judge, the two losses with that "
        f"judge held fixed, and the gradients: saturating {slopes['saturating']:.4f}, "
        f"non-saturating {slopes['non-saturating']:.3f}"
    )


def draw_game(mean, scale=1.0):
    """Data N(0, 1) against a generator N(mean, scale^2): densities with D*, both losses, both gradients, as an array.

    Left: p, q and D*. Middle: each loss as the generator would see it if it moved while D* stays as it is; the dot is
    where it stands. Right: the slope of those curves at the dot, for every place of the generator.
    """
    data, fake = gan_theory.make_gaussian(0.0), gan_theory.make_gaussian(mean, scale)
    log_odds, _ = gan_theory.judge("saturating", data, fake, _X)
    stage, densities, losses, gradients, titles = _game_stage()
    for line, values in zip(densities, (data.density(_X), fake.density(_X), expit(log_odds)), strict=True):
        line.set_ydata(values)
    for rule in _SHOWN:
        seen = _moved_densities(scale) @ gan_theory.RULES[rule].loss(log_odds) * (_X[1] - _X[0])
        _set_with_dot(losses[rule], seen, mean)
        _set_with_dot(gradients[rule], _gradient_curve(rule, scale), mean)
    for title, name, curves in zip(titles, ("loss", "gradient"), (losses, gradients), strict=True):
        numbers = [curves[rule][1].get_ydata()[0] for rule in _SHOWN]
        title.set_text(f"{name}: {numbers[0]:.3f} and {numbers[1]:.3f}")
    return stage.picture()


@cache
def _moved_densities(scale):  # -> [means, N]
    return np.array([gan_theory.gaussian(_X, mean, scale) for mean in _MEANS])


@cache
def _game_stage():
    figure, (left, middle, right) = plots.new_figure(11.0, 3.6, columns=3, layout=None)
    figure.subplots_adjust(left=0.05, right=0.985, bottom=0.15, top=0.88, wspace=0.24)
    densities = [left.plot(_X, 0 * _X, **style)[0] for style in (_DATA, _FAKE, _JUDGE | {"label": "best judge D*"})]
    left.set(title="densities and D*", xlabel="x", xlim=(_LEFT, _RIGHT), ylim=(-0.03, 1.5), yticks=[0, 0.5, 1])
    losses, gradients = ({rule: _with_dot(axes, rule) for rule in _SHOWN} for axes in (middle, right))
    middle.set(xlabel="mean of the generator, D* held fixed", xlim=(-2.3, 8.4), ylim=(-12, 36))
    right.set(xlabel="mean of the generator", xlim=(-2.3, 8.4), ylim=(-4, 9))
    left.legend(loc="upper right")
    middle.legend(loc="upper left")
    right.legend(loc="upper left")
    titles = middle.set_title(" "), right.set_title(" ")
    dots = [artist for pairs in (losses, gradients) for pair in pairs.values() for artist in pair]
    return _Stage(figure, [*densities, *dots, *titles]), densities, losses, gradients, titles


def _with_dot(axes, rule):
    colour, dashes = _SHOWN[rule]
    line = axes.plot(_MEANS, 0 * _MEANS, color=colour, linestyle=dashes, label=rule)[0]
    return line, axes.plot([0], [0], marker="o", markersize=9, color=colour)[0]


def _set_with_dot(pair, values, mean):
    """A curve over ``_MEANS`` and the dot on it at ``mean``."""
    pair[0].set_ydata(values)
    pair[1].set_data([mean], [np.interp(mean, _MEANS, values)])


class _Stage:
    """A figure whose axes are drawn once; only ``moving`` is drawn again for each picture."""

    def __init__(self, figure, moving):
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        self.canvas, self.moving = FigureCanvasAgg(figure), moving
        for artist in moving:
            artist.set_animated(True)
        self.canvas.draw()
        self.background = self.canvas.copy_from_bbox(figure.bbox)

    def picture(self):  # -> [H, W, 3] uint8
        self.canvas.restore_region(self.background)
        for artist in self.moving:
            artist.axes.draw_artist(artist)
        return np.array(self.canvas.buffer_rgba())[..., :3]


def draw_transport(mean, scale=1.0):
    """Data N(0, 1) against N(mean, scale^2): densities with the best critic, and W1 as the area between the CDFs."""
    p, q = gan_theory.gaussian(_X), gan_theory.gaussian(_X, mean, scale)
    dx = _X[1] - _X[0]
    critic = gan_theory.best_critic(p, q, dx)
    both = np.cumsum([p, q], axis=1) * dx
    stage, lines, area, title = _transport_stage()
    lowest = critic[(_X >= _LEFT) & (_X <= _RIGHT)].min()
    for line, values in zip(lines, (p, q, (critic - lowest) / 12, *both), strict=True):
        line.set_ydata(values)
    area.set_xy(np.column_stack([np.concatenate([_X, _X[::-1]]), np.concatenate([both[0], both[1][::-1]])]))
    distance, divergence = gan_theory.wasserstein_1d(p, q, dx), gan_theory.jensen_shannon(p, q, dx)
    title.set_text(f"area W1 = {distance:.2f}, JS = {divergence:.3f} nats")
    return stage.picture()


@cache
def _transport_stage():
    figure, (left, right) = plots.new_figure(9.0, 3.6, columns=2, layout=None)
    figure.subplots_adjust(left=0.07, right=0.98, bottom=0.15, top=0.88, wspace=0.2)
    styles = (_DATA, _FAKE, _JUDGE | {"label": "best critic f / 12"})
    lines = [left.plot(_X, 0 * _X, **style)[0] for style in styles]
    left.set(title="densities and best critic", xlabel="x", xlim=(_LEFT, _RIGHT), ylim=(-0.03, 1.3))
    left.legend(loc="upper right")
    area = right.fill(_X, 0 * _X, color="0.85")[0]
    lines += [right.plot(_X, 0 * _X, **style)[0] for style in (_DATA | {"label": "P"}, _FAKE | {"label": "Q"})]
    right.set(xlabel="x", xlim=(_LEFT, _RIGHT), ylim=(-0.03, 1.05))
    right.legend(loc="lower right")
    title = right.set_title(" ")
    return _Stage(figure, [area, *lines, title]), lines, area, title


def draw_points(samples, mixture):  # [S, D] -> Figure
    """Generated points over the mixture they should cover, with the number of modes in the title."""
    figure, axes = plots.new_figure(3.4, 3.4, layout=None)
    figure.subplots_adjust(left=0.1, right=0.98, bottom=0.15, top=0.91)
    _draw_points(axes, np.asarray(samples), mixture)
    return figure


def watch(gan, mixture, num_samples=1024):
    """Function without arguments that draws what ``gan`` makes now, for ``training.fit(..., samples=...)``."""
    return lambda: draw_points(gan.sample(num_samples, seed=0), mixture)


def draw_coverage(samples, mixture):
    """Several sets of points side by side: ``samples`` is a dict from a name to points [S, D]."""
    figure, axes = plots.new_figure(3.5 * len(samples), 3.8, columns=len(samples), layout=None, squeeze=False)
    figure.subplots_adjust(left=0.1 / len(samples), right=1 - 0.05 / len(samples), bottom=0.08, top=0.85, wspace=0.15)
    for axis, (name, points) in zip(axes[0], samples.items(), strict=True):
        _draw_points(axis, np.asarray(points), mixture)
        axis.set_title(f"{name}\n{axis.get_title()}", fontsize=12)
    return figure


def _draw_points(axes, samples, mixture):
    coverage = gan_theory.count_modes(samples, mixture)
    (_draw_line if mixture.means.shape[1] == 1 else _draw_plane)(axes, samples, mixture)
    text = f"{coverage.modes_hit} of {coverage.num_modes} modes, {coverage.high_quality:.0%} near one"
    axes.set_title(text, fontsize=12)


def _draw_line(axes, samples, mixture):
    reach = np.abs(mixture.means).max() + 1.5
    x = np.linspace(-reach, reach, 400)
    axes.hist(np.clip(samples[:, 0], -reach, reach), bins=80, range=(-reach, reach), density=True, color=ORANGE)
    axes.plot(x, mixture.density(x), color=BLUE, linestyle="-")
    axes.set(xlabel="x", yticks=[], xlim=(-reach, reach))


def _draw_plane(axes, samples, mixture):
    from matplotlib.patches import Circle

    reach = np.abs(mixture.means).max() + 1.0
    for mean in mixture.means:
        axes.add_patch(Circle(mean, 3 * mixture.scale, fill=False, edgecolor=BLUE, linewidth=2))
    axes.scatter(*samples[:1000].T, s=4, color=ORANGE)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
