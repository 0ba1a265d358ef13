"""Vocabularies: ids and back, padding, limits, and text that holds the signs of the special tokens."""

import numpy as np
import pytest

from aigc_course.runtime import CourseError
from aigc_course.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, shortened

pytestmark = pytest.mark.any_backend


@pytest.fixture
def letters():
    return Vocabulary("abc")


def test_ids_and_back(letters):
    ids = letters.encode(["ab", "cab"], start=True, end=True)
    np.testing.assert_array_equal(ids, [[START, 4, 5, END, PAD], [START, 6, 4, 5, END]])
    assert ids.dtype == np.int32
    assert letters.decode(ids) == ["ab", "cab"]


def test_what_follows_the_end_is_not_read(letters):
    assert letters.decode([[4, END, 5, 6], [START, 4, PAD, 5]]) == ["a", "ab"]


def test_unknown_and_special_signs_are_unknown(letters):
    np.testing.assert_array_equal(letters.encode(["a⊣z"]), [[4, UNKNOWN, UNKNOWN]])
    assert "⊣" not in letters


@pytest.mark.parametrize("texts, shape", [([], (0, 1)), ([""], (1, 1)), (["", "abc"], (2, 3))])
def test_empty_texts(letters, texts, shape):
    assert letters.encode(texts).shape == shape
    assert letters.decode(letters.encode(texts)) == texts


def test_limit_counts_start_and_end(letters):
    assert letters.encode(["abc"], max_length=4, end=True).shape == (1, 4)
    with pytest.raises(CourseError, match=r"'abca' has 4 characters; this model takes at most 3"):
        letters.encode(["a", "abca"], max_length=4, end=True)


def test_one_text_in_place_of_a_list(letters):
    with pytest.raises(TypeError, match="list of texts"):
        letters.encode("abc")
    with pytest.raises(TypeError, match="not int"):
        letters.encode(["a", 3])


def test_words():
    words = Vocabulary.build(["the cat saw the dog", "the dog ran"], "word", min_count=2)
    assert words.tokens[4:] == ["the", "dog"]
    assert words.decode(words.encode(["the  dog", "the cat"])) == ["the dog", "the �"]


def test_build_is_independent_of_the_order_of_texts():
    assert Vocabulary.build(["ba", "ca"]).tokens == Vocabulary.build(["ac", "ab"]).tokens
    assert Vocabulary.build(["ba", "ca"], max_size=1).tokens[4:] == ["a"]
    assert len(Vocabulary.build([])) == 4


def test_config_makes_an_equal_vocabulary(letters):
    assert Vocabulary(**letters.get_config()) == letters != Vocabulary("abd")


@pytest.mark.parametrize("arguments, words", [
    (("abca",), "once"), ((["ab"],), "not one character"), (("abc", "letter"), "unit must be"),
])  # fmt: skip
def test_impossible_vocabularies(arguments, words):
    with pytest.raises(ValueError, match=words):
        Vocabulary(*arguments)


def test_a_token_is_a_string():
    with pytest.raises(TypeError, match="not int"):
        Vocabulary([1, 2])


def test_shortened():
    assert shortened("a" * 50) == "a" * 39 + "…"
    assert shortened("short") == "short"
