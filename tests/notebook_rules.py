"""What must hold in every notebook and what no run can see: one small function for each rule.

A rule takes a notebook and returns a list of findings, empty when all is well. ``tests/test_notebooks.py`` shows that
each rule fires, and applies them to the real chapters.
"""

import ast
import base64
import re
import struct
import symtable
from collections import Counter
from html.parser import HTMLParser
from itertools import groupby, pairwise
from pathlib import Path

from aigc_course.notebook_runs import output_faults

MAX_LINES, MAX_IN_A_ROW, MAX_PIXELS, MAX_PICTURE = 25, 3, 1600, 400_000
BACKENDS = {"tf", "tensorflow", "torch", "jax", "jnp"}


# What the rules see of a notebook


def code(notebook) -> list[tuple[int, str]]:
    """Number, counted from 1 as a reader does, and text of every code cell; magics are dropped, so that it parses."""
    return [
        (number, re.sub(r"^(\s*)[%!].*$", r"\1pass", cell.source, flags=re.M))
        for number, cell in enumerate(notebook.cells, start=1)
        if cell.cell_type == "code"
    ]


def trees(notebook):
    """Number and syntax tree of every code cell."""
    return [(number, ast.parse(source)) for number, source in code(notebook)]


def prose(notebook) -> str:
    """All text cells, one after the other."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def without_blocks(text: str) -> str:
    """``text`` without its fenced code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def outputs(notebook):
    """Cell number and output, for every output."""
    for number, cell in enumerate(notebook.cells, start=1):
        for output in cell.get("outputs", []):
            yield number, output


def output_texts(notebook):
    """Cell number and text, for every textual part of every output."""
    for number, output in outputs(notebook):
        yield number, output.get("text", "")
        for kind, value in output.get("data", {}).items():
            if kind.startswith("text/") or kind == "application/json":
                yield number, re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,", str(value))


def elements(notebook):
    """Cell number, name and attributes of every HTML element in every output."""
    for number, output in outputs(notebook):
        reader = _Elements()
        reader.feed(str(output.get("data", {}).get("text/html", "")))
        yield from ((number, tag, held) for tag, held in reader.found)


class _Elements(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))


# Rules about the run


def executed(notebook):
    """Every code cell has run, from the top, once."""
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    return [] if counts == list(range(1, len(counts) + 1)) else [f"execution counts are {counts}, not 1, 2, 3, …"]


def publishable(notebook):
    """No error, stderr, bare widget or memory address in an output."""
    return output_faults(notebook)


def checks_can_fail(notebook):
    """A cell whose output nbval is to compare has a count, some text and no picture: pictures are never compared."""
    return [
        f"cell {number}: nbval-check-output needs an execution count and an output of text alone, or it never fails"
        for number, cell in enumerate(notebook.cells, start=1)
        if "nbval-check-output" in cell.metadata.get("tags", [])
        and (cell.get("execution_count") is None or not cell.outputs or not all(map(_compared, cell.outputs)))
    ]


def _compared(output) -> bool:
    """Does nbval compare all that this output says?"""
    if output.output_type == "stream":
        return bool(output.text.strip())
    return set(output.get("data", {})) <= {"text/plain", "text/markdown", "text/html", "application/json"}


def no_silenced_check(notebook):
    """No cell tells nbval to look away."""
    return [
        f"cell {number}: {match[0]} hides a failure"
        for number, source in code(notebook)
        if (match := re.search(r"NBVAL_(SKIP|IGNORE_OUTPUT|RAISES_EXCEPTION)|PYTEST_VALIDATE_IGNORE_OUTPUT", source))
    ]


def no_machine_trace(notebook):
    """No output names a folder of a machine, a local address or a package registry."""
    trace = re.compile(
        r"(?<![\w.~:/-])/(?:work|tmp|home|Users|root|opt|usr|var|mnt|content)/[\w.-]+|\b[A-Z]:\\\w"
        r"|site-packages|127\.0\.0\.1|localhost:\d|pypi\.org|pythonhosted|npmjs|--index-url"
    )
    return [
        f"cell {number}: output says {match[0]!r}"
        for number, text in output_texts(notebook)
        if (match := trace.search(text))
    ]


def pictures(notebook):
    """Pictures are PNG, not wider than a screen and not heavy."""
    found = []
    for number, output in outputs(notebook):
        data = output.get("data", {})
        found += [f"cell {number}: a picture as {kind}" for kind in data if re.match(r"image/(?!png|svg)", kind)]
        if "image/png" in data:
            found += [f"cell {number}: {fault}" for fault in _png_faults(base64.b64decode(data["image/png"]))]
    return found


def _png_faults(png: bytes) -> list[str]:
    width, height = struct.unpack(">II", png[16:24])
    faults = [f"a picture of {width} x {height} pixels"] if max(width, height) > MAX_PIXELS else []
    return faults + ([f"a picture of {len(png):,} bytes"] if len(png) > MAX_PICTURE else [])


# Rules about the code


def parses(notebook):
    """Every code cell is Python."""
    found = []
    for number, source in code(notebook):
        try:
            compile(source, f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        except SyntaxError as error:
            found.append(f"cell {number}: {error}")
    return found


def backend_neutral(notebook):
    """No chapter speaks to TensorFlow, PyTorch or JAX by name: keras.ops works on all three."""
    return [
        f"cell {number}: uses {name}" for number, tree in trees(notebook) for name in sorted(_roots(tree) & BACKENDS)
    ]


def _roots(tree) -> set[str]:
    """First parts of all dotted names that are imported or used."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    imports = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    imports += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    return names | {name.split(".")[0] for name in imports}


def short_cells(notebook):
    """Nine code cells in ten have at most 25 lines."""
    lengths = {number: len(source.strip().splitlines()) for number, source in code(notebook)}
    long = [f"{number} ({lines} lines)" for number, lines in lengths.items() if lines > MAX_LINES]
    return [f"long code cells: {', '.join(long)}"] if len(long) > len(lengths) / 10 else []


def no_profile_branch(notebook):
    """A chapter reads its sizes and never asks which profile is active."""
    asks = re.compile(r"AIGC_PROFILE|\.profile(\(\))?\s*(==|!=|in\b)")
    return [f"cell {number}: branches on the profile" for number, source in code(notebook) if asks.search(source)]


def functions_stand_alone(notebook):
    """No function or class reads a notebook variable: it could not move to the package."""
    tables = [(number, symtable.symtable(source, f"cell {number}", "exec")) for number, source in code(notebook)]
    variables = {name for _, table in tables for name in _variables(table)}
    return [
        f"cell {number}: {inner.get_name()} reads the notebook's {', '.join(sorted(leaks))}"
        for number, table in tables
        for inner in _functions(table)
        if (leaks := {s.get_name() for s in inner.get_symbols() if s.is_global() and s.is_referenced()} & variables)
    ]


def _variables(table):
    """Lower-case names that a cell assigns at its top level, beside its imports, functions and classes."""
    for symbol in table.get_symbols():
        plain = symbol.is_assigned() and not symbol.is_imported() and not symbol.is_namespace()
        if plain and not symbol.get_name().isupper():
            yield symbol.get_name()


def _functions(table):
    """All named functions in a symbol table, however deep; lambdas and comprehensions belong to their cell."""
    for child in table.get_children():
        if child.get_type() == "function" and child.get_name() not in (
            "lambda",
            "genexpr",
            "listcomp",
            "dictcomp",
            "setcomp",
        ):
            yield child
        yield from _functions(child)


def defined_once(notebook):
    """No function or class is defined in two cells."""
    names = Counter(
        node.name
        for _, tree in trees(notebook)
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    )
    return [f"{name} is defined {count} times" for name, count in names.items() if count > 1]


def seeded(notebook):
    """Random numbers and training come with a seed."""
    everything = "\n".join(source for _, source in code(notebook))
    random = re.search(r"random\.|\.fit\(|\.sample\(", everything)
    return [f"{random[0]} without a seed anywhere"] if random and "seed" not in everything else []


def same_as_package(notebook, root=Path(__file__).parents[1]):
    """A cell that begins with ``# same as: aigc_course/vae.py::name`` has not drifted from that definition."""
    found = []
    for number, source in code(notebook):
        if match := re.match(r"#\s*same as:\s*(\S+)::(\w+)", source):
            path = root / match[1]
            theirs = _definition(path.read_text(encoding="utf-8"), match[2]) if path.is_file() else None
            if theirs is None or theirs != _definition(source, match[2]):
                found.append(f"cell {number}: differs from {match[1]}::{match[2]}")
    return found


def _definition(source: str, name: str) -> str | None:
    """The text of a function or class without comments and docstrings, or None if it is not there."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            for inner in ast.walk(node):
                if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(inner):
                    inner.body = inner.body[1:] or [ast.Pass()]
            return ast.unparse(node)
    return None


# Rules about words and pictures


def words_between(notebook):
    """At most three code cells in a row without words."""
    runs = [len(list(cells)) for kind, cells in groupby(cell.cell_type for cell in notebook.cells) if kind == "code"]
    return [f"{run} code cells in a row" for run in runs if run > MAX_IN_A_ROW]


def described(notebook):
    """Every picture in an output carries an alternative text, one that is written in HTML too."""
    advice = "a picture without alt text; show it by plots.show(picture, alt=...) or widgets.explore"
    found = [
        f"cell {number}: {advice}"
        for number, output in outputs(notebook)
        for kind in output.get("data", {})
        if kind.startswith("image/") and not str(output.metadata.get(kind, {}).get("alt", "")).strip()
    ]
    return found + [f"cell {number}: {advice}" for number, tag, held in elements(notebook) if _silent(tag, held)]


def _silent(tag, held) -> bool:
    """An element that is seen as a picture and not heard as one."""
    return (tag == "img" and not held.get("alt")) or (held.get("role") == "img" and not held.get("aria-label"))


def self_contained(notebook):
    """No HTML in an output has a script, a style sheet or a part from elsewhere: it shows the same without trust."""
    foreign = {"script", "style", "link", "iframe", "object", "embed", "svg"}
    return [
        f"cell {number}: HTML with a <{tag}> that JupyterLab drops where a notebook is not trusted, or fetches"
        for number, tag, held in elements(notebook)
        if tag in foreign
        or not (held.get("src") or "data:").startswith("data:")
        or re.search(r"url\(|var\(", held.get("style") or "")
        or any(name.startswith("on") for name in held)
    ]


def headings(notebook):
    """One title, in the first cell; no two sections with one heading; section numbers in order."""
    text = without_blocks(prose(notebook))
    found = (
        [] if notebook.cells and re.match(r"# \S", notebook.cells[0].source) else ["the first cell is not the title"]
    )
    titles = re.findall(r"^# .+$", text, re.M)
    found += [f"{len(titles)} titles"] if len(titles) != 1 else []
    sections = Counter(section.strip() for section in re.findall(r"^##+ (.+)$", text, re.M))
    found += [f"two sections are called {name!r}" for name, count in sections.items() if count > 1]
    numbers = [int(n) for n in re.findall(r"^## (\d+)[.:) ]", text, re.M)]
    return found + [f"section {b} follows section {a}" for a, b in pairwise(numbers) if b != a + 1]


def no_stranded_code(notebook):
    """No text cell holds a function or class outside a code block."""
    stranded = re.search(r"^    (def|class) \w+.*:\s*$", without_blocks(prose(notebook)), re.M)
    return [f"code in a text cell: {stranded[0].strip()}"] if stranded else []


def word_count(notebook) -> int:
    """English words of all text cells, code blocks and formulas aside."""
    text = re.sub(r"\$\$.*?\$\$|\$[^$\n]*\$", " ", without_blocks(prose(notebook)), flags=re.S)
    return len(re.findall(r"[A-Za-z][A-Za-z'’-]*", text))


RULES = (
    executed,
    publishable,
    checks_can_fail,
    no_silenced_check,
    no_machine_trace,
    pictures,
    parses,
    backend_neutral,
    short_cells,
    no_profile_branch,
    functions_stand_alone,
    defined_once,
    seeded,
    same_as_package,
    words_between,
    described,
    self_contained,
    headings,
    no_stranded_code,
)


def findings(notebook) -> list[str]:
    """What all rules find."""
    if unparsable := parses(notebook):
        return unparsable
    return [f"{rule.__name__}: {finding}" for rule in RULES for finding in rule(notebook)]


# Rules about the sources


def links(text: str) -> list[str]:
    """Relative link targets of a Markdown text, without anchors."""
    targets = re.findall(r"""\]\(([^)\s]+)\)|(?:src|href)=["']([^"']+)["']""", without_blocks(text))
    targets = [(a or b).split("#")[0] for a, b in targets]
    return [target for target in targets if target and not re.match(r"[a-z][a-z0-9+.-]*:", target)]


def unanswered(cells) -> list[str]:
    """Exercises that no answer follows, and answers to nothing."""
    tags = [set(cell.metadata.get("tags", [])) & {"exercise", "solution"} for cell in cells if cell.cell_type == "code"]
    order = [next(iter(tag)) if tag else "" for tag in tags]
    found = [
        "an exercise has no solution after it" for a, b in pairwise([*order, ""]) if a == "exercise" and b != "solution"
    ]
    found += [
        "a solution has no exercise before it" for a, b in pairwise(["", *order]) if b == "solution" and a != "exercise"
    ]
    return found


def promises(source: str) -> list[str]:
    """Keys that a chapter's source gives to ``check.between``, as regular expressions (an f-string has gaps)."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    return [
        _pattern(call.args[0])
        for call in calls
        if re.fullmatch(r"(check\.)?between", ast.unparse(call.func)) and call.args
    ]


def _pattern(key) -> str:
    if isinstance(key, ast.Constant):
        return re.escape(str(key.value))
    if isinstance(key, ast.JoinedStr):
        return "".join(re.escape(part.value) if isinstance(part, ast.Constant) else ".+" for part in key.values)
    raise ValueError(f"check.between({ast.unparse(key)}): write the key where it is used")


def broken_promises(patterns: list[str], keys: list[str]) -> list[str]:
    """Keys that are used and have no band, and bands that no chapter uses."""
    found = [f"{pattern} has no band" for pattern in patterns if not any(re.fullmatch(pattern, key) for key in keys)]
    return found + [f"{key} is used by no chapter" for key in keys if not any(re.fullmatch(p, key) for p in patterns)]
