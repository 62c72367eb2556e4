from __future__ import annotations

import pytest

from roomful import strict_json


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        f"[{'1,' * 150_000}1]",
        b"[" + b"{}," * 80_000 + b"{}]",
        r'"\ud800"',
        r'{"a":["\udfff"]}',
        r'{"\ud800":1}',
        b"\xff",
        b'"\xed\xa0\x80"',
    ],
)
def test_whatever_is_wrong_is_a_value_error(text: str | bytes) -> None:
    error = None
    try:
        strict_json.loads(text)
    except ValueError as raised:
        error = raised
    assert error is not None


def test_pairs_of_surrogates_are_characters() -> None:
    assert strict_json.loads(rb'{"a":"\ud83d\ude00"}') == {"a": "😀"}
