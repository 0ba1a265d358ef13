"""Checkpoints: what is saved is loaded, and nothing damaged, missing or foreign is."""

import json

import h5py
import keras
import numpy as np
import pytest

from aigc_course import checkpoints, recipes, runtime
from aigc_course.runtime import CourseError


def build():
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(5), keras.layers.BatchNormalization()])


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """A data folder of its own with one recipe, ``toy``."""
    monkeypatch.setattr(runtime, "course_root", lambda: tmp_path)
    monkeypatch.setitem(recipes.RECIPES, "toy", recipes.Recipe(build, None, None, {}))
    return checkpoints.folder()


def save(model, shelf):
    return checkpoints.save("toy", model, {"recipe": "toy"}, shelf)


def test_saved_weights_come_back(shelf):
    model = build()
    save(model, shelf)
    twin = checkpoints.load("toy")
    for mine, theirs in zip(model.get_weights(), twin.get_weights(), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3)
    assert checkpoints.names() == ["toy"] and checkpoints.card("toy")["recipe"] == "toy"


def test_files_hold_half_precision_and_nothing_else_is_left(shelf):
    path = save(build(), shelf)
    kinds = set()
    with h5py.File(path) as file:
        file.visititems(lambda _, node: kinds.add(node.dtype) if isinstance(node, h5py.Dataset) else None)
    assert np.dtype("float16") in kinds and np.dtype("float32") not in kinds
    assert sorted(p.name for p in shelf.iterdir()) == ["toy.json", "toy.weights.h5"]


def test_same_weights_make_the_same_file(shelf):
    model = build()
    first = save(model, shelf).read_bytes()
    assert save(model, shelf).read_bytes() == first


@pytest.mark.parametrize("damage", [lambda raw: raw[:-1], lambda raw: b"", lambda raw: raw[:100] + b"x" + raw[101:]])
def test_damaged_weights_are_refused_before_they_are_read(shelf, damage):
    path = save(build(), shelf)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CourseError, match="damaged"):
        checkpoints.load("toy")


def test_missing_weights_and_damaged_cards_are_named(shelf):
    path = save(build(), shelf)
    path.unlink()
    with pytest.raises(CourseError, match="missing"):
        checkpoints.load("toy")
    (shelf / "toy.json").write_text("{", encoding="utf-8")
    with pytest.raises(CourseError, match="damaged"):
        checkpoints.load("toy")


def test_unknown_names_list_the_known(shelf):
    save(build(), shelf)
    with pytest.raises(CourseError, match="there are: toy"):
        checkpoints.load("tony")


def test_weights_of_another_network_are_refused(shelf, monkeypatch):
    save(build(), shelf)
    wider = recipes.Recipe(lambda: keras.Sequential([keras.Input((3,)), keras.layers.Dense(6)]), None, None, {})
    monkeypatch.setitem(recipes.RECIPES, "toy", wider)
    with pytest.raises(CourseError, match="do not fit"):
        checkpoints.load("toy")


def test_nan_is_not_saved_and_the_old_file_stays(shelf):
    model = build()
    before = save(model, shelf).read_bytes()
    model.layers[0].bias.assign(np.full(5, np.nan))
    with pytest.raises(CourseError, match="NaN"):
        save(model, shelf)
    assert (shelf / "toy.weights.h5").read_bytes() == before
    assert len(list(shelf.iterdir())) == 2


def test_weights_beyond_half_precision_are_not_saved(shelf):
    model = build()
    model.layers[0].bias.assign(np.full(5, 1e6))
    with pytest.raises(CourseError, match="half precision"):
        save(model, shelf)


def test_large_weights_do_not_ship(shelf, monkeypatch):
    monkeypatch.setattr(checkpoints, "MAX_BYTES", 1000)
    with pytest.raises(CourseError, match="at most"):
        save(build(), shelf)
    assert not list(shelf.iterdir())


def test_every_shipped_checkpoint_is_whole_and_has_a_recipe():
    assert set(checkpoints.names()) == set(recipes.RECIPES)
    for name in checkpoints.names():
        card = checkpoints.card(name)
        assert checkpoints.load(name).count_params() == card["parameters"]
        missing = {"recipe", "seed", "data_sha256", "backend", "device", "minutes", "metrics", "licence"} - set(card)
        assert not missing, f"the card of {name} lacks {missing}"


def test_cards_name_the_data_that_are_here():
    for name in checkpoints.names():
        for data, digest in checkpoints.card(name)["data_sha256"].items():
            facts = json.loads(runtime.data_path(f"{data}.json").read_text(encoding="utf-8"))
            assert digest == facts["sha256"], f"{name} was trained on another version of {data}"
