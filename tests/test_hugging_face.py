"""Released weights: however they are stored, one model, equal to ``transformers``; damage is told in one sentence."""

import json
import struct
import sys
import types

import keras
import ml_dtypes
import numpy as np
import plain_gpt2
import pytest
from keras import ops
from safetensors.numpy import save_file

from aigc_course import hugging_face
from aigc_course.bpe import ByteLevelBPE
from aigc_course.gpt2 import load_hugging_face
from aigc_course.runtime import CourseError

V, C, D, H, INNER, LAYERS = 29, 13, 6, 3, 11, 2
CONFIG = {
    "model_type": "gpt2", "vocab_size": V, "n_positions": C, "n_embd": D, "n_layer": LAYERS, "n_head": H,
    "n_inner": INNER, "layer_norm_epsilon": 1e-3, "activation_function": "gelu_new",
}  # fmt: skip
SHAPES = {
    "wte.weight": (V, D), "wpe.weight": (C, D), "ln_f.weight": (D,), "ln_f.bias": (D,),
    **{
        f"h.{number}.{name}": shape
        for number in range(LAYERS)
        for name, shape in {
            "ln_1.weight": (D,), "ln_1.bias": (D,), "ln_2.weight": (D,), "ln_2.bias": (D,),
            "attn.c_attn.weight": (D, 3 * D), "attn.c_attn.bias": (3 * D,),
            "attn.c_proj.weight": (D, D), "attn.c_proj.bias": (D,),
            "mlp.c_fc.weight": (D, INNER), "mlp.c_fc.bias": (INNER,),
            "mlp.c_proj.weight": (INNER, D), "mlp.c_proj.bias": (D,),
        }.items()
    },
}  # fmt: skip
IDS = np.random.default_rng(3).integers(0, V, (2, 7))


def numbers(values):
    return ops.convert_to_numpy(values)


def tensors(prefix=""):
    draw = np.random.default_rng(0)
    return {
        prefix + name: draw.normal(size=shape, scale=0.5).astype(ml_dtypes.bfloat16).astype("float32")
        for name, shape in SHAPES.items()
    }


def store(folder, found=None, **settings):
    """A folder as ``save_pretrained`` leaves it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **settings}), encoding="utf-8")
    save_file(tensors() if found is None else found, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def shard(folder, found, names=("model-1.safetensors", "model-2.safetensors")):
    """The same in two files with an index."""
    store(folder, {})
    (folder / "model.safetensors").unlink()
    places = {name: names[number % 2] for number, name in enumerate(found)}
    for path in names:
        save_file({name: values for name, values in found.items() if places[name] == path}, folder / path)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder


# -------------------------------------------------------------------------------------------------- what is read


def test_every_tensor_finds_its_place(tmp_path):
    model, tokeniser = load_hugging_face(store(tmp_path))
    expected = [plain_gpt2.logits(tensors(), row, H, epsilon=1e-3) for row in IDS]
    np.testing.assert_allclose(numbers(model(IDS)), expected, atol=1e-5)
    assert tokeniser is None
    assert (model.config.vocabulary_size, model.config.context_length, model.config.intermediate_dim) == (V, C, INNER)
    found = plain_gpt2.weights_of(model)
    assert found.keys() == SHAPES.keys()
    for name, values in tensors().items():
        np.testing.assert_array_equal(found[name], values)


def with_prefix(folder):
    return store(folder, tensors("transformer."))


def with_head(folder):
    return store(folder, {**tensors("transformer."), "lm_head.weight": tensors()["wte.weight"]})


def with_buffers(folder):
    masks = {f"h.{number}.attn.bias": np.tril(np.ones((1, 1, C, C), bool)) for number in range(LAYERS)}
    return store(folder, {**tensors(), **masks, "h.0.attn.masked_bias": np.array(-1e4, "float32")})


def in_float16(folder):
    return store(folder, {name: values.astype("float16") for name, values in tensors().items()})


def in_bfloat16(folder):
    return store(folder, {name: values.astype(ml_dtypes.bfloat16) for name, values in tensors().items()})


def in_shards(folder):
    return shard(folder, tensors("transformer."))


@pytest.mark.parametrize("ways", [with_prefix, with_head, with_buffers, in_float16, in_bfloat16, in_shards])
@pytest.mark.any_backend
def test_every_way_of_storing_is_read(tmp_path, ways):
    model, _ = load_hugging_face(ways(tmp_path))
    tolerance = 1e-3 if ways is in_float16 else 0
    for name, values in plain_gpt2.weights_of(model).items():
        np.testing.assert_allclose(values, tensors()[name], atol=tolerance)


@pytest.mark.any_backend
def test_settings_without_effect_and_defaults(tmp_path):
    found = {name: values for name, values in tensors().items() if ".mlp." not in name}
    for number in range(LAYERS):
        for part, shape in {"c_fc": (D, 4 * D), "c_proj": (4 * D, D)}.items():
            found[f"h.{number}.mlp.{part}.weight"] = np.ones(shape, "float32")
            found[f"h.{number}.mlp.{part}.bias"] = np.ones(shape[1:], "float32")
    store(tmp_path, found, n_inner=None, reorder_and_upcast_attn=True, summary_type="cls_index", resid_pdrop=0.1)
    model, _ = load_hugging_face(str(tmp_path))
    assert model.config.intermediate_dim is None and model.config.dropout == 0
    assert tuple(model.blocks[1].feed_forward.widen.kernel.shape) == (D, 4 * D)


@pytest.mark.any_backend
def test_the_tokeniser_comes_along(tmp_path):
    tokeniser = ByteLevelBPE.train(["low lower lowest"] * 3, 260)
    tokeniser.save(store(tmp_path, {**tensors(), "wte.weight": np.ones((264, D), "float32")}, vocab_size=264))
    model, found = load_hugging_face(tmp_path)
    assert found.tokens == tokeniser.tokens and model.config.vocabulary_size == 264
    store(tmp_path)
    with pytest.raises(CourseError, match="260 tokens, the model 29"):
        load_hugging_face(tmp_path)
    (tmp_path / "merges.txt").unlink()
    with pytest.raises(CourseError, match=r"merges\.txt is missing"):
        load_hugging_face(tmp_path)


# -------------------------------------------------------------------------------------------------- what is refused


def changed(**changes):
    found = {**tensors(), **{name.replace("__", "."): values for name, values in changes.items()}}
    return {name: values for name, values in found.items() if values is not None}


def holed(name, value):
    values = tensors()[name]
    values.flat[1] = value
    return {**tensors(), name: values}


DAMAGED = {
    "missing tensor": (changed(h__1__ln_2__bias=None), {}, r"lacks the tensor h\.1\.ln_2\.bias"),
    "missing layer": (None, {"n_layer": 3}, r"lacks the tensor h\.2\.attn\.c_attn\.weight"),
    "endless layers": (None, {"n_layer": 10**12}, r"lacks the tensor h\.2\."),
    "unexpected tensor": (changed(h__0__adapter__weight=np.ones(3, "float32")), {}, r"no GPT-2.*h\.0\.adapter\.weight"),
    "more layers": (None, {"n_layer": 1}, r"no GPT-2 of its config\.json has: h\.1\."),
    "wrong shape": (
        changed(wpe__weight=np.ones((C, D + 1), "float32")),
        {},
        r"wpe\.weight of shape \(13, 7\).*\(13, 6\)",
    ),
    "transposed": (changed(h__0__mlp__c_fc__weight=np.ones((INNER, D), "float32")), {}, r"shape \(11, 6\).*\(6, 11\)"),
    "other vocabulary": (None, {"vocab_size": 10**12}, r"wte\.weight of shape \(29, 6\)"),
    "NaN": (
        holed("h.1.attn.c_attn.weight", np.nan),
        {},
        r"h\.1\.attn\.c_attn\.weight holds values that are not finite",
    ),
    "inf": (holed("wte.weight", np.inf), {}, "not finite"),
    "integers": (changed(ln_f__bias=np.ones(D, "int32")), {}, "stores ln_f.bias as I32"),
    "both names": ({**tensors(), "transformer.ln_f.bias": np.ones(D, "float32")}, {}, "a second time"),
    "other head": (changed(lm_head__weight=np.ones((V, D), "float32")), {}, "uses the token embedding twice"),
    "short head": (changed(lm_head__weight=np.ones((V - 1, D), "float32")), {}, "uses the token embedding twice"),
    "other model": (None, {"model_type": "llama"}, "of the type 'llama'"),
    "no type": (None, {"model_type": None}, "of the type None"),
    "other GELU": (None, {"activation_function": "gelu"}, "activation_function 'gelu'"),
    "scores not scaled": (None, {"scale_attn_weights": False}, "scale_attn_weights False"),
    "scores scaled by layer": (None, {"scale_attn_by_inverse_layer_idx": True}, "inverse_layer_idx True"),
    "cross-attention": (None, {"add_cross_attention": True}, "add_cross_attention True"),
    "head not tied": (None, {"tie_word_embeddings": False}, "tie_word_embeddings False"),
    "heads that do not fit": (None, {"n_head": 4}, "4 heads cannot share"),
    "size in words": (None, {"n_embd": "6"}, "whole number"),
    "negative size": (None, {"n_positions": -1}, "context_length is a whole number"),
    "inner width in words": (None, {"n_inner": "11"}, "n_inner '11'"),
    "negative inner width": (None, {"n_inner": -11}, "intermediate_dim"),
    "no epsilon": (None, {"layer_norm_epsilon": None}, "layer_norm_epsilon None"),
    "negative epsilon": (None, {"layer_norm_epsilon": -1e-5}, "layer_norm_epsilon"),
}


@pytest.mark.any_backend
@pytest.mark.parametrize("kind", DAMAGED)
def test_one_sentence_for_a_wrong_model(tmp_path, kind):
    found, settings, words = DAMAGED[kind]
    with pytest.raises(CourseError, match=words) as told:
        load_hugging_face(store(tmp_path, found, **settings))
    assert "\n" not in str(told.value)


def truncated(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 5])


def without_sizes(path):
    path.write_text(json.dumps({"model_type": "gpt2", "vocab_size": V}))


def longer_than_the_file(path):
    path.write_bytes(struct.pack("<Q", 10**9) + b"{}")


FILES = {
    "no config": ("config.json", lambda path: path.unlink(), r"config\.json is missing"),
    "config no JSON": ("config.json", lambda path: path.write_text("{'a': 1"), "damaged: it is not JSON"),
    "config in another code": ("config.json", lambda path: path.write_bytes(b"\xff\xfe\x00"), "damaged"),
    "config a list": ("config.json", lambda path: path.write_text("[1]"), "damaged"),
    "config without sizes": ("config.json", without_sizes, "does not tell n_positions, n_layer, n_head, n_embd"),
    "no weights": ("model.safetensors", lambda path: path.unlink(), r"model\.safetensors is missing"),
    "weights cut short": ("model.safetensors", truncated, "is damaged"),
    "weights empty": ("model.safetensors", lambda path: path.write_bytes(b""), "is damaged"),
    "weights no safetensors": ("model.safetensors", lambda path: path.write_bytes(b"PK\x03\x04" * 99), "is damaged"),
    "weights of a false length": ("model.safetensors", longer_than_the_file, "is damaged"),
}


@pytest.mark.any_backend
@pytest.mark.parametrize("kind", FILES)
def test_one_sentence_for_a_damaged_file(tmp_path, kind):
    name, damage, words = FILES[kind]
    damage(store(tmp_path) / name)
    with pytest.raises(CourseError, match=words) as told:
        load_hugging_face(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.any_backend
def test_shards_that_do_not_belong_together(tmp_path):
    shard(tmp_path, tensors())
    (tmp_path / "model-2.safetensors").rename(tmp_path / "elsewhere")
    with pytest.raises(CourseError, match=r"model-2\.safetensors is missing"):
        load_hugging_face(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    for outside in ("../model-2.safetensors", "/tmp/model-2.safetensors", "..\\model-2.safetensors", ".."):
        index.write_text(json.dumps({"weight_map": {"wte.weight": outside}}))
        with pytest.raises(CourseError, match=r"outside its folder|cannot be read|missing"):
            load_hugging_face(tmp_path)
    for damaged in ({}, {"weight_map": []}, {"weight_map": {}}, {"weight_map": {"wte.weight": 1}}):
        index.write_text(json.dumps(damaged))
        with pytest.raises(CourseError, match="does not tell which file"):
            load_hugging_face(tmp_path)


@pytest.mark.any_backend
def test_a_pickle_is_not_read(tmp_path):
    store(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CourseError, match=r"fetch model\.safetensors"):
        load_hugging_face(tmp_path)


@pytest.mark.any_backend
def test_no_folder(tmp_path):
    for path in (tmp_path / "nowhere", str(tmp_path / "nowhere"), "../nowhere", "a/b/c", ""):
        if path:
            with pytest.raises(CourseError, match="There is no folder"):
                load_hugging_face(path)
    with pytest.raises(CourseError, match="is a file; pass the folder"):
        load_hugging_face(store(tmp_path) / "model.safetensors")


# -------------------------------------------------------------------------------------------------- the hub


@pytest.mark.any_backend
def test_a_name_is_fetched_from_the_hub(tmp_path, monkeypatch):
    asked = []

    def fetch(name, allow_patterns):
        asked.append((name, allow_patterns))
        return str(store(tmp_path))

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=fetch))
    model, _ = load_hugging_face("somebody/gpt2-small")
    assert model.config.vocabulary_size == V
    assert asked[0][0] == "somebody/gpt2-small"
    assert set(asked[0][1]) >= {"config.json", "vocab.json", "merges.txt"} and "*" not in asked[0][1]


@pytest.mark.any_backend
def test_no_hub_and_no_network(monkeypatch):
    def fail(name, allow_patterns):
        raise ConnectionError("Name or service not known\nwith more lines")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=fail))
    with pytest.raises(CourseError, match=r"no model of that name could be fetched.*not known\)\.$"):
        load_hugging_face("somebody/gpt2-small")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(CourseError, match="pip install huggingface_hub"):
        load_hugging_face("gpt2")


# -------------------------------------------------------------------------------------------------- transformers


@pytest.fixture(scope="module")
def torch():
    """PyTorch, beside TensorFlow or by itself; JAX would prove nothing new and compile for long."""
    if keras.backend.backend() == "jax":
        pytest.skip("runs on TensorFlow and PyTorch")
    pytest.importorskip("transformers")
    return pytest.importorskip("torch")


def theirs(torch, scale, **sizes):
    """Their model with random weights: those it starts with, or normal ones of deviation ``scale``."""
    import transformers

    torch.manual_seed(0)
    config = transformers.GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)
    model = transformers.GPT2LMHeadModel(config).eval()
    if scale is not None:
        with torch.no_grad():
            for weight in model.parameters():
                weight.normal_(0, scale)
    return model


def compare(torch, folder, reference, rows, length, new):
    """Largest difference of the logits; asserts that the greedy text is the same."""
    model, _ = load_hugging_face(folder)
    ids = np.random.default_rng(1).integers(0, model.config.vocabulary_size, (rows, length))
    with torch.no_grad():
        expected = reference(torch.tensor(ids)).logits.numpy()
        greedy = dict(do_sample=False, eos_token_id=None, pad_token_id=0, max_new_tokens=new)
        text = reference.generate(torch.tensor(ids), attention_mask=torch.ones(rows, length), **greedy).numpy()
    np.testing.assert_array_equal(np.array(model.generate(ids, new)), text)
    return np.abs(numbers(model(ids)) - expected).max()


SMALL = [
    {"vocab_size": 37, "n_positions": 23, "n_embd": 6, "n_layer": 2, "n_head": 3, "n_inner": 11},
    {"vocab_size": 101, "n_positions": 40, "n_embd": 20, "n_layer": 3, "n_head": 5, "layer_norm_epsilon": 1e-3},
    {"vocab_size": 5, "n_positions": 32, "n_embd": 32, "n_layer": 1, "n_head": 1},
]


@pytest.mark.parametrize(
    "sizes", [SMALL[0], *(pytest.param(sizes, marks=pytest.mark.slow) for sizes in SMALL[1:])], ids=("a", "b", "c")
)
def test_logits_and_greedy_text_are_those_of_transformers(torch, tmp_path, sizes, record_property):
    reference = theirs(torch, 0.4, **sizes)
    reference.save_pretrained(tmp_path)
    gap = compare(torch, tmp_path, reference, 2, 9, 14)
    record_property("largest difference of the logits", float(gap))
    assert gap <= 1e-4


@pytest.mark.any_backend
def test_what_transformers_saves_in_shards_is_read(torch, tmp_path):
    reference = theirs(torch, 0.4, **SMALL[0])
    reference.save_pretrained(tmp_path, max_shard_size="3KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    assert compare(torch, tmp_path, reference, 2, 9, 3) <= 1e-4


@pytest.mark.slow
def test_the_shape_of_124_million_weights(torch, tmp_path, record_property):
    reference = theirs(torch, None)
    reference.save_pretrained(tmp_path)
    gap = compare(torch, tmp_path, reference, 1, 33, 8)
    record_property("largest difference of the logits", float(gap))
    assert gap <= 1e-4
    assert reference.num_parameters() == 124_439_808


@pytest.mark.any_backend
def test_nothing_is_made_before_all_is_checked(tmp_path, monkeypatch):
    def never(config):
        raise AssertionError("a model was made")

    monkeypatch.setattr(hugging_face, "GPT2", never)
    for kind in ("missing tensor", "unexpected tensor", "wrong shape", "integers"):
        with pytest.raises(CourseError):
            load_hugging_face(store(tmp_path, DAMAGED[kind][0]))
