"""Flags are read as Go's pflag reads them, with its messages."""

import pytest

from wherry.cli.kubectl.errors import FlagError
from wherry.cli.kubectl.flags import Flag, Options, parse, seconds

FLAGS = (
    Flag("output", "o"),
    Flag("watch", "w", "bool", False),
    Flag("replicas", "", "int", 1),
    Flag("filename", "f", "list", ()),
    Flag("env", "e", "array", ()),
    Flag("dry-run", "", "opt:unchanged", "none"),
    Flag("timeout", "", "duration", 0.0),
)


def read(*words: str) -> Options:
    return parse(list(words), FLAGS)


def test_flags_stand_anywhere() -> None:
    options = read("pods", "-o", "yaml", "web", "--replicas=3", "-w")
    assert (options.arguments, options["output"], options["replicas"], options["watch"]) == (
        ["pods", "web"],
        "yaml",
        3,
        True,
    )


@pytest.mark.parametrize("words", [("-oyaml",), ("-o=yaml",), ("--output", "yaml"), ("--output=yaml",), ("-woyaml",)])
def test_spellings_of_a_value(words: tuple[str, ...]) -> None:
    assert read(*words)["output"] == "yaml"


def test_everything_after_two_dashes_is_an_argument() -> None:
    options = read("pod", "--", "ls", "-l")
    assert (options.arguments, options.dash_at) == (["pod", "ls", "-l"], 1)


def test_lists_split_at_commas_and_arrays_do_not() -> None:
    options = read("-f", "a,b", "-f", "c", "-e", "A=1,2", "--env", "B=3")
    assert (options["filename"], options["env"]) == (["a", "b", "c"], ["A=1,2", "B=3"])


def test_a_flag_with_an_optional_value() -> None:
    assert read("--dry-run")["dry-run"] == "unchanged"
    assert read("--dry-run", "client").arguments == ["client"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--nope",), "unknown flag: --nope"),
        (("-z",), "unknown shorthand flag: 'z' in -z"),
        (("-wz",), "unknown shorthand flag: 'z' in -wz"),
        (("--output",), "flag needs an argument: --output"),
        (("-o",), "flag needs an argument: 'o' in -o"),
        (
            ("--replicas=x",),
            'invalid argument "x" for "--replicas" flag: strconv.ParseInt: parsing "x": invalid syntax',
        ),
        (
            ("-w=maybe",),
            'invalid argument "maybe" for "-w, --watch" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
        ),
        (("--timeout=5",), 'invalid argument "5" for "--timeout" flag: time: missing unit in duration "5"'),
    ],
)
def test_messages(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(FlagError) as error:
        read(*words)
    assert str(error.value) == message


def test_durations() -> None:
    assert [seconds(text) for text in ("1m30s", "500ms", "0", "-1s", "1.5h")] == [90.0, 0.5, 0.0, -1.0, 5400.0]
