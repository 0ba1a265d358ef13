"""Digits: counts, split, checksums, and one clear sentence for every file that is missing or broken."""

import gzip
import hashlib
import io
import json
import socket
import urllib.error

import numpy as np
import pytest

from aigc_course import datasets, runtime
from aigc_course.datasets import digits as module
from aigc_course.datasets import files
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend


def test_course_digits_have_their_shape_range_and_split():
    digits = datasets.load_digits()
    for part, count in ((digits.train, 8000), (digits.validation, 1000), (digits.test, 1000)):
        assert part.images.shape == (count, 28, 28, 1) and part.images.dtype == np.float32
        assert part.images.min() == 0.0 and part.images.max() == 1.0
        assert part.labels.shape == (count,) and set(part.labels) == set(range(10))
        assert len(part) == count


def test_split_is_stratified_and_shares_no_picture():
    digits = datasets.load_digits()
    parts = (digits.train, digits.validation, digits.test)
    whole = sum(np.bincount(part.labels) for part in parts)
    assert list(whole) == [1001, 1127, 991, 1032, 980, 863, 1014, 1070, 944, 978]
    for part, share in zip(parts, (0.8, 0.1, 0.1), strict=True):
        assert np.abs(np.bincount(part.labels) - share * whole).max() <= 2
    pictures = [image.tobytes() for part in parts for image in part.images]
    assert len(set(pictures)) == 10_000


def test_order_is_shuffled():
    labels = datasets.load_digits().train.labels
    assert 0.05 < np.mean(labels[1:] == labels[:-1]) < 0.15


def test_card_tells_source_licence_and_size():
    card = files.card_of("digits")
    assert {"what", "source", "licence", "made_by", "bytes", "sha256"} <= set(card)
    assert runtime.data_path("digits.npz").stat().st_size == card["bytes"]


def test_nothing_is_fetched_for_the_course_digits(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    datasets.load_digits()


def test_unknown_name_is_refused():
    with pytest.raises(CourseError, match="'course' or 'mnist'"):
        datasets.load_digits("emnist")


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A course root of its own with a copy of the digits."""
    for folder in ("chapters", "data"):
        (tmp_path / folder).mkdir()
    for name in ("digits.npz", "digits.json"):
        (tmp_path / "data" / name).write_bytes(runtime.data_path(name).read_bytes())
    monkeypatch.setattr(runtime, "course_root", lambda: tmp_path)
    return tmp_path / "data"


def test_damaged_digits_are_refused(copy):
    raw = bytearray((copy / "digits.npz").read_bytes())
    raw[5000] ^= 1
    (copy / "digits.npz").write_bytes(raw)
    with pytest.raises(CourseError, match=r"digits\.npz is damaged.*git checkout data"):
        datasets.load_digits()


@pytest.mark.parametrize("name", ["digits.npz", "digits.json"])
def test_missing_files_are_named(copy, name):
    (copy / name).unlink()
    with pytest.raises(CourseError, match=f"{name} is missing"):
        datasets.load_digits()


def test_a_pickle_is_never_opened(copy):
    buffer = io.BytesIO()
    np.savez(buffer, train_images=np.array([{"a": 1}], dtype=object))
    (copy / "digits.npz").write_bytes(buffer.getvalue())
    card = {"sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
    (copy / "digits.json").write_text(json.dumps(card), encoding="utf-8")
    with pytest.raises(ValueError, match="allow_pickle"):
        datasets.load_digits()


# The public sets, from small stand-ins: the real ones are too large to ship.


def idx(array):
    """An array of bytes in the IDX format of the MNIST files."""
    head = bytes([0, 0, 8, array.ndim]) + b"".join(int(n).to_bytes(4, "big") for n in array.shape)
    return head + array.astype(np.uint8).tobytes()


@pytest.fixture
def fashion(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.integers(0, 256, (10_005, 28, 28)), np.arange(10_005) % 10]
    arrays += [rng.integers(0, 256, (3, 28, 28)), np.array([7, 8, 9])]
    digests = {}
    for name, array in zip(module.FASHION_SHA256, arrays, strict=True):
        (tmp_path / name).write_bytes(gzip.compress(idx(array)))
        digests[name] = hashlib.sha256(idx(array)).hexdigest()
    monkeypatch.setattr(module, "FASHION_SHA256", digests)
    return tmp_path, arrays


def test_fashion_is_read_from_idx_files(fashion):
    folder, arrays = fashion
    found = datasets.load_fashion(folder)
    assert [len(part) for part in (found.train, found.validation, found.test)] == [5, 10_000, 3]
    np.testing.assert_allclose(found.test.images[1, :, :, 0] * 255, arrays[2][1], atol=1e-4)
    assert list(found.test.labels) == [7, 8, 9] and found.class_names[9] == "Ankle boot"


@pytest.mark.parametrize("damage", [lambda raw: raw[:-20], lambda raw: b"not gzip", lambda raw: b""])
def test_damaged_fashion_is_refused(fashion, damage):
    folder, _ = fashion
    path = folder / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CourseError, match=r"t10k-labels.*damaged"):
        datasets.load_fashion(folder)


def test_mnist_is_read_and_checked(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (10_004, 28, 28), dtype=np.uint8), "y_train": np.arange(10_004) % 10}
    arrays |= {"x_test": rng.integers(0, 256, (2, 28, 28), dtype=np.uint8), "y_test": np.array([4, 2])}
    np.savez(tmp_path / "mnist.npz", **arrays)
    with pytest.raises(CourseError, match=r"mnist\.npz is damaged"):
        datasets.load_digits("mnist", tmp_path)
    monkeypatch.setattr(module, "MNIST_SHA256", files.sha256(tmp_path / "mnist.npz"))
    found = datasets.load_digits("mnist", tmp_path)
    assert [len(part) for part in (found.train, found.validation, found.test)] == [4, 10_000, 2]
    assert list(found.test.labels) == [4, 2]


@pytest.mark.parametrize(
    "error", [urllib.error.URLError("no route"), TimeoutError("slow"), ConnectionResetError("cut")]
)
def test_without_a_network_the_remedy_is_named(tmp_path, monkeypatch, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(module.urllib.request, "urlopen", fail)
    with pytest.raises(CourseError, match="connect to the internet, or put the file into"):
        datasets.load_digits("mnist", tmp_path / "new")
    assert not list((tmp_path / "new").iterdir())


def test_download_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setattr(module.urllib.request, "urlopen", lambda *a, **k: io.BytesIO(b"12345"))
    path = module._fetch("mnist.npz", tmp_path)
    assert path.read_bytes() == b"12345" and [p.name for p in tmp_path.iterdir()] == ["mnist.npz"]
