"""N-gram language model with interpolated Kneser-Ney smoothing (Kneser & Ney, 1995; Chen & Goodman, 1999).

    p_k(w | h) = max(c(h w) - D, 0) / c(h .)  +  gamma(h) p_(k-1)(w | h without its first token)

c is a count at the highest order; below it is the number of different tokens seen in front of the run. gamma(h) is what
the discounts D leave over; p_0 is uniform. Nothing here is learned by gradient: the yardstick for networks.

Shapes: N texts, T steps, V ids; rows of ids as ``Vocabulary`` makes them.   Taught in chapters/10_gpt2.
"""

from dataclasses import dataclass

import numpy as np

from aigc_course.runtime import CourseError, is_whole
from aigc_course.vocabulary import END, PAD, START


class NGram:
    """The probability of a token given the ``order - 1`` tokens before it.

    Args:
        order: 3 looks at two tokens, 1 at none.
        discount: what every count loses, in 0 .. 1. None: three discounts for each order, for counts of one, two, and
            three or more, estimated from the numbers of runs seen one to four times (modified Kneser-Ney).
        vocabulary_size: V; one more than the largest id in ``fit``, unless told.

    Raises:
        CourseError: a number out of range, in the methods ids that are none.

    PAD and START have probability 0: no text goes on with them.
    """

    def __init__(self, order: int = 3, discount: float | None = None, vocabulary_size: int | None = None):
        if not 1 <= order < np.inf or order != int(order):
            raise CourseError(f"The order is {order}; a run has a whole number of tokens, one at least.")
        if discount is not None and not 0 <= discount <= 1:
            raise CourseError(f"The discount is {discount}; it must lie in 0 .. 1.")
        if vocabulary_size is not None and not (is_whole(vocabulary_size) and vocabulary_size > END):
            raise CourseError(f"vocabulary_size is a whole number from {END + 1} on, not {vocabulary_size!r}.")
        self.order, self.discount, self._levels = int(order), discount, []
        self.vocabulary_size = self._told_size = vocabulary_size

    def fit(self, token_ids):  # [N, T]
        """Count the runs of ``token_ids``, rows without START, padded with 0 on the right; returns the model."""
        rows = _checked(token_ids)
        if not rows.size:
            raise CourseError("There is no text to count.")
        self.vocabulary_size = self._told_size or max(int(rows.max(initial=0)), END) + 1
        self._check_ids(rows)
        padded, is_token = self._padded(rows)
        nodes, tables, firsts = np.zeros(padded.shape, np.int64), [], []
        every_node = [nodes]
        for _ in range(self.order):
            keys, first, inverse = np.unique(self._keys(nodes, padded), return_index=True, return_inverse=True)
            nodes = inverse.reshape(padded.shape)
            tables.append(keys), firsts.append(first), every_node.append(nodes)
        counts = np.bincount(nodes[is_token], minlength=len(tables[-1]))
        self._levels = []
        for k in range(self.order, 0, -1):
            self._levels.insert(0, _Level.make(tables[k - 1], counts, self.vocabulary_size, self.discount))
            if k > 1:  # each run of k tokens that was seen counts once for the run of k - 1 tokens that it ends in
                ends_in = every_node[k - 1].ravel()[firsts[k - 1][counts > 0]]
                counts = np.bincount(ends_in, minlength=len(tables[k - 2]))
        return self

    def log_probabilities(self, token_ids):  # [N, T] -> [N, T]
        """Nats of each token given those before it in its row, START in front; 0 where there is padding."""
        rows = _checked(token_ids)
        self._check_fitted()
        self._check_ids(rows)
        padded, is_token = self._padded(rows)
        probabilities = np.full(padded.shape, self._uniform())
        nodes = np.zeros(padded.shape, np.int64)
        for level in self._levels:
            contexts = _before(nodes)
            nodes = level.find(self._keys(nodes, padded))
            probabilities = level.mix(probabilities, contexts, nodes)
        nats = np.log(probabilities, where=is_token, out=np.zeros(padded.shape))
        return nats[:, padded.shape[1] - rows.shape[1] :]

    def probabilities(self, prefix=()):  # [T] -> [V]
        """The distribution of the token that follows ``prefix``, ids without START."""
        self._check_fitted()
        prefix = self._prefix(prefix)
        kept = self.order - 1
        tokens = [*[START] * kept, *prefix.tolist()][len(prefix) :]
        found = np.full(self.vocabulary_size, self._uniform())
        found[[PAD, START]] = 0
        for length, level in enumerate(self._levels):
            node = 0
            for shorter, token in zip(self._levels, tokens[kept - length :], strict=False):
                node = int(shorter.find(np.array(node * self.vocabulary_size + token)))
            level.mix_all(found, node)
        return found

    def sample(self, count: int, seed: int = 0, prefix=(), max_new_tokens: int = 100):  # -> [count, T]
        """Texts drawn token by token until END or ``max_new_tokens``: ids with prefix and END, padded with 0."""
        self._check_fitted()
        rng, rows = np.random.default_rng(seed), []
        for _ in range(count):
            row = self._prefix(prefix).tolist()
            for chance in rng.random(max_new_tokens):
                cumulated = np.cumsum(self.probabilities(row))
                row.append(int(np.searchsorted(cumulated, chance * cumulated[-1], side="right")))
                if row[-1] == END:
                    break
            rows.append(row)
        ids = np.full((count, max(map(len, rows), default=0)), PAD, np.int32)
        for number, row in enumerate(rows):
            ids[number, : len(row)] = row
        return ids

    def __repr__(self):
        return f"NGram(order={self.order}, runs={sum(len(level.keys) for level in self._levels):,})"

    def _padded(self, rows):
        """Rows with ``order - 1`` times START in front, and where their tokens are."""
        starts = np.full((len(rows), self.order - 1), START)
        padded = np.concatenate([starts, rows], axis=1)
        is_token = padded != PAD
        is_token[:, : self.order - 1] = False
        return padded, is_token

    def _keys(self, nodes, padded):
        """One number for each run of k tokens: which run of k - 1 comes first, and the token that ends it."""
        return _before(nodes) * self.vocabulary_size + padded

    def _uniform(self):
        return 1 / (self.vocabulary_size - 2)

    def _check_ids(self, ids):
        if ids.size and not 0 <= ids.min() <= ids.max() < self.vocabulary_size:
            raise CourseError(
                f"The ids run from {ids.min()} to {ids.max()}; this model knows 0 to {self.vocabulary_size - 1}."
            )
        if (ids == START).any():
            raise CourseError("A row holds START (1); the model puts it in front itself: encode with start=False.")

    def _prefix(self, prefix):
        row = _checked(np.reshape(prefix, (1, -1)) if len(prefix) else np.zeros((1, 0), int))[0]
        self._check_ids(row)
        return row

    def _check_fitted(self):
        if not self._levels:
            raise CourseError("This model has counted nothing yet: call fit first.")


@dataclass(frozen=True)
class _Level:
    """The runs of k tokens.

    ``keys`` [R] are sorted: the number of the run of k - 1 tokens in front (its place in the level below) times V,
    plus the last token. ``share`` [R] is ``max(c - D, 0) / c(h .)``; ``left`` [R of the level below] is gamma.
    """

    keys: np.ndarray
    share: np.ndarray
    left: np.ndarray
    size: int

    @classmethod
    def make(cls, keys, counts, size, discount):
        contexts, counts = keys // size, counts.astype(np.float64)
        lost = np.minimum(_discounts(counts, discount)[np.minimum(counts, 3).astype(int)], counts)
        totals = np.bincount(contexts, counts)
        safe = np.where(totals > 0, totals, 1)
        left = np.where(totals > 0, np.bincount(contexts, lost) / safe, 1.0)
        return cls(keys, (counts - lost) / safe[contexts], left, size)

    def find(self, keys):
        """Place of each key, -1 where it was never seen."""
        place = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[place] == keys, place, -1)

    def mix(self, lower, contexts, nodes):
        """p_k from p_(k-1); an unseen run in front leaves it as it is."""
        known = (contexts >= 0) & (contexts < len(self.left))
        left = np.where(known, self.left[np.where(known, contexts, 0)], 1.0)
        return left * lower + np.where(nodes >= 0, self.share[nodes], 0.0)

    def mix_all(self, lower, context):
        """``mix`` for every token after one run, in place."""
        if not 0 <= context < len(self.left):
            return
        low, high = np.searchsorted(self.keys, [context * self.size, (context + 1) * self.size])
        lower *= self.left[context]
        lower[self.keys[low:high] - context * self.size] += self.share[low:high]


def _discounts(counts, discount):
    """[4] what counts of zero, one, two, and three or more lose (Chen & Goodman, 1999, sec. 3)."""
    if discount is not None:
        return np.array([0, discount, discount, discount])
    n = np.bincount(np.minimum(counts, 5).astype(int), minlength=6)
    if not n[1:5].all():  # too few runs to tell three discounts apart
        return np.array([0.0, *[n[1] / (n[1] + 2 * n[2]) if n[1] else 0.5] * 3])
    share = n[1] / (n[1] + 2 * n[2])
    return np.array([0, *(k - (k + 1) * share * n[k + 1] / n[k] for k in (1, 2, 3))]).clip(0)


def _before(nodes):
    """[N, T] the entry one step earlier; the first step, START, has itself before it."""
    return np.concatenate([nodes[:, :1], nodes[:, :-1]], axis=1)


def _checked(token_ids):
    rows = np.asarray(token_ids)
    if rows.ndim != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise CourseError(f"Give rows of ids [N, T], whole numbers, not {rows.dtype} of shape {list(rows.shape)}.")
    return rows.astype(np.int64)
