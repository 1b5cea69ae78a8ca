"""Columns aligned as Go's tabwriter aligns them for kubectl: at least `minimum` wide, three spaces apart."""

from collections.abc import Sequence

SEPARATOR = 3
MINIMUM = 6


def lines(rows: Sequence[Sequence[str]], *, minimum: int = MINIMUM, padding: int = SEPARATOR) -> list[str]:
    """Rows as aligned lines. A cell's column ends with it, so the last cell of a row takes part in no width.

    A column is a run of neighbouring rows that have a cell (not the last) there; only they share a width.
    """
    out = [""] * len(rows)
    _format(rows, 0, len(rows), 0, out, minimum, padding)
    return out


def _format(
    rows: Sequence[Sequence[str]], start: int, end: int, column: int, out: list[str], minimum: int, padding: int
) -> None:
    at = start
    while at < end:
        if len(rows[at]) - 1 <= column:
            if len(rows[at]) - 1 == column:
                out[at] += rows[at][column]
            at += 1
            continue
        stop = at
        while stop < end and len(rows[stop]) - 1 > column:
            stop += 1
        width = max(len(rows[index][column]) for index in range(at, stop))
        width = max(minimum, width + padding)
        for index in range(at, stop):
            out[index] += rows[index][column].ljust(width)
        _format(rows, at, stop, column + 1, out, minimum, padding)
        at = stop


def write(rows: Sequence[Sequence[str]]) -> None:
    for line in lines(rows):
        print(line)


def tabbed(text: str, *, padding: int = 2, minimum: int = 0) -> str:
    """A text with tabs, aligned: as kubectl's describe lays it out. Lines without a tab end a column."""
    rows = [line.split("\t") for line in text.split("\n")]
    return "\n".join(lines(rows, minimum=minimum, padding=padding))
