"""The report: sections of lines that say what, Nyala, peer, ratio and whether the bar is met.

Every figure that can be is a ratio against a peer that ran in the same run on the same data,
because absolute times tell about the machine. Owns no measurement.
"""

import math
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Bar:
    """What a figure has to be."""

    limit: float
    at_least: bool
    unit: str = "x"

    def __str__(self):
        return f"{'at least' if self.at_least else 'at most'} {self.limit:,g}{self.unit}"

    def verdict(self, figure):
        met = figure >= self.limit if self.at_least else figure <= self.limit
        return "met" if met else "**missed**"


def at_least(limit, unit="x"):
    return Bar(limit, True, unit)


def at_most(limit, unit="x"):
    return Bar(limit, False, unit)


@dataclass
class Section:
    title: str
    header: tuple
    note: str
    rows: list = field(default_factory=list)
    problems: list = field(default_factory=list)

    def markdown(self):
        lines = [f"## {self.title}", ""]
        if self.note:
            lines += [self.note, ""]
        lines += [table_line(self.header), table_line("---" for _ in self.header)]
        lines += [table_line(row) for row in self.rows]
        if self.problems:
            lines += ["", "Problems:", ""] + [f"- {problem}" for problem in self.problems]
        return "\n".join([*lines, ""])


def table_line(cells):
    return "| " + " | ".join(cells) + " |"


class Report:
    def __init__(self):
        self.sections = []

    def section(self, title, peer, unit, note=""):
        self.table(title, ("what", f"Nyala ({unit})", f"{peer} ({unit})", "ratio", "bar", ""), note)

    def table(self, title, header, note=""):
        """A section with columns of its own."""
        self.sections.append(Section(title, header, note))
        print(f"\n## {title}: {', '.join(header)}", flush=True)

    def row(self, *cells):
        self.sections[-1].rows.append(cells)
        print("  ".join(cell for cell in cells if cell), flush=True)

    def line(self, what, ours, theirs, bar=None):
        """A figure of both sides. The ratio is ours to theirs."""
        ratio = ours / theirs
        verdict = bar.verdict(ratio) if bar else ""
        self.row(what, f"{ours:,.4g}", f"{theirs:,.4g}", f"{ratio:.2f}x", str(bar or ""), verdict)

    def fact(self, what, value, bar=None):
        """A figure without a peer."""
        verdict = bar.verdict(value) if bar else ""
        self.row(what, figure(value), "", "", str(bar or ""), verdict)

    def ratio(self, what, value, bar=None):
        """A ratio that sums up lines above it."""
        verdict = bar.verdict(value) if bar else ""
        self.row(what, "", "", f"{value:.2f}x", str(bar or ""), verdict)

    def problem(self, text):
        """Something wrong that was found on the way: told, not hidden."""
        self.sections[-1].problems.append(" ".join(text.split()).replace("|", "\\|"))
        print(f"PROBLEM: {text}", flush=True)

    def markdown(self):
        return "\n".join(section.markdown() for section in self.sections)


def figure(value):
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 1000 else f"{value:,.4g}"


def geometric_mean(values):
    return math.exp(sum(map(math.log, values)) / len(values))
