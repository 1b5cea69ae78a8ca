"""Columns aligned by spaces."""

from __future__ import annotations


def render(rows: list[list[str]], *, minimum: int = 10, padding: int = 3) -> str:
    """Rows of cells as lines: each column as wide as its widest cell plus `padding`, at least `minimum`.

    The last cell of a row is not padded. Rows may have different lengths; a column's width counts only cells that
    have another behind them.
    """
    widths: list[int] = []
    for row in rows:
        for number, cell in enumerate(row[:-1]):
            width = max(minimum, len(cell) + padding)
            if number == len(widths):
                widths.append(width)
            elif width > widths[number]:
                widths[number] = width
    return "".join(
        "".join(cell.ljust(widths[number]) for number, cell in enumerate(row[:-1])) + row[-1] + "\n" if row else "\n"
        for row in rows
    )
