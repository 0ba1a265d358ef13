"""Writing token by token with a ``GPT2``: one compiled loop, with a cache of keys and values or without.

Columns: every row begins in column 0, and column t is written for all rows at once; where a prompt holds a token it is
kept. The window that is read when the context is full is described in ``GPT2.generate``.

Shapes: B rows, W width of the window, V vocabulary, N columns.   Taught in chapters/10_gpt2.
"""

import numpy as np
from keras import ops

from aigc_course.attention import NEVER
from aigc_course.compiled import CompiledFunctions
from aigc_course.sampling import chances, choose

OPEN = -1  # a token that is left to the model
SHORTEST = 16  # a shorter beginning is read step by step, like what is written; else at once
ROOM = 64  # columns by which a large cache grows: every step reads all of it, and each size is compiled for itself
LARGE = 2**18  # numbers in ``ROOM`` columns of a block's keys from which a cache is large


class Writing(CompiledFunctions):
    """The compiled functions of one model, made when first needed, and the loop over windows."""

    def next_logits(self, token_ids):  # [B, T] -> [B, V]
        """Logits behind the rows; padded to one of few widths, so that few are compiled."""
        length = token_ids.shape[1]
        padded = np.zeros((len(token_ids), _size(length, self.model.config.context_length)), "int32")
        padded[:, :length] = token_ids
        function = self.get("next", lambda ids, at: _uncached(self.model, ids, at))
        return ops.convert_to_numpy(function(padded, np.int32(length - 1)))

    def write(self, token_ids, max_new_tokens, sampler, seed, cached, end_id, forbidden, every=None):
        """Yield the rows after every ``every`` columns (None: once, at the end)."""
        if not 0 <= max_new_tokens < np.inf or max_new_tokens != int(max_new_tokens):
            raise ValueError(f"max_new_tokens is a whole number from 0 on, not {max_new_tokens}.")
        if every is not None and (not 1 <= every < np.inf or every != int(every)):
            raise ValueError(f"every is a whole number from 1 on, not {every}.")
        vocabulary_size = self.model.config.vocabulary_size
        if end_id is not None and end_id not in range(vocabulary_size):
            raise ValueError(f"end_id lies in 0 to {vocabulary_size - 1}, or is None; it is {end_id!r}.")
        sheet = _Sheet(_prompts(token_ids, vocabulary_size), int(max_new_tokens), end_id, seed)
        banned = _banned(forbidden, vocabulary_size)
        settings = (bool(cached), sampler.kind, sampler.numbers, banned)
        at = sheet.first
        while at < sheet.columns and not sheet.finished(at):
            at = yield from self._fill_window(sheet, at, settings, every)
        yield sheet.rows(sheet.columns)

    def _fill_window(self, sheet, at, settings, every):
        """Write columns from ``at`` on as far as one window goes; returns the next column."""
        cached, kind, numbers, banned = settings
        context = self.model.config.context_length
        start = window_start(at, context)
        width = _size(min(context, sheet.columns - start), context)
        stop = min(sheet.columns, start + context + 1)  # the column behind a full window can still be predicted
        ids, known, chance = sheet.window(start, width + 1)
        rooms = self._rooms(sheet.size, at - start, width) if cached else [width]
        cache, begin = self._cache(ids[:, : at - start], rooms[0]) if cached else ([], at - start - 1)
        function = self.get((cached, kind, width), lambda *args: _advance(self.model, kind, *args))
        ended, goal = sheet.ended, 0
        while True:
            if at >= goal:
                goal = stop if every is None else min(stop, max(at, start + begin + 1) + every)
            if begin >= rooms[0]:
                cache = [_widened(part, rooms[1]) for part in cache]
                rooms = rooms[1:]
            until = min(goal, start + rooms[0] + 1)
            ids, ended, *cache = function(
                ids, known, chance, ended, np.int32(begin), np.int32(until - start - 1), numbers, banned,
                np.int32(-1 if sheet.end_id is None else sheet.end_id), sheet.lengths - np.int32(start), *cache,
            )  # fmt: skip
            begin, at = until - start - 1, until
            sheet.take(ids, ended, start, until)
            if sheet.finished(until):
                return at
            if every is not None and until == goal:
                yield sheet.rows(until)
            if until >= stop:
                return at

    def _rooms(self, rows, length, width):
        """The sizes of the cache, one after the other: room for ``length`` columns at first, for ``width`` at last."""
        if rows * self.model.config.hidden_dim * ROOM < LARGE:
            return [width]
        return [room for room in range(ROOM, width - ROOM // 2, ROOM) if room >= length] + [width]

    def _cache(self, known, room):
        """Keys and values of the known columns, and the column to go on from: few are read step by step from the first,
        many at once."""
        length = known.shape[1]
        if length <= SHORTEST:
            return self.model.empty_cache(len(known), room), 0
        padded = np.zeros((len(known), _size(length, room)), "int32")
        padded[:, :length] = known
        return self.get(("read", room), lambda ids: self.model.filled_cache(ids, room))(padded), length - 1


def _widened(part, room):  # [B, H, R, D/H] -> [B, H, room, D/H]
    """Keys or values of a block, with zeros behind them."""
    return ops.pad(part, ((0, 0), (0, 0), (0, room - part.shape[2]), (0, 0)))


def window_start(at, context):
    """First column that is read to predict column ``at``."""
    half = max(context // 2, 1)
    return max(0, -(-(at - context) // half)) * half


def _size(length, largest):
    """``length`` rounded up to a power of two, at most ``largest``: so few shapes are compiled."""
    return min(max(SHORTEST, 1 << max(length - 1, 0).bit_length()), largest)


class _Sheet:
    """All columns of a batch: what is given, what was written, and the random numbers."""

    def __init__(self, prompts, max_new_tokens, end_id, seed):
        self.asked, self.end_id = len(prompts), end_id
        self.size = 1 << (len(prompts) - 1).bit_length()  # rows in one of few numbers
        prompts = prompts + [prompts[0]] * (self.size - len(prompts))
        self.lengths = np.array([len(row) for row in prompts], "int32")
        self.columns = int(self.lengths.max()) + max_new_tokens
        self.ends = self.lengths + max_new_tokens
        self.ids = np.full((self.size, self.columns), OPEN, "int32")
        for row, prompt in zip(self.ids, prompts, strict=True):
            row[: len(prompt)] = prompt
        self.chance = chances(seed, self.size, self.columns).T
        self.ended = np.zeros(self.size, "bool")
        self.first = int((self.ids != OPEN).cumprod(axis=1).sum(axis=1).min())
        missing = (self.ids == OPEN) & (np.arange(self.columns) < self.ends[:, None])
        self.full = (missing * np.arange(1, self.columns + 1)).max(axis=1)  # columns up to the last one to write

    def window(self, start, width):
        """Ids, what is known of them and the random numbers of ``width`` columns; behind the last one all is open."""
        part = slice(start, start + width)
        missing = width - self.ids[:, part].shape[1]
        ids = np.pad(self.ids[:, part], ((0, 0), (0, missing)), constant_values=OPEN)
        return np.maximum(ids, 0), ids != OPEN, np.pad(self.chance[part], ((0, missing), (0, 0)))

    def take(self, ids, ended, start, until):
        """Keep the columns before ``until`` of a window."""
        self.ids[:, start:until] = ops.convert_to_numpy(ids)[:, : until - start]
        self.ended = np.array(ops.convert_to_numpy(ended))

    def finished(self, at):
        """True if no row has anything left to write from column ``at`` on."""
        return bool(np.all(self.ended | (self.full <= at)))

    def rows(self, until):
        """The rows as they are, without what lies behind their end."""
        return [self._row(number, until) for number in range(self.asked)]

    def _row(self, number, until):
        row = self.ids[number, : min(until, self.ends[number])]
        behind = row[self.lengths[number] :]
        if self.end_id is not None and (behind == self.end_id).any():
            return row[: self.lengths[number] + int(np.argmax(behind == self.end_id)) + 1].copy()
        return row.copy()


def _prompts(token_ids, vocabulary_size):
    """The prompts as a list of int32 rows."""
    rows = [np.asarray(row) for row in token_ids]
    if not rows or any(row.ndim != 1 or not row.size for row in rows):
        raise ValueError("Pass one prompt or more, each a row of one token or more.")
    if any(row.dtype.kind not in "iu" for row in rows):
        raise ValueError("Token ids are whole numbers.")
    if any(row[0] < 0 or row.min() < OPEN or row.max() >= vocabulary_size for row in rows):
        raise ValueError(f"Token ids lie in 0 to {vocabulary_size - 1}; -1 leaves one open, but not the first.")
    return [row.astype("int32") for row in rows]


def _banned(forbidden, vocabulary_size):  # -> [V]
    """True for the ids that are never written."""
    forbidden = np.unique(np.asarray(list(forbidden) or [], "int64"))
    if forbidden.size and not 0 <= forbidden[0] <= forbidden[-1] < vocabulary_size:
        raise ValueError(f"Forbidden ids lie in 0 to {vocabulary_size - 1}.")
    if len(forbidden) == vocabulary_size:
        raise ValueError("All ids are forbidden: nothing is left to write.")
    banned = np.zeros(vocabulary_size, "bool")
    banned[forbidden] = True
    return banned


def _uncached(model, ids, at):  # [B, W], [] -> [B, V]
    """Logits behind column ``at``, reading all columns; those behind it are hidden by the causal mask."""
    hidden = ops.take(model.hidden(ids), ops.reshape(at, (1,)), axis=1)
    return model.to_logits(hidden[:, 0])


def _advance(model, kind, ids, known, chance, ended, begin, stop, numbers, banned, end_id, lengths, *cache):
    """Fill the columns ``begin + 1`` to ``stop`` of a window [B, W + 1]; ``lengths``: where the prompts end in it."""
    penalised, cached = kind[3], bool(cache)
    vocabulary_size = model.config.vocabulary_size
    ids, known, chance, banned, lengths = map(ops.convert_to_tensor, (ids, known, chance, banned, lengths))
    columns = ops.arange(ids.shape[1], dtype="int32")

    def column(table, at):
        return ops.squeeze(ops.take(table, ops.reshape(at, (1,)), axis=1), 1)

    def unfinished(at, ids, ended, seen, *cache):
        return ops.logical_and(at < stop, ops.logical_not(ops.all(ended)))

    def body(at, ids, ended, seen, *cache):
        if cached:
            logits, cache = model.step(column(ids, at), list(cache), at)
        else:
            logits = _uncached(model, ids[:, :-1], at)
        # Not by adding: XLA would make one loop of product and sum, which reads the table at half the speed.
        allowed = ops.where(banned, NEVER, logits)
        chosen = choose(allowed, column(ops.transpose(chance), at + 1), kind, numbers, seen)
        token = ops.where(column(known, at + 1), column(ids, at + 1), chosen)
        ended = ops.logical_or(ended, ops.logical_and(token == end_id, at + 1 >= lengths))
        if penalised:
            seen = ops.maximum(seen, ops.one_hot(token, vocabulary_size))
        return (at + 1, ops.slice_update(ids, (0, at + 1), token[:, None]), ended, seen, *cache)

    seen = ops.zeros((ids.shape[0], 1))
    if penalised:
        read = ops.cast(columns <= begin, "float32")[None, :, None]
        seen = ops.max(ops.one_hot(ids, vocabulary_size) * read, axis=1)
    start = (ops.convert_to_tensor(begin), ids, ops.convert_to_tensor(ended), seen, *cache)
    _, ids, ended, _, *cache = ops.while_loop(unfinished, body, start)
    return ids, ended, *cache
