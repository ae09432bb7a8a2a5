"""One's own checkpoint in place of a known model's network: where it lies, which weights, what is no checkpoint."""

from __future__ import annotations

import pickle
from pathlib import Path

import fsspec
import pytest
import torch

from cosmos_ray.config import build_config
from cosmos_ray.errors import UsageError
from cosmos_ray.job.model import bundle_of
from cosmos_ray.models.bundle.bundle import Bundle, load_bundle
from cosmos_ray.models.bundle.cache import file_sha256
from cosmos_ray.models.bundle.check import check_bundle
from cosmos_ray.models.bundle.convert import load_dit_state
from cosmos_ray.models.bundle.derive import derive, with_dit
from cosmos_ray.models.bundle.files import local_path, source_key
from cosmos_ray.models.bundle.names import name_in_fingerprint
from cosmos_ray.models.bundle.shapes import dit_shapes

pytestmark = pytest.mark.usefixtures("own_cache")

TINY = load_bundle("tiny")
NAME = "t_embedding_norm.weight"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As training writes it: weights of 1, their running average of 2, and a counter."""
    path = tmp_path_factory.mktemp("training") / "iter_000001000.pt"
    shapes = dit_shapes(TINY.network)
    state = {
        f"{prefix}{name}": torch.full(shape, value, dtype=torch.bfloat16)
        for prefix, value in (("net.", 1.0), ("net_ema.", 2.0))
        for name, shape in shapes.items()
    }
    torch.save({**state, "net.accum_iteration": torch.tensor(1000)}, path)
    return path


def weight(bundle: Bundle) -> float:
    """Of the network that a rank would load."""
    path, shapes = local_path(bundle, "dit"), dit_shapes(bundle.network)
    state = load_dit_state(path, source_key(bundle, "dit"), shapes, bundle.dit_prefix, None)
    return float(state[NAME][0])


def test_a_checkpoint_takes_the_place_of_the_network_alone(checkpoint: Path) -> None:
    """Also on another node, which gets the bundle and neither its name's folder nor a copy."""
    mine = pickle.loads(pickle.dumps(with_dit(TINY, str(checkpoint))))
    assert mine.name == f"tiny.{file_sha256(checkpoint)[:8]}"
    assert local_path(mine, "dit") == checkpoint
    assert local_path(mine, "vae") == local_path(TINY, "vae")
    assert [finding.level for finding in check_bundle(mine)] == ["ok"] * len(check_bundle(mine))
    assert mine.fingerprint != TINY.fingerprint
    assert weight(mine) == 1.0
    assert weight(with_dit(TINY, str(checkpoint), ema=True)) == 2.0
    again = with_dit(mine.with_numerics("reference"), str(checkpoint), ema=True)
    assert local_path(again, "vae") == local_path(TINY, "vae")


def test_a_relative_path_starts_from_here(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkpoint.parent)
    assert local_path(with_dit(TINY, checkpoint.name), "dit") == checkpoint


def test_a_checkpoint_in_a_store_is_fetched_by_its_hash(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fsspec's in-memory store stands for any."""
    monkeypatch.setattr("cosmos_ray.models.bundle.derive.normalise_uri", lambda uri: uri)
    fsspec.filesystem("memory").pipe("/training/mine.pt", checkpoint.read_bytes())
    mine = with_dit(TINY, "memory://training/mine.pt")
    assert weight(mine) == 1.0
    assert local_path(mine, "tokenizer") == local_path(TINY, "tokenizer")


def test_a_bundle_in_one_command(checkpoint: Path, tmp_path: Path) -> None:
    """A folder with all that it needs; what it makes is what the checkpoint in its place makes."""
    in_place = with_dit(TINY, str(checkpoint), ema=True)
    made = derive(in_place, str(tmp_path / "mine"))
    loaded = load_bundle(str(tmp_path / "mine"))
    assert made == loaded
    assert loaded.fingerprint == in_place.fingerprint
    assert {finding.level for finding in check_bundle(loaded)} == {"ok"}
    assert {path.name for path in (tmp_path / "mine").iterdir()} >= {"bundle.json", checkpoint.name, "vae.safetensors"}
    assert weight(loaded) == 2.0
    with pytest.raises(UsageError, match=r"bundle\.json is there already"):
        derive(in_place, str(tmp_path / "mine"))


def test_what_one_that_was_killed_has_left_half_done_goes_with_the_next(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".tmp-0123").write_bytes(b"half of a checkpoint")
    derive(with_dit(TINY, str(checkpoint)), str(tmp_path / "mine"))
    assert not [path for path in (tmp_path / "mine").rglob("*") if path.name.startswith(".tmp-")]


def test_so_do_parts_of_uploads_of_its_folder_alone(checkpoint: Path, s3: str) -> None:
    """A bucket keeps them for ever, and somebody pays for them."""
    client = pytest.importorskip("s3fs").S3FileSystem()
    bucket, _, folder = s3.removeprefix("s3://").partition("/")
    for key in ("mine/dit.pt", "mine-other/dit.pt"):
        client.call_s3("create_multipart_upload", Bucket=bucket, Key=f"{folder}/{key}")
    derive(with_dit(TINY, str(checkpoint)), f"{s3}/mine")
    left = client.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=folder)
    assert [upload["Key"] for upload in left["Uploads"]] == [f"{folder}/mine-other/dit.pt"]


def test_other_weights_of_one_file_have_another_name(checkpoint: Path, tmp_path: Path) -> None:
    """The weights, or their running average; the video's network, or the picture's. What is derived of these too."""
    sha256 = file_sha256(checkpoint)[:8]
    plain, average = with_dit(TINY, str(checkpoint)), with_dit(TINY, str(checkpoint), ema=True)
    assert (plain.name, average.name) == (f"tiny.{sha256}", f"tiny.{sha256}.net_ema")
    assert load_bundle(derive(average, str(tmp_path / "mine")).root).name == average.name
    again = {with_dit(bundle, str(checkpoint), ema).name for bundle in (plain, average) for ema in (False, True)}
    assert len(again) == 4
    world = load_bundle("tiny-text2world")
    assert world.picture is not None
    same = world.model_copy(update={"picture": world.picture.model_copy(update={"network": world.network})})
    shapes, file = dit_shapes(world.network), tmp_path / "a.pt"
    torch.save({lead + name: torch.ones(shapes[name]) for lead in ("net.", "net_ema.") for name in shapes}, file)
    made = [with_dit(same, str(file), ema, picture) for ema in (False, True) for picture in (False, True)]
    assert len({one.name for one in made}) == len({one.fingerprint for one in made}) == 4
    with pytest.raises(UsageError, match="found 129 characters, expected at most 128"):
        with_dit(TINY.model_copy(update={"name": "a" * 120}), str(checkpoint))


def test_a_longer_name_changes_no_fingerprint_of_before(checkpoint: Path) -> None:
    """An output that was begun with the running average, when its name was that of the weights, goes on."""
    average = with_dit(TINY, str(checkpoint), ema=True)
    before = average.model_copy(update={"name": average.name.removesuffix(".net_ema")})
    assert before.name != average.name
    assert before.fingerprint == average.fingerprint != with_dit(TINY, str(checkpoint)).fingerprint
    for name in ("mine.net_ema", "mine.picture_dit", "tiny.0123abcd.net_ema.picture", "tiny.0123abcd.picture"):
        assert name_in_fingerprint(name) == name.replace("d.net_ema", "d")


def test_a_checkpoint_that_is_called_like_another_part_is_not_written_over_by_it(
    checkpoint: Path, tmp_path: Path
) -> None:
    """The bundle would say that its network is the autoencoder's file."""
    mine = with_dit(TINY, str(checkpoint))
    for name in ("vae.safetensors", "vae.safetensors/x.pt"):
        assert mine.files is not None
        found = mine.with_dit(mine.files.dit.model_copy(update={"uri": name}), "net.", mine.root_of("dit"), "mine")
        with pytest.raises(UsageError, match=f"`{name}` is the name of dit and of vae, expected names that differ"):
            derive(found, str(tmp_path / "mine"))
        assert not (tmp_path / "mine").exists()


def test_a_checkpoints_name_that_no_bundle_takes_is_said(checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "a\\b.pt").symlink_to(checkpoint)
    with pytest.raises(UsageError, match="found a file's name with a backslash"):
        with_dit(TINY, str(tmp_path / "a\\b.pt"))


def test_published_parts_stay_on_the_hub(tmp_path: Path) -> None:
    """Beside the published model there is the checkpoint alone; it is not looked into here, no real one being small."""
    published = load_bundle("cosmos-predict2-2b-multiview")
    file = tmp_path / "mine.pt"
    file.write_bytes(b"not opened")
    found = published.with_dit(
        TINY.files.dit.model_copy(update={"uri": "mine.pt", "sha256": file_sha256(file)}),  # type: ignore[union-attr]
        "net.",
        str(tmp_path),
        "mine",
    )
    derive(found, str(tmp_path / "bundle"))
    assert {path.name for path in (tmp_path / "bundle").iterdir()} == {"bundle.json", "mine.pt"}
    assert load_bundle(str(tmp_path / "bundle")).file("vae") == published.file("vae")


def test_a_checkpoint_of_the_picture_takes_its_networks_place_alone(tmp_path: Path) -> None:
    """Where a clip begins with a picture: another network, with its own prefix and folder; the video's stays."""
    world = load_bundle("tiny-text2world")
    assert world.picture is not None
    for folder, network in (("pictures", world.picture.network), ("videos", world.network)):
        (tmp_path / folder).mkdir()
        shapes = dit_shapes(network)
        torch.save({f"net_ema.{name}": torch.ones(shape) for name, shape in shapes.items()}, tmp_path / folder / "a.pt")
    of_picture, of_video = (str(tmp_path / folder / "a.pt") for folder in ("pictures", "videos"))
    mine = with_dit(world, of_picture, ema=True, of_picture=True)
    both = with_dit(mine, of_video, ema=True)
    assert (mine.dit_prefix, both.dit_prefix) == ("net.", "net_ema.")
    for bundle in (mine, both):
        picture = bundle.picture_bundle()
        assert str(local_path(bundle, "picture_dit")) == str(local_path(picture, "dit")) == of_picture
        assert (picture.dit_prefix, picture.files.vae) == ("net_ema.", world.files.vae)  # type: ignore[union-attr]
        assert {finding.level for finding in check_bundle(bundle)} == {"ok"}
    assert str(local_path(both, "dit")) == of_video
    assert len({one.fingerprint for one in (world, mine, both)}) == 3
    settings = [f"picture_dit={of_picture}", f"dit={of_video}", "ema=true"]
    config = build_config({"manifest": "m", "output": "o", "model": "tiny-text2world"}, None, settings)
    assert bundle_of(config).picture == both.picture
    for wrong, picture_too in ((of_video, True), (of_picture, False)):
        with pytest.raises(UsageError, match="of another shape"):
            with_dit(world, wrong, ema=True, of_picture=picture_too)
    with pytest.raises(UsageError, match="`tiny` makes no picture first"):
        with_dit(TINY, of_picture, ema=True, of_picture=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.pt", "there is no such file"),
        ("notes.txt", "found suffix `.txt`, expected .safetensors, .pt, .pth"),
        ("torn.pt", "torn.pt"),
        ("other.pt", "is none of `tiny`"),
    ],
)
def test_what_is_no_checkpoint(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "torn.pt").write_bytes(b"PK\x03\x04 torn")
    torch.save({"net.x": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(UsageError) as caught:
        with_dit(TINY, str(tmp_path / name))
    assert words in str(caught.value)
    assert "stores read" not in str(caught.value), "a store's variables mend no file on a disk"


def test_weights_that_the_file_does_not_have(tmp_path: Path) -> None:
    torch.save(
        {f"net.{name}": torch.zeros(shape) for name, shape in dit_shapes(TINY.network).items()}, tmp_path / "a.pt"
    )
    with pytest.raises(UsageError, match=r"no parameter has the prefix `net_ema\.`"):
        with_dit(TINY, str(tmp_path / "a.pt"), ema=True)
    with pytest.raises(UsageError, match="`fake` has no network"):
        with_dit(load_bundle("fake"), str(tmp_path / "a.pt"))


def test_a_job_takes_it_as_a_setting(checkpoint: Path, tmp_path: Path) -> None:
    flags = {"manifest": "m", "output": "o", "model": "tiny"}
    config = build_config(flags, None, [f"model.dit={checkpoint}", "model.ema=true"])
    assert (config.dit, config.ema) == (str(checkpoint), True)
    assert bundle_of(config) == with_dit(TINY, str(checkpoint), ema=True)
    assert bundle_of(build_config(flags)) == TINY
    with pytest.raises(UsageError, match="ema: found true without dit"):
        bundle_of(build_config(flags, None, ["model.ema=true"]))
