"""Scores of poems: values by hand, a slow search for copies, real poems above shuffled ones, tables."""

import time

import numpy as np
import pytest

from aigc_course.datasets import load_poems
from aigc_course.datasets.poems import FORMS, form_of, load_characters, readings, to_lines, written
from aigc_course.metrics import poems as module
from aigc_course.metrics.poems import (
    RHYME_GROUPS,
    CopyIndex,
    distinct_n,
    form_share,
    pair_rhyme_share,
    report,
    rhyme_group,
    rhyme_groups,
    rhyme_share,
    shuffled,
    tone_pattern_share,
)
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

STORKS = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。"  # liú, lóu
MOON = "床前明月光，疑是地上霜。举头望明月，低头思故乡。"  # shuāng, xiāng
EVEN = "山山山山山，水水水水水。山山山山山，水水水水水。"


@pytest.fixture(scope="module")
def poems():
    return load_poems()


# --- form


def test_form_by_hand():
    broken = [STORKS[:-1], STORKS.replace("山", "")]
    assert form_share([STORKS, *broken]) == pytest.approx(1 / 3) and form_share([STORKS, MOON]) == 1
    assert form_share([STORKS, MOON], ["5x4", "7x4"]) == 0.5


# --- rhyme


@pytest.mark.parametrize(
    ("group", "syllables"),
    [
        ("发花", "mā jiā huà yá"),
        ("梭坡", "bō hé guò é wǒ"),
        ("乜斜", "yè xuě jié yuè lüè"),
        ("一七", "lǐ zhī shī yú jū nǚ qù ér xù yī"),
        ("姑苏", "shū wú zhú bù"),
        ("怀来", "lái huái wài"),
        ("灰堆", "fēi shuǐ wèi"),
        ("遥条", "jiāo yáo gāo"),
        ("油求", "liú lóu qiū yǒu"),
        ("言前", "shān tiān yuán juàn wǎn"),
        ("人辰", "rén xīn chūn yún jūn yīn wén"),
        ("江阳", "guāng xiāng wáng yáng"),
        ("中东", "fēng míng zhōng qióng yòng wēng yīng"),
    ],
)
def test_rhyme_groups_of_syllables(group, syllables):
    assert {rhyme_group(syllable) for syllable in syllables.split()} == {group}


def test_every_character_of_the_vocabulary_rhymes():
    assert len(RHYME_GROUPS) == 13
    assert all(rhyme_group(reading) for character in load_characters()[6:] for reading in readings(character)[:1])


def test_any_reading_counts():
    assert rhyme_groups("乐") == {"梭坡", "乜斜"} and rhyme_groups("a") == frozenset()


def test_rhyme_by_hand():
    no_rhyme = STORKS.replace("楼", "山")
    assert rhyme_share([STORKS]) == rhyme_share([MOON]) == 1 and rhyme_share([no_rhyme]) == 0
    assert rhyme_share([STORKS, MOON, no_rhyme, STORKS.replace("楼", "流")]) == 0.5  # a character is no rhyme of itself
    assert rhyme_share([STORKS[:12]]) == 0 and rhyme_share([""]) == 0


def test_pairs_that_rhyme_by_hand():
    eight = STORKS + MOON  # liú lóu shuāng xiāng: two of six pairs
    assert rhyme_share([eight]) == 0 and pair_rhyme_share([eight]) == pytest.approx(2 / 6)
    assert pair_rhyme_share([eight, STORKS]) == pytest.approx(3 / 7) and pair_rhyme_share([STORKS[:12]]) == 0


# --- tones


def test_tone_pattern_by_hand():
    """Line 1: 日 oblique, 山 level; line 2: 河 level, 海 oblique; 穷 level, 里 oblique; 上 oblique, 层 level."""
    assert tone_pattern_share([STORKS]) == 1
    assert tone_pattern_share([EVEN]) == pytest.approx(4 / 8)  # nothing inside lines, everything across
    swapped = "白山依日尽，黄河入海流。"  # 山 and 河 are level both, 日 and 海 oblique both
    assert tone_pattern_share([swapped]) == pytest.approx(2 / 4)


def test_sixth_character_counts_in_lines_of_seven():
    lines = ["山水山山山水山", "水山水水水山水"]  # 2 oblique, 4 level, 6 oblique; across all three differ
    assert tone_pattern_share([written(lines)]) == 1
    lines[0] = "山水山山山山山"  # 4 and 6 are level both, and 6 like the other line's
    assert tone_pattern_share([written(lines)]) == pytest.approx(5 / 7)


def test_both_tones_obey_and_unknown_ones_do_not():
    assert tone_pattern_share(["山看山水山，"]) == tone_pattern_share(["山看山山山，"]) == 1
    assert tone_pattern_share(["山x山水山，"]) == 0 and tone_pattern_share(["山，"]) == 0


# --- variety and copies


def test_distinct_pairs_by_hand():
    assert distinct_n([EVEN], 2) == pytest.approx(2 / 16) and distinct_n([STORKS], 2) == 1
    assert distinct_n([STORKS, STORKS], 1) == pytest.approx(0.5) and distinct_n(["山"], 2) == 0


def test_copied_runs_cross_lines_and_not_poems():
    index = CopyIndex([STORKS, MOON])
    assert index.longest_run(MOON) == (20, 1, MOON.replace("，", "").replace("。", ""))
    assert index.longest_run("山山依山尽，黄河山山山。") == (5, 0, "依山尽黄河")
    assert index.longest_run("一层楼床前，明月") == (4, 1, "床前明月")
    assert index.longest_run("") == index.longest_run("猫") == (0, None, "")


def test_line_ends_part_neither_lines_nor_poems():
    broken = STORKS.replace("，", "，\n").replace("。", "。\u3000\n")
    index = CopyIndex([broken, MOON])
    assert index.longest_run(STORKS)[:2] == (20, 0) and index.longest_run("楼\n床") == (1, 0, "楼")
    assert index.longest_run(MOON.replace("。", "。\n"))[:2] == (20, 1)


def test_copies_are_those_of_a_slow_search(poems):
    train = poems.train.texts[:150]
    index, plain = CopyIndex(train), ["".join(to_lines(text)) for text in train]
    for text in [*poems.test.texts[:30], *train[:5], train[7][:12] + train[9]]:
        wanted = "".join(to_lines(text))
        runs = {wanted[a:b] for a in range(len(wanted)) for b in range(a + 1, len(wanted) + 1)}
        longest = max((len(run) for run in runs if any(run in other for other in plain)), default=0)
        found = index.longest_run(text)
        assert found.length == longest == len(found.run) and found.run in wanted
        assert found.source is None or found.run in plain[found.source]


def test_copies_are_found_quickly(poems):
    start = time.process_time()
    index = module.training_index()
    runs = [index.longest_run(text).length for text in poems.test.texts[:1000]]
    assert time.process_time() - start < 10  # seconds of processor time
    assert 3 < np.mean(runs) < 3.6 and np.percentile(runs, 95) <= 5


# --- the report


def test_shuffled_poems_keep_forms_and_characters(poems):
    texts = poems.test.texts[:60]
    mixed = shuffled(texts, np.random.default_rng(0))
    assert [form_of(text) for text in mixed] == poems.test.forms[:60] and mixed != texts
    for form in FORMS:
        chosen = [number for number in range(60) if poems.test.forms[number] == form]
        assert sorted("".join(texts[n] for n in chosen)) == sorted("".join(mixed[n] for n in chosen))
    with pytest.raises(CourseError, match="no perfect form"):
        shuffled(["白日"], np.random.default_rng(0))


def test_real_poems_lie_far_above_shuffled_ones(poems):
    found = report(poems.validation.texts[:300], poems.validation.forms[:300])
    real, floor = found.real, found.shuffled
    assert found.num_poems == found.num_reference == 300
    assert found.generated.form == real.form == floor.form == 1
    assert 0.7 < real.rhyme < 0.95 and floor.rhyme < 0.1 and abs(found.generated.rhyme - real.rhyme) < 0.1
    assert 0.8 < real.pair_rhyme < 0.95 and floor.pair_rhyme < 0.2
    assert real.tones > 0.9 and floor.tones < 0.65
    assert floor.distinct_2 > real.distinct_2 > 0.8
    assert real.copied_mean > 3 > floor.copied_mean


def test_memorised_poems_are_seen(poems):
    found = report(poems.train.texts[:50], train=poems.train.texts[:500])
    assert found.generated.copied_mean > 30 and found.real.copied_95 < 6


def test_reference_has_the_forms_of_the_samples(poems):
    texts = [text for text, form in zip(poems.test.texts, poems.test.forms, strict=True) if form == "5x4"][:7]
    found = report(texts, reference=poems.validation.texts, train=[STORKS])
    assert found.num_reference == 7
    asked = report(["白日"] * 3, ["7x8"] * 3, reference=poems.validation.texts, train=CopyIndex([STORKS]))
    assert asked.generated.form == 0 and asked.num_reference == 3 and asked.generated.copied_mean == 2


def test_report_prints_ceiling_and_floor():
    found = report([STORKS, MOON], ["5x4", "5x4"], reference=[MOON], train=[STORKS])
    text, page, figures = found.table(), found._repr_html_(), found.as_dict()
    assert str(found) == text and "2 poems beside 1 held-out ones" in text
    assert len(text.splitlines()) == 3 + len(found.rows()) and "samples" in text and "shuffled" in text
    assert page.count("<tr>") == 1 + len(found.rows()) and page.count('<th scope="col">') == 5
    assert figures["rhyme"] == figures["rhyme_real"] == 1.0 and figures["copied_95_real"] == found.real.copied_95
    assert figures["num_poems"] == 2 and set(found.as_dict()) >= {"distinct_2_shuffled", "tones", "form_real"}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: form_share([]), "no poem"),
        (lambda: rhyme_share(STORKS), "a list of poems"),
        (lambda: form_share([STORKS], ["5x4", "5x4"]), "1 poems and 2 forms"),
        (lambda: report(["白日"], reference=[STORKS], train=[STORKS]), "no poem of the forms"),
        (lambda: CopyIndex([]), "no poem"),
        (lambda: distinct_n([STORKS], 0), "one character at least"),
        (lambda: form_share([STORKS], ["5x5"]), "'5x5' is unknown"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(CourseError, match=message):
        call()
