"""Byte pair encoding: an example by hand, the library ``tokenizers`` as second opinion, round trips, damaged files."""

import json
import random
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from aigc_course import bpe
from aigc_course.bpe import END_OF_TEXT, ByteLevelBPE
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

LOWEST = {"low": 5, "lower": 2, "newest": 6, "widest": 3}  # the example of Sennrich et al., without their mark </w>

ENGLISH = "It's the cat's mat; we've seen that they'll sit, I'd say, since you're here and I'm not. DON'T SHOUT! "
TEXTS = [
    ENGLISH * 3 + "The cat sat on the mat that the cat had seen. " * 5,
    "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。" * 4 + "白日放歌须纵酒，青春作伴好还乡。",
    "def f(x):\n    return x + 1\n\n\nclass A:\n\tpass\r\n   \n" * 4,
    "In 2019 there were 1,542,000,000 weights; in 2020 175,000,000,000. ½ ² Ⅷ ٣ ३ 二十 " * 3,
    "🙂🙃👩‍👩‍👧‍👦 flags 🇨🇳🇬🇧 e\u0301 é ﬁ Ａ ﷽ \ufeff\u200b\u00a0\u3000\u2028\x85 " * 3,
    "\x00\x01\x07\x1b[0m\x7f\x1c\x1d\x1e\x1f\x0b\x0c" * 3,
    "a" * 23 + " " * 17 + "\n" * 9 + "ab" * 11 + "\t" * 5,
    "",
]


@pytest.fixture(scope="module")
def trained():
    return ByteLevelBPE.train(TEXTS, 400)


def library(texts, size, min_count=2):
    """The same tokeniser trained by the library, and its merges."""
    tokenizers = pytest.importorskip("tokenizers")
    level = tokenizers.pre_tokenizers.ByteLevel
    made = tokenizers.Tokenizer(tokenizers.models.BPE())
    made.pre_tokenizer, made.decoder = level(add_prefix_space=False), tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=size, min_frequency=min_count, show_progress=False, initial_alphabet=level.alphabet()
    )
    made.train_from_iterator(texts, trainer)
    return made, [tuple(pair) for pair in json.loads(made.to_str())["model"]["merges"]]


def random_texts(count, seed):
    """Texts of characters from all planes, of white space, of digits, of one letter, mixed."""
    rng = random.Random(seed)
    planes = [(0, 0x80), (0x80, 0x800), (0x800, 0xD800), (0xE000, 0x10000), (0x10000, 0x110000)]
    makers = [lambda plane=plane: chr(rng.randrange(*plane)) for plane in planes]
    makers += [lambda: rng.choice(" \t\n\r\x0b\x0c\x85\xa0\u2009\u3000"), lambda: rng.choice("a1'’ \n")]
    makers += [lambda: rng.choice(["'s", "'T", " '", "'ll", "I", "don", END_OF_TEXT, "<|", "ÿ", "\U0010ffff"])]
    for _ in range(count):
        chosen = rng.sample(makers, rng.randint(1, 4))
        yield "".join(rng.choice(chosen)() for _ in range(rng.randint(0, 40)))


# By hand.


def test_pairs_of_the_example():
    """e s and s t stand in newest (6) and widest (3), w e in lower (2) and newest (6)."""
    counts = bpe.count_pairs({tuple(word): count for word, count in LOWEST.items()})
    assert counts.most_common(3) == [(("e", "s"), 9), (("s", "t"), 9), (("w", "e"), 8)]
    assert counts["l", "o"] == 7 and counts["d", "e"] == 3 and counts.total() == 5 * 2 + 2 * 4 + 6 * 5 + 3 * 5


def test_merges_of_the_example():
    """es before st, both 9; est 9; lo before ow, both 7; low 7; of ew, ne and w+est, all 6, ew has the smallest ids."""
    merges = bpe.learn_merges(LOWEST, 256 + 7)
    assert merges == [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w"), ("e", "w"), ("n", "ew"), ("new", "est")]


def test_merges_stop_when_nothing_is_frequent_enough():
    merges = bpe.learn_merges(LOWEST, 10_000, min_count=7)
    assert merges == [("e", "s"), ("es", "t"), ("l", "o"), ("lo", "w")]
    assert len(bpe.learn_merges(LOWEST, 10_000, min_count=0)) == 12  # every word one token
    assert bpe.learn_merges({}, 300) == bpe.learn_merges(LOWEST, 256) == bpe.learn_merges({"a": 9}, 300) == []


def test_merge_goes_from_the_left():
    assert bpe.merge(("a", "a", "a"), ("a", "a"), "aa") == ("aa", "a")
    assert bpe.merge(("b", "a", "b", "a", "b"), ("a", "b"), "ab") == ("b", "ab", "ab")
    assert bpe.merge((), ("a", "b"), "ab") == () and bpe.merge((1, 2, 1), (1, 2), 300) == (300, 1)


def test_encoding_follows_the_order_of_the_merges():
    """cab: a b was learnt before c a, so the word is c + ab, though ca stands further left."""
    tokeniser = ByteLevelBPE([*ByteLevelBPE.train([""], 257).tokens, "ab", "ca"], [("a", "b"), ("c", "a")])
    assert tokeniser.split("cab ca abab") == ["c", "ab", "Ġ", "ca", "Ġ", "ab", "ab"]


def test_table_of_bytes():
    table = bpe.bytes_to_characters()
    assert sorted(table) == list(range(256)) and len(set(table.values())) == 256
    assert all(c.isprintable() and not c.isspace() for c in table.values())
    assert [table[byte] for byte in (0x20, 0x0A, 0x41, 0x00, 0xAD, 0xFF)] == ["Ġ", "Ċ", "A", "Ā", "Ń", "ÿ"]
    assert bpe.in_characters(" né中") == "ĠnÃ©ä¸Ń"


@pytest.mark.parametrize(
    "text, words",
    [
        ("I'm 20!", ["I", "'m", " 20", "!"]),
        ("they'll don't", ["they", "'ll", " don", "'t"]),
        ("DON'T", ["DON", "'", "T"]),
        ("a   b", ["a", "  ", " b"]),
        ("a \n", ["a", " \n"]),
        ("x=1.5e3", ["x", "=", "1", ".", "5", "e", "3"]),
        ("白日，依山", ["白日", "，", "依山"]),
        ("", []),
    ],
)
def test_pretokenise(text, words):
    assert bpe.pretokenise(text) == words


# Against the library.


def test_table_and_vocabulary_are_the_library_s():
    tokenizers = pytest.importorskip("tokenizers")
    assert set(tokenizers.pre_tokenizers.ByteLevel.alphabet()) == set(bpe.bytes_to_characters().values())


@pytest.mark.parametrize("size, min_count", [(257, 2), (300, 2), (400, 2), (2000, 2), (2000, 1), (2000, 7)])
def test_same_merges_and_ids_as_the_library(size, min_count):
    ours = ByteLevelBPE.train(TEXTS, size, min_count)
    theirs, merges = library(TEXTS, size - 1, min_count)
    assert ours.merges == merges
    assert ours.tokens == [*(theirs.id_to_token(k) for k in range(theirs.get_vocab_size())), END_OF_TEXT]
    for text in [*TEXTS, *random_texts(300, seed=1)]:
        if new_in_unicode(text):
            continue
        assert ours.encode(text) == theirs.encode(text).ids, text


def new_in_unicode(text):
    """Whether Python's tables lack a character: then it may be a letter for ``regex`` and none for the library."""
    return any(unicodedata.category(character) == "Cn" for character in text)


def test_same_words_as_the_library_for_every_script():
    """One character in 29 of all that Python knows, in the places where its kind decides."""
    tokenizers = pytest.importorskip("tokenizers")
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    spaces = [c for c in map(chr, range(0xD800)) if c.isspace() or unicodedata.category(c) in ("Cc", "Cf", "Zs")]
    known = [c for c in map(chr, range(0, sys.maxunicode, 29)) if unicodedata.category(c) not in ("Cn", "Cs", "Co")]
    for c in [*spaces, *known]:
        text = f"a{c}b1{c}2 {c} {c}{c}.{c}!"
        assert bpe.pretokenise(text) == [text[slice(*place)] for _, place in level.pre_tokenize_str(text)], repr(c)


def test_ties_and_runs_break_as_in_the_library():
    """Few letters and short texts: nearly every choice is between equals, and pairs overlap."""
    rng = random.Random(0)
    for _ in range(150):
        letters = rng.choice(["ab", "abc", "é中🙂a", "a", "aaaaab"])
        words = ["".join(rng.choices(letters, k=rng.randint(1, 30))) for _ in range(rng.randint(1, 40))]
        size, min_count = rng.choice([270, 300, 400, 600]), rng.choice([1, 2, 3])
        ours = ByteLevelBPE.train([" ".join(words[::2])], size, min_count)
        theirs, merges = library([" ".join(words[::2])], size - 1, min_count)
        assert ours.merges == merges
        assert ours.encode(" ".join(words[1::2])) == theirs.encode(" ".join(words[1::2])).ids


def test_random_ids_decode_as_in_the_library(trained):
    """Most of these bytes are no UTF-8; what replaces them, and how often, is the same."""
    theirs, _ = library(TEXTS, 399)
    rng = np.random.default_rng(0)
    for _ in range(300):
        ids = rng.integers(0, len(trained) - 1, rng.integers(0, 12))
        assert trained.decode(ids) == theirs.decode(ids.tolist())
        raw = [trained.ids[bpe.bytes_to_characters()[byte]] for byte in rng.integers(128, 256, 9).tolist()]
        assert trained.decode(raw) == theirs.decode(raw)


def test_the_library_reads_our_files(trained, tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    theirs = tokenizers.ByteLevelBPETokenizer.from_file(*map(str, trained.save(tmp_path)))
    for text in TEXTS:
        assert theirs.encode(text).ids == trained.encode(text)
    assert theirs.token_to_id(END_OF_TEXT) == len(trained) - 1


def test_we_read_the_library_s_files(trained, tmp_path):
    theirs, _ = library(TEXTS, 399)
    ours = ByteLevelBPE.from_files(*theirs.model.save(str(tmp_path)))
    assert ours.merges == trained.merges and [*ours.tokens, END_OF_TEXT] == trained.tokens and not ours.special


# Round trips.


@pytest.mark.parametrize("size", [257, 400])
def test_every_text_comes_back(size):
    tokeniser = ByteLevelBPE.train(TEXTS, size)
    for text in [*TEXTS, *random_texts(1500, seed=2)]:
        assert "".join(bpe.pretokenise(text)) == text
        assert tokeniser.decode(tokeniser.encode(text)) == text
        assert tokeniser.decode(tokeniser.encode(text, allow_special=True)) == text


def test_bytes_are_joined_before_they_are_read(trained):
    ids = [trained.ids[character] for character in "ä¸Ń"]
    assert trained.decode(ids) == "中" and trained.decode(ids[:2]) == "\ufffd"
    assert trained.to_bytes(ids[:2]) == b"\xe4\xb8"
    assert [trained.decode([number]) for number in ids] == ["\ufffd"] * 3


def test_cache_changes_nothing(trained, monkeypatch):
    once, again = trained.encode(ENGLISH), trained.encode(ENGLISH)
    monkeypatch.setattr(bpe, "CACHED_WORDS", 0)
    fresh = ByteLevelBPE(trained.tokens, trained.merges)
    assert fresh.encode(ENGLISH) == once == again and not fresh._cache
    again.append(0)
    assert trained.encode(ENGLISH) == once


def test_a_long_word_is_encoded_in_time(trained):
    """20,000 letters without a space: a merge takes all its places at once."""
    assert trained.decode(trained.encode("ab" * 10_000)) == "ab" * 10_000


# The special token.


def test_special_token(trained):
    last = len(trained) - 1
    text = f"mat{END_OF_TEXT}{END_OF_TEXT} mat"
    assert trained.tokens[last] == END_OF_TEXT and trained.special == {END_OF_TEXT}
    assert last not in trained.encode(text)
    ids = trained.encode(text, allow_special=True)
    assert ids == [*trained.encode("mat"), last, last, *trained.encode(" mat")]
    assert trained.decode(ids) == text


def test_own_special_token():
    tokeniser = ByteLevelBPE.train(["a a"], 300, special="<|stop|>")
    assert tokeniser.encode("a<|stop|>", allow_special=True) == [tokeniser.ids["a"], tokeniser.ids["<|stop|>"]]
    with pytest.raises(ValueError, match="written"):
        ByteLevelBPE.train(["a a"], 300, special="stop")


# What cannot be.


def test_wrong_arguments(trained):
    with pytest.raises(TypeError, match="list of texts"):
        ByteLevelBPE.train("abc", 300)
    with pytest.raises(CourseError, match="vocabulary_size is 256"):
        ByteLevelBPE.train(["abc"], 256)
    with pytest.raises(TypeError, match="not bytes"):
        trained.encode(b"abc")
    for wrong in (len(trained), -1):
        with pytest.raises(CourseError, match=rf"no token {wrong}; the ids of this tokeniser are 0 to 399"):
            trained.decode([3, wrong])
    for action in (trained.encode, lambda text: ByteLevelBPE.train([text], 300)):
        with pytest.raises(CourseError, match="half of a character"):
            action("ab\ud83dcd")


def test_files_come_back(trained, tmp_path):
    paths = trained.save(tmp_path / "new" / "folder")
    assert [path.name for path in paths] == ["vocab.json", "merges.txt"]
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["merges.txt", "vocab.json"]
    back = ByteLevelBPE.from_files(*paths)
    assert (back.tokens, back.merges, back.special) == (trained.tokens, trained.merges, trained.special)
    assert paths[1].read_text(encoding="utf-8").startswith("#version: 0.2\n")
    assert repr(back) == "ByteLevelBPE(400 tokens, 143 merges)"


def test_files_without_merges_and_without_version(tmp_path):
    empty = ByteLevelBPE.train([""], 257)
    vocabulary, merges = empty.save(tmp_path)
    for text in ("#version: 0.2\n", "#version: 0.2", ""):
        merges.write_text(text)
        assert ByteLevelBPE.from_files(vocabulary, merges).merges == []


def test_a_merge_of_number_signs_is_no_comment(tmp_path):
    tokeniser = ByteLevelBPE.train(["## ##"], 258)
    paths = tokeniser.save(tmp_path)
    paths[1].write_text("# #\n")
    assert ByteLevelBPE.from_files(*paths).merges == [("#", "#")]


@pytest.mark.parametrize("name", ["vocab.json", "merges.txt"])
def test_missing_and_unreadable_files(trained, tmp_path, name):
    trained.save(tmp_path)
    paths = tmp_path / "vocab.json", tmp_path / "merges.txt"
    (tmp_path / name).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CourseError, match=f"{name} is damaged: it is not UTF-8"):
        ByteLevelBPE.from_files(*paths)
    (tmp_path / name).unlink()
    with pytest.raises(CourseError, match=f"{name} is missing"):
        ByteLevelBPE.from_files(*paths)
    (tmp_path / name).mkdir()
    with pytest.raises(CourseError, match=f"{name} cannot be read"):
        ByteLevelBPE.from_files(*paths)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda v: v[:-9], "not JSON"),
        (lambda v: "[" * 100_000, "not JSON"),
        (lambda v: "", "not JSON"),
        (lambda v: '{"a": ' + "1" * 9999 + "}", "not JSON"),
        (lambda v: "[1, 2]", "no vocabulary"),
        (lambda v: '{"a": "b"}', "no vocabulary"),
        (lambda v: '{"a": true}', "no vocabulary"),
        (lambda v: v.replace('"!": 0', '"!": 7'), "ids of its 400 tokens are not 0 to 399"),
        (lambda v: v.replace('"!": 0', '"中": 0'), "lacks 1 of the 256 bytes, '!' for one"),
        (lambda v: v.replace('"Ġt"', '"Ġqq"'), "makes a token that the vocabulary lacks"),
    ],
)
def test_damaged_vocabulary(trained, tmp_path, change, words):
    vocabulary, merges = trained.save(tmp_path)
    vocabulary.write_text(change(vocabulary.read_text(encoding="utf-8")), encoding="utf-8")
    with pytest.raises(CourseError, match=words):
        ByteLevelBPE.from_files(vocabulary, merges)


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda lines: lines[:100], "no merge makes the token"),
        (lambda lines: [*lines[:3], lines[3] + " x", *lines[4:]], "line 4, .* is not two tokens"),
        (lambda lines: [*lines[:3], "", *lines[4:]], "line 4, '', is not two tokens"),
        (lambda lines: [lines[0], *lines[:0:-1]], "joins what no merge before it makes"),
        (lambda lines: [*lines, "中 文"], "merge 144, '中 文', joins what no merge before it makes"),
        (lambda lines: [*lines, "q q"], "merge 144, 'q q', makes a token that the vocabulary lacks"),
    ],
)
def test_damaged_merges(trained, tmp_path, change, words):
    vocabulary, merges = trained.save(tmp_path)
    lines = merges.read_text(encoding="utf-8").splitlines()
    merges.write_text("\n".join(change(lines)) + "\n", encoding="utf-8")
    with pytest.raises(CourseError, match=words):
        ByteLevelBPE.from_files(vocabulary, merges)


def test_a_full_disk_leaves_the_old_pair_of_files(trained, tmp_path, monkeypatch):
    paths = ByteLevelBPE.train(["old old"], 260).save(tmp_path)
    before, write = [path.read_bytes() for path in paths], Path.write_bytes

    def full(path, data):
        if "merges" in path.name:
            write(path, data[:10])
            raise OSError(28, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CourseError, match="No space left"):
        trained.save(tmp_path)
    assert [path.read_bytes() for path in paths] == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["merges.txt", "vocab.json"]


def test_folder_that_cannot_be_written(trained, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CourseError, match="cannot be written"):
        trained.save(tmp_path / "file")
