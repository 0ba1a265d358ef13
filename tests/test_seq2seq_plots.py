"""Pictures of chapter 06: the right numbers at the right places, safe text, words where nothing can be drawn."""

import re
import time
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pytest

from aigc_course import plots, seq2seq_plots, widgets
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

WEIGHTS = [[0.7, 0.2, 0.1], [0.0, 0.25, 0.75]]


def translation(source="9 月", tokens="九⊣", probabilities=(0.5, 0.97), attention=WEIGHTS, alternatives=None):
    """What ``seq2seq.Translation`` holds, of one-character tokens."""
    alternatives = alternatives or [[("九", 0.5), ("月", 0.3), (" ", 0.2)], [("⊣", 0.97), ("年", 0.03)]]
    return SimpleNamespace(
        source_tokens=list(source),
        tokens=list(tokens),
        probabilities=np.array(probabilities),
        attention=None if attention is None else np.array(attention),
        alternatives=alternatives,
    )


def random_translation(num_read, num_written):
    rng = np.random.default_rng(0)
    return translation(
        "x" * num_read,
        "y" * num_written,
        rng.random(num_written),
        rng.dirichlet(np.ones(num_read), num_written),
        [[("y", 0.9), ("z", 0.1)]] * num_written,
    )


class Reader(HTMLParser):
    """``elements``: (tag, attributes, own text) of all elements, closed in order; ``text``: all texts as they stand."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.open[-1][2] += data
        self.text += data


def cells(picture):
    """Tooltips of all shaded cells, and the strength of their shades."""
    found = [held for tag, held, _ in Reader(picture.html()).elements if tag == "i" and "title" in held]
    return {held["title"]: float(re.search(r",([\d.]+)\)", held["style"])[1]) for held in found}


def words(picture):
    return Reader(picture.html()).text


DRAWINGS = {
    "map": seq2seq_plots.attention_map,
    "strip": seq2seq_plots.confidence_strip,
    "view": seq2seq_plots.translation_view,
    "step": lambda t: seq2seq_plots.decoding_step(t, 0),
}


# Every drawing


@pytest.mark.parametrize("name", DRAWINGS)
@pytest.mark.parametrize(
    "case",
    [
        translation(),
        translation(attention=None),
        translation("", "", (), np.zeros((0, 0)), []),
        translation("", "⊣", (0.3,), np.zeros((1, 0)), [[("⊣", 0.3)]]),
        translation("9", "九", (1.0,), [[1.0]], [[("九", 1.0)]]),
        random_translation(48, 24),
    ],
    ids=["plain", "no attention", "nothing", "nothing read", "one token", "long"],
)
def test_every_drawing_is_whole_described_and_deterministic(name, case):
    picture = DRAWINGS[name](case)
    root = Reader(picture.html()).elements[0]
    assert root[1] == {"role": "img", "aria-label": picture.alt} and picture.alt.strip()
    assert DRAWINGS[name](case).html() == picture.html()
    assert not re.search(r"<script|<style|url\(|var\(|https?:", picture.html())


@pytest.mark.parametrize("name", DRAWINGS)
def test_text_is_escaped_and_spaces_are_seen(name):
    nasty = translation("<&\"' ", "<⊣", (0.9, 0.9), np.full((2, 5), 0.2), [[("<", 0.9), (" ", 0.1)], [("⊣", 0.9)]])
    picture = DRAWINGS[name](nasty)
    assert "<" in words(picture) and "<<" not in picture.html() and '<&"' not in picture.html()
    if name in ("map", "step"):
        assert "␣" in words(picture) and "&quot;" in picture.html() and "&#x27;" in picture.html()


def test_signs_say_what_they_stand_for():
    picture = seq2seq_plots.attention_map(translation("�\u3000月"))
    named = {
        text: held["title"] for tag, held, text in Reader(picture.html()).elements if tag == "span" and "title" in held
    }
    assert named == {"�": "unknown character", "␣": "space", "⊣": "end"}
    assert "⊣" not in picture.alt and "end at" in picture.alt


@pytest.mark.parametrize("name", DRAWINGS)
def test_unequal_lengths_are_refused(name):
    with pytest.raises(ValueError, match="1 probabilities for 2 tokens"):
        DRAWINGS[name](translation(probabilities=(0.5,)))
    with pytest.raises(ValueError, match=r"shape \(3, 2\), not \[T, S\] = \(2, 3\)"):
        DRAWINGS[name](translation(attention=np.array(WEIGHTS).T))


# One translation


def test_map_has_a_cell_for_every_weight_the_darker_the_heavier():
    shades = cells(seq2seq_plots.attention_map(translation()))
    assert list(shades) == [
        "九 ← 9: 0.70", "九 ← ␣: 0.20", "九 ← 月: 0.10", "⊣ ← 9: 0.00", "⊣ ← ␣: 0.25", "⊣ ← 月: 0.75",
    ]  # fmt: skip
    weights = [float(title[-4:]) for title in shades]
    assert np.array_equal(np.argsort(weights), np.argsort(list(shades.values())))


def test_map_says_where_each_character_looks_and_how_sure_it_is():
    picture = seq2seq_plots.attention_map(translation(), "Nine")
    assert picture.alt == "Nine Attention from “九” to “9 月”. Each looks most at: 九 at 9 (1), end at 月 (3)."
    assert "0.50" in words(picture) and "0.97" in words(picture) and "Nine" in words(picture)


def test_map_of_words_makes_room_for_them():
    worded = translation(tokens="我⊣")
    worded.source_tokens = ["I", "understand", "明白"]
    columns = re.search(r"grid-template-columns:([^;]+)", seq2seq_plots.attention_map(worded).html())[1]
    widths = [int(width.removesuffix("px")) for width in columns.split()]
    assert widths[1] == 20 and widths[2] > 80 and widths[3] > 30
    assert "“I understand 明白”" in seq2seq_plots.attention_map(worded).alt


def test_map_without_attention_says_so():
    assert "this model has none" in words(seq2seq_plots.attention_map(translation(attention=None)))
    assert "nothing was read" in words(seq2seq_plots.attention_map(translation("", "⊣", (1,), np.zeros((1, 0)))))


def test_strip_is_more_orange_for_the_less_probable_and_prints_the_number():
    picture = seq2seq_plots.confidence_strip(translation())
    grounds = [float(a) for a in re.findall(r"background:rgba\([\d,]+,([\d.]+)\)", picture.html())]
    assert grounds[0] > grounds[1] + 0.2
    assert words(picture) == "九0.50⊣0.97"
    assert picture.alt.endswith("“九”, least sure of 九, 0.50.")
    assert words(seq2seq_plots.confidence_strip(translation("", "", (), None, []))) == "Nothing was written."


def test_step_shows_what_is_written_candidates_and_one_row_of_attention():
    picture = seq2seq_plots.decoding_step(translation(), 1)
    assert picture.alt == "Step 2 of 2. Written so far: “九”. Candidates: end 0.97, 年 0.03. Taken: end."
    assert words(picture).startswith("九?step 2 of 2Candidates⊣0.970 taken年0.030")
    assert list(cells(picture)) == ["weight ← 9: 0.00", "weight ← ␣: 0.25", "weight ← 月: 0.75"]
    bars = [float(width) for width in re.findall(r"width:([\d.]+)%", picture.html())]
    assert bars == [97.0, 3.0]


def test_steps_beyond_the_ends_are_the_ends():
    first, last = (seq2seq_plots.decoding_step(translation(), step).html() for step in (0, 1))
    assert seq2seq_plots.decoding_step(translation(), -3).html() == first
    assert seq2seq_plots.decoding_step(translation(), 99).html() == last != first


def test_step_keeps_its_height_and_shows_at_most_five_candidates():
    many = [[(letter, 0.1) for letter in "abcdefgh"], [("⊣", 1.0)]]
    pictures = [seq2seq_plots.decoding_step(translation(alternatives=many), step) for step in (0, 1)]
    assert len({picture.html().count("text-align:right") for picture in pictures}) == 1
    assert "f" not in words(pictures[0]).split("Attention")[0].split("Candidates")[1]


# Several translations


def test_comparison_names_every_model():
    picture = seq2seq_plots.compare_attention({"with": translation(), "without": translation(attention=None)})
    assert picture.alt.startswith("with Attention from") and "without There is no attention" in picture.alt
    assert len(cells(picture)) == 6


def test_table_marks_right_and_wrong_by_sign_and_colour():
    rows = [("9 Mar", "03-09", "03-09", "09-03"), ("<i>", "03-10", "", "03-10")]
    picture = seq2seq_plots.translations_table(rows, "Dates", ("source", "expected", "good", "bad"))
    elements = Reader(picture.html()).elements
    assert picture.role == "group" and picture.alt == "Dates. good: 1 of 2 right; bad: 1 of 2 right."
    assert [held["scope"] for tag, held, _ in elements if tag == "th"] == ["col"] * 4 + ["row"] * 2
    assert [text for tag, _, text in elements if tag == "caption"] == ["Dates"]
    marks = [(text, held["title"], held["style"]) for tag, held, text in elements if text and text in "✓✗"]
    assert [mark[:2] for mark in marks] == [("✓", "right"), ("✗", "wrong"), ("✗", "wrong"), ("✓", "right")]
    assert marks[0][2] == marks[3][2] != marks[1][2] == marks[2][2]
    assert "&lt;i&gt;" in picture.html() and "(empty)" in words(picture)


def test_table_underlines_what_differs():
    picture = seq2seq_plots.translations_table([("x", "2031-03-09", "2031-03-0 ")])
    assert [text for _, held, text in Reader(picture.html()).elements if "underline" in held.get("style", "")] == ["␣"]
    with pytest.raises(ValueError, match="2 entries for 3 columns"):
        seq2seq_plots.translations_table([("a", "b")])
    assert "0 of 0 right" in seq2seq_plots.translations_table([]).alt


# Numbers


def test_bars_are_as_long_as_their_weights():
    picture = seq2seq_plots.weights_bars(["月", "日", "<"], [0.5, 0.375, 0.125], "Three keys")
    assert [float(width) for width in re.findall(r"width:([\d.]+)%", picture.html())] == [50.0, 37.5, 12.5]
    assert words(picture) == "Three keys月0.500 日0.375 <0.125 "
    assert picture.alt == "Three keys: 月 0.500, 日 0.375, < 0.125."
    for labels, weights in ((["a"], [0.5, 0.5]), ([], []), (["a"], [1.5]), (["a"], [np.nan])):
        with pytest.raises(ValueError, match="weights"):
            seq2seq_plots.weights_bars(labels, weights)


def test_accuracy_by_length_is_a_described_picture():
    curves = {"attention": [1.0, 0.99, 0.98], "none": [0.9, np.nan, 0.2]}
    picture = seq2seq_plots.accuracy_by_length(["5-9", "10-14", "15+"], curves, {"none": [0.01, 0.0, 0.05]})
    assert isinstance(picture, plots.Picture) and picture.size == (640, 360)
    assert "exact match from length 5-9 to 15+" in picture.alt and "none from 0.9 to 0.2" in picture.alt
    plain = seq2seq_plots.accuracy_by_length(["5-9", "10-14", "15+"], curves)
    assert plain.data != picture.data
    assert seq2seq_plots.accuracy_by_length([5, 10, 40], curves).data != plain.data
    for lengths, wrong in (([5], {"a": [1.0, 1.0]}), ([], {}), ([5], {})):
        with pytest.raises(ValueError, match="curve"):
            seq2seq_plots.accuracy_by_length(lengths, wrong)


# Sliders


class Fake:
    """Writes every text backwards, refuses long ones and counts how often it was asked."""

    def __init__(self):
        self.asked = []

    def translate_in_detail(self, texts, beam_width=1, temperature=0.0):
        self.asked.append((*texts, beam_width, temperature))
        assert temperature == 0 or beam_width == 1
        if len(texts[0]) > 48:
            raise CourseError("The text has 60 characters; the limit is 48.")
        length = len(texts[0])
        shares = np.full(length, 0.9 - temperature / 4)
        alternatives = [[(letter, 0.9)] for letter in texts[0][::-1]]
        return [translation(texts[0], texts[0][::-1], shares, np.eye(length)[::-1], alternatives)]


def test_translation_panel_follows_text_and_sliders():
    panel = widgets.explore(
        seq2seq_plots.translation_panel(Fake()),
        alt="Backwards",
        text=widgets.text("九月", "Text", examples=["x" * 60, "<b>"]),
        temperature=widgets.slider(0.0, 2.0, 0.5, 0.0, "temperature"),
        beam_width=widgets.slider(1, 4, 1, 1, "beams"),
    )
    assert panel.picture.alt.startswith("Backwards. text = 九月, temperature = 0.0, beam_width = 1.  Written: “月九”")
    panel.inputs["temperature"].value = 2.0
    assert "0.40" in words(panel.picture) and "Drawn" not in words(panel.picture)
    panel.inputs["beam_width"].value = 3
    assert words(panel.picture).startswith("Drawn with this temperature; the beam width is for temperature 0 only.")
    panel.inputs["text"].value = ""
    assert "Nothing was written." in words(panel.picture)
    panel.inputs["text"].value = "y" * 60
    assert words(panel.picture) == "The text has 60 characters; the limit is 48." and panel.error == ""


def test_step_panel_translates_once_for_all_steps():
    model = Fake()
    draw = seq2seq_plots.step_panel(model)
    pictures = [draw("abc", step, beam_width=2) for step in (1, 2, 3, 7)]
    assert model.asked == [("abc", 2, 0.0)]
    assert [picture.alt[:11] for picture in pictures] == ["Step 1 of 3", "Step 2 of 3", "Step 3 of 3", "Step 3 of 3"]
    draw("abc", 1, beam_width=1)
    assert len(model.asked) == 2
    assert "limit is 48" in draw("z" * 60, 1).alt


def test_a_large_map_is_quick():
    """48 characters read, 24 written: under 5 ms and 120 kB; the best of several, since the machine may be busy."""
    large, times = random_translation(48, 24), []
    for _ in range(10):
        start = time.perf_counter()
        text = seq2seq_plots.translation_view(large).html()
        times.append(time.perf_counter() - start)
    assert min(times) < 0.005 and len(text) < 120_000
