"""Corrections of what the documents say or leave undone: references, environment, results. See tests/ledger.py."""

import ast
import importlib.metadata
import importlib.util
import re
import tomllib

import pytest
from ledger import Pair, correction, pictures_of

from aigc_course import corrections
from aigc_course.runtime import course_root

pytestmark = pytest.mark.any_backend


def chapter_source(number):
    """Source text of chapter ``number``, such as "03"."""
    found = sorted((course_root() / "chapters" / "src").glob(f"{number}_*.py"))
    if not found:
        pytest.skip(f"chapter {number} is not written yet")
    return found[0].read_text(encoding="utf-8")


# --- what a chapter has to say ----------------------------------------------------------------------------------------


def prose(source):
    """Text of a chapter without comment marks and line ends."""
    return " ".join(re.sub(r"^#( |$)", "", line) for line in source.splitlines())


def states(source, entry):
    """Whether a chapter says the right form itself, or has the ledger say it (``show`` with the id, or ``table``)."""
    shown = re.search(rf"\bshow\([^)]*[\"']{entry.id}[\"']", source)
    listed = re.search(rf"\btable\(\s*[\"']{entry.chapter}[\"']", source)
    return bool(shown or listed or re.search(entry.stated, prose(source), re.IGNORECASE))


TEXT_ENTRIES = [entry for entry in corrections.entries().values() if entry.kind == "text"]


@pytest.mark.parametrize("entry", TEXT_ENTRIES, ids=lambda entry: entry.id)
def test_chapter_states(entry):
    assert not states(entry.fault, entry), "the fault itself passes for the right form"
    assert states(entry.right, entry), "the right form is not recognised"
    assert states(chapter_source(entry.chapter), entry)


@pytest.mark.parametrize("entry", TEXT_ENTRIES, ids=lambda entry: entry.id)
def test_text_rests_on_checked_sources(entry):
    assert entry.source, "what cannot be run needs a source"
    assert [id for id in entry.source if not corrections.bibliography()[id].checked] == []


# --- references -------------------------------------------------------------------------------------------------------


def known(words, venue=None, year=None, authors=None):
    """Whether the bibliography has a checked work with these words in title, note or venue, and these facts."""
    return any(
        reference.checked
        and words.lower() in f"{reference.title} {reference.note} {reference.venue}".lower()
        and (venue is None or reference.venue.startswith(venue) or venue in reference.venue)
        and year in (None, reference.year)
        and authors in (None, len(reference.authors))
        for reference in corrections.bibliography().values()
    )


@correction("B13")
def test_b13_claimed_papers_are_in_the_bibliography():
    claimed = [
        ("TextGAN", "ICLR", 2019),
        ("MusicVAE", "ICML", 2019),
        ("HyperGAN", "NIPS", 2016),
        ("Few-Shot Dialogue", "ACL", 2020),
    ]
    right = [
        ("Image-to-Image Translation with Conditional", "CVPR", 2017),
        ("TextGAN", "ICML", 2017),
        ("MusicVAE", "ICML", 2018),
        ("HyperGAN", "ICML", 2019),
        ("Few-Shot Dialogue", "SIGDIAL", 2019),
    ]
    return Pair(
        faulty=[lambda claim=claim: claim for claim in claimed],
        right=[lambda claim=claim: claim for claim in right],
        is_right=lambda claim: known(*claim),
    )


@correction("B24")
def test_b24_course_is_listed_once():
    return Pair(
        faulty=[lambda: ("Deep Learning Specialization", "Stanford"), lambda: ("Deep Learning", "Google Brain")],
        right=[lambda: ("Deep Learning Specialization", "DeepLearning.AI")],
        is_right=lambda claim: known(*claim),
    )


@correction("D17")
def test_d17_authors_and_titles_are_those_of_the_bibliography():
    return Pair(
        faulty=[
            lambda: ("Variational Autoencoders", None, None, 5),
            lambda: ("Generative Adversarial Nets", "NIPS", 2014, 3),
            lambda: ("Deep Learning", "MIT Press", 2016, 1),
        ],
        right=[
            lambda: ("Auto-Encoding Variational Bayes", "ICLR", 2014, 2),
            lambda: ("Generative Adversarial Nets", "NIPS", 2014, 8),
            lambda: ("Deep Learning", "MIT Press", 2016, 3),
        ],
        is_right=lambda claim: known(*claim),
    )


# --- environment ------------------------------------------------------------------------------------------------------


def admitted_pythons():
    """Minor versions of Python 3 that ``pyproject.toml`` admits."""
    from packaging.specifiers import SpecifierSet

    project = tomllib.loads((course_root() / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {minor for minor in range(40) if f"3.{minor}" in SpecifierSet(project["requires-python"])}


@correction("B8")
def test_b8_pinned_version_exists_for_this_python():
    """Reads the recorded tags and the installed metadata; whether the index still says so is not asked."""
    pinned = corrections.entry("B8").data
    assert pinned["package"] == "tensorflow" and pinned["version"] == "2.0.0"

    def recorded():
        return {int(tag[3:]) for tag in pinned["python_tags"] if tag.startswith("cp3")}

    def installed():
        classifiers = importlib.metadata.metadata("tensorflow").get_all("Classifier")
        return {int(line.rsplit(".", 1)[1]) for line in classifiers if re.search(r":: Python :: 3\.\d+$", line)}

    assert admitted_pythons()
    return Pair(faulty=[recorded], right=[installed], is_right=lambda pythons: admitted_pythons() <= pythons)


@correction("B25")
def test_b25_keras_has_these_backends():
    return Pair(
        faulty=[lambda: ("tensorflow", "theano"), lambda: ("theano",)],
        right=[lambda: ("tensorflow", "jax", "torch")],
        is_right=lambda names: all(importlib.util.find_spec(f"keras.src.backend.{name}") for name in names),
    )


# --- results ----------------------------------------------------------------------------------------------------------

ENDS_AFTER_TRAINING = "digits = load_digits()\nmodel.fit(digits.train.images)\n"


def used_names(source):
    """Names of everything that a chapter calls or reads as an attribute."""
    nodes = list(ast.walk(ast.parse(re.sub(r"(?m)^%.*$", "", source))))
    called = {getattr(node.func, "attr", getattr(node.func, "id", "")) for node in nodes if isinstance(node, ast.Call)}
    return called | {node.attr for node in nodes if isinstance(node, ast.Attribute)}


@correction("A28")
def test_a28_chapter_samples_shows_and_scores():
    return Pair(
        faulty=[lambda: ENDS_AFTER_TRAINING],
        right=[lambda: chapter_source("03")],
        is_right=lambda source: {"sample", "show_images", "score_images"} <= used_names(source),
    )


@correction("B15")
def test_b15_held_out_data_are_used():
    bands = tomllib.loads((course_root() / "chapters" / "expected.toml").read_text(encoding="utf-8"))
    source = chapter_source("03")
    assert any(key.startswith("gan_images/") for key in bands)
    return Pair(
        faulty=[lambda: ENDS_AFTER_TRAINING],
        right=[lambda: source],
        is_right=lambda source: bool({"validation", "test"} & used_names(source)) and "between" in used_names(source),
    )


@correction("B9")
def test_b9_pictures_come_from_the_run():
    return pictures_of("03")
