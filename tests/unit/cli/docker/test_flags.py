"""Flags follow pflag's rules, errors included."""

import pytest

from wherry.cli.docker.flags import FlagError, HelpWanted, parse, read_table

TABLE = """
a,all                Everything
n,last int=-1        The newest
  name string        A name
f,filter filter      Filters
p,publish list       Ports
  only strings       Parts
  cpus decimal       CPUs
m,memory bytes       Memory
  wait duration=1s   Time
  proxy=true         Proxy
"""


def values(*words: str, interspersed: bool = True):
    return parse(read_table(TABLE, {}), list(words), types={}, interspersed=interspersed)


def test_defaults():
    flags, rest = values()
    assert rest == []
    assert (flags["all"], flags["last"], flags["name"], flags["proxy"]) == (False, -1, "", True)
    assert flags["wait"] == 10**9
    assert not flags.any_given()


def test_spellings():
    flags, rest = values("-an5", "x", "--name=y", "-p80:80", "-p", "1", "--only", "a,b", "--only=c", "y")
    assert (flags["all"], flags["last"], flags["name"]) == (True, 5, "y")
    assert flags["publish"] == ["80:80", "1"]
    assert flags["only"] == ["a", "b", "c"]
    assert rest == ["x", "y"]
    assert flags.given("name") and not flags.given("wait")


def test_the_first_argument_ends_the_flags_where_a_command_follows():
    flags, rest = values("-a", "image", "-a", "--name", "x", interspersed=False)
    assert flags["all"] and rest == ["image", "-a", "--name", "x"]


def test_two_dashes_end_the_flags():
    assert values("--", "-a")[1] == ["-a"]


def test_booleans_and_units():
    flags, _ = values("--all=false", "--proxy=0", "--cpus", "1.5", "-m", "1g", "--wait", "1m30s", "-n=3")
    assert flags["all"] is False and flags["proxy"] is False
    assert (flags["cpus"], flags["memory"], flags["wait"], flags["last"]) == (1_500_000_000, 1 << 30, 90 * 10**9, 3)


def test_filters_are_grouped():
    assert values("-f", "label=a=b", "-f", "label=c")[0]["filter"] == {"label": ["a=b", "c"]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["-ax"], "unknown shorthand flag: 'x' in -ax"),
        (["--name"], "flag needs an argument: --name"),
        (["-n"], "flag needs an argument: 'n' in -n"),
        (["--=x"], "bad flag syntax: --=x"),
        (["-n", "x"], 'invalid argument "x" for "-n, --last" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["--all=x"], 'invalid argument "x" for "-a, --all" flag: strconv.ParseBool: parsing "x": invalid syntax'),
        (
            ["-f", "x"],
            'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)',
        ),
        (["-m", "x"], 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
    ],
)
def test_errors_are_worded_as_dockers(words, message):
    with pytest.raises(FlagError) as caught:
        values(*words)
    assert str(caught.value) == message


@pytest.mark.parametrize("word", ["--help", "-h"])
def test_help(word):
    with pytest.raises(HelpWanted):
        values(word)
