"""GPT-2 once more, in plain NumPy and float64, to compare with: one row at a time, one token at a time, no cache.

Weights are a dictionary with the names of a released checkpoint (``h.0.attn.c_attn.weight``, matrices [in, out]).
"""

import numpy as np
from scipy.special import softmax


def weights_of(model):
    """The weights of a ``GPT2`` under the names of a released checkpoint."""
    take = lambda variable: np.asarray(variable.numpy() if hasattr(variable, "numpy") else variable, "float64")  # noqa: E731
    found = {
        "wte.weight": take(model.token_embedding.embeddings),
        "wpe.weight": take(model.position_embedding.embeddings),
    }

    def norm(name, layer):
        found[f"{name}.weight"], found[f"{name}.bias"] = take(layer.gamma), take(layer.beta)

    def dense(name, *layers):
        found[f"{name}.weight"] = np.concatenate([take(layer.kernel) for layer in layers], axis=1)
        found[f"{name}.bias"] = np.concatenate([take(layer.bias) for layer in layers])

    for number, block in enumerate(model.blocks):
        norm(f"h.{number}.ln_1", block.attention_norm)
        norm(f"h.{number}.ln_2", block.feed_forward_norm)
        dense(f"h.{number}.attn.c_attn", block.attention.query, block.attention.key, block.attention.value)
        dense(f"h.{number}.attn.c_proj", block.attention.output_projection)
        dense(f"h.{number}.mlp.c_fc", block.feed_forward.widen)
        dense(f"h.{number}.mlp.c_proj", block.feed_forward.narrow)
    norm("ln_f", model.norm)
    return found


def logits(weights, ids, num_heads, epsilon=1e-5):  # [T] -> [T, V]
    """Logits of every step of one row."""
    part = lambda name: (weights[f"{name}.weight"], weights[f"{name}.bias"])  # noqa: E731
    x = weights["wte.weight"][ids] + weights["wpe.weight"][: len(ids)]
    for number in range(sum(name.endswith("ln_1.weight") for name in weights)):
        h = f"h.{number}"
        queries, keys, values = np.split(
            _dense(_norm(x, *part(f"{h}.ln_1"), epsilon), *part(f"{h}.attn.c_attn")), 3, -1
        )
        x = x + _dense(_attention(queries, keys, values, num_heads), *part(f"{h}.attn.c_proj"))
        wide = _gelu(_dense(_norm(x, *part(f"{h}.ln_2"), epsilon), *part(f"{h}.mlp.c_fc")))
        x = x + _dense(wide, *part(f"{h}.mlp.c_proj"))
    return _norm(x, *part("ln_f"), epsilon) @ weights["wte.weight"].T


def write(weights, prompt, columns, context, num_heads, choose, end_id=None):
    """A row of ``columns`` tokens, written by the rules of ``GPT2.generate``; -1 in the prompt is left open.

    ``choose(logits, tokens read, column)`` gives the next token.
    """
    row, half = [int(prompt[0])], max(context // 2, 1)
    while len(row) < columns:
        at = len(row)
        given = int(prompt[at]) if at < len(prompt) else -1
        if given < 0:
            start = next(s for s in range(0, at, half) if at - s <= context)
            given = choose(logits(weights, row[start:], num_heads)[-1], row[start:], at)
        row.append(int(given))
        if end_id is not None and row[-1] == end_id and at >= len(prompt):
            break
    return row


def chooser(chance=None, temperature=1.0, top_k=None, top_p=None, penalty=1.0, forbidden=()):
    """The next token by hand; ``chance`` [columns] are the random numbers of the row, None for the best token."""

    def choose(scores, read, at):
        scores = scores.copy()
        scores[list(forbidden)] = -np.inf
        for token in set(read):
            scores[token] = scores[token] / penalty if scores[token] > 0 else scores[token] * penalty
        if chance is None:
            return scores.argmax()
        scores = scores / temperature
        ranked = np.sort(scores)[::-1]
        if top_k is not None:
            scores[scores < ranked[top_k - 1]] = -np.inf
            ranked = np.sort(scores)[::-1]
        if top_p is not None:
            kept = 1 + int((np.cumsum(softmax(ranked)) < top_p).sum())
            scores[scores < ranked[kept - 1]] = -np.inf
        return int((np.cumsum(softmax(scores)) <= chance[at]).sum())

    return choose


def _dense(x, matrix, bias):
    return x @ matrix + bias


def _norm(x, gain, bias, epsilon):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + epsilon) * gain + bias


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _attention(queries, keys, values, num_heads):
    """Each head by itself, each step by itself."""
    width = queries.shape[-1] // num_heads
    found = np.zeros_like(queries)
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        for step in range(len(queries)):
            scores = keys[: step + 1, part] @ queries[step, part] / np.sqrt(width)
            found[step, part] = softmax(scores) @ values[: step + 1, part]
    return found
