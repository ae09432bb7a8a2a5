"""Is this an mp4, and is all of it there? Said before a decoder sees the file, by name, without quoting it.

Small files of many kinds are made here; cases that people reported lie in `data`.
"""

from __future__ import annotations

import gzip
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from support.videos import encode, ffmpeg, moving_picture, write

from cosmos_ray.clip.container import check_container, kind_of
from cosmos_ray.clip.encode import encode_jpeg, encode_mp4, encode_png
from cosmos_ray.clip.frames import decode_mp4, inspect_video
from cosmos_ray.clip.info import describe
from cosmos_ray.errors import RowError

DATA = Path(__file__).parent / "data"


def index_at_the_end(source: Path, target: Path) -> Path:
    ffmpeg("-i", source, "-c", "copy", target)
    assert target.read_bytes().index(b"mdat") < target.read_bytes().index(b"moov")
    return target


def refused(path: Path) -> str:
    with pytest.raises(RowError) as caught:
        inspect_video(path)
    assert caught.value.failure_class == "input"
    return str(caught.value)


@pytest.mark.parametrize("kept", [0.99, 0.7, 0.4])
def test_truncated_file_with_index_in_front_is_found(tmp_path: Path, kept: float) -> None:
    """faststart: the index is complete and promises frames that are not there."""
    whole = encode_mp4(moving_picture(20, 144, 192), 10)
    assert whole.index(b"moov") < whole.index(b"mdat") < kept * len(whole)
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(RowError, match=r"^truncated: box 'mdat' has \d+ of its \d+ bytes"):
        inspect_video(path)


@pytest.mark.parametrize("kept", [0.95, 0.5])
def test_truncated_file_with_index_at_the_end_is_found(tmp_path: Path, kept: float) -> None:
    whole = index_at_the_end(write(tmp_path / "a.mp4", moving_picture(20)), tmp_path / "b.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(RowError, match=r"^truncated: "):
        inspect_video(path)
    path.write_bytes(whole[: whole.index(b"moov") - 4])
    with pytest.raises(RowError, match=r"^truncated: there is no index \(box 'moov'\)"):
        inspect_video(path)


def test_truncation_is_found_where_the_data_box_claims_no_size(tmp_path: Path) -> None:
    """Size 0 means "up to the end of the file": only the decoder can tell."""
    whole = bytearray(encode_mp4(moving_picture(20), 10))
    start = whole.index(b"mdat") - 4
    whole[start : start + 4] = bytes(4)
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole)
    assert inspect_video(path).frames == 20
    path.write_bytes(whole[: int(0.6 * len(whole))])
    with pytest.raises(RowError, match=r"^damaged: "):
        inspect_video(path)


def fragmented(tmp_path: Path, *flags: str) -> bytes:
    options = ["-g", "10", "-movflags", "+".join(("frag_keyframe", "empty_moov", *flags))]
    return encode(tmp_path / "whole.mp4", moving_picture(40), *options).read_bytes()


@pytest.mark.parametrize("flags", [(), ("dash",), ("dash", "global_sidx"), ("default_base_moof",)], ids="-".join)
def test_a_fragmented_file_that_was_cut_is_found(tmp_path: Path, flags: tuple[str, ...]) -> None:
    """Inside a header, inside data, and between the two."""
    whole = fragmented(tmp_path, *flags)
    path = tmp_path / "cut.mp4"
    path.write_bytes(whole)
    assert inspect_video(path).frames == 40
    third = [at - 4 for at in range(len(whole)) if whole.startswith(b"moof", at)][2]
    data = whole.index(b"mdat", third) - 4
    for end in (third + 3, third + 20, data, data + 4, data + 30):
        path.write_bytes(whole[:end])
        assert refused(path).startswith("truncated: "), end


def test_a_fragmented_file_without_its_last_fragments_is_found_where_an_index_promises_them(tmp_path: Path) -> None:
    whole = fragmented(tmp_path, "dash", "global_sidx")
    third = [at - 4 for at in range(len(whole)) if whole.startswith(b"moof", at)][2]
    (tmp_path / "cut.mp4").write_bytes(whole[:third])
    assert refused(tmp_path / "cut.mp4") == (
        f"truncated: the segment index (box 'sidx') promises {len(whole) - trailer(whole)} bytes, the file has {third}"
    )


@pytest.mark.parametrize("version", [0, 1])
def test_a_segment_index_promises_what_lies_behind_a_gap_and_indices_of_indices_too(
    tmp_path: Path, version: int
) -> None:
    """Its bytes count from the first one that it speaks of (8.16.3), and one bit of a size says what that is of."""

    def box(kind: bytes, *content: bytes) -> bytes:
        body = b"".join(content)
        return (8 + len(body)).to_bytes(4, "big") + kind + body

    fragments, width, path = box(b"moof") + box(b"mdat", bytes(50)), 4 + 4 * version, tmp_path / "a.mp4"
    gap = box(b"free", bytes(12))
    for more in (0, 1):
        sizes = [2**31 + 20, len(fragments) - 20 + more]
        told = [size.to_bytes(4, "big") + bytes(8) for size in sizes]
        sidx = box(
            b"sidx", bytes([version, 0, 0, 0]), bytes(8 + width), len(gap).to_bytes(width, "big"), b"\0\0\0\2", *told
        )
        whole = box(b"ftyp", b"iso5") + box(b"moov") + sidx + gap + fragments
        path.write_bytes(whole)
        if not more:
            assert check_container(path) == "mp4"
            path.write_bytes(whole.replace(b"ftypiso5", b"stypmsdh"))
            assert check_container(path) == "mp4"
            path.write_bytes(whole.replace(b"ftypiso5", b"ftypqt  "))
            assert check_container(path) == "mov"
            continue
        with pytest.raises(RowError, match=f"promises {len(whole) + 1} bytes, the file has {len(whole)}"):
            check_container(path)


def trailer(whole: bytes) -> int:
    """Bytes after the last fragment."""
    return len(whole) - whole.index(b"mfra") + 4 if b"mfra" in whole else 0


def test_reported_cases_of_fragments() -> None:
    assert inspect_video(DATA / "fragdash.mp4").frames == 48
    assert refused(DATA / "fragdash_trunc2.mp4").startswith("truncated: ")


def test_what_follows_a_whole_file_is_nobodys_business(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", moving_picture(3))
    path.write_bytes(path.read_bytes() + b"appended by a camera, of no meaning")
    assert inspect_video(path).frames == 3


def test_a_file_that_changes_is_looked_at_again(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    assert [inspect_video(write(path, moving_picture(count))).frames for count in (3, 5, 4)] == [3, 5, 4]
    path.write_bytes(path.read_bytes()[:-100])
    assert refused(path).startswith("truncated: ")


def test_a_file_that_is_replaced_at_the_same_size_or_the_same_moment_is_another(tmp_path: Path) -> None:
    """In place, where its moment tells; by another file of the same moment, where its place does; and longer."""
    path, moment = tmp_path / "clip.mp4", (1_000_000_000, 1_000_000_000)

    def as_large(frames: int) -> bytes:
        video = encode_mp4(moving_picture(frames), 10)
        return video + (40_000 - len(video)).to_bytes(4, "big") + b"free" + bytes(40_000 - len(video) - 8)

    path.write_bytes(as_large(3))
    os.utime(path, ns=moment)
    assert inspect_video(path).frames == 3
    path.write_bytes(as_large(4))
    os.utime(path, ns=(moment[0], moment[1] + 1))
    assert inspect_video(path).frames == 4
    (tmp_path / "new").write_bytes(as_large(5))
    os.utime(tmp_path / "new", ns=(moment[0], moment[1] + 1))
    (tmp_path / "new").rename(path)
    assert inspect_video(path).frames == 5
    path.write_bytes(as_large(6) + bytes([0, 0, 0, 8]) + b"free")
    os.utime(path, ns=(moment[0], moment[1] + 1))
    assert inspect_video(path).frames == 6


#: How a file of each kind begins.
BEGINNINGS: dict[str, tuple[bytes, ...]] = {
    "Matroska or WebM": (b"\x1aE\xdf\xa3",),
    "AVI": (b"RIFF\1\2\3\4AVI LIST",),
    "a WebP picture": (b"RIFF\1\2\3\4WEBPVP8 ",),
    "an MPEG program stream": (b"\0\0\1\xba",),
    "a bare MPEG video stream": (b"\0\0\1\xb3", b"\0\0\1\xb0"),
    "MXF": (b"\x06\x0e\x2b\x34",),
    "sound alone": (b"RIFF\1\2\3\4WAVEfmt ", b"ID3\4"),
    "a bare H.264 or HEVC stream": (b"\0\0\0\1\x67", b"\0\0\1\x67", b"\0\0\1\x09"),
    "Flash video": (b"FLV\1",),
    "Ogg": (b"OggS",),
    "Windows Media": (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",),
    "IVF": (b"DKIF",),
    "a bare YUV4MPEG stream": (b"YUV4MPEG2 W64",),
    "a JPEG picture": (b"\xff\xd8\xff\xe1",),
    "a PNG picture": (b"\x89PNG\r\n",),
    "a JPEG 2000 picture": (b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51"),
    "a JPEG XL picture": (b"\0\0\0\x0cJXL \r\n", b"\xff\x0a"),
    "a GIF picture": (b"GIF87a", b"GIF89a"),
    "a TIFF or BMP picture": (b"II*\0", b"MM\0*", b"BM6"),
    "a HEIF or AVIF picture": tuple(b"\0\0\0\x18ftyp" + brand for brand in (b"heic", b"heix", b"mif1", b"avif")),
    "a Git LFS pointer, not the file it stands for": (b"version https://git-lfs.github.com",),
    "a pointer of git-annex, not the file it stands for": (b"/annex/objects/MD5",),
    "gzip": (b"\x1f\x8b\x08",),
    "an Excel file": (
        b"PK\3\4\x14" + bytes(25) + b"[Content_Types].xml",
        b"PK\3\4\x14" + bytes(25) + b"xl/workbook.xml",
    ),
    "an Excel file, of old": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",),
    "an archive": (b"PK\3\4", b"(\xb5/\xfd", b"\xfd7zXZ", b"BZh9", b"7z\xbc\xaf", b"Rar!"),
    "a tar archive": (b"name".ljust(257, b"\0") + b"ustar",),
    "an HTML page": (b" <!DOCTYPE html>", b"<html>", b"\xef\xbb\xbf<HEAD>"),
    "XML": (b"<?xml version", b"<Error><Code>NoSuchKey"),
    "a playlist": (b"#EXTM3U", b"ffconcat version 1.0"),
    "Parquet": (b"PAR1",),
    "an Arrow table": (b"ARROW1",),
    "an ORC table": (b"ORC",),
    "an Avro table": (b"Obj\1",),
    "a SQLite database": (b"SQLite format 3\0",),
    "an array": (b"\x89HDF\r\n", b"\x93NUMPY"),
    "a PDF": (b"%PDF-1.7",),
    "a robot's log": (b"#ROSBAG V2.0", b"\x89MCAP0"),
    "an mp4 or QuickTime video": (b"\0\0\0\x18ftypisom", b"\0\0\0\x08wide", b"\1\2\3\4mdat", b"\0\0\1\0moov"),
    "no known kind of file": (b"ftyp", b"\0\0\0\x18JUNK", b"text", b"\xff\xd8"),
    "an empty file": (b"",),
}


def test_a_files_first_bytes_tell_its_kind() -> None:
    wrong = [(name, head) for name, heads in BEGINNINGS.items() for head in heads if kind_of(head)[0] != name]
    assert wrong == []


def test_kinds_that_people_bring_are_named_with_the_way_out(tmp_path: Path) -> None:
    picture = moving_picture(1)[0]
    remux, pictures = "`ffmpeg -i FILE -c copy OUT.mp4` makes an mp4 of it", "pictures go into `input_frames`"
    kinds: dict[str, tuple[bytes, str]] = {
        "jpg": (encode_jpeg(picture), f"a JPEG picture ({pictures})"),
        "png": (encode_png(picture), f"a PNG picture ({pictures})"),
        "mkv": ((DATA / "mkv.mp4").read_bytes(), f"Matroska or WebM ({remux})"),
        "empty": (b"", "an empty file"),
        "gz": (gzip.compress(encode_mp4(moving_picture(2), 10)), "gzip (unpack it first)"),
        "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
                "a Git LFS pointer, not the file it stands for (`git lfs pull` fetches it)"),
        "annex": (b"/annex/objects/SHA256E-s77--0a.mp4\n",
                  "a pointer of git-annex, not the file it stands for (`git annex get` fetches it)"),
        "html": (b"\n<!DOCTYPE html>\n<html><head><title>Sign in", "an HTML page (an error page or a login was stored "
                 "in its place)"),
        "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n", f"a JPEG 2000 picture ({pictures} as JPEG or PNG)"),
        "wav": (b"RIFF\0\0\0\0WAVEfmt ", "sound alone"),
        "m3u8": (b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n", "a playlist (name the videos themselves)"),
    }  # fmt: skip
    for extension, name in (
        ("avi", "AVI"),
        ("ts", "MPEG-TS"),
        ("webm", "Matroska or WebM"),
        ("flv", "Flash video"),
        ("mxf", "MXF"),
    ):
        codec = ("-c:v", "libvpx-vp9") if extension == "webm" else ()
        made = encode(tmp_path / f"made.{extension}", moving_picture(5), "-pix_fmt", "yuv420p", *codec, fps=25)
        kinds[extension] = (made.read_bytes(), f"{name} ({remux})")
    stream = kinds["ts"][0]
    kinds["cut"] = stream[77:], f"MPEG-TS ({remux})"  # as a recorder begins that is switched on
    kinds["m2ts"] = (
        b"".join(bytes(4) + stream[at : at + 188] for at in range(0, 188 * 9, 188))[150:],
        (f"MPEG-TS (m2ts) ({remux})"),
    )
    path = tmp_path / "clip.mp4"
    for content, name in kinds.values():
        path.write_bytes(content)
        assert refused(path) == f"not an mp4: {name}"


def test_the_way_out_leads_out(tmp_path: Path) -> None:
    ffmpeg("-i", DATA / "mkv.mp4", "-c", "copy", tmp_path / "out.mp4")
    assert inspect_video(tmp_path / "out.mp4").frames == 24


def test_quicktime_is_read(tmp_path: Path) -> None:
    mov = encode(tmp_path / "a.mov", moving_picture(5), "-c:v", "mjpeg", "-pix_fmt", "yuvj420p")
    assert inspect_video(mov).frames == 5
    assert decode_mp4(mov).shape == (5, 48, 64, 3)


def test_nothing_is_quoted_of_a_file_of_no_known_kind(tmp_path: Path) -> None:
    """A reference may lead to any file of the node."""
    secrets = [b"root:$6$salt$hash:19000:0:99999:7:::\n", b"ssh-rsa AAAAB3NzaC1yc2E", b'{"key": "secret"}', b"hello",
               b"secretftyp", b"AKIAsecr" * 30, bytes(4000), os.urandom(5000)]  # fmt: skip
    path = tmp_path / "clip.mp4"
    for content in secrets:
        path.write_bytes(content)
        said = refused(path)
        assert said.startswith(("not an mp4: ", "truncated: ")), said
        for word in ("root", "$6$", "AAAA", "secret", "key", "hello", "AKIA"):
            assert word not in said
    assert kind_of(b"whatever") == ("no known kind of file", "")


def test_what_is_no_file_or_has_no_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    assert refused(path) == "no such file: clip.mp4"
    assert "not a regular file" in refused(tmp_path)
    ffmpeg("-f", "lavfi", "-i", "sine=d=0.5", path)
    assert refused(path) == "no video stream"


def test_an_encrypted_file_is_named(tmp_path: Path) -> None:
    key = ("-encryption_scheme", "cenc-aes-ctr", "-encryption_key", "0" * 32, "-encryption_kid", "1" * 32)
    path = encode(tmp_path / "a.mp4", moving_picture(5), "-pix_fmt", "yuv420p", *key)
    assert refused(path).startswith("encrypted: the video is under Common Encryption (DRM)")
    words = write(tmp_path / "b.mp4", moving_picture(3))
    ffmpeg("-i", words, "-c", "copy", "-metadata", "title=encv sinf pssh", tmp_path / "c.mp4")
    assert inspect_video(tmp_path / "c.mp4").frames == 3


def test_errors_say_what_ffmpeg_says_without_folders_or_addresses(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(encode_mp4(moving_picture(3), 10).replace(b"stsz", b"none"))
    said = refused(path)
    assert said.startswith("damaged: stream 0, ")
    assert str(tmp_path) not in said
    assert "0x" not in said


# --- safety ---


@pytest.mark.parametrize("kind", ["hls", "concat"])
@pytest.mark.parametrize("read", [check_container, describe], ids=["our own look", "ffmpeg alone"])
def test_a_playlist_renamed_mp4_fails_and_nothing_it_names_is_opened(
    tmp_path: Path, kind: str, read: Callable[[Path], object]
) -> None:
    """The file named is a fifo: if anybody opened it for reading, the writer waiting at its other end would wake."""
    secret = tmp_path / "secret"
    os.mkfifo(secret)
    opened = threading.Event()

    def wait_for_a_reader() -> None:
        with secret.open("wb"):
            opened.set()

    writer = threading.Thread(target=wait_for_a_reader, daemon=True)
    writer.start()
    playlist = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:{secret}\n#EXT-X-ENDLIST\n",
        "concat": f"ffconcat version 1.0\nfile '{secret}'\n",
    }[kind]
    path = tmp_path / "clip.mp4"
    path.write_text(playlist)
    try:
        with pytest.raises(RowError, match=r"^(not an mp4|damaged)"):
            read(path)
        assert not opened.is_set()
    finally:
        reader = os.open(secret, os.O_RDONLY | os.O_NONBLOCK)
        writer.join(timeout=600)
        os.close(reader)


def test_file_names_are_names_and_never_options_or_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-y.mp4", "concat:a|b.mp4", "%03d.mp4", "http:x.mp4", "it's.mp4"):
        assert inspect_video(write(Path(name), moving_picture(3))).frames == 3
