"""Writing token by token with a ``WaveNet``: one compiled loop, with a queue for each layer or without.

A table holds all columns of a batch, one row for each: row i is column i of what is written or, where the model has a
``start_id``, row 0 is that token and row i is column i - 1. Every piece begins at the first row, and a row is written
for the whole batch at once; where a token is known it is kept.

Shapes: B batch, N rows of the table, F features of a condition, V classes, W receptive field (or N, if that is less).
Taught in chapters/07_wavenet.
"""

import numpy as np
from keras import ops

from aigc_course.compiled import CompiledFunctions, get_row, put_row
from aigc_course.sampling import chances, choose

OPEN = -1  # a token that is left to the model
SHORTEST = 16  # a shorter beginning is read step by step, like what is written; else at once


class Writing(CompiledFunctions):
    """The compiled functions of one model, made when first needed."""

    def next_logits(self, token_ids, conditions):  # [B, T], [B, T + 1, F] or None -> [B, V]
        """Logits behind the rows; padded to one of few widths, so that few are compiled."""
        table = _Table(self.model, list(token_ids), 1, 0, conditions, None)
        last = table.rows - 2  # the token before the open one
        window, at, shown = _window(self.model, table.ids, table.conditions, last)
        function = self.get("next", lambda ids, at, *shown: _uncached(self.model, ids, at, *shown))
        return ops.convert_to_numpy(function(window, at, *shown))[: table.asked]

    def write(self, prompt, num_steps, sampler, cached, seed, conditions, given, every=None):
        """Yield the rows after every ``every`` columns (None: once, at the end)."""
        if every is not None and (not 1 <= every < np.inf or every != int(every)):
            raise ValueError(f"every is a whole number from 1 on, not {every}.")
        table = _Table(self.model, _prompts(self.model, prompt), num_steps, seed, conditions, given)
        at, kind = table.first, sampler.kind
        if at < table.stop:
            queues, begin = self._queues(table, at) if cached else ([], at - 1)
            seen = _seen(table.ids, at, self.model.num_classes if kind[3] else 0)
            function = self.get((bool(cached), kind), lambda *args: _advance(self.model, kind, *args))
            ids, constants = table.ids, (table.known, table.chance, *table.conditions)
            while at < table.stop:
                at = table.stop if every is None else min(table.stop, at + int(every))
                ids, seen, *queues = function(
                    np.int32(begin), np.int32(at - 1), sampler.numbers, constants, ids, seen, *queues
                )
                begin = at - 1
                table.take(ids, at)
                if every is not None and at < table.stop:
                    yield table.pieces(at)
        yield table.pieces(table.rows)

    def _queues(self, table, length):
        """Queues of the known rows, and the row to go on from: few are read step by step from the first, many at once,
        and of those no more than the receptive field needs."""
        if length <= SHORTEST:
            return self.model.empty_queues(table.ids.shape[1]), 0
        window, last, shown = _window(self.model, table.ids, table.conditions, length - 1)
        read = lambda last, at, ids, conditions=None: self.model.filled_queues(ids, conditions, last, at)  # noqa: E731
        return self.get("read", read)(last, np.int32(length - 1), window, *shown), length - 1


def _window(model, ids, conditions, last):
    """What the model has to read for row ``last``: ids [B, W'], the place of ``last`` in them and, if any, conditions
    [B, W', F] of the rows that are scored; W' is one of few numbers."""
    width = min(_size(min(last + 1, model.receptive_field)), len(ids) - 1)
    start = max(0, last + 1 - width)
    shown = [part[start + 1 : start + 1 + width].transpose(1, 0, 2) for part in conditions]
    return np.ascontiguousarray(ids[start : start + width].T), np.int32(last - start), shown


def _size(length):
    """``length`` rounded up to a power of two, so that few shapes are compiled."""
    return max(SHORTEST, 1 << max(length - 1, 0).bit_length())


class _Table:
    """All columns of a batch: what is given, what was written, conditions and random numbers."""

    def __init__(self, model, prompts, num_steps, seed, conditions, given):
        if not 0 <= num_steps < np.inf or num_steps != int(num_steps):
            raise ValueError(f"num_steps is a whole number from 0 on, not {num_steps}.")
        self.asked, self.before = len(prompts), 0 if model.start_id is None else 1
        lengths = np.array([len(row) for row in prompts])
        self.ends = lengths + int(num_steps)
        columns = int(self.ends.max())
        ids = np.full((self.asked, columns), OPEN, "int32") if given is None else _given(given, columns, prompts, model)
        for row, prompt in zip(ids, prompts, strict=True):
            row[: len(prompt)] = prompt
        chance = chances(seed, self.asked, columns)
        open_columns = np.flatnonzero(((ids == OPEN) & (np.arange(columns) < self.ends[:, None])).any(axis=0))
        self.rows = columns + self.before  # of the table that are asked for; the rest fills it up
        self.first = self.before + int(open_columns[0] if len(open_columns) else columns)  # row to write first
        self.stop = self.before + int(open_columns[-1] + 1 if len(open_columns) else columns)
        ids = np.pad(ids, ((0, 0), (self.before, 0)), constant_values=model.start_id or 0)
        shape = (_size(self.rows + 1), 1 << (self.asked - 1).bit_length())
        self.ids = _laid(ids, shape, OPEN)
        self.known = self.ids != OPEN
        self.ids = np.maximum(self.ids, 0)
        self.chance = _laid(np.pad(chance, ((0, 0), (self.before, 0))), shape)
        self.conditions = _conditions(model, conditions, self.asked, columns, self.before, shape)

    def take(self, ids, until):
        """Keep the rows before ``until``."""
        self.ids[:until] = ops.convert_to_numpy(ids)[:until]

    def pieces(self, until):
        """The pieces as they are before row ``until`` of the table."""
        until -= self.before
        return [self.ids[self.before :, row][: min(until, end)].copy() for row, end in enumerate(self.ends)]


def _laid(rows, shape, filler=0):  # [B, n, ...] -> [N, B', ...]
    """The table of ``shape`` in which rows are columns; the rows that are too many repeat the first."""
    rows = np.concatenate([rows, np.repeat(rows[:1], shape[1] - len(rows), axis=0)]).swapaxes(0, 1)
    width = [(0, shape[0] - len(rows))] + [(0, 0)] * (rows.ndim - 1)
    return np.ascontiguousarray(np.pad(rows, width, constant_values=filler))


def _conditions(model, conditions, rows, columns, before, shape):
    """A list of one table [N, B, F], or of none."""
    if model.condition_dim == 0 and conditions is None:
        return []
    if model.condition_dim == 0:
        raise ValueError("This WaveNet was built without conditions (condition_dim=0), but was given some.")
    wanted = f"[{rows}, {columns} or more, {model.condition_dim}]"
    if conditions is None:
        raise ValueError(f"This WaveNet needs conditions {wanted}.")
    conditions = np.asarray(conditions, "float32")
    fits = conditions.ndim == 3 and (len(conditions), conditions.shape[2]) == (rows, model.condition_dim)
    if not fits or conditions.shape[1] < columns:
        raise ValueError(f"Conditions are {wanted} here, not {conditions.shape}.")
    return [_laid(np.pad(conditions[:, :columns], ((0, 0), (before, 0), (0, 0))), shape)]


def _prompts(model, prompt):
    """The prompts as a list of int32 rows."""
    rows = [np.asarray(row) for row in prompt]
    if not rows or any(row.ndim != 1 for row in rows):
        raise ValueError("Pass one prompt or more, each a row of ids.")
    if model.start_id is None and not all(row.size for row in rows):
        raise ValueError("An empty prompt needs a model with a start_id; this one has none: pass one token or more.")
    if any(row.size and row.dtype.kind not in "iu" for row in rows):
        raise ValueError("Token ids are whole numbers.")
    for row in rows:
        wrong = (row < 0) | (row >= model.num_classes)
        if wrong.any():
            raise ValueError(f"Token ids lie in 0 to {model.num_classes - 1}; {row[wrong][0]} does not.")
    return [row.astype("int32") for row in rows]


def _given(given, columns, prompts, model):
    """Given tokens as int32 [B, columns]; ValueError where they do not fit or contradict a prompt."""
    given = np.asarray(given)
    if given.shape != (len(prompts), columns) or given.dtype.kind not in "iu":
        raise ValueError(
            f"Given tokens are whole numbers [{len(prompts)}, {columns}] here, not {given.dtype} {given.shape}."
        )
    wrong = (given < OPEN) | (given >= model.num_classes)
    if wrong.any():
        raise ValueError(f"Given tokens lie in 0 to {model.num_classes - 1}, or are -1; {given[wrong][0]} is not.")
    for number, (row, prompt) in enumerate(zip(given, prompts, strict=True)):
        told = row[: len(prompt)]
        if ((told != OPEN) & (told != prompt)).any():
            raise ValueError(f"Row {number}: the given tokens contradict the prompt.")
    return given.astype("int32").copy()


def _seen(ids, rows, num_classes):  # [N, B] -> [B, V]
    """1 for every class that is in the first ``rows`` rows; with ``num_classes`` 0 there is nothing to note."""
    found = np.zeros((ids.shape[1], num_classes), "float32")
    if num_classes:
        found[np.arange(ids.shape[1]), ids[:rows]] = 1
    return found


def _rows(table, start, count):  # [N, B, ...], [] -> [B, count, ...]
    part = ops.slice(table, (start, *[0] * (len(table.shape) - 1)), (count, *table.shape[1:]))
    return ops.swapaxes(part, 0, 1)


def _uncached(model, ids, at, conditions=None):  # [B, W], [], [B, W, F] -> [B, V]
    """Logits of row ``at``, reading all columns; those behind it are not seen."""
    return model.to_logits(get_row(ops.swapaxes(model.skips(model.embed(ids), conditions), 0, 1), at))


def _advance(model, kind, begin, stop, numbers, constants, ids, seen, *queues):
    """Fill the rows ``begin + 1`` to ``stop`` of the table ``ids`` [N, B].

    The cached loop reads from row ``begin`` on, which may lie before the first open row; ``seen`` is [B, V] where the
    sampler asks for it.
    """
    known, chance, *conditions = map(ops.convert_to_tensor, constants)
    ids, cached = ops.convert_to_tensor(ids), bool(queues)
    width = min(model.receptive_field, ids.shape[0] - 1)

    def logits_of(at, ids, queues):
        if cached:
            coming = get_row(conditions[0], at + 1) if conditions else None
            return model.step(get_row(ids, at), coming, list(queues), at)
        start = ops.maximum(at + 1 - width, 0)
        shown = [_rows(part, start + 1, width) for part in conditions]
        return _uncached(model, _rows(ids, start, width), at - start, *shown), []

    def body(at, ids, seen, *queues):
        logits, queues = logits_of(at, ids, queues)
        chosen = choose(logits, get_row(chance, at + 1), kind, numbers, seen)
        token = ops.where(get_row(known, at + 1), get_row(ids, at + 1), chosen)
        if kind[3]:
            seen = ops.maximum(seen, ops.one_hot(token, model.num_classes))
        return (at + 1, put_row(ids, at + 1, token), seen, *queues)

    start = (ops.convert_to_tensor(begin), ids, ops.convert_to_tensor(seen), *queues)
    return ops.while_loop(lambda at, *_: at < stop, body, start)[1:]
