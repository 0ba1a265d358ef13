"""Chorales written by a WaveNet: windows to learn from, what is kept, queues, nats by hand, refusals."""

import keras
import numpy as np
import pytest

from aigc_course import chorale_writer, wavenet
from aigc_course.datasets import chorales
from aigc_course.datasets.chorale_windows import ChoraleWindows, scored_targets
from aigc_course.runtime import CourseError
from aigc_course.sampling import GREEDY

SHORT, LONGER = 12, 20


@pytest.fixture(scope="module")
def writer():
    keras.utils.set_random_seed(0)
    return chorale_writer.ChoraleWriter(chorale_writer.build_chorale_wavenet((1, 2, 4), 12, 16, dropout=0.0))


@pytest.fixture(scope="module")
def plans():
    first, second = chorales.load_chorales().test[:2]
    return first.crop(0, SHORT), second.crop(16, LONGER)


def test_windows_bring_each_condition_to_its_target():
    """The feature of the voice and, where the melody is told, the soprano's pitch class say so."""
    data = ChoraleWindows(chorales.load_chorales().train[:3], length=8, batch_size=4, seed=1, melody=1.0)
    (token_ids, conditions), targets = data[0]
    assert token_ids.shape == targets.shape == (4, 32) and conditions.shape == (4, 32, chorales.CONDITION_DIM)
    assert (conditions[..., :4].argmax(-1) == np.arange(32) % 4).all()
    assert (targets[:, ::4] == chorales.PADDING).all() and (targets[:, 1::4] != chorales.PADDING).all()
    assert (token_ids[:, 2::4] == targets[:, 1::4]).all()
    begins = chorales.FEATURES.index("melody begins, here")
    started = (token_ids[:, 1::4] >= chorales.BEGUN) & (token_ids[:, 1::4] < chorales.HELD)
    assert (conditions[:, ::4, begins] == started).all()


def test_every_pass_draws_other_windows_and_the_seed_tells_which():
    some = chorales.load_chorales().train[:3]
    data, again = (ChoraleWindows(some, length=8, batch_size=4, seed=1) for _ in range(2))
    first = data.token_ids.copy()
    assert np.array_equal(first, again.token_ids)
    data.on_epoch_end(), again.on_epoch_end()
    assert not np.array_equal(first, data.token_ids) and np.array_equal(data.token_ids, again.token_ids)


def test_too_little_music_is_refused():
    with pytest.raises(ValueError, match="fill no batch"):
        ChoraleWindows(chorales.load_chorales().train[:1], length=64, batch_size=512)


def test_without_melody_all_targets_count():
    targets, known = np.full((1, 8), 5), np.zeros((1, 8, chorales.CONDITION_DIM))
    assert (scored_targets(targets, known) == 5).all()


@pytest.mark.parametrize("keep", [True, False])
def test_the_soprano_is_kept_and_the_plan_is_followed(writer, plans, keep):
    written = writer.write(list(plans), seed=3, keep_soprano=keep)
    for plan, music in zip(plans, written, strict=True):
        assert len(music) == len(plan) and music.key == plan.key and np.array_equal(music.beats, plan.beats)
        kept = np.array_equal(music.pitches[:, 0], plan.pitches[:, 0])
        assert kept if keep else not kept
    assert not np.array_equal(written[0].pitches[:, 1:], plans[0].pitches[:, 1:])


def test_a_setting_does_not_depend_on_those_beside_it(writer, plans):
    alone = writer.write(plans[0], seed=5)
    beside = writer.write(list(plans), seed=5)[0]
    assert np.array_equal(alone.pitches, beside.pitches) and np.array_equal(alone.starts, beside.starts)


def test_queues_change_no_note(writer, plans):
    fast, slow = (writer.write(plans[1], GREEDY, cached=cached) for cached in (True, False))
    assert np.array_equal(chorales.tokens(fast), chorales.tokens(slow))


def test_nats_of_one_chorale_by_hand(writer, plans):
    """Mean of -log softmax at the true ids, of all voices, or of three where the melody is told."""
    plan = plans[0]
    for melody in (True, False):
        ids, known = chorales.example(plan, melody)
        logits = keras.ops.convert_to_numpy(writer.model(ids[None, :-1], known[None]))[0].astype("float64")
        costs = np.log(np.exp(logits).sum(-1)) - np.take_along_axis(logits, ids[1:, None], 1)[:, 0]
        expected = costs[np.arange(len(costs)) % 4 > 0].mean() if melody else costs.mean()
        assert writer.nats([plan], melody) == pytest.approx(expected, abs=1e-5)


def test_chorales_of_unequal_lengths_are_scored_as_if_alone(writer, plans):
    both, counts = writer.scored(plans, melody=False)
    assert counts.sum() == 4 * (SHORT + LONGER)
    for row, plan in zip(both, plans, strict=True):
        alone = writer.scored([plan], melody=False)[0][0]
        assert np.allclose(row[: len(alone)], alone, atol=1e-5)


def test_what_cannot_be_written_is_refused(writer, plans):
    for nothing in ([], plans[0].crop(0, 0), [plans[0], plans[0].crop(0, 0)]):
        with pytest.raises(CourseError, match="no music here"):
            writer.write(nothing)
        with pytest.raises(CourseError, match="no music here"):
            writer.nats(nothing)
    assert writer.nats(plans[0]) == writer.nats([plans[0]])
    with pytest.raises(ValueError, match="7 classes and 0 condition"):
        chorale_writer.ChoraleWriter(wavenet.WaveNet(7, (1,), 4, 4))
