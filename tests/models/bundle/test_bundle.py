"""Bundles: what a `bundle.json` may say, what it resolves to, and what `model check` finds."""

import hashlib
import json
import pickle
import subprocess
import sys
from pathlib import Path

import fsspec
import numpy as np
import pytest
from safetensors.numpy import save_file
from support.tiny_spec import TINY, random_tiny_spec

from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle.bundle import check_world_size, fitting_world_sizes, load_bundle
from cosmos_ray.models.bundle.cache import file_sha256, folder_sha256
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.bundle.files import local_path
from cosmos_ray.models.bundle.headers import read_header
from cosmos_ray.models.bundle.names import BUILT_IN, LISTED
from cosmos_ray.models.bundle.shapes import dit_shapes

NETWORK, FILES = random_tiny_spec()["network"], random_tiny_spec()["files"]


def write_bundle(folder: Path, spec: dict) -> Path:
    """A bundle folder with the tiny tokenizer beside its bundle.json."""
    folder.mkdir(exist_ok=True)
    (folder / "bundle.json").write_text(json.dumps(spec))
    (folder / "tokenizer.json").write_bytes((TINY / "tokenizer.json").read_bytes())
    return folder


@pytest.fixture
def bundle_with_dit(tmp_path):
    """A folder whose DiT is a real safetensors file of the right names and shapes; gives (folder, spec, tensors)."""
    spec = random_tiny_spec()
    spec["network"] |= {"model_channels": 64, "num_blocks": 1}
    folder = write_bundle(tmp_path / "bundle", spec)
    shapes = dit_shapes(load_bundle(str(folder)).network)
    tensors = {f"net.{name}": np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def write(tensors: dict[str, np.ndarray]) -> str:
        save_file(tensors, folder / "dit.safetensors")
        spec["files"]["dit"] = {"uri": "dit.safetensors", "sha256": file_sha256(folder / "dit.safetensors")}
        write_bundle(folder, spec)
        return str(folder)

    return write, tensors, folder


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in_bundles_load_by_name(name):
    bundle = load_bundle(name)
    assert bundle.name == name
    assert bundle.num_frames == 29
    assert bundle.n_views == 7
    assert bundle.model_fps == 30


def test_the_published_model_has_its_published_sizes():
    bundle = load_bundle("cosmos-predict2-2b-multiview")
    assert bundle.tokens_per_view == 28_160
    assert bundle.numerics == "reference"
    assert (bundle.sampling.num_steps, bundle.sampling.guidance) == (35, 7)
    # The published file has 593 entries; the other 25 are buffers and counters.
    shapes = dit_shapes(bundle.network)
    assert len(shapes) == 568
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 1_956_470_833
    assert all(bundle.file(kind).hub() is not None for kind in ("dit", "vae", "text_encoder", "tokenizer"))


def test_a_bundle_can_lie_in_any_folder_or_uri(tmp_path):
    folder = write_bundle(tmp_path / "mine", json.loads((TINY / "bundle.json").read_text()))
    by_path = load_bundle(str(folder))
    assert load_bundle(f"file://{folder}") == by_path
    assert load_bundle(str(folder / "bundle.json")) == by_path
    assert by_path.fingerprint == load_bundle("tiny").fingerprint, "where a bundle lies is not part of what it is"


def test_files_of_a_remote_bundle_are_fetched_once_and_verified(tmp_path, monkeypatch):
    """A folder of fsspec's in-memory store stands for any object storage."""
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "cache"))
    tokenizer = (TINY / "tokenizer.json").read_bytes()
    memory = fsspec.filesystem("memory")
    memory.pipe("/bundles/good/bundle.json", json.dumps(random_tiny_spec()).encode())
    memory.pipe("/bundles/good/tokenizer.json", tokenizer)
    bundle = load_bundle("memory://bundles/good")
    path = local_path(bundle, "tokenizer")
    assert path.read_bytes() == tokenizer
    memory.rm("/bundles/good/tokenizer.json")
    assert local_path(bundle, "tokenizer") == path
    memory.pipe("/bundles/good/tokenizer.json", tokenizer)
    path.write_bytes(b"spoilt")
    (found,) = (finding for finding in check_bundle(bundle) if finding.subject == "tokenizer")
    assert (found.level, "to be fetched" in found.message) == ("ok", True)
    assert local_path(bundle, "tokenizer").read_bytes() == tokenizer

    memory.pipe("/bundles/bad/bundle.json", json.dumps(random_tiny_spec()).encode())
    memory.pipe("/bundles/bad/tokenizer.json", b"{}")
    monkeypatch.setenv("COSMOS_RAY_CACHE", str(tmp_path / "other"))
    with pytest.raises(UsageError, match=r"found sha256 .* expected"):
        local_path(load_bundle("memory://bundles/bad"), "tokenizer")


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere.*tiny, tiny25, fake, cosmos-predict2-2b-multiview"):
        load_bundle(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hieght": 64}, "hieght"),
        ({"height": 60}, "multiples of 16"),
        ({"width": 120}, "64x120: expected multiples of 16"),
        ({"height": 1936}, "1936x112: more than network.max_img_h"),
        ({"width": 1936}, "64x1936: more than network.max_img_h, max_img_w"),
        ({"state_t": 129}, "state_t 129: expected at most network.max_frames 128"),
        ({"network": NETWORK | {"num_heads": 256}}, "model_channels 256: expected an even width a head"),
        ({"network": NETWORK | {"n_cameras_emb": 6}}, "n_views 7: expected at most n_cameras_emb 6"),
        ({"network": NETWORK | {"in_channels": 8}}, "expected vae.z_dim 16"),
        ({"network": NETWORK | {"out_channels": 8}}, "expected vae.z_dim 16"),
        ({"n_views": 8}, "n_views"),
        ({"n_views": 0}, "n_views"),
        ({"model_fps": 0}, "model_fps"),
        ({"numerics": "bf16"}, "numerics"),
        ({"format": 2}, "format"),
        ({"name": "../tiny"}, "name"),
        ({"name": ".tiny"}, "name"),
        ({"dit_prefix": "model."}, "dit_prefix"),
        ({"text_encoder_dtype": "float16"}, "text_encoder_dtype"),
        ({"network": NETWORK | {"num_blocks": 0}}, "network.num_blocks"),
        ({"network": NETWORK | {"patch_spatial": 1}}, "network.patch_spatial"),
        ({"sampling": {"num_steps": 0, "guidance": 7, "negative_prompt": ""}}, "sampling.num_steps"),
        ({"files": FILES | {"dit": {"random_seed": -1}}}, "files.dit"),
        ({"files": FILES | {"dit": {"random_seed": 2**32}}}, "files.dit"),
        ({"files": FILES | {"vae": {"uri": "vae.pth", "sha256": "0" * 63}}}, "files.vae"),
        ({"files": FILES | {"vae": {"uri": "vae.pth", "sha256": "A" * 64}}}, "files.vae"),
        ({"files": FILES | {"tokenizer": {"random_seed": 1}}}, "files.tokenizer"),
        ({"files": None}, "files: required"),
        ({"text_encoder": None}, "text_encoder: its dimensions"),
        ({"network": {"model_channels": 256}}, "network.num_blocks"),
    ],
)
def test_a_faulty_bundle_is_refused_with_its_fault_named(tmp_path, change, message):
    folder = write_bundle(tmp_path / "faulty", random_tiny_spec() | change)
    with pytest.raises(UsageError, match=message):
        load_bundle(str(folder))


@pytest.mark.parametrize(
    "uri",
    ["../secret", "a/../../b", "/etc/passwd", "file:///etc/passwd", "s3://other/x", "", "hf://owner/repo/x",
     "hf://owner/repo@main/x", "hf://owner/repo@" + "0" * 40 + "/../x", "a\\b", "./x", "a/./b", "a/..",
     "hf://owner/repo@" + "A" * 40 + "/x", "hf://owner/repo@" + "0" * 39 + "/x", "hf://owner@" + "0" * 40 + "/x",
     "hf://owner/a--b@" + "0" * 40 + "/x", "hf://owner/a..b@" + "0" * 40 + "/x", "hf://owner/repo@" + "0" * 40 + "/"],
)  # fmt: skip
def test_a_file_outside_the_bundle_or_without_a_fixed_revision_is_refused(tmp_path, uri):
    spec = random_tiny_spec()
    spec["files"]["dit"] = {"uri": uri, "sha256": "0" * 64}
    with pytest.raises(UsageError, match=r"uri"):
        load_bundle(str(write_bundle(tmp_path / "bundle", spec)))


def test_a_file_of_the_bundle_needs_its_sha256(tmp_path):
    spec = random_tiny_spec()
    spec["files"]["vae"] = {"uri": "vae.safetensors"}
    with pytest.raises(UsageError, match="sha256 is required"):
        load_bundle(str(write_bundle(tmp_path / "bundle", spec)))


def test_the_fingerprint_tells_seeds_numerics_and_sampling_apart(tmp_path):
    tiny = load_bundle("tiny")
    other = random_tiny_spec()
    other["files"]["dit"]["random_seed"] += 1
    fingerprints = {
        tiny.fingerprint,
        tiny.with_numerics("reference").fingerprint,
        load_bundle(str(write_bundle(tmp_path / "other", other))).fingerprint,
    }
    assert len(fingerprints) == 3
    sampling = tiny.sampling
    for name, value in (("num_steps", 9), ("guidance", 1.5), ("negative_prompt", "x")):
        changed = tiny.model_copy(update={"sampling": sampling.model_copy(update={name: value})})
        fingerprints.add(changed.fingerprint)
    assert len(fingerprints) == 6
    assert tiny.with_numerics("float32") is tiny
    assert tiny.with_numerics(None) is tiny
    with pytest.raises(UsageError, match="numerics: found 'bf16', expected `reference` or `float32`"):
        tiny.with_numerics("bf16")
    assert pickle.loads(pickle.dumps(tiny)).root == tiny.root


def test_a_text_encoder_can_be_put_elsewhere_without_another_word_of_the_bundle():
    tiny = load_bundle("tiny")
    here = (tiny.text_encoder_device, tiny.text_encoder_dtype)
    assert tiny.with_text_encoder(None, None) is tiny
    assert tiny.with_text_encoder(*here) is tiny
    for device in ("gang", "cpu", None):
        for dtype in ("bfloat16", "float32", None):
            found = tiny.with_text_encoder(device, dtype)
            place = (device or here[0], dtype or here[1])
            assert (found.text_encoder_device, found.text_encoder_dtype) == place
            assert (found.fingerprint == tiny.fingerprint) == (place == here)
            assert found.with_text_encoder(*here) == tiny


def test_gang_sizes_divide_the_heads_and_the_tokens_of_a_view():
    assert fitting_world_sizes(16, 28_160) == [1, 2, 4, 8, 16]
    assert fitting_world_sizes(40, 28_160) == [1, 2, 4, 5, 8, 10, 20, 40]
    assert fitting_world_sizes(16, 28_160, limit=4) == [1, 2, 4]
    tiny = load_bundle("tiny")
    check_world_size(tiny, 8)
    with pytest.raises(UsageError, match=r"gang size 7 does not fit.*1, 2, 4, 8"):
        check_world_size(tiny, 7)
    network = tiny.network.model_copy(update={"num_heads": 128})
    wide = tiny.model_copy(update={"network": network, "state_t": 128})
    check_world_size(wide, 128)


def test_check_finds_nothing_wrong_with_the_built_in_bundles():
    for name in [*BUILT_IN, *(name for name in LISTED if name.startswith("tiny-"))]:
        findings = check_bundle(load_bundle(name))
        assert not [finding for finding in findings if finding.level == "problem"]


def test_check_says_where_a_hub_file_that_is_not_here_comes_from(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    findings = {finding.subject: finding for finding in check_bundle(load_bundle("cosmos-predict2-2b-multiview"))}
    assert findings["dit"].level == "unavailable"
    assert "https://huggingface.co/nvidia/Cosmos-Predict2-2B-Multiview" in findings["dit"].message
    assert "not available offline" in findings["text_encoder"].message


def test_check_reads_names_and_shapes_of_the_network(bundle_with_dit):
    write, tensors, _ = bundle_with_dit
    findings = check_bundle(load_bundle(write(tensors)))
    assert {finding.level for finding in findings} == {"ok"}
    assert any("names and shapes as expected" in finding.message for finding in findings)

    absent = {name: tensor for name, tensor in tensors.items() if name != "net.blocks.0.mlp.layer1.weight"}
    findings = check_bundle(load_bundle(write(absent)))
    assert [f.message for f in findings if f.level == "problem"] == [
        "1 of 28 parameters missing: net.blocks.0.mlp.layer1.weight"
    ]

    misshapen = tensors | {"net.final_layer.linear.weight": np.zeros((63, 64), np.float32)}
    findings = check_bundle(load_bundle(write(misshapen)))
    assert "net.final_layer.linear.weight found [63, 64], expected [64, 64]" in findings[2].message


def test_check_finds_changed_truncated_and_missing_files(bundle_with_dit):
    write, tensors, folder = bundle_with_dit
    root = write(tensors)
    dit = folder / "dit.safetensors"
    data = dit.read_bytes()

    dit.write_bytes(data[:-1] + b"x")
    assert "expected" in next(f.message for f in check_bundle(load_bundle(root)) if f.level == "problem")
    dit.write_bytes(data[:-100])
    assert any("truncated" in f.message for f in check_bundle(load_bundle(root)))
    dit.unlink()
    assert any("not found" in f.message and f.level == "problem" for f in check_bundle(load_bundle(root)))


@pytest.mark.parametrize(
    "data", [b"", b"12345678", b"\xff" * 64, b"\x02" + b"\0" * 7 + b"[]", b"\x0a" + b"\0" * 7 + b'{"a": "b"}']
)
def test_a_header_that_is_none_is_a_clear_error(tmp_path, data):
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_header(path)


def test_a_folder_is_hashed_as_sha256sum_would_list_it(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "a.txt").write_bytes(b"1")
    (tmp_path / "b" / "c.txt").write_bytes(b"2")
    one, two = (hashlib.sha256(data).hexdigest() for data in (b"1", b"2"))
    assert folder_sha256(tmp_path) == hashlib.sha256(f"{one}  a.txt\n{two}  b/c.txt\n".encode()).hexdigest()


def test_bundles_and_the_fake_model_need_neither_torch_nor_ray():
    code = (
        "import sys; from cosmos_ray.models.load import load_generator; from cosmos_ray.models.bundle import check;"
        "from cosmos_ray.models.bundle.bundle import load_bundle; load_generator(load_bundle('fake'));"
        "sys.exit(bool({'torch', 'ray', 'transformers', 'diffusers'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
