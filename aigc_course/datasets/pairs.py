"""Sentence pairs from a file of your own: one pair a line, source TAB target, as Tatoeba and ManyThings give them.

Each line is ``Hop in.<TAB>跳进来。``, with or without a third column that names the authors. The pairs of tatoeba.org
are under the licence CC BY 2.0 FR: who passes them on names Tatoeba and the authors. None ship with the course.

What is not used is dropped under a name and counted; the counts of the report add up to the lines of the file. The
parts are split by source sentence, so that no other translation of a test sentence was trained on, nor the same words
with another full stop.   Taught in chapters/06_seq2seq.
"""

import codecs
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from aigc_course.runtime import CourseError

# Why a line is dropped, in the order in which it is examined.
REASONS = {
    "blank line": "nothing but white space",
    "undecodable bytes": "not text in the encoding of the file",
    "damaged character": "U+FFFD or a control character, left by an earlier wrong decoding",
    "no tab": "one column only",
    "too many columns": "more than source, target and attribution",
    "empty side": "source or target has no letter, digit or sign",
    "too long": "source or target over the limit",
    "other script": "a target in the script that was not asked for",
    "duplicate pair": "the same pair, normalised, stands further up",
}
SCRIPTS = ("simplified", "traditional")
EXAMPLES = 3  # lines quoted for each reason


@dataclass(frozen=True)
class SentencePairs:
    """One part: N source texts with a target each, and all targets of that source.

    Held-out sources stand once, with the first of their ``references`` as target; in training each pair has a row.
    """

    sources: list[str]
    targets: list[str]
    references: list[list[str]]

    def __len__(self):
        return len(self.sources)


@dataclass
class PairReport:
    """What became of the lines of a file; ``str`` of it is a table.

    ``dropped`` counts by reason, ``examples`` holds the number and the beginning of the first lines dropped for it.
    ``scripts`` counts the kept targets by the Chinese script their characters tell. ``pairs`` and ``sentences`` are the
    sizes of the parts in pairs and in different sources, ``known_targets`` the test sentences of which a reference is
    also the target of another sentence in training.
    """

    name: str
    lines: int = 0
    kept: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    examples: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    scripts: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    sentences: dict[str, int] = field(default_factory=dict)
    known_targets: int = 0

    def drop(self, reason: str, number: int, line: str):
        self.dropped[reason] += 1
        examples = self.examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append((number, line[:40]))

    def __str__(self):
        rows = [(f"lines in {self.name}", self.lines, "")]
        for reason, count in self.dropped.items():
            where = ", ".join(str(number) for number, _ in self.examples.get(reason, []))
            rows.append((f"  dropped: {reason}", count, where and f"line {where}{' …' * (count > EXAMPLES)}"))
        rows.append(("pairs kept", self.kept, ""))
        rows += [(f"  {part}", self.pairs[part], f"{self.sentences[part]:,} sentences") for part in self.pairs]
        rows += [(f"  targets: {script}", count, "") for script, count in self.scripts.items() if count]
        rows.append(("test sentences with a target known from training", self.known_targets, ""))
        width = max(len(row[0]) for row in rows)
        table = [f"{name:<{width}}  {count:>9,}  {note}".rstrip() for name, count, note in rows]
        return "\n".join(
            [*table, f"{self.lines:,} = {self.kept:,} + {sum(self.dropped.values()):,}: no line is missing."]
        )


@dataclass(frozen=True)
class PairCorpus:
    """Three parts that share no source sentence, and the report on the file."""

    train: SentencePairs
    validation: SentencePairs
    test: SentencePairs
    report: PairReport


def load_pairs(
    path: str | Path,
    source: str = "words",
    target: str = "chinese",
    max_source_length: int = 24,
    max_target_length: int = 32,
    num_validation: int = 500,
    num_test: int = 1_000,
    script: str | None = None,
    encoding: str = "utf-8",
    seed: int = 0,
) -> PairCorpus:
    """Read, normalise and split a file of sentence pairs.

    Args:
        path: the text file, one pair a line, columns separated by a tab. UTF-16 is recognised by its first two bytes.
        source, target: ``"words"`` for lower-case words between spaces (``Vocabulary.build(..., unit="word")``), or
            ``"chinese"`` for text without spaces (``unit="character"``).
        max_source_length, max_target_length: most words, or characters, of a side.
        num_validation, num_test: sentences held out, each once, with all its references.
        script: keep only pairs whose target is not in the other Chinese script: ``"simplified"`` or ``"traditional"``.
        encoding: of the file, ``"gb18030"`` for example; any in which a line end is a byte of its own.

    Raises:
        CourseError: file missing, empty, packed or no text; nothing left; fewer sentences than are to be held out.
    """
    normalise, unit = zip(_form(source), _form(target), strict=True)
    if script not in (None, *SCRIPTS):
        raise CourseError(f"There is no script {script!r}; choose one of {', '.join(SCRIPTS)}, or None for both.")
    path = Path(path)
    report, limits = PairReport(path.name), (max_source_length, max_target_length)
    translations = {}  # source: its targets, both in the order of the file
    lines, encoding = _lines(path, encoding)
    for number, line in enumerate(lines, 1):
        report.lines = number
        pair, reason = _pair(line, encoding, normalise)
        reason = reason or _fault(pair, unit, limits, script, translations)
        if reason:
            report.drop(reason, number, line.decode(encoding, errors="replace"))
            continue
        translations.setdefault(pair[0], []).append(pair[1])
        report.kept += 1
    if not translations:
        raise CourseError(_nothing_left(report, encoding))
    return _corpus(translations, num_validation, num_test, seed, report)


def normalise_words(text: str) -> str:
    """Lower case, with a space between words and signs: ``"I'm OK, Tom."`` becomes ``"i 'm ok , tom ."``.

    Compatibility forms (full-width letters, ligatures) become plain (NFKC) and curly quotes straight. An ending behind
    an apostrophe is a word of its own ('s, 'm, 're, 've, 'll, 'd); "don't" and figures such as 2:30 or 1,000 are one.
    """
    text = _plain(text).translate(_STRAIGHT_QUOTES).lower()
    return " ".join(_WORD.findall(_ENDING.sub(r" \1", text)))


def normalise_chinese(text: str) -> str:
    """Text without spaces, with Chinese signs: ``"等等!  「好」"`` becomes ``"等等！“好”"``.

    Letters and digits become plain ASCII (NFKC); the signs , . ! ? : ; ( ) become full-width, except between letters or
    digits (3.5, 2:30); corner brackets become quotation marks. A space stays only between two Latin words or numbers.
    """
    text = re.sub(r"(?<![A-Za-z0-9])\s+|\s+(?![A-Za-z0-9])", "", _plain(text)).translate(_CHINESE_QUOTES)
    text = re.sub(r"\.{2,}|。{2,}", "……", text)
    text = _LONE_SIGN.sub(lambda sign: _CHINESE_SIGNS[sign[0]], text)
    return re.sub('"([^"]*)"', r"“\1”", text)


def script_of(text: str) -> str:
    """``"simplified"``, ``"traditional"``, ``"mixed"``, or ``"either"`` if no character tells.

    By the two old standards: a character of GB 2312 that Big5 lacks is simplified, and the other way round traditional.
    """
    found = {_script_of_character(character) for character in text} - {None}
    return "mixed" if len(found) == 2 else found.pop() if found else "either"


_STRAIGHT_QUOTES = str.maketrans("‘’´`“”", "''''\"\"")
_CHINESE_QUOTES = str.maketrans("「」『』", "“”‘’")
_CHINESE_SIGNS = dict(zip(",.!?:;()", "，。！？：；（）", strict=True))
_LONE_SIGN = re.compile(r"(?<![A-Za-z0-9])[,.!?:;()]|[,.!?:;()](?![A-Za-z0-9])")
_ENDING = re.compile(r"(?<=[^\W\d_])('(?:s|m|re|ve|ll|d))(?!\w)")
_WORD = re.compile(r"'(?:s|m|re|ve|ll|d)(?!\w)|\d+(?:[.,:]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)*|[^\w\s]|_")


def _plain(text: str) -> str:
    """NFKC without invisible characters (zero-width space, soft hyphen, direction marks)."""
    text = unicodedata.normalize("NFKC", text)
    return "".join(character for character in text if unicodedata.category(character) != "Cf").strip()


@cache
def _script_of_character(character: str) -> str | None:
    simplified, traditional = (_can_encode(character, name) for name in ("gb2312", "big5"))
    if not "\u4e00" <= character <= "\u9fff" or simplified == traditional:
        return None
    return "simplified" if simplified else "traditional"


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


_FORMS = {"words": (normalise_words, "word"), "chinese": (normalise_chinese, "character")}


def _form(name: str) -> tuple[Callable[[str], str], str]:
    """How a side is normalised, and what its length counts."""
    if name not in _FORMS:
        raise CourseError(f"There is no form of text {name!r}; choose one of {', '.join(_FORMS)}.")
    return _FORMS[name]


def _lines(path: Path, encoding: str) -> tuple[list[bytes], str]:
    """The lines of a file as bytes without line ends, and their encoding; CourseError if it is no text."""
    try:
        "".encode(encoding)
        raw = path.read_bytes()
    except LookupError:
        raise CourseError(f"There is no encoding {encoding!r}; 'utf-8', 'gb18030' and 'big5' are usual.") from None
    except FileNotFoundError:
        raise CourseError(
            f"{path} is missing; English-Chinese pairs are in cmn-eng.zip at https://www.manythings.org/anki/."
        ) from None
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}).") from None
    if raw.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise CourseError(f"{path.name} is a packed file; unpack it and load the .txt file inside.")
    if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raw, encoding = _from_utf16(raw, path.name).encode("utf-8"), "utf-8"
    if b"\x00" in raw:
        raise CourseError(f"{path.name} holds zero bytes, so it is not text in {encoding}; save it as UTF-8 text.")
    lines = raw.removeprefix(codecs.BOM_UTF8).splitlines()
    if not any(line.strip() for line in lines):
        raise CourseError(f"{path.name} is empty; a line should be: source, tab, target.")
    return lines, encoding


def _from_utf16(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-16")
    except UnicodeDecodeError:
        raise CourseError(f"{name} begins like UTF-16 but is not; save it as UTF-8 text.") from None


def _pair(line: bytes, encoding: str, normalise) -> tuple[tuple[str, str], str | None]:
    """The normalised sides of a line, and the reason why it is no pair."""
    nothing = ("", "")
    if not line.strip():
        return nothing, "blank line"
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError:
        return nothing, "undecodable bytes"
    if any(c == "\ufffd" or (c != "\t" and unicodedata.category(c) == "Cc") for c in text):
        return nothing, "damaged character"
    columns = text.split("\t")
    if len(columns) < 2:
        return nothing, "no tab"
    if len(columns) > 3:
        return nothing, "too many columns"
    return (normalise[0](columns[0]), normalise[1](columns[1])), None


def _fault(pair, unit, limits, script, translations) -> str | None:
    """The reason why a pair is not used, if there is one."""
    if not all(pair):
        return "empty side"
    lengths = [len(text.split()) if kind == "word" else len(text) for text, kind in zip(pair, unit, strict=True)]
    if lengths[0] > limits[0] or lengths[1] > limits[1]:
        return "too long"
    if script and script_of(pair[1]) not in (script, "either"):
        return "other script"
    return "duplicate pair" if pair[1] in translations.get(pair[0], ()) else None


def _nothing_left(report: PairReport, encoding: str) -> str:
    counts = ", ".join(f"{count:,} {reason}" for reason, count in report.dropped.items() if count)
    message = f"No pair is left of the {report.lines:,} lines of {report.name}: {counts}."
    if report.dropped["undecodable bytes"] > report.lines // 2:
        message += f" The file is not in {encoding}: name its encoding, gb18030 or big5 perhaps."
    return message


def _corpus(translations, num_validation, num_test, seed, report) -> PairCorpus:
    """Sentences with the same words in the same part; those to be held out are taken from a seeded order."""
    if min(num_validation, num_test) < 0 or num_validation + num_test >= len(translations):
        raise CourseError(
            f"{num_test:,} test and {num_validation:,} validation sentences cannot be held out: "
            f"{report.name} has {len(translations):,} different ones, and some must be left for training."
        )
    groups = {}
    for text in translations:
        groups.setdefault(_words_only(text), []).append(text)
    groups = list(groups.values())
    parts = {"test": [], "validation": [], "train": []}
    room = {"test": num_test, "validation": num_validation, "train": len(translations)}
    for k in np.random.default_rng(seed).permutation(len(groups)):
        part = next(name for name in parts if len(parts[name]) + len(groups[k]) <= room[name])
        parts[part] += groups[k]
    made = {name: _part(translations, parts[name], name == "train") for name in ("train", "validation", "test")}
    report.sentences = {name: len(parts[name]) for name in made}
    report.pairs = {name: sum(len(translations[text]) for text in parts[name]) for name in made}
    report.known_targets = _known(made["train"], made["test"])
    kinds = [script_of(target) for targets in translations.values() for target in targets]
    report.scripts = {kind: kinds.count(kind) for kind in (*SCRIPTS, "mixed", "either")}
    return PairCorpus(**made, report=report)


def _words_only(text: str) -> str:
    """A sentence without its signs, or the whole of it if it has nothing else."""
    return re.sub(r"[\W_]+", " ", text).strip() or text


def _part(translations, texts, repeated: bool) -> SentencePairs:
    rows = [(text, target) for text in texts for target in translations[text][: None if repeated else 1]]
    sources, targets = [row[0] for row in rows], [row[1] for row in rows]
    return SentencePairs(sources, targets, [list(translations[source]) for source in sources])


def _known(train: SentencePairs, test: SentencePairs) -> int:
    known = set(train.targets)
    return sum(any(target in known for target in references) for references in test.references)
