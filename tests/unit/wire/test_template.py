"""The template language: what it can say, what it refuses, and that what a sender writes stays data."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kopitra.wire.faults import BodyRefused
from kopitra.wire.webhooks.message import Message, read_message
from kopitra.wire.webhooks.template import (
    PLACEHOLDERS_MAX,
    TEMPLATE_LENGTH_MAX,
    InvalidTemplate,
    compile_template,
)

Filled = dict[str, object]


def fill(template: object, message: object) -> Filled:
    source = template if isinstance(template, str) else json.dumps(template)
    raw = message.encode() if isinstance(message, str) else json.dumps(message).encode()
    return compile_template(source).fill(read_message(raw))


@pytest.mark.parametrize(
    "text, message, wanted",
    [
        ("ES", {}, "ES"),
        ("{{ a }}", {"a": "x"}, "x"),
        ("{{a}}", {"a": 1.50}, "1.5"),
        ("{{ a }}", {"a": True}, "true"),
        ("{{ a.b.c }}", {"a": {"b": {"c": "deep"}}}, "deep"),
        ("{{ a.1 }}", {"a": ["x", "y"]}, "y"),
        ("{{ a.1.b }}", {"a": [0, {"b": "z"}]}, "z"),
        ("{{ a }}-{{ b }}", {"a": "x", "b": "y"}, "x-y"),
        ("{{ a | default 1 }}", {}, "1"),
        ("{{ a | default 'two words' }}", {"a": ""}, "two words"),
        ("{{ a | lower }}", {"a": "LONG"}, "long"),
        ("{{ a | upper }}", {"a": "es"}, "ES"),
        ("{{ a | trim }}", {"a": " x "}, "x"),
        ("{{ a | abs }}", {"a": "-3"}, "3"),
        ("{{ a | negate }}", {"a": 3}, "-3"),
        ("{{ a | map long=buy short=sell }}", {"a": "short"}, "sell"),
        ("{{ a | map 'go long'=buy }}", {"a": "go long"}, "buy"),
        ("{{ a | lower | map long=buy | default sell }}", {"a": "x"}, "sell"),
        ("{{ words.1 }}", "long NQ now", "NQ"),
        ("{{ text }}", "hello there", "hello there"),
        ("{{ qty }}", "QTY=2;side=x", "2"),
    ],
)
def test_what_placeholders_say(text: str, message: object, wanted: str) -> None:
    assert fill({"f": text}, message) == {"f": wanted}


def test_optional_fields_are_left_out_and_structure_is_kept() -> None:
    template = {
        "a": "{{ x | optional }}",
        "b": {"c": "{{ y }}", "d": "{{ z | optional }}"},
        "e": [{"f": "{{ z | optional }}"}, {"f": "{{ y }}"}],
        "g": 1,
        "h": {"i": "{{ z | optional }}"},
    }
    filled = fill(template, {"y": "Y"})
    assert json.loads(json.dumps(filled, default=str)) == {"b": {"c": "Y"}, "e": [{"f": "Y"}], "g": "1"}


@pytest.mark.parametrize(
    "text, message",
    [
        ("{{ a }}", {}),
        ("{{ a }}", {"a": None}),
        ("{{ a }}", {"a": {"b": 1}}),
        ("{{ a.b }}", {"a": "text"}),
        ("{{ a.9 }}", {"a": [1]}),
        ("{{ a.-1 }}", {"a": [1]}),
        ("{{ a | map x=y }}", {"a": "z"}),
        ("{{ words.7 }}", "only three words"),
    ],
)
def test_a_placeholder_without_value_names_its_field(text: str, message: object) -> None:
    with pytest.raises(BodyRefused) as refused:
        fill({"f": {"g": text}}, message)
    assert refused.value.faults[0].pointer == "/f/g"
    assert refused.value.code == "template-value-missing"


@pytest.mark.parametrize("filter_", ["abs", "negate"])
def test_arithmetic_on_words_is_refused(filter_: str) -> None:
    with pytest.raises(BodyRefused) as refused:
        fill({"f": f"{{{{ a | {filter_} }}}}"}, {"a": "two"})
    assert refused.value.code == "invalid-number"


@pytest.mark.parametrize(
    "source",
    [
        "",
        "[]",
        "{",
        '{"a":"{{ }}"}',
        '{"a":"{{ x"}',
        '{"a":"x }}"}',
        '{"a":"{{ a b }}"}',
        '{"a":"{{ a | }}"}',
        '{"a":"{{ a | shout }}"}',
        '{"a":"{{ a | lower x }}"}',
        '{"a":"{{ a | default }}"}',
        '{"a":"{{ a | default two words }}"}',
        '{"a":"{{ a | map }}"}',
        '{"a":"{{ a | map x }}"}',
        '{"a":"{{ a.__class__.__mro__() }}"}',
        '{"a":"{{ 1 + 1 }}"}',
        '{"a":"{{ a[0] }}"}',
        '{"{{ a }}":"x"}',
        '{"a":"{{ ' + "a." * 8 + 'a }}"}',
        '{"a":"{{ a' + " | lower" * 9 + ' }}"}',
        '{"a":"{{ a | map ' + " ".join(f"k{n}=v" for n in range(33)) + ' }}"}',
        '{"a":"' + "{{ a }}" * (PLACEHOLDERS_MAX + 1) + '"}',
        '{"a":"' + "x" * TEMPLATE_LENGTH_MAX + '"}',
        '{"a":1,"a":2}',
        '{"a":"\ud800"}',
    ],
)
def test_templates_that_cannot_be_meant(source: str) -> None:
    with pytest.raises(InvalidTemplate):
        compile_template(source)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60))
def test_what_a_sender_writes_is_data_and_never_a_template(text: str) -> None:
    message = Message("json", "", {"a": text, "secret": "CANARY"})
    filled = None
    try:
        filled = compile_template('{"f":"{{ a }}"}').fill(message)
    except BodyRefused:
        assert not text.strip()
    if filled is not None:
        assert filled == {"f": text}


@given(st.text(max_size=60))
def test_any_text_as_template_ends_in_a_template_or_a_refusal(text: str) -> None:
    try:
        compile_template('{"f":' + json.dumps(text) + "}")
    except InvalidTemplate:
        return


@given(st.text("{}|. abdefltu'=", max_size=40))
def test_texts_that_look_like_placeholders_end_so_too(text: str) -> None:
    try:
        template = compile_template(json.dumps({"f": text}))
        template.fill(Message("json", "", {"a": "x"}))
    except (InvalidTemplate, BodyRefused):
        return


def test_a_value_that_grows_too_long_is_refused() -> None:
    with pytest.raises(BodyRefused) as refused:
        fill({"f": "{{ a }}" * 3}, {"a": "x" * 400})
    assert refused.value.code == "invalid-length"
