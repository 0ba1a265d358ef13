"""Make data/chorales.npz and its card from the chorales in music21's corpus.

Usage: python data/make_chorales.py    (needs this package and music21, ``pip install music21==10.5.1``)

S sixteenths of a chorale, N chorales in a part. Only what is sung is read: pitches, durations, ties, fermatas, bars,
metre and key. Layout and words of the encoded scores are left out.
"""

import hashlib
import json
import re
import unicodedata
import warnings
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import music21
import numpy as np
from music21 import converter, corpus, expressions
from music21.corpus.chorales import ChoraleListRKBWV

from aigc_course.metrics.music import estimate_key

PARTS = ("train", "validation", "test")
VOICES = ["Soprano", "Alto", "Tenor", "Bass"]
LARGEST = 6  # larger groups of chorales on one tune train, so that no held-out part hangs on one tune
RUN, SHARED = 7, 0.2  # intervals in a run of a tune; share of the shorter tune's runs that two chorales may not share
METERS = {"4/4": 16, "3/4": 12, "3/2": 24}  # sixteenths of a bar


# --- reading ----------------------------------------------------------------------------------------------------------


def read(path):
    """One file as a dict of arrays and texts, or the reason why it is left out."""
    warnings.simplefilter("ignore")
    score = converter.parse(path, forceSource=True)
    names = [part.partName for part in score.parts]
    if path.suffix == ".krn":
        return "the file reserves rights to all derivative electronic formats"
    if names != VOICES:
        return "has not exactly the parts soprano, alto, tenor, bass"
    voices = [events_of(part) for part in score.parts]
    lengths = {sixteenths(part.highestTime) for part in score.parts}
    if len(lengths) > 1:
        return "voices of different lengths"
    (length,) = lengths
    pitches, starts = (np.stack(column, 1) for column in zip(*(grid(v, length) for v in voices), strict=True))
    found = {
        "bwv": path.stem.removeprefix("bwv"),
        "pitches": pitches,
        "starts": starts,
        "beats": beats_of(score.parts[0], length),
        "meter": score.parts[0].flatten().getElementsByClass("TimeSignature")[0].ratioString,
        "fermatas": fermatas_of(voices, length),
        "grace": sum(n.duration.isGrace for part in score.parts for n in part.flatten().notes),
    }
    found["tonic"], found["mode"], found["stated"] = key_of(score, pitches)
    found["compared"], found["different"] = compare(score, pitches, starts)
    return found


def sixteenths(quarters):
    """A length in quarters as a number of sixteenths, an int where it is whole."""
    value = 4 * quarters
    return int(value) if value == int(value) else float(value)


def events_of(part):
    """(offset, length, pitch or 0, whether it goes on with a tie, fermata) of each note and rest; no grace notes."""
    return [
        (
            e.offset,
            e.quarterLength,
            0 if e.isRest else e.pitch.midi,
            e.tie is not None and e.tie.type in ("stop", "continue"),
            any(isinstance(mark, expressions.Fermata) for mark in e.expressions),
        )
        for e in part.flatten().notesAndRests
        if not e.duration.isGrace
    ]


def grid(events, length):
    """[S] pitches, [S] starts: at each sixteenth what sounds when it begins."""
    pitches, starts = np.zeros(length, np.uint8), np.zeros(length, bool)
    for offset, duration, pitch, tied, _ in events:
        first, end = np.ceil([4 * offset, 4 * (offset + duration)]).astype(int)
        pitches[first:end] = pitch
        if first < end:
            starts[first] = pitch > 0 and not (tied and first and pitches[first - 1] == pitch)
    return pitches, starts


def beats_of(part, length):
    """[S] sixteenths since the bar line; a pick-up, and a bar that a repeat cuts in two, count from its right place."""
    beats, bar, left = np.zeros(length, np.uint8), 16, None
    for number, measure in enumerate(part.getElementsByClass("Measure")):
        if measure.timeSignature is not None:
            bar = METERS[measure.timeSignature.ratioString]
        first, size = sixteenths(measure.offset), sixteenths(measure.quarterLength)
        start = bar - size if (number == 0 and size < bar) or left == size else 0
        beats[first : first + size] = (start + np.arange(size)) % bar
        left = bar - size if size < bar and start == 0 else None  # what the other half of a cut bar would have
    return beats


def fermatas_of(voices, length):
    """[S] whether the soprano sings a note with a fermata, or the next voice if it has none in the piece."""
    marks = np.zeros(length, bool)
    for voice in voices:
        for offset, duration, _, _, fermata in voice:
            if fermata:
                marks[sixteenths(offset) : sixteenths(offset + duration)] = True
        if marks.any():
            break
    return marks


# --- key --------------------------------------------------------------------------------------------------------------


def key_of(score, pitches):
    """Tonic 0 to 11, mode, and whether that is the key that the score states.

    Many chorales are written with one flat or sharp less than today, so the stated key is put aside where the last note
    of the bass and the Krumhansl-Schmuckler estimate agree on another tonic.
    """
    keys = [k for k in score.parts[0].flatten().getElementsByClass("KeySignature") if getattr(k, "mode", None)]
    last = int(pitches[:, 3][pitches[:, 3] > 0][-1]) % 12
    estimate = estimate_key(SimpleNamespace(pitches=pitches))[:2]
    if not keys:
        return *estimate, False
    stated = keys[0].tonic.pitchClass, keys[0].mode
    if stated[0] != last == estimate[0]:
        return *estimate, False
    return *stated, True


# --- a second reading -------------------------------------------------------------------------------------------------


def compare(score, pitches, starts):
    """Notes of music21's own score with ties joined, and how many of them the arrays do not give back exactly."""
    wanted, found = Counter(), Counter()
    for voice, part in enumerate(score.parts):
        for n in part.stripTies().flatten().notes:
            if not n.duration.isGrace:
                wanted[voice, sixteenths(n.offset), sixteenths(n.quarterLength), n.pitch.midi] += 1
        edges = np.flatnonzero(starts[:, voice] | (np.diff(pitches[:, voice], prepend=0) != 0))
        for first, end in zip(edges, [*edges[1:], len(pitches)], strict=True):
            if pitches[first, voice]:
                found[voice, int(first), int(end - first), int(pitches[first, voice])] += 1
    return wanted.total(), (wanted - found).total()


def once(chorales):
    """The chorales without those that are another one note for note, in any key.

    What stays is the one with a plain number: the corpus has BWV 274 again as 62.6, which it is not.
    """
    kept = {}
    for chorale in sorted(chorales, key=lambda chorale: "." in chorale["bwv"]):
        pitches = chorale["pitches"].astype(int)
        lowest = pitches[pitches > 0].min()
        kept.setdefault(np.where(pitches > 0, pitches - lowest, -1).tobytes(), chorale["bwv"])
    return [chorale for chorale in chorales if chorale["bwv"] in kept.values()]


# --- groups and parts -------------------------------------------------------------------------------------------------


def group(chorales):
    """A number for each chorale; the same for chorales that a chain of equal titles or alike tunes joins."""
    parent = list(range(len(chorales)))

    def root(node):
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    tunes, titles = [runs_of(chorale) for chorale in chorales], [plain(chorale["title"]) for chorale in chorales]
    for a, b in combinations(range(len(chorales)), 2):
        alike = len(tunes[a] & tunes[b]) >= SHARED * max(1, min(len(tunes[a]), len(tunes[b])))
        if alike or (titles[a] and titles[a] == titles[b]):
            parent[root(a)] = root(b)
    return [root(node) for node in range(len(chorales))]


def runs_of(chorale):
    """Runs of RUN intervals between the soprano's notes that begin on a beat: no key and few ornaments count."""
    tune = chorale["pitches"][chorale["starts"][:, 0] & (chorale["beats"] % 4 == 0), 0]
    steps = np.diff(tune.astype(int)).tolist()
    return {tuple(steps[k : k + RUN]) for k in range(len(steps) - RUN + 1)}


def plain(title):
    """A title's letters, small and without accents."""
    return re.sub("[^a-z]", "", unicodedata.normalize("NFD", title.lower()))


def split(chorales, groups, seed=20261):
    """Numbers of the chorales of each part: by group, eight of ten to train, the modes alike in all parts."""
    rng, members, by_mode = np.random.default_rng(seed), defaultdict(list), defaultdict(list)
    for number, name in enumerate(groups):
        members[name].append(number)
    parts = {part: [] for part in PARTS}
    for rows in members.values():
        if len(rows) > LARGEST:
            parts["train"] += rows
        else:
            by_mode[chorales[rows[0]]["mode"]].append(rows)
    share = (len(chorales) / 10) / (len(chorales) - len(parts["train"]))  # of what is left, for each held-out part
    for rows_of_mode in by_mode.values():
        total = sum(map(len, rows_of_mode))
        given = Counter()
        for index in rng.permutation(len(rows_of_mode)):
            rows = rows_of_mode[index]
            part = next((p for p in PARTS[1:] if given[p] + len(rows) <= round(share * total)), "train")
            given[part] += len(rows)
            parts[part] += rows
    return {part: rng.permutation(rows) for part, rows in parts.items()}


# --- file and card ----------------------------------------------------------------------------------------------------


def titles():
    """``{BWV number: title}`` of music21's list."""
    entries = ChoraleListRKBWV().byRiemenschneider.values()
    return {str(entry["bwv"]): entry["title"].replace("AAch", "Ach") for entry in entries}


def packed(texts):
    """Texts as the bytes of one, joined by newlines."""
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def arrays_of(chorales, parts):
    """The arrays of the file: for each part those of its chorales, end to end, and the length of each."""
    arrays = {}
    for part, rows in parts.items():
        chosen = [chorales[row] for row in rows]
        for name in ("pitches", "starts", "beats", "fermatas"):
            arrays[f"{part}_{name}"] = np.concatenate([chorale[name] for chorale in chosen])
        arrays[f"{part}_lengths"] = np.array([len(chorale["beats"]) for chorale in chosen], np.uint16)
        arrays[f"{part}_tonics"] = np.array([chorale["tonic"] for chorale in chosen], np.uint8)
        arrays[f"{part}_minor"] = np.array([chorale["mode"] == "minor" for chorale in chosen])
        for name in ("meter", "title", "bwv"):
            arrays[f"{part}_{name}s"] = packed(chorale[name] for chorale in chosen)
    return arrays


def card_of(target, chorales, parts, groups, left_out):
    """What the file holds, where it comes from, and how to know it again."""
    total = {name: sum(chorale[name] for chorale in chorales) for name in ("grace", "compared", "different")}
    stated, sizes = sum(chorale["stated"] for chorale in chorales), Counter(groups)
    return {
        "file": target.name,
        "what": f"{len(chorales)} four-part chorales by J. S. Bach on a grid of sixteenths: for each of four voices "
        "which note sounds and where it begins; position in the bar, metre, fermatas, key, title, BWV number",
        "source": f"the folder bach of the corpus in music21 {music21.__version__} (PyPI), whose scores come for the "
        "most part from Margaret Greentree's jsbchorales.net; titles from music21's own list of chorales. Of the "
        "encoded scores only notes, bars, fermatas, metre and key are kept, nothing of layout or words",
        "licence": "doubtful for the encoding; the music is in the public domain (Bach died in 1750). "
        "music21's code is under the BSD licence, its corpus is not: corpus/license.txt says that the encodings 'are "
        "distributed with the permission of the encoders', that they 'may be under copyright but have been licensed "
        "for use, though there may be restrictions on commercial use'. The files used here state no licence; most "
        "carry the line 'PDF (c) 2004 Margaret Greentree' and 'used by permission'. For teaching and study; ask before "
        "any commercial use. Three files that reserve the rights to derived formats (CCARH, Humdrum) are left out",
        "choice": "files with exactly one part each for soprano, alto, tenor and bass; repeats stand once, as written",
        "left_out": left_out,
        "grid": f"{total['grace']} grace notes left out; of each of {total['different'] // 2} pairs of thirty-second "
        "notes the first is kept, as a sixteenth",
        "checked": f"{total['compared'] - total['different']:,} of {total['compared']:,} notes of music21's own "
        f"reading (stripTies) come back from the arrays with voice, place, length and pitch; the other "
        f"{total['different']} are the thirty-seconds",
        "key": f"{stated} as the score states it; {len(chorales) - stated} where the last bass note and the "
        "Krumhansl-Schmuckler estimate agree on another tonic, or the score states none",
        "fermatas": "the soprano's notes with a fermata, the ends of lines",
        "titles": f"{sum(not chorale['title'] for chorale in chorales)} have none in the list and are empty",
        "meter": "that of the beginning; BWV 304 and 362 change to 3/4, which beats shows",
        "parts": f"80 / 10 / 10 by groups of chorales on one tune: {len(sizes)} groups, joined by equal titles, or if "
        f"a fifth of the shorter tune's runs of {RUN} intervals, between notes on beats, are the other's too; the "
        f"largest have {', '.join(str(size) for _, size in sizes.most_common(3))} chorales; those of more than "
        f"{LARGEST} train",
        "counts": {
            part: {
                "chorales": len(rows),
                "major": sum(chorales[row]["mode"] == "major" for row in rows),
                "sixteenths": sum(len(chorales[row]["beats"]) for row in rows),
                "notes": int(sum(chorales[row]["starts"].sum() for row in rows)),
            }
            for part, rows in parts.items()
        },
        "made_by": "data/make_chorales.py",
        "bytes": target.stat().st_size,
        "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
    }


def number_of(path):
    """Sorts files by the numbers in their names."""
    return [int(text) if text.isdigit() else 0 for text in re.split(r"[^\d]+", path.name)][1:], path.name


def main():
    target, folder = Path(__file__).with_name("chorales.npz"), Path(corpus.__file__).parent / "bach"
    paths = sorted((p for p in folder.iterdir() if p.suffix in (".mxl", ".xml", ".krn")), key=number_of)
    with ProcessPoolExecutor(2) as pool:
        found = list(pool.map(read, paths, chunksize=8))
    left_out = Counter(reason for reason in found if isinstance(reason, str))
    chorales, names = once([chorale for chorale in found if isinstance(chorale, dict)]), titles()
    left_out["the same notes as another file, in any key"] = len(found) - left_out.total() - len(chorales)
    for chorale in chorales:
        chorale["title"] = names.get(chorale["bwv"], "")
    groups = group(chorales)
    parts = split(chorales, groups)
    np.savez_compressed(target, **arrays_of(chorales, parts))
    card = card_of(target, chorales, parts, groups, dict(left_out))
    target.with_suffix(".json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
