"""Tables of scores, as plain text and as HTML, and what reports beside real and shuffled data have in common."""

import html
from dataclasses import asdict, fields


def text_table(head, rows) -> str:
    """Columns as wide as their longest cell, a line under the head."""
    lines = [head, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(text)


def html_table(caption, head, rows) -> str:
    """The first cell of each row names it."""
    top = "".join(f'<th scope="col">{cell}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{html.escape(row[0].strip())}</th>'
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in row[1:])
        + "</tr>"
        for row in rows
    )
    return f"<table><caption>{html.escape(caption)}</caption><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


class BesideReal:
    """Base of dataclasses with the figures of three sets: ``generated``, held-out ``real``, and those ``shuffled``.

    A subclass adds its counts as fields ``num_...``, its ``caption()`` and ``rows()``; ``things`` names what is scored.
    """

    things = "samples"

    def as_dict(self) -> dict[str, float]:
        """The figures of a card, rounded to four decimals: the samples', then ``..._real`` and ``..._shuffled``."""
        counts = {field.name: getattr(self, field.name) for field in fields(self) if field.name.startswith("num_")}
        sets = {"": self.generated, "_real": self.real, "_shuffled": self.shuffled}
        figures = {f"{name}{end}": round(value, 4) for end, one in sets.items() for name, value in asdict(one).items()}
        return {**counts, **figures}

    def row(self, name, field, better, pattern="{:.1%}"):
        """Name, the three figures of one field, and which way is better."""
        sets = (self.generated, self.real, self.shuffled)
        return (name, *(pattern.format(getattr(one, field)) for one in sets), better)

    def _head(self):
        return ("score", "samples", f"real {self.things}", "shuffled", "better")

    def table(self) -> str:
        """Plain text: every score beside its ceiling and its floor."""
        return "\n".join([self.caption(), text_table(self._head(), self.rows())])

    def __str__(self):
        return self.table()

    def _repr_html_(self) -> str:
        return html_table(self.caption(), self._head(), self.rows())
