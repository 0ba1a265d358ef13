"""Slider panels: controls are tried at their ends, errors are shown and raised, a picture stays without a kernel."""

import base64
import io
import time

import numpy as np
import pytest
from PIL import Image

from aigc_course import plots, widgets

pytestmark = pytest.mark.any_backend


def grey(level, width=4):
    return np.full((3, width), level / 10, np.float32)


def pixel(panel):
    return int(np.asarray(Image.open(io.BytesIO(panel.picture.data)))[0, 0])


@pytest.fixture
def panel():
    controls = {
        "level": widgets.slider(0.0, 10.0, 0.1, 5.0, "Grey level"),
        "width": widgets.slider(1, 9, 2, 3, "Width"),
    }
    return widgets.explore(grey, alt="A grey box.", **controls)


def test_the_picture_follows_the_slider_and_the_number_box(panel):
    assert pixel(panel) == 128
    panel.inputs["level"].value = 10.0
    assert pixel(panel) == 255
    number = panel.children[0].children[0]
    number.value = 0.0
    assert panel.values == {"level": 0.0, "width": 3}
    assert pixel(panel) == 0
    assert panel.picture.html() == panel.children[-1].value


def test_every_control_has_a_name_and_the_picture_a_text(panel):
    for row, name in zip(panel.children, ("Grey level", "Width"), strict=False):
        number, slider = row.children
        assert number.description == name and slider.tooltip == name
    assert panel.picture.alt == "A grey box. level = 5.0, width = 3."
    panel.inputs["width"].value = 9
    assert 'alt="A grey box. level = 5.0, width = 9."' in panel.children[-1].value


def test_alt_can_be_a_function():
    made = widgets.explore(grey, alt=lambda level: f"{level} of 10", level=widgets.slider(0, 10, 1, 4, "Level"))
    assert made.picture.alt == "4 of 10"


def test_positions_are_both_ends_and_the_middle_of_every_control(panel):
    tried = panel.positions()
    assert {p["level"] for p in tried} == {0.0, 5.0, 10.0}
    assert {p["width"] for p in tried} == {1, 3, 5, 9}
    assert {"level": 0.0, "width": 1} in tried and {"level": 10.0, "width": 9} in tried


@pytest.mark.parametrize("bad", [0, 5, 10])
def test_a_function_that_breaks_at_an_end_or_in_the_middle_fails_the_cell(bad):
    def draw(level):
        if level == bad:
            raise ZeroDivisionError("far end")
        return grey(level)

    with pytest.raises(ZeroDivisionError, match="far end") as caught:
        widgets.explore(draw, alt="Box", level=widgets.slider(0, 10, 1, 3, "Level"))
    assert f"level = {bad}" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    "result", [None, "text", np.full((2, 2), np.nan), np.full((2, 2), -1.0), np.zeros((2, 2, 2)), b"GIF"]
)
def test_what_is_not_a_picture_fails_the_cell(result):
    with pytest.raises((ValueError, TypeError)):
        widgets.explore(lambda level: result, alt="Box", level=widgets.slider(0, 10, 1, 3, "Level"))


@pytest.mark.parametrize("kind", ["array", "bytes", "figure", "picture"])
def test_kinds_of_pictures(kind):
    def draw(level):
        if kind == "figure":
            figure, axes = plots.new_figure(2, 2, layout=None)
            axes.plot([0, level])
            return figure
        array = grey(level)
        return {"array": array, "bytes": plots.png(array), "picture": plots.Picture(plots.png(array), "x")}[kind]

    made = widgets.explore(draw, alt="Box", level=widgets.slider(0, 10, 5, 5, "Level"))
    before = made.picture.data
    made.inputs["level"].value = 10
    assert before[:4] == b"\x89PNG" and made.picture.data != before


def test_a_later_error_is_shown_raised_and_goes_away():
    broken = []

    def draw(level):
        if level == 7 and broken:
            raise RuntimeError("first line\nand <this> last line")
        return grey(level)

    made = widgets.explore(draw, alt="Box", level=widgets.slider(0, 10, 1, 3, "Level"))
    broken.append(True)
    with pytest.raises(RuntimeError):
        made.inputs["level"].value = 7
    assert made.error == "The picture for level = 7 failed: RuntimeError: first line and <this> last line"
    assert "&lt;this&gt;" in made.children[-2].value
    made.inputs["level"].value = 8
    assert made.error == made.children[-2].value == ""


def test_reset_and_set_draw_once():
    drawn = []

    def draw(level, width):
        drawn.append((level, width))
        return grey(level, width)

    made = widgets.explore(
        draw, alt="Box", level=widgets.slider(0, 10, 1, 3, "Level"), width=widgets.slider(1, 9, 1, 2, "Width")
    )
    drawn.clear()
    made.set(level=9, width=8)
    assert drawn == [(9, 8)]
    drawn.clear()
    made.children[2].click()
    assert drawn == [(3, 2)] and made.values == {"level": 3, "width": 2}
    with pytest.raises(ValueError, match="No control named depth"):
        made.set(depth=1)


def test_choices_and_texts():
    def draw(name, digit):
        return grey(digit, width=1 + len(name))

    made = widgets.explore(
        draw,
        alt="Box",
        name=widgets.text("abc", "Name", examples=["x" * 100]),
        digit=widgets.choice({"one": 1, "nine": 9}, 1, "Digit"),
    )
    assert {p["name"] for p in made.positions()} == {"", "abc", "x" * 100}
    assert {p["digit"] for p in made.positions()} == {1, 9}
    made.set(name="", digit=9)
    assert made.picture.size == (1, 3)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: widgets.slider(1, 1, 1, 1, "S"), "low < high"),
        (lambda: widgets.slider(5, 1, 1, 2, "S"), "low < high"),
        (lambda: widgets.slider(0, 1, 0, 0, "S"), "step"),
        (lambda: widgets.slider(0, 1, 2, 0, "S"), "step"),
        (lambda: widgets.slider(0, 1, 1, 3, "S"), "starts at 3"),
        (lambda: widgets.slider(0, float("nan"), 1, 0, "S"), "finite"),
        (lambda: widgets.choice([], None, "C"), "no options"),
        (lambda: widgets.choice([1, 2], 3, "C"), "not one of"),
        (lambda: widgets.explore(grey, alt="Box"), "at least one control"),
        (lambda: widgets.explore(grey, alt="", level=widgets.slider(0, 1, 1, 0, "S")), "alt"),
    ],
)
def test_wrong_controls_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_steps_stay_round():
    assert widgets.slider(0.0, 1.0, 0.1, 0.3, "S").tries() == [0.0, 0.5, 1.0]
    assert widgets.slider(0, 9, 2, 4, "S").tries() == [0, 4, 9]
    made = widgets.explore(lambda a: grey(a), alt="Box", a=widgets.slider(0.0, 1.0, 0.1, 0.3, "S"))
    made.inputs["a"].value = 0.1 + 0.2
    assert made.children[0].children[0].value == 0.3


@pytest.fixture
def echo():
    """A panel that shows in HTML what its text control says."""

    def draw(text):
        return plots.Markup(f"<b>{text}</b>", f"{len(text)} characters.")

    return widgets.explore(draw, alt="An echo", text=widgets.text("三月", "Text", examples=["x" * 60]))


def test_markup_follows_the_text_letter_by_letter(echo):
    box = echo.inputs["text"]
    assert box.continuous_update
    assert echo.picture.alt == "An echo. text = 三月. 2 characters."
    for typed in ("三", "", "九日"):
        box.value = typed
        assert echo.children[-1].value == echo.picture.html()
        assert f"<b>{typed}</b>" in echo.picture.html() and f"{len(typed)} characters." in echo.picture.alt


def test_without_a_kernel_the_markup_is_there_and_no_png(echo):
    data, metadata = echo._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data and "image/png" not in data
    assert data["text/html"] == echo.picture.html() and data["text/plain"].startswith("[sliders: An echo.")
    assert metadata == {"text/html": {"alt": echo.picture.alt}}


def test_alt_of_markup_can_be_a_function():
    made = widgets.explore(
        lambda n: plots.Markup("日" * n, "Days."), alt=lambda n: f"{n} days", n=widgets.slider(0, 3, 1, 2, "Days")
    )
    assert made.picture.alt == "2 days" and made.picture.body == "日日"


def test_without_a_kernel_the_picture_is_there(panel):
    data, metadata = panel._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert base64.b64decode(data["image/png"]) == panel.picture.data
    assert metadata["image/png"]["alt"] == panel.picture.alt and "<img alt=" in data["text/html"]


def test_a_step_costs_little_beside_the_drawing(panel):
    """Under 20 ms in the kernel for a small picture; the best of several, since the machine may be busy."""
    times = []
    for level in np.arange(0, 5, 0.5):
        start = time.perf_counter()
        panel.inputs["level"].value = float(level)
        times.append(time.perf_counter() - start)
    assert min(times) < 0.02
    assert 0 < panel.seconds < 1
