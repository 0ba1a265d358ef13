"""Poems: counts, forms, parts without near duplicates, marks, readings and meanings of known characters, the card."""

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from aigc_course import datasets, runtime
from aigc_course.datasets import files
from aigc_course.datasets import poems as module
from aigc_course.datasets.poems import (
    FORM_NAMES,
    FORMS,
    LEVEL,
    OBLIQUE,
    form_of,
    gloss,
    load_characters,
    marked,
    pinyin,
    readings,
    to_lines,
    tone,
    unmarked,
    written,
)
from aigc_course.runtime import CourseError
from aigc_course.vocabulary import Vocabulary

pytestmark = pytest.mark.any_backend

STORKS = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"


@pytest.fixture(scope="module")
def poems():
    return datasets.load_poems()


@pytest.fixture(scope="module")
def parts(poems):
    return {"train": poems.train, "validation": poems.validation, "test": poems.test}


def test_counts_are_those_of_the_card(parts):
    card = files.card_of("poems")
    assert {name: dict(Counter(part.forms)) for name, part in parts.items()} == card["counts"]
    total = sum(map(len, parts.values()))
    assert total == 36_405 and card["what"].startswith("36,405 ")
    for part, share in zip(parts.values(), (0.9, 0.05, 0.05), strict=True):
        assert len(part) == len(part.texts) == len(part.forms) == len(part.titles) == len(part.authors)
        assert abs(len(part) / total - share) < 0.002
        for form in FORMS:  # stratified, as far as groups allow
            whole = sum(p.forms.count(form) for p in parts.values())
            assert abs(part.forms.count(form) / whole - share) < 0.01


def test_card_tells_source_licence_and_size():
    card = files.card_of("poems")
    assert {"what", "source", "licence", "punctuation", "parts", "made_by", "bytes", "sha256"} <= set(card)
    assert runtime.data_path("poems.npz").stat().st_size == card["bytes"] <= 3_500_000


def test_card_tells_the_share_of_tang_tones():
    share = float(re.search(r"for (\d+\.\d)%", files.card_of("poems")["tones"])[1])
    assert share > 85


def test_every_text_has_its_form(parts):
    pattern = {
        form: re.compile("".join(f"[^，。]{{{length}}}{'，。'[k % 2]}" for k in range(count)))
        for form, (length, count) in FORMS.items()
    }
    for part in parts.values():
        for text, form in zip(part.texts, part.forms, strict=True):
            assert pattern[form].fullmatch(text) and written(to_lines(text)) == text
        assert [form_of(text) for text in part.texts] == part.forms


def test_a_known_poem_has_its_title_and_author(parts):
    found = [
        (part.titles[k], part.authors[k], part.forms[k])
        for part in parts.values()
        for k, text in enumerate(part.texts)
        if text.startswith("白日依山尽，黄河入海流")
    ]
    assert ("登鹳雀楼", "王之涣", "5x4") in found


def test_order_is_shuffled(poems):
    forms = poems.train.forms
    assert 0.2 < np.mean([a == b for a, b in pairwise(forms)]) < 0.4  # 0.30 by chance


# Near duplicates, found by another way than the one that made the file.


def test_no_text_comes_twice(parts):
    texts = [text for part in parts.values() for text in part.texts]
    assert len(set(texts)) == len(texts)


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_held_out_poems_share_few_lines_with_others(parts, held_out):
    others = {name: part for name, part in parts.items() if name != held_out}
    rows = {}
    for name, part in others.items():
        for k, text in enumerate(part.texts):
            for line in to_lines(text):
                rows.setdefault(line, set()).add((name, k))
    lengths = {name: [len(to_lines(text)) for text in part.texts] for name, part in others.items()}
    for text in parts[held_out].texts:
        lines = to_lines(text)
        common = Counter(place for line in lines for place in rows.get(line, ()))
        for (name, k), count in common.items():
            assert 4 * count < min(len(lines), lengths[name][k]), text


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_held_out_poems_are_no_variants_of_training_poems(parts, held_out):
    """No more than two in a thousand share over 60 % of their pairs of neighbours with one training poem."""
    places = {}
    for k, text in enumerate(parts["train"].texts):
        for pair in pairs_of(text):
            places.setdefault(pair, []).append(k)
    shares = []
    for text in parts[held_out].texts:
        pairs = pairs_of(text)
        counts = Counter(k for pair in pairs for k in places.get(pair, ()))
        shares.append(max(counts.values(), default=0) / len(pairs))
    assert np.mean(np.array(shares) > 0.6) < 0.002


def pairs_of(text):
    return {line[k : k + 2] for line in to_lines(text) for k in range(len(line) - 1)}


# Lines, forms, marks, vocabulary.


def test_lines_and_text_round_trip():
    assert to_lines(STORKS) == ["白日依山尽", "黄河入海流", "欲穷千里目", "更上一层楼"]
    assert written(to_lines(STORKS)) == STORKS
    assert to_lines("") == [] and written([]) == "" and to_lines("白日，依山") == ["白日", "依山"]


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "白日依山尽",
        STORKS[:-1],  # no full stop
        STORKS + STORKS[:12],  # six lines
        STORKS.replace("，", "。"),
        STORKS.replace("山", ""),
        STORKS.replace("山", "⑤"),
        STORKS.replace("山", "�"),
        STORKS.replace("山", "a"),
        STORKS.replace("尽，", "，尽"),
    ],
)
def test_what_is_no_form(broken):
    assert form_of(STORKS) == "5x4" and form_of(broken) is None


def test_marks_tell_the_form_and_come_off_again(poems):
    assert marked(STORKS, "5x4") == "⑤④" + STORKS == marked(STORKS)
    assert marked("", "7x8") == "⑦⑧" and unmarked(marked("白日", "7x4")) == "白日"
    for text, form in zip(poems.test.texts[:50], poems.test.forms, strict=False):
        assert unmarked(marked(text, form)) == text
    with pytest.raises(CourseError, match=r"'6x6' is unknown; choose one of 5x4"):
        marked(STORKS, "6x6")
    with pytest.raises(CourseError, match="has none of the forms"):
        marked("白日")


def test_form_names_are_those_of_all_forms():
    assert list(FORM_NAMES) == list(FORMS)


def test_characters_are_those_seen_five_times_in_training(poems):
    characters = load_characters()
    counts = Counter(c for text in poems.train.texts for c in text if c not in "，。")
    expected = sorted((c for c in counts if counts[c] >= 5), key=lambda c: (-counts[c], c))
    assert characters == "，。⑤⑦④⑧" + "".join(expected) and len(characters) == 4_416
    vocabulary = Vocabulary(characters)
    outside = [(text, sum(c not in vocabulary for c in text)) for text in poems.test.texts]
    assert sum(n for _, n in outside) / sum(len(text) for text, _ in outside) < 0.005
    known = [marked(text) for text, n in outside if n == 0][:20]
    assert vocabulary.decode(vocabulary.encode(known, end=True)) == known


# Readings, meanings, tones.


@pytest.mark.parametrize(
    ("character", "first", "others"),
    [("月", "yuè", ()), ("长", "cháng", ("zhǎng",)), ("不", "bù", ()), ("乐", "lè", ("yuè",)), ("明", "míng", ())],
)
def test_readings_of_known_characters(character, first, others):
    assert readings(character) == (first, *others)


@pytest.mark.parametrize(
    ("character", "meaning"),
    [
        ("月", "moon"),
        ("山", "mountain"),
        ("云", "clouds"),
        ("酒", "wine"),
        ("马", "horse"),
        ("离", "part"),
        ("里", "mile"),
    ],
)
def test_meanings_of_known_characters(character, meaning):
    assert meaning in gloss(character)


def test_unknown_characters_have_no_reading_and_no_meaning():
    for character in ("a", "，", "⑤", "�"):
        assert readings(character) == () and gloss(character) == "" and tone(character) == 0


def test_the_whole_vocabulary_can_be_read():
    characters = load_characters()[6:]
    assert all(readings(c) for c in characters) and all(tone(c) for c in characters)
    assert np.mean([gloss(c) != "" for c in characters]) > 0.99
    assert max(len(gloss(c)) for c in characters) <= 24
    assert all(re.fullmatch(r"[a-zêüāáǎàēéěèīíǐìōóǒòūúǔùǖǘǚǜńňǹḿ]+", r) for c in characters for r in readings(c))


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("山花风天云流", LEVEL),
        ("水有海上事日月目入", OBLIQUE),
        ("白十国一竹出石", OBLIQUE),  # entering tones, of tones 1 and 2 today
        ("看", LEVEL | OBLIQUE),
    ],
)
def test_tones_of_the_tang(characters, expected):
    assert [tone(c) for c in characters] == [expected] * len(characters)


def test_pinyin_keeps_punctuation_and_drops_marks():
    expected = "bái rì yī shān jìn, huáng hé rù hǎi liú. yù qióng qiān lǐ mù, gèng shàng yī céng lóu."
    assert pinyin(STORKS) == pinyin(marked(STORKS)) == expected
    assert pinyin("") == "" and pinyin("山x") == "shān x"


# The file.


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A course root of its own with a copy of the poems, and nothing kept from before."""
    for folder in ("chapters", "data"):
        (tmp_path / folder).mkdir()
    for name in ("poems.npz", "poems.json"):
        (tmp_path / "data" / name).write_bytes(runtime.data_path(name).read_bytes())
    monkeypatch.setattr(runtime, "course_root", lambda: tmp_path)
    module._arrays.cache_clear()
    yield tmp_path / "data"
    module._arrays.cache_clear()


def test_damaged_poems_are_refused(copy):
    raw = bytearray((copy / "poems.npz").read_bytes())
    raw[5000] ^= 1
    (copy / "poems.npz").write_bytes(raw)
    with pytest.raises(CourseError, match=r"poems\.npz is damaged.*git checkout data"):
        datasets.load_poems()


@pytest.mark.parametrize("name", ["poems.npz", "poems.json"])
def test_missing_files_are_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(CourseError, match=f"{name} is missing"):
        datasets.load_poems()
