from wherry.compose.log_printer import LogPrinter


def printed(*, colour: bool = False, prefix: bool = True) -> tuple[list[bytes], LogPrinter]:
    found: list[bytes] = []
    return found, LogPrinter(found.append, colour=colour, prefix=prefix)


def test_names_are_aligned_and_lines_are_whole() -> None:
    found, printer = printed()
    printer.register(["db-1", "worker-1"])
    printer.feed("db-1", 1, b"one\nhal")
    printer.feed("worker-1", 1, b"two\r\n")
    printer.feed("db-1", 1, b"f\n")
    assert b"".join(found) == b"db-1      | one\nworker-1  | two\ndb-1      | half\n"


def test_a_last_line_without_an_end_is_printed() -> None:
    found, printer = printed(prefix=False)
    printer.feed("a", 1, b"out")
    printer.feed("a", 2, b"err\n")
    printer.end("a")
    assert b"".join(found) == b"err\nout\n"


def test_each_name_has_its_colour() -> None:
    found, printer = printed(colour=True)
    printer.register(["a", "b"])
    printer.feed("b", 1, b"x\n")
    printer.feed("a", 1, b"y\n")
    assert b"".join(found) == b"\x1b[33mb  | \x1b[0mx\n\x1b[36ma  | \x1b[0my\n"
