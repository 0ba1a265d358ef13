"""Sliders for the chapters: a plain function of a few values, and a picture that follows them.

``explore(draw, angle=slider(0, 90, 1, 45, "Angle"))`` shows the controls above the picture ``draw(angle=45)``. The
function must give the same picture for the same values (use a fixed seed), in well under 100 ms, as PNG bytes, a
picture array, a Matplotlib figure or ``plots.Markup``. Every control is tried at both ends and in the middle when the
panel is made, so a function that breaks at the far end of a slider fails the cell. Core ipywidgets only: nothing is
loaded from outside.
"""

import copy
import html
import math
import time
from dataclasses import dataclass

import ipywidgets
from traitlets import link

from aigc_course import plots

_NARROW = "22em"


@dataclass(frozen=True)
class Slider:
    """A number from ``low`` to ``high`` in steps; whole if all four numbers are."""

    low: float
    high: float
    step: float
    value: float
    label: str

    def __post_init__(self):
        numbers = (self.low, self.high, self.step, self.value)
        if not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"The slider {self.label!r} needs finite numbers, not {numbers}.")
        if not self.low < self.high or not 0 < self.step <= self.high - self.low:
            raise ValueError(f"The slider {self.label!r} needs low < high and a step that fits between, not {numbers}.")
        if not self.low <= self.value <= self.high:
            raise ValueError(f"The slider {self.label!r} starts at {self.value}, outside {self.low} to {self.high}.")

    @property
    def whole(self):
        return all(isinstance(number, int) for number in (self.low, self.high, self.step, self.value))

    def tries(self):
        """Both ends and the step nearest to the middle."""
        middle = self.low + round((self.high - self.low) / 2 / self.step) * self.step
        return [self.low, self._tidy(min(middle, self.high)), self.high]

    def _tidy(self, value):
        return int(value) if self.whole else round(float(value), 10)

    def build(self):
        """(main widget, row to show)."""
        kind, box = (
            (ipywidgets.IntSlider, ipywidgets.BoundedIntText)
            if self.whole
            else (ipywidgets.FloatSlider, ipywidgets.BoundedFloatText)
        )
        limits = {"min": self.low, "max": self.high, "step": self.step, "value": self.value}
        slider = kind(**limits, continuous_update=True, readout=False, tooltip=self.label, layout={"width": "20em"})
        number = box(**limits, description=self.label, tooltip=self.label, layout={"width": _NARROW})
        number.style.description_width = "14em"
        link((slider, "value"), (number, "value"), transform=(self._tidy, self._tidy))
        return slider, ipywidgets.HBox([number, slider])


@dataclass(frozen=True)
class Choice:
    """One of several options, in a list that opens."""

    options: list
    value: object
    label: str

    def __post_init__(self):
        values = self.tries()
        if not values:
            raise ValueError(f"The choice {self.label!r} has no options.")
        if self.value not in values:
            raise ValueError(f"The choice {self.label!r} starts at {self.value!r}, which is not one of {values}.")

    def tries(self):
        """Every option: the values of a dict, or the options themselves."""
        return list(self.options.values()) if isinstance(self.options, dict) else list(self.options)

    def build(self):
        options = list(self.options.items()) if isinstance(self.options, dict) else list(self.options)
        longest = max(len(str(option)) for option in self.options)
        width = f"max({_NARROW}, {18 + 0.6 * longest:.1f}em)"  # the label, the longest option, and the arrow
        menu = ipywidgets.Dropdown(options=options, value=self.value, description=self.label, layout={"width": width})
        menu.style.description_width = "14em"
        return menu, menu


@dataclass(frozen=True)
class Text:
    """A line of text, followed letter by letter; ``examples`` and the empty line are tried when the panel is made."""

    value: str
    label: str
    examples: tuple = ()

    def tries(self):
        return list(dict.fromkeys(["", self.value, *self.examples]))

    def build(self):
        box = ipywidgets.Text(
            value=self.value, description=self.label, continuous_update=True, layout={"width": "36em"}
        )
        box.style.description_width = "14em"
        return box, box


def slider(low, high, step, value, label):
    """A slider with a number box. Whole numbers if all four are ``int``, else floats."""
    return Slider(low, high, step, value, label)


def choice(options, value, label):
    """A menu. ``options``: a list, or a dict from the text shown to the value that ``draw`` gets."""
    return Choice(options, value, label)


def text(value, label, examples=()):
    """A line of text; ``draw`` must cope with the empty line."""
    return Text(value, label, tuple(examples))


def explore(draw, alt, **controls):
    """Make a panel of controls above the picture that ``draw`` makes of their values.

    Args:
        draw: called with one keyword argument for each control; returns PNG bytes, a picture array ([H, W], [H, W, 1]
            or [H, W, 3] in [0, 1] or uint8), a Matplotlib figure, a ``plots.Picture`` or ``plots.Markup``.
        alt: what the picture shows, for readers who cannot see it; the values of the controls are added, and what a
            ``plots.Markup`` says itself. Or a function of the same arguments as ``draw`` that returns the text.
        controls: ``slider(...)``, ``choice(...)`` or ``text(...)``, named like the arguments of ``draw``.

    Returns:
        ``Panel``; leave it as the last line of a cell.

    Raises:
        ValueError: no controls, no alt text.
        Exception: whatever ``draw`` raises at an end or the middle of a control, with the values in a note.
    """
    return Panel(draw, alt, controls)


class Panel(ipywidgets.VBox):
    """Controls above a picture; made by ``explore``.

    ``values``: what the controls say now, a dict.   ``picture``: the ``plots.Picture`` or ``plots.Markup`` on show.
    ``seconds``: how long the last drawing took.   ``error``: the sentence on show after a failure, else "".
    """

    def __init__(self, draw, alt, controls):
        if not controls:
            raise ValueError("A panel needs at least one control, such as angle=widgets.slider(0, 90, 1, 45, 'Angle').")
        if not alt:
            raise ValueError("Say in alt=... what there is to see in the picture.")
        self._draw, self._alt, self._controls, self._quiet = draw, alt, controls, False
        self.seconds, self.error = 0.0, ""
        self._start = {name: control.value for name, control in controls.items()}
        self._try_positions()
        built = {name: control.build() for name, control in controls.items()}
        self._inputs = {name: main for name, (main, _) in built.items()}
        self._image, self._message = ipywidgets.HTML(), ipywidgets.HTML()
        reset = ipywidgets.Button(description="Reset", tooltip="Set every control to its first value", icon="undo")
        reset.on_click(lambda _: self.reset())
        super().__init__([*(row for _, row in built.values()), reset, self._message, self._image])
        self.draw_now()
        for main in self._inputs.values():
            main.observe(lambda _: self._changed(), names="value")

    @property
    def values(self):
        """What the controls say now: dict from name to value."""
        return {name: main.value for name, main in self._inputs.items()}

    @property
    def inputs(self):
        """The controls' widgets by name; setting ``inputs["angle"].value`` moves the slider."""
        return dict(self._inputs)

    def positions(self):
        """The values that are tried when the panel is made: each control at its ends and middle, then all together."""
        tries = {name: control.tries() for name, control in self._controls.items()}
        single = [{**self._start, name: value} for name, values in tries.items() for value in values]
        corners = [{name: values[at] for name, values in tries.items()} for at in (0, -1)]
        found = []
        for position in [self._start, *single, *corners]:
            if position not in found:
                found.append(position)
        return found

    def set(self, **values):
        """Move several controls at once and draw once."""
        unknown = set(values) - set(self._inputs)
        if unknown:
            raise ValueError(f"No control named {', '.join(sorted(unknown))}; there are {', '.join(self._inputs)}.")
        self._quiet = True
        try:
            for name, value in values.items():
                self._inputs[name].value = value
        finally:
            self._quiet = False
        self.draw_now()

    def reset(self):
        """Set every control to its first value and draw once."""
        self.set(**self._start)

    def draw_now(self):
        """Draw for the present values; an error is shown in the panel and raised."""
        values = self.values
        try:
            self.picture = self._picture(values)
        except Exception as error:
            self.error = f"The picture for {_words(values)} failed: {_last_line(error)}"
            self._message.value = f'<p role="alert" style="color:#a40000"><b>{html.escape(self.error)}</b></p>'
            raise
        self._image.value = self.picture.html()
        if self.error:
            self.error = self._message.value = ""

    def _changed(self):
        if not self._quiet:
            self.draw_now()

    def _picture(self, values):
        """``plots.Picture`` or ``plots.Markup`` for ``values``; takes the time."""
        start = time.perf_counter()
        drawn = self._draw(**values)
        picture = copy.copy(drawn) if isinstance(drawn, plots.Markup) else plots.Picture(plots.png(drawn), "")
        self.seconds = time.perf_counter() - start
        if callable(self._alt):
            picture.alt = self._alt(**values)
        else:
            picture.alt = f"{self._alt.rstrip('.')}. {_words(values)}. {picture.alt}".rstrip()
        return picture

    def _try_positions(self):
        for position in self.positions():
            try:
                self._picture(position)
            except Exception as error:
                error.add_note(f"The slider panel was tried at {_words(position)}.")
                raise

    def _repr_mimebundle_(self, **kwargs):
        """The widget, and beside it the picture for readers whose notebook has no kernel."""
        picture, metadata = self.picture._repr_mimebundle_()
        picture["text/plain"] = f"[sliders: {self.picture.alt}]"
        return super()._repr_mimebundle_(**kwargs) | picture, metadata


def _words(values):
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _last_line(error):
    """The traceback's last line, ``ValueError: ...``, a message of several lines drawn into one."""
    return " ".join(f"{type(error).__name__}: {error}".split())
