"""Byte-level byte pair encoding, the tokeniser of GPT-2 (Sennrich et al., 2016; Radford et al., 2019, sec. 2.2).

Learning: cut the texts into words, write each word as its UTF-8 bytes, and again and again make the most frequent pair
of neighbours one token. Encoding: do the same merges, in the same order, to the words of a new text. Since every text
is a row of bytes and each of the 256 bytes is a token, there is no unknown word.

*Two choices of GPT-2.* Words are cut by a pattern, so that no token holds letters and digits, or letters and
punctuation; the space before a word belongs to it. And each byte is written as a printable character, so that tokens
can stand in files: a space is Ġ, a line end Ċ, the Chinese character 中 (bytes E4 B8 AD) is ä¸Ń.

*Ties.* Of equally frequent pairs the one with the smaller ids is merged, left id first, as in the library
``tokenizers``; ids of bytes follow the code of their printable character, so "!" is 0.

Words of this module: a *symbol* is one character or a token already merged; a *word* is a tuple of symbols; a *pair*
is two symbols that stand side by side.   Taught in chapters/10_gpt2.
"""

import heapq
import json
from collections import Counter, defaultdict
from functools import cache
from itertools import pairwise
from pathlib import Path

import regex

from aigc_course.runtime import CourseError, write_whole
from aigc_course.vocabulary import demand_texts, shortened

END_OF_TEXT = "<|endoftext|>"
FILES = ("vocab.json", "merges.txt")  # the names that GPT-2's files have at Hugging Face
CACHED_WORDS = 2**16

# English endings ('s, 't, ...); letters, digits or other signs, each with the space before them; white space, whose
# last character is left to the word that follows. From src/encoder.py of OpenAI's gpt-2.
_WORD = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")


# --- bytes and words --------------------------------------------------------------------------------------------------


@cache
def bytes_to_characters() -> dict[int, str]:
    """GPT-2's table: each of the 256 bytes as one printable character.

    Bytes that print in Latin-1 stay what they are ("A", "é"); the other 68 become the characters from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = sorted(set(range(256)) - set(printable))
    table = {byte: chr(byte) for byte in printable}
    return table | {byte: chr(256 + number) for number, byte in enumerate(others)}


@cache
def characters_to_bytes() -> dict[str, int]:
    """The table the other way round."""
    return {character: byte for byte, character in bytes_to_characters().items()}


def pretokenise(text: str) -> list[str]:
    """Cut ``text`` into words; nothing is lost: ``"I'm 20!"`` gives ``["I", "'m", " 20", "!"]``.

    Which characters are letters or digits is told by the Unicode tables of the package ``regex``.
    """
    return _WORD.findall(text)


def in_characters(text: str) -> str:
    """The UTF-8 bytes of ``text``, each as its printable character: ``" né"`` gives ``"ĠnÃ©"``.

    Raises:
        CourseError: half of a surrogate pair, which no UTF-8 can hold.
    """
    try:
        encoded = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise CourseError(
            f"The text {shortened(text)!r} holds {text[error.start]!r}, half of a character; "
            "read it again with the right encoding."
        ) from None
    table = bytes_to_characters()
    return "".join([table[byte] for byte in encoded])


# --- the two steps: count pairs, merge one ----------------------------------------------------------------------------


def count_pairs(words: dict[tuple, int]) -> Counter:
    """How often each pair occurs, in words with the counts given: ``{("a", "b", "c"): 5}`` gives ab 5, bc 5."""
    counts = Counter()
    for word, count in words.items():
        for pair in pairwise(word):
            counts[pair] += count
    return counts


def merge(word: tuple, pair: tuple, merged) -> tuple:
    """``word`` with every ``pair`` replaced by ``merged``, from the left: aaa with aa merged is (aa, a)."""
    symbols, last = [], None
    for symbol in word:
        if (last, symbol) == pair:
            symbols[-1], last = merged, None
        else:
            symbols.append(symbol)
            last = symbol
    return tuple(symbols)


def learn_merges(words: dict[str, int], vocabulary_size: int, min_count: int = 2) -> list[tuple[str, str]]:
    """The merges for words with their counts, most frequent pair first, until there are ``vocabulary_size`` tokens.

    The 256 bytes count as tokens. Pair counts are kept up to date: a merge changes only those of words that hold it.

    Args:
        words: counts of words in printable characters, see ``in_characters``.
        min_count: rarer pairs are not merged; the vocabulary then stays smaller.
    """
    tokens = sorted(bytes_to_characters().values())
    ids = {token: number for number, token in enumerate(tokens)}
    state = _PairCounts({tuple(ids[character] for character in word): count for word, count in words.items()})
    merges = []
    while len(tokens) < vocabulary_size and (pair := state.most_frequent(min_count)):
        left, right = tokens[pair[0]], tokens[pair[1]]
        merges.append((left, right))
        if left + right not in ids:  # two pairs may make one token: ab + c and a + bc
            ids[left + right] = len(tokens)
            tokens.append(left + right)
        state.merge(pair, ids[left + right])
    return merges


class _PairCounts:
    """Counts of pairs of ids, the words that hold each pair, and a heap to find the most frequent one."""

    def __init__(self, words):
        self.words, self.numbers = list(words), list(words.values())
        self.counts, self.places = count_pairs(words), defaultdict(set)
        for place, word in enumerate(self.words):
            for pair in pairwise(word):
                self.places[pair].add(place)
        self.heap = [(-count, pair) for pair, count in self.counts.items()]
        heapq.heapify(self.heap)

    def most_frequent(self, min_count):
        """The most frequent pair, of equals the one with the smallest ids; None if all are rarer than ``min_count``."""
        while self.heap:
            count, pair = self.heap[0]
            if -count == self.counts[pair]:  # else the entry is out of date, and a newer one stands further down
                return pair if -count >= max(min_count, 1) else None
            heapq.heappop(self.heap)
        return None

    def merge(self, pair, merged):
        changes = Counter()
        for place in self.places.pop(pair):
            word, number = self.words[place], self.numbers[place]
            self.words[place] = shorter = merge(word, pair, merged)
            for old in pairwise(word):
                changes[old] -= number
            for new in pairwise(shorter):
                changes[new] += number
                self.places[new].add(place)
        for changed, change in changes.items():
            if change:
                self.counts[changed] += change
                heapq.heappush(self.heap, (-self.counts[changed], changed))


# --- the tokeniser ----------------------------------------------------------------------------------------------------


class ByteLevelBPE:
    """A vocabulary of byte strings, and the merges that make them.

    Args:
        tokens: in the order of their ids, in printable characters: the 256 bytes, what the merges make, and as special
            tokens those written ``<|...|>``.
        merges: pairs of tokens, in the order in which they were learnt.

    Raises:
        ValueError: tokens and merges that do not belong together.
    """

    def __init__(self, tokens, merges):
        self.tokens, self.merges = list(tokens), [tuple(pair) for pair in merges]
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        self.special = _check(self.tokens, self.merges)
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._bytes = [self._bytes_of(token) for token in self.tokens]
        self._cache = {}

    @classmethod
    def train(cls, texts, vocabulary_size: int, min_count: int = 2, special: str = END_OF_TEXT) -> "ByteLevelBPE":
        """Learn the merges from ``texts``.

        Args:
            texts: a list of texts; no word goes from one into the next.
            vocabulary_size: most tokens to have, the 256 bytes and the special token, which comes last, included.
            min_count: pairs that occur less often are not merged.

        Raises:
            TypeError: one string in place of a list.
            ValueError: a special token that is not written ``<|...|>``.
            CourseError: a vocabulary that has no room for the bytes and the special token.
        """
        if not _is_special(special):
            raise ValueError(f"The special token {special!r} must be written <|...|>, which no merge can make.")
        if vocabulary_size < 257:
            raise CourseError(f"vocabulary_size is {vocabulary_size}; the 256 bytes and {special} need at least 257.")
        counts = Counter(word for text in demand_texts(texts) for word in pretokenise(text))
        words = {in_characters(word): count for word, count in counts.items()}
        merges = learn_merges(words, vocabulary_size - 1, min_count)
        made = dict.fromkeys(left + right for left, right in merges)
        return cls([*sorted(bytes_to_characters().values()), *made, special], merges)

    @classmethod
    def from_files(cls, vocab_json: str | Path, merges_txt: str | Path) -> "ByteLevelBPE":
        """Read ``vocab.json`` and ``merges.txt`` as GPT-2 has them.

        Raises:
            CourseError: a file missing, damaged, or not of the same tokeniser as the other.
        """
        tokens, merges = _read_tokens(Path(vocab_json)), _read_merges(Path(merges_txt))
        try:
            return cls(tokens, merges)
        except ValueError as error:
            raise CourseError(
                f"{vocab_json} and {merges_txt} do not belong together, or one is damaged: {error}"
            ) from None

    def save(self, folder: str | Path) -> tuple[Path, Path]:
        """Write ``vocab.json`` and ``merges.txt`` into ``folder``, which is made if need be; return their paths.

        CourseError if that fails; the folder then still has the two files that it had, or none.
        """
        folder = Path(folder)
        vocabulary = json.dumps(self.ids, ensure_ascii=False)
        lines = "\n".join(["#version: 0.2", *map(" ".join, self.merges), ""])
        paths = folder / FILES[0], folder / FILES[1]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_whole(dict(zip(paths, (vocabulary.encode("utf-8"), lines.encode("utf-8")), strict=True)))
        except OSError as error:
            raise CourseError(f"The tokeniser cannot be written to {folder} ({error.strerror}).") from None
        return paths

    def __len__(self):
        return len(self.tokens)

    def __repr__(self):
        return f"ByteLevelBPE({len(self)} tokens, {len(self.merges)} merges)"

    def encode(self, text: str, allow_special: bool = False) -> list[int]:
        """Ids of ``text``.

        Args:
            allow_special: read ``<|endoftext|>`` as the special token. Off for a reason: in a text of somebody else it
                is thirteen characters like any others.
        """
        if not isinstance(text, str):
            raise TypeError(f"A text must be a string, not {type(text).__name__}.")
        if not allow_special or not self.special:
            return [number for word in pretokenise(text) for number in self._encode_word(word)]
        marks = "|".join(map(regex.escape, sorted(self.special, key=len, reverse=True)))
        parts = regex.split(f"({marks})", text)
        return [i for part in parts for i in ([self.ids[part]] if part in self.special else self.encode(part))]

    def decode(self, ids) -> str:
        """The text of ``ids``; bytes that are no UTF-8, such as half of a Chinese character, become U+FFFD.

        Raises:
            CourseError: an id that the vocabulary does not have.
        """
        return self.to_bytes(ids).decode("utf-8", errors="replace")

    def to_bytes(self, ids) -> bytes:
        """The bytes that ``ids`` stand for: a token may end within a character, which matters while text is made."""
        ids = [int(number) for number in ids]
        if wrong := [number for number in ids if not 0 <= number < len(self)]:
            raise CourseError(f"There is no token {wrong[0]}; the ids of this tokeniser are 0 to {len(self) - 1}.")
        return b"".join([self._bytes[number] for number in ids])

    def split(self, text: str) -> list[str]:
        """The tokens of ``text`` in printable characters: ``["Hel", "lo", "Ġworld"]``, to look at."""
        return [self.tokens[number] for number in self.encode(text)]

    def _encode_word(self, word):
        found = self._cache.get(word)
        if found is None:
            found = [self.ids[symbol] for symbol in self._merged(tuple(in_characters(word)))]
            if len(self._cache) < CACHED_WORDS:
                self._cache[word] = found
        return found

    def _merged(self, symbols):
        """All merges done, each time the pair that was learnt first."""
        never = len(self._ranks)
        while len(symbols) > 1:
            pair = min(pairwise(symbols), key=lambda pair: self._ranks.get(pair, never))
            if pair not in self._ranks:
                break
            symbols = merge(symbols, pair, pair[0] + pair[1])
        return symbols

    def _bytes_of(self, token):
        if token in self.special:
            return token.encode("utf-8")
        table = characters_to_bytes()
        return bytes([table[character] for character in token])


# --- what the files must hold -----------------------------------------------------------------------------------------


def _is_special(token):
    return token.startswith("<|") and token.endswith("|>")


def _check(tokens, merges):
    """The special tokens; ValueError if merges do not make the other tokens, each of them and no more."""
    known = set(tokens)
    if len(known) != len(tokens):
        raise ValueError("a token stands in the vocabulary twice.")
    made = set(bytes_to_characters().values())
    if missing := made - known:
        raise ValueError(f"the vocabulary lacks {len(missing)} of the 256 bytes, {min(missing)!r} for one.")
    for number, pair in enumerate(merges, 1):
        if len(pair) != 2 or not made.issuperset(pair):
            raise ValueError(f"merge {number}, {' '.join(pair)!r}, joins what no merge before it makes.")
        if "".join(pair) not in known:
            raise ValueError(f"merge {number}, {' '.join(pair)!r}, makes a token that the vocabulary lacks.")
        made.add("".join(pair))
    others = [token for token in tokens if token not in made]
    if wrong := next((token for token in others if not _is_special(token)), None):
        raise ValueError(f"no merge makes the token {shortened(wrong)!r}.")
    return frozenset(others)


def _read(path):
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise CourseError(f"{path} is missing; GPT-2's tokeniser is the two files {' and '.join(FILES)}.") from None
    except UnicodeDecodeError:
        raise CourseError(f"{path} is damaged: it is not UTF-8 text. Fetch it again.") from None
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}).") from None


def _read_tokens(path):
    """The tokens of a ``vocab.json`` in the order of their ids, which must be 0, 1, 2, ..."""
    try:
        ids = json.loads(_read(path))
    except (ValueError, RecursionError):  # a ValueError, too, for a number of more digits than Python reads
        raise CourseError(f"{path} is damaged: it is not JSON. Fetch it again.") from None
    if not isinstance(ids, dict) or not all(type(number) is int for number in ids.values()):
        raise CourseError(f"{path} is no vocabulary: it should hold an id for each token.")
    if sorted(ids.values()) != list(range(len(ids))):
        raise CourseError(f"{path} is damaged: the ids of its {len(ids)} tokens are not 0 to {len(ids) - 1}.")
    return sorted(ids, key=ids.get)


def _read_merges(path):
    """The pairs of a ``merges.txt``: one a line, two tokens with a space between; the first line tells a version."""
    lines = _read(path).removesuffix("\n").split("\n")
    start = int(lines[0].startswith("#version"))
    pairs = [tuple(line.split(" ")) for line in lines[start:]]
    if pairs == [("",)]:
        return []
    for number, pair in enumerate(pairs, start + 1):
        if len(pair) != 2 or not all(pair):
            raise CourseError(
                f"{path} is damaged: line {number}, {shortened(' '.join(pair))!r}, is not two tokens. Fetch it again."
            )
    return pairs
