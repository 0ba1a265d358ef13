"""Dates: patterns read back by other rules, no text for two days, characters covered, parts without a common day."""

import datetime
import re
import socket
import unicodedata

import numpy as np
import pytest

from aigc_course.datasets import dates as module
from aigc_course.datasets.dates import FIRST, LANGUAGES, LAST, SOURCE_CHARACTERS, TARGET_CHARACTERS, load_dates
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

DAY = datetime.date(2021, 3, 4)
ALL = {name: pattern for language in LANGUAGES for name, pattern in module.patterns(language).items()}


def all_days():
    return [FIRST + datetime.timedelta(days=k) for k in range((LAST - FIRST).days + 1)]


# A reader that shares nothing with the writer.

MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = {"mon": 0, "tue": 1, "wed": 2, "thu": 3, "fri": 4, "sat": 5, "sun": 6}
WEEKDAYS |= {character: k for k, character in enumerate("一二三四五六日")} | {"天": 6}
ONES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TEENS = (
    "ten", "eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = {"twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "seventy": 70, "eighty": 80, "ninety": 90}
DAY_WORDS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
    "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth",
    "twentieth", "twenty-first", "twenty-second", "twenty-third", "twenty-fourth", "twenty-fifth", "twenty-sixth",
    "twenty-seventh", "twenty-eighth", "twenty-ninth", "thirtieth", "thirty-first",
)  # fmt: skip


def century(year):
    """POSIX: 69 to 99 are in the 1900s, 00 to 68 in the 2000s."""
    return year if year > 99 else year + (1900 if year >= 69 else 2000)


def chinese_number(text):
    """Figures in a row (二〇二一), or a number up to 31 (十, 二十一, 廿一), or ASCII figures."""
    text = text.strip().replace("廿", "二十").replace("卅", "三十").replace("零", "〇")
    if "十" in text:
        tens, _, ones = text.partition("十")
        return 10 * chinese_number(tens or "一") + (chinese_number(ones) if ones else 0)
    return int("".join(str("〇一二三四五六七八九".find(c)) if c in "〇一二三四五六七八九" else c for c in text))


def english_number(words):
    """ "nineteen sixty-nine", "two thousand seven", "twenty ten"."""
    total = 0
    for word in re.findall(r"[a-z]+", words):
        if word == "thousand":
            total *= 1000
        elif word in TENS:
            total = total * 100 + TENS[word]
        elif word in TEENS:
            total = total * 100 + 10 + TEENS.index(word)
        else:
            total += 1 + ONES.index(word)
    return total


def read_chinese(text):
    weekday = re.search("(?:星期|礼拜|禮拜|周|週)(.)", text)
    text = text.replace(weekday[0], "") if weekday else text
    year, month, day = map(chinese_number, re.search("([^年,]+)年(.+)月(.+)[日号號]", text).groups())
    return datetime.date(century(year), month, day), WEEKDAYS[weekday[1]] if weekday else None


def read_english(text):
    words = re.findall("[a-z]+", text)
    month = next(MONTHS.index(word[:3]) + 1 for word in words if word[:3] in MONTHS)
    weekday = next((WEEKDAYS[word[:3]] for word in words if word[:3] in WEEKDAYS), None)
    figures = re.findall(r"'?\d+", text)
    if not figures:
        _, day, year = text.split(" ", 2)
        return datetime.date(english_number(year), month, DAY_WORDS.index(day) + 1), weekday
    year = next(part for part in figures if part.startswith("'") or len(part) == 4)
    (day,) = (part for part in figures if part != year)
    return datetime.date(century(int(year.strip("'"))), month, int(day)), weekday


def read(text):
    """The date and the weekday (or None) that a text tells."""
    text = unicodedata.normalize("NFKC", text).lower()
    if "年" in text:
        return read_chinese(text)
    if re.fullmatch(r"[\d./-]+", text):
        parts = re.split("[./-]", text) if len(text) != 8 or not text.isdigit() else (text[:4], text[4:6], text[6:])
        return datetime.date(*map(int, parts)), None
    return read_english(text)


def some_days():
    """A thousand days, among them the edges of centuries, months and years of two digits."""
    edges = [FIRST, LAST, datetime.date(2000, 2, 29), datetime.date(2068, 2, 29)]
    for year in (1999, 2000, 2001, 2009, 2010, 2020):
        edges += [datetime.date(year, 1, 1), datetime.date(year, 12, 31)]
    return edges + [FIRST + datetime.timedelta(days=int(k)) for k in np.random.default_rng(0).integers(0, 36_525, 984)]


@pytest.mark.parametrize("name", sorted(ALL))
def test_pattern_is_read_back_to_the_same_day(name):
    pattern = ALL[name]
    for day in some_days():
        found, weekday = read(pattern(day))
        assert found == day, pattern(day)
        assert weekday == (day.weekday() if pattern.tells_weekday else None), pattern(day)


def test_no_text_stands_for_two_days_and_all_characters_are_known():
    """All days by all patterns of both languages."""
    owner, characters = {}, set()
    for day in all_days():
        texts = {pattern(day) for pattern in ALL.values()}
        characters.update(*texts)
        for text in texts:
            assert owner.setdefault(text, day) == day, text
    assert "".join(sorted(characters)) == SOURCE_CHARACTERS
    assert max(map(len, owner)) <= 48


@pytest.mark.parametrize("target", module.TARGETS)
def test_translations_are_short_unique_and_of_known_characters(target):
    texts = [module.translation(day, target, weekday=True) for day in all_days()]
    assert len(set(texts)) == len(texts) and max(map(len, texts)) <= 24
    assert "".join(sorted(set().union(*texts))) == TARGET_CHARACTERS[target]


@pytest.mark.parametrize(
    "name, text",
    [
        ("en US full", "Thursday, March 4, 2021"),
        ("en GB long", "4 March 2021"),
        ("en month full stop", "Mar. 4, 2021"),
        ("en ordinal of", "the 4th of March, 2021"),
        ("en two-digit year", "4 Mar '21"),
        ("en upper case weekday", "THURSDAY, MARCH 4, 2021"),
        ("en words", "March fourth twenty twenty-one"),
        ("zh CN full", "2021年3月4日星期四"),
        ("zh full width", "２０２１年３月４日"),
        ("zh numerals", "二〇二一年三月四日"),
        ("zh numerals zero", "二零二一年三月四日"),
        ("zh hao traditional", "2021年3月4號 禮拜四"),
        ("zh two-digit year", "21年3月4日"),
    ],
)
def test_patterns_by_example(name, text):
    assert module.write(DAY, name) == ALL[name](DAY) == text


def test_numbers_in_words_at_the_edges():
    assert module.write(datetime.date(2000, 5, 31), "en words") == "May thirty-first two thousand"
    assert module.write(datetime.date(1969, 8, 12), "en words") == "August twelfth nineteen sixty-nine"
    assert module.write(datetime.date(2000, 5, 31), "en month full stop") == "May 31, 2000"
    assert module.write(datetime.date(2030, 10, 20), "zh numerals") == "二〇三〇年十月二十日"
    assert module.write(datetime.date(2030, 10, 31), "zh numerals nian") == "二〇三〇年十月卅一日"
    days = [datetime.date(2021, 1, day) for day in (1, 2, 3, 11, 12, 13)]
    ordinals = [module.write(day, "en ordinal month").split()[0] for day in days]
    assert ordinals == ["1st", "2nd", "3rd", "11th", "12th", "13th"]
    assert module.translation(datetime.date(2021, 3, 7), "zh", weekday=True) == "二〇二一年三月七日星期日"


def test_there_are_many_patterns_with_names_of_their_own():
    english, chinese = module.patterns("en"), module.patterns("zh")
    assert len(english) >= 20 and len(chinese) >= 12 and not set(english) & set(chinese)
    days = [datetime.date(2021, month, 24) for month in range(1, 13)] + [DAY]
    assert len({tuple(map(pattern, days)) for pattern in ALL.values()}) == len(ALL)


def test_figures_alone_have_the_year_in_front():
    """The forms left out: 03/04/05, 3/4/2021, 3 Mar 21."""
    for day in some_days():
        for name, pattern in ALL.items():
            text = unicodedata.normalize("NFKC", pattern(day))
            if re.fullmatch(r"[\d\W]+", text) and "年" not in text:
                assert text.startswith(str(day.year)), name
            elif name.startswith("en") and name != "en words":
                assert str(day.year) in text or f"'{day.year % 100:02}" in text, name


def test_parts_share_no_day_and_no_text():
    found = load_dates(num_train=4000, num_validation=500, num_test=700)
    parts = (found.train, found.validation, found.test)
    assert [len(part) for part in parts] == [4000, 500, 700]
    for part in parts:
        assert len(part.sources) == len(part.targets) == len(part.patterns) == len(part.dates)
        assert len(set(part.sources)) == len(part)
    days = [set(part.dates) for part in parts]
    assert not days[0] & days[1] and not days[0] & days[2] and not days[1] & days[2]
    assert {ALL[name](day) for name, day in zip(found.test.patterns, found.test.dates, strict=True)} == set(
        found.test.sources
    )


def test_all_days_are_in_one_part():
    parts = module.split_days(3)
    assert [len(part) for part in parts] == [29_221, 3652, 3652]
    assert sorted(day for part in parts for day in part) == all_days()


def test_targets_agree_with_the_other_reader():
    part = load_dates(num_train=3000, num_validation=0, num_test=0).train
    assert [read(source)[0].isoformat() for source in part.sources] == part.targets


def test_chinese_targets_tell_the_weekday_if_the_source_does():
    part = load_dates("zh", num_train=3000, num_validation=0, num_test=0).train
    assert all(name.startswith("en") for name in part.patterns)
    told = [read(source) for source in part.sources]
    assert [read(target) for target in part.targets] == told
    assert 0.2 < np.mean([weekday is not None for _, weekday in told]) < 0.5


def test_every_pattern_and_every_decade_is_drawn():
    part = load_dates(num_train=6000, num_validation=0, num_test=0).train
    assert set(part.patterns) == set(ALL)
    counts = np.bincount([(day.year - 1969) // 10 for day in part.dates])
    assert counts.min() > 480 and counts.max() < 720


def test_languages_are_those_asked_for():
    for languages in (("zh",), "zh", ["zh", "zh"]):
        part = load_dates(languages=languages, num_train=50, num_validation=0, num_test=0).train
        assert {name[:2] for name in part.patterns} == {"zh"}
    assert load_dates("zh", ("zh",), 5, 0, 0).train.targets[0].count("年") == 1


def test_seed_decides():
    sizes = {"num_train": 40, "num_validation": 30, "num_test": 20}
    assert load_dates(seed=1, **sizes) == load_dates(seed=1, **sizes)
    one, two = load_dates(seed=1, **sizes), load_dates(seed=2, **sizes)
    assert not set(one.train.sources) & set(two.train.sources) and one.test != two.test


def test_a_part_does_not_depend_on_the_size_of_the_others():
    small, large = load_dates(num_train=3, num_test=7), load_dates(num_train=300, num_test=50)
    assert small.validation == large.validation
    assert large.train.sources[:3] == small.train.sources and large.test.targets[:7] == small.test.targets


@pytest.mark.parametrize("count", [0, 1])
def test_small_parts(count):
    found = load_dates(num_train=count, num_validation=0, num_test=count)
    assert [len(found.train), len(found.validation), len(found.test)] == [count, 0, count]


def test_wrong_arguments_are_named():
    with pytest.raises(CourseError, match="'de'; choose one of iso, zh"):
        load_dates("de")
    with pytest.raises(CourseError, match="'de'; choose one of iso, zh"):
        module.translation(DAY, "de")
    with pytest.raises(CourseError, match="en and zh; the languages asked for were 'fr'"):
        load_dates(languages=("en", "fr"))
    with pytest.raises(CourseError, match="asked for were none"):
        load_dates(languages=())
    with pytest.raises(CourseError, match="asked for were 'fr'"):
        module.patterns("fr")
    for name in ("en nothing", "nothing", ""):
        with pytest.raises(CourseError, match="There is no pattern"):
            module.write(DAY, name)


def test_too_many_pairs_are_refused():
    with pytest.raises(CourseError, match="cannot be negative; it was -1"):
        load_dates(num_test=-1, num_train=0)
    with pytest.raises(CourseError, match=r"9,000,000 pairs were asked for; 3,652 days have \d+ forms each"):
        load_dates(num_train=0, num_test=9_000_000)


def test_texts_that_patterns_share_are_counted_once():
    chosen = [ALL["en US long"], ALL["en month full stop"], ALL["en GB long"]]
    days = [datetime.date(2021, 5, 1), datetime.date(2021, 5, 2)]
    assert len(module._draw(chosen, "iso", days, 4, 0)) == 4
    with pytest.raises(CourseError, match="5 pairs were asked for; 2 days give only 4 different texts"):
        module._draw(chosen, "iso", days, 5, 0)


def test_nothing_is_fetched(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    module._table.cache_clear()
    load_dates(num_train=10)
