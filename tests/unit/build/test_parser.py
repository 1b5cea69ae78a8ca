import pytest

from wherry.build.errors import DockerfileError
from wherry.build.instructions import Command, Copy, Dockerfile, Healthcheck, KeyValue, interpret
from wherry.build.parser import parse


def read(text: str) -> Dockerfile:
    return interpret(parse(text))


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("", "file with no instructions", 0),
        ("# only a comment\n", "file with no instructions", 0),
        ("RUN x", "no build stage in current context", 1),
        ("FROM a\nFOO x", "dockerfile parse error on line 2: unknown instruction: FOO", 2),
        ("FROM a\nCOPPY x y", "dockerfile parse error on line 2: unknown instruction: COPPY (did you mean COPY?)", 2),
        ("FROM", "dockerfile parse error on line 1: FROM requires either one or three arguments", 1),
        ("FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments", 1),
        (
            "FROM a AS 1x",
            'dockerfile parse error on line 1: invalid name for build stage: "1x", '
            "name can't start with a number or contain symbols",
            1,
        ),
        (
            "FROM a\n\n\nCOPY x",
            "dockerfile parse error on line 4: COPY requires at least two arguments, but only one was provided. "
            "Destination could not be determined",
            4,
        ),
        ("FROM a\nENV", "dockerfile parse error on line 2: ENV requires at least one argument", 2),
        ("FROM a\nENV x", "dockerfile parse error on line 2: ENV must have two arguments", 2),
        (
            "FROM a\nENV a=b c",
            'dockerfile parse error on line 2: Syntax error - can\'t find = in "c". Must be of the form: name=value',
            2,
        ),
        ("FROM a\nENV =b", "dockerfile parse error on line 2: ENV names can not be blank", 2),
        ("FROM a\nARG =b", "dockerfile parse error on line 2: ARG names can not be blank", 2),
        ("FROM a\nWORKDIR", "dockerfile parse error on line 2: WORKDIR requires exactly one argument", 2),
        ("FROM a\nUSER", "dockerfile parse error on line 2: USER requires exactly one argument", 2),
        ("FROM a\nEXPOSE", "dockerfile parse error on line 2: EXPOSE requires at least one argument", 2),
        (
            "FROM a\nCOPY --form=x a b",
            "dockerfile parse error on line 2: unknown flag: --form (did you mean from?)",
            2,
        ),
        ("FROM a\nCOPY --chown a b", "dockerfile parse error on line 2: missing a value on flag: --chown", 2),
        (
            "FROM a\nCOPY --link=maybe a b",
            "dockerfile parse error on line 2: expecting boolean value for flag --link, not: maybe",
            2,
        ),
        (
            "FROM a\nCOPY --from=x --from=y a b",
            "dockerfile parse error on line 2: duplicate flag specified: --from",
            2,
        ),
        ("FROM a\nHEALTHCHECK", "dockerfile parse error on line 2: HEALTHCHECK requires at least one argument", 2),
        ("FROM a\nHEALTHCHECK NONE x", "dockerfile parse error on line 2: HEALTHCHECK NONE takes no arguments", 2),
        ("FROM a\nHEALTHCHECK CMD", "dockerfile parse error on line 2: Missing command after HEALTHCHECK CMD", 2),
        (
            "FROM a\nHEALTHCHECK SH x",
            'dockerfile parse error on line 2: Unknown type "SH" in HEALTHCHECK (try CMD)',
            2,
        ),
        (
            "FROM a\nHEALTHCHECK --interval=5 CMD x",
            'dockerfile parse error on line 2: time: missing unit in duration "5"',
            2,
        ),
        (
            "FROM a\nSHELL sh",
            "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form: SHELL sh",
            2,
        ),
        (
            "FROM a\nONBUILD ONBUILD RUN x",
            "dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
            2,
        ),
        ("FROM a\nONBUILD FROM x", "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger", 2),
        ("FROM a\nRUN <<EOF\nx\n", "unterminated heredoc", 2),
        (
            "FROM a\nCMD [1]",
            "dockerfile parse error on line 2: when using JSON array syntax, arrays must be comprised of strings only",
            2,
        ),
        (
            "FROM a\nRUN --network=other x",
            'dockerfile parse error on line 2: unsupported network mode "other"',
            2,
        ),
        (
            "# escape=x\nFROM a",
            "dockerfile parse error on line 1: invalid escape token 'x' does not match ` or \\",
            1,
        ),
    ],
)
def test_errors_name_the_line_in_dockers_words(text: str, message: str, line: int) -> None:
    with pytest.raises(DockerfileError) as caught:
        read(text)
    assert (caught.value.message, caught.value.line) == (message, line)


def test_stages_arguments_and_names() -> None:
    found = read("ARG V=1\nFROM --platform=linux/amd64 base:$V AS Build\nRUN x\nFROM scratch\n")
    assert [pair for arg in found.global_args for pair in arg.pairs] == [("V", "1")]
    assert [(s.base, s.name, s.platform, s.line) for s in found.stages] == [
        ("base:$V", "build", "linux/amd64", 2),
        ("scratch", "", "", 4),
    ]


def test_continuations_skip_comments_and_empty_lines() -> None:
    parsed = parse("FROM a\nRUN one \\\n# comment\n\n  two\\\n  three\n")
    assert parsed.nodes[1].args == ["one   two  three"]
    assert parsed.warnings == [(6, "Empty continuation line found in: RUN one   two  three")]


def test_the_escape_directive_changes_the_continuation() -> None:
    found = read("# escape=`\nFROM a\nCOPY a `\n  c:\\\n")
    copy = found.stages[0].instructions[0]
    assert isinstance(copy, Copy)
    assert copy.sources == ["a"]
    assert copy.destination == "c:\\"


def test_json_and_shell_forms() -> None:
    found = read('FROM a\nCMD ["a", "b c"]\nENTRYPOINT exec top -b\nCMD [broken\n').stages[0].instructions
    assert all(isinstance(item, Command) for item in found)
    assert [(item.args, item.shell) for item in found if isinstance(item, Command)] == [
        (["a", "b c"], False),
        (["exec top -b"], True),
        (["[broken"], True),
    ]


def test_heredocs() -> None:
    text = "FROM a\nRUN <<EOF\nx $y\nEOF\nCOPY <<-'A' <<B /d/\n\ta\n\tA\nb\nB\nRUN 3<<X cat\nX\n"
    run, copy, other = read(text).stages[0].instructions
    assert isinstance(run, Command)
    assert [(h.name, h.text, h.expand) for h in run.heredocs] == [("EOF", "x $y\n", True)]
    assert isinstance(copy, Copy)
    assert [(h.name, h.text, h.expand) for h in copy.inline] == [("A", "a\n", False), ("B", "b\n", True)]
    assert copy.destination == "/d/"
    assert isinstance(other, Command)
    assert other.line == 10


def test_env_keeps_quotes_for_the_expansion() -> None:
    (env,) = (
        read("FROM a\nENV A=\"x y\" B=z\\ w C='q' OLD form here").stages[0].instructions[:1]
        if False
        else (read("FROM a\nENV A=\"x y\" B=z\\ w C='q'").stages[0].instructions)
    )
    assert isinstance(env, KeyValue)
    assert env.pairs == [("A", '"x y"', False), ("B", "z\\ w", False), ("C", "'q'", False)]


def test_the_old_form_of_env_takes_the_rest_of_the_line() -> None:
    (env,) = read("FROM a\nENV NAME the rest = all").stages[0].instructions
    assert isinstance(env, KeyValue)
    assert env.pairs == [("NAME", "the rest = all", True)]


def test_healthcheck_times_are_nanoseconds() -> None:
    (health,) = (
        read("FROM a\nHEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 CMD curl x").stages[0].instructions
    )
    assert isinstance(health, Healthcheck)
    assert health.health == {
        "Test": ["CMD-SHELL", "curl x"],
        "Interval": 90_000_000_000,
        "Timeout": 500_000_000,
        "Retries": 3,
    }


def test_a_byte_order_mark_and_carriage_returns_are_taken_off() -> None:
    found = read("\ufeffFROM a\r\nRUN x\r\n")
    assert found.stages[0].base == "a"
    run = found.stages[0].instructions[0]
    assert isinstance(run, Command)
    assert run.args == ["x"]
