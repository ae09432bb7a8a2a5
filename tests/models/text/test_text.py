"""Captions to embeddings; and embedding files, of which nothing may be run."""

import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from support.paths import GOLDEN
from transformers import T5Config, T5EncoderModel

from cosmos_ray.errors import RowError
from cosmos_ray.models.bundle.bundle import BUILT_IN_FOLDER, load_bundle
from cosmos_ray.models.text.embedding import _is_raw, load_embedding
from cosmos_ray.models.text.t5 import load_encoder, random_encoder
from cosmos_ray.models.text.text import TextEncoder, encode_ids
from cosmos_ray.models.text.tokenizer import load_tokenizer

CASE = GOLDEN / "t5_padding.safetensors"
V, D = 3, 8


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    tiny = load_bundle("tiny")
    tokenizer = load_tokenizer(BUILT_IN_FOLDER / "tiny" / "tokenizer.json")
    return TextEncoder(tokenizer, random_encoder(tiny.text_encoder, tiny.text_width, seed=3))


def test_the_encoders_own_numbers_are_refused_by_name_with_the_way_out() -> None:
    for value in (torch.zeros(1, V * 512, 56), torch.zeros(V * 512, 56), [torch.zeros(3, 56)] * V):
        with pytest.raises(RowError, match=r"56 numbers a token are the text encoder's own, .*crossattn_proj"):
            load_embedding(torch_bytes(value), ".pt", V, D, raw_width=56)
    with pytest.raises(RowError) as other:
        load_embedding(torch_bytes(torch.zeros(1, V * 512, 57)), ".pt", V, D, raw_width=56)
    assert "crossattn_proj" not in str(other.value)


# --- tokenizer and encoder -------------------------------------------------------------------------------------------


def test_the_tiny_tokenizer_knows_words_digits_and_punctuation(encoder):
    tokens = encoder.tokenizer.tokenize("Two RED cars ahead, 10 trees; a zeppelin.")
    assert tokens == ["two", "red", "cars", "ahead", ",", "1", "0", "trees", ";", "a", "<unk>", "."]
    assert encoder.tokenizer("day").input_ids[-1] == 1
    assert (encoder.tokenizer.pad_token_id, encoder.tokenizer.eos_token_id, encoder.tokenizer.unk_token_id) == (0, 1, 2)


def test_the_vocabulary_covers_the_captions_of_the_sample_drive(encoder):
    captions = [
        "A clear day on a city street, blue sky. Two cars: one red ahead, one blue passing left.",
        "Dusk on a city street, orange sunset sky. Three cars: one white oncoming, one black behind, one yellow ahead.",
        "Rear right view. Rain on a city street, grey sky, wet road. No cars.",
        load_bundle("tiny").sampling.negative_prompt,
    ]
    for caption in captions:
        assert 2 not in encoder.tokenizer(caption).input_ids


def test_the_vocabulary_fits_the_encoder(encoder):
    assert len(encoder.tokenizer) == encoder.encoder.config.vocab_size


def test_an_embedding_has_one_row_a_token_and_no_padding(encoder):
    short, empty = encoder.encode(["a red car", ""])
    assert short.shape == (4, 128)
    assert empty.shape == (1, 128), "the end-of-text token remains"
    assert short.dtype == np.float32
    assert np.isfinite(short).all()


def test_texts_beyond_the_window_are_cut_to_512_tokens(encoder):
    (long,) = encoder.encode(["car " * 600])
    assert long.shape == (512, 128)


def test_a_text_gives_the_same_bits_alone_in_company_and_from_the_cache(encoder):
    (alone,) = encoder.encode(["a wet road"])
    again, _ = encoder.encode(["a wet road", "a bus at night, one car behind"])
    fresh = TextEncoder(encoder.tokenizer, encoder.encoder).encode(["two", "a wet road"])[1]
    assert again is alone
    assert np.array_equal(fresh, alone)


def test_the_forward_pass_is_masked_beyond_the_text(encoder):
    """512 padded positions or none: the rows of the text are the same."""
    ids = torch.tensor([encoder.tokenizer("a red car").input_ids])
    bare = encode_ids(encoder.encoder, ids, torch.ones_like(ids))[0]
    assert np.allclose(encoder.encode(["a red car"])[0], bare.numpy(), atol=1e-5)


def test_encoding_matches_the_reference_and_pads_with_exact_zeros():
    golden = safetensors.torch.load_file(CASE)
    model = T5EncoderModel(
        T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, feed_forward_proj="relu")
    ).eval()
    state = {name.removeprefix("t5."): tensor for name, tensor in golden.items() if name.startswith("t5.")}
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    out = encode_ids(model, golden["in.input_ids"], golden["in.attention_mask"])
    assert (out - golden["out.embedding"]).abs().max() < 1e-4
    assert out[golden["in.attention_mask"] == 0].eq(0).all()


def test_encoder_and_tokenizer_load_from_a_hugging_face_folder_and_from_a_weights_file(encoder, tmp_path):
    tiny = load_bundle("tiny")
    encoder.encoder.save_pretrained(tmp_path / "hf")
    encoder.tokenizer.save_pretrained(tmp_path / "hf")
    (expected,) = encoder.encode(["a blue truck"])
    from_folder = TextEncoder(load_tokenizer(tmp_path / "hf"), load_encoder(tmp_path / "hf", None, 128))
    assert np.array_equal(from_folder.encode(["a blue truck"])[0], expected)
    weights = load_encoder(tmp_path / "hf" / "model.safetensors", tiny.text_encoder, 128)
    assert np.array_equal(TextEncoder(encoder.tokenizer, weights).encode(["a blue truck"])[0], expected)


# --- embedding files -------------------------------------------------------------------------------------------------


def embedding(views: int = V) -> np.ndarray:
    """[views * 512, D] with 2, 3, ... rows of text in each view, the rest zero."""
    array = np.zeros((views, 512, D), np.float32)
    for view in range(views):
        array[view, : 2 + view] = np.random.RandomState(view).standard_normal((2 + view, D))
    return array.reshape(-1, D)


def torch_bytes(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def per_view() -> list[np.ndarray]:
    return [view[: 2 + i] for i, view in enumerate(embedding().reshape(V, 512, D))]


GOOD = {
    "pt": (torch_bytes(torch.from_numpy(embedding()[None])), ".pt"),
    "pt without batch": (torch_bytes(torch.from_numpy(embedding())), ".pt"),
    "pt list": (torch_bytes([torch.from_numpy(view) for view in per_view()]), ".pt"),
    "safetensors": (safetensors.torch.save({"x": torch.from_numpy(embedding())}), ".safetensors"),
    "npy": (npy_bytes(embedding()[None]), ".npy"),
    "npy float64": (npy_bytes(embedding().astype(np.float64)), ".npy"),
    "npy Fortran order": (npy_bytes(np.asfortranarray(embedding())), ".npy"),
    "pkl array": (pickle.dumps(embedding()[None]), ".pkl"),
    "pkl big-endian": (pickle.dumps(embedding().astype(">f4")), ".pkl"),
    "pkl Fortran order": (pickle.dumps(np.asfortranarray(embedding())), ".pkl"),
    "pkl tuple": (pickle.dumps(tuple(per_view())), ".pkl"),
    **{f"pkl list, protocol {p}": (pickle.dumps(per_view(), protocol=p), ".pkl") for p in range(6)},
}


@pytest.mark.parametrize("form", GOOD)
def test_embeddings_are_read_from_every_form(form):
    data, suffix = GOOD[form]
    views = load_embedding(data, suffix, V, D)
    assert len(views) == V
    for view, expected in zip(views, per_view(), strict=True):
        assert view.dtype == np.float32
        assert np.array_equal(view, expected)


def test_old_numpy_pickles_name_their_module_differently():
    data = pickle.dumps(per_view(), protocol=2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    assert b"numpy.core.multiarray" in data
    assert len(load_embedding(data, ".pkl", V, D)) == V


def test_bfloat16_files_are_read():
    stored = torch.from_numpy(embedding()).bfloat16()
    views = load_embedding(torch_bytes(stored), ".pt", V, D)
    assert np.array_equal(views[0], stored[:2].float().numpy())


def twice(depth: int) -> list:
    """A list of two that are one and the same, `depth` deep: 2**depth of them if anybody counts."""
    return [twice(depth - 1)] * 2 if depth else []


def encoded_again_and_again() -> bytes:
    """Calls `_codecs.encode` on one text of 1 MB a thousand times and keeps what it gives."""
    text = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6
    again = b"h\0h\1h\2\x86R"  # encode, (text, "latin1"), call
    return b"\x80\x02c_codecs\nencode\nq\0" + text + b"q\1X\6\0\0\0latin1q\2](" + again * 1000 + b"e."


def compressed(data: bytes) -> bytes:
    """The same zip archive with its entries compressed."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    return made.getvalue()


@pytest.mark.parametrize(
    ("data", "suffix"),
    [
        (pickle.dumps(twice(60)), ".pkl"),
        (torch_bytes(torch.zeros(1).expand(1 << 20, 1 << 20)), ".pt"),
        (pickle.dumps([np.zeros((512, D), np.float32)] * 10**6), ".pkl"),
        (b"\x80\x04]r\xff\xff\xff\x7f.", ".pkl"),
        (b"\x80\x05\x96" + (2**40).to_bytes(8, "little") + b".", ".pkl"),
        (encoded_again_and_again(), ".pkl"),
        (compressed(torch_bytes(torch.zeros(V * 512, D))), ".pt"),
    ],
    ids=["nested", "expanded", "repeated", "memo", "bytearray", "encoded", "compressed"],
)
def test_small_files_that_ask_for_all_the_memory_are_refused(data, suffix):
    with pytest.raises(RowError, match="found 'a "):
        load_embedding(data, suffix, V, D)


def test_only_the_padding_at_the_end_is_cut_off():
    """A row of zeros in the middle is a token's: what follows it stays at its place."""
    array = embedding()
    array[512 + 1] = 0
    views = load_embedding(npy_bytes(array), ".npy", V, D)
    assert [len(view) for view in views] == [2, 3, 4]
    assert np.array_equal(views[1], array[512 : 512 + 3])
    array[512] = 0
    assert np.array_equal(load_embedding(npy_bytes(array), ".npy", V, D)[1], array[512 : 512 + 3])


def test_a_suffix_may_be_in_capitals():
    assert len(load_embedding(GOOD["npy"][0], ".NPY", V, D)) == V


def spoilt(value: float) -> bytes:
    """One number of the last view."""
    array = embedding()
    array[1024, 3] = value
    return npy_bytes(array)


def test_a_view_without_text_is_empty():
    array = embedding()
    array[512:1024] = 0
    assert [len(view) for view in load_embedding(npy_bytes(array), ".npy", V, D)] == [2, 0, 4]


BAD = {
    "views missing": (npy_bytes(embedding()[:1024]), ".npy", "float32 array [1024, 8]"),
    "another width": (npy_bytes(np.zeros((V * 512, D + 1), np.float32)), ".npy", "float32 array [1536, 9]"),
    "integers": (npy_bytes(np.zeros((V * 512, D), np.int64)), ".npy", "int64 array"),
    "not finite": (npy_bytes(np.full((V * 512, D), np.nan, np.float32)), ".npy", "NaN"),
    "one NaN": (spoilt(np.nan), ".npy", "NaN or infinity"),
    "one infinity": (spoilt(-np.inf), ".npy", "NaN or infinity"),
    "sparse": (torch_bytes(torch.from_numpy(embedding()).to_sparse()), ".pt", "float32 tensor [1536, 8]"),
    "complex": (npy_bytes(embedding().astype(np.complex64)), ".npy", "complex64 array"),
    "too many arrays": (pickle.dumps([*per_view(), per_view()[0]]), ".pkl", "list of 4"),
    "a narrow array": (pickle.dumps([*per_view()[:2], np.zeros((3, D - 1), np.float32)]), ".pkl", "list of 3"),
    "an array of one axis": (pickle.dumps([*per_view()[:2], np.zeros(D, np.float32)]), ".pkl", "list of 3"),
    "view too long": (pickle.dumps([np.zeros((513, D), np.float32)] * V), ".pkl", "list of 3"),
    "too few arrays": (pickle.dumps(per_view()[:2]), ".pkl", "list of 2"),
    "dict": (torch_bytes({"a": torch.zeros(1)}), ".pt", "a dict"),
    "two tensors": (
        safetensors.torch.save({"a": torch.zeros(1), "b": torch.zeros(1)}),
        ".safetensors",
        "cannot be read as plain arrays (ValueError",
    ),
    "integers pickled": (pickle.dumps(np.zeros((V * 512, D), np.int64)), ".pkl", "only floats are read"),
    "object array": (npy_bytes(np.array([None])), ".npy", "allow_pickle=False"),
    "tensor pickled": (pickle.dumps(torch.zeros(V * 512, D)), ".pkl", "only plain arrays"),
    "garbage pt": (b"nonsense", ".pt", "cannot be read"),
    "garbage npy": (b"nonsense", ".npy", "cannot be read"),
    "garbage pkl": (b"nonsense", ".pkl", "cannot be read"),
    "garbage safetensors": (b"nonsense", ".safetensors", "cannot be read"),
    "empty pkl": (b"", ".pkl", "cannot be read"),
    "another suffix": (b"", ".txt", "ending in `.txt`"),
}


@pytest.mark.parametrize("case", BAD)
def test_anything_else_is_an_input_fault_that_names_what_was_found(case):
    data, suffix, found = BAD[case]
    with pytest.raises(RowError) as error:
        load_embedding(data, suffix, V, D)
    assert error.value.failure_class == "input"
    assert found in str(error.value)
    assert "column `prompt_embedding`" in str(error.value)


def safetensors_named(name: str) -> bytes:
    header = json.dumps({name: {"dtype": name, "shape": [1], "data_offsets": [0, 4]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4)


def npy_headed(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


SPEAKING = {
    "text": b"WORDS of somebody else's file, a line\n" * 9,
    "an array's header": npy_headed(b"{'WORDS': 1}\n"),
    "an array's broken header": npy_headed(b"{'WORDS' \"WORDS\n"),
    "an array's fields": npy_bytes(np.zeros(4, [("WORDS", np.float32)])),
    "a tensor's type": safetensors_named("WORDS"),
    "what a pickle asks for": b"cWORDS of\nWORDS\n.",
    "what it asks for of a package that is known": b"cos\nWORDS of somebody\n.",
    "a number of a pickle": b"IWORDS\n.",
    "a text of a pickle": b"SWORDS\n.",
    "an array of a type of a pickle's": b"cnumpy\ndtype\n(S'WORDS'\ntR.",
    "an encoding of a pickle's": b"c_codecs\nencode\n(VWORDS\nS'WORDS'\ntR.",
    "a pickle's keys": pickle.dumps({"WORDS": 1}),
    "a torch file's keys": torch_bytes({"WORDS": torch.zeros(1)}),
}


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".npy", ".pkl"])
@pytest.mark.parametrize("kind", SPEAKING)
def test_nothing_of_what_a_file_says_is_quoted(kind, suffix):
    """Whose it is nobody knows: rows may name any file that the job may read."""
    with pytest.raises(RowError) as error:
        load_embedding(SPEAKING[kind], suffix, V, D)
    assert "WOR" not in str(error.value)


class Bomb:
    """Pickles as a call that leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (exec, (f"open({str(self.path)!r}, 'w').write('ran')",))


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    mark = tmp_path / "mark"
    data = pickle.dumps([Bomb(mark), *per_view()])
    with pytest.raises(RowError, match=r"builtins\.exec"):
        load_embedding(data, ".pkl", V, D)
    assert not mark.exists()
    pickle.loads(data)
    assert mark.exists(), "the pickle is a real one: it runs where pickles are trusted"


def test_code_inside_a_torch_file_is_refused_and_does_not_run(tmp_path):
    mark = tmp_path / "mark"
    data = torch_bytes([torch.from_numpy(embedding()), Bomb(mark)])
    assert zipfile.is_zipfile(io.BytesIO(data))
    with pytest.raises(RowError, match="cannot be read as plain arrays"):
        load_embedding(data, ".pt", V, D)
    assert not mark.exists()
    torch.load(io.BytesIO(data), weights_only=False)
    assert mark.exists(), "the file is a real one"


@pytest.mark.parametrize(
    "stream",
    [
        # numpy and Python by their front doors and by the back ones
        b"cnumpy\nload\n(S'/etc/passwd'\ntR.",
        b"cnumpy.f2py\nmain\n(tR.",
        b"cbuiltins\ngetattr\n(cnumpy\nndarray\nS'tofile'\ntR.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.__init__\x93.",
        b"cnumpy._core.multiarray\nfromfile\n(S'/etc/passwd'\ntR.",
        b"c_codecs\nencode\n(S'a'\nS'idna'\ntR.",
        b"c_codecs\nencode\n}S'__doc__'\nS'x'\nsb.",
        b"Pid\n.",
    ],
)
def test_hand_made_pickles_reach_nothing_but_arrays(stream):
    with pytest.raises(RowError, match="cannot be read as plain arrays"):
        load_embedding(stream, ".pkl", V, D)


def test_one_array_of_the_encoders_own_width_is_enough_to_say_so() -> None:
    mixed = [np.zeros((3, 8), np.float32), np.zeros((2, 40), np.float32)]
    assert _is_raw(mixed, 40)
    assert _is_raw(mixed[1], 40)
    assert not _is_raw(mixed, 41)
