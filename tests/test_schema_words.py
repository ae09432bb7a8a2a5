"""What pydantic finds wrong is told by place, what was found, what was expected; never in its own words."""

from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from cosmos_ray.schema_words import key_fault, value_fault


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rate: float = Field(1.0, gt=0, lt=9)


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field("a", pattern="^[a-z]+$")
    count: int = Field(1, ge=1, le=7)
    kind: Literal["x", "y"] = "x"
    flag: bool = False
    none: None = None
    pair: tuple[float, float] = (0.0, 1.0)
    names: list[str] = []
    inner: Inner = Inner()

    @field_validator("kind", mode="before")
    @classmethod
    def _no_z(cls, value: Any) -> Any:
        if value == "z":
            raise ValueError("expected anything but z")
        return value


def fault_of(given: dict[str, Any]) -> Any:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(given)
    (one,) = caught.value.errors()
    return one


@pytest.mark.parametrize(
    ("given", "value", "key"),
    [
        ({"count": 0}, "found 0, expected at least 1", "count: found 0, expected at least 1"),
        ({"count": 8}, "found 8, expected at most 7", "count: found 8, expected at most 7"),
        ({"count": "two"}, "found 'two', expected a whole number", 'count: found "two", expected a whole number'),
        ({"inner": {"rate": 0}}, "found 0, expected more than 0.0", "inner.rate: found 0, expected more than 0.0"),
        ({"inner": {"rate": 9}}, "found 9, expected less than 9.0", "inner.rate: found 9, expected less than 9.0"),
        ({"inner": 3}, "found 3, expected an object", "inner: found 3, expected an object"),
        ({"name": 3}, "found 3, expected a text", "name: found 3, expected a text"),
        ({"name": "A"}, "found 'A', expected a text like ^[a-z]+$", 'name: found "A", expected a text like ^[a-z]+$'),
        ({"kind": "w"}, "found 'w', expected 'x' or 'y'", "kind: found \"w\", expected 'x' or 'y'"),
        ({"kind": "z"}, "expected anything but z", "kind: expected anything but z"),
        ({"flag": "so"}, "found 'so', expected true or false", 'flag: found "so", expected true or false'),
        ({"none": 1}, "found 1, expected null", "none: found 1, expected null"),
        ({"pair": 1}, "found 1, expected a list", "pair: found 1, expected a list"),
        ({"names": 1}, "found 1, expected a list", "names: found 1, expected a list"),
    ],
)
def test_a_fault_is_what_was_found_and_what_was_expected(given: dict[str, Any], value: str, key: str) -> None:
    one = fault_of(given)
    assert value_fault(one) == value
    assert key_fault(one, one["loc"], Outer) == key


def test_a_key_that_there_is_not_names_the_nearest_of_its_object() -> None:
    one = fault_of({"inner": {"rat": 1}})
    assert key_fault(one, one["loc"], Outer) == "there is no key inner.rat; `rate` is near"
    one = fault_of({"rate": 1})
    assert key_fault(one, one["loc"], Outer) == "there is no key rate"


def test_what_was_found_is_shown_without_secrets_and_not_at_length() -> None:
    secret = "s3://user:secret@host/key?X-Amz-Signature=abc"
    one = fault_of({"count": secret})
    for words in (value_fault(one), key_fault(one, one["loc"], Outer)):
        assert "secret" not in words
        assert "abc" not in words
    one = fault_of({"count": "x" * 5000})
    assert max(len(value_fault(one)), len(key_fault(one, one["loc"], Outer))) < 300
