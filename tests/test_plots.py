"""Pictures: right pixels, alt text on each, clear words for wrong input, and quick enough for a slider."""

import base64
import io
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from aigc_course import plots

pytestmark = pytest.mark.any_backend


def decode(data):
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3), (1, 1), (300, 2)])
def test_png_keeps_every_pixel(shape):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    for level in (1, 6):
        assert np.array_equal(decode(plots.png(array, level)), array)
    if array.ndim == 2:
        assert np.array_equal(decode(plots.png(array[..., None])), array)


def test_png_of_floats_booleans_and_slices():
    assert decode(plots.png(np.array([[0.0, 0.5, 1.0]]))).tolist() == [[0, 128, 255]]
    assert decode(plots.png(np.array([[True, False]]))).tolist() == [[255, 0]]
    assert decode(plots.png(np.arange(100, dtype=np.uint8).reshape(10, 10)[::2, ::-2])).shape == (5, 5)
    with pytest.raises(ValueError, match="not a PNG"):
        plots.png(b"GIF89a")


def test_grid_places_every_image():
    images = np.zeros((5, 3, 4))
    images[3] = 1.0
    grid = plots.image_grid(images, columns=3)
    assert grid.shape == (2 * 3 + 1, 3 * 4 + 2)
    assert (grid[4:, :4] == 255).all() and (grid[:3, :4] == 0).all()
    assert (grid[3] == 255).all() and (grid[:, 4] == 255).all()
    assert (grid[4:, 10:] == 255).all()  # the empty place


@pytest.mark.parametrize(
    ("shape", "columns", "result"),
    [
        ((1, 28, 28, 1), None, (28, 28)),
        ((2, 4, 6, 3), None, (4, 13, 3)),
        ((3, 4, 6), 50, (4, 20)),
        ((400, 2, 2), 20, (59, 59)),
    ],
)
def test_grid_shapes(shape, columns, result):
    assert plots.image_grid(np.zeros(shape), columns).shape == result


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (np.linspace(-1, 1, 32).reshape(2, 4, 4), r"tanh, \[-1, 1\]"),
        (np.linspace(0, 255, 32).reshape(2, 4, 4), "divide by 255"),
        (np.linspace(-9, 99, 32).reshape(2, 4, 4), "from -9 to 99"),
        (np.full((1, 2, 2), np.nan), "NaN in 4 of 4"),
        (np.full((1, 2, 2), np.inf), "from inf to inf"),
        (np.zeros((0, 4, 4)), "at least one pixel"),
        (np.zeros((4, 4)), r"\[N, H, W\]"),
        (np.zeros((2, 4, 4, 2)), r"\[N, H, W, 3\]"),
        (np.array([[["a"]]]), "must hold numbers"),
    ],
)
def test_wrong_images_are_named(images, words):
    with pytest.raises(ValueError, match=words):
        plots.image_grid(images)


def test_rounding_beyond_the_range_is_forgiven():
    assert plots.image_grid(np.array([[[-1e-5, 1 + 1e-5]]])).tolist() == [[0, 255]]


def test_wrong_columns_and_labels():
    images = np.zeros((4, 5, 5))
    for wrong in (0, -1, 1.5):
        with pytest.raises(ValueError, match="columns"):
            plots.image_grid(images, columns=wrong)
    with pytest.raises(ValueError, match="3 entries for 4 images"):
        plots.draw_images(images, titles=["a", "b", "c"])
    with pytest.raises(ValueError, match="1 entries for 2 rows"):
        plots.draw_images(images, columns=2, row_labels=["a"])


def test_pictures_carry_their_text():
    picture = plots.draw_images(np.zeros((6, 4, 5, 3)), columns=3, titles=list("abcdef"), row_labels=["real", "<made>"])
    data, metadata = picture._repr_mimebundle_()
    assert picture.alt == "6 images in 2 rows of 3; titles: a, b, c, d, e, f; rows: real, <made>."
    assert metadata == {"image/png": {"alt": picture.alt}}
    assert 'alt="6 images' in data["text/html"] and "&lt;made&gt;" in data["text/html"]
    assert base64.b64decode(data["image/png"]) == picture.data
    assert decode(picture.data).shape[:2][::-1] == picture.size
    assert plots.draw_images(np.zeros((1, 4, 5)), alt="A square").alt == "A square"


def test_titles_do_not_cover_images():
    images = np.zeros((2, 10, 10))
    plain, titled = (decode(plots.draw_images(images, titles=titles).data) for titles in (None, ["a", "b"]))
    assert (titled == 0).sum() >= (plain == 0).sum() == 2 * 20 * 20


def test_markup_is_heard_as_its_text():
    picture = plots.Markup("<i>月</i>", 'Month "<&')
    data, metadata = picture._repr_mimebundle_()
    assert data == {
        "text/plain": '[picture: Month "<&]',
        "text/html": '<div role="img" aria-label="Month &quot;&lt;&amp;"><i>月</i></div>',
    }
    assert metadata == {"text/html": {"alt": picture.alt}}
    for wrong in ({"alt": " "}, {"alt": "A", "role": "table"}):
        with pytest.raises(ValueError, match=r"alt|role"):
            plots.Markup("<i></i>", **wrong)


def test_stacked_markup_keeps_every_text():
    month, day = plots.Markup("月", "Month."), plots.Markup("日", "Day.")
    both = plots.stack(month, day)
    assert (both.body, both.alt, both.role) == ("月日", "Month. Day.", "img")
    table = plots.Markup("<table></table>", "A table.", "group")
    mixed = plots.stack(month, table)
    assert mixed.role == "group" and mixed.body == month.html() + table.html()
    with pytest.raises(ValueError, match="nothing to stack"):
        plots.stack()


def test_curves_are_described():
    picture = plots.draw_curves({"loss": [3.0, 1.0, 2.0]}, xlabel="epoch", ylabel="nats", title="Training")
    assert picture.alt == "Training over epoch (nats): loss from 3 to 2, between 1 and 3."
    assert picture.size == (640, 360)
    assert "no finite values" in plots.draw_curves({"loss": [np.nan]}).alt
    many = {f"curve {i}": np.arange(3) + i for i in range(20)}
    assert plots.draw_curves(many | {"other x": (np.array([0, 2]), np.array([1, 1]))}, log=True).alt.count("from") == 21
    shaded = plots.draw_curves({"a": [1, 2]}, bands={"a": ([0, 1], [2, 3])}, alt="A with its band")
    assert shaded.alt == "A with its band" and shaded.data != plots.draw_curves({"a": [1, 2]}).data


@pytest.mark.parametrize("curves", [{}, {"a": []}, {"a": [[1, 2]]}, {"a": ([1, 2], [1, 2, 3])}])
def test_wrong_curves(curves):
    with pytest.raises(ValueError, match="curve"):
        plots.draw_curves(curves)


def test_pictures_are_deterministic():
    first, second = (plots.draw_curves({"a": [1, 2], "b": [2, 1]}).data for _ in range(2))
    assert first == second


def test_a_pyplot_figure_is_closed():
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, _ = pyplot.subplots()
    plots.png(figure)
    assert not pyplot.fignum_exists(figure.number)


def test_outside_a_notebook_the_text_is_printed(capsys):
    plots.show(np.zeros((2, 2)), alt="A black square")
    plots.show_images(np.zeros((2, 2, 2)))
    plots.show_curves({"a": [1, 2]})
    plots.show(plots.Markup("月", "Month"))
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "[picture: A black square]" and printed[-1] == "[picture: Month]"
    with pytest.raises(ValueError, match="alt"):
        plots.show(np.zeros((2, 2)))


def test_colours_differ_for_colour_blind_readers():
    """Neighbours in the palette differ in lightness or hue even when red and green look alike (Viénot et al., 1999)."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in plots.PALETTE]) ** 2.2
    deuteranope = rgb @ np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]).T
    seen = np.clip(deuteranope, 0, 1) ** (1 / 2.2)
    distances = np.linalg.norm(seen[:, None] - seen, axis=-1) + np.eye(len(seen))
    assert distances.min() > 0.15


def test_a_grid_is_quick():
    """280 x 280 pixels in under 5 ms; the best of several, since the machine may be busy."""
    images = np.random.default_rng(0).random((100, 28, 28, 1)) ** 4
    times = []
    for _ in range(20):
        start = time.perf_counter()
        plots.png(plots.image_grid(images, columns=10))
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005


def test_import_loads_nothing_heavy():
    code = "import sys; from aigc_course import plots, check; print({'matplotlib', 'keras', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "set()"
