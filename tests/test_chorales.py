"""Chorales: notes as music21 reads them, parts without shared tunes, tokens and back, conditions, windows, card."""

import re
import time

import numpy as np
import pytest

from aigc_course import datasets, runtime
from aigc_course.datasets import files
from aigc_course.datasets.chorales import (
    BEGUN,
    CONDITION_DIM,
    FEATURES,
    HELD,
    HIGHEST,
    LOWEST,
    NUM_TOKENS,
    PADDING,
    RANGES,
    REST,
    VOICES,
    Chorale,
    conditions,
    example,
    from_tokens,
    tokens,
    windows,
    with_tokens,
)
from aigc_course.runtime import CourseError
from aigc_course.score import key_name

pytestmark = pytest.mark.any_backend

# Openings of five chorales, (first sixteenth, length, pitch), as music21 10.5.1 reads them.
OPENINGS = {
    ("269", "soprano"): "0 4 67, 4 8 67, 12 4 74, 16 6 71, 22 2 69, 24 4 67, 28 6 67, 34 2 69",
    ("269", "bass"): "0 4 43, 4 4 55, 8 4 52, 12 4 54, 16 4 55, 20 4 50, 24 4 52, 28 4 48",
    ("57.8", "tenor"): "0 4 62, 4 4 62, 8 4 60, 12 6 58, 18 2 60, 20 2 62, 22 2 64, 24 4 65",
    ("371", "alto"): "0 2 64, 2 2 65, 4 6 67, 10 1 66, 11 1 64, 12 4 66, 16 8 67",  # 4 6 67 is tied from 4 4 to 8 2
    ("371", "tenor"): "0 6 59, 6 1 60, 7 1 62, 8 2 64, 10 2 57, 12 4 62, 16 8 62, 24 4 62",
    ("85.6", "alto"): "0 2 63, 2 2 65, 4 4 67, 8 4 67, 12 4 67, 16 2 65, 18 2 63, 20 4 65",
    (
        "432",
        "soprano",
    ): "52 2 66, 54 2 67, 56 3 67, 59 1 66, 60 4 69",  # 59 1 66: of two thirty-seconds, 66 and 67
}
# One bar of three with a held bass, a rest, and a voice that comes in late.
PITCHES = np.array([[72, 67, 0, 48]] * 4 + [[74, 67, 60, 48]] * 4 + [[74, 0, 60, 48]] * 4, np.uint8)
STARTS = np.zeros((12, 4), bool)
STARTS[0] = [1, 1, 0, 1]
STARTS[4] = [1, 1, 1, 0]
FERMATAS = np.arange(12) >= 8
SMALL = Chorale(PITCHES, STARTS, np.arange(12, dtype=np.uint8), "3/4", FERMATAS, 0, "major", "A bar", "0")


@pytest.fixture(scope="module")
def parts():
    chorales = datasets.load_chorales()
    return {"train": chorales.train, "validation": chorales.validation, "test": chorales.test}


@pytest.fixture(scope="module")
def everything(parts):
    return [chorale for part in parts.values() for chorale in part]


# The notes.


def test_counts_are_those_of_the_card(parts):
    counts = {
        name: {
            "chorales": len(part),
            "major": sum(chorale.mode == "major" for chorale in part),
            "sixteenths": sum(map(len, part)),
            "notes": int(sum(chorale.starts.sum() for chorale in part)),
        }
        for name, part in parts.items()
    }
    assert counts == files.card_of("chorales")["counts"]
    assert [len(part) for part in parts.values()] == [290, 36, 36]
    for part in parts.values():
        assert 0.45 < np.mean([chorale.mode == "major" for chorale in part]) < 0.55


def test_card_tells_source_doubtful_licence_and_what_was_checked():
    card = files.card_of("chorales")
    assert {"what", "source", "licence", "choice", "left_out", "grid", "key", "parts", "made_by", "sha256"} <= set(card)
    assert card["licence"].startswith("doubtful") and "restrictions on commercial use" in card["licence"]
    found, all_notes = (
        int(n.replace(",", "")) for n in re.match(r"([\d,]+) of ([\d,]+) notes", card["checked"]).groups()
    )
    assert all_notes - found == 10 and all_notes > 84_000
    assert sum(card["left_out"].values()) == 51
    assert runtime.data_path("chorales.npz").stat().st_size == card["bytes"] <= 150_000


@pytest.mark.parametrize(("bwv", "voice"), OPENINGS)
def test_openings_are_those_that_music21_reads(everything, bwv, voice):
    (chorale,) = (c for c in everything if c.bwv == bwv)
    column = VOICES.index(voice)
    edges = np.flatnonzero(chorale.starts[:, column])
    lengths = np.diff([*edges, len(chorale)])
    found = [f"{f} {n} {chorale.pitches[f, column]}" for f, n in zip(edges, lengths, strict=True)]
    wanted = OPENINGS[bwv, voice].split(", ")
    first = found.index(wanted[0])
    assert found[first : first + len(wanted)] == wanted


def test_arrays_agree_with_each_other(everything):
    for chorale in everything:
        size = len(chorale)
        assert chorale.pitches.shape == chorale.starts.shape == (size, 4)
        assert chorale.beats.shape == chorale.fermatas.shape == (size,)
        assert (chorale.pitches.dtype, chorale.starts.dtype, chorale.fermatas.dtype) == (np.uint8, bool, bool)
        assert (chorale.pitches[chorale.starts] > 0).all()
        before = np.concatenate([np.zeros((1, 4), np.uint8), chorale.pitches[:-1]])
        assert chorale.starts[(chorale.pitches != before) & (chorale.pitches > 0)].all()
        assert 0 <= chorale.tonic < 12 and chorale.mode in ("major", "minor") and chorale.bwv
        beats, per_bar = map(int, chorale.meter.split("/"))
        assert chorale.beats.max() < 16 * beats // per_bar
        steps = np.diff(chorale.beats.astype(int))
        assert (chorale.beats[1:][steps != 1] == 0).all()  # a bar is only left for the beginning of the next


def test_lines_end_where_lines_end(everything):
    """Bars and fermatas fit: a line's last note stands on the first or third beat of nearly every bar of four."""
    four = [c for c in everything if c.meter == "4/4"]
    begins = [c.beats[c.fermatas & ~np.concatenate([[False], c.fermatas[:-1]])] for c in four]
    assert np.isin(np.concatenate(begins), (0, 8)).mean() > 0.93
    assert np.mean([c.fermatas[-1] or c.fermatas[-5] for c in everything]) > 0.95


def test_ranges_are_those_of_training(parts):
    for voice, name in enumerate(VOICES):
        notes = np.concatenate([c.pitches[c.starts[:, voice], voice] for c in parts["train"]])
        assert RANGES[name] == (notes.min(), notes.max())


def test_keys_fit_the_music(everything):
    """In most chorales the bass ends on the tonic; modes and half-closes leave some that do not."""
    assert np.mean([c.pitches[c.pitches[:, 3] > 0, 3][-1] % 12 == c.tonic for c in everything]) > 0.88
    (chorale,) = (c for c in everything if c.bwv == "269")
    assert (chorale.key, chorale.sharps, chorale.meter, chorale.beats[0]) == ("G major", 1, "3/4", 8)
    assert chorale.title == "Aus meines Herzens Grunde"


@pytest.mark.parametrize(
    ("tonic", "mode", "sharps"),
    [
        (0, "major", 0),
        (9, "minor", 0),
        (7, "major", 1),
        (2, "minor", -1),
        (4, "major", 4),
        (0, "minor", -3),
        (11, "minor", 2),
    ],
)
def test_signatures(tonic, mode, sharps):
    assert Chorale(PITCHES, STARTS, SMALL.beats, "3/4", FERMATAS, tonic, mode).sharps == sharps


@pytest.mark.parametrize("mode", ["major", "minor"])
def test_names_of_keys_fit_their_signatures(mode):
    for tonic in range(12):
        chorale = Chorale(PITCHES, STARTS, SMALL.beats, "3/4", FERMATAS, tonic, mode)
        assert chorale.key.replace(" sharp", "♯").replace(" flat", "♭") == key_name(tonic, mode)
        assert ("sharp" not in chorale.key or chorale.sharps > 0) and ("flat" not in chorale.key or chorale.sharps < 0)


# Parts, by another way than the one that made the file.


def runs_of(chorale, length):
    steps = np.diff(chorale.pitches[chorale.starts[:, 0], 0].astype(int)).tolist()
    return {tuple(steps[k : k + length]) for k in range(len(steps) - length + 1)}


@pytest.mark.parametrize("held_out", ["validation", "test"])
def test_held_out_parts_share_no_tune(parts, held_out):
    """No run of 15 steps of the soprano, in any key, stands in another part; versions of one tune share far more."""
    others = set().union(*(runs_of(c, 15) for name, part in parts.items() if name != held_out for c in part))
    assert not others & set().union(*(runs_of(c, 15) for c in parts[held_out]))


def test_parts_share_no_title(parts):
    titles = [{c.title for c in part if c.title} for part in parts.values()]
    assert sum(map(len, titles)) == len(set.union(*titles)) > 150


def test_no_chorale_comes_twice(everything):
    notes = [(c.pitches.tobytes(), c.starts.tobytes()) for c in everything]
    assert len(set(notes)) == len({c.bwv for c in everything}) == len(everything) == 362


def test_chorales_are_found_by_number_and_title(parts):
    test = parts["test"]
    assert test.find("282").bwv == "282" and test.find("vater UNSER").title == "Vater unser im Himmelreich"
    with pytest.raises(CourseError, match=r"no chorale 'Hey Jude' here.*Jesus, meine Zuversicht \(365\)"):
        test.find("Hey Jude")


# Tokens.


def test_tokens_by_hand():
    ids = tokens(SMALL).reshape(12, 4)
    c, d, g, e, low = (note - LOWEST + BEGUN for note in (72, 74, 67, 60, 48))
    on = HELD - BEGUN  # from a note that begins to the same held
    assert ids[0].tolist() == [c, g, REST, low] and ids[1].tolist() == [c + on, g + on, REST, low + on]
    assert ids[4].tolist() == [d, g, e, low + on] and ids[8].tolist() == [d + on, REST, e + on, low + on]
    assert ids.dtype == np.int32 and NUM_TOKENS == 2 * (HIGHEST - LOWEST + 1) + 2 == PADDING + 1


def test_tokens_go_there_and_back_exactly(everything):
    for chorale in everything:
        pitches, starts = from_tokens(tokens(chorale))
        assert np.array_equal(pitches, chorale.pitches) and np.array_equal(starts, chorale.starts)
        assert (pitches.dtype, starts.dtype) == (np.uint8, bool)


def test_what_is_held_but_did_not_sound_begins():
    begun, held, other = BEGUN + 20, HELD + 20, HELD + 21
    pitches, starts = from_tokens([held, begun, REST, begun, held, held, held, begun, held, other, REST, REST])
    note = LOWEST + 20
    assert pitches.tolist() == [[note, note, 0, note], [note] * 4, [note, note + 1, 0, 0]]
    assert starts.astype(int).tolist() == [[1, 1, 0, 1], [0, 0, 1, 1], [0, 1, 0, 0]]
    assert from_tokens(np.zeros(0, int))[0].shape == (0, 4)


def test_tokens_that_are_no_music_are_refused():
    with pytest.raises(CourseError, match=r"in fours.*\[7\]"):
        from_tokens(np.zeros(7, int))
    with pytest.raises(CourseError, match=f"from 0 to {PADDING}; music has 0 to {PADDING - 1}"):
        from_tokens([0, 0, 0, PADDING])
    with pytest.raises(CourseError, match="from 90 to 90; tokens reach from 34 to 86"):
        tokens(
            Chorale(
                np.full((1, 4), 90, np.uint8), np.ones((1, 4), bool), SMALL.beats[:1], "4/4", FERMATAS[:1], 0, "major"
            )
        )


def test_generated_tokens_take_the_bars_of_a_chorale(everything):
    ids = tokens(everything[1])[:40]
    made = with_tokens(everything[0], ids)
    assert len(made) == 10 and made.key == everything[0].key and np.array_equal(made.beats, everything[0].beats[:10])
    assert np.array_equal(tokens(made), ids)
    assert len(with_tokens(SMALL, tokens(everything[0]))) == 12


# Transposition.


def test_transposed_chorales(everything):
    up = SMALL.transposed(3)
    assert up.pitches[0].tolist() == [75, 70, 0, 51] and (up.key, up.sharps) == ("E flat major", -3)
    ids, moved = tokens(SMALL), tokens(up)
    assert np.array_equal(moved, np.where(ids != REST, ids + 3, ids))
    assert np.array_equal(tokens(up.transposed(-3)), ids)
    with pytest.raises(CourseError, match=r"Moved by -20 semitones the notes run from 28 to 54; .* from 34 to 86"):
        SMALL.transposed(-20)
    for chorale in everything:
        shifts = chorale.transpositions()
        assert 0 in shifts and shifts[0] >= -6 and shifts[-1] <= 5
        for shift in {shifts[0], shifts[-1]} - {0}:
            moved = chorale.transposed(shift)
            for (low, high), voice in zip(RANGES.values(), moved.pitches.T, strict=True):
                assert low <= voice[voice > 0].min() and voice.max() <= high


# Conditions.


def by_name(rows, token):
    return {name: value for name, value in zip(FEATURES, rows[token].tolist(), strict=True) if value}


def test_conditions_by_hand():
    rows = conditions(SMALL)
    assert rows.shape == (48, CONDITION_DIM) and rows.dtype == np.float32 and len(FEATURES) == CONDITION_DIM
    common = {"bar of three": 1, "last four beats": 1, "major": 1, "tonic 0": 1, "melody known": 1}
    assert by_name(rows, 4 * 2 + 1) == common | {  # the alto in the third sixteenth
        **{"alto": 1, "sixteenth 3 of the beat": 1, "beat 1": 1, "fermata two beats on": 1},
        **{"melody's height, here": 0.5, "melody's pitch class 0, here": 1},
        **{"melody begins, next beat": 1, "melody's pitch class 2, next beat": 1},
        **{"melody's pitch class 2, two beats on": 1},
        **{f"melody's height, {where}": pytest.approx(8 / 12) for where in ("next beat", "two beats on")},
    }
    assert by_name(rows, 4 * 8 + 3) == common | {  # the bass on the last beat: nothing follows
        **{"bass": 1, "sixteenth 1 of the beat": 1, "beat 3": 1, "fermata here": 1},
        **{"melody's height, here": pytest.approx(8 / 12), "melody's pitch class 2, here": 1},
    }


def test_conditions_know_where_the_end_is(everything):
    rows = conditions(everything[0])
    assert np.flatnonzero(rows[:, FEATURES.index("last four beats")]).tolist() == list(range(len(rows) - 64, len(rows)))


def test_conditions_with_and_without_melody_differ_in_the_melody_only(everything):
    with_it, without = conditions(everything[3]), conditions(everything[3], melody=False)
    place = FEATURES.index("melody known")
    assert np.array_equal(with_it[:, :place], without[:, :place])
    assert (with_it[:, place] == 1).all() and not without[:, place:].any()


def test_conditions_know_nothing_that_is_to_be_predicted(everything):
    chorale = everything[5]
    other = np.random.default_rng(0).permutation(chorale.pitches)
    lower, soprano = chorale.pitches.copy(), chorale.pitches.copy()
    lower[:, 1:], soprano[:, 0] = other[:, 1:], other[:, 0]

    def changed(pitches):
        values = vars(chorale) | {"pitches": pitches}
        return Chorale(**values)

    assert np.array_equal(conditions(changed(lower)), conditions(chorale))
    assert np.array_equal(conditions(changed(soprano), melody=False), conditions(chorale, melody=False))
    assert not np.array_equal(conditions(changed(soprano)), conditions(chorale))


def test_conditions_move_with_the_key(everything):
    chorale = next(c for c in everything if 2 in c.transpositions())
    here, moved = conditions(chorale), conditions(chorale.transposed(2))
    tonic = FEATURES.index("tonic 0")
    assert np.array_equal(np.roll(here[:, tonic : tonic + 12], 2, axis=1), moved[:, tonic : tonic + 12])
    classes = FEATURES.index("melody's pitch class 0, next beat")
    assert np.array_equal(np.roll(here[:, classes : classes + 12], 2, axis=1), moved[:, classes : classes + 12])
    assert np.array_equal(here[:, :tonic], moved[:, :tonic])


# Examples.


def test_example_lines_up_tokens_and_conditions(everything):
    ids, rows = example(everything[0])
    assert ids[0] == REST and np.array_equal(ids[1:], tokens(everything[0])) and ids.dtype == np.int32
    assert np.array_equal(rows, conditions(everything[0])) and len(ids) == len(rows) + 1


def test_windows_hold_beginnings_and_ends(parts):
    """Else a model that writes from the first note on begins with what it has hardly ever seen."""
    part = parts["train"]
    ids, _ = windows(part, 64, seed=0, transpose=False)
    whole = {tokens(chorale)[:40].tobytes() for chorale in part}, {tokens(chorale)[-40:].tobytes() for chorale in part}
    begins = np.mean([row[1:41].tobytes() in whole[0] for row in ids])
    ends = np.mean([row[-40:].tobytes() in whole[1] for row in ids])
    assert 0.1 < begins < 0.3 and 0.1 < ends < 0.3


def test_windows_are_cut_from_examples(parts):
    part = parts["validation"]
    ids, rows = windows(part, 40, seed=3, transpose=False, melody=1)
    assert ids.shape == (186, 161) and rows.shape == (186, 160, CONDITION_DIM) and sum(map(len, part)) <= 186 * 40
    whole = [example(chorale) for chorale in part]
    for row in range(0, 186, 7):
        assert any(
            np.array_equal(tokens_of[k : k + 161], ids[row]) and np.array_equal(known[k : k + 160], rows[row])
            for tokens_of, known in whole
            for k in range(0, len(tokens_of) - 160, 4)
        )


def test_windows_from_a_seed(parts):
    part = parts["validation"]
    ids, rows = windows(part, 16, seed=1, count=300)
    again, _ = windows(part, 16, seed=1, count=300)
    other, _ = windows(part, 16, seed=2, count=300)
    assert np.array_equal(ids, again) and not np.array_equal(ids, other)
    known = rows[:, :, FEATURES.index("melody known")]
    assert (known.max(axis=1) == known.min(axis=1)).all() and 0.4 < known[:, 0].mean() < 0.6
    tonics = rows[:, 0, FEATURES.index("tonic 0") :][:, :12].argmax(axis=1)
    assert len(set(tonics.tolist())) == 12 and ids.max() < PADDING


def test_windows_longer_than_a_chorale_are_padded():
    ids, rows = windows([SMALL], 20, seed=0, count=2, transpose=False, melody=0)
    assert np.array_equal(ids[0, :49], example(SMALL)[0]) and (ids[:, 49:] == PADDING).all()
    assert np.array_equal(rows[1, :48], conditions(SMALL, melody=False)) and not rows[:, 48:].any()
    with pytest.raises(CourseError, match="0 sixteenths is too short"):
        windows([SMALL], 0)


def test_loading_and_windows_are_fast(parts):
    start = time.process_time()
    datasets.load_chorales()
    loaded = time.process_time()
    for chorale in parts["test"]:
        conditions(chorale)
    done = time.process_time()
    assert loaded - start < 0.3 and done - loaded < 0.3


# The file.


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A course root of its own with a copy of the chorales."""
    for folder in ("chapters", "data"):
        (tmp_path / folder).mkdir()
    for name in ("chorales.npz", "chorales.json"):
        (tmp_path / "data" / name).write_bytes(runtime.data_path(name).read_bytes())
    monkeypatch.setattr(runtime, "course_root", lambda: tmp_path)
    return tmp_path / "data"


def test_damaged_chorales_are_refused(copy):
    raw = bytearray((copy / "chorales.npz").read_bytes())
    raw[5000] ^= 1
    (copy / "chorales.npz").write_bytes(raw)
    with pytest.raises(CourseError, match=r"chorales\.npz is damaged.*git checkout data"):
        datasets.load_chorales()


@pytest.mark.parametrize("name", ["chorales.npz", "chorales.json"])
def test_missing_files_are_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(CourseError, match=f"{name} is missing"):
        datasets.load_chorales()
