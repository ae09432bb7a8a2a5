"""What a pickle may make keys of, by each of the ways in which it says a dictionary."""

from __future__ import annotations

import io
import pickle

import pytest

from cosmos_ray.models.bundle.pickles import PlainUnpickler

ONE, TWO, NESTED = b"I1\n", b"I2\n", b"(t"  # two numbers, an empty tuple
WAYS = {
    "at once": b"(%s%s%s%sd.",
    "item by item": b"}%s%ss%s%ss.",
    "items together": b"}(%s%s%s%su.",
}


@pytest.mark.parametrize("way", WAYS)
def test_keys_are_text_or_numbers_and_values_whatever_they_are(way: str) -> None:
    def read(*parts: bytes) -> object:
        return PlainUnpickler(io.BytesIO(WAYS[way] % parts)).load()

    assert read(ONE, NESTED, TWO, NESTED) == {1: (), 2: ()}
    for parts in ((NESTED, ONE, TWO, ONE), (ONE, TWO, NESTED, TWO)):
        with pytest.raises(pickle.UnpicklingError, match="a key that is neither text nor a number"):
            read(*parts)


@pytest.mark.parametrize("data", [b"\x80\x04\x8f.", b"\x80\x04(K\x01\x91."])
def test_there_are_no_sets(data: bytes) -> None:
    assert pickle.loads(data) in (set(), {1})
    with pytest.raises(pickle.UnpicklingError, match="it has a set"):
        PlainUnpickler(io.BytesIO(data)).load()
