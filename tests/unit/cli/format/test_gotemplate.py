"""Templates: the language, what it prints, and the words of its errors."""

import pytest

from wherry.cli.format.gotemplate import DOCKER_FUNCTIONS, ExecError, ParseError, Struct, Template

VALUE = {
    "Names": ["a", "b"],
    "L": {"y": "2", "x": "1"},
    "N": 5,
    "F": 1.5,
    "Nil": None,
    "S": "hello world",
    "M": {"a": {"b": [1, 2]}},
}


def run(text, value=VALUE, **options):
    return Template(text, functions=DOCKER_FUNCTIONS, **options).execute(value)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{.S}}", "hello world"),
        ("{{range .Names}}{{.|upper}} {{end}}", "A B "),
        ("{{range $i, $e := .Names}}{{$i}}={{$e}};{{end}}", "0=a;1=b;"),
        ("{{range $k, $v := .L}}{{$k}}={{$v}} {{end}}", "x=1 y=2 "),
        ('{{range .Names}}{{if eq . "a"}}{{continue}}{{end}}{{.}}{{break}}{{end}}', "b"),
        ("{{range .Nil}}x{{else}}none{{end}}", "none"),
        ("{{if eq .N 5}}yes{{else}}no{{end}}", "yes"),
        ("{{if .Nil}}a{{else if .N}}b{{else}}c{{end}}", "b"),
        ("{{if and (gt .N 4) (lt .N 6)}}x{{end}}", "x"),
        ("{{or .Nil .S}}", "hello world"),
        ("{{with .L}}{{.x}}{{end}}", "1"),
        ("{{with $x := .N}}{{$x}}{{else}}no{{end}}", "5"),
        ("{{json .L}}", '{"y":"2","x":"1"}'),
        ("{{json .Nope}}", "null"),
        ("{{.L}} {{.Names}} {{.F}} {{.Nil}} {{.Nope}}", "map[x:1 y:2] [a b] 1.5 <no value> <no value>"),
        ('{{index .L "x"}} {{index .Names 1}}', "1 b"),
        ("{{slice .S 0 5}}", "hello"),
        (
            '{{printf "%-12s|%5d|%05d|%q|%.2f|%v|%t" .S .N .N .S .F .L true}}',
            'hello world |    5|00005|"hello world"|1.50|map[x:1 y:2]|true',
        ),
        ('{{printf "%d" .S}}', "%!d(string=hello world)"),
        ('{{.S | title | printf "%s!"}}', "Hello World!"),
        ('a {{- " x " -}} b', "a x b"),
        ("a {{- /* gone */ -}} b", "ab"),
        (
            '{{join .Names ", "}} {{split .S " "}} {{lower "AB"}} {{truncate .S 3}}|{{pad "x" 1 2}}|',
            "a, b [hello world] ab hel| x  |",
        ),
        ('{{(index .M "a").b}} {{.M.a.b}} {{len .M.a.b}}', "[1 2] [1 2] 2"),
        ("{{$x := 1}}{{range .Names}}{{$x = .}}{{end}}{{$x}}", "b"),
        ("{{$.S}}", "hello world"),
        ('{{define "T"}}[{{.}}]{{end}}{{template "T" .N}}', "[5]"),
        ('{{block "B" .N}}<{{.}}>{{end}}', "<5>"),
        ('{{print 1 2 "a" 3}} {{println "x" 1}}', "1 2a3 x 1\n"),
        ('{{"a\\tb"}}{{`c\\d`}}', "a\tbc\\d"),
        ('{{html "<a>"}} {{urlquery "a b"}}', "&lt;a&gt; a+b"),
        ("{{not .Nil}} {{ne 1 2}} {{le 1 1}} {{ge 2 1}} {{eq 3 1 2 3}}", "true true true true true"),
    ],
)
def test_what_it_prints(text, result):
    assert run(text) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{foo}}", 'template: :1: function "foo" not defined'),
        ("{{.S", "template: :1: unclosed action"),
        ("{{if}}", "template: :1: missing value for if"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
        ("{{else}}", "template: :1: unexpected {{else}}"),
        ("\n{{range .X}}", "template: :2: unexpected EOF"),
        ("{{$x}}", 'template: :1: undefined variable "$x"'),
        ("{{break}}", "template: :1: {{break}} outside {{range}}"),
        ('{{"a}}', "template: :1: unterminated quoted string"),
    ],
)
def test_what_is_no_template(text, message):
    with pytest.raises(ParseError) as caught:
        run(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{.Foo}}", 'template: :1:2: executing "" at <.Foo>: map has no entry for key "Foo"'),
        ("{{.M.Nope}}", 'template: :1:4: executing "" at <.M.Nope>: map has no entry for key "Nope"'),
        ("{{.S.x}}", 'template: :1:4: executing "" at <.S.x>: can\'t evaluate field x in type string'),
        (
            "{{index .Names 7}}",
            'template: :1:2: executing "" at <index .Names 7>: error calling index: index out of range: 7',
        ),
        ("{{len .N}}", 'template: :1:2: executing "" at <len .N>: error calling len: len of type int'),
        ("{{range .N.x}}{{end}}", 'template: :1:10: executing "" at <.N.x>: can\'t evaluate field x in type int'),
    ],
)
def test_what_does_not_fit(text, message):
    with pytest.raises(ExecError) as caught:
        run(text, missing="error")
    assert str(caught.value) == message


def test_structs_have_methods_and_know_their_fields():
    class Context(Struct):
        type_name = "*formatter.Context"

    row = Context(ID="1", Label=lambda name: f"<{name}>", Late=lambda: "computed")
    assert run('{{.ID}} {{.Label "x"}} {{.Late}}', row) == "1 <x> computed"
    with pytest.raises(ExecError, match=r"can't evaluate field Foo in type \*formatter\.Context"):
        run("{{.Foo}}", row)
