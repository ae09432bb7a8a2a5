"""A server that packs its answers though it was asked not to. Unpacked, a few bytes may be gigabytes."""

from __future__ import annotations

import gzip

import pytest
from support.chat_server import MODEL, Answer, chat_server, said

from cosmos_ray.clip.refiner_rules import RefinerRules
from cosmos_ray.refine.answers import NoWordsError
from cosmos_ray.refine.asks import Ask, Refining
from cosmos_ray.refine.endpoint import ask_once


def test_what_is_packed_is_not_unpacked() -> None:
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    packed = Answer(gzip.compress(said("A bus turns left.").body), headers=headers)
    with chat_server(lambda _: packed) as server:
        rules = RefinerRules(backend="endpoint", url=server.url, attempts=1)
        with pytest.raises(NoWordsError, match="answered with what is no JSON"):
            ask_once(Refining(rules, MODEL, "Rewrite it."), lambda endpoint: endpoint.words(Ask("a bus")))
