"""BLEU and chrF are those of sacrebleu, agree with values worked by hand, and refuse what they cannot score."""

import math
import random
import re

import pytest
from sacrebleu.metrics import BLEU, CHRF

from aigc_course import metrics
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

SACREBLEU = {"zh": "zh", "words": "13a", "none": "none"}
ENGLISH = (
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "3.5",
    "1,000",
    "well-known",
    "Dr.",
    "it's",
    "5-",
    "&amp;",
    "(so)",
    "!",
)
CHINESE = (*"我你他们在家吃饭，。“今天”—是好的2024年３月", "GPT-2", "3.5", " ", "ok.")


def corpora(pieces, joint, num_corpora=40):
    """Small corpora with one to three references a sentence, all with the same number, some texts empty."""
    rng = random.Random(0)
    for _ in range(num_corpora):
        size, num_references, few = (
            rng.randint(1, 7),
            rng.randint(1, 3),
            rng.sample(pieces, rng.randint(3, len(pieces))),
        )

        def text(few=few):
            return joint.join(rng.choices(few, k=rng.choice([0, 1, 2, 3, 5, 8, 13])))

        hypotheses = [text() for _ in range(size)]
        yield hypotheses, [[text() for _ in range(num_references)] for _ in range(size)]


def turned(references):
    """[sentence][reference] as sacrebleu wants it: [reference][sentence]."""
    return [list(column) for column in zip(*references, strict=True)]


# --- the numbers of sacrebleu


@pytest.mark.parametrize("smoothing", ["exp", "none"])
@pytest.mark.parametrize(("pieces", "joint", "tokenise"), [
    (ENGLISH, " ", "words"), (ENGLISH, " ", "none"), (ENGLISH, "", "words"), (CHINESE, "", "zh"), (ENGLISH, " ", "zh"),
])  # fmt: skip
def test_bleu_is_that_of_sacrebleu(pieces, joint, tokenise, smoothing):
    scores = []
    for hypotheses, references in corpora(pieces, joint):
        ours = metrics.corpus_bleu(hypotheses, references, tokenise=tokenise, smoothing=smoothing)
        for order in (1, 2, 3, 4):
            judge = BLEU(tokenize=SACREBLEU[tokenise], smooth_method=smoothing, max_ngram_order=order)
            theirs = judge.corpus_score(hypotheses, turned(references))
            assert ours.cumulative[order - 1] == pytest.approx(theirs.score, abs=1e-9)
        assert ours.score == ours.cumulative[-1]
        assert ours.precisions == pytest.approx(theirs.precisions, abs=1e-9)
        assert ours.brevity_penalty == pytest.approx(theirs.bp, abs=1e-12)
        assert (ours.hypothesis_length, ours.reference_length) == (theirs.sys_len, theirs.ref_len)
        assert (list(ours.matches), list(ours.totals)) == (theirs.counts, theirs.totals)
        scores.append(ours.score)
    assert len(set(scores)) >= (5 if smoothing == "exp" else 2), "the corpora show nothing"


@pytest.mark.parametrize(("pieces", "joint"), [(ENGLISH, " "), (CHINESE, "")])
@pytest.mark.parametrize(("char_order", "beta"), [(6, 2), (3, 1)])
def test_chrf_is_that_of_sacrebleu(pieces, joint, char_order, beta):
    scores = set()
    for hypotheses, references in corpora(pieces, joint):
        ours = metrics.chrf(hypotheses, references, char_order=char_order, beta=beta)
        theirs = CHRF(char_order=char_order, beta=beta).corpus_score(hypotheses, turned(references)).score
        assert ours == pytest.approx(theirs, abs=1e-9)
        scores.add(ours)
    assert len(scores) > 10


@pytest.mark.parametrize("tokenise", ["zh", "words", "none"])
def test_tokens_are_those_of_sacrebleu(tokenise):
    """Every character up to U+2FFFF between letters and between digits; stops, dashes and blanks in any order."""
    judge = BLEU(tokenize=SACREBLEU[tokenise])
    rng = random.Random(0)
    signs = [".", ",", "-", "7", "a", " ", "\n", "&lt;", "<skipped>", "'", "中", "。"]
    texts = ["".join(rng.choices(signs, k=rng.randint(0, 9))) for _ in range(3000)]
    texts += [
        "".join(f"a{chr(code)}b1{chr(code)}2" for code in range(start, start + 64)) for start in range(0, 0x30000, 64)
    ]
    for text in texts:
        assert metrics.tokens(text, tokenise) == judge._preprocess_segment(text).split(), repr(text)


def test_number_of_references_may_differ():
    hypotheses, references = ["a b c d e", "f g h i"], [["a b c d", "b c d e f g"], ["f g h i j"]]
    theirs = BLEU(tokenize="none").corpus_score(hypotheses, [["a b c d", "f g h i j"], ["b c d e f g", None]])
    ours = metrics.corpus_bleu(hypotheses, references, tokenise="none")
    assert ours.score == pytest.approx(theirs.score, abs=1e-9)
    assert metrics.chrf(hypotheses, references) == pytest.approx(
        CHRF().corpus_score(hypotheses, [["a b c d", "f g h i j"], ["b c d e f g", None]]).score, abs=1e-9
    )


# --- by hand


def test_counts_are_clipped():
    """Papineni et al., 2002, sec. 2.1: seven times the same word, of which the reference has two."""
    seven = metrics.corpus_bleu(["the the the the the the the"], [["the cat is on the mat"]], max_order=1)
    assert (seven.matches, seven.totals, seven.brevity_penalty) == ((2,), (7,), 1.0)
    assert seven.score == pytest.approx(100 * 2 / 7)


def test_a_count_is_clipped_at_the_best_single_reference():
    """Two references with one `the` each do not allow two."""
    bleu = metrics.corpus_bleu(["the the"], [["the cat", "the dog"]], max_order=1)
    assert bleu.matches == (1,)


def test_penalty_takes_the_nearest_length_and_of_two_the_shorter():
    near = metrics.corpus_bleu(["a b c d"], [["a b c d e", "a b c d e f g"]])
    assert near.reference_length == 5 and near.brevity_penalty == pytest.approx(math.exp(1 - 5 / 4))
    tie = metrics.corpus_bleu(["a b c d"], [["a b c d e", "a b c"]])
    assert tie.reference_length == 3 and tie.brevity_penalty == 1


def test_lengths_are_summed_before_they_are_compared():
    """A long sentence makes up for a short one: the penalty is that of the corpus."""
    assert metrics.corpus_bleu(["a b", "c d e f"], [["a b c"], ["c d e"]]).brevity_penalty == 1


def test_smoothing_gives_half_a_match_then_a_quarter():
    text = ["a b c d"], [["a c b e"]]
    smooth, plain = (metrics.corpus_bleu(*text, tokenise="none", smoothing=how) for how in ("exp", "none"))
    assert smooth.precisions == pytest.approx([75, 50 / 3, 25 / 2, 12.5])
    assert plain.precisions == pytest.approx([75, 0, 0, 0]) and plain.score == 0
    assert plain.cumulative[0] == pytest.approx(75)


def test_a_perfect_translation_scores_one_hundred():
    perfect = metrics.corpus_bleu(["今天是好日子。"], [["今天是好日子。"]], tokenise="zh")
    assert perfect.cumulative == pytest.approx([100] * 4) and perfect.totals == (7, 6, 5, 4)
    assert metrics.chrf(["今天"], [["今天"]]) == pytest.approx(100)


def test_chrf_by_hand():
    """`abc` for `abd`: two of three characters, one of two pairs, no triple, so P = R = F = (2/3 + 1/2 + 0) / 3."""
    assert metrics.chrf(["ab c"], [["a bd"]]) == pytest.approx(100 * (2 / 3 + 1 / 2) / 3)


def test_chrf_weighs_recall():
    half = metrics.chrf(["ab"], [["abab"]], char_order=1)
    assert half == pytest.approx(100 * 5 * 1 * 0.5 / (4 * 1 + 0.5))
    assert half < metrics.chrf(["abab"], [["ab"]], char_order=1)


def test_a_bleu_prints_its_parts():
    text = str(metrics.corpus_bleu(["a b c d e"], [["a b c d e f"]]))
    assert text == "BLEU 81.87 (precisions 100.0 / 100.0 / 100.0 / 100.0, brevity penalty 0.819, 5 tokens for 6)"


# --- the ends


@pytest.mark.parametrize(("hypotheses", "references", "penalty"), [
    ([""], [["a b"]], 0.0),
    ([""], [[""]], 1.0),
    (["a b"], [[""]], 1.0),
    (["x y"], [["a b"]], 1.0),
])  # fmt: skip
def test_nothing_in_common_scores_zero(hypotheses, references, penalty):
    bleu = metrics.corpus_bleu(hypotheses, references)
    assert bleu.score == 0 and bleu.brevity_penalty == penalty
    assert metrics.chrf(hypotheses, references) == 0


def test_a_corpus_of_short_sentences_has_no_bleu_4():
    short = metrics.corpus_bleu(["a b c"] * 3, [["a b c"]] * 3)
    assert short.cumulative == pytest.approx([100, 100, 100, 0]) and short.totals == (9, 6, 3, 0)


GOOD = (["a b"], [["a b"]])


@pytest.mark.parametrize("score", [metrics.corpus_bleu, metrics.chrf])
@pytest.mark.parametrize(("hypotheses", "references", "message"), [
    ([], [], "no translation to score"),
    (["a", "b"], [["a"]], "2 translations and 1 lists"),
    ("a b", [["a b"]], "not one text"),
    (["a b"], "a b", "not one text"),
    (["a b"], ["a b"], "references of translation 0 must be a list of texts: [text]"),
    (["a", "b"], [["a"], []], "Translation 1 has no reference"),
    (["a", None], [["a"], ["b"]], "Translation 1 is of type NoneType"),
    (["a"], [[None]], "references of translation 0"),
    (["a"], [None], "references of translation 0"),
])  # fmt: skip
def test_what_cannot_be_scored_is_refused(score, hypotheses, references, message):
    with pytest.raises(CourseError, match=re.escape(message)):
        score(hypotheses, references)


@pytest.mark.parametrize(("options", "message"), [
    ({"tokenise": "13a"}, "no tokeniser '13a'; choose one of zh, words, none"),
    ({"smoothing": "floor"}, "no smoothing 'floor'"),
    ({"max_order": 0}, "order is 0"),
])  # fmt: skip
def test_unknown_options_are_refused(options, message):
    with pytest.raises(CourseError, match=message):
        metrics.corpus_bleu(*GOOD, **options)


@pytest.mark.parametrize("options", [{"char_order": 0}, {"beta": 0}, {"beta": float("nan")}])
def test_chrf_refuses_orders_and_weights_below_their_range(options):
    with pytest.raises(CourseError):
        metrics.chrf(*GOOD, **options)


def test_what_comes_in_is_left_alone():
    hypotheses, references = ("a b",), (("a b", "a"),)
    assert metrics.corpus_bleu(hypotheses, references, max_order=2).score == pytest.approx(100)
    assert references == (("a b", "a"),)


# --- the quotient test


def test_quotients_are_penalty_times_precision():
    bleu = metrics.corpus_bleu(["a b c d x e"], [["a b c d e f g"]], smoothing="none")
    assert bleu.brevity_penalty < 1 and bleu.score > 0
    found = metrics.quotient_test(bleu.cumulative)
    assert found.possible
    assert found.values == pytest.approx([bleu.brevity_penalty * p / 100 for p in bleu.precisions])


def test_a_first_score_above_its_second_is_no_condition():
    assert metrics.quotient_test([50, 60]).possible  # 0.36 / 0.5
    assert not metrics.quotient_test([50, 71]).possible  # 0.504 / 0.5
    assert metrics.quotient_test([100, 100.00000000000004, 100]).possible  # sacrebleu's rounding


def test_zero_scores():
    assert metrics.quotient_test([0, 0]) == metrics.Quotients((0.0, 0.0), True)
    assert metrics.quotient_test([50, 0, 0]).possible
    assert metrics.quotient_test([0, 10]) == metrics.Quotients((0.0, math.inf), False)


@pytest.mark.parametrize("scores", [[], [101], [-1, 2], [float("nan")]])
def test_what_are_no_scores_is_refused(scores):
    with pytest.raises(CourseError, match="percentages between 0 and 100"):
        metrics.quotient_test(scores)
