"""A slider panel in a real JupyterLab: speed, alt text, names, reset, errors, and nothing fetched from outside."""

import statistics

import nbformat
import pytest

from aigc_course import notebook_runs
from tests.browser import lab as browser

AIM = 100  # milliseconds from key press to new picture, on an idle machine with two cores
SLACK = 5  # a busy CI machine may take so many times longer

PANEL = """
import numpy as np
from aigc_course import plots, widgets

side = np.linspace(-1, 1, 28)
def draw(angle, count):
    turns = np.deg2rad(angle) + np.arange(count) * 2 * np.pi / count
    waves = np.cos(8 * (side[:, None] * np.cos(turns[:, None, None]) + side * np.sin(turns[:, None, None])))
    return plots.enlarge(plots.image_grid(waves / 2 + 0.5, columns=10), 2)
panel = widgets.explore(draw, alt="Waves in turned directions", angle=widgets.slider(0, 90, 1, 20, "Angle in degrees"),
                        count=widgets.slider(1, 100, 1, 100, "Pictures"))
panel
"""
BROKEN = """
def draw_or_fail(size):
    if size == 7 and not first_time:
        raise ValueError("size 7 is broken")
    return np.full((20, 20 + size), 0.5)
first_time = True
fragile = widgets.explore(draw_or_fail, alt="A grey box", size=widgets.slider(0, 9, 1, 5, "Width"))
first_time = False
fragile
"""
TYPED = """
from types import SimpleNamespace
import numpy as np
from aigc_course import seq2seq_plots, widgets

class Backwards:
    def translate_in_detail(self, texts):
        return [SimpleNamespace(source_tokens=list(t), tokens=list(t[::-1]), probabilities=np.full(len(t), 0.5),
                                attention=np.eye(len(t))[::-1]) for t in texts]
panel = widgets.explore(seq2seq_plots.translation_panel(Backwards()), alt="Backwards",
                        text=widgets.text("九月", "Text to turn"))
panel
"""


def saved_cell(source=PANEL):
    """A cell as a chapter keeps it: executed, with the panel's output but no widget state."""
    names = {}
    exec(source, names)
    data, metadata = names["panel"]._repr_mimebundle_()
    output = nbformat.v4.new_output("execute_result", data, metadata=metadata, execution_count=1)
    return nbformat.v4.new_code_cell(source, outputs=[output], execution_count=1)


def write_notebook(path, cells):
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    if reason := browser.missing():
        pytest.skip(f"BROWSER TESTS SKIPPED: {reason}")
    folder = tmp_path_factory.mktemp("served")
    write_notebook(folder / "sliders.ipynb", [nbformat.v4.new_code_cell(source) for source in (PANEL, BROKEN, TYPED)])
    saved = nbformat.v4.new_notebook(cells=[saved_cell(), saved_cell(TYPED)])
    write_notebook(folder / "saved.ipynb", notebook_runs.clean(saved).cells)
    with browser.served(folder) as opened:
        opened.open("sliders.ipynb")
        opened.run_all(120)
        opened.page.wait_for_selector(".noUi-handle", timeout=30_000)
        yield opened


@pytest.mark.slow
def test_slider_follows_the_keys(lab, tmp_path, capsys):
    times = lab.slider_times(lab.sliders().nth(0), moves=30)
    with capsys.disabled():
        print(f"\nslider: {browser.summary(times)}")
    paths = lab.screenshots(tmp_path / "sliders.png")
    assert len(times) == 30
    assert statistics.median(dom for dom, _ in times) <= AIM * SLACK
    assert all(path.stat().st_size > 5_000 for path in paths)


@pytest.mark.slow
def test_number_box_moves_the_slider_and_reset_moves_it_back(lab):
    box = lab.page.get_by_label("Angle in degrees").first
    box.fill("33")
    box.press("Enter")
    image = lab.page.locator(".jp-OutputArea img").first
    lab.page.wait_for_function("() => document.querySelector('.jp-OutputArea img').alt.includes('angle = 33')")
    assert lab.sliders().nth(0).get_attribute("aria-valuenow") == "33.0"
    lab.page.get_by_role("button", name="Reset").first.press("Enter")
    lab.page.wait_for_function("() => document.querySelector('.jp-OutputArea img').alt.includes('angle = 20')")
    assert image.get_attribute("alt") == "Waves in turned directions. angle = 20, count = 100."


@pytest.mark.slow
def test_an_error_is_shown_and_goes_away(lab):
    box = lab.page.get_by_label("Width").first
    box.fill("7")
    box.press("Enter")
    alert = lab.page.get_by_role("alert")
    alert.wait_for(timeout=10_000)
    assert alert.inner_text() == "The picture for size = 7 failed: ValueError: size 7 is broken"
    box.fill("6")
    box.press("Enter")
    alert.wait_for(state="detached", timeout=10_000)


@pytest.mark.slow
def test_a_picture_in_html_follows_the_text_letter_by_letter(lab):
    box = lab.page.get_by_label("Text to turn").first
    box.fill("")
    lab.page.get_by_text("Nothing was written.").wait_for(timeout=10_000)
    box.press_sequentially("Sunday 9 三月", delay=20)
    lab.page.get_by_role("img", name="Written: “月三 9 yadnuS”").wait_for(timeout=10_000)
    assert box.input_value() == "Sunday 9 三月"


@pytest.mark.slow
def test_page_is_quiet_and_described(lab):
    assert lab.outside == []
    assert lab.dialogs() == []
    assert lab.errors() == []
    assert lab.pictures_without_alt() == 0


@pytest.mark.slow
def test_without_a_kernel_the_picture_is_shown(lab):
    """A notebook saved without widget state shows the panel's picture, described, instead of an error."""
    lab.open("saved.ipynb")
    image = lab.page.locator(".jp-OutputArea img")
    image.wait_for(timeout=60_000)
    assert image.get_attribute("alt") == "Waves in turned directions. angle = 20, count = 100."
    assert lab.errors() == []


@pytest.mark.slow
def test_without_a_kernel_the_html_keeps_its_form(lab):
    """A notebook that is not trusted loses what JupyterLab's sanitiser drops; the map keeps its grid and its shades."""
    lab.open("saved.ipynb")
    cell = lab.page.locator(".jp-OutputArea i[title='月 ← 月: 1.00']")
    cell.wait_for(timeout=60_000)
    ground, other = (
        found.evaluate("e => getComputedStyle(e).backgroundColor")
        for found in (cell, lab.page.locator(".jp-OutputArea i[title='月 ← 九: 0.00']"))
    )
    assert ground != other and "rgba(0, 0, 0, 0)" not in (ground, other)
    assert cell.evaluate("e => getComputedStyle(e.parentElement).display") == "grid"
    assert lab.errors() == []
