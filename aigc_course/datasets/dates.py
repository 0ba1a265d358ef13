"""Dates as people write them in English and Chinese, to ISO 8601, or from English to Chinese.

``"Thursday, 4 March 2021"``, ``"Mar 4, '21"`` and ``"二〇二一年三月四日星期四"`` all become ``"2021-03-04"``:
translation with one right answer. Names and the order of the parts come from the Unicode locale data in
Babel; habits that those do not list (ordinals, words, full-width digits, 号 for 日) are added here.

*Left out: every form whose order the text does not tell.* 03/04/05 is a day in March, April or May, in 2003, 2004 or
2005, according to who wrote it, and 3/4/2021 is still in March or in April. No model could be right on those, so they
would only put a ceiling on the score. Figures alone therefore occur only with a year of four digits in front
(2021/03/04), and an English year of two digits only behind an apostrophe ('21): "3 Mar 21" could be the 21st of March
2003.

*Range.* 1969-01-01 to 2068-12-31, the hundred years that POSIX gives to years of two digits: 69 to 99 are 1969 to 1999,
00 to 68 are 2000 to 2068. Within it no text stands for two dates.

*Split by date.* A day of the test part was not trained on in any form.   Taught in chapters/06_seq2seq.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache

import numpy as np
from babel import Locale
from babel.dates import parse_pattern

from aigc_course.runtime import CourseError

FIRST, LAST = date(1969, 1, 1), date(2068, 12, 31)
LANGUAGES = ("en", "zh")
TARGETS = ("iso", "zh")
HELD_OUT = 0.1  # share of the days that go to the validation part, and to the test part

# Fixed, not collected from the data: the shipped weights were trained on these, in this order.
SOURCE_CHARACTERS = (
    " ',-./0123456789ABCDEFGHIJLMNOPRSTUVWYabcdefghijlmnoprstuvwxy"
    "〇一七三九二五八六十卅号周四天年廿拜日星月期礼禮號週零（），０１２３４５６７８９"
)
TARGET_CHARACTERS = {"iso": "-0123456789", "zh": "〇一七三九二五八六十四年日星月期"}

ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
ORDINALS = {"one": "first", "two": "second", "three": "third", "five": "fifth", "eight": "eighth", "nine": "ninth"}
ORDINALS |= {"twelve": "twelfth", "twenty": "twentieth", "thirty": "thirtieth"}
CHINESE_DIGITS = str.maketrans("0123456789", "〇一二三四五六七八九")
FULL_WIDTH = str.maketrans("0123456789", "０１２３４５６７８９")


@dataclass(frozen=True)
class Pairs:
    """One part: source and target texts, the name of the pattern and the day of each, all of one length."""

    sources: list[str]
    targets: list[str]
    patterns: list[str]
    dates: list[date]

    def __len__(self):
        return len(self.sources)


@dataclass(frozen=True)
class Dates:
    """Three parts that share no day."""

    train: Pairs
    validation: Pairs
    test: Pairs


def load_dates(
    target: str = "iso",
    languages: tuple[str, ...] | None = None,
    num_train: int = 60_000,
    num_validation: int = 2_000,
    num_test: int = 2_000,
    seed: int = 0,
) -> Dates:
    """Pairs drawn from all days and patterns, each source text at most once in its part; the same for the same seed.

    Eight days in ten are for training, one for validation, one for the test. A part depends on ``seed`` but not on the
    number of pairs in the others, and a smaller part is the beginning of a larger one.

    Args:
        target: ``"iso"``, 2021-03-04; or ``"zh"``, 二〇二一年三月四日, and 星期四 if the source tells the weekday.
        languages: of the sources, ``"en"`` and ``"zh"``; unless told, both for ISO, and English for Chinese.
        num_train, num_validation, num_test: pairs in each part; 0 for none.

    Raises:
        CourseError: unknown target or language; a negative number of pairs, or more than there are texts.
    """
    _demand_target(target)
    if languages is None:
        languages = LANGUAGES if target == "iso" else ("en",)
    chosen = [pattern for language in _checked_languages(languages) for pattern in _table(language).values()]
    parts = zip(split_days(seed), (num_train, num_validation, num_test), strict=True)
    return Dates(*(_draw(chosen, target, days, count, [seed, k]) for k, (days, count) in enumerate(parts, 1)))


def split_days(seed: int = 0) -> tuple[list[date], list[date], list[date]]:
    """All days from FIRST to LAST, shuffled and cut into those of the training, validation and test part."""
    order = np.random.default_rng(seed).permutation((LAST - FIRST).days + 1)
    days = [FIRST + timedelta(days=int(k)) for k in order]
    held_out = int(HELD_OUT * len(days))
    return days[: -2 * held_out], days[-2 * held_out : -held_out], days[-held_out:]


def patterns(language: str) -> dict[str, Callable[[date], str]]:
    """The ways to write a date in ``"en"`` or ``"zh"``: from the name of the pattern to a function of the date."""
    _checked_languages((language,))
    return dict(_table(language))


def write(day: date, pattern: str) -> str:
    """The date in the named pattern of either language: ``write(date(2021, 3, 4), "en US long")``."""
    table = _table(pattern[:2]) if pattern[:2] in LANGUAGES else {}
    if pattern not in table:
        raise CourseError(f"There is no pattern {pattern!r}; patterns('en') and patterns('zh') list the names.")
    return table[pattern](day)


def translation(day: date, target: str = "iso", weekday: bool = False) -> str:
    """The one right answer: ``"2021-03-04"``, ``"二〇二一年三月四日"``, or that followed by ``"星期四"``."""
    _demand_target(target)
    if target == "iso":
        return day.isoformat()
    return _table("zh")["zh numerals weekday" if weekday else "zh numerals"](day)


@dataclass(frozen=True)
class Pattern:
    """One way to write a date; ``template`` names the fields of ``Fields``, ``finish`` changes the whole text."""

    name: str
    template: str
    locale: str
    finish: Callable[[str], str] = str

    def __call__(self, day: date) -> str:
        return self.finish(self.template % _fields(day, self.locale))

    @property
    def tells_weekday(self) -> bool:
        return any(f"%({field})s" in self.template for field in ("E", "EEEE", "narrow", "tian"))


class Fields(dict):
    """The parts of a date by the letters of the locale data (y, MMMM, dd, EEEE ...), ours by a word; made on demand.

    Args:
        locale: whose names of months and weekdays, "en_GB" for example.
    """

    def __init__(self, day: date, locale: str):
        super().__init__()
        self.day, self.locale = day, locale

    def __missing__(self, field: str) -> str:
        self[field] = _FIELDS[field](self.day, self.locale)
        return self[field]


# Kept for a moment: all patterns of one day share the parts.
_fields = lru_cache(maxsize=16)(Fields)


@cache
def _names(locale: str, kind: str, width: str) -> tuple[str, ...]:
    """Months from January, or weekdays from Monday, in the words of the locale."""
    names = getattr(Locale.parse(locale), kind)["format"][width]
    return tuple(names[k] for k in sorted(names))


def _abbreviated(day, locale):
    """The short name of the month with a full stop, unless it is the whole name (May)."""
    short, whole = (_names(locale, "months", width)[day.month - 1] for width in ("abbreviated", "wide"))
    return short if short == whole else short + "."


def _ordinal(n: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th, 22nd."""
    ending = "th" if n in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return f"{n}{ending}"


def _words(n: int) -> str:
    """0 to 99 in English words."""
    if n < 20:
        return ONES[n]
    return TENS[n // 10] + (f"-{ONES[n % 10]}" if n % 10 else "")


def _ordinal_words(n: int) -> str:
    """first, second, twelfth, twenty-first."""
    head, hyphen, last = _words(n).rpartition("-")
    return head + hyphen + ORDINALS.get(last, last + "th")


def _year_words(year: int) -> str:
    """nineteen sixty-nine, two thousand, two thousand seven, twenty twenty-one."""
    if 2000 <= year < 2010:
        return "two thousand" + (f" {ONES[year % 10]}" if year % 10 else "")
    return f"{_words(year // 100)} {_words(year % 100)}"


def _chinese(n: int) -> str:
    """1 to 31 as a number: 一, 十, 十一, 二十, 三十一."""
    tens, ones = divmod(n, 10)
    digits = "〇一二三四五六七八九"
    return (digits[tens] if tens > 1 else "") + ("十" if tens else "") + (digits[ones] if ones else "")


def _chinese_short(n: int) -> str:
    """The same with 廿 for 20 and 卅 for 30: 十九, 廿, 廿一, 卅一."""
    return _chinese(n).replace("二十", "廿").replace("三十", "卅")


_FIELDS: dict[str, Callable[[date, str], str]] = {
    "y": lambda day, _: str(day.year),
    "yy": lambda day, _: f"{day.year % 100:02}",
    "M": lambda day, _: str(day.month),
    "MM": lambda day, _: f"{day.month:02}",
    "MMM": lambda day, locale: _names(locale, "months", "abbreviated")[day.month - 1],
    "MMM.": _abbreviated,
    "MMMM": lambda day, locale: _names(locale, "months", "wide")[day.month - 1],
    "d": lambda day, _: str(day.day),
    "dd": lambda day, _: f"{day.day:02}",
    "E": lambda day, locale: _names(locale, "days", "abbreviated")[day.weekday()],
    "EEEE": lambda day, locale: _names(locale, "days", "wide")[day.weekday()],
    "narrow": lambda day, locale: _names(locale, "days", "narrow")[day.weekday()],
    "tian": lambda day, locale: _names(locale, "days", "narrow")[day.weekday()].replace("日", "天"),
    "nth": lambda day, _: _ordinal(day.day),
    "nth word": lambda day, _: _ordinal_words(day.day),
    "year words": lambda day, _: _year_words(day.year),
    "年": lambda day, _: str(day.year).translate(CHINESE_DIGITS),
    "零年": lambda day, _: str(day.year).translate(CHINESE_DIGITS).replace("〇", "零"),
    "短年": lambda day, _: f"{day.year % 100:02}".translate(CHINESE_DIGITS),
    "月": lambda day, _: _chinese(day.month),
    "日": lambda day, _: _chinese(day.day),
    "廿日": lambda day, _: _chinese_short(day.day),
}

# name: locale, and the length of its standard date format or a skeleton (a set of fields that the locale puts in order)
_STANDARD = {
    "en US full": ("en_US", "full"),  # Thursday, March 4, 2021
    "en US long": ("en_US", "long"),  # March 4, 2021
    "en US medium": ("en_US", "medium"),  # Mar 4, 2021
    "en US weekday": ("en_US", "yMMMEd"),  # Thu, Mar 4, 2021
    "en GB full": ("en_GB", "full"),  # Thursday, 4 March 2021
    "en GB long": ("en_GB", "long"),  # 4 March 2021
    "en GB medium": ("en_GB", "medium"),  # 4 Mar 2021, 4 Sept 2021
    "en GB weekday": ("en_GB", "yMMMEd"),  # Thu, 4 Mar 2021
    "en IE full": ("en_IE", "full"),  # Thursday 4 March 2021
    "en AU medium": ("en_AU", "medium"),  # 4 June 2021
    "en ZA full": ("en_ZA", "full"),  # Thursday, 04 March 2021
    "en ZA medium": ("en_ZA", "medium"),  # 04 Mar 2021
    "en ZA short": ("en_ZA", "short"),  # 2021/03/04
    "en SE short": ("en_SE", "short"),  # 2021-03-04
    "zh CN full": ("zh_Hans_CN", "full"),  # 2021年3月4日星期四
    "zh CN long": ("zh_Hans_CN", "long"),  # 2021年3月4日
    "zh CN short": ("zh_Hans_CN", "short"),  # 2021/3/4
    "zh CN weekday": ("zh_Hans_CN", "yMMMEd"),  # 2021年3月4日周四
    "zh TW full": ("zh_Hant_TW", "full"),  # 2021年3月4日 星期四
}

# name: template, locale of the names (en_US and zh_Hans unless told), change of the whole text (none unless told)
_CUSTOM = {
    "en month full stop": ("%(MMM.)s %(d)s, %(y)s",),
    "en day full stop": ("%(d)s %(MMM.)s %(y)s", "en_GB"),
    "en no comma": ("%(MMMM)s %(d)s %(y)s",),
    "en ordinal month": ("%(nth)s %(MMMM)s %(y)s",),
    "en ordinal comma": ("%(nth)s %(MMM)s, %(y)s",),
    "en ordinal of": ("the %(nth)s of %(MMMM)s, %(y)s",),
    "en month ordinal": ("%(MMMM)s %(nth)s, %(y)s",),
    "en weekday ordinal": ("%(EEEE)s, %(MMMM)s %(nth)s, %(y)s",),
    "en weekday ordinal of": ("%(EEEE)s the %(nth)s of %(MMMM)s %(y)s",),
    "en short weekday ordinal": ("%(E)s %(nth)s %(MMM)s %(y)s",),
    "en two-digit year": ("%(d)s %(MMM)s '%(yy)s",),
    "en two-digit year comma": ("%(MMMM)s %(d)s, '%(yy)s",),
    "en two-digit year ordinal": ("%(nth)s %(MMMM)s '%(yy)s",),
    "en hyphens": ("%(d)s-%(MMM)s-%(y)s",),
    "en year first": ("%(y)s %(MMMM)s %(d)s",),
    "en basic ISO": ("%(y)s%(MM)s%(dd)s",),
    "en upper case": ("%(d)s %(MMMM)s %(y)s", "en_GB", str.upper),
    "en upper case weekday": ("%(EEEE)s, %(MMMM)s %(d)s, %(y)s", "en_US", str.upper),
    "en lower case": ("%(MMMM)s %(d)s, %(y)s", "en_US", str.lower),
    "en lower case medium": ("%(MMM)s %(d)s %(y)s", "en_US", str.lower),
    "en lower case ordinal of": ("%(nth)s of %(MMMM)s %(y)s", "en_US", str.lower),
    "en words": ("%(MMMM)s %(nth word)s %(year words)s",),
    "zh padded": ("%(y)s年%(MM)s月%(dd)s日",),
    "zh spaces": ("%(y)s 年 %(M)s 月 %(d)s 日",),
    "zh full stops": ("%(y)s.%(M)s.%(d)s",),
    "zh brackets": ("%(y)s年%(M)s月%(d)s日（%(E)s）",),
    "zh weekday first": ("%(EEEE)s，%(y)s年%(M)s月%(d)s日",),
    "zh full width": ("%(y)s年%(M)s月%(d)s日", "zh_Hans", lambda text: text.translate(FULL_WIDTH)),
    "zh full width weekday": ("%(y)s年%(M)s月%(d)s日%(EEEE)s", "zh_Hans", lambda text: text.translate(FULL_WIDTH)),
    "zh hao": ("%(y)s年%(M)s月%(d)s号",),
    "zh hao weekday": ("%(y)s年%(M)s月%(d)s号礼拜%(tian)s",),
    "zh hao traditional": ("%(y)s年%(M)s月%(d)s號 禮拜%(tian)s", "zh_Hant"),
    "zh traditional weekday": ("%(y)s年%(M)s月%(d)s日 %(E)s", "zh_Hant"),
    "zh two-digit year": ("%(yy)s年%(M)s月%(d)s日",),
    "zh numerals": ("%(年)s年%(月)s月%(日)s日",),
    "zh numerals weekday": ("%(年)s年%(月)s月%(日)s日%(EEEE)s",),
    "zh numerals weekday tian": ("%(年)s年%(月)s月%(日)s日 星期%(tian)s",),
    "zh numerals zero": ("%(零年)s年%(月)s月%(日)s日",),
    "zh numerals nian": ("%(年)s年%(月)s月%(廿日)s日",),
    "zh numerals hao": ("%(年)s年%(月)s月%(日)s号%(E)s",),
    "zh numerals two-digit year": ("%(短年)s年%(月)s月%(日)s日",),
}


def _standard(name: str, locale: str, which: str) -> Pattern:
    """A pattern of the locale data: the standard format of that length, or what the locale makes of the skeleton."""
    found = Locale.parse(locale)
    source = found.date_formats[which] if which in found.date_formats else found.datetime_skeletons[which]
    return Pattern(name, parse_pattern(source).format, locale)


@cache
def _table(language: str) -> dict[str, Pattern]:
    """All patterns of one language by name; the locale data are read here, once."""
    found = {name: _standard(name, *rest) for name, rest in _STANDARD.items() if name.startswith(language)}
    names = {"en": "en_US", "zh": "zh_Hans"}[language]
    custom = {name: rest for name, rest in _CUSTOM.items() if name.startswith(language)}
    return found | {name: Pattern(name, rest[0], *(rest[1:] or (names,))) for name, rest in custom.items()}


def _demand_target(target: str):
    if target not in TARGETS:
        raise CourseError(f"Dates cannot be translated to {target!r}; choose one of {', '.join(TARGETS)}.")


def _checked_languages(languages) -> tuple[str, ...]:
    """The languages without repetitions, in the order of LANGUAGES; CourseError for others, and for none."""
    languages = (languages,) if isinstance(languages, str) else tuple(languages)
    unknown = [repr(language) for language in languages if language not in LANGUAGES]
    if unknown or not languages:
        found = ", ".join(unknown) or "none"
        raise CourseError(f"Dates are written in {' and '.join(LANGUAGES)}; the languages asked for were {found}.")
    return tuple(language for language in LANGUAGES if language in languages)


def _draw(chosen: list[Pattern], target: str, days: list[date], count: int, seed) -> Pairs:
    """``count`` pairs of a day and a pattern in random order, passing over a text that is there already."""
    if count < 0:
        raise CourseError(f"The number of pairs cannot be negative; it was {count}.")
    if count > len(days) * len(chosen):
        raise CourseError(f"{count:,} pairs were asked for; {len(days):,} days have {len(chosen)} forms each.")
    pairs, seen = Pairs([], [], [], []), set()
    for cell in np.random.default_rng(seed).permutation(len(days) * len(chosen)) if count else ():
        if len(pairs) == count:
            break
        day, pattern = days[cell // len(chosen)], chosen[cell % len(chosen)]
        text = pattern(day)
        if text in seen:
            continue
        seen.add(text)
        pairs.sources.append(text)
        pairs.targets.append(translation(day, target, pattern.tells_weekday))
        pairs.patterns.append(pattern.name)
        pairs.dates.append(day)
    if len(pairs) < count:
        raise CourseError(
            f"{count:,} pairs were asked for; {len(days):,} days give only {len(pairs):,} different texts."
        )
    return pairs
