"""Which entries of a checkpoint are taken, ignored, missing or of another shape: from names and shapes alone."""

from __future__ import annotations

import re

import pytest

from cosmos_ray.models.bundle.checkpoint import select_dit, select_exactly, select_t5_encoder
from cosmos_ray.models.bundle.dims import T5Dims
from cosmos_ray.models.bundle.shapes import Shapes, t5_shapes

EXPECTED: Shapes = {"a.weight": (4, 6), "b.weight": (3,), "c.weight": (2, 5, 1)}
T5 = t5_shapes(T5Dims(vocab_size=9, d_kv=2, d_ff=8, num_layers=1, num_heads=2), 6)


@pytest.mark.parametrize("shape", [(6, 4), (24,), (4, 6, 1), (1, 4, 6), (4, 5), (8, 3), ()], ids=str)
def test_a_tensor_of_another_shape_is_refused_with_both_shapes(shape: tuple[int, ...]) -> None:
    """Also a transposed one, which has as many numbers, and one of as many numbers in another arrangement."""
    said = f"a.weight found {list(shape)}, expected [4, 6]"
    prefixed = {f"net.{name}": known for name, known in EXPECTED.items()} | {"net.a.weight": shape}
    of_t5: Shapes = {"encoder.final_layer_norm.weight": (6,), "a.weight": (4, 6)}
    for selection, lead in (
        (select_dit(prefixed, (), EXPECTED, "net."), "net."),
        (select_exactly(EXPECTED | {"a.weight": shape}, EXPECTED), ""),
        (select_t5_encoder(of_t5 | {"a.weight": shape}, of_t5), ""),
    ):
        (fault,) = selection.faults
        assert re.fullmatch(rf"1 \w+ of another shape: {re.escape(lead + said)}", fault)


def test_what_fits_has_no_faults_in_any_order() -> None:
    reordered = dict(reversed(EXPECTED.items()))
    assert select_exactly(reordered, EXPECTED).faults == ()
    selection = select_dit(reordered, (), EXPECTED, "net.")
    assert (selection.names, selection.ignored, selection.faults) == ({n: n for n in EXPECTED}, {}, ())


def test_one_prefixed_name_makes_it_a_file_with_prefixes() -> None:
    """Counters and the like stand beside the parameters without a prefix."""
    found: Shapes = {f"net.{name}": shape for name, shape in EXPECTED.items()} | {"accum_iteration": (), "other": (1,)}
    selection = select_dit(found, ("net.q._extra_state",), EXPECTED, "net.")
    assert selection.faults == ()
    assert selection.names["a.weight"] == "net.a.weight"
    assert selection.ignored == {
        "engine states": ("net.q._extra_state",),
        "training counters": ("accum_iteration",),
        "unknown entries": ("other",),
    }
    assert selection.unknown == ("other",)


def test_a_file_of_which_some_parameters_lack_is_told_which_ones() -> None:
    found: Shapes = {"net.a.weight": (4, 6), "net_ema.b.weight": (3,)}
    selection = select_dit(found, (), EXPECTED, "net.")
    assert selection.faults == ("2 of 3 parameters missing: net.b.weight, net.c.weight",)
    assert selection.ignored == {"weights under `net_ema.`": ("net_ema.b.weight",)}
    without = select_dit({"a.weight": (4, 6)}, (), EXPECTED, "net.")
    assert without.faults == ("2 of 3 parameters missing: b.weight, c.weight",)


def test_a_long_list_is_cut_and_the_rest_counted() -> None:
    expected: Shapes = {f"p{number:02}": (1,) for number in range(43)}
    (fault,) = select_exactly({}, expected).faults
    assert fault.startswith("43 of 43 tensors missing: p00, p01,")
    assert fault.endswith("p38, p39, and 3 more")


@pytest.mark.parametrize("stored", ["shared.weight", "encoder.embed_tokens.weight"])
def test_the_tied_table_of_a_t5_is_found_under_either_name(stored: str) -> None:
    found = {name: shape for name, shape in T5.items() if name != "shared.weight"} | {stored: (9, 6)}
    decoder: Shapes = {"decoder.block.0.x": (1,), "lm_head.weight": (9, 6), "something": (1,)}
    selection = select_t5_encoder(found | decoder, T5)
    assert selection.faults == ()
    assert selection.names["shared.weight"] == stored
    assert selection.ignored == {
        "decoder weights": ("decoder.block.0.x", "lm_head.weight"),
        "unknown entries": ("something",),
    }


def test_a_t5_without_any_table_is_refused() -> None:
    found = {name: shape for name, shape in T5.items() if name != "shared.weight"}
    (fault,) = select_t5_encoder(found, T5).faults
    assert fault.endswith("parameters missing: shared.weight")


def test_the_tied_table_under_both_names_is_nothing_unknown() -> None:
    selection = select_t5_encoder(T5 | {"encoder.embed_tokens.weight": (9, 6)}, T5)
    assert (selection.names["shared.weight"], selection.ignored, selection.faults) == ("shared.weight", {}, ())
