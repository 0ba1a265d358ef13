"""The table of chapters in README.md, made from what the chapters promise.

Title, promise and minutes come from the first text cell of ``chapters/src/NN_topic.py`` (a shorter promise may stand as
``learn`` in ``chapters/profiles.toml``), figures from the bands in ``chapters/expected.toml``. A test fails when the
table is out of date.
"""

import re
import tomllib
from pathlib import Path

from aigc_course.runtime import CourseError, course_root, write_whole

BEGIN = "<!-- chapters: made by `aigc-course build --readme` -->"
END = "<!-- end of chapters -->"
HEADER = "| Chapter | What you learn | Minutes | Figures reached, and their band |\n|---|---|---:|---|"
MOST_FIGURES = 3


def renew() -> bool:
    """Bring the table in README.md up to date; return whether anything changed."""
    path = course_root() / "README.md"
    old = path.read_text(encoding="utf-8")
    new = with_table(old)
    if new == old:
        return False
    write_whole({path: new.encode("utf-8")})
    return True


def with_table(text: str) -> str:
    """``text`` with the table between its two markers made anew."""
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise CourseError(f"README.md must hold the lines {BEGIN!r} and {END!r} once; restore them.")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    """The table of chapters in Markdown, one row for every source in ``chapters/src``."""
    chapters = course_root() / "chapters"
    profiles, expected = _toml(chapters / "profiles.toml"), _toml(chapters / "expected.toml")
    sources = sorted((chapters / "src").glob("[0-9][0-9]_*.py"))
    return "\n".join([HEADER, *(row(source, profiles, expected) for source in sources)])


def row(source: Path, profiles: dict, expected: dict) -> str:
    """One row: link, promise, minutes, figures."""
    title, promise, minutes = opening(source.read_text(encoding="utf-8"), source.name)
    promise = profiles.get(source.stem, {}).get("learn", promise)
    cells = [f"[{title}](chapters/{source.stem}.ipynb)", promise, minutes, figures(source.stem[3:], expected)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def opening(text: str, name: str) -> tuple[str, str, str]:
    """Title, promise and minutes of a chapter: ``# NN · Title``, the paragraph below, and ``N minutes``."""
    cell = re.search(r"^# # .+\n(#.*\n)*", text, re.MULTILINE)
    title, *paragraphs = re.split(r"\n#\s*\n(?:#\s*\n)*", cell[0].rstrip("\n#% ")) if cell else [""]
    minutes = re.search(r"(\d+) minutes", " ".join(paragraphs))
    if not paragraphs or not minutes:
        raise CourseError(
            f"chapters/src/{name} must begin with `# NN · Title`, a paragraph of promise, and `N minutes`."
        )
    promise = " ".join(line.removeprefix("# ").strip() for line in paragraphs[0].splitlines())
    return title.removeprefix("# # ").strip(), promise.replace("*", "").replace("](", "](chapters/"), minutes[1]


def figures(topic: str, expected: dict) -> str:
    """The chapter's promised figures with their bands in the class profile: those marked ``headline``, or the first."""
    bands = {key: band for key, band in expected.items() if key.startswith(f"{topic}/")}
    chosen = [band for band in bands.values() if band.get("headline")] or list(bands.values())
    return "; ".join(_figure(band) for band in chosen[:MOST_FIGURES]) or "–"


def _figure(band: dict) -> str:
    low, high = band.get("class") or band.get("all") or band.get("full") or band.get("quick") or (None, None)
    return f"{band.get('what', '').rstrip('.')}: {_band(low, high)}"


def _band(low, high) -> str:
    """A band in words; a side that is None or infinite is open."""
    open_low, open_high = low in (None, float("-inf")), high in (None, float("inf"))
    if open_low and open_high:
        return "any"
    if open_low or open_high:
        return f"at most {high:g}" if open_low else f"at least {low:g}"
    return f"{low:g} to {high:g}"


def _toml(path: Path) -> dict:
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
