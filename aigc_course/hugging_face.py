"""Released GPT-2 weights: a folder in Hugging Face's format becomes a ``GPT2``, or one sentence says why it cannot.

Everything is checked against ``config.json`` before the model is made: each tensor of the files is known, none is
missing, the shapes are right. Pickled weights (``pytorch_model.bin``) are not read: a pickle can run any program.

Shapes: V vocabulary, C context, D width, I width inside the feed-forward network.   Taught in chapters/10_gpt2.
"""

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from aigc_course.bpe import FILES, ByteLevelBPE
from aigc_course.gpt2 import GPT2, GPT2Config
from aigc_course.runtime import CourseError

CONFIG, WEIGHTS, INDEX, PICKLE = "config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"
SIZES = {  # Hugging Face's names of the sizes
    "vocab_size": "vocabulary_size",
    "n_positions": "context_length",
    "n_layer": "num_layers",
    "n_head": "num_heads",
    "n_embd": "hidden_dim",
}
FIXED = {  # what this GPT2 is; the defaults of Hugging Face
    "activation_function": "gelu_new",
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
    "tie_word_embeddings": True,
}
STORED = {"F32", "F16", "BF16"}
HEAD = "lm_head.weight"
BUFFER = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # the causal mask, which older files hold
HUB_NAME = re.compile(r"[\w-][\w.-]*(/[\w.-]+)?")


def read_folder(path):
    """See ``gpt2.load_hugging_face``. The model has no dropout: it is ready to write, and to be trained on as it is."""
    folder = _folder(path)
    config = _config(folder / CONFIG)
    weights = _Weights(folder)
    shapes = _demand(weights, config)
    tokeniser = _tokeniser(folder, config)
    model = GPT2(config)
    _fill(model, weights, shapes)
    return model, tokeniser


# --- the folder -------------------------------------------------------------------------------------------------------


def _folder(path):
    """``path`` if it is a folder, else the folder into which the hub's files of that name were fetched."""
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CourseError(f"{path} is a file; pass the folder that holds {CONFIG} and {WEIGHTS}.")
    if isinstance(path, str) and HUB_NAME.fullmatch(path):
        return _fetched(path)
    raise CourseError(f"There is no folder {path}.")


def _fetched(name):
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise CourseError(
            f"There is no folder {name}; to fetch a model of that name, `pip install huggingface_hub`."
        ) from None
    try:
        return Path(snapshot_download(name, allow_patterns=[CONFIG, "model*.safetensors", INDEX, *FILES]))
    except Exception as error:  # the package has a dozen kinds, and passes on those of its HTTP library
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise CourseError(
            f"There is no folder {name}, and no model of that name could be fetched from the hub ({reason})."
        ) from None


def _json(path):
    """The dictionary in a JSON file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CourseError(f"{path} is missing; a model in Hugging Face's format has it.") from None
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError):
        raise CourseError(f"{path} is damaged: it is not JSON. Fetch it again.") from None
    if not isinstance(found, dict):
        raise CourseError(f"{path} is damaged: it holds no names and values. Fetch it again.")
    return found


def _config(path):
    """``GPT2Config`` of a ``config.json``."""
    given = _json(path)
    if given.get("model_type") != "gpt2":
        raise CourseError(f"{path} tells of a model of the type {given.get('model_type')!r}; this reads 'gpt2' only.")
    if missing := [name for name in SIZES if name not in given]:
        raise CourseError(f"{path} does not tell {', '.join(missing)}.")
    for name, value in FIXED.items():
        if given.get(name, value) != value:
            raise CourseError(f"{path} has {name} {given[name]!r}; this GPT2 can only do {value!r}.")
    epsilon = given.get("layer_norm_epsilon", 1e-5)
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < math.inf:
        raise CourseError(f"{path} has layer_norm_epsilon {epsilon!r}, which is no positive number.")
    inner = given.get("n_inner")
    if inner is not None and type(inner) is not int:
        raise CourseError(f"{path} has n_inner {inner!r}, which is no whole number.")
    try:
        sizes = {ours: given[theirs] for theirs, ours in SIZES.items()}
        return GPT2Config(**sizes, intermediate_dim=inner, epsilon=epsilon)
    except ValueError as error:
        raise CourseError(f"{path} makes no model: {error}") from None


def _tokeniser(folder, config):
    """The tokeniser, or None where the folder has neither of its files."""
    paths = [folder / name for name in FILES]
    if not any(path.exists() for path in paths):
        return None
    tokeniser = ByteLevelBPE.from_files(*paths)
    if len(tokeniser) > config.vocabulary_size:
        raise CourseError(
            f"{paths[0]} has {len(tokeniser):,} tokens, the model {config.vocabulary_size:,}: "
            "they do not belong together."
        )
    return tokeniser


# --- the tensors ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Place:
    """Where a tensor stands: its file, its name there, its shape."""

    path: Path
    name: str
    shape: tuple


class _Weights:
    """The tensors of a folder: where each stands (``places``, names without ``transformer.``), and its values."""

    def __init__(self, folder):
        self.folder, self.places = folder, {}
        for path in self._paths():
            self._note(path)

    def _paths(self):
        """The files with the weights: one, or those of the index."""
        if (self.folder / WEIGHTS).exists():
            return [self.folder / WEIGHTS]
        if (self.folder / INDEX).exists():
            return self._shards(self.folder / INDEX)
        if (self.folder / PICKLE).exists():
            raise CourseError(
                f"{self.folder} has its weights only as {PICKLE}, a pickle, which can run any program and is not read; "
                f"fetch {WEIGHTS}, or write one with save_pretrained of the package transformers."
            )
        raise CourseError(f"{self.folder / WEIGHTS} is missing.")

    def _shards(self, index):
        places = _json(index).get("weight_map")
        if not isinstance(places, dict) or not places or not all(isinstance(name, str) for name in places.values()):
            raise CourseError(f"{index} is damaged: it does not tell which file holds which tensor. Fetch it again.")
        names = sorted(set(places.values()))
        if outside := [name for name in names if Path(name).name != name or "\\" in name]:
            raise CourseError(f"{index} names a file outside its folder, {outside[0]!r}.")
        return [self.folder / name for name in names]

    def _note(self, path):
        """Keep the places of all tensors of a file."""
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118 (it is no dictionary)
                part = file.get_slice(name)
                if BUFFER.fullmatch(_plain(name)):
                    continue
                if _plain(name) in self.places:
                    raise CourseError(f"{path} holds the tensor {name} a second time.")
                if part.get_dtype() not in STORED:
                    raise CourseError(f"{path} stores {name} as {part.get_dtype()}; this reads {', '.join(STORED)}.")
                self.places[_plain(name)] = _Place(path, name, tuple(part.get_shape()))

    def read(self, name):
        """One tensor as float32; CourseError if it holds something that is no number."""
        place = self.places[name]
        with _opened(place.path) as file:
            values = np.asarray(file.get_tensor(place.name)).astype("float32")
        if not np.isfinite(values).all():
            raise CourseError(f"{place.path} is damaged: {place.name} holds values that are not finite.")
        return values


def _opened(path):
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(path, framework="numpy")
    except FileNotFoundError:
        raise CourseError(f"{path} is missing.") from None
    except SafetensorError as error:
        raise CourseError(f"{path} is damaged ({error}). Fetch it again.") from None
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror or error}).") from None


def _plain(name):
    """A tensor's name without the prefix that it has in a model with a head."""
    return name.removeprefix("transformer.")


def _shapes(config):
    """Name and shape of every tensor, in the order of the network; matrices are [in, out] (``Conv1D``)."""
    width, inner = config.hidden_dim, config.intermediate_dim or 4 * config.hidden_dim
    yield "wte.weight", (config.vocabulary_size, width)
    yield "wpe.weight", (config.context_length, width)
    for number in range(config.num_layers):
        parts = {
            "attn.c_attn": (width, 3 * width),
            "attn.c_proj": (width, width),
            "mlp.c_fc": (width, inner),
            "mlp.c_proj": (inner, width),
        }
        for part, shape in parts.items():
            yield f"h.{number}.{part}.weight", shape
            yield f"h.{number}.{part}.bias", shape[1:]
        for part in ("ln_1", "ln_2"):
            yield from ((f"h.{number}.{part}.{kind}", (width,)) for kind in ("weight", "bias"))
    yield from ((f"ln_f.{kind}", (width,)) for kind in ("weight", "bias"))


def _demand(weights, config):
    """Names and shapes of the tensors, all of which are there, right, and the only ones."""
    shapes = {}
    for name, shape in _shapes(config):
        place = weights.places.get(name)
        if place is None:
            raise CourseError(f"{weights.folder} lacks the tensor {name}, which {CONFIG} asks for.")
        if place.shape != shape:
            raise CourseError(f"{place.path} has {place.name} of shape {place.shape}; {CONFIG} asks for {shape}.")
        shapes[name] = shape
    if unknown := sorted(weights.places.keys() - shapes.keys() - {HEAD}):
        raise CourseError(f"{weights.folder} has a tensor that no GPT-2 of its {CONFIG} has: {unknown[0]}.")
    return shapes


# --- into the model ---------------------------------------------------------------------------------------------------


def _fill(model, weights, shapes):
    """Give the model the values of all tensors."""
    variables = _variables(model)
    for name in shapes:
        values = weights.read(name)
        if name == "wte.weight" and HEAD in weights.places:
            _demand_tied(values, weights)
        parts = variables.pop(name)
        for variable, part in zip(parts, np.split(values, len(parts), axis=-1), strict=True):
            variable.assign(part)
    assert not variables


def _demand_tied(table, weights):
    if weights.places[HEAD].shape != table.shape or not np.array_equal(weights.read(HEAD), table):
        raise CourseError(f"{weights.folder} has a {HEAD} of its own; this GPT2 uses the token embedding twice.")


def _variables(model):
    """For each tensor the variables that it fills: one, or three side by side (query, key, value)."""
    found = {"wte.weight": [model.token_embedding.embeddings], "wpe.weight": [model.position_embedding.embeddings]}

    def add(name, *layers, kinds=("kernel", "bias")):
        for kind, ours in zip(("weight", "bias"), kinds, strict=True):
            found[f"{name}.{kind}"] = [getattr(layer, ours) for layer in layers]

    for number, block in enumerate(model.blocks):
        attention, norm = block.attention, ("gamma", "beta")
        add(f"h.{number}.ln_1", block.attention_norm, kinds=norm)
        add(f"h.{number}.attn.c_attn", attention.query, attention.key, attention.value)
        add(f"h.{number}.attn.c_proj", attention.output_projection)
        add(f"h.{number}.ln_2", block.feed_forward_norm, kinds=norm)
        add(f"h.{number}.mlp.c_fc", block.feed_forward.widen)
        add(f"h.{number}.mlp.c_proj", block.feed_forward.narrow)
    add("ln_f", model.norm, kinds=("gamma", "beta"))
    return found
