"""The poet, untrained: forms and beginnings are kept, acrostics have their heads, scores are those of the model."""

from itertools import pairwise
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from keras import ops
from scipy.special import log_softmax, softmax

from aigc_course.datasets import poems
from aigc_course.gpt2 import GPT2Config
from aigc_course.poet import AS_IT_IS, CONTEXT, Poet, build_poet
from aigc_course.runtime import CourseError
from aigc_course.sampling import GREEDY, Sampler
from aigc_course.vocabulary import END, PAD, START, UNKNOWN

POEM = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"


@pytest.fixture(scope="module")
def poet():
    keras.utils.set_random_seed(2)
    model = build_poet(num_layers=1, num_heads=3, hidden_dim=6, dropout=0.0)
    draw = np.random.default_rng(1)
    for weight in model.trainable_variables:
        weight.assign((draw.normal(size=weight.shape, scale=0.5) + ("gamma" in weight.path)).astype("float32"))
    return Poet(model)


def test_a_poem_as_a_row_and_back(poet):
    row = poet.encode([POEM])[0]
    tokens = [poet.vocabulary.tokens[number] for number in row]
    assert "".join(tokens) == f"⊢⑤④{POEM}⊣"
    assert poet.decode([row]) == [POEM]
    assert poet.encode([POEM, POEM[:12]], ["5x4", "5x4"]).shape == (2, 28)
    longest = "白日依山尽黄河，" * 8
    assert poet.encode([longest], ["7x8"]).shape == (1, CONTEXT)


def test_the_prompt_names_the_form(poet):
    for form, (length, lines) in poems.FORMS.items():
        tokens = [poet.vocabulary.tokens[number] for number in poet.prompt("白日", form)]
        assert "".join(tokens) == "⊢" + poems.MARKS[length] + poems.MARKS[lines] + "白日"


def test_what_is_never_written(poet):
    names = {poet.vocabulary.tokens[number] for number in poet.forbidden}
    assert names == {poet.vocabulary.tokens[number] for number in (PAD, START, UNKNOWN)} | set("⑤⑦④⑧")
    ids = poet.encode([POEM])
    characters = [poet.vocabulary.tokens[number] for number in ids[poet.is_character(ids)]]
    assert "".join(characters) == POEM.replace("，", "").replace("。", "")
    np.testing.assert_array_equal(poet.is_character(np.array([PAD, START, END, UNKNOWN])), [0, 0, 0, 1])


def test_poems_go_on_from_the_prompt(poet):
    first, same, other = (poet.write("5x4", "白日", 3, Sampler(3.0), seed) for seed in (0, 0, 1))
    assert first == same != other and len(first) == len(set(first)) == 3
    for text in first:
        assert text.startswith("白日") and not set(text) & set("⑤⑦④⑧⊢⊣�␀")
        assert len(text) <= CONTEXT - 3


@pytest.mark.slow
def test_a_list_of_forms_and_the_slow_way(poet):
    forms = ["5x4", "7x8", "7x4"]
    found = poet.write(forms, sampler=Sampler(3.0), seed=4)
    assert len(found) == 3
    assert found == poet.write(forms, sampler=Sampler(3.0), seed=4, cached=False)
    assert poet.write("7x4", count=3, sampler=GREEDY) == [poet.write("7x4", sampler=GREEDY)[0]] * 3


@pytest.mark.slow
def test_more_poems_than_a_batch(poet):
    found = poet.write("5x4", count=130, sampler=Sampler(3.0))
    assert len(found) == 130 and len(set(found)) > 120


def test_a_stream_ends_as_what_is_written(poet):
    steps = list(poet.stream("5x4", "白日", Sampler(3.0), seed=0, every=9))
    assert steps[-1] == poet.write("5x4", "白日", 1, Sampler(3.0), seed=0)[0]
    assert all(after.startswith(before) for before, after in pairwise(steps))
    assert len(steps) > 1


def test_acrostics_have_their_heads_and_their_form(poet):
    for heads, form in (("春花秋月", None), ("春花秋月", "5x4")):
        text = poet.acrostic(heads, form, Sampler(3.0), seed=1)
        assert poems.form_of(text) == (form or "7x4")
        assert "".join(line[0] for line in poems.to_lines(text)) == heads
        assert all(character in poet.vocabulary for character in text)


@pytest.mark.slow
def test_an_acrostic_of_eight_lines(poet):
    text = poet.acrostic("春花秋月何时风雨", sampler=Sampler(3.0))
    assert poems.form_of(text) == "7x8" and "".join(line[0] for line in poems.to_lines(text)) == "春花秋月何时风雨"


@pytest.mark.slow
def test_nats_are_a_mean_over_characters(poet):
    texts = [POEM, "白日依山尽，黄河入海流。欲穷千里目，更上一层鿿。"]  # the last character is unknown, and counts
    ids = poet.encode(texts)
    assert (ids == UNKNOWN).sum() == 1
    scores = log_softmax(ops.convert_to_numpy(poet.model(ids[:, :-1])), -1)
    each = np.take_along_axis(scores, ids[:, 1:, None], -1)[..., 0]
    places = [3 + line * 6 + step for line in range(4) for step in range(5)]  # START, two marks; five and a stop
    assert poet.nats(texts) == pytest.approx(-each[:, np.array(places) - 1].mean(), abs=1e-4)


@pytest.mark.slow
def test_next_characters_are_the_distribution_that_is_drawn_from(poet):
    row = poet.prompt("白日", "5x4")
    logits = ops.convert_to_numpy(poet.model(row[None]))[0, -1].astype("float64")
    logits[list(poet.forbidden)] = -np.inf
    chances = softmax(logits)
    best = np.argsort(-chances)[:10]
    found = poet.next_characters("白日", "5x4")
    assert [token for token, _ in found] == [poet.vocabulary.tokens[number] for number in best]
    np.testing.assert_allclose([chance for _, chance in found], chances[best], atol=1e-5)
    everything = poet.next_characters("白日", "5x4", AS_IT_IS, len(poet.vocabulary))
    assert sum(chance for _, chance in everything) == pytest.approx(1, abs=1e-4)
    assert poet.next_characters("白日", "5x4", GREEDY, 2)[0] == (found[0][0], 1.0)
    assert sum(chance > 0 for _, chance in poet.next_characters("白日", "5x4", Sampler(top_k=3), 10)) == 3


def test_lists_that_do_not_fit_are_refused(poet):
    with pytest.raises(TypeError, match="list of texts"):
        poet.nats(POEM)
    with pytest.raises(CourseError, match="no character"):
        poet.nats([])
    with pytest.raises(CourseError, match="1 poems and 0 forms"):
        poet.encode([POEM], [])
    np.testing.assert_array_equal(poet.encode([POEM] * 2, np.array(["5x4"] * 2)), poet.encode([POEM] * 2))
    with pytest.raises(CourseError, match="has none of the forms"):
        poet.encode(["白日"])
    for form, count in (("5x4", -1), ("5x4", 1.5), ("5x4", np.inf), ("5x4", np.nan), (["7x4"], 5)):
        with pytest.raises(ValueError, match="count is"):
            poet.write(form, count=count)
    assert poet.write("5x4", count=0) == poet.write([]) == []
    with pytest.raises(ValueError, match="count is"):
        poet.ranked(np.zeros((1, len(poet.vocabulary))), None, count=-1)


def test_wrong_wishes_speak(poet):
    with pytest.raises(CourseError, match="does not know '鿿'; it writes with 4,410 Chinese characters"):
        poet.prompt("白鿿")
    with pytest.raises(CourseError, match="holds a mark"):
        poet.prompt("⑦④")
    with pytest.raises(CourseError, match="holds a mark"):
        poet.acrostic("⑤⑤⑦⑧")
    with pytest.raises(CourseError, match="begins with a stop"):
        poet.acrostic("春，秋冬")
    with pytest.raises(CourseError, match="at most 64"):
        poet.prompt("白" * 65)
    with pytest.raises(CourseError):
        poet.write("6x4")
    with pytest.raises(CourseError, match="one character a line"):
        poet.acrostic("春花秋")
    with pytest.raises(CourseError, match="one character a line"):
        poet.acrostic("春花秋月", "7x8")
    with pytest.raises(CourseError, match="6x4"):
        poet.acrostic("春花秋月", "6x4")
    with pytest.raises(CourseError, match="does not know '鿿'"):
        poet.acrostic("春花秋鿿")
    with pytest.raises(ValueError, match="The model knows 7 tokens"):
        Poet(SimpleNamespace(config=GPT2Config(7, 5, 1, 1, 2)))
