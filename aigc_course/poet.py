"""Tang poems from a ``GPT2`` that has learned to write them: with a form, a beginning, or an acrostic.

A poem is the row START, two marks, characters and stops, END: ``⊢⑤④白日依山尽，…。⊣``; see ``datasets.poems``.
Shapes: N poems, T tokens, V vocabulary.   Taught in chapters/10_gpt2.
"""

import numpy as np

from aigc_course.datasets import poems
from aigc_course.gpt2 import GPT2, GPT2Config
from aigc_course.gpt2_writing import OPEN
from aigc_course.runtime import CourseError
from aigc_course.sampling import Sampler
from aigc_course.vocabulary import END, PAD, START, UNKNOWN, Vocabulary, demand_texts

CONTEXT = 68  # tokens of the longest poem: START, two marks, eight lines of seven with their stops, END
BATCH = 128  # poems that are written at once
CALM = Sampler(temperature=0.8)
AS_IT_IS = Sampler()


def build_poet(num_layers=4, num_heads=8, hidden_dim=256, dropout=0.2, seed=0):
    """An untrained ``GPT2`` for poems; padding does not count in its loss."""
    size = len(Vocabulary(poems.load_characters()))
    sizes = (size, CONTEXT, num_layers, num_heads, hidden_dim)
    return GPT2(GPT2Config(*sizes, dropout=dropout, padding_id=PAD), seed=seed)


class Poet:
    """A ``GPT2`` together with the characters that it knows.

    Args:
        model: as ``build_poet`` makes, trained on the rows of ``encode``; ``checkpoints.load("gpt2-poems")``.

    Raises:
        ValueError: a model of another vocabulary.
    """

    def __init__(self, model):
        self.model, self.vocabulary = model, Vocabulary(poems.load_characters())
        if model.config.vocabulary_size != len(self.vocabulary):
            raise ValueError(
                f"The model knows {model.config.vocabulary_size} tokens, the poems have {len(self.vocabulary)}."
            )
        marks = self.vocabulary.encode(["".join(poems.MARKS.values())])[0]
        self.forbidden = (PAD, START, UNKNOWN, *marks.tolist())

    def encode(self, texts, forms=None):  # N texts -> [N, T]
        """Rows for training and scoring; the form that each text has, unless told.

        Raises:
            TypeError: one string in place of a list.
            CourseError: a text without a form, or another number of forms.
        """
        texts = demand_texts(texts)
        forms = [None] * len(texts) if forms is None else forms
        if len(forms) != len(texts):
            raise CourseError(f"There are {len(texts)} poems and {len(forms)} forms.")
        marked = [poems.marked(text, form) for text, form in zip(texts, forms, strict=True)]
        return self.vocabulary.encode(marked, CONTEXT, start=True, end=True)

    def prompt(self, text="", form="7x4"):  # text -> [T]
        """START, the marks of the form, and a beginning.

        Raises:
            CourseError: an unknown form, a character that the model does not know, a mark, or no room behind the text.
        """
        if text != poems.unmarked(text):
            raise CourseError(f"{text!r} holds a mark of a form; choose one by its name: {', '.join(poems.FORMS)}.")
        ids = self.vocabulary.encode([poems.marked(text, form)], start=True)[0]
        if (ids == UNKNOWN).any():
            strange = sorted({character for character in text if character not in self.vocabulary})
            known = int(self.is_character(np.arange(len(self.vocabulary))).sum()) - 1  # UNKNOWN is none
            raise CourseError(
                f"The model does not know {', '.join(map(repr, strange))}; it writes with {known:,} Chinese characters."
            )
        if len(ids) >= CONTEXT:
            raise CourseError(f"The beginning has {len(text)} characters; a whole poem has at most {CONTEXT - 4}.")
        return ids

    def write(self, form="7x4", prompt="", count=1, sampler=CALM, seed=0, cached=True):
        """Poems of a form that go on from ``prompt``.

        Args:
            form: key of ``datasets.poems.FORMS``, or a list of ``count`` such keys.
            prompt: the beginning, Chinese characters and stops, or "".
            count: N; with a list of forms its length, which need not be told.
            sampler, seed, cached: see ``GPT2.generate``.

        Returns:
            N texts without marks. What the model wrote is not mended: a poem may break its form.

        Raises:
            CourseError: as ``prompt``.
            ValueError: a count that is no number of poems, or another than that of the forms.
        """
        if not 0 <= count < np.inf or count != int(count) or not (isinstance(form, str) or count in (1, len(form))):
            raise ValueError(f"count is a whole number from 0 on, and that of the forms in a list, not {count}.")
        forms = [form] * int(count) if isinstance(form, str) else list(form)
        written = []
        for start in range(0, len(forms), BATCH):
            rows = [self.prompt(prompt, name) for name in forms[start : start + BATCH]]
            found = self.model.generate(
                rows,
                CONTEXT - len(rows[0]),
                sampler,
                (seed, start),
                cached,
                END,
                self.forbidden,
            )
            written += self.decode(found)
        return written

    def stream(self, form="7x4", prompt="", sampler=CALM, seed=0, cached=True, every=1):
        """One poem, as it grows: yields the text after every ``every`` tokens; the last is what ``write`` gives."""
        row = self.prompt(prompt, form)
        steps = self.model.stream(
            [row], CONTEXT - len(row), sampler, (seed, 0), cached, END, self.forbidden, every=every
        )
        for found in steps:
            yield self.decode(found)[0]

    def acrostic(self, heads, form=None, sampler=CALM, seed=0):
        """A poem whose lines begin with the characters of ``heads``; the model fills in the rest, the form is given.

        Args:
            heads: 4 or 8 characters.
            form: key of ``FORMS`` with that many lines; lines of seven unless told.

        Raises:
            CourseError: an unknown form, a number of characters that it has not as lines, or a character that the
                model does not know.
        """
        if form is not None:
            self.prompt("", form)  # an unknown form is refused here
        form = form or f"7x{len(heads)}"
        length, lines = poems.FORMS.get(form, (0, 0))
        if lines != len(heads):
            wanted = lines or "4 or 8"
            raise CourseError(f"An acrostic has one character a line, here {wanted}; {heads!r} has {len(heads)}.")
        self.prompt(heads, form)
        if any(stop in heads for stop in poems.STOPS):
            raise CourseError(f"No line begins with a stop: {heads!r}.")
        stops = [self.vocabulary.encode([stop])[0, 0] for stop in poems.STOPS]
        row = list(self.prompt("", form))
        for number, head in enumerate(self.vocabulary.encode([heads])[0]):
            row += [head, *[OPEN] * (length - 1), stops[number % 2]]
        forbidden = (*self.forbidden, END, *stops)
        return self.decode(self.model.generate([np.array(row, "int32")], 0, sampler, (seed, 0), forbidden=forbidden))[0]

    def decode(self, rows):
        """Texts of rows of ids, without marks."""
        return [poems.unmarked(text) for text in self.vocabulary.decode(rows)]

    def nats(self, texts, forms=None):
        """``-log p`` of texts, mean over their Chinese characters, in nats: marks, stops and END do not count.

        A character that is not in the vocabulary counts as UNKNOWN, as for the n-gram beside it.

        Raises:
            TypeError, CourseError: as ``encode``; CourseError, too, where there is no character.
        """
        token_ids = self.encode(texts, forms)
        counted = self.is_character(token_ids[:, 1:])
        if not counted.any():
            raise CourseError("There is no character to score.")
        return float(-self.model.log_probabilities(token_ids)[counted].mean())

    def is_character(self, token_ids):  # [...] -> [...] of booleans
        """True for ids of Chinese characters, UNKNOWN included."""
        return (token_ids > max(self.forbidden)) | (token_ids == UNKNOWN)

    def next_characters(self, text="", form="7x4", sampler=AS_IT_IS, count=10):
        """The ``count`` most probable tokens after a beginning, as pairs (token, probability), best first.

        ``sampler`` reshapes the distribution first; the probabilities are those it would draw with.
        """
        return self.ranked(*self.next_logits(text, form), sampler, count)

    def next_logits(self, text="", form="7x4"):
        """Logits [1, V] after a beginning, -inf where a token is never written, and 1 at those seen already, [1, V]."""
        row = self.prompt(text, form)
        logits = self.model.next_logits(row[None])
        logits[:, list(self.forbidden)] = -np.inf
        seen = np.zeros_like(logits)
        seen[0, row] = 1
        return logits, seen

    def ranked(self, logits, seen, sampler=AS_IT_IS, count=10):
        """As ``next_characters``, of what ``next_logits`` gave; ValueError for a count below 0."""
        if count < 0:
            raise ValueError(f"count is a whole number from 0 on, not {count}.")
        chances = sampler.probabilities(logits, seen)[0]
        best = np.argsort(-chances)[:count]
        return [(self.vocabulary.tokens[number], float(chances[number])) for number in best]
