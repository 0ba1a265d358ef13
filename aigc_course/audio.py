"""Sound: notes to samples, clips that play in the notebook, mu-law, WAV and MIDI files.

Shapes: S sixteenths, V voices (at most four, the highest first), N samples.

Music is a pair: ``pitches`` [S, V], MIDI numbers with 0 for a rest (69 is the A at 440 Hz, 60 the middle C), and
``starts`` [S, V], true where a note begins and false where it is held on. Samples are floats in [-1, 1], a sample rate
is in samples a second, a tempo in quarter notes a minute. ``mu_law_encode`` is the companding of ITU-T G.711 as
van den Oord et al. (2016), section 2.2, have it. Notes as pictures are in ``score``.   Taught in chapters/07_wavenet.
"""

import base64
import io
import wave
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aigc_course import plots
from aigc_course.plots import Picture
from aigc_course.runtime import write_whole

VOICES = ("soprano", "alto", "tenor", "bass")
TEMPO = 72  # quarter notes a minute
SAMPLE_RATE = 12_000
LONGEST = 8.0  # seconds that a player in the notebook holds
FINEST = 16_000  # samples a second that a player in the notebook holds: at most 8 s of 2 bytes, 256 kB
ATTACK, RELEASE, FADE = 0.012, 0.05, 0.3  # seconds
DECAY = 0.45  # per second; partial k fades k times as fast
HIGHEST_PARTIAL = 0.45  # of the sample rate: nothing folds back from above half of it
MU = 255  # of the mu-law, for 256 levels
TICKS = 480  # of a MIDI file, in a quarter note
COLUMNS = 150  # of a spectrogram
CHOIR = 52  # General MIDI's number of "Choir Aahs", counted from 0

# Strength of the partials 1, 2, 3, ... and loudness: a flute, a clarinet, a horn, and a bass that small speakers carry.
TIMBRES = (
    ((1.0, 0.35, 0.12, 0.05), 1.0),
    ((1.0, 0.06, 0.45, 0.04, 0.2, 0.02, 0.08), 0.85),
    ((1.0, 0.7, 0.45, 0.25, 0.15, 0.08), 0.9),
    ((1.0, 0.9, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1), 1.15),
)


# Notes


class Note(NamedTuple):
    """One note: voice 0 (soprano) to 3, MIDI pitch, first sixteenth, and the sixteenth behind its last."""

    voice: int
    pitch: int
    begin: int
    end: int


def notes(pitches, starts=None):
    """Notes of music [S, V], voice after voice.

    A note begins where ``starts`` says so, and also wherever the pitch changes, so that no array is without meaning; a
    start at a rest says nothing. Without ``starts`` a pitch that stays is one note.

    Raises:
        ValueError: another shape, no sixteenth, or pitches outside 0 to 127.
    """
    pitches, starts = checked_music(pitches, starts)
    changes = np.ones(pitches.shape, bool)
    changes[1:] = pitches[1:] != pitches[:-1]
    edges = changes | starts & (pitches > 0)
    found = []
    for voice in range(pitches.shape[1]):
        begins = np.flatnonzero(edges[:, voice])
        ends = np.append(begins[1:], len(pitches))
        found += [
            Note(voice, int(pitches[begin, voice]), int(begin), int(end))
            for begin, end in zip(begins, ends, strict=True)
            if pitches[begin, voice]
        ]
    return found


def checked_music(pitches, starts=None):
    """Int pitches [S, V] and bool starts [S, V], or a ``ValueError`` that says what is wrong; [S] is one voice."""
    pitches = np.asarray(pitches)
    pitches = pitches[:, None] if pitches.ndim == 1 else pitches
    starts = np.zeros(pitches.shape, bool) if starts is None else np.asarray(starts, bool)
    starts = starts[:, None] if starts.ndim == 1 else starts
    if pitches.ndim != 2 or not len(pitches) or not 1 <= pitches.shape[1] <= len(VOICES):
        raise ValueError(f"Pitches have the shape [S, V], sixteenths by one to four voices, not {pitches.shape}.")
    if not np.issubdtype(pitches.dtype, np.integer) or pitches.min() < 0 or pitches.max() > 127:
        raise ValueError("Pitches are whole MIDI numbers from 1 to 127, or 0 for a rest.")
    if starts.shape != pitches.shape:
        raise ValueError(f"Starts have the shape of the pitches, {pitches.shape}, not {starts.shape}.")
    return pitches.astype(int), starts


def frequency(pitch):
    """Hertz of a MIDI pitch in equal temperament: ``440 * 2 ** ((pitch - 69) / 12)``."""
    return 440.0 * 2.0 ** ((np.asarray(pitch, "float64") - 69) / 12)


def sixteenth_seconds(tempo):
    """Seconds of a sixteenth note at ``tempo`` quarter notes a minute."""
    if not 10 <= tempo <= 400:
        raise ValueError(f"The tempo lies in 10 to 400 quarter notes a minute, not at {tempo}.")
    return 60 / tempo / 4


# Synthesis


def render(pitches, starts=None, tempo=TEMPO, sample_rate=SAMPLE_RATE, peak=0.9):
    """Samples of music: each voice with a timbre of its own, notes that swell in 12 ms and die away in 50 ms.

    Args:
        pitches, starts: music [S, V].
        peak: the loudest sample, in (0, 1].

    Returns:
        float32 [N] with N = round(S * seconds of a sixteenth * sample rate); a piece of rests alone is silence.
    """
    pitches, starts = checked_music(pitches, starts)
    if not 0 < peak <= 1:
        raise ValueError(f"The peak lies in (0, 1], not at {peak}.")
    samples = mixed(notes(pitches, starts), len(pitches), tempo, sample_rate)
    loudest = np.abs(samples).max(initial=0)
    return (samples * (peak / loudest) if loudest else samples).astype("float32")


def mixed(found, sixteenths, tempo, sample_rate):
    """Sum of ``Note``s, float64 [N]; every voice alone stays within its loudness, about 1."""
    if not 1_000 <= sample_rate <= 192_000:
        raise ValueError(f"The sample rate lies in 1,000 to 192,000 samples a second, not at {sample_rate}.")
    step = sixteenth_seconds(tempo) * sample_rate
    samples = np.zeros(round(sixteenths * step))
    for note in found:
        begin, end = round(note.begin * step), round(note.end * step)
        samples[begin:end] += tone(note.pitch, end - begin, sample_rate, note.voice)
    return samples


@lru_cache(maxsize=256)
def tone(pitch, length, sample_rate, voice=0):
    """One note that begins and ends in silence, float64 [length]: the imaginary part of ``sum over k of a_k z^k``.

    ``z = exp((2 pi i f - DECAY) t)`` turns at the note's frequency and shrinks, so that high partials fade first.
    """
    partials, loudness = TIMBRES[voice]
    f = float(frequency(pitch))
    heard = [strength for k, strength in enumerate(partials, 1) if k * f < HIGHEST_PARTIAL * sample_rate]
    z = np.exp((2j * np.pi * f - DECAY) * np.arange(length) / sample_rate)
    total = np.zeros(length, complex)
    for strength in reversed(heard):
        total = (total + strength) * z
    made = total.imag * envelope(length, sample_rate) * (loudness / sum(partials))
    made.flags.writeable = False
    return made


def envelope(length, sample_rate):
    """Loudness [length] of a note: a raised cosine up, 1, a raised cosine down; a short note has a third for each."""
    up = max(min(round(ATTACK * sample_rate), length // 3), 1)
    down = max(min(round(RELEASE * sample_rate), length // 3), 1)
    shape = np.ones(length)
    shape[:up] *= _rise(up)[:length]
    shape[length - down :] *= _rise(down)[::-1][:length]
    return shape


def _rise(length):
    return 0.5 - 0.5 * np.cos(np.pi * np.arange(length) / length)


# Clips


@dataclass(frozen=True, eq=False)
class Clip:
    """Sound with its label: plays in the notebook, is written as a WAV file.

    The player holds the first 8 s, fades out there and says so, with 16 bits and at most 16,000 samples a second: a
    clip never adds more than 350 kB to a notebook. ``save_wav`` writes everything as it is.

    Args:
        samples: floats [N] in [-1, 1].
        sample_rate: samples a second.
        label: what is to be heard, for all readers; it stands above the player.

    Raises:
        ValueError: no sample, another shape, NaN, or values outside [-1, 1].
    """

    samples: np.ndarray
    sample_rate: int = SAMPLE_RATE
    label: str = "Sound"

    def __post_init__(self):
        samples = np.asarray(self.samples, "float32")
        if samples.ndim != 1 or not samples.size:
            raise ValueError(f"A clip has samples [N], at least one, not an array of shape {samples.shape}.")
        _demand_finite(samples)
        if np.abs(samples).max() > 1:
            raise ValueError(f"Samples lie in [-1, 1]; the loudest here is {np.abs(samples).max():.3g}.")
        if int(self.sample_rate) != self.sample_rate or not 1_000 <= self.sample_rate <= 192_000:
            raise ValueError(f"The sample rate is a whole number in 1,000 to 192,000, not {self.sample_rate!r}.")
        if not str(self.label).strip():
            raise ValueError("Say in label=... what there is to hear in this clip.")
        object.__setattr__(self, "samples", samples)
        object.__setattr__(self, "sample_rate", int(self.sample_rate))

    @property
    def seconds(self):
        """Length of the clip."""
        return len(self.samples) / self.sample_rate

    @property
    def alt(self):
        """The label with the length, for readers who cannot see the player, and for a terminal."""
        short = f"; the player holds the first {LONGEST:g} s" if self.seconds > LONGEST + 1e-6 else ""
        return f"{self.label} ({self.seconds:.1f} s{short})"

    def wav(self, bits=16):
        """Bytes of a WAV file, one channel.

        Args:
            bits: 16, or 8 for half the bytes and an audible hiss.
        """
        return _wav(self.samples, self.sample_rate, bits)

    def save_wav(self, path, bits=16):
        """Write the whole clip as a WAV file; nothing half-written is left. Returns the path."""
        return _write(path, self.wav(bits))

    def html(self):
        """A label above an ``<audio controls>`` that needs nothing from outside."""
        samples, rate = _for_player(self.samples, self.sample_rate)
        source = base64.b64encode(_wav(samples, rate)).decode("ascii")
        words = escape(self.alt)
        return (
            f'<div style="font-size:14px;line-height:20px;padding:4px 0">{words}</div>'
            f'<audio controls preload="auto" aria-label="{words}" style="width:100%;max-width:480px" '
            f'src="data:audio/wav;base64,{source}"></audio>'
        )

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": f"[sound: {self.alt}]", "text/html": self.html()}, {"text/html": {"alt": self.alt}}


def music_clip(pitches, starts=None, tempo=TEMPO, sample_rate=SAMPLE_RATE, label="Music"):
    """``Clip`` of rendered music."""
    return Clip(render(pitches, starts, tempo, sample_rate), sample_rate, label)


def play(clip):
    """Put the player into the notebook; in a terminal print what it holds."""
    if plots.in_notebook():
        from IPython.display import display

        display(clip)
    else:
        print(f"[sound: {clip.alt}]")


def _for_player(samples, sample_rate):
    """(samples, rate): the first eight seconds with a fade where more follows, at a rate of at most 16,000."""
    most = round(LONGEST * sample_rate)
    if len(samples) > most:
        fade = round(FADE * sample_rate)
        samples = samples[:most].copy()
        samples[most - fade :] *= _rise(fade)[::-1]
    if sample_rate > FINEST:
        from scipy.signal import resample_poly

        divisor = np.gcd(FINEST, sample_rate)
        samples = resample_poly(samples, FINEST // divisor, sample_rate // divisor).clip(-1, 1)
        sample_rate = FINEST
    return samples, sample_rate


def _wav(samples, sample_rate, bits=16):
    if bits not in (8, 16):
        raise ValueError(f"A WAV file has 8 or 16 bits here, not {bits!r}.")
    numbers = np.round(np.asarray(samples, "float64") * (2 ** (bits - 1) - 1))
    data = (numbers + 128).astype("u1") if bits == 8 else numbers.astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(1)
        writer.setsampwidth(bits // 8)
        writer.setframerate(sample_rate)
        writer.writeframes(data.tobytes())
    return file.getvalue()


def _write(path, data):
    """Write a file whole or not at all; returns its path."""
    write_whole({Path(path): data})
    return Path(path)


def _demand_finite(samples):
    if not np.isfinite(samples).all():
        raise ValueError(f"{int((~np.isfinite(samples)).sum())} of {samples.size} samples are NaN or infinite.")


# Mu-law


def mu_law(samples, mu=MU):
    """``f(x) = sign(x) ln(1 + mu |x|) / ln(1 + mu)``, [-1, 1] to [-1, 1]: quiet samples get most of the room."""
    samples = np.asarray(samples, "float64")
    return np.sign(samples) * np.log1p(mu * np.abs(samples)) / np.log1p(mu)


def mu_law_inverse(compressed, mu=MU):
    """``sign(y) ((1 + mu)^|y| - 1) / mu``, the inverse of ``mu_law``."""
    compressed = np.asarray(compressed, "float64")
    return np.sign(compressed) * np.expm1(np.abs(compressed) * np.log1p(mu)) / mu


def mu_law_encode(samples, levels=256, mu=MU):
    """Ids of samples: ``mu_law`` rounded to the nearest of ``levels`` even points from -1 to 1, ends included.

    Decoding errs by no more than ``(|x| + 1 / mu) ((1 + mu)^(1 / (levels - 1)) - 1)``: about 2 % of a loud sample at
    256 levels. Silence is id 128 of 256, which decodes to 0.00009.

    Args:
        samples: floats of any shape; what lies outside [-1, 1] is clipped, as a converter does.
        levels: from 2 on.

    Returns:
        int32 in 0 to levels - 1, the shape of ``samples``.

    Raises:
        ValueError: NaN or infinite samples, fewer than two levels.
    """
    _demand_levels(levels)
    samples = np.asarray(samples, "float64")
    _demand_finite(samples)
    points = (mu_law(samples.clip(-1, 1), mu) + 1) / 2 * (levels - 1)
    return np.floor(points + 0.5).astype("int32")


def mu_law_decode(ids, levels=256, mu=MU):
    """float32 samples of ids in 0 to levels - 1; ``ValueError`` for other ids."""
    _demand_levels(levels)
    ids = np.asarray(ids)
    if ids.size and (not np.issubdtype(ids.dtype, np.integer) or ids.min() < 0 or ids.max() >= levels):
        raise ValueError(f"Ids are whole numbers from 0 to {levels - 1}.")
    return mu_law_inverse(ids / (levels - 1) * 2 - 1, mu).astype("float32")


def quantised(samples, levels, law="mu-law"):
    """The samples after a trip through ``levels`` levels, float32: "mu-law", or "linear" for evenly spaced ones."""
    if law == "mu-law":
        return mu_law_decode(mu_law_encode(samples, levels), levels)
    if law != "linear":
        raise ValueError(f'The law is "mu-law" or "linear", not {law!r}.')
    _demand_levels(levels)
    _demand_finite(np.asarray(samples))
    steps = np.floor((np.clip(samples, -1, 1) + 1) / 2 * (levels - 1) + 0.5)
    return (steps / (levels - 1) * 2 - 1).astype("float32")


def signal_to_noise(samples, noisy):
    """Decibels: ten times the decimal logarithm of signal power over error power; infinite without an error."""
    samples, noisy = np.asarray(samples, "float64"), np.asarray(noisy, "float64")
    signal, error = np.mean(samples**2), np.mean((noisy - samples) ** 2)
    with np.errstate(divide="ignore"):
        return float(10 * np.log10(signal / error)) if error else float("inf")


def _demand_levels(levels):
    if int(levels) != levels or levels < 2:
        raise ValueError(f"The levels are a whole number from 2 on, not {levels!r}.")


# MIDI


def to_midi(pitches, starts, path, tempo=TEMPO, title=""):
    """Write ``midi(...)`` to a file; nothing half-written is left. Returns the path."""
    return _write(path, midi(pitches, starts, tempo, title))


def midi(pitches, starts, tempo=TEMPO, title=""):
    """Bytes of a MIDI file with one track a voice, sung by a choir.

    Args:
        pitches, starts: music [S, V].
        title: name of the piece in the file; what Latin-1 cannot write becomes a question mark.
    """
    import mido

    pitches, starts = checked_music(pitches, starts)
    sixteenth_seconds(tempo)
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    head = [mido.MetaMessage("set_tempo", tempo=round(60e6 / tempo))]
    if title:
        plain = title.encode("latin-1", "replace").decode("latin-1")
        head.insert(0, mido.MetaMessage("track_name", name=plain))
    length = len(pitches) * TICKS // 4
    file.tracks.append(mido.MidiTrack([*head, mido.MetaMessage("end_of_track", time=length)]))
    found = notes(pitches, starts)
    for voice in range(pitches.shape[1]):
        file.tracks.append(_midi_track(voice, [note for note in found if note.voice == voice], length))
    data = io.BytesIO()
    file.save(file=data)
    return data.getvalue()


def _midi_track(voice, found, length):
    """Track of one voice; at the same tick a note ends before the next begins."""
    import mido

    events = [(note.begin * TICKS // 4, "note_on", note.pitch) for note in found]
    events += [(note.end * TICKS // 4, "note_off", note.pitch) for note in found]
    track, now = mido.MidiTrack(), 0
    track.append(mido.MetaMessage("track_name", name=VOICES[voice]))
    track.append(mido.Message("program_change", channel=voice, program=CHOIR))
    for tick, kind, pitch in sorted(events):  # "note_off" comes before "note_on"
        track.append(mido.Message(kind, channel=voice, note=pitch, velocity=80, time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=length - now))
    return track


# Pictures of sound


def _edges(centres, width):
    """Outer edges of evenly spaced cells from their centres; ``width`` is that of a lone cell."""
    step = centres[1] - centres[0] if len(centres) > 1 else width
    return centres[0] - step / 2, centres[-1] + step / 2


def spectrogram(clips, highest=None, window=0.064, title=""):
    """``plots.Picture``: loudness over time and frequency, clips side by side on one scale of decibels.

    Args:
        clips: a ``Clip``, or a dict from a name to one.
        highest: Hertz at the top; by default half the lowest sample rate.
        window: seconds of sound in one column of the picture; long ones part frequencies, short ones part moments.
    """
    from scipy.signal import spectrogram as power

    clips = {clips.label: clips} if isinstance(clips, Clip) else dict(clips)
    if not clips:
        raise ValueError("There is no clip to draw.")
    highest = highest or min(clip.sample_rate for clip in clips.values()) / 2
    drawn = {}
    for name, clip in clips.items():
        length = min(round(window * clip.sample_rate), len(clip.samples))
        hop = max(1, min((len(clip.samples) - length) // COLUMNS, length))
        steps = {"nperseg": length, "noverlap": length - hop, "window": "hann"}
        drawn[name] = power(clip.samples, clip.sample_rate, scaling="spectrum", **steps)
    loudest = max(shares.max() for _, _, shares in drawn.values()) or 1.0
    figure, axes = plots.new_figure(
        max(6.4, 4.2 * len(drawn)), 3.6, columns=len(drawn), sharey=True, squeeze=False, gridspec_kw={"wspace": 0.05}
    )
    for place, (name, (hertz, moments, shares)) in zip(axes[0], drawn.items(), strict=True):
        decibels = 2 * np.round(5 * np.log10(np.maximum(shares / loudest, 1e-9)))  # steps of 2 keep the file small
        edges = *_edges(moments, clips[name].seconds), *_edges(hertz, hertz[-1] or 1.0)
        image = place.imshow(
            decibels,
            origin="lower",
            aspect="auto",
            extent=edges,
            vmin=-60,
            vmax=0,
            cmap="magma",
            interpolation="nearest",
        )
        place.set(xlabel="seconds", title=name, ylim=(0, highest), xlim=edges[:2])
        place.grid(False)
    axes[0, 0].set_ylabel("frequency (Hz)")
    figure.colorbar(image, ax=list(axes[0]), label="decibels", pad=0.02)
    if title:
        figure.suptitle(title, fontsize=13)
    said = "; ".join(f"{name}: {_strongest(*parts)}" for name, parts in drawn.items())
    return Picture(plots.png(figure, level=6), f"{title or 'Spectrogram'} up to {highest:.0f} Hz. {said}.")


def _strongest(hertz, seconds, shares):
    at = hertz[shares.sum(axis=1).argmax()]
    return f"{len(seconds)} moments, strongest near {at:.0f} Hz"
