"""Sentence pairs: nothing silently eaten, no sentence in two parts, normal forms, clear words for unusable files."""

import gzip
import io
import zipfile

import pytest

from aigc_course.datasets import pairs as module
from aigc_course.datasets.pairs import load_pairs, normalise_chinese, normalise_words, script_of
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

SUBJECTS = ("I", "You", "We", "They", "Tom", "Mary", "The cat")
VERBS = {"run": "跑", "eat": "吃", "sleep": "睡觉", "read": "读书", "laugh": "笑"}


def corpus_lines():
    """70 pairs of 35 sentences: each has two translations, and the attribution as a third column."""
    rows = [(f"{who} {verb}.", f"{who}{what}") for who in SUBJECTS for verb, what in VERBS.items()]
    return [f"{en}\t{zh}{end}\tCC-BY 2.0 (France)" for en, zh in rows for end in ("。", "了。")]


@pytest.fixture
def write(tmp_path):
    def write(content, name="pairs.txt"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else "\n".join(content).encode())
        return path

    return write


def test_parts_share_no_sentence_and_lose_no_pair(write):
    found = load_pairs(write(corpus_lines()), num_validation=4, num_test=9)
    assert (len(found.train), len(found.validation), len(found.test)) == (44, 4, 9)
    sources = [set(part.sources) for part in (found.train, found.validation, found.test)]
    assert [len(part) for part in sources] == [22, 4, 9] and len(set.union(*sources)) == 35
    assert found.report.pairs == {"train": 44, "validation": 8, "test": 18}
    assert found.report.kept == found.report.lines == 70


def test_references_are_all_translations_of_the_sentence(write):
    found = load_pairs(write(corpus_lines()), num_validation=4, num_test=9)
    for part in (found.train, found.validation, found.test):
        assert len(part.sources) == len(part.targets) == len(part.references)
        for target, references in zip(part.targets, part.references, strict=True):
            assert len(references) == 2 and references[1] == references[0].replace("。", "了。")
            assert target in references and (part is found.train or target == references[0])


def test_sentences_that_differ_in_signs_only_stay_together(write):
    lines = [f"{who} {verb}{sign}\t{what}{sign}" for who in SUBJECTS for verb, what in VERBS.items() for sign in ".!?"]
    for seed in range(5):
        found = load_pairs(write(lines), num_validation=6, num_test=9, seed=seed)
        words = [{source[:-2] for source in part.sources} for part in (found.train, found.validation, found.test)]
        assert not words[0] & words[1] and not words[0] & words[2] and not words[1] & words[2]
        assert (len(found.validation), len(found.test)) == (6, 9)


def test_held_out_numbers_are_met_though_groups_are_unequal(write):
    lines = [f"go {k}{sign}\t走{k}" for k in range(30) for sign in (".", "!", "?")[: 1 + k % 3]]
    found = load_pairs(write(lines), num_validation=5, num_test=7)
    assert (len(found.validation), len(found.test)) == (5, 7)


def test_seed_decides_the_parts(write):
    path = write(corpus_lines())
    one, same, other = (load_pairs(path, num_validation=4, num_test=9, seed=seed) for seed in (1, 1, 2))
    assert one.train == same.train and one.test == same.test and set(one.test.sources) != set(other.test.sources)


BAD_LINES = {
    "blank line": b"  \t ",
    "undecodable bytes": "Run.\t跑。".encode("gb18030"),
    "damaged character": "Run.\t跑\ufffd。".encode(),
    "no tab": b"Run.",
    "too many columns": "1\tRun.\t2\t跑。".encode(),
    "empty side": "Run fast.\t\u200b".encode(),
    "too long": ("Run. " * 13 + "\t跑。").encode(),
    "other script": "Listen.\t聽著。".encode(),
    "duplicate pair": "i  RUN .\tI 跑。".encode(),
}


def test_every_dropped_line_is_counted_under_its_name_and_quoted(write):
    assert set(BAD_LINES) == set(module.REASONS)
    good = [line.encode() for line in corpus_lines()]
    lines = good + [line for k, line in enumerate(BAD_LINES.values(), 1) for _ in range(k)]
    found = load_pairs(write(b"\r\n".join(lines)), num_validation=4, num_test=9, script="simplified")
    assert found.report.dropped == {reason: k for k, reason in enumerate(BAD_LINES, 1)}
    assert found.report.lines == len(lines) == found.report.kept + sum(found.report.dropped.values())
    assert found.report.kept == 70 == sum(found.report.pairs.values())
    assert [number for number, _ in found.report.examples["undecodable bytes"]] == [72, 73]
    assert [number for number, _ in found.report.examples["too long"]] == [92, 93, 94]
    assert found.report.examples["no tab"][0][1] == "Run."
    text = str(found.report)
    for reason, count in found.report.dropped.items():
        assert any(reason in line and f" {count} " in line for line in text.splitlines())
    assert "115 = 70 + 45: no line is missing." in text


def test_control_characters_and_the_script_of_the_other_kind(write):
    path = write([*corpus_lines(), "R\x07un.\t跑。", "Run.\t" + "跑" * 33])
    report = load_pairs(path, num_validation=0, num_test=1, script="traditional").report
    told = sum(script_of(line) == "simplified" for line in corpus_lines())
    assert told == 28  # 睡觉 and 读书
    assert report.dropped["other script"] == told
    assert report.dropped["damaged character"] == report.dropped["too long"] == 1


def test_lengths_at_the_limit_are_kept(write):
    path = write(["one two three\t一二三四五", "one two three four\t一", "one\t一二三四五六", "two\t二"])
    found = load_pairs(path, num_validation=0, num_test=0, max_source_length=3, max_target_length=5)
    assert found.report.dropped["too long"] == 2 and found.train.sources.count("one two three") == 1


def test_last_line_may_end_or_not(write):
    for end in (b"", b"\n", b"\r\n"):
        assert load_pairs(write("a\t一\nb\t二".encode() + end), num_validation=0, num_test=1).report.lines == 2


def test_byte_order_marks_are_read(write):
    text = "\r\n".join(corpus_lines())
    expected = load_pairs(write(text.encode()), num_validation=4, num_test=9)
    for encoding in ("utf-8-sig", "utf-16"):
        found = load_pairs(write(text.encode(encoding)), num_validation=4, num_test=9)
        assert found.train == expected.train and found.test == expected.test
    big_endian = b"\xfe\xff" + text.encode("utf-16-be")
    assert load_pairs(write(big_endian), num_validation=4, num_test=9, encoding="gb18030").test == expected.test


def test_other_encodings_are_read_if_named(write):
    path = write("\n".join(corpus_lines()).encode("gb18030"))
    assert load_pairs(path, num_validation=4, num_test=9, encoding="gb18030").report.kept == 70
    with pytest.raises(CourseError, match=r"No pair is left of the 70 lines.*70 undecodable bytes.*gb18030 or big5"):
        load_pairs(path)
    for name in ("klingon", "rot13"):
        with pytest.raises(CourseError, match="There is no encoding"):
            load_pairs(path, encoding=name)


def packed():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("cmn.txt", "Run.\t跑。")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty; a line should be: source, tab, target"),
        (b"\n \r\n\t\n", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"\xff\xfe", "is empty"),
        (b"no tab here\nnor here\n", r"No pair is left of the 2 lines of pairs\.txt: 2 no tab\."),
        ("Run.\t跑。".encode("utf-16-le"), "zero bytes.*save it as UTF-8"),
        ("Run.\t跑。".encode("utf-32"), "zero bytes"),
        (b"\xff\xfeabc", "begins like UTF-16 but is not"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00", "zero bytes"),
        (packed(), "is a packed file; unpack it"),
        (gzip.compress(b"a\tb", mtime=0), "is a packed file; unpack it"),
    ],
)
def test_unusable_files_are_refused_in_clear_words(write, content, message):
    with pytest.raises(CourseError, match=message):
        load_pairs(write(content))


def test_missing_file_and_folder_are_named(tmp_path):
    with pytest.raises(CourseError, match=r"nothing\.txt is missing; .*manythings"):
        load_pairs(tmp_path / "nothing.txt")
    with pytest.raises(CourseError, match="cannot be read"):
        load_pairs(tmp_path)


def test_wrong_arguments_are_named(write):
    path = write(corpus_lines())
    for sizes in ((34, 1), (-1, 3), (500, 1000)):
        with pytest.raises(CourseError, match="has 35 different ones"):
            load_pairs(path, num_validation=sizes[0], num_test=sizes[1])
    with pytest.raises(CourseError, match="no script 'cursive'; choose one of simplified, traditional"):
        load_pairs(path, script="cursive")
    with pytest.raises(CourseError, match="no form of text 'french'; choose one of words, chinese"):
        load_pairs(path, target="french")


def test_other_languages_are_words(write):
    found = load_pairs(write(["Hi!\tSalut !", "Run.\tCours !"]), target="words", num_validation=0, num_test=0)
    assert sorted(found.train.targets) == ["cours !", "salut !"]


def test_report_counts_scripts_and_targets_known_from_training(write):
    path = write(["Hi.\t你好。", "Hello.\t你好。", "He.\t他說。", "She.\t她说。", "It.\t它說说。"])
    found = load_pairs(path, num_validation=0, num_test=4)
    assert found.report.scripts == {"simplified": 1, "traditional": 1, "mixed": 1, "either": 2}
    expected = sum("你好。" in references for references in found.test.references) % 2
    assert found.report.known_targets == expected
    seeds = [load_pairs(path, num_validation=0, num_test=4, seed=seed).report.known_targets for seed in range(10)]
    assert set(seeds) == {0, 1}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("I'm OK, Tom.", "i 'm ok , tom ."),
        ("Don’t “stop” me!", 'don\'t " stop " me !'),
        ("It's 2:30; pay $1,000.", "it 's 2:30 ; pay $ 1,000 ."),
        ("Tom's twenty-one o'clock café", "tom 's twenty - one o'clock café"),
        ("ＡＢＣ！  soft\u00adhyphen\u200b", "abc ! softhyphen"),
        ("We'd go. You'll see?!", "we 'd go . you 'll see ? !"),
        ("'s a_b ''", "'s a _ b ' '"),
        ("  ", ""),
    ],
)
def test_words(text, expected):
    assert normalise_words(text) == expected
    assert normalise_words(expected) == expected


@pytest.mark.parametrize(
    "text, expected",
    [
        ("等等!  「好」", "等等！“好”"),
        ("他3.5岁,2:30来.", "他3.5岁，2:30来。"),
        ('２０２１ 年﹐Tom 说:"好"', "2021年，Tom说：“好”"),
        ("New York 很大…", "New York很大……"),
        ("什么?！（真）......", "什么？！（真）……"),
        ("\u200b你\u3000好 。", "你好。"),
        ("…… ", "……"),
        ("", ""),
    ],
)
def test_chinese(text, expected):
    assert normalise_chinese(text) == expected
    assert normalise_chinese(expected) == expected


def test_normal_forms_lose_no_letter_and_no_digit():
    text = "Éa ß2٣ क_x'y'z 3,a 你好Ⅷ x-y…'d've 漢𡡡"
    for normalise in (normalise_words, normalise_chinese):
        kept = [character.lower() for character in normalise(text) if character.isalnum()]
        assert kept == [character.lower() for character in module._plain(text) if character.isalnum()]


def test_scripts():
    assert [script_of(text) for text in ("汉语", "漢語", "汉語", "你好Tom", "")] == [
        "simplified", "traditional", "mixed", "either", "either",
    ]  # fmt: skip
