"""GPT-2 of the course: Shakespeare by characters against a plain PyTorch GPT, and tokens a second against Hugging Face.

Usage: python -m benchmarks.gpt --text tinyshakespeare.txt [--large] [--training-only] [--generation-only]

1. Training. 4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps (nanoGPT's setting for a CPU): nats a
   character on the last tenth of the text, in windows of 64, and seconds; the same network, crops, optimiser and
   learning rate written plainly in PyTorch in the same run. ``--large``, for a GPU: 6 layers, 6 heads, width 384,
   context 256, batch 64, 5,000 steps, dropout 0.2.
2. Generation. Tokens a second, greedy, random weights: ours on each backend, Hugging Face's ``generate``, KerasHub's,
   round by round; and the bytes of the weights that are read in a second, beside the bytes a second that one thread
   copies: where the weights do not fit into the cache, reading them is what a step at batch 1 waits for.

PyTorch, transformers and keras-hub are used where they are installed; what is missing is said and left out.
"""

import argparse
import importlib.util
import os
import time
from pathlib import Path

import numpy as np

from benchmarks.side_by_side import measure

SMALL = {"num_layers": 4, "num_heads": 4, "hidden_dim": 128, "context_length": 64, "dropout": 0.0}
LARGE = {"num_layers": 6, "num_heads": 6, "hidden_dim": 384, "context_length": 256, "dropout": 0.2}
RUNS = {"small": {"batch": 12, "steps": 2000, "peak": 1.3e-2}, "large": {"batch": 64, "steps": 5000, "peak": 1e-3}}
WARMUP = 100
# vocabulary, context, layers, heads, width; new tokens
SHAPES = {"small": (4096, 256, 4, 8, 256, 200), "124M": (50257, 1024, 12, 12, 768, 60)}


def read_text(path):
    """Ids of the first nine tenths and of the rest, and the number of different characters."""
    text = Path(path).read_text(encoding="utf-8")
    alphabet = {character: number for number, character in enumerate(sorted(set(text)))}
    token_ids = np.array([alphabet[character] for character in text], "int32")
    return token_ids[: len(text) * 9 // 10], token_ids[len(text) * 9 // 10 :], len(alphabet)


def crops(token_ids, length, batch, steps, seed):
    """Random pieces of ``length + 1`` tokens, [steps * batch, length + 1]."""
    starts = np.random.default_rng(seed).integers(0, len(token_ids) - length, steps * batch)
    return token_ids[starts[:, None] + np.arange(length + 1)]


def windows(token_ids, length):
    """The text cut into pieces of ``length + 1`` tokens that share their ends, [N, length + 1]."""
    starts = np.arange(0, len(token_ids) - length, length)
    return token_ids[starts[:, None] + np.arange(length + 1)]


# ---------------------------------------------------------------------------------------------------- training


def train_ours(train, held_out, vocabulary_size, sizes, run, seed):
    """Nats a character on ``held_out`` and seconds of training, compiling included."""
    import keras

    from aigc_course import recipes
    from aigc_course.gpt2 import GPT2, GPT2Config, shifted

    keras.utils.set_random_seed(seed)
    model = GPT2(GPT2Config(vocabulary_size, **sizes), seed=seed)
    length = sizes["context_length"]
    model.compile(recipes.transformer_optimizer(run["steps"], run["peak"], WARMUP))
    data = shifted(crops(train, length, run["batch"], run["steps"], seed))
    start = time.perf_counter()
    model.fit(*data, batch_size=run["batch"], shuffle=False, verbose=0)
    seconds = time.perf_counter() - start
    return -float(model.log_probabilities(windows(held_out, length)).mean(dtype="float64")), seconds


def plain_torch_gpt(vocabulary_size, num_layers, num_heads, hidden_dim, context_length, dropout):
    """The same network from PyTorch's own parts."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(hidden_dim) for _ in range(2)])
            self.qkv, self.out = nn.Linear(hidden_dim, 3 * hidden_dim), nn.Linear(hidden_dim, hidden_dim)
            self.wide, self.narrow = nn.Linear(hidden_dim, 4 * hidden_dim), nn.Linear(4 * hidden_dim, hidden_dim)
            self.drop = nn.Dropout(dropout)

        def forward(self, x):
            rows, steps, _ = x.shape
            parts = self.qkv(self.norms[0](x)).view(rows, steps, 3, num_heads, -1).permute(2, 0, 3, 1, 4)
            found = functional.scaled_dot_product_attention(*parts, is_causal=True)
            x = x + self.drop(self.out(found.transpose(1, 2).reshape(rows, steps, -1)))
            return x + self.drop(self.narrow(functional.gelu(self.wide(self.norms[1](x)), approximate="tanh")))

    class PlainGPT(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens = nn.Embedding(vocabulary_size, hidden_dim)
            self.positions = nn.Embedding(context_length, hidden_dim)
            self.blocks, self.norm = nn.ModuleList([Block() for _ in range(num_layers)]), nn.LayerNorm(hidden_dim)
            self.drop = nn.Dropout(dropout)
            for name, weight in self.named_parameters():
                if weight.dim() == 2:
                    last = name.endswith(("out.weight", "narrow.weight"))
                    nn.init.normal_(weight, std=0.02 / ((2 * num_layers) ** 0.5 if last else 1))
                elif name.endswith("bias"):
                    nn.init.zeros_(weight)

        def forward(self, token_ids):
            x = self.tokens(token_ids) + self.positions(torch.arange(token_ids.shape[1], device=token_ids.device))
            x = self.drop(x)
            for block in self.blocks:
                x = block(x)
            return self.norm(x) @ self.tokens.weight.T

    return PlainGPT()


def train_torch(train, held_out, vocabulary_size, sizes, run, seed):
    """As ``train_ours``, by a plain loop in PyTorch."""
    import torch
    from torch.nn import functional

    torch.manual_seed(seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = plain_torch_gpt(vocabulary_size, **sizes).to(device)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-7, weight_decay=0.1)
    steps, length = run["steps"], sizes["context_length"]
    pieces = torch.tensor(crops(train, length, run["batch"], steps, seed), dtype=torch.long)

    def loss_of(rows):
        logits = model(rows[:, :-1])
        return functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())

    start = time.perf_counter()
    for step in range(steps):
        done = max(step - WARMUP, 0) / (steps - WARMUP)
        rate = min(step / WARMUP, 0.02 + 0.98 * (1 + np.cos(np.pi * done)) / 2) * run["peak"]
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss = loss_of(pieces[step * run["batch"] : (step + 1) * run["batch"]].to(device))
        optimiser.zero_grad()
        loss.backward()
        for weight in model.parameters():  # each by itself, as Keras' clipnorm
            torch.nn.utils.clip_grad_norm_(weight, 1.0)
        optimiser.step()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    model.eval()
    rows = torch.tensor(windows(held_out, length), dtype=torch.long)
    with torch.no_grad():
        found = [float(loss_of(part.to(device))) * len(part) for part in rows.split(256)]
    return sum(found) / len(rows), seconds


def compare_training(path, name, seeds):
    """Print nats a character and seconds for every seed."""
    sizes, run = (LARGE if name == "large" else SMALL), RUNS[name]
    data = read_text(path)
    contenders = {"aigc_course": train_ours}
    if importlib.util.find_spec("torch"):
        contenders["plain PyTorch"] = train_torch
    print(f"{'training':18} {'seed':>4} {'nats a character':>17} {'seconds':>8}")
    for seed in range(seeds):
        for contender, train in contenders.items():
            nats, seconds = train(*data, sizes, run, seed)
            print(f"{contender:18} {seed:4} {nats:17.3f} {seconds:8.0f}", flush=True)


# ---------------------------------------------------------------------------------------------------- generation


def _asked():
    shape, batch = os.environ["GPT_BENCHMARK"].split("-")
    return SHAPES[shape], int(batch)


def generate_ours():
    """Contender: the course's cached loop."""
    from aigc_course.gpt2 import GPT2, GPT2Config

    (*sizes, new), batch = _asked()
    model = GPT2(GPT2Config(*sizes))
    return lambda: model.generate(np.ones((batch, 1), "int32"), new)


def generate_hugging_face():
    """Contender: ``transformers``' generate, cached."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    ((vocabulary_size, context, layers, heads, width, new), batch) = _asked()
    config = GPT2Config(
        vocab_size=vocabulary_size, n_positions=context, n_layer=layers, n_head=heads, n_embd=width,
        bos_token_id=1, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    prompt = torch.ones((batch, 1), dtype=torch.long)

    def run():
        with torch.no_grad():
            found = model.generate(
                prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=new, min_new_tokens=new,
                do_sample=False, use_cache=True,
            )  # fmt: skip
        assert found.shape == (batch, 1 + new)

    return run


def generate_keras_hub():
    """Contender: KerasHub's GPT2CausalLM, cached and compiled."""
    import keras_hub

    ((vocabulary_size, context, layers, heads, width, new), batch) = _asked()
    backbone = keras_hub.models.GPT2Backbone(
        vocabulary_size=vocabulary_size, num_layers=layers, num_heads=heads, hidden_dim=width,
        intermediate_dim=4 * width, max_sequence_length=context, dropout=0.0,
    )  # fmt: skip
    model = keras_hub.models.GPT2CausalLM(backbone, preprocessor=None)
    model.compile(sampler="greedy")
    length = 1 + new
    inputs = {
        "token_ids": np.ones((batch, length), "int32"),
        "padding_mask": np.repeat(np.arange(length)[None] < 1, batch, axis=0).astype("int32"),
    }
    return lambda: model.generate(inputs, stop_token_ids=None)


def copy_speed(megabytes=1024, rounds=5):
    """Bytes a second that one thread reads and writes when it copies memory: the best of some rounds."""
    source = np.ones(megabytes * 2**17)
    target = np.empty_like(source)
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(seconds)


def weight_bytes(shape):
    """Bytes that a step has to read: all blocks and the table of tokens, in float32."""
    vocabulary_size, _, layers, _, width, _ = SHAPES[shape]
    return 4 * (layers * (12 * width**2 + 13 * width) + 2 * width + vocabulary_size * width)


def contenders_for(shape, batch):
    """Every way to generate that is installed here."""
    asked = {"GPT_BENCHMARK": f"{shape}-{batch}"}
    backends = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}
    here = [name for name, package in backends.items() if importlib.util.find_spec(package)]
    found = {f"aigc_course on {name}": ("benchmarks.gpt:generate_ours", {"KERAS_BACKEND": name}) for name in here}
    if importlib.util.find_spec("transformers") and "torch" in here:
        found["Hugging Face"] = ("benchmarks.gpt:generate_hugging_face", {})
    if importlib.util.find_spec("keras_hub"):
        for name in here:
            if name != "torch":
                found[f"KerasHub on {name}"] = ("benchmarks.gpt:generate_keras_hub", {"KERAS_BACKEND": name})
    return {name: (target, {**environment, **asked}) for name, (target, environment) in found.items()}


def compare_generation(shapes, batches, rounds):
    """Print tokens a second of all contenders, and how fast they read the weights."""
    for shape in shapes:
        for batch in batches:
            speed = copy_speed()
            seconds = measure(contenders_for(shape, batch), rounds)
            base, new = seconds.get("Hugging Face", float("nan")), SHAPES[shape][-1]
            print(f"\n{shape}, batch {batch}; one thread copies {speed / 1e9:.1f} GB/s, read and written")
            print(f"{'':26} {'tokens a second':>15} {'times Hugging Face':>18} {'weights, of that':>21}")
            for name, value in sorted(seconds.items(), key=lambda pair: pair[1]):
                share = weight_bytes(shape) * new / value / speed
                print(f"{name:26} {batch * new / value:15.0f} {base / value:18.2f} {share:20.0%}", flush=True)


def main():
    """Both comparisons."""
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--text", help="a text file, for part 1")
    options.add_argument("--large", action="store_true", help="the six-layer network, for a GPU")
    options.add_argument("--seeds", type=int, default=1)
    options.add_argument("--shapes", nargs="+", choices=SHAPES, default=list(SHAPES))
    options.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--training-only", action="store_true")
    options.add_argument("--generation-only", action="store_true")
    asked = options.parse_args()
    for package in ("torch", "transformers", "keras_hub"):
        if importlib.util.find_spec(package) is None:
            print(f"{package} is not installed: its lines are left out.")
    if not asked.generation_only:
        if not asked.text:
            options.error("part 1 needs --text, or ask for --generation-only")
        compare_training(asked.text, "large" if asked.large else "small", asked.seeds)
    if not asked.training_only:
        compare_generation(asked.shapes, asked.batches, asked.rounds)


if __name__ == "__main__":
    main()
