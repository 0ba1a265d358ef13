"""Scores of music: values by hand, a published correlation, a slow search for copies, real above shuffled, tables."""

import dataclasses
from itertools import combinations, pairwise

import numpy as np
import pytest

from aigc_course.datasets import load_chorales
from aigc_course.datasets.chorales import BEGUN, HELD, REST, Chorale, tokens
from aigc_course.metrics import music as module
from aigc_course.metrics.music import (
    MusicCopyIndex,
    chord_share,
    copy_accuracy,
    copy_last_chord,
    ends_on_tonic,
    estimate_key,
    interval_histogram,
    notes_per_beat,
    parallel_rate,
    parallels,
    pitch_class_histogram,
    range_share,
    report,
    shuffled,
    total_variation,
)
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

TONIC, SUBDOMINANT, DOMINANT = [72, 67, 64, 48], [72, 69, 65, 53], [71, 67, 62, 55]


def chorale(*chords, length=4, tonic=0, mode="major"):
    """Chords of four pitches, each a beat long, in 4/4; a pitch that stays is sung again."""
    pitches = np.repeat(np.array(chords, np.uint8), length, axis=0)
    starts = np.zeros(pitches.shape, bool)
    starts[::length] = pitches[::length] > 0
    beats = np.arange(len(pitches)) % 16
    return Chorale(pitches, starts, beats.astype(np.uint8), "4/4", np.zeros(len(pitches), bool), tonic, mode)


@pytest.fixture(scope="module")
def chorales():
    return load_chorales()


# --- baseline


def test_the_last_chord_goes_on():
    on = HELD - BEGUN
    ids = [30, REST, 25, 20, 30 + on, REST, 26, REST, 30 + on, 28, 26 + on, REST]
    guess = copy_last_chord(ids)
    assert guess.tolist() == [REST] * 4 + [30 + on, REST, 25 + on, 20 + on] + [30 + on, REST, 26 + on, REST]
    assert copy_last_chord([HELD] * 8).tolist() == [REST] * 4 + [HELD] * 4


def test_copying_guesses_seven_tokens_of_ten(chorales):
    assert copy_accuracy([chorale(TONIC, TONIC)]) == 24 / 32
    assert copy_accuracy(chorales.test) == pytest.approx(0.7477, abs=1e-4)
    assert copy_accuracy(chorales.train) == pytest.approx(0.7293, abs=1e-4)
    held = np.mean(np.concatenate([tokens(c) for c in chorales.train]) >= HELD)
    assert held == pytest.approx(0.7219, abs=1e-4)


# --- histograms


def test_pitch_classes_by_hand():
    found = pitch_class_histogram([chorale(TONIC, DOMINANT), chorale([74, 0, 0, 0], tonic=2)])
    assert np.flatnonzero(found).tolist() == [0, 2, 4, 7, 11]
    assert found[[0, 2, 4, 7, 11]] == pytest.approx(np.array([2 + 1, 1, 1, 3, 1]) / 9)  # c twice, then the d in d


def test_steps_by_hand():
    found = interval_histogram([chorale(TONIC, [74, 67, 0, 36], [72, 67, 62, 60]), chorale(TONIC)])
    assert found.shape == (4, 25) and found.sum(axis=1) == pytest.approx(1)
    assert found[0, [10, 14]].tolist() == [0.5, 0.5] and found[1, 12] == 1
    assert found[2, 10] == 1 and found[3, [0, 24]].tolist() == [0.5, 0.5]  # over the rest; an octave, and two
    assert not interval_histogram([chorale(TONIC)]).any()


def test_total_variation_by_hand():
    assert total_variation([0.5, 0.5, 0], [0.25, 0.5, 0.25]) == 0.25
    assert total_variation([[1, 0], [0.5, 0.5]], [[0, 1], [0.5, 0.5]]) == 0.5
    with pytest.raises(CourseError, match=r"\[2\] and \[3\]"):
        total_variation([1, 0], [1, 0, 0])


# --- voices


def test_ranges_and_rhythm_by_hand():
    assert range_share([chorale(TONIC, [84, 67, 64, 48])]) == 7 / 8
    assert range_share([chorale([0, 0, 0, 0])]) == 0
    assert notes_per_beat([chorale(TONIC, [72, 0, 0, 0], length=2)]) == pytest.approx(5 / 4)  # one beat, four voices


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [
        ([72, 67, 64, 48], [74, 69, 65, 50], 2),  # octaves of soprano and bass, fifths of alto and bass
        ([79, 72, 64, 48], [81, 74, 65, 47], 1),  # fifths of soprano and alto
        ([72, 67, 64, 48], [72, 67, 64, 48], 0),  # nothing moves
        ([72, 67, 64, 48], [71, 67, 62, 55], 0),
        ([72, 0, 0, 48], [74, 0, 0, 50], 1),
        ([72, 0, 0, 48], [60, 0, 0, 60], 0),  # contrary motion into a unison
        ([67, 0, 0, 48], [74, 0, 0, 55], 1),  # a twelfth is a fifth
        ([67, 0, 0, 60], [0, 0, 0, 62], 0),
    ],
)
def test_parallels_by_hand(first, second, count):
    assert parallels(chorale(first, second)) == (count, 1)


def test_parallels_as_a_slow_count_finds_them(chorales):
    real = shuffled(chorales.test[:2], np.random.default_rng(0))[1]
    chords, count = real.pitches[real.starts.any(axis=1)].astype(int).tolist(), 0
    for first, second in pairwise(chords):
        for (p, r), (q, s) in combinations(zip(first, second, strict=True), 2):
            same = abs(p - q) % 12 == abs(r - s) % 12 and abs(p - q) % 12 in (0, 7)
            count += bool(p and q and r and s and same and (r - p) * (s - q) > 0)
    assert parallels(real) == (count, len(chords) - 1) and count > 0


def test_bach_has_few_parallels(chorales):
    assert parallel_rate([chorale(TONIC, TONIC)]) == 0
    assert parallel_rate(chorales.train) == pytest.approx(0.251, abs=0.001)


# --- harmony


@pytest.mark.parametrize(
    ("notes", "is_one"),
    [
        (TONIC, True),
        ([65, 62, 59, 55], True),  # dominant seventh
        ([72, 71, 64, 60], True),  # major seventh without its fifth
        ([72, 0, 0, 60], True),
        ([72, 67, 65, 60], False),  # a suspended fourth
        ([72, 71, 70, 60], False),
    ],
)
def test_chords_by_hand(notes, is_one):
    for shift in range(12):
        assert chord_share([chorale([note and note + shift for note in notes])]) == is_one


def test_chord_share_looks_at_beats_with_two_notes():
    assert chord_share([chorale(TONIC, [72, 67, 65, 60], [72, 0, 0, 0])]) == 0.5
    assert chord_share([chorale([72, 0, 0, 0])]) == 0


def test_key_agrees_with_a_worked_example():
    """R of C major in http://rnhart.net/articles/key-finding/ is -0.00009."""
    lengths = np.array([432, 231, 0, 405, 12, 316, 4, 126, 612, 0, 191, 1], float)
    keys, profiles = module._profiles()
    lengths -= lengths.mean()
    fit = dict(zip(keys, profiles @ lengths / np.linalg.norm(lengths), strict=True))
    assert fit[0, "major"] == pytest.approx(-0.00009, abs=5e-6)


def test_key_is_the_best_of_24_correlations(chorales):
    for real in chorales.test[:8]:
        found = estimate_key(real)
        lengths = np.bincount(real.pitches[real.pitches > 0] % 12, minlength=12)
        fits = {
            (tonic, mode): np.corrcoef(np.roll(profile, tonic), lengths)[0, 1]
            for tonic in range(12)
            for mode, profile in (("major", module.MAJOR), ("minor", module.MINOR))
        }
        assert found[:2] == max(fits, key=fits.get) and found.correlation == pytest.approx(max(fits.values()))


def test_key_is_right_in_four_of_five_chorales(chorales):
    """The estimate had a say in one of eight keys of the data (see the card), so this flatters it a little."""
    everything = [*chorales.train, *chorales.validation, *chorales.test]
    right = np.mean([estimate_key(c)[:2] == (c.tonic, c.mode) for c in everything])
    fifth_up = np.mean([(estimate_key(c).tonic - c.tonic) % 12 == 7 for c in everything])
    assert right == pytest.approx(0.814, abs=0.002) and 0.05 < fifth_up < 0.15
    assert estimate_key(chorale(TONIC, SUBDOMINANT, DOMINANT, TONIC))[:2] == (0, "major")
    assert estimate_key(chorale([0, 0, 0, 0])).correlation == 0


@pytest.mark.parametrize(
    ("last", "expected"),
    [
        (TONIC, True),
        ([72, 67, 63, 48], True),
        ([72, 0, 0, 48], True),
        ([72, 67, 64, 52], False),  # the third in the bass
        ([72, 64, 63, 48], False),
        (DOMINANT, False),
        ([72, 69, 64, 48], False),
    ],
)
def test_endings_by_hand(last, expected):
    assert ends_on_tonic(chorale(DOMINANT, last)) is expected
    assert ends_on_tonic(chorale(DOMINANT, last, [0, 0, 0, 0])) is expected  # silence after the end


def test_silence_has_no_ending():
    assert ends_on_tonic(chorale([0, 0, 0, 0])) is False


def test_nine_of_ten_chorales_end_on_the_tonic(chorales):
    assert np.mean([ends_on_tonic(c) for c in chorales.train]) == pytest.approx(0.9138, abs=1e-3)


# --- copying


def slow_run(mine, others):
    return max(
        (n for n in range(len(mine) + 1) for k in range(len(mine) - n + 1) for o in others if mine[k : k + n] in o),
        default=0,
    )


def test_copies_are_found_in_any_key(chorales):
    train = chorales.train[:40]
    index = MusicCopyIndex(train)
    own = train[7].transposed(train[7].transpositions()[0])
    found = index.longest_melody(own)
    assert found.length == min(own.starts[:, 0].sum() - 1, 56) and found.source == 7
    chords = index.longest_chords(own)
    assert chords.length == min(own.starts.any(axis=1).sum() - 1, 56) and chords.source == 7


def test_melodies_as_a_slow_search_finds_them(chorales):
    train, index = chorales.train[:12], MusicCopyIndex(chorales.train[:12])

    def text(one, voice):
        return "".join(chr(200 + step) for step in np.diff(one.pitches[one.starts[:, voice], voice].astype(int)))

    others = [text(one, voice) for one in train for voice in range(4)]
    for real in chorales.test[:3]:
        for voice in (0, 3):
            assert index.longest_melody(real, voice).length == slow_run(text(real, voice), others)


def test_one_other_note_breaks_a_run(chorales):
    index = MusicCopyIndex([chorale(TONIC, SUBDOMINANT, DOMINANT, TONIC, DOMINANT, TONIC)])
    assert index.longest_chords(chorale(TONIC, SUBDOMINANT, DOMINANT, TONIC)).length == 3
    other = [72, 69, 64, 53]
    assert index.longest_chords(chorale(TONIC, other, DOMINANT, TONIC, DOMINANT, TONIC)).length == 4
    assert index.longest_melody(chorale([72, 0, 0, 0])).length == 0
    silence = index.longest_chords(chorale([0, 0, 0, 0]))
    assert silence.length == 0 and silence.source is None


def test_held_out_chorales_share_only_phrases_with_training(chorales):
    index = module.training_index()
    runs = [index.longest_melody(c).length for part in (chorales.validation, chorales.test) for c in part]
    assert min(runs) >= 7 and max(runs) <= 14


# --- report


def test_report_puts_real_between_floor_and_ceiling(chorales):
    score = report(chorales.validation)
    assert (score.num_chorales, score.num_reference) == (36, 36)
    for real in (score.generated, score.real):
        assert real.pitch_classes < 0.05 < 0.15 < score.shuffled.pitch_classes
        assert real.steps < 0.06 < 0.3 < score.shuffled.steps
        assert real.chords > 0.85 and real.parallels < 0.5 and real.key > 0.75 and real.ending > 0.75
        assert 8 < real.copied_melody < 12 and 4 < real.copied_chords < 7 and real.in_range == 1
    floor = score.shuffled
    assert floor.chords < 0.5 and floor.parallels > 2 and floor.key < 0.3 and floor.ending < 0.15
    assert floor.copied_melody < 7 and floor.copied_chords < 2


def test_a_copyist_is_caught(chorales):
    moved = [c.transposed(c.transpositions()[0]) for c in chorales.train[:10]]
    score = report(moved)
    assert score.generated.copied_melody > 35 and score.generated.copied_chords > 50
    assert score.num_reference == 10


def test_report_takes_other_sets_and_seeds(chorales):
    one = report(chorales.validation[:4], reference=chorales.test[:9], train=chorales.train[:20], seed=1)
    assert one == report(chorales.validation[:4], reference=chorales.test[:9], train=chorales.train[:20], seed=1)
    assert one.shuffled != report(chorales.validation[:4], chorales.test[:9], chorales.train[:20], seed=2).shuffled
    assert one.num_reference == 4


def test_shuffled_keeps_rhythm_and_each_voices_notes(chorales):
    real = chorales.test[:6]
    mixed = shuffled(real, np.random.default_rng(0))
    for a, b in zip(real, mixed, strict=True):
        assert a.starts is b.starts and np.array_equal(a.pitches > 0, b.pitches > 0)
        held = ~b.starts[1:] & (b.pitches[1:] > 0)
        assert np.array_equal(b.pitches[1:][held], b.pitches[:-1][held])
    for voice in range(4):
        notes = [np.sort(np.concatenate([c.pitches[c.starts[:, voice], voice] for c in s])) for s in (real, mixed)]
        assert np.array_equal(*notes)
    assert not all(np.array_equal(a.pitches, b.pitches) for a, b in zip(real, mixed, strict=True))


def test_tables(chorales):
    score = report(chorales.validation[:5])
    assert "5 chorales beside 5 held-out" in str(score) and "ends on the tonic's chord" in score.table()
    assert score._repr_html_().count("<tr>") == 1 + len(dataclasses.fields(score.real))
    card = score.as_dict()
    assert card["num_chorales"] == 5 and {"chords", "chords_real", "chords_shuffled"} <= set(card)


@pytest.mark.parametrize("call", [report, chord_share, pitch_class_histogram, parallel_rate, MusicCopyIndex])
def test_nothing_to_score(call, chorales):
    with pytest.raises(CourseError, match="no chorale"):
        call([])
    with pytest.raises(CourseError, match="not one chorale"):
        call(chorales.test[0])
