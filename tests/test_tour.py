"""Pictures and numbers of chapter 00."""

import math
import re
from types import SimpleNamespace

import numpy as np
import pytest

from aigc_course import corrections, notebooks, tour
from aigc_course.datasets import load_digits


@pytest.fixture(scope="module")
def digits():
    return load_digits()


@pytest.fixture
def striped_gan():
    """Draws the first latent number of each place as a flat grey picture."""

    def generate(noise):
        grey = 1.0 / (1.0 + np.exp(-noise[:, 0]))
        return np.broadcast_to(grey[:, None, None, None], (len(noise), 28, 28, 1)).astype("float32")

    return SimpleNamespace(latent_dim=3, generate=generate)


def words(figure):
    return [text.get_text() for text in figure.axes[0].texts if text.get_text()]


def demand_inside(figure):
    """No text of the figure sticks out of it, and no two texts overlap."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    renderer = FigureCanvasAgg(figure).get_renderer()
    width, height = figure.canvas.get_width_height()
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in figure.axes[0].texts if t.get_text()]
    for text, box in boxes:
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, text
    for i, (one, a) in enumerate(boxes):
        for other, b in boxes[i + 1 :]:
            assert not (a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 and b.y0 < a.y1), (one, other)


# The walk


def test_circle_passes_through_two_independent_codes():
    start, quarter = tour.circle_points(0, 5, 7, 3), tour.circle_points(90, 5, 7, 3)
    assert start.shape == (7, 3) and start.dtype == np.float32
    np.testing.assert_allclose(tour.circle_points(30, 5, 7, 3), math.sqrt(0.75) * start + 0.5 * quarter, atol=1e-6)
    np.testing.assert_allclose(tour.circle_points(360, 5, 7, 3), start, atol=1e-6)
    assert (
        abs(np.corrcoef(tour.circle_points(0, 1, 999, 9).ravel(), tour.circle_points(90, 1, 999, 9).ravel())[0, 1])
        < 0.05
    )


@pytest.mark.parametrize("angle", [0, 45, 90, 200])
def test_every_angle_is_a_fair_draw(angle):
    points = tour.circle_points(angle, 2, 2001, 5)
    assert abs(points.mean()) < 0.05 and abs(points.var() - 1) < 0.05  # a straight line has variance 1/2 half-way


def test_walk_is_deterministic_and_follows_both_sliders(striped_gan):
    draw = tour.latent_walk(striped_gan, rows=2, columns=3)
    picture = draw(angle=40, seed=1)
    assert picture.ndim == 2 and picture.dtype == np.uint8 and picture.shape[1] > picture.shape[0]
    np.testing.assert_array_equal(picture, draw(angle=40, seed=1))
    np.testing.assert_array_equal(draw(angle=0, seed=1), draw(angle=360, seed=1))
    assert (picture != draw(angle=45, seed=1)).any() and (picture != draw(angle=40, seed=2)).any()


def test_walk_shows_the_present_weights():
    from aigc_course import gan

    model = gan.GAN(gan.DCGANGenerator(latent_dim=5, width=2), gan.DCGANDiscriminator(width=2))
    draw = tour.latent_walk(model, rows=1, columns=2)
    before = draw(angle=10, seed=0)
    model.generator.set_weights([w + 0.5 for w in model.generator.get_weights()])
    assert (before != draw(angle=10, seed=0)).any()


# The map


def test_families_and_uses_are_two_axes():
    for family in tour.FAMILIES:
        assert set(family.examples) == set(tour.USES), f"{family.name} leaves a place of the map empty"
        assert not hasattr(family, "parent")
    examples = [example for family in tour.FAMILIES for example in family.examples.values()]
    assert len(set(examples)) == len(examples)
    names = [family.name for family in tour.FAMILIES]
    assert not any(
        name in family.name or name in family.idea for family in tour.FAMILIES for name in names if name != family.name
    )


def test_usual_choices_of_today_are_no_gan():
    assert {("autoregressive", "text"), ("diffusion", "pictures")} == tour.MAINSTREAM


def test_family_map_shows_every_place_and_no_arrow():
    figure = tour.family_map()
    shown = words(figure)
    for family in tour.FAMILIES:
        assert family.name in shown
        for use in tour.USES:
            assert family.examples[use] in shown and use in shown
    assert not any(getattr(text, "arrow_patch", None) for text in figure.axes[0].texts)
    demand_inside(figure)


def test_chapters_on_the_map_exist_in_the_plan():
    planned = {number for number, _, _ in tour.CHAPTERS}
    assert [number for number, _, _ in tour.CHAPTERS] == [f"{i:02d}" for i in range(18)]
    for family in tour.FAMILIES:
        for numbers in family.chapters.values():
            assert set(numbers.split(", ")) <= planned


def test_timeline_is_in_order_and_readable():
    years = [year for year, _, _ in tour.HISTORY]
    assert years == sorted(years) and {name for _, name, _ in tour.HISTORY} == {f.name for f in tour.FAMILIES}
    figure = tour.timeline()
    assert {str(year) for year in years} <= set(words(figure))
    demand_inside(figure)


def test_sources_say_who_what_and_when():
    known = {reference.title for reference in corrections.bibliography().values()}
    for source in tour.SOURCES:
        assert re.search(r"\b(19|20)\d\d\b", source) and source.endswith("."), source
        assert not any(title in source for title in known), f"{source} is in bibliography.toml: cite it from there"
        assert f"- {source}" in tour.map_sources()


def test_pipeline_tells_the_sizes_of_the_digits(digits):
    figure = tour.pipeline_figure(digits)
    text = "\n".join(words(figure))
    assert len(tour.pipeline_stages(digits)) == 8
    for number in ("10,000", "8,000 train", "1,000 validate", "1,000 test", "28 x 28 x 1"):
        assert number in text
    demand_inside(figure)


# Scores


def test_mean_gap_by_hand():
    one = np.array([[0.1, 0.9], [0.3, 0.3]])  # averages 0.2, 0.6
    other = np.array([[0.5, 0.2]] * 3)
    assert tour.mean_gap(one, other) == pytest.approx(math.sqrt(0.125))


def test_block_features_are_means_of_squares():
    images = np.random.default_rng(0).uniform(size=(3, 28, 28, 1))
    features = tour.block_features(images)
    assert features.shape == (3, 49)
    assert features[2, 1 * 7 + 4] == pytest.approx(images[2, 4:8, 16:20, 0].mean())


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_averages_prefer_the_smudge_and_the_frechet_distance_does_not(digits, seed):
    reference, sets = tour.tiny_sets(digits, 300, seed)
    gaps = {name: tour.mean_gap(images, reference) for name, images in sets.items()}
    distances = {name: tour.block_distance(images, reference) for name, images in sets.items()}
    assert gaps["the mean picture"] < gaps["other real digits"] < gaps["noise"]
    assert 0 < distances["other real digits"] < distances["the mean picture"] < distances["noise"]


def test_floor_falls_with_the_number_of_pictures(digits):
    floors = [
        tour.block_distance(sets["other real digits"], reference)
        for reference, sets in (tour.tiny_sets(digits, num, 4) for num in (100, 300, 1000))
    ]
    assert floors[0] > 1.5 * floors[1] > 2.25 * floors[2]


def test_real_wins_needs_a_score_that_sees_variety(digits):
    assert tour.real_wins(tour.block_distance, digits)
    assert not tour.real_wins(tour.mean_gap, digits)
    assert not tour.real_wins(lambda images, reference: 0.0, digits)


def test_floor_walk_draws_at_both_ends(digits):
    draw = tour.floor_walk(digits)
    few, many = draw(num_pictures=100), draw(num_pictures=1000)
    assert few.shape == many.shape and few.dtype == np.uint8 and (few != many).any()
    np.testing.assert_array_equal(few, draw(num_pictures=100))
    assert (few == tour.REAL_COLOUR).all(axis=-1).sum() > (many == tour.REAL_COLOUR).all(axis=-1).sum()


def test_bars_grow_with_the_value_and_stay_on_the_page():
    picture = tour.bar_picture({"real": 0.1, "other": 0.0, "far": 1e9}, "title", width=400)
    assert picture.shape == (142, 400, 3)
    lengths = [(picture[38 + 34 * row + 2] != 255).any(axis=-1).sum() for row in range(3)]
    assert lengths[1] < lengths[0] < lengths[2] < 400


def test_score_table_puts_the_best_first():
    lines = tour.score_table({"gap": {"a": 2.0, "b": 1.0}, "distance": {"a": 0.12345, "b": 7.0}}).splitlines()
    assert lines == ["| set | gap | distance |", "|---|---|---|", "| b | 1 | 7 |", "| a | 2 | 0.123 |"]


# The course's map, the chapter


def test_course_map_links_only_what_is_there(tmp_path):
    (tmp_path / "chapters" / "src").mkdir(parents=True)
    (tmp_path / "chapters" / "02_gan_mathematics.ipynb").touch()
    (tmp_path / "chapters" / "src" / "03_gan_images.py").touch()
    rows = tour.course_map(tmp_path).splitlines()[2:]
    assert len(rows) == 18
    assert "[GAN mathematics](02_gan_mathematics.ipynb)" in rows[2] and rows[2].endswith("| yes |")
    assert "(03_gan_images.ipynb)" in rows[3]
    assert "](" not in rows[4] and rows[4].endswith("| to come |")


def test_milliseconds_is_a_median_of_real_calls():
    calls = []
    assert tour.milliseconds(lambda x: calls.append(x), [{"x": 1}, {"x": 2}, {"x": 3}]) >= 0
    assert calls == [1, 1, 2, 3]


def test_slider_is_in_the_third_cell_and_every_text_has_its_translation():
    source = notebooks.find(0)
    english, chinese = notebooks.make(source, "student"), notebooks.make(source, "zh")
    assert "widgets.explore" in english.cells[2].source
    pairs = zip(english.cells, chinese.cells, strict=True)
    texts = [(one.source, two.source) for one, two in pairs if one.cell_type == "markdown"]
    for one, two in texts:
        assert one != two and re.search(r"[\u4e00-\u9fff]", two), one.splitlines()[0]
        assert re.findall(r"\$\$.+?\$\$", one, re.S) == re.findall(r"\$\$.+?\$\$", two, re.S)
