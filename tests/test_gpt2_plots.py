"""Pictures of chapter 10: the right characters and numbers, safe text, panels that never stop, text that streams."""

import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from aigc_course import bpe, checkpoints, gpt2, gpt2_plots, plots, poet, widgets
from aigc_course.datasets import poems
from aigc_course.runtime import CourseError
from aigc_course.vocabulary import Vocabulary

POEM = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"
HEAVY = pytest.mark.slow
LIGHT = pytest.mark.any_backend


class Reader(HTMLParser):
    """``text``: all texts as they stand; ``blue``: the texts in elements on a blue ground; closed in order."""

    def __init__(self, picture):
        super().__init__()
        self.text, self.open, self.blue = "", [], ""
        self.feed(picture.html())
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.open.append((tag, dict(attrs).get("style") or ""))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        self.text += data
        if any("background:rgba(20,135,215" in style for _, style in self.open):
            self.blue += data


def chinese(text):
    return "".join(character for character in text if "一" <= character <= "鿿" or character in poems.STOPS)


class Fake:
    """Writes one poem in any form, refuses Latin letters, and offers three tokens."""

    vocabulary = "abc"

    def __init__(self):
        self.asked = []

    def write(self, form, prompt="", sampler=None, seed=0):
        self._check(prompt)
        self.asked.append((form, prompt, sampler, seed))
        return [POEM]

    def stream(self, form, prompt="", sampler=None, seed=0, cached=True):
        self._check(prompt)
        self.asked.append((form, prompt, seed, cached))
        return iter([POEM[: k + 1] for k in range(len(POEM))])

    def acrostic(self, heads, sampler=None, seed=0):
        self._check(heads)
        return poems.written([head + "日依山尽" for head in heads])

    def next_logits(self, prompt, form):
        self._check(prompt)
        return np.array([0.5, 0.3, 0.2]), None

    def ranked(self, shares, seen, sampler, count):
        kept = shares * (np.arange(3) < (sampler.top_k or 3))
        return list(zip("月日<", kept / kept.sum(), strict=True))

    def _check(self, text):
        if text.isascii() and text:
            raise CourseError(f"The model does not know {text}.")


# Poems


@LIGHT
def test_poem_has_every_character_with_sound_and_meaning():
    found = Reader(gpt2_plots.poem_view(POEM, given="白日"))
    assert chinese(found.text) == POEM
    assert chinese(found.blue) == "白日"
    for character in "白流":
        assert poems.readings(character)[0] in found.text and poems.gloss(character) in found.text
    picture = gpt2_plots.poem_view(POEM)
    assert POEM in picture.alt and poems.pinyin(POEM) in picture.alt and Reader(picture).blue == ""


@LIGHT
def test_heads_of_lines_stand_on_blue():
    assert chinese(Reader(gpt2_plots.poem_view(POEM, heads=True)).blue) == "白黄欲更"
    assert chinese(Reader(gpt2_plots.poem_view(POEM, given="白日依山尽，黄")).blue) == "白日依山尽，黄"


@LIGHT
@pytest.mark.parametrize("text", ["", "，", "白", "白日，，。", "<b>&", "白日依山尽" * 13])
def test_any_text_can_be_drawn(text):
    for picture in (
        gpt2_plots.poem_view(text, heads=True),
        gpt2_plots.confidence_view(text, np.full(len(text), 0.5)),
        gpt2_plots.poems_list([text]),
        gpt2_plots.stream_view(text, 0.1, True),
    ):
        assert Reader(picture).text.strip() and picture.alt.strip()
        assert "<b>" not in picture.html()
        assert not re.search(r"<script|<style|url\(|var\(|https?:", picture.html())


@LIGHT
def test_confidence_prints_every_number_and_names_the_least():
    shares = np.linspace(0.9, 0.1, len(POEM))
    picture = gpt2_plots.confidence_view(POEM, shares)
    assert re.findall(r"\d\.\d{3}", Reader(picture).text) == [f"{share:.3f}" for share in shares]
    assert picture.alt.endswith("Least expected: 。, 0.100.")
    grounds = [float(strength) for strength in re.findall(r"rgba\(213,94,0,([\d.]+)\)", picture.html())]
    assert grounds == sorted(grounds) and grounds[-1] > grounds[0] + 0.4
    with pytest.raises(ValueError, match="2 probabilities for 24 characters"):
        gpt2_plots.confidence_view(POEM, [0.5, 0.5])


@LIGHT
def test_list_of_poems_has_lines_with_pinyin_and_meanings():
    picture = gpt2_plots.poems_list([POEM, POEM], "Two")
    text = Reader(picture).text
    assert text.count("更上一层楼。") == 2 and poems.pinyin("更上一层楼。") in text
    assert picture.role == "group" and picture.alt.startswith("Two: 2 poems")


# Distributions and tokens


@LIGHT
def test_bars_show_both_shares_and_what_is_cut():
    picture = gpt2_plots.choices_bars([("月", 0.5), ("日", 0.3), ("<", 0.2)], {"月": 0.625, "日": 0.375}, "After")
    text = Reader(picture).text
    assert "0.500 → 0.625" in text and "0.300 → 0.375" in text and "0.200 → cut" in text and "moon" in text
    assert [float(width) for width in re.findall(r"width:([\d.]+)%", picture.html())] == [50, 62.5, 30, 37.5, 20, 0]
    assert picture.alt.startswith("After. 月 0.500 becomes 0.625, 日")


@LIGHT
def test_bars_sum_up_what_is_not_shown():
    before = [(chr(0x4E00 + k), 0.05) for k in range(20)]
    text = Reader(gpt2_plots.choices_bars(before, dict(before[:15]))).text
    assert "8 others0.400 → 0.150" in text


@LIGHT
def test_tiles_hold_the_bytes_of_the_text():
    picture = gpt2_plots.token_tiles([b"a<", " 月".encode(), b"\xe6\x9c"], "3 tokens")
    assert Reader(picture).text == "3 tokensa<␣月e6 9c" and picture.alt == "3 tokens Tokens: a< | ␣月 | e6 9c"
    assert gpt2_plots.token_tiles(iter([b"a", b"b"])).alt == "Tokens: a | b"


@LIGHT
def test_fewer_merges_make_more_tokens_and_lose_nothing():
    tokeniser = bpe.ByteLevelBPE.train(["the moon and the sun, 明月明月"] * 3, 280)
    draw, sizes = gpt2_plots.tokens_panel(tokeniser), []
    for merges in (0, 5, len(tokeniser.merges)):
        shorter = gpt2_plots.with_merges(tokeniser, merges)
        assert shorter.decode(shorter.encode("the 明 🙂")) == "the 明 🙂"
        sizes.append(int(re.search(r"(\d+) tokens", draw(text="the 明月", merges=merges).alt)[1]))
    assert sizes[0] == len("the 明月".encode()) and sizes[0] > sizes[1] > sizes[2]
    assert tokeniser.split("the moon") == gpt2_plots.with_merges(tokeniser, 999).split("the moon")
    assert "0 tokens" in draw(text="", merges=3).alt and "half of a character" in draw(text="\ud800", merges=3).alt


# Numbers and English


@LIGHT
def test_copied_runs_are_shares_of_poems():
    picture = gpt2_plots.copied_runs({"written": [1, 2, 2, 5], "real": [2, 2]})
    assert isinstance(picture, plots.Picture) and "written" in picture.alt and "real" in picture.alt
    assert picture.data != gpt2_plots.copied_runs({"written": [1, 2, 2, 4], "real": [2, 2]}).data
    for nothing in ({}, {"written": [1], "real": []}):
        with pytest.raises(ValueError, match="no run to draw"):
            gpt2_plots.copied_runs(nothing)


@LIGHT
def test_text_of_a_training_is_a_figure_whatever_it_says():
    first, second = (plots.png(gpt2_plots.text_figure(text, "now")) for text in ("a $x_{ ^\n\\" * 40, "b"))
    assert first != second


@LIGHT
def test_samplers_of_the_panels_are_of_one_kind():
    kinds = {
        gpt2_plots.always_cutting(*numbers).kind for numbers in ((0, 0, 0), (0.8, 4000, 1), (3, 1, 0.5), (1, 99999, 2))
    }
    assert kinds == {(True, True, True, False)}


# Panels


def controls():
    return {
        "prompt": widgets.text("白日", "beginning", examples=("moon",)),
        "form": widgets.choice(gpt2_plots.FORM_CHOICE, "5x4", "form"),
        "temperature": widgets.slider(0.1, 2.0, 0.1, 0.8, "temperature"),
        "top_k": widgets.slider(1, 4000, 1, 4000, "top-k"),
        "top_p": widgets.slider(0.05, 0.999, 0.001, 0.999, "top-p"),
    }


@LIGHT
def test_poem_panel_asks_for_what_the_sliders_say():
    writer = Fake()
    panel = widgets.explore(
        gpt2_plots.poem_panel(writer), alt="A poem", **controls(), seed=widgets.slider(0, 99, 1, 0, "seed")
    )
    assert "A poem. prompt = 白日" in panel.picture.alt
    panel.set(form="7x8", seed=7, top_k=3, temperature=1.5)
    form, prompt, sampler, seed = writer.asked[-1]
    assert (form, prompt, seed) == ("7x8", "白日", 7) and (sampler.top_k, sampler.temperature) == (3, 1.5)
    panel.inputs["prompt"].value = "moon"
    assert Reader(panel.picture).text == "The model does not know moon." and panel.error == ""


@LIGHT
def test_choices_panel_cuts_and_refuses():
    draw = gpt2_plots.choices_panel(Fake())
    values = {"form": "5x4", "temperature": 1.0, "top_p": 1.0, "penalty": 1.0}
    assert "2 of 3 tokens are left" in draw(prompt="白", top_k=2, **values).alt
    assert "does not know" in draw(prompt="x", top_k=2, **values).alt


@LIGHT
@pytest.mark.parametrize(
    ("heads", "found"), [("春夏秋冬", "春夏秋冬"), ("春夏", "four or eight"), ("", "four"), ("abcd", "know")]
)
def test_acrostic_panel(heads, found):
    picture = gpt2_plots.acrostic_panel(Fake())(heads=heads, temperature=0.8, seed=1)
    assert found in (chinese(Reader(picture).blue) or picture.alt)


@LIGHT
def test_stream_box_writes_to_the_end_and_shows_the_clock():
    writer = Fake()
    box = gpt2_plots.StreamBox(writer, prompt="白日", form="5x4", pause=0)
    assert POEM in box.picture.alt and "with the cache" in box.picture.alt and box.seconds > 0
    assert writer.asked == [("5x4", "白日", 0, True)] * 2  # once to compile, once to be timed
    box.cached.value, box.seed.value = False, 4
    box.button.click()
    assert writer.asked[2:] == [("5x4", "白日", 4, False)] * 2 and "without the cache" in box.picture.alt
    box.button.click()
    assert len(writer.asked) == 5
    box.prompt.value = "白日依"  # read by other code: compiled before the clock starts
    box.write()
    assert len(writer.asked) == 7
    box.prompt.value = "moon"
    box.write()
    assert box.picture.alt == "The model does not know moon."
    bundle = box._repr_mimebundle_()[0]
    assert bundle["text/html"] and bundle["text/plain"].startswith("[box that writes a poem")


# With models


@HEAVY
def test_probabilities_of_characters_are_the_models():
    writer = poet.Poet(poet.build_poet(num_layers=1, num_heads=2, hidden_dim=16))
    shares = gpt2_plots.character_probabilities(writer, POEM, "5x4")
    assert len(shares) == len(POEM)
    first = dict(writer.next_characters("", "5x4", count=len(writer.vocabulary)))  # nothing forbidden has 0 here
    mass = sum(np.exp(writer.model.next_logits(writer.prompt("", "5x4")[None])[0, k]) for k in writer.forbidden)
    logits = writer.model.next_logits(writer.prompt("", "5x4")[None])[0]
    assert shares[0] == pytest.approx(first["白"] * (1 - mass / np.exp(logits).sum()), rel=1e-3)
    whole = writer.model.log_likelihood(writer.encode([POEM]))[0]
    longest = "白" * 65
    assert np.log(shares).sum() > whole  # the marks and END cost something, too
    assert len(gpt2_plots.character_probabilities(writer, longest, "7x8")) == 65


@HEAVY
def test_english_goes_on_from_its_beginning():
    letters = Vocabulary("\n abc")
    model = gpt2.GPT2(gpt2.GPT2Config(len(letters), 8, 1, 2, 8))
    draw = gpt2_plots.english_panel(model, letters, length=20)
    texts = [draw(prompt=prompt, temperature=0.5, top_k=3, seed=2).alt for prompt in ("ab", "ab", "")]
    assert texts[0] == texts[1] and texts[0].startswith("The text “ab") and set(texts[0][10:-2]) <= set("\n abc")
    assert len(texts[0]) - len("The text “”.") == 22 and len(texts[2]) - len("The text “”.") == 21


@HEAVY
def test_sliders_of_the_shipped_poet_are_quick():
    """Both ends and the middle of every control: quatrains under 0.1 s, the best of three since machines are busy."""
    writer = poet.Poet(checkpoints.load("gpt2-poems"))
    seed = widgets.slider(0, 99, 1, 0, "seed")
    show = widgets.choice(["meaning", "confidence"], "meaning", "below")
    panels = [
        widgets.explore(gpt2_plots.poem_panel(writer), alt="A poem", **controls(), seed=seed, show=show),
        widgets.explore(
            gpt2_plots.choices_panel(writer),
            alt="Bars",
            **controls() | {"top_p": widgets.slider(0.01, 1.0, 0.01, 0.9, "top-p")},
            penalty=widgets.slider(1.0, 3.0, 0.1, 1.0, "penalty"),
        ),
        widgets.explore(
            gpt2_plots.acrostic_panel(writer),
            alt="Heads",
            heads=widgets.text("春夏秋冬", "heads", examples=("山水", "东西南北风花雪月")),
            temperature=widgets.slider(0.1, 2.0, 0.1, 0.8, "temperature"),
            seed=seed,
        ),
    ]
    for panel in panels:
        for position in panel.positions():
            limit = 0.3 if position.get("form", "5x4").endswith("8") or len(position.get("heads", "")) > 4 else 0.1
            times = []
            for _ in range(3):
                start = time.process_time()
                panel.set(**position)
                times.append(time.process_time() - start)
            assert min(times) < limit, f"{position} took {min(times):.3f} s"
