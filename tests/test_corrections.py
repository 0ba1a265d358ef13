"""The ledger itself: complete, every entry tested and every test entered, and the files' faults named."""

import re

import ledger
import pytest
import test_corrections_gan_code
import test_corrections_gpt2
import test_corrections_mathematics
import test_corrections_seq2seq
import test_corrections_text
import test_corrections_transformer
import test_corrections_vae
import test_corrections_wavenet

from aigc_course import corrections
from aigc_course.runtime import CourseError

pytestmark = pytest.mark.any_backend

MODULES = (
    test_corrections_gan_code,
    test_corrections_gpt2,
    test_corrections_mathematics,
    test_corrections_seq2seq,
    test_corrections_text,
    test_corrections_transformer,
    test_corrections_vae,
    test_corrections_wavenet,
)
CHAPTERS = ("00", "02", "03", "06", "07", "08", "09", "10")
TAUGHT = {
    "A": [*range(1, 13), *range(14, 19), *range(21, 29)],
    "B": [*range(1, 14), *range(15, 21), *range(22, 28)],
    "C": [*range(1, 21), 22, 23, *range(25, 37)],
    "D": [4, *range(6, 19), *range(22, 26), 28],
    "E": [1],
}


def test_ledger_has_every_row_that_the_written_chapters_teach():
    wanted = {f"{letter}{number}" for letter, numbers in TAUGHT.items() for number in numbers}
    taught = {entry.id for entry in corrections.entries().values() if entry.chapter in CHAPTERS}
    assert taught == wanted


def test_every_entry_has_its_test_and_every_test_its_entry():
    entries = corrections.entries()
    own = {id: entry.test for id, entry in entries.items() if entry.test != "test_chapter_states"}
    assert own == ledger.PAIRS
    assert all(entry.kind == "text" for id, entry in entries.items() if id not in ledger.PAIRS)
    for entry in entries.values():
        assert any(hasattr(module, entry.test) for module in MODULES), entry.test


# --- the judge of a pair ----------------------------------------------------------------------------------------------


def wrong():
    return 1


def right():
    return 2


@pytest.mark.parametrize("lenient_or_blind", [lambda value: True, lambda value: False, lambda value: value == 1])
def test_a_judge_that_does_not_tell_the_forms_apart_fails(lenient_or_blind):
    ledger.verify(ledger.Pair([wrong], [right], lambda value: value == 2))
    with pytest.raises(AssertionError):
        ledger.verify(ledger.Pair([wrong], [right], lenient_or_blind))


def test_every_faulty_form_is_judged():
    with pytest.raises(AssertionError, match="faulty form 1"):
        ledger.verify(ledger.Pair([wrong, right], [right], lambda value: value == 2))
    with pytest.raises(AssertionError, match="at least one"):
        ledger.verify(ledger.Pair([], [right], lambda value: value == 2))


def test_only_the_announced_exception_counts_as_the_fault():
    def breaks():
        raise ValueError("sizes differ")

    def judge(value):
        return value == 2

    ledger.verify(ledger.Pair([breaks], [right], judge, ValueError, "sizes"))
    with pytest.raises(ValueError, match="sizes differ"):
        ledger.verify(ledger.Pair([breaks], [right], judge, ValueError, "names"))
    with pytest.raises(ValueError, match="sizes differ"):
        ledger.verify(ledger.Pair([breaks], [right], judge, TypeError))
    with pytest.raises(AssertionError, match="turns down right form"):
        ledger.verify(ledger.Pair([breaks], [breaks], judge, ValueError))


# --- reading ----------------------------------------------------------------------------------------------------------

REFERENCES = """
[someone2001]
authors = ["A. One"]
title = "A Work"
venue = "A Place"
year = 2001
checked = true
"""
LEDGER = """
[documents]
B = "a document"

[B4]
document = "B"
where = "5.2"
fault = "wrong"
right = "right"
source = ["someone2001"]
chapter = "03"
kind = "code"
test = "test_b4"
"""


def test_small_ledger_can_be_read():
    documents, entries = corrections.read_ledger(LEDGER, corrections.read_references(REFERENCES))
    assert documents == {"B": "a document"}
    assert entries["B4"].right == "right"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('right = "right"\n', "", "B4: right is missing"),
        ('right = "right"', 'right = ""', "B4: right is empty"),
        ('right = "right"', "right = 3", "B4: right must be str, not int"),
        ('right = "right"', 'right = "right"\nwhy = "x"', "B4: why is not a field"),
        ('kind = "code"', 'kind = "music"', "B4: kind is 'music'"),
        ('kind = "code"', 'kind = "text"', "B4: stated belongs to text entries"),
        ('chapter = "03"', 'chapter = "3"', "B4: chapter must be two digits"),
        ('source = ["someone2001"]', 'source = ["nobody"]', "B4: source names 'nobody'"),
        ('source = ["someone2001"]\n', "", "B4: source must name references"),
        ('source = ["someone2001"]', 'source = ["someone2001"]\nno_source = "x"', "B4: source must name references"),
        ('document = "B"', 'document = "C"', "B4: document is 'C'"),
        ('test = "test_b4"', 'test = "b4"', "B4: test must be the name"),
        ("[B4]", "[four]", "four: id must be"),
        ("[B4]", "[B4", "cannot be read"),
    ],
)
def test_faults_of_the_ledger_are_named(old, new, message):
    with pytest.raises(CourseError, match=re.escape(message)):
        corrections.read_ledger(LEDGER.replace(old, new), corrections.read_references(REFERENCES))


def test_doubtful_reference_must_say_why():
    doubtful = REFERENCES.replace("checked = true", "checked = false")
    with pytest.raises(CourseError, match="someone2001: checked is false"):
        corrections.read_references(doubtful)
    reference = corrections.read_references(doubtful + 'note = "Not re-read."')["someone2001"]
    assert str(reference) == "A. One. A Work. A Place 2001 (not re-read)."


def test_checked_reference_may_not_be_doubted_elsewhere():
    with pytest.raises(CourseError, match="someone2001: checked is true, and"):
        corrections.read_references(REFERENCES.replace("A Place", "A Place (venue not re-read)"))


def test_unknown_names_are_refused():
    with pytest.raises(CourseError, match=r"no correction 'Z9'.*A1"):
        corrections.show("B4", "Z9")
    with pytest.raises(CourseError, match="No correction belongs to chapter '77'"):
        corrections.table("77")
    with pytest.raises(CourseError, match="no reference 'nobody'"):
        corrections.references(["goodfellow2014", "nobody"])


# --- showing ----------------------------------------------------------------------------------------------------------


def test_card_shows_fault_right_form_source_and_test():
    card, entry = corrections.show("B1"), corrections.entry("B1")
    for text in (card._repr_html_(), card._repr_markdown_(), repr(card)):
        assert all(part in text for part in ("B1", entry.fault, entry.right, "Generative Adversarial Nets", entry.test))


def test_several_cards_come_in_the_order_asked_for():
    page = corrections.show("B4", "A1")._repr_html_()
    assert page.index("<b>B4</b>") < page.index("<b>A1</b>")


def test_pages_hold_no_script_and_no_fixed_colours():
    shown = [corrections.table(chapter) for chapter in CHAPTERS] + [corrections.show(*corrections.entries())]
    for page in (display._repr_html_() for display in shown):
        assert not re.search(r"<script|javascript:|\son\w+=|<link|<img|url\(", page, re.IGNORECASE)
        assert not re.search(
            r"(?<![-\w])color:|background:(?!#\w{3}1\b)", page
        )  # grey at one fifteenth: light and dark
        for tag in ("div", "b", "table", "tr", "td", "code"):
            assert len(re.findall(rf"<{tag}[ >]", page)) == page.count(f"</{tag}>")


def test_html_is_escaped():
    entry = corrections.Entry("B4", "B", "5.2", "a <b> & `x < 1`", "right", "03", "code", "test_b4", no_source="None.")
    assert "a &lt;b&gt; &amp; <code>x &lt; 1</code>" in corrections._html_card(entry)


def test_table_lists_the_chapter_and_nothing_else():
    rows = corrections.table("02")._repr_markdown_().splitlines()[2:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == [
        entry.id for entry in corrections.entries().values() if entry.chapter == "02"
    ]
    assert len({re.sub(r"\\\|", "", row).count("|") for row in rows}) == 1


def test_references_are_sorted_and_named_once():
    shown = corrections.references(["kingma2014", "goodfellow2014", "kingma2014"])
    assert shown._repr_markdown_() == (
        "- I. Goodfellow, J. Pouget-Abadie, M. Mirza, B. Xu, D. Warde-Farley, S. Ozair, A. Courville, Y. Bengio. "
        "Generative Adversarial Nets. NIPS 2014.\n"
        "- D. P. Kingma, M. Welling. Auto-Encoding Variational Bayes. ICLR 2014 (arXiv 1312.6114)."
    )
    surnames = corrections.references(["vandenoord2016", "lepaine2016", "luong2015"]).split("\n")
    assert [line.split(",")[0] for line in surnames] == ["- T. Le Paine", "- M.-T. Luong", "- A. van den Oord"]
    assert corrections.references("krumhansl1982").endswith("Psychological Review 89(4), 334-368, 1982.")
    assert "Better than One? NeurIPS 2019" in corrections.references("michel2019")
    assert corrections.references("vandenoord2016").endswith("arXiv 1609.03499, 2016.")
