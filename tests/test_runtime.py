"""Runtime: profile, sizes, seed and device, with a clear sentence for each wrong setting."""

import keras
import numpy as np
import pytest

from aigc_course import runtime
from aigc_course.runtime import CourseError


def test_setup_says_what_it_runs_on(monkeypatch):
    monkeypatch.setenv("AIGC_PROFILE", "quick")
    session = runtime.setup(seed=3)
    assert session.backend == keras.backend.backend() and session.profile == "quick" and session.seed == 3
    assert session.cores >= 1 and session.backend in str(session) and "profile quick" in str(session)


def test_same_seed_same_numbers():
    draws = []
    for seed in (1, 1, 2):
        runtime.setup(seed)
        draws.append((float(keras.random.normal((1,))[0]), np.random.normal()))
    assert draws[0] == draws[1] != draws[2]


@pytest.mark.parametrize("value", [None, ""])
def test_class_is_the_default_profile(monkeypatch, value):
    monkeypatch.delenv("AIGC_PROFILE", raising=False) if value is None else monkeypatch.setenv("AIGC_PROFILE", value)
    assert runtime.profile() == "class"


def test_unknown_profile_lists_the_known(monkeypatch):
    monkeypatch.setenv("AIGC_PROFILE", "fast")
    with pytest.raises(CourseError, match="quick, class, full"):
        runtime.profile()


def test_sizes_follow_the_profile(monkeypatch):
    found = {}
    for profile in runtime.PROFILES:
        monkeypatch.setenv("AIGC_PROFILE", profile)
        found[profile] = runtime.sizes("03_gan_images").dcgan_epochs
    assert found["quick"] < found["class"] < found["full"]
    with pytest.raises(CourseError, match="03_gan_images"):
        runtime.sizes("99_nothing")


def test_every_chapter_has_the_same_sizes_in_every_profile():
    for chapter, table in runtime._profiles().items():
        names = {profile: set(table[profile]) for profile in runtime.PROFILES}
        assert names["quick"] == names["class"] == names["full"], f"{chapter}: a size is missing in a profile"


def test_course_root_outside_a_checkout_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(runtime, "__file__", str(tmp_path / "site-packages" / "aigc_course" / "runtime.py"))
    with pytest.raises(CourseError, match="pip install -e"):
        runtime.course_root()


def test_memory_is_a_plausible_number_of_gib():
    memory = runtime.memory_gib()
    assert memory is None or 0.5 < memory < 100_000
