"""Weights as the publishers' files hold them: what is read, ignored and refused, and the cached conversion."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from support import published_weights as published
from support.paths import ROOT

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, Bundle, load_bundle, parse_bundle
from cosmos_ray.models.bundle.cache import content_sha256
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.bundle.checkpoint import select_dit
from cosmos_ray.models.bundle.convert import load_dit_state, write_safetensors
from cosmos_ray.models.bundle.headers import read_header
from cosmos_ray.models.bundle.memory import memory_plan, memory_plans
from cosmos_ray.models.bundle.shapes import dit_shapes, t5_shapes, vae_shapes
from cosmos_ray.models.generator import Generator
from cosmos_ray.models.network.dit import DiTConfig, MultiviewDiT
from cosmos_ray.models.text.t5 import build_encoder, load_encoder

pytestmark = pytest.mark.usefixtures("own_cache")

NETWORK = published.SMALL_NETWORK
SHAPES = dit_shapes(NETWORK)
TOKENIZER = BUILT_IN_FOLDER / "tiny" / "tokenizer.json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of published-like files in small, by the script that makes them in full size."""
    folder = tmp_path_factory.mktemp("published")
    command = [sys.executable, str(ROOT / "benchmarks" / "make_published.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], prefix: str = "") -> bool:
    return found.keys() == SHAPES.keys() and all(torch.equal(found[n], expected[prefix + n]) for n in SHAPES)


# --- the whole bundle ------------------------------------------------------------------------------------------------


def test_published_like_files_are_found_right_without_torch(made):
    findings = check_bundle(load_bundle(str(made)))
    assert {finding.level for finding in findings} == {"ok"}
    messages = [finding.message for finding in findings if finding.subject == "dit"]
    assert "48 tensors, names and shapes as expected" in messages[1]
    assert messages[1].endswith("34 ignored (9 engine states, 21 position buffers, 4 training counters)")


def test_published_like_files_load_and_run_in_both_numerics(made):
    bundle = load_bundle(str(made))
    bfloat16 = Generator.load(bundle)
    assert (bfloat16.network.dtype, bfloat16.vae.dtype) == (torch.bfloat16, torch.bfloat16)
    assert bfloat16.text_encoder is not None
    assert bfloat16.text_encoder.encoder.dtype == torch.bfloat16
    state = torch.load(made / "dit.pt", weights_only=False)
    assert same(dict(bfloat16.network.named_parameters()), state, "net.")
    embedding = bfloat16.text_encoder.encode(["a red car"])[0]
    assert (embedding.shape, embedding.dtype) == ((4, 16), np.float32)
    assert np.isfinite(embedding).all()
    float32 = Generator.load(bundle, numerics="float32")
    assert all(torch.equal(p, state["net." + n].float()) for n, p in float32.network.named_parameters())
    assert bfloat16.vae.decode(torch.zeros(1, 16, 1, 2, 2)).shape == (1, 3, 1, 16, 16)


def test_the_sizes_of_the_published_files_are_the_published_ones():
    bundle = load_bundle("cosmos-predict2-2b-multiview")
    count = {
        name: len(shapes) for name, shapes in (("dit", dit_shapes(bundle.network)), ("vae", vae_shapes(bundle.vae)))
    }
    assert count == {"dit": 568, "vae": 194}
    assert sum(map(math.prod, vae_shapes(bundle.vae).values())) == 126_892_531
    with torch.device("meta"):
        encoder = build_encoder(published.T5_11B, 1024)
    assert {n: tuple(p.shape) for n, p in encoder.named_parameters()} == t5_shapes(published.T5_11B, 1024)


# --- the DiT ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["net.", "net_ema."])
def test_weights_and_their_average_are_told_apart_by_prefix(tmp_path, prefix):
    state = published.dit_state(NETWORK, prefixes=("net.", "net_ema."))
    torch.save(state, tmp_path / "dit.pt")
    assert not torch.equal(state["net.t_embedding_norm.weight"], state["net_ema.t_embedding_norm.weight"])
    loaded = load_dit_state(tmp_path / "dit.pt", "source", SHAPES, prefix, torch.bfloat16)
    assert same(loaded, state, prefix)
    other = {"net.": "net_ema.", "net_ema.": "net."}[prefix]
    header = read_header(tmp_path / "dit.pt")
    ignored = select_dit(header.shapes, header.others, SHAPES, prefix).ignored
    assert len(ignored[f"weights under `{other}`"]) == len(state) // 2
    assert len(ignored["engine states"]) == 9


def test_entries_that_mean_nothing_here_are_named(tmp_path, caplog):
    state = published.dit_state(NETWORK)
    state |= {f"net.crossattn_proj.{index}.weight": torch.zeros(2, 2) for index in range(7)}
    torch.save(state, tmp_path / "dit.pt")
    header = read_header(tmp_path / "dit.pt")
    said = select_dit(header.shapes, header.others, SHAPES, "net.").ignored_text()
    named = ", ".join(f"net.crossattn_proj.{index}.weight" for index in range(5))
    assert f"7 unknown entries: {named}, and 2 more)" in said
    load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net.", None)
    assert said in caplog.text


def test_what_was_converted_for_a_network_is_not_taken_for_a_deeper_one(tmp_path):
    state = published.dit_state(NETWORK)
    torch.save(state, tmp_path / "dit.pt")
    fewer = {name: shape for name, shape in SHAPES.items() if not name.startswith("blocks.1.")}
    assert load_dit_state(tmp_path / "dit.pt", "source", fewer, "net.", torch.bfloat16).keys() == fewer.keys()
    assert same(load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net.", torch.bfloat16), state, "net.")


def test_a_file_without_prefixes_is_taken_as_it_is(tmp_path):
    state = published.dit_state(NETWORK, prefixes=("",))
    torch.save(state, tmp_path / "dit.pt")
    assert same(load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net_ema.", None), state)


def test_a_file_that_lacks_the_prefix_asked_for_is_refused_with_those_it_has(tmp_path):
    torch.save(published.dit_state(NETWORK), tmp_path / "dit.pt")
    with pytest.raises(UsageError, match=r"no parameter has the prefix `net_ema\.` \(dit_prefix\); found net\."):
        load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net_ema.", None)


def test_missing_and_misshapen_parameters_are_all_listed_as_the_file_calls_them(tmp_path):
    state = published.dit_state(NETWORK)
    missing = ["net.blocks.0.mlp.layer1.weight", "net.blocks.1.self_attn.q_norm.weight"]
    for name in missing:
        del state[name]
    state["net.final_layer.linear.weight"] = torch.zeros(63, 48)
    torch.save(state, tmp_path / "dit.pt")
    with pytest.raises(UsageError) as caught:
        load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net.", None)
    assert f"2 of 48 parameters missing: {missing[0]}, {missing[1]}" in str(caught.value)
    assert "net.final_layer.linear.weight found [63, 48], expected [64, 48]" in str(caught.value)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["pt", "safetensors"])
def test_files_of_either_dtype_and_form_give_the_same_weights(tmp_path, own_cache, stored, form):
    state = published.dit_state(NETWORK, stored, extras=False)
    path = tmp_path / f"dit.{form}"
    torch.save(state, path) if form == "pt" else safetensors.torch.save_file(state, path)
    rounded = load_dit_state(path, "source", SHAPES, "net.", torch.bfloat16)
    assert same(rounded, {name: tensor.bfloat16() for name, tensor in state.items()}, "net.")
    assert same(load_dit_state(path, "source", SHAPES, "net.", None), state, "net.")
    conversions = len(list((own_cache / "converted").iterdir())) if (own_cache / "converted").exists() else 0
    # A safetensors file is mapped itself unless it has to be rounded.
    assert conversions == {"pt": 2, "safetensors": int(stored == torch.float32)}[form]


def test_a_converted_file_is_a_plain_safetensors_file_and_is_used_again(tmp_path, own_cache):
    state = published.dit_state(NETWORK)
    torch.save(state, tmp_path / "dit.pt")
    load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net.", torch.bfloat16)
    (converted,) = (own_cache / "converted").iterdir()
    assert same(safetensors.torch.load_file(converted), state, "net.")
    before = converted.stat()
    load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net.", torch.bfloat16)
    assert converted.stat().st_ino == before.st_ino
    load_dit_state(tmp_path / "dit.pt", "another source", SHAPES, "net.", torch.bfloat16)
    assert len(list((own_cache / "converted").iterdir())) == 2


CONVERT = """
import sys, time
from pathlib import Path
import cosmos_ray.models.bundle.convert as convert
from cosmos_ray.models.bundle.dims import NetworkDims
from cosmos_ray.models.bundle.shapes import dit_shapes
real, (path, mark, network, mode) = convert.write_safetensors, sys.argv[1:]
def write(target, *rest):
    with open(mark, "a") as file: file.write("x")
    if mode == "hang":
        Path(target).write_bytes(b"half"); print("half", flush=True); time.sleep(3600)
    time.sleep(0.3)
    real(target, *rest)
convert.write_safetensors = write
shapes = dit_shapes(NetworkDims.model_validate_json(network))
print(len(convert.load_dit_state(Path(path), "source", shapes, "net.", None)), flush=True)
"""


@pytest.mark.slow
def test_one_process_converts_while_others_wait_and_a_killed_one_is_replaced(tmp_path, own_cache):
    torch.save(published.dit_state(NETWORK), tmp_path / "dit.pt")
    mark = tmp_path / "mark"

    def start(mode: str) -> subprocess.Popen[str]:
        arguments = [str(tmp_path / "dit.pt"), str(mark), NETWORK.model_dump_json(), mode]
        return subprocess.Popen([sys.executable, "-c", CONVERT, *arguments], stdout=subprocess.PIPE, text=True)

    killed = start("hang")
    assert killed.stdout is not None
    assert killed.stdout.readline() == "half\n"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert [path.suffix for path in (own_cache / "converted").iterdir()] == [".part"]
    for process in [start("run") for _ in range(2)]:
        assert process.communicate(timeout=600)[0] == "48\n"
    assert mark.read_text() == "xx", "the killed one, and one of the two"
    assert [path.suffix for path in (own_cache / "converted").iterdir()] == [".safetensors"]


def test_a_disk_that_cannot_take_the_conversion_is_a_clear_error(tmp_path, monkeypatch):
    torch.save(published.dit_state(NETWORK), tmp_path / "dit.pt")
    (tmp_path / "a file").touch()
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "a file" / "cache"))
    with pytest.raises(UsageError, match="COSMOS_RAY_CACHE"):
        load_dit_state(tmp_path / "dit.pt", "source", SHAPES, "net.", None)


# --- the text encoder ------------------------------------------------------------------------------------------------


def encoder_reference(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {n: t.to(dtype) for n, t in published.t5_state(published.SMALL_T5, 16, decoder=False).items()}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("form", ["bin", "zip", "safetensors", "shards"])
def test_only_the_encoder_of_a_t5_is_read_from_any_layout(tmp_path, own_cache, dtype, form):
    folder = tmp_path / "t5"
    published.write_t5_folder(folder, published.SMALL_T5, 16, TOKENIZER)
    state = published.t5_state(published.SMALL_T5, 16)
    untied = {name: tensor.clone() for name, tensor in state.items()}
    if form != "bin":
        (folder / "pytorch_model.bin").unlink()
    if form == "zip":
        torch.save(state, folder / "pytorch_model.bin")
    if form == "safetensors":
        safetensors.torch.save_file(untied, folder / "model.safetensors")
    if form == "shards":
        files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(sorted(untied))}
        for file in set(files.values()):
            safetensors.torch.save_file({n: untied[n] for n, f in files.items() if f == file}, folder / file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    encoder = load_encoder(folder, None, 16, dtype)
    expected = encoder_reference(dtype)
    assert {n: p.dtype for n, p in encoder.named_parameters()} == dict.fromkeys(expected, dtype)
    assert all(torch.equal(p, expected[n]) for n, p in encoder.named_parameters())
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight
    kept = list((own_cache / "converted").iterdir()) if (own_cache / "converted").exists() else []
    for path in kept:
        assert read_header(path).shapes == t5_shapes(published.SMALL_T5, 16), "no decoder in the cache"


def test_a_text_encoder_that_lacks_weights_or_has_another_width_is_refused(tmp_path, made):
    folder = tmp_path / "t5"
    published.write_t5_folder(folder, published.SMALL_T5, 16, TOKENIZER)
    state = published.t5_state(published.SMALL_T5, 16)
    del state["encoder.block.1.layer.0.SelfAttention.k.weight"]
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"1 of 19 parameters missing: encoder\.block\.1\.layer\.0\.SelfAttention\.k"):
        load_encoder(folder, None, 16)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(UsageError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        load_encoder(folder, None, 16)
    published.write_t5_folder(folder, published.SMALL_T5, 24, TOKENIZER)
    bundle = with_files(load_bundle(str(made)), text_encoder=folder)
    assert any("24 wide, expected 16" in f.message for f in check_bundle(bundle) if f.level == "problem")


def test_a_folder_that_makes_no_tokenizer_is_a_problem(tmp_path, made):
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer_config.json").write_text("{}")
    bundle = with_files(load_bundle(str(made)), tokenizer=folder)
    problems = [finding.message for finding in check_bundle(bundle) if finding.level == "problem"]
    assert f"{folder}: found neither tokenizer.json nor spiece.model" in problems
    (folder / "spiece.model").write_bytes(b"")
    bundle = with_files(load_bundle(str(made)), tokenizer=folder)
    assert not any("spiece" in finding.message for finding in check_bundle(bundle))


def with_files(bundle: Bundle, **paths: Path) -> Bundle:
    """The bundle with other local files, which lie in one folder."""
    files = {k: {"uri": path.name, "sha256": content_sha256(path)} for k, path in paths.items()}
    spec = bundle.model_dump(mode="json")
    spec["files"] = {kind: {"random_seed": 1} for kind in ("dit", "vae")} | {
        "tokenizer": spec["files"]["tokenizer"], "text_encoder": spec["files"]["text_encoder"]
    } | files  # fmt: skip
    return parse_bundle(json.dumps(spec), str(next(iter(paths.values())).parent))


# --- the 14B example -------------------------------------------------------------------------------------------------


def example_14b() -> Bundle:
    """The example in docs/bundle.md."""
    text = (ROOT / "docs" / "bundle.md").read_text()
    (block,) = re.findall(r"```json\n(\{.*?)```", text, re.DOTALL)
    return parse_bundle(block, "/nowhere")


def test_the_14b_example_of_the_docs_is_the_network_it_describes():
    bundle = example_14b()
    config = DiTConfig(state_t=bundle.state_t, **bundle.network.model_dump())
    with torch.device("meta"):
        network = MultiviewDiT(config)
    assert {n: tuple(p.shape) for n, p in network.named_parameters()} == dit_shapes(bundle.network)
    assert (config.model_channels, config.num_blocks, config.num_heads, config.head_dim) == (5120, 36, 40, 128)
    assert [plan.gang_size for plan in memory_plans(bundle)] == [1, 2, 4, 5, 8]


def test_a_14b_checkpoint_is_checked_by_its_header_alone(tmp_path):
    """A sparse file of full size: 29 GB that take no room."""
    shapes = dit_shapes(example_14b().network)
    path = tmp_path / "dit.safetensors"
    header, position = {}, 0
    for name, shape in shapes.items():
        end = position + 2 * math.prod(shape)
        header["net." + name] = {"dtype": "BF16", "shape": shape, "data_offsets": [position, end]}
        position = end
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + position)
    found = read_header(path)
    selection = select_dit(found.shapes, found.others, shapes, "net.")
    assert (selection.faults, selection.ignored, len(selection.names)) == ((), {}, len(shapes))
    fewer = dit_shapes(load_bundle("cosmos-predict2-2b-multiview").network)
    assert "parameters of another shape" in select_dit(found.shapes, (), fewer, "net.").faults[0]


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_memory_plan_counts_weights_exactly_and_shrinks_with_the_gang():
    bundle = load_bundle("cosmos-predict2-2b-multiview")
    one, eight = memory_plan(bundle, 1), memory_plan(bundle, 8)
    assert one.network == 2 * 1_956_470_833
    assert one.vae == 2 * 126_892_531
    assert one.text_encoder == 2 * sum(map(math.prod, t5_shapes(published.T5_11B, 1024).values()))
    assert eight.activations < one.activations / 6
    assert eight.total < one.total < 80e9
    assert memory_plan(bundle.with_numerics("float32"), 1).network == 2 * one.network
    assert "fits 80 GB" in one.line()
    assert memory_plan(example_14b(), 8).network == 2 * sum(map(math.prod, dit_shapes(example_14b().network).values()))


def test_files_are_written_one_tensor_at_a_time_in_any_dtype(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(7), "c": torch.ones(0), "d": torch.tensor([True])}
    write_safetensors(tmp_path / "x.safetensors", tensors, torch.bfloat16)
    for length in range(1, 9):
        write_safetensors(tmp_path / "y.safetensors", {"n" * length: torch.ones(2)}, None)
        data = (tmp_path / "y.safetensors").read_bytes()
        assert int.from_bytes(data[:8], "little") % 8 == 0, "numbers begin where they can be mapped"
    loaded = safetensors.torch.load_file(tmp_path / "x.safetensors")
    assert {n: t.dtype for n, t in loaded.items()} == {
        "a": torch.bfloat16, "b": torch.int64, "c": torch.bfloat16, "d": torch.bool
    }  # fmt: skip
    assert all(torch.equal(loaded[n], t.to(loaded[n].dtype)) for n, t in tensors.items())
