"""Raw audio from chorales: the right shapes, the same for a seed, conditions that say what sounds and nothing more."""

from types import SimpleNamespace

import numpy as np
import pytest

from aigc_course import audio
from aigc_course.datasets import tones

pytestmark = pytest.mark.any_backend


def chorale(seed=0, length=96):
    random = np.random.default_rng(seed)
    pitches = np.repeat(random.integers((69, 60, 55, 41), (82, 70, 66, 60), (length // 4, 4)), 4, axis=0)
    starts = np.zeros((length, 4), bool)
    starts[::4] = True
    for rest in range(8, length, 16):
        pitches[rest : rest + 4, 0] = 0
    return SimpleNamespace(pitches=pitches.astype("uint8"), starts=starts & (pitches > 0))


@pytest.fixture(scope="module")
def made():
    return tones.make_tones([chorale(k) for k in range(3)], count=5, seconds=0.75, seed=2, voices=2)


def test_shapes_and_ranges(made):
    assert len(made) == 5 and made.ids.shape == (5, 6000) and made.ids.dtype == np.int32
    assert made.ids.min() >= 0 and made.ids.max() <= 255 and len(np.unique(made.ids)) > 60
    assert made.pitches.shape == made.since.shape == made.until.shape == (5, 6000, 2)
    assert made.conditions().shape == (5, 6000, made.condition_dim) and made.condition_dim == 2 * tones.FEATURES
    assert made.conditions(slice(1, 3)).shape[0] == 2 and made.conditions([4]).dtype == np.float32
    assert np.array_equal(made.conditions([4])[0], made.conditions()[4])


def test_a_seed_makes_the_same_and_another_does_not():
    pieces = [tones.make_tones([chorale(0), chorale(1)], 3, 0.1, seed) for seed in (7, 7, 8)]
    assert np.array_equal(pieces[0].ids, pieces[1].ids) and np.array_equal(pieces[0].pitches, pieces[1].pitches)
    assert not np.array_equal(pieces[0].ids, pieces[2].ids)
    longer = tones.make_tones([chorale(0), chorale(1)], 6, 0.1, 7)
    assert np.array_equal(longer.ids[:3], pieces[0].ids)


def test_silence_is_where_nothing_sounds_and_pieces_begin_with_a_note(made):
    assert audio.mu_law_encode(0.0) == tones.SILENCE
    assert (made.since[:, 0, 0] == 0).all() and (made.pitches[:, 0, 0] > 0).all()
    alone = tones.make_tones([chorale(3)], 6, 1.5, 1)
    resting = alone.pitches[..., 0] == 0
    assert resting.any() and (alone.ids[resting] == tones.SILENCE).all() and (alone.conditions()[resting] == 0).all()


def test_conditions_say_the_pitch_and_the_edges():
    piece = tones.make_tones([chorale(4)], 1, 1.0, 0)
    pitches, conditions = piece.pitches[0, :, 0].astype(int), piece.conditions()[0]
    sounding = pitches > 0
    classes, octaves = conditions[:, 3:15], conditions[:, 15:21]
    assert np.array_equal(conditions[:, 0], sounding)
    assert np.array_equal(12 * (octaves.argmax(1) + 2) + classes.argmax(1), np.where(sounding, pitches, 24))
    assert np.array_equal(classes.sum(1), sounding) and np.array_equal(octaves.sum(1), sounding)
    begins = np.flatnonzero(sounding & (piece.since[0, :, 0] == 0))
    assert (conditions[begins, 1] == 1).all() and conditions[begins[0] + 160, 1] == pytest.approx(np.exp(-1), rel=1e-5)
    ends = np.flatnonzero(sounding & (piece.until[0, :, 0] == 0))
    assert (conditions[ends, 2] == 1).all()
    assert set(ends[:-1] + 1) <= set(begins) | set(np.flatnonzero(~sounding))


def test_the_sound_has_the_pitch_that_the_conditions_say():
    piece = tones.make_tones([chorale(5)], 4, 0.4, 3)
    for k in range(4):
        pitches = piece.pitches[k, :, 0]
        first = pitches[: np.flatnonzero(np.append(pitches, 0) != pitches[0])[0]]
        sound = piece.samples(k)[: len(first)] * np.hanning(len(first))
        hertz = np.abs(np.fft.rfft(sound, 2**16)).argmax() * tones.RATE / 2**16
        assert abs(12 * np.log2(hertz / audio.frequency(first[0]))) < 0.2


def test_a_piece_can_be_played(made):
    clip = made.clip(1, "Two voices")
    assert clip.sample_rate == 8_000 and clip.alt == "Two voices (0.8 s)"
    assert np.abs(clip.samples).max() <= tones.LOUDNESS[1] * 1.05


@pytest.mark.parametrize("options", [{"count": 0}, {"seconds": 0}, {"voices": 0}, {"voices": 5}])
def test_what_cannot_be_made_is_refused(options):
    with pytest.raises(ValueError, match="Tones need"):
        tones.make_tones([chorale()], **{"count": 1, "seconds": 0.1, **options})


def test_wrong_music_is_refused():
    with pytest.raises(ValueError, match="Tones need"):
        tones.make_tones([], 1, 0.1)
    low = SimpleNamespace(pitches=np.full((8, 4), 12, "uint8"), starts=np.zeros((8, 4), bool))
    with pytest.raises(ValueError, match="24 to 95, not 12"):
        tones.make_tones([low], 1, 0.1)


def test_music_of_rests_and_short_music_make_silence():
    rests = SimpleNamespace(pitches=np.zeros((8, 4), "uint8"), starts=np.zeros((8, 4), bool))
    assert (tones.make_tones([rests], 1, 0.1).ids == tones.SILENCE).all()
    short = tones.make_tones([chorale(1, 4)], 1, 3.0)
    assert (short.ids[0, -8_000:] == tones.SILENCE).all() and (short.ids[0, :2_000] != tones.SILENCE).any()


def test_a_linear_predictor_beats_copying_and_both_beat_chance():
    train, test = (tones.make_tones([chorale(k)], 6, 0.3, k).ids for k in (1, 2))
    copied, linear = tones.predictor_bits(train, test, 0), tones.predictor_bits(train, test, 16)
    assert 1 < linear < copied < 8


def test_bits_are_the_entropy_of_the_errors():
    """Of ids drawn from four neighbours the last says little: errors -3 to 3 with shares 1, 2, 3, 4, 3, 2, 1 of 16."""
    ids = np.random.default_rng(0).choice([20, 21, 22, 23], (8, 4000))
    shares = np.array([1, 2, 3, 4, 3, 2, 1]) / 16
    expected = -(shares * np.log2(shares)).sum()
    assert tones.predictor_bits(ids[:4], ids[4:], 0) == pytest.approx(expected, abs=0.02)
    silent = np.full((2, 500), tones.SILENCE)
    assert tones.predictor_bits(silent, silent, 4) < 0.02
    assert tones._predicted(np.array([[5, 200, 100]]), np.ones(1)).tolist() == [[tones.SILENCE, 5, 200]]
