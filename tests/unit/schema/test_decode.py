# ruff: noqa: E501 (tables of messages that must stay verbatim)
import pytest
import yaml

from wherry.schema import decode
from wherry.schema.builtin import DEPLOYMENTS, PODS, SECRETS
from wherry.schema.errors import BadRequest


def pod(**spec: object) -> dict[str, object]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": {"containers": [], **spec}}


def test_unknown_fields_are_named_and_dropped() -> None:
    obj = pod(foo=1, containers=[{"name": "c", "bar": {}}])
    messages = decode.check_fields(PODS, obj)
    assert sorted(messages) == ['unknown field "spec.containers[0].bar"', 'unknown field "spec.foo"']
    assert obj == pod(containers=[{"name": "c"}])
    assert str(decode.strict_error(PODS, ['unknown field "spec.foo"'])) == (
        'Pod in version "v1" cannot be handled as a Pod: strict decoding error: unknown field "spec.foo"'
    )


def test_nulls_are_dropped_and_quantities_are_canonical() -> None:
    obj = pod(nodeName=None, containers=[{"name": "c", "resources": {"limits": {"memory": "1024Mi", "cpu": 1}}}])
    assert decode.check_fields(PODS, obj) == []
    assert obj == pod(containers=[{"name": "c", "resources": {"limits": {"memory": "1Gi", "cpu": "1"}}}])


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("{containers: x}", "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container"),
        ("{containers: [{image: 5}]}", "json: cannot unmarshal number into Go struct field Container.spec.containers.image of type string"),
        ("{containers: [{env: [{name: a, value: true}]}]}", "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string"),
        ("{hostNetwork: 'yes'}", "json: cannot unmarshal string into Go struct field PodSpec.spec.hostNetwork of type bool"),
        ("{priority: 1.5}", "json: cannot unmarshal number 1.5 into Go struct field PodSpec.spec.priority of type int32"),
        ("{priority: 99999999999}", "json: cannot unmarshal number 99999999999 into Go struct field PodSpec.spec.priority of type int32"),
        ("{nodeSelector: {a: 1}}", "json: cannot unmarshal number into Go struct field PodSpec.spec.nodeSelector of type string"),
        ("{containers: [{resources: {limits: {cpu: abc}}}]}", "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"),
    ],
)  # fmt: skip
def test_wrong_types_are_refused_as_go_words_it(spec: str, error: str) -> None:
    with pytest.raises(BadRequest) as caught:
        decode.check_fields(PODS, {"spec": yaml.safe_load(spec)})
    assert str(caught.value) == f'Pod in version "v1" cannot be handled as a Pod: {error}'


def test_bad_base64_is_refused() -> None:
    with pytest.raises(BadRequest, match="illegal base64 data at input byte"):
        decode.check_fields(SECRETS, {"data": {"a": "not base64!"}})


def test_duplicate_fields_are_found_and_the_last_counts() -> None:
    parsed, messages = decode.parse(b'{"a":1,"spec":{"x":[{"b":1,"b":2}]},"a":3}')
    assert parsed == {"a": 3, "spec": {"x": [{"b": 2}]}}
    assert messages == ['duplicate field "a"', 'duplicate field "spec.x[0].b"']
    assert decode.parse(b'{"a":"\\u0022","b":"\\"\\u003c"}') == ({"a": '"', "b": '"<'}, [])


def test_deep_nesting_is_refused_not_followed() -> None:
    schema: dict[str, object] = {}
    for _ in range(500):
        schema = {"not": schema}
    from wherry.schema.builtin import CUSTOM_RESOURCE_DEFINITIONS

    version = {"name": "v1", "schema": {"openAPIV3Schema": schema}}
    with pytest.raises(BadRequest, match="exceeded max depth"):
        decode.check_fields(CUSTOM_RESOURCE_DEFINITIONS, {"spec": {"versions": [version]}})


def test_clean_objects_pass_untouched() -> None:
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}},
    }
    assert decode.check_fields(DEPLOYMENTS, obj) == []
