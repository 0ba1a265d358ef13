"""Scores of translations against references: BLEU (Papineni et al., 2002) and chrF (Popović, 2015).

Both count short runs that stand in the translation and in its reference too, BLEU runs of words, chrF runs of
characters. Plain Python; the numbers are those of sacrebleu 2.6 (its settings are named below).

Shapes: N translations, each with one or more references; n length of a run, from 1 to the order.
Taught in chapters/06_seq2seq.   Corrects C5.
"""

import math
import re
import string
from collections import Counter
from dataclasses import dataclass

from aigc_course.runtime import CourseError

TOKENISERS = ("zh", "words", "none")
SMOOTHINGS = ("exp", "none")

# What counts as a Chinese character: ideographs, their radicals and strokes, CJK punctuation, full-width forms. The
# first range (quotation marks, dashes, arrows) is there since sacrebleu writes U+20000 with four digits; ideographs
# beyond U+FFFF therefore stay together.
_CHINESE = re.compile(
    "([\u2001-\u2a6d\u2e80-\u2fdf\u2ff0-\u303f\u3100-\u312f\u31a0-\u31ef\u3200-\u4db5\u4e00-\u9fbb"
    "\uf900-\ufa2d\ufa30-\ufa6a\ufa70-\ufad9\ufe10-\ufe1f\ufe30-\ufe4f\uff00-\uffef])"
)
_PUNCTUATION = re.compile(f"([{re.escape(''.join(sorted(set(string.punctuation) - set(chr(39) + ',-.'))))}])")
_STOP_AFTER_NO_DIGIT = re.compile(r"([^0-9])([.,])")
_STOP_BEFORE_NO_DIGIT = re.compile(r"([.,])([^0-9])")
_DASH_AFTER_DIGIT = re.compile(r"([0-9])(-)")
_MARKUP = {"<skipped>": "", "-\n": "", "\n": " ", "&quot;": '"', "&amp;": "&", "&lt;": "<", "&gt;": ">"}


@dataclass(frozen=True)
class Bleu:
    """BLEU of a corpus, every score and precision in percent.

    ``cumulative[n - 1]`` is BLEU-n, the brevity penalty times the geometric mean of the first n precisions; ``score``
    is the last of them. ``matches`` and ``totals`` are the counts whose quotients the precisions are, before smoothing.
    """

    score: float
    cumulative: tuple[float, ...]
    precisions: tuple[float, ...]
    brevity_penalty: float
    hypothesis_length: int
    reference_length: int
    matches: tuple[int, ...]
    totals: tuple[int, ...]

    def __str__(self):
        precisions = " / ".join(f"{precision:.1f}" for precision in self.precisions)
        lengths = f"{self.hypothesis_length} tokens for {self.reference_length}"
        return f"BLEU {self.score:.2f} (precisions {precisions}, brevity penalty {self.brevity_penalty:.3f}, {lengths})"


@dataclass(frozen=True)
class Quotients:
    """What BLEU-1 to BLEU-n imply: ``values[n - 1]`` is brevity penalty times precision n, as shares.

    ``possible`` is False where one of them is above 1: then no corpus has these scores.
    """

    values: tuple[float, ...]
    possible: bool


def tokens(text: str, tokenise: str = "words") -> list[str]:
    """Split ``text`` for BLEU.

    Args:
        tokenise: ``"words"`` at blanks, with punctuation apart, and ``&amp;`` read as ``&`` (sacrebleu's ``13a``);
            ``"zh"`` with punctuation apart and every Chinese character a token (sacrebleu's ``zh``); ``"none"`` at
            blanks only.

    Raises:
        CourseError: another tokeniser.
    """
    if tokenise not in TOKENISERS:
        raise CourseError(f"There is no tokeniser {tokenise!r}; choose one of {', '.join(TOKENISERS)}.")
    text = text.rstrip()
    if tokenise == "zh":
        text = _CHINESE.sub(r" \1 ", text.strip())
    if tokenise == "words":
        for mark, plain in _MARKUP.items():
            text = text.replace(mark, plain)
        text = f" {text} "
    return (text if tokenise == "none" else _separate_punctuation(text)).split()


def corpus_bleu(hypotheses, references, max_order: int = 4, tokenise: str = "words", smoothing: str = "exp") -> Bleu:
    """BLEU of a corpus: ``penalty * exp(mean of log p_n)``, n = 1 .. max_order (Papineni et al., 2002, sec. 2.3).

    p_n is the share of the corpus's n-grams that also stand in a reference of their own sentence, each counted at most
    as often as in the reference that has it most often. The penalty is ``exp(1 - r / c)`` where the translations (c
    tokens) are shorter than the references (r tokens: for each sentence the reference nearest in length, the shorter
    of two), else 1.

    Args:
        hypotheses: N translations, a list of texts. An empty text is a translation of no tokens.
        references: N lists, one for each translation, each of one or more texts. (sacrebleu wants them turned round:
            one list of N texts for the first reference, one for the second.)
        tokenise: ``"words"``, ``"zh"`` or ``"none"``, see ``tokens``.
        smoothing: ``"exp"``: the first order without a match counts half a match, the next a quarter, and so on, as
            sacrebleu does by default; ``"none"``: one order without a match makes the score 0. Without a single
            match, or without a single n-gram of the order, the score is 0 in both.

    Raises:
        CourseError: nothing to score, unequal numbers, a text in place of a list, an unknown tokeniser or smoothing.
    """
    hypotheses, references = _checked(hypotheses, references)
    if smoothing not in SMOOTHINGS:
        raise CourseError(f"There is no smoothing {smoothing!r}; choose one of {', '.join(SMOOTHINGS)}.")
    _check_order(max_order)
    matches, totals, lengths = [0] * max_order, [0] * max_order, [0, 0]
    for hypothesis, several in zip(hypotheses, references, strict=True):
        words, others = tokens(hypothesis, tokenise), [tokens(reference, tokenise) for reference in several]
        lengths[0] += len(words)
        lengths[1] += _closest_length(len(words), others)
        for n in range(1, max_order + 1):
            counts = _runs(words, n)
            allowed = _most_often(_runs(other, n) for other in others)
            totals[n - 1] += counts.total()
            matches[n - 1] += (counts & allowed).total()
    penalty = _brevity_penalty(*lengths)
    precisions = _precisions(matches, totals, smoothing)
    cumulative = tuple(100 * penalty * _geometric_mean(precisions[:n]) for n in range(1, max_order + 1))
    percent = tuple(100 * precision for precision in precisions)
    return Bleu(cumulative[-1], cumulative, percent, penalty, *lengths, tuple(matches), tuple(totals))


def chrf(hypotheses, references, char_order: int = 6, beta: float = 2) -> float:
    """chrF of a corpus in percent: ``(1 + beta^2) P R / (beta^2 P + R)`` (Popović, 2015, eq. 1).

    P and R are precision and recall of character n-grams without blanks, counted over the corpus and averaged over
    n = 1 .. char_order (orders that no translation or no reference reaches are left out). With several references each
    sentence takes the one that suits it best. Equals sacrebleu's ``CHRF()``.

    Args:
        hypotheses: N translations, a list of texts.
        references: N lists, one for each translation, each of one or more texts.
        beta: how many times as much recall weighs as precision.

    Raises:
        CourseError: nothing to score, unequal numbers, a text in place of a list, an order or a beta not above 0.
    """
    hypotheses, references = _checked(hypotheses, references)
    _check_order(char_order)
    if not beta > 0:
        raise CourseError(f"beta is {beta}; it must be above 0.")
    sums = [[0, 0, 0] for _ in range(char_order)]
    for hypothesis, several in zip(hypotheses, references, strict=True):
        counts = [_character_counts(hypothesis, reference, char_order) for reference in several]
        best = max(counts, key=lambda count: _f_score(count, beta))
        sums = [[a + b for a, b in zip(one, two, strict=True)] for one, two in zip(sums, best, strict=True)]
    return 100 * _f_score(sums, beta)


def quotient_test(scores) -> Quotients:
    """Whether a row of cumulative scores BLEU-1 .. BLEU-n can belong to any corpus.

    ``BLEU-n^n / BLEU-(n-1)^(n-1) = penalty * p_n``, and neither factor is above 1. That BLEU-n falls with n is no such
    law: corpora with precisions that rise exist.

    Args:
        scores: [n] cumulative scores in percent, BLEU-1 first.

    Raises:
        CourseError: no scores, or one outside 0 .. 100.
    """
    shares = [float(score) / 100 for score in scores]
    if not shares or not all(0 <= share <= 1 + 1e-9 for share in shares):  # sacrebleu: 100.00000000000004
        raise CourseError("Give BLEU-1, BLEU-2, ... as a list of percentages between 0 and 100.")
    powers = [share**n for n, share in enumerate(shares, start=1)]
    values = tuple(map(_quotient, powers, [1.0, *powers]))
    return Quotients(values, possible=max(values) <= 1 + 1e-9)


# --- counting ---------------------------------------------------------------------------------------------------------


def _separate_punctuation(text):
    """Blanks round punctuation; full stop, comma and dash stay with the digits they stand between."""
    text = _PUNCTUATION.sub(r" \1 ", text)
    text = _STOP_AFTER_NO_DIGIT.sub(r"\1 \2 ", text)
    text = _STOP_BEFORE_NO_DIGIT.sub(r" \1 \2", text)
    return _DASH_AFTER_DIGIT.sub(r"\1 \2 ", text)


def _runs(items, n):
    """How often each run of n items (tokens or characters) occurs."""
    return Counter(tuple(items[start : start + n]) for start in range(len(items) - n + 1))


def _most_often(counters):
    """For each run the largest of its counts."""
    most = Counter()
    for counter in counters:
        most |= counter
    return most


def _closest_length(length, others):
    return min((len(other) for other in others), key=lambda other: (abs(other - length), other))


def _brevity_penalty(hypothesis_length, reference_length):
    if hypothesis_length >= reference_length:
        return 1.0
    return math.exp(1 - reference_length / hypothesis_length) if hypothesis_length else 0.0


def _precisions(matches, totals, smoothing):
    """Share of matches for each order; with ``"exp"`` an order without one gets 1/2, the next 1/4 of a match."""
    shares, credit = [], 1.0
    for match, total in zip(matches, totals, strict=True):
        if not match and smoothing == "exp" and any(matches):
            match = credit = credit / 2
        shares.append(match / total if total else 0.0)
    return shares


def _geometric_mean(shares):
    return math.exp(sum(map(math.log, shares)) / len(shares)) if all(shares) else 0.0


def _character_counts(hypothesis, reference, order):
    """[order] of (n-grams of the translation, of the reference, in both), without blanks."""
    texts = ["".join(text.split()) for text in (hypothesis, reference)]
    counts = []
    for n in range(1, order + 1):
        ours, theirs = (_runs(text, n) for text in texts)
        counts.append((ours.total() if theirs else 0, theirs.total(), (ours & theirs).total()))
    return counts


def _f_score(counts, beta):
    """F of the mean precision and the mean recall over the orders that both sides reach."""
    reached = [(match / ours, match / theirs) for ours, theirs, match in counts if ours and theirs]
    if not any(precision for precision, _ in reached):
        return 0.0
    precision, recall = (sum(values) / len(reached) for values in zip(*reached, strict=True))
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _quotient(power, before):
    if before:
        return power / before
    return math.inf if power else 0.0


# --- what can be scored -----------------------------------------------------------------------------------------------


def _check_order(order):
    if order < 1:
        raise CourseError(f"The order is {order}; runs have at least one member.")


def _checked(hypotheses, references):
    """Both as lists, ``references`` as a list of lists."""
    if isinstance(hypotheses, str) or isinstance(references, str):
        raise CourseError("Give a list of translations and a list of lists of references, not one text.")
    hypotheses, references = list(hypotheses), list(references)
    if not hypotheses:
        raise CourseError("There is no translation to score.")
    if len(hypotheses) != len(references):
        raise CourseError(f"There are {len(hypotheses)} translations and {len(references)} lists of references.")
    for number, (hypothesis, several) in enumerate(zip(hypotheses, references, strict=True)):
        if not isinstance(hypothesis, str):
            raise CourseError(f"Translation {number} is of type {type(hypothesis).__name__}; give a text.")
        if not _is_list_of_texts(several):
            raise CourseError(
                f"The references of translation {number} must be a list of texts: [text] for a single one."
            )
        if not several:
            raise CourseError(f"Translation {number} has no reference.")
    return hypotheses, [list(several) for several in references]


def _is_list_of_texts(several):
    return isinstance(several, list | tuple) and all(isinstance(reference, str) for reference in several)
