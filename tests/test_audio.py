"""Sound and scores: pitch, length and loudness of what is rendered, files that other libraries read, right notation."""

import io
import re
import sys
import wave
import xml.etree.ElementTree as ElementTree
from itertools import pairwise

import numpy as np
import pytest

from aigc_course import audio, plots, score
from aigc_course.datasets import chorales
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

MEI = "{http://www.music-encoding.org/ns/mei}"
LETTER = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}


def music(length=48, seed=0):
    """Random music [S, 4]: notes of one to nine sixteenths, repeated pitches, rests, all twelve pitch classes."""
    random = np.random.default_rng(seed)
    pitches, starts = np.zeros((length, 4), "uint8"), np.zeros((length, 4), bool)
    for voice, middle in enumerate((72, 66, 60, 48)):
        at = 0
        while at < length:
            held = int(random.integers(1, 10))
            pitches[at : at + held, voice] = 0 if random.random() < 0.15 else middle + random.integers(-6, 7)
            starts[at, voice] = True
            at += held
    return pitches, starts & (pitches > 0)


def one_note(pitch, sixteenths=16):
    return np.full((sixteenths, 1), pitch, "uint8")


# Notes


def test_notes_begin_where_it_says_or_the_pitch_changes():
    pitches = np.array([[60, 0], [60, 0], [60, 50], [62, 50], [0, 50], [62, 0]], "uint8")
    starts = np.zeros((6, 2), bool)
    starts[[0, 1, 4], 0] = True
    expected = [(0, 60, 0, 1), (0, 60, 1, 3), (0, 62, 3, 4), (0, 62, 5, 6), (1, 50, 2, 5)]
    assert audio.notes(pitches, starts) == expected
    assert len(audio.notes(pitches)) == 4 and audio.notes(np.zeros((3, 4), int)) == []
    assert audio.notes(pitches[:, 0], starts[:, 0]) == expected[:4]


@pytest.mark.parametrize(
    ("pitches", "starts", "words"),
    [
        (np.zeros((0, 4), int), None, "shape"),
        (np.zeros((3, 5), int), None, "one to four voices"),
        (np.full((3, 4), 128), None, "127"),
        (np.full((3, 4), -1), None, "127"),
        (np.full((3, 4), 60.0), None, "whole"),
        (np.full((3, 4), 60), np.zeros((3, 3), bool), "Starts"),
    ],
)
def test_what_is_no_music_is_refused(pitches, starts, words):
    with pytest.raises(ValueError, match=words):
        audio.render(pitches, starts)


# Synthesis


@pytest.mark.parametrize(("tempo", "rate"), [(72, 12_000), (61, 11_025), (119.5, 8_000)])
def test_length_is_exact_and_the_peak_as_asked(tempo, rate):
    pitches, starts = music(37)
    samples = audio.render(pitches, starts, tempo, rate)
    assert len(samples) == round(37 * 15 / tempo * rate) and samples.dtype == np.float32
    assert np.abs(samples).max() == pytest.approx(0.9, abs=1e-6) and np.isfinite(samples).all()
    assert np.abs(audio.render(pitches, starts, tempo, rate, peak=1)).max() <= 1
    assert np.array_equal(samples, audio.render(pitches, starts, tempo, rate))
    assert not audio.render(np.zeros((3, 4), int)).any()


@pytest.mark.parametrize("pitch", [36, 48, 57, 69, 81])
def test_pitch_is_right_to_a_cent(pitch):
    """The highest point of the spectrum, between bins by a parabola through the logarithms of three of them."""
    rate = 12_000
    samples = audio.render(one_note(pitch, 32), tempo=60, sample_rate=rate)
    spectrum = np.log(np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 2**18)) + 1e-12)
    at = int(spectrum.argmax())
    left, middle, right = spectrum[at - 1 : at + 2]
    found = (at + (left - right) / (2 * (left - 2 * middle + right))) * rate / 2**18
    assert abs(1200 * np.log2(found / (440 * 2 ** ((pitch - 69) / 12)))) < 1
    assert audio.frequency(69) == 440 and audio.frequency(60) == pytest.approx(261.6256, abs=1e-4)


def edges_and_rest(voice, pitches, starts):
    """Largest step from sample to sample within 10 ms of any edge of a note, and the largest elsewhere."""
    rate, step = 12_000, 15 / 72 * 12_000
    samples = audio.render(pitches[:, voice], starts[:, voice], 72, rate)
    jumps, near = np.abs(np.diff(samples)), np.zeros(len(samples) - 1, bool)
    for note in audio.notes(pitches[:, voice], starts[:, voice]):
        for edge in (note.begin, note.end):
            near[max(0, round(edge * step) - 120) : round(edge * step) + 120] = True
    at = [round(note.begin * step) + k for note in audio.notes(pitches[:, voice], starts[:, voice]) for k in range(2)]
    return jumps[near].max(), jumps[~near].max(), np.abs(samples[at]).max()


@pytest.mark.parametrize("voice", range(4))
def test_edges_of_notes_jump_no_more_than_their_middle(voice, monkeypatch):
    near, elsewhere, first = edges_and_rest(voice, *music(64, seed=3))
    assert near <= elsewhere and first < 1e-3
    monkeypatch.setattr(audio, "envelope", lambda length, rate: np.ones(length))
    audio.tone.cache_clear()
    near, elsewhere, first = edges_and_rest(voice, *music(64, seed=3))
    assert near > 1.1 * elsewhere or first > 1e-2  # bare waves click, and this test hears it
    audio.tone.cache_clear()


def test_notes_of_few_samples_stay_quiet_at_their_ends():
    for length in (1, 2, 3, 7, 100):
        shape = audio.envelope(length, 12_000)
        assert len(shape) == length and shape[0] == 0 and shape.min() >= 0 and shape.max() <= 1
        assert np.isfinite(audio.tone(60, length, 12_000)).all()


def test_nothing_folds_back_from_above_half_the_rate():
    samples = audio.render(one_note(88), tempo=60, sample_rate=8_000)  # 1,319 Hz: the fourth partial would fold
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    hertz = np.fft.rfftfreq(len(samples), 1 / 8_000)
    partials = (np.abs(hertz / audio.frequency(88) - np.round(hertz / audio.frequency(88))) < 0.02) & (hertz > 100)
    assert spectrum[~partials].max() < 2e-3 * spectrum.max()
    assert not audio.render(one_note(127), sample_rate=8_000).any()  # too high for any partial


def test_voices_differ_in_sound():
    tones = [audio.tone(60, 6_000, 12_000, voice) for voice in range(4)]
    shapes = [np.abs(np.fft.rfft(tone)) for tone in tones]
    shapes = [shape / np.linalg.norm(shape) for shape in shapes]
    assert max(a @ b for i, a in enumerate(shapes) for b in shapes[:i]) < 0.99


@pytest.mark.parametrize("options", [{"tempo": 0}, {"tempo": np.nan}, {"sample_rate": 10}, {"peak": 1.5}, {"peak": 0}])
def test_impossible_sound_is_refused(options):
    with pytest.raises(ValueError, match="lies in"):
        audio.render(one_note(60), **options)


# Clips


def test_wav_is_read_back_by_others(tmp_path):
    from scipy.io import wavfile

    samples = audio.render(*music(12))
    clip = audio.Clip(samples, 12_000, "A <b>chorale</b>")
    for bits, most in ((16, 32767), (8, 127)):
        path = clip.save_wav(tmp_path / f"clip{bits}.wav", bits)
        rate, read = wavfile.read(path)
        centred = read.astype(float) - (128 if bits == 8 else 0)
        assert rate == 12_000 and np.abs(centred / most - samples).max() <= 0.5 / most + 1e-7
        with wave.open(str(path)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, bits // 8, 12_000)
            assert file.getnframes() == len(samples)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip16.wav", "clip8.wav"]
    with pytest.raises(ValueError, match="8 or 16"):
        clip.wav(24)


def player(clip):
    """(rate, samples as int16) of the sound inside the clip's HTML."""
    import base64

    from scipy.io import wavfile

    source = re.search(r'src="data:audio/wav;base64,([^"]+)"', clip.html())[1]
    return wavfile.read(io.BytesIO(base64.b64decode(source)))


def test_player_has_controls_and_a_name():
    clip = audio.Clip(audio.render(*music(12)), 12_000, "A <b>chorale</b>")
    assert "<audio controls" in clip.html() and 'aria-label="A &lt;b&gt;chorale&lt;/b&gt; (2.5 s)"' in clip.html()
    assert "<b>" not in clip.html() and not re.search(r"<script|https?:", clip.html())
    rate, samples = player(clip)
    assert rate == 12_000 and len(samples) == len(clip.samples)
    data, metadata = clip._repr_mimebundle_()
    assert data["text/plain"] == "[sound: A <b>chorale</b> (2.5 s)]" and metadata["text/html"]["alt"] == clip.alt


@pytest.mark.parametrize("rate", [8_000, 12_000, 16_000, 44_100])
def test_long_clips_are_shortened_and_say_so(rate):
    clip = audio.Clip(np.full(10 * rate, 0.5), rate, "Long")
    assert clip.alt == "Long (10.0 s; the player holds the first 8 s)"
    found, samples = player(clip)
    assert found == min(rate, 16_000) and len(samples) == 8 * found
    assert abs(samples[7 * found]) > 15_000 and abs(int(samples[-1])) < 100  # it fades out
    assert len(clip.html()) < 350_000
    assert len(clip.wav()) > 20 * rate  # the file is whole
    assert "holds" not in audio.Clip(np.zeros(8 * rate), rate).alt


def test_playing_in_a_terminal_says_what_there_is(capsys):
    audio.play(audio.music_clip(*music(5), label="Five sixteenths"))
    assert capsys.readouterr().out == "[sound: Five sixteenths (1.0 s)]\n"


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        ([], {}, "at least one"),
        ([[0.0]], {}, "shape"),
        ([0.0, np.nan], {}, "1 of 2"),
        ([0.0, 1.5], {}, "loudest here is 1.5"),
        ([0.0], {"sample_rate": 100}, "sample rate"),
        ([0.0], {"label": " "}, "label"),
    ],
)
def test_wrong_clips_are_refused(samples, options, words):
    with pytest.raises(ValueError, match=words):
        audio.Clip(np.array(samples), **options)


# Mu-law


def test_mu_law_is_the_formula():
    x = np.linspace(-1, 1, 2001)
    expected = np.sign(x) * np.log(1 + 255 * np.abs(x)) / np.log(256)
    assert np.allclose(audio.mu_law(x), expected, atol=1e-12)
    assert np.allclose(audio.mu_law_inverse(audio.mu_law(x)), x, atol=1e-12)
    ids = audio.mu_law_encode(x)
    assert ids.dtype == np.int32 and np.array_equal(ids, np.floor((expected + 1) / 2 * 255 + 0.5))
    assert [int(audio.mu_law_encode(v)) for v in (-1.0, 0.0, 1.0, -7.0, 7.0)] == [0, 128, 255, 0, 255]


@pytest.mark.parametrize("levels", [2, 3, 8, 16, 255, 256, 1000])
def test_mu_law_errs_no_more_than_it_says(levels):
    x = np.linspace(-1, 1, 20_001)
    ids = audio.mu_law_encode(x, levels)
    back = audio.mu_law_decode(ids, levels)
    assert (np.diff(ids) >= 0).all() and back.dtype == np.float32
    bound = (np.abs(x) + 1 / 255) * (256 ** (1 / (levels - 1)) - 1)
    assert (np.abs(back - x) <= bound + 1e-6).all()
    every = np.arange(levels)
    assert np.array_equal(audio.mu_law_encode(audio.mu_law_decode(every, levels), levels), every)
    assert (np.diff(audio.mu_law_decode(every, levels)) > 0).all() and back[0] == -1 and back[-1] == 1


def test_mu_law_refuses_what_is_no_number_or_level():
    for bad in (np.nan, np.inf):
        with pytest.raises(ValueError, match="1 of 2 samples"):
            audio.mu_law_encode([0.1, bad])
        with pytest.raises(ValueError, match="NaN"):
            audio.quantised([0.1, bad], 4, "linear")
    for levels in (1, 0, 2.5):
        with pytest.raises(ValueError, match="from 2 on"):
            audio.mu_law_encode([0.0], levels)
    for ids in ([256], [-1], [0.5]):
        with pytest.raises(ValueError, match="0 to 255"):
            audio.mu_law_decode(ids)
    with pytest.raises(ValueError, match="mu-law"):
        audio.quantised([0.0], 4, "a-law")


def test_mu_law_is_better_for_quiet_sound_and_linear_levels_are_even():
    quiet = 0.02 * audio.render(*music(12))
    noise = {law: audio.signal_to_noise(quiet, audio.quantised(quiet, 256, law)) for law in ("mu-law", "linear")}
    assert noise["mu-law"] > noise["linear"] + 8
    assert np.allclose(audio.quantised([-1, -0.4, 0.3, 1], 3, "linear"), [-1, 0, 0, 1])
    assert audio.signal_to_noise([1.0, 1.0], [1.1, 0.9]) == pytest.approx(20)
    assert audio.signal_to_noise(quiet, quiet) == np.inf


# MIDI


@pytest.mark.parametrize("tempo", [72, 100.5])
def test_midi_is_read_back_note_for_note(tmp_path, tempo):
    import pretty_midi

    pitches, starts = music(50, seed=5)
    path = audio.to_midi(pitches, starts, tmp_path / "music.mid", tempo, title="Aus tiefer Not – 深")
    read, step = pretty_midi.PrettyMIDI(str(path)), 15 / tempo
    found = audio.notes(pitches, starts)
    assert [track.name for track in read.instruments] == list(audio.VOICES)
    for voice, track in enumerate(read.instruments):
        assert track.program == audio.CHOIR
        mine = [(n.pitch, n.begin * step, n.end * step) for n in found if n.voice == voice]
        theirs = [(n.pitch, n.start, n.end) for n in sorted(track.notes, key=lambda n: n.start)]
        assert len(mine) == len(theirs) and np.allclose(mine, theirs, atol=1e-3)
    assert read.get_tempo_changes()[1] == pytest.approx([tempo], rel=1e-5)
    assert [p.name for p in tmp_path.iterdir()] == ["music.mid"]


# Names and rhythm


@pytest.mark.parametrize(
    ("tonic", "mode", "sharps", "name"),
    [
        (0, "major", 0, "C major"), (9, "minor", 0, "A minor"), (2, "major", 2, "D major"), (7, "minor", -2, "G minor"),
        (6, "minor", 3, "F♯ minor"), (8, "major", -4, "A♭ major"), (6, "major", 6, "F♯ major"),
        (3, "minor", 6, "D♯ minor"),
    ],
)  # fmt: skip
def test_keys(tonic, mode, sharps, name):
    assert score.key_signature(tonic, mode) == sharps and score.key_name(tonic, mode) == name
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if mode == "major" else [0, 2, 3, 5, 7, 8, 10])
    assert score.guessed_signature(60 + (scale + tonic) % 12) == sharps


@pytest.mark.parametrize(
    ("pitch", "signature", "following", "mode", "name"),
    [
        (60, 0, None, "major", "C4"), (66, 0, 67, "major", "F♯4"), (70, 0, 69, "major", "B♭4"),
        (66, -2, 67, "minor", "F♯4"), (63, 0, 64, "major", "D♯4"), (63, 0, 62, "major", "E♭4"),
        (68, 0, 69, "minor", "G♯4"), (68, 0, 67, "minor", "G♯4"), (68, 0, 67, "major", "A♭4"),
        (59, -5, 61, "major", "C♭4"), (60, 6, 61, "major", "B♯3"),
        (62, 4, 61, "minor", "D4"),
    ],
)  # fmt: skip
def test_names_follow_the_key(pitch, signature, following, mode, name):
    assert str(score.spelled(pitch, signature, following, mode)) == name


def test_every_pitch_has_a_name_that_sounds_like_it():
    for signature in range(-5, 7):
        for pitch in range(128):
            for following in (None, pitch + 1, pitch - 1):
                for mode in ("major", "minor"):
                    name = score.spelled(pitch, signature, following, mode)
                    assert 12 * (name.octave + 1) + LETTER[name.letter.lower()] + name.alter == pitch
                    assert -2 <= name.alter <= 2


@pytest.mark.parametrize(
    ("position", "length", "values"),
    [
        (0, 16, [16]), (0, 5, [4, 1]), (0, 10, [8, 2]), (2, 4, [4]), (6, 4, [2, 2]), (2, 8, [2, 6]), (3, 2, [1, 1]),
        (1, 2, [2]), (4, 12, [12]), (4, 8, [8]), (2, 10, [2, 8]), (12, 4, [4]), (0, 7, [6, 1]), (7, 1, [1]),
        (1, 3, [3]),
    ],
)  # fmt: skip
def test_note_values_show_the_beats(position, length, values):
    assert score.note_values(position, length) == values


def test_rests_have_no_dots():
    assert score.note_values(0, 6, rest=True) == [4, 2] and score.note_values(2, 4, rest=True) == [2, 2]


def test_bars_follow_the_beats():
    beats = np.array([12, 13, 14, 15, *range(16), *range(12)])
    assert score.bars(32, beats) == [(0, 4, 12), (4, 20, 0), (20, 32, 0)]
    assert score.bars(25, None, "3/4") == [(0, 12, 0), (12, 24, 0), (24, 25, 0)]
    for meter in ((3, 3), "0/4"):
        with pytest.raises(ValueError, match="meter"):
            score.bars(25, None, meter)
    with pytest.raises(ValueError, match="Beats"):
        score.bars(25, beats)


# Scores


def parsed(mei):
    root = ElementTree.fromstring(mei.encode())
    measures = root.findall(f".//{MEI}measure")
    return root, measures


def sixteenths(element):
    """Length of a note or rest from its value and its dot."""
    return 16 // int(element.get("dur")) * (2 + int(element.get("dots", 0))) // 2


def sung(mei, signature):
    """(voice, pitch, sixteenths) of every note, ties joined, from letters, printed accidentals and key alone."""
    _, measures = parsed(mei)
    sharp = {"FCGDAEB"[k].lower(): 1 for k in range(max(signature, 0))}
    key = sharp | {"BEADGCF"[k].lower(): -1 for k in range(max(-signature, 0))}
    signs, found = {"s": 1, "f": -1, "n": 0, "x": 2, "ff": -2}, {voice: [] for voice in range(4)}
    tied = {}
    for measure in measures:
        for staff in measure.findall(f"{MEI}staff"):
            events = []
            for layer in staff.findall(f"{MEI}layer"):
                at, voice = 0, 2 * int(staff.get("n")) + int(layer.get("n")) - 3
                for element in layer.iter():
                    if element.tag in (f"{MEI}note", f"{MEI}rest"):
                        length = 16 // int(element.get("dur")) * 3 // (3 - int(element.get("dots", 0)))
                        length = 16 // int(element.get("dur")) + 8 // int(element.get("dur")) * int(
                            element.get("dots", 0)
                        )
                        events.append((at, voice, element, length))
                        at += length
            state = {}
            for _, voice, element, length in sorted(events, key=lambda event: event[:2]):
                if element.tag == f"{MEI}rest":
                    continue
                line = element.get("pname"), element.get("oct")
                if element.get("tie") in ("m", "t"):
                    assert tied[voice][0] == line
                    found[voice][-1][1] += length
                    continue
                if element.get("accid"):
                    state[line] = signs[element.get("accid")]
                alter = state.get(line, key.get(line[0], 0))
                tied[voice] = line, alter
                found[voice].append([12 * (int(line[1]) + 1) + LETTER[line[0]] + alter, length])
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("tonic", [0, 3, 9])
def test_printed_signs_and_values_say_what_is_sung(seed, tonic):
    """The MEI is read by its signs alone: letters, key, accidentals to the end of the bar, ties."""
    pitches, starts = music(56, seed)
    beats = (np.arange(56) + 12) % 16
    mei = score.score_mei(pitches, starts, beats, tonic=tonic)
    found = sung(mei, score.key_signature(tonic))
    for voice in range(4):
        mine = [[note.pitch, note.end - note.begin] for note in audio.notes(pitches, starts) if note.voice == voice]
        assert found[voice] == mine


@pytest.mark.filterwarnings("ignore:Tempo, Key or Time:RuntimeWarning")
def test_verovio_plays_the_score_as_it_was(tmp_path):
    import base64

    import pretty_midi

    pitches, starts = music(64, seed=9)
    toolkit = score._toolkit()
    assert toolkit.loadData(score.score_mei(pitches, starts, tonic=7))
    (tmp_path / "score.mid").write_bytes(base64.b64decode(toolkit.renderToMIDI()))
    read = pretty_midi.PrettyMIDI(str(tmp_path / "score.mid"))
    quarter = 60 / read.get_tempo_changes()[1][0]
    theirs = sorted((round(4 * n.start / quarter), n.pitch) for track in read.instruments for n in track.notes)
    mine = sorted((note.begin, note.pitch) for note in audio.notes(pitches, starts))
    assert set(theirs) == set(mine)  # a unison of two voices may sound once


def test_svg_has_every_written_note():
    pitches, starts = music(48, seed=2)
    mei, svg = score.score_mei(pitches, starts), score.score_svg(pitches, starts)
    root = ElementTree.fromstring(svg.encode())
    drawn = [element.get("class") for element in root.iter() if element.get("class")]
    assert drawn.count("note") == mei.count("<note ") and drawn.count("staff") >= 6
    joined = mei.count("<note ") - len(re.findall(r'tie="[mt]"', mei))
    assert joined == len(audio.notes(pitches, starts))
    for kind, tag in (("rest", "<rest "), ("beam", "<beam>"), ("measure", "<measure "), ("mRest", "<mRest ")):
        assert drawn.count(kind) == mei.count(tag)
    assert drawn.count("tie") >= len(re.findall(r'tie="[im]"', mei))


def test_bars_are_full_and_pick_ups_are_not():
    pitches, starts = music(36, seed=1)
    _, measures = parsed(score.score_mei(pitches, starts, (np.arange(36) + 8) % 12, "3/4"))
    lengths = []
    for measure in measures:
        for layer in measure.iter(f"{MEI}layer"):
            marks = [e for e in layer.iter() if e.get("dur")]
            lengths.append(sum(map(sixteenths, marks)) if marks else None)
    by_bar = [set(lengths[k : k + 4]) - {None} for k in range(0, len(lengths), 4)]
    assert by_bar == [{4}, {12}, {12}, {8}] and [m.get("n") for m in measures] == ["0", "1", "2", "3"]
    assert measures[-1].get("right") == "end"


def test_fermatas_stand_on_soprano_and_bass():
    pitches, starts = np.tile(np.array([67, 64, 60, 48], "uint8"), (24, 1)), np.zeros((24, 4), bool)
    starts[::4] = True
    starts[22, 3] = True
    fermatas = np.zeros(24, bool)
    fermatas[4:8] = fermatas[20:] = True
    root, _ = parsed(score.score_mei(pitches, starts, fermatas=fermatas))
    assert sorted(mark.get("startid") for mark in root.iter(f"{MEI}fermata")) == ["#b22", "#b4", "#s20", "#s4"]
    with pytest.raises(ValueError, match="Fermatas"):
        score.score_mei(pitches, starts, fermatas=fermatas[1:])


@pytest.mark.parametrize("voices", [1, 2, 3, 4])
def test_any_number_of_voices_and_silence_can_be_drawn(voices):
    pitches, starts = music(20, seed=4)
    for notes in (pitches[:, :voices], np.zeros((20, voices), int), pitches[:1, :voices]):
        svg = score.score_svg(notes, starts[: len(notes), :voices])
        assert svg.startswith("<svg") or svg.startswith("<?xml")
        assert isinstance(score.piano_roll(notes, starts[: len(notes), :voices]), plots.Picture)


def test_score_is_a_picture_with_words():
    picture = score.score(*music(16), title="Of <all> & sundry", tonic=7, mode="minor", meter=(4, 4))
    assert 'src="data:image/svg+xml;base64,' in picture.html() and "background:white" in picture.html()
    assert (
        picture.alt.startswith("Score. Of <all> & sundry; G minor; 4/4, 1 bar; soprano")
        and "<all>" not in picture.html()
    )


def test_score_without_verovio_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "verovio", None)
    score._toolkit.cache_clear()
    score._engraved.cache_clear()
    with pytest.raises(CourseError, match=r"pip install -e \.\[music\]"):
        score.score_svg(*music(7))
    monkeypatch.undo()
    assert score.score_svg(*music(7))


def test_names_of_voices_are_those_of_the_data():
    assert audio.VOICES == chorales.VOICES


# Pictures


def test_piano_roll_shows_the_notes_and_who_was_given():
    pitches, starts = music(32)
    picture = score.piano_roll(pitches, starts, title="Two bars", given=("soprano",))
    moved = pitches.copy()
    moved[moved[:, 1] > 0, 1] += 1
    others = [score.piano_roll(moved, starts, title="Two bars", given=("soprano",)), score.piano_roll(pitches, starts)]
    assert all(picture.data != other.data for other in others)
    assert "Two bars" in picture.alt and "Given: soprano" in picture.alt and "tenor" in picture.alt
    assert len(picture.data) < 60_000
    with pytest.raises(ValueError, match="flute"):
        score.piano_roll(pitches, starts, given=("flute",))


def test_patterns_tell_voices_apart_without_colour():
    for first, second in pairwise(score.STRIPES):
        assert first != second
    assert len(set(score.STRIPES)) == 4


def test_spectrogram_finds_the_pitch():
    clips = {"A": audio.music_clip(one_note(69)), "C": audio.music_clip(one_note(60), sample_rate=8_000)}
    picture = audio.spectrogram(clips, title="Two notes")
    hertz = [int(number) for number in re.findall(r"near (\d+) Hz", picture.alt)]
    assert abs(hertz[0] - 440) < 16 and abs(hertz[1] - 262) < 16 and "up to 4000 Hz" in picture.alt
    assert len(picture.data) < 120_000
    short = audio.Clip(np.zeros(3), 8_000, "Three samples")
    assert isinstance(audio.spectrogram(short), plots.Picture)
    moments = np.arange(0.032, 1, 0.016)  # centres of columns: each is drawn around its own moment
    assert audio._edges(moments, 1.0) == pytest.approx((0.024, moments[-1] + 0.008))
    assert audio._edges(np.array([0.3]), 0.6) == pytest.approx((0, 0.6))
    with pytest.raises(ValueError, match="no clip"):
        audio.spectrogram({})
