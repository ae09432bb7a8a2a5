"""Files of the guardrails in the published layout, made small: lists, nltk's data, networks of the very classes."""

from __future__ import annotations

from pathlib import Path

#: Stand-ins for listed words, and the tokens that are let through.
CUSTOM, WHITELIST, EXACT = ("gronk", "bad widget"), ("zorpland",), ("flumox", "wombat++")
#: Nouns that WordNet knows here.
_NOUNS = ("car", "gronk", "street")


def write_blocklist(weights: Path) -> Path:
    """`blocklist/` below this folder; that folder."""
    folder = weights / "blocklist"
    for name, entries in (("custom", CUSTOM), ("whitelist", WHITELIST), ("exact_match", EXACT)):
        (folder / name).mkdir(parents=True)
        (folder / name / "words.txt").write_text("".join(f"{entry}\n" for entry in entries))
    _write_punkt(folder / "nltk_data" / "tokenizers" / "punkt_tab" / "english")
    _write_wordnet(folder / "nltk_data" / "corpora" / "wordnet")
    return folder


def _write_punkt(folder: Path) -> None:
    """Of a tokenizer of sentences that has learnt nothing."""
    folder.mkdir(parents=True)
    for name in ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab"):
        (folder / name).write_text("")


def _write_wordnet(folder: Path) -> None:
    folder.mkdir(parents=True)
    for part in ("noun", "verb", "adj", "adv"):
        nouns = [f"{noun} n 1 0 1 0 {number:08d}  " for number, noun in enumerate(_NOUNS)] if part == "noun" else []
        (folder / f"index.{part}").write_text("".join(f"{line}\n" for line in nouns))
        (folder / f"data.{part}").write_text("  1 WordNet 3.0 Copyright\n")
        (folder / f"{part}.exc").write_text("")
    (folder / "index.sense").write_text("")
    (folder / "lexnames").write_text("00\tnoun.Tops\t1\n")


def write_networks(weights: Path) -> None:
    """The content filter's head, SigLIP in the filter's folder, and RetinaFace: small and random, below this folder."""
    import torch
    from transformers import SiglipVisionConfig, SiglipVisionModel

    from cosmos_ray.models.guardrails.content_filter import Classifier
    from cosmos_ray.models.guardrails.retinaface import RetinaFace

    torch.manual_seed(0)
    filter_folder, faces = weights / "video_content_safety_filter", weights / "face_blur_filter"
    filter_folder.mkdir(parents=True)
    faces.mkdir()
    head = Classifier((16, 8, 8))
    state = {f"network.{name}": tensor for name, tensor in head.state_dict().items()}
    torch.save({"model": state, "epoch": 3}, filter_folder / "safety_filter.pt")
    config = SiglipVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    SiglipVisionModel(config).save_pretrained(filter_folder / "models--google--siglip" / "snapshots" / "main")
    net = {f"module.{name}": tensor for name, tensor in RetinaFace(4, 16).state_dict().items()}
    torch.save(net, faces / "Resnet50_Final.pth")


#: Of the tiny Llama-Guard: what its template makes of a prompt.
TEMPLATE = (
    "{{ bos_token }}{% for key in categories %}{{ key }}: {{ categories[key] }} {% endfor %}"
    "{% for message in messages %}<|user|>{{ message['content'] }}<|end|>{% endfor %}"
)


def write_llama_guard(folder: Path) -> None:
    """A Llama of some thousand random weights and a tokenizer of letters, in Hugging Face layout."""
    import string

    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    marks = ["<pad>", "<unk>", "<s>", "</s>", "<|user|>", "<|end|>"]
    words = {word: number for number, word in enumerate([*marks, *string.printable])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        additional_special_tokens=marks[-2:],
    )  # fmt: skip
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
