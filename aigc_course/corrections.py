"""The ledger of corrections: what the source documents get wrong, the right form, a source and a test for each.

``corrections.toml`` holds the entries, ``bibliography.toml`` the references that were looked up. Both are checked when
they are first read. A chapter shows entries with ``show("B4")`` or ``table("03")`` and its sources with ``references``.
The ledger's tests are in tests/test_corrections*.py: each fails on the faulty form and passes on the course's form.
"""

import html
import re
import tomllib
from dataclasses import MISSING, dataclass, fields
from functools import cache
from pathlib import Path

from aigc_course.runtime import CourseError

KINDS = ("code", "mathematics", "text")
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Reference:
    """One work. ``checked`` is False where something is from memory or could not be confirmed; ``note`` says what."""

    id: str
    authors: list
    title: str
    venue: str
    checked: bool
    year: int = 0  # 0: not known
    arxiv: str = ""
    note: str = ""

    def __str__(self):
        year = f" {self.year}" if self.year else ""
        arxiv = f" (arXiv {self.arxiv})" if self.arxiv and "arXiv" not in self.venue else ""
        number = f" {self.arxiv}" if self.arxiv and "arXiv" in self.venue else ""
        comma = "," if year and f"{self.venue}{number}"[-1].isdigit() else ""
        doubt = "" if self.checked else " (not re-read)"
        title = self.title if self.title[-1] in "?!" else f"{self.title}."
        return f"{', '.join(self.authors)}. {title} {self.venue}{number}{comma}{year}{arxiv}{doubt}."

    @property
    def order(self) -> tuple[str, int, str]:
        """Where it stands in a list: by the first author's surname, then by year."""
        surname = re.sub(r"^(\S+\. )+", "", self.authors[0])
        return surname.casefold(), self.year, str(self)


@dataclass(frozen=True)
class Entry:
    """One correction.

    ``source`` lists bibliography ids; where it is empty, ``no_source`` says why none is needed. ``shows`` gives the
    numbers that the test reproduces, ``trap`` a check that looks right and does not catch the fault. ``stated`` is a
    pattern for the chapter's own words (only for ``kind = "text"``). ``live`` says how a chapter can show it in a cell.
    ``data`` holds recorded facts that the test reads.
    """

    id: str
    document: str
    where: str
    fault: str
    right: str
    chapter: str
    kind: str
    test: str
    source: list = ()
    no_source: str = ""
    shows: str = ""
    trap: str = ""
    stated: str = ""
    live: str = ""
    data: dict = None


class Display(str):
    """Markdown text that a notebook renders; ``page`` is the same content as HTML without scripts."""

    page: str

    def __new__(cls, markdown: str, page: str | None = None):
        self = super().__new__(cls, markdown)
        self.page = page
        return self

    def _repr_markdown_(self):
        return str(self)

    def _repr_html_(self):
        return self.page

    def __repr__(self):
        return str(self)


def entries() -> dict[str, Entry]:
    """All corrections by id, in the order of the ledger.

    Raises:
        CourseError: the ledger or the bibliography is damaged; the message names the entry and the field.
    """
    return _ledger()[1]


def entry(id: str) -> Entry:
    """The correction called ``id``, such as ``"B4"``.

    Raises:
        CourseError: there is no such correction.
    """
    if id not in entries():
        raise CourseError(f"There is no correction {id!r} in the ledger; known are {', '.join(entries())}.")
    return entries()[id]


def documents() -> dict[str, str]:
    """What each document letter stands for."""
    return _ledger()[0]


def bibliography() -> dict[str, Reference]:
    """All references by id."""
    return _references()


def cite(id: str) -> str:
    """One line of text for a reference: authors, title, venue, year, and a remark where it was not re-read.

    Raises:
        CourseError: there is no such reference.
    """
    if id not in bibliography():
        raise CourseError(f"There is no reference {id!r} in the bibliography; known are {', '.join(bibliography())}.")
    return str(bibliography()[id])


def references(ids) -> Display:
    """A Markdown list of references, sorted by the first author's surname. ``ids`` is one id or several."""
    cited = {cite(id): bibliography()[id] for id in ([ids] if isinstance(ids, str) else ids)}
    return Display("\n".join(f"- {line}" for line in sorted(cited, key=lambda line: cited[line].order)))


def show(*ids) -> Display:
    """Cards of one or several corrections, as ``show("B4")`` or ``show("B4", "B16")``: fault, right form, source, test.

    Raises:
        CourseError: an id is not in the ledger.
    """
    chosen = [entry(id) for id in ids]
    return Display("\n\n".join(map(_markdown_card, chosen)), "".join(map(_html_card, chosen)))


def table(chapter: str) -> Display:
    """One line for each correction that ``chapter`` (such as ``"03"``) teaches.

    Raises:
        CourseError: no correction belongs to that chapter.
    """
    rows = [entry for entry in entries().values() if entry.chapter == chapter]
    if not rows:
        known = sorted({entry.chapter for entry in entries().values()})
        raise CourseError(f"No correction belongs to chapter {chapter!r}; chapters with some: {', '.join(known)}.")
    return Display(_markdown_table(rows), _html_table(rows))


def source_of(entry: Entry) -> str:
    """The sources of an entry as text, or the reason why it needs none."""
    return " ".join(cite(id) for id in entry.source) or entry.no_source


# --- reading and checking the two files ------------------------------------------------------------------------------


def read_references(text: str) -> dict[str, Reference]:
    """References from the text of a bibliography file.

    Raises:
        CourseError: a field is missing, unknown, empty or of the wrong kind.
    """
    found = {id: _record(Reference, id, table, "bibliography.toml") for id, table in _parse(text).items()}
    for reference in found.values():
        if not reference.checked and not reference.note:
            _fail("bibliography.toml", reference.id, "checked", "is false, so `note` must say what was not re-read")
        if reference.checked and "not re-read" in f"{reference.title} {reference.venue} {reference.note}":
            _fail("bibliography.toml", reference.id, "checked", "is true, and yet a field says not re-read")
    return found


def read_ledger(text: str, references: dict[str, Reference]) -> tuple[dict[str, str], dict[str, Entry]]:
    """Documents and entries from the text of a ledger file, checked against ``references``.

    Raises:
        CourseError: a field is missing, unknown, empty, of the wrong kind, or names something that does not exist.
    """
    tables = _parse(text)
    letters = tables.pop("documents", {})
    found = {id: _record(Entry, id, table, "corrections.toml") for id, table in tables.items()}
    for entry in found.values():
        _check_entry(entry, letters, references)
    return letters, found


@cache
def _references():
    return read_references((_FOLDER / "bibliography.toml").read_text(encoding="utf-8"))


@cache
def _ledger():
    return read_ledger((_FOLDER / "corrections.toml").read_text(encoding="utf-8"), _references())


def _parse(text):
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"The ledger of corrections cannot be read: {error}.") from None


def _fail(file, id, field, problem):
    raise CourseError(f"{file}, {id}: {field} {problem}.")


def _record(kind, id, table, file):
    """Make a ``Reference`` or an ``Entry`` from a TOML table: no unknown, missing, empty or wrongly typed field."""
    known = {field.name: field for field in fields(kind) if field.name != "id"}
    for name, value in table.items():
        if name not in known:
            _fail(file, id, name, f"is not a field; known are {', '.join(known)}")
        if not isinstance(value, known[name].type):
            _fail(file, id, name, f"must be {known[name].type.__name__}, not {type(value).__name__}")
        if value in ("", []):
            _fail(file, id, name, "is empty; leave it out instead")
    for name, field in known.items():
        if field.default is MISSING and name not in table:
            _fail(file, id, name, "is missing")
    return kind(id=id, **table)


def _check_entry(entry, letters, references):
    def fail(field, problem):
        _fail("corrections.toml", entry.id, field, problem)

    if not re.fullmatch(r"[A-Z]\d+", entry.id):
        fail("id", "must be a capital letter and a number, such as B4")
    if entry.document not in letters or entry.document != entry.id[0]:
        fail("document", f"is {entry.document!r}, which is not the letter of a listed document and of the id")
    if entry.kind not in KINDS:
        fail("kind", f"is {entry.kind!r}; choose one of {', '.join(KINDS)}")
    if not re.fullmatch(r"\d\d", entry.chapter):
        fail("chapter", "must be two digits, such as 03")
    if not entry.test.startswith("test_"):
        fail("test", "must be the name of a test function")
    if bool(entry.source) == bool(entry.no_source):
        fail("source", "must name references, or no_source must say why none is needed (one of the two)")
    for id in entry.source:
        if id not in references:
            fail("source", f"names {id!r}, which is not in bibliography.toml")
    if (entry.kind == "text") != bool(entry.stated):
        fail("stated", "belongs to text entries, and every text entry needs it")


# --- how entries look ------------------------------------------------------------------------------------------------

_CARD = "border-left:4px solid #8884;padding:.4em .9em;margin:.6em 0;background:#8881;max-width:60em"
_CELL = "text-align:left;vertical-align:top;padding:.3em .6em;border-bottom:1px solid #8884"


def _where(entry):
    return f"document {entry.document}, {entry.where}"


def _parts(entry):
    """Label and text of each line of a card."""
    lines = {"As written": entry.fault, "Right": entry.right, "The test shows": entry.shows, "Trap": entry.trap}
    return {label: text for label, text in lines.items() if text}


def _footer(entry):
    return f"Source: {source_of(entry)} Test: `{entry.test}`."


def _markdown_card(entry):
    lines = "".join(f"\n- **{label}:** {text}" for label, text in _parts(entry).items())
    return f"**{entry.id}** ({_where(entry)})\n{lines}\n- {_footer(entry)}"


def _inline(text):
    """HTML of a line of text: everything escaped, and `code` between backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def _html_card(entry):
    lines = "".join(f"<div><b>{label}:</b> {_inline(text)}</div>" for label, text in _parts(entry).items())
    head = f"<div><b>{entry.id}</b> ({_inline(_where(entry))})</div>"
    foot = f'<div style="font-size:.85em;opacity:.8">{_inline(_footer(entry))}</div>'
    return f'<div style="{_CARD}">{head}{lines}{foot}</div>'


_HEAD = ("id", "where", "as written", "right")


def _row(entry):
    return entry.id, _where(entry), entry.fault, entry.right


def _markdown_table(rows):
    cells = [_HEAD, ("---",) * len(_HEAD), *map(_row, rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells)


def _html_table(rows):
    head = "".join(f'<th scope="col" style="{_CELL}">{cell}</th>' for cell in _HEAD)
    body = "".join(
        "<tr>" + "".join(f'<td style="{_CELL}">{_inline(cell)}</td>' for cell in _row(entry)) + "</tr>"
        for entry in rows
    )
    return f'<table style="border-collapse:collapse"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
