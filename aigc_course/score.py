"""Music as pictures: a score on two staves (MEI, engraved by Verovio), and a piano roll.

Shapes: S sixteenths, V voices. ``pitches`` [S, V] and ``starts`` [S, V] are as in ``audio``; ``beats`` [S] is the
position in the bar in sixteenths, so that a bar begins where it is 0 and a pick-up bar where it is not.

``score_mei`` writes the text that any MEI program opens; ``score_svg`` and ``score`` need the extra ``music``. Names of
notes follow the key: on the line of fifths ... B-flat F C G D ... those near the scale, and where two are as near, the
one that leads to the voice's next note.   Taught in chapters/07_wavenet.
"""

import base64
from functools import lru_cache
from html import escape
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np

from aigc_course import plots
from aigc_course.audio import VOICES, checked_music, notes
from aigc_course.plots import Markup, Picture
from aigc_course.runtime import CourseError

LETTERS = "FCGDAEB"  # the line of fifths; C is 0
ACCIDENTALS = {-2: "ff", -1: "f", 0: "n", 1: "s", 2: "x"}
SIGNS = {-2: "𝄫", -1: "♭", 0: "", 1: "♯", 2: "𝄪"}
DURATIONS = {16: (1, 0), 12: (2, 1), 8: (2, 0), 6: (4, 1), 4: (4, 0), 3: (8, 1), 2: (8, 0), 1: (16, 0)}
STAVES = ((0, 1), (2, 3))  # voices on the upper and on the lower staff
# Stripes of a voice's bars in semitones from the pitch: full, double, a rail of three lines, narrow.
STRIPES = (
    ((-0.65, 0.65),),
    ((-0.65, -0.2), (0.2, 0.65)),
    ((-0.65, -0.42), (-0.12, 0.12), (0.42, 0.65)),
    ((-0.3, 0.3),),
)


# Keys and names


class Name(NamedTuple):
    """A pitch as it is written: letter, how many semitones it is raised, and octave (middle C begins octave 4)."""

    letter: str
    alter: int
    octave: int

    def __str__(self):
        return f"{self.letter}{SIGNS[self.alter]}{self.octave}"


def key_signature(tonic, mode="major"):
    """Sharps of a key, negative for flats, from -5 to 6.

    Args:
        tonic: pitch class, 0 for C to 11 for B.
        mode: "major" or "minor".
    """
    if mode not in ("major", "minor") or not 0 <= tonic <= 11:
        raise ValueError(f'A key has a tonic in 0 to 11 and is "major" or "minor", not {tonic!r}, {mode!r}.')
    fifths = (7 * (int(tonic) + 3 * (mode == "minor"))) % 12
    return fifths - 12 if fifths > 6 else fifths


def key_name(tonic, mode="major"):
    """Such as "F♯ minor"."""
    place = key_signature(tonic, mode) + 3 * (mode == "minor")
    return f"{_letter(place)}{SIGNS[_alter(place)]} {mode}"


def guessed_signature(pitches):
    """The signature whose major scale holds most of the sounding pitches, the one with fewest signs among equals."""
    pitches = np.asarray(pitches)
    counts = np.bincount(pitches[pitches > 0] % 12, minlength=12)
    held = {k: sum(counts[(7 * (k + place)) % 12] for place in range(-1, 6)) for k in range(-5, 7)}
    return max(held, key=lambda k: (held[k], -abs(k), k))


def spelled(pitch, signature, following=None, mode="major"):
    """``Name`` of a MIDI pitch in a key.

    The names lie between four fifths below and ten above the signature's place on the line of fifths. Three pitch
    classes have two there: a flat name is right for what falls by a semitone, a sharp one for what rises.

    Args:
        signature: sharps of the key, negative for flats.
        following: the voice's next other pitch, or None.
        mode: "major" or "minor"; the raised seventh of minor stays sharp even where it falls.
    """
    places = [place for place in range(signature - 4, signature + 11) if (7 * place - pitch) % 12 == 0]
    rises, falls = following == pitch + 1, following == pitch - 1
    flat = {-4: falls and mode == "major", -3: falls or (mode == "major" and not rises), -2: not rises}
    place = places[0] if flat.get(places[0] - signature, True) else places[-1]
    alter = _alter(place)
    return Name(_letter(place), alter, (pitch - alter) // 12 - 1)


def _letter(place):
    return LETTERS[(place + 1) % 7]


def _alter(place):
    return (place + 1) // 7


# Rhythm


class Bar(NamedTuple):
    """Sixteenths from ``begin`` to before ``end``; the first one stands at ``offset`` in the bar."""

    begin: int
    end: int
    offset: int


def bars(sixteenths, beats=None, meter=(4, 4)):
    """``Bar``s of a piece; without ``beats`` a bar begins with the first sixteenth and then by the meter."""
    length = bar_length(meter)
    beats = np.arange(sixteenths) % length if beats is None else np.asarray(beats).astype(int)
    if beats.shape != (sixteenths,):
        raise ValueError(f"Beats hold one position for each of the {sixteenths} sixteenths, not {beats.shape}.")
    begins = [0, *(int(k) for k in np.flatnonzero(beats == 0) if k)]
    return [Bar(begin, end, int(beats[begin])) for begin, end in pairwise([*begins, sixteenths])]


def bar_length(meter):
    """Sixteenths of a bar of ``meter``, a pair (3, 4) or a text "3/4"."""
    top, bottom = _meter(meter)
    return 16 * top // bottom


def _meter(meter):
    top, bottom = (int(part) for part in (meter.split("/") if isinstance(meter, str) else meter))
    if top < 1 or bottom not in (1, 2, 4, 8, 16):
        raise ValueError(f"A meter is a pair such as (3, 4), not {meter!r}.")
    return top, bottom


def note_values(position, length, rest=False):
    """Lengths in sixteenths that are written for ``length`` sixteenths from ``position`` in the bar, tied.

    Beats stay visible: a value reaches over a beat only from a beat, or as the syncopation short, long, short.
    """
    values = []
    while length:
        values.append(next(value for value in DURATIONS if value <= length and _fits(position, value, length, rest)))
        position, length = position + values[-1], length - values[-1]
    return values


def _fits(position, value, length, rest):
    if rest:  # no dots and no syncopations
        return value in (1, 2, 4, 8, 16) and position % value == 0
    on_the_beat = position % 4 == 0
    return {
        16: position % 8 == 0,
        12: on_the_beat,
        8: on_the_beat,
        6: on_the_beat,
        4: on_the_beat or (position % 8 == 2 and length == 4),
        3: position % 4 < 2,
        2: position % 2 == 0 or (position % 4 == 1 and length == 2),
        1: True,
    }[value]


# MEI


class _Event(NamedTuple):
    """A written note (with its name) or rest (without): first sixteenth, length, tie "i", "m", "t" or ""."""

    begin: int
    length: int
    name: Name | None
    tie: str
    identity: str


def score_mei(
    pitches, starts=None, beats=None, meter=(4, 4), tonic=None, mode="major", fermatas=None, title="Score"
):  # fmt: skip
    """MEI text of music: soprano and alto on the upper staff, tenor and bass on the lower, bars, ties, beams.

    Args:
        pitches, starts, beats: as in the module's words; less than four voices leave the others out.
        meter: a pair (4, 4) or a text "4/4".
        tonic, mode: the key, pitch class 0 to 11 and "major" or "minor"; without ``tonic`` the signature is guessed.
        fermatas: bool [S]; a sign stands above the soprano's note and below the bass's that is sounding there.
    """
    pitches, starts = checked_music(pitches, starts)
    signature = guessed_signature(pitches) if tonic is None else key_signature(tonic, mode)
    measures, found = bars(len(pitches), beats, meter), notes(pitches, starts)
    events = [_events(voice, found, len(pitches), measures, (signature, mode)) for voice in range(pitches.shape[1])]
    staves = [[voice for voice in staff if voice < len(events)] for staff in STAVES]
    staves = [staff for staff in staves if staff]
    written = _written(events, staves, measures, signature)
    held = _fermatas(events, fermatas, len(pitches))
    number = 0 if measures[0].offset else 1
    body = []
    for k, bar in enumerate(measures):
        parts = [_staff(n, staff, events, bar, written) for n, staff in enumerate(staves, 1)]
        parts += [sign for sign, begin in held if bar.begin <= begin < bar.end]
        end = ' right="end"' if k == len(measures) - 1 else ""
        body.append(f'<measure n="{number + k}" metcon="false"{end}>{"".join(parts)}</measure>')
    return _document(title, signature, _meter(meter), len(staves), "".join(body))


def _document(title, signature, meter, staves, body):
    sign = f"{abs(signature)}{'s' if signature > 0 else 'f'}" if signature else "0"
    common = ' meter.sym="common"' if meter == (4, 4) else ""
    clefs = ('clef.shape="G" clef.line="2"', 'clef.shape="F" clef.line="4"')
    lines = "".join(f'<staffDef n="{n + 1}" lines="5" {clefs[n]}/>' for n in range(staves))
    group = ' symbol="brace" bar.thru="true"' if staves > 1 else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?><mei xmlns="http://www.music-encoding.org/ns/mei" meiversion="5.0">'
        f"<meiHead><fileDesc><titleStmt><title>{escape(title)}</title></titleStmt><pubStmt/></fileDesc></meiHead>"
        f'<music><body><mdiv><score><scoreDef keysig="{sign}" meter.count="{meter[0]}" meter.unit="{meter[1]}"{common}>'
        f"<staffGrp{group}>{lines}</staffGrp></scoreDef><section>{body}</section></score></mdiv></body></music></mei>"
    )


def _events(voice, found, sixteenths, measures, key):
    """``_Event``s of one voice in order of time, split at bars and into note values."""
    found = [note for note in found if note.voice == voice]
    pieces, now = [], 0
    for k, note in enumerate(found):
        later = next((other.pitch for other in found[k + 1 :] if other.pitch != note.pitch), None)
        pieces += [(now, note.begin, None), (note.begin, note.end, spelled(note.pitch, key[0], later, key[1]))]
        now = note.end
    events = []
    for begin, end, name in [*pieces, (now, sixteenths, None)]:
        values = _split(begin, end, measures, name is None)
        for k, (at, length) in enumerate(values):
            tie = "" if name is None or len(values) == 1 else "i" if not k else "t" if k == len(values) - 1 else "m"
            events.append(_Event(at, length, name, tie, f"{VOICES[voice][0]}{at}"))
    return events


def _split(begin, end, measures, rest):
    """(first sixteenth, length) of the values that are written from ``begin`` to before ``end``."""
    values = []
    for bar in measures:
        first, last = max(begin, bar.begin), min(end, bar.end)
        if first >= last:
            continue
        if rest and (first, last) == (bar.begin, bar.end):
            values.append((first, last - first))  # a rest that fills its bar
            continue
        at = first
        for length in note_values(bar.offset + first - bar.begin, last - first, rest):
            values.append((at, length))
            at += length
    return values


def _written(events, staves, measures, signature):
    """Identities of the notes whose accidental is printed: on a staff it holds to the end of the bar.

    A tie carries the accidental over the bar line; the next note that is not tied gets it again.
    """
    scale = {_letter(place): _alter(place) for place in range(signature - 1, signature + 6)}
    printed = set()
    for staff in staves:
        struck = [e for voice in staff for e in events[voice] if e.name and e.tie not in ("m", "t")]
        struck.sort(key=lambda event: event.begin)
        for bar in measures:
            state = {}
            here = [event for event in struck if bar.begin <= event.begin < bar.end]
            for _, together in groupby(here, key=lambda event: event.begin):
                together = list(together)
                printed |= {event.identity for event in together if _needs_sign(event, together, state, scale)}
                for event in together:
                    line, alter = event.name[::2], event.name.alter
                    state[line] = alter if not _clash(event, together) else None
    return printed


def _needs_sign(event, together, state, scale):
    """Whether the staff says something else so far, or two voices strike the same line with different signs."""
    return _clash(event, together) or state.get(event.name[::2], scale[event.name.letter]) != event.name.alter


def _clash(event, together):
    line = event.name[::2]  # letter and octave
    return any(other.name[::2] == line and other.name != event.name for other in together)


def _fermatas(events, fermatas, sixteenths):
    """Pairs (MEI of a sign, sixteenth of its note): at the first sixteenth of a fermata, in the last one at its end."""
    if fermatas is None:
        return []
    fermatas = np.asarray(fermatas, bool)
    if fermatas.shape != (sixteenths,):
        raise ValueError(f"Fermatas hold one truth value for each of the {sixteenths} sixteenths.")
    begins = np.flatnonzero(fermatas & ~np.append(False, fermatas[:-1]))
    if fermatas[-1]:
        begins[-1] = sixteenths - 1  # a bass that still moves there stops on its last note
    places = [(0, 'place="above" form="norm"')] + [(3, 'place="below" form="inv"')] * (len(events) == 4)
    signs = {}
    for begin in begins:
        for voice, place in places:
            event = next(e for e in events[voice] if e.begin <= begin < e.begin + e.length)
            signs[event.identity] = f'<fermata startid="#{event.identity}" {place}/>', event.begin
    return list(signs.values())


def _staff(number, voices, events, bar, written):
    layers = ""
    for n, voice in enumerate(voices, 1):
        here = [event for event in events[voice] if bar.begin <= event.begin < bar.end]
        layers += f'<layer n="{n}">{_layer(here, bar, written)}</layer>'
    return f'<staff n="{number}">{layers}</staff>'


def _layer(here, bar, written):
    """Notes and rests of one voice in one bar; short notes of one beat hang on one beam."""

    def beat(event):
        return event.name is not None and event.length < 4, (bar.offset + event.begin - bar.begin) // 4

    text = ""
    for (short, _), group in groupby(here, key=beat):
        marks = [_mark(event, bar, event.identity in written) for event in group]
        text += f"<beam>{''.join(marks)}</beam>" if short and len(marks) > 1 else "".join(marks)
    return text


def _mark(event, bar, printed):
    if event.name is None and event.length == bar.end - bar.begin:
        return f'<mRest xml:id="{event.identity}"/>'
    value, dots = DURATIONS[event.length]
    shape = f'xml:id="{event.identity}" dur="{value}"' + f' dots="{dots}"' * dots
    if event.name is None:
        return f"<rest {shape}/>"
    name = event.name
    sign = f' accid="{ACCIDENTALS[name.alter]}"' if printed else ""
    sign = sign or (f' accid.ges="{ACCIDENTALS[name.alter]}"' if name.alter else "")
    tie = f' tie="{event.tie}"' if event.tie else ""
    return f'<note {shape} pname="{name.letter.lower()}" oct="{name.octave}"{sign}{tie}/>'


# Engraving


def score_svg(pitches, starts=None, width=800, scale=40, **marks):
    """SVG text of the score, made by Verovio without a network.

    Args:
        pitches, starts: music [S, V].
        width: pixels; long pieces go on in further lines.
        scale: per cent of Verovio's size.
        marks: beats, meter, tonic, mode, fermatas, title as for ``score_mei``.

    Raises:
        CourseError: Verovio is not installed.
    """
    return _engraved(score_mei(pitches, starts, **marks), int(width), int(scale))


@lru_cache(maxsize=8)
def _engraved(mei, width, scale):
    toolkit = _toolkit()
    layout = {"pageWidth": width * 100 // scale, "pageHeight": 60_000, "adjustPageHeight": True, "scale": scale}
    edges = {"pageMarginLeft": 50, "pageMarginRight": 50, "pageMarginTop": 30, "pageMarginBottom": 30}
    toolkit.setOptions(
        {
            **layout,
            **edges,
            "svgFormatRaw": True,
            "svgRemoveXlink": True,
            "header": "none",
            "footer": "none",
            "breaks": "auto",
        }
    )
    if not toolkit.loadData(mei):
        raise CourseError("Verovio could not read this score.")
    return toolkit.renderToSVG(1)


@lru_cache(maxsize=1)
def _toolkit():
    try:
        import verovio
    except ImportError:
        raise CourseError(
            "The score needs Verovio, which is not installed; `pip install -e .[music]` adds it."
        ) from None
    verovio.enableLog(verovio.LOG_OFF)
    return verovio.toolkit()


def score(pitches, starts=None, width=800, scale=40, **marks):
    """``plots.Markup`` of the score on white paper; arguments and errors as for ``score_svg``."""
    svg = score_svg(pitches, starts, width, scale, **marks)
    source = base64.b64encode(svg.encode("utf-8")).decode("ascii")
    words = describe_music(pitches, starts, **marks)
    style = "max-width:100%;height:auto;background:white"
    return Markup(f'<img alt="" style="{style}" src="data:image/svg+xml;base64,{source}">', f"Score. {words}")


def marks(chorale):
    """The keyword arguments of ``score`` that a chorale has, such as ``score(c.pitches, c.starts, **marks(c))``."""
    names = ("beats", "meter", "fermatas", "tonic", "mode", "title")
    return {name: getattr(chorale, name) for name in names if getattr(chorale, name, None) is not None}


def describe_music(pitches, starts=None, tonic=None, mode="major", meter=None, beats=None, title="", fermatas=None):
    """Music in words: title, key, bars, notes of every voice with their range, and the beginning of the soprano."""
    pitches, starts = checked_music(pitches, starts)
    signature = guessed_signature(pitches) if tonic is None else key_signature(tonic, mode)
    parts = [title] if title else []
    parts += [key_name(tonic, mode)] if tonic is not None else []
    if meter:
        count = len(bars(len(pitches), beats, meter))
        parts.append(f"{'/'.join(map(str, _meter(meter)))}, {count} bar{'s' * (count != 1)}")
    found = notes(pitches, starts)
    for voice in range(pitches.shape[1]):
        sung = [note.pitch for note in found if note.voice == voice]
        ends = f", {spelled(min(sung), signature)} to {spelled(max(sung), signature)}" if sung else ""
        parts.append(f"{VOICES[voice]} {len(sung)} note{'s' * (len(sung) != 1)}{ends}")
    first = [spelled(note.pitch, signature) for note in found if note.voice == 0][:12]
    begins = f" The {VOICES[0]} begins {' '.join(map(str, first))}." if first else ""
    return f"{'; '.join(parts)}.{begins}"


# Piano roll


def piano_roll(pitches, starts=None, beats=None, meter=(4, 4), given=(), title="", level=6):
    """``plots.Picture``: every note a bar, as long as it sounds; each voice has a colour and a pattern of its own.

    Args:
        pitches, starts, beats, meter: as for ``score_mei``.
        given: names of voices that were given, not written by a model; their bars have a grey ground.
        level: of the PNG, 1 for sliders.
    """
    pitches, starts = checked_music(pitches, starts)
    found, measures = notes(pitches, starts), bars(len(pitches), beats, meter)
    if unknown := set(given) - set(VOICES):
        raise ValueError(f"There is no voice named {sorted(unknown)[0]!r}; there are {', '.join(VOICES)}.")
    figure, axes = plots.new_figure(8.4, 3.8, layout=None)
    figure.subplots_adjust(left=0.075, right=0.865, bottom=0.135, top=0.91)
    sounding = pitches[pitches > 0]
    low, high = (int(sounding.min()) - 2, int(sounding.max()) + 2) if sounding.size else (58, 74)
    for voice in reversed(range(pitches.shape[1])):
        at = low + (high - low) * (0.62 - 0.1 * voice)
        _roll_voice(axes, voice, [note for note in found if note.voice == voice], VOICES[voice] in given)
        _roll_key(axes, voice, len(pitches), at, (high - low) / 28, VOICES[voice] in given)
    if given:
        axes.text(len(pitches) * 1.015, low + (high - low) * 0.22, "* given", fontsize=11, va="center")
    names = [pitch for pitch in range(low, high + 1) if pitch % 12 in (0, 7)] or [low]
    axes.set_yticks(names, [str(spelled(pitch, 0)) for pitch in names])
    axes.set_xticks([bar.begin for bar in measures], _bar_names(measures))
    axes.set(xlim=(0, len(pitches)), ylim=(low - 0.5, high + 0.5), xlabel="bar", title=title)
    words = describe_music(pitches, starts)
    written = f" Given: {', '.join(given)}." if given else ""
    return Picture(plots.png(figure, level), f"Piano roll. {title}{'. ' * bool(title)}{words}{written}")


def _roll_voice(axes, voice, found, given):
    spans = [(note.begin + 0.08, note.end - 0.12, note.pitch) for note in found]
    _roll_bars(axes, voice, spans, 1.0, given)


def _roll_key(axes, voice, right, middle, height, given):
    """The voice's pattern and name at the right of the picture."""
    _roll_bars(axes, voice, [(right * 1.015, right * 1.045, middle)], height, given)
    words = f"{VOICES[voice]}{' *' * given}"
    axes.text(right * 1.055, middle, words, fontsize=11, va="center")


def _roll_bars(axes, voice, spans, height, given):
    """Bars (left, right, middle), each of the rows of its voice; at a unison the higher voice lies on top."""
    from matplotlib.collections import PolyCollection

    def add(rows, colour, order):
        edges = [(x, middle + low * height, y, middle + high * height) for x, y, middle in spans for low, high in rows]
        corners = [[(x, low), (x, high), (y, high), (y, low)] for x, low, y, high in edges]
        axes.add_collection(PolyCollection(corners, facecolor=colour, linewidth=0, zorder=order, clip_on=False))

    if spans and given:
        add(((-1.05, 1.05),), "#d0d0d0", 2)
    if spans:
        add(STRIPES[voice], plots.PALETTE[voice], 7 - voice)


def _bar_names(measures):
    """Numbers of bars, few enough to be read; a pick-up bar has none."""
    first = 0 if measures[0].offset else 1
    every = max(1, -(-len(measures) // 16))
    numbers = range(first, first + len(measures))
    return [str(n) if n and (n - 1) % every == 0 else "" for n in numbers]
