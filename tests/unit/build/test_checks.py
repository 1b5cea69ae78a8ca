import pytest

from wherry.build.checks import Warning, check
from wherry.build.errors import DockerfileError
from wherry.build.ignore import Patterns
from wherry.build.instructions import interpret
from wherry.build.parser import parse


def said(text: str, ignore: Patterns | None = None) -> list[tuple[int, str]]:
    return [(warning.line, warning.rule) for warning in check(interpret(parse(text)), ignore)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('FROM scratch\nCMD ["x"]\n', []),
        ("FROM scratch\nCMD x\n", [(2, "JSONArgsRecommended")]),
        ("FROM scratch\n\nENTRYPOINT exec x\n", [(3, "JSONArgsRecommended")]),
        ('FROM scratch\nSHELL ["/bin/bash", "-c"]\nCMD x\n', []),
        ('FROM scratch\nCMD ["x"]\nCMD ["y"]\n', [(2, "MultipleInstructionsDisallowed")]),
        ("FROM scratch\nARG DB_PASSWORD\n", [(2, "SecretsUsedInArgOrEnv")]),
        ("FROM scratch\nENV API_TOKEN=x\n", [(2, "SecretsUsedInArgOrEnv")]),
        ("FROM scratch\nENV PUBLIC_KEY=x TOKENIZER=y\n", []),
        ("FROM scratch\nENV A b\n", [(2, "LegacyKeyValueFormat")]),
        ("FROM scratch\nMAINTAINER me\n", [(2, "MaintainerDeprecated")]),
        ("FROM scratch AS Builder\n", [(1, "StageNameCasing")]),
        ("FROM scratch AS a\nFROM scratch AS a\n", [(2, "DuplicateStageName")]),
        ("FROM scratch AS context\n", [(1, "ReservedStageName")]),
        ("FROM scratch as a\n", [(1, "FromAsCasing")]),
        ("FROM scratch\nlabel a=1\nENV B=2\n", [(2, "ConsistentInstructionCasing")]),
        ("from scratch\nlabel a=1\n", []),
        ("FROM scratch\nLABEL a=1 \\\n\n  b=2\n", [(4, "NoEmptyContinuation")]),
        ("FROM scratch\nWORKDIR app\n", [(2, "WorkdirRelativePath")]),
        ("FROM scratch\nWORKDIR /app\nWORKDIR sub\n", []),
        ("FROM $BASE\n", [(1, "InvalidDefaultArgInFrom"), (1, "UndefinedArgInFrom")]),
        ("ARG TAG\nFROM busybox:$TAG\n", [(2, "InvalidDefaultArgInFrom")]),
        ("ARG TAG=1\nFROM busybox:$TAG\n", []),
        ("FROM --platform=linux/amd64 busybox\n", [(1, "FromPlatformFlagConstDisallowed")]),
        ("FROM --platform=$BUILDPLATFORM busybox\n", []),
        ("FROM --platform=$TARGETPLATFORM busybox\n", [(1, "RedundantTargetPlatform")]),
        ("FROM scratch\nCOPY $SRC /\n", [(2, "UndefinedVar")]),
        ("FROM scratch\nARG SRC\nCOPY $SRC /\n", []),
        ("FROM busybox\nCOPY $FROM_THE_BASE /\n", []),
        ("# check=skip=JSONArgsRecommended\nFROM scratch\nCMD x\n", []),
        ("# check=skip=all\nFROM scratch\nCMD x\n", []),
    ],
)
def test_a_rule_speaks_with_its_line(text: str, expected: list[tuple[int, str]]) -> None:
    assert said(text) == expected


def test_what_the_ignore_file_hides_cannot_be_copied() -> None:
    text = "FROM scratch\nCOPY secret.txt ok.md /\nCOPY --from=0 secret.txt /\n"
    assert said(text, Patterns(["secret.*"])) == [(2, "CopyIgnoredFile")]


def test_a_directive_makes_errors() -> None:
    with pytest.raises(DockerfileError, match="lint violation found for rules: JSONArgsRecommended") as error:
        said("# check=error=true\nFROM scratch\nCMD x\n")
    assert error.value.line == 3


def test_ports_are_checked_and_each_rule_has_its_page() -> None:
    parsed = interpret(parse("FROM scratch\nEXPOSE 80/TCP 127.0.0.1:1:2 90/udp\n"))
    found = check(parsed)
    assert [(warning.rule, warning.line) for warning in found] == [("ExposeInvalidFormat", 2), ("ExposeProtoCasing", 2)]
    assert found[1].document()["url"] == "https://docs.docker.com/go/dockerfile/rule/expose-proto-casing/"
    page = Warning(1, "JSONArgsRecommended", "").document()["url"]
    assert page == "https://docs.docker.com/go/dockerfile/rule/json-args-recommended/"
