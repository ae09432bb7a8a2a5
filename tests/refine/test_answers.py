"""What counts as an answer: a caption of one line, and nothing else that a model or a server makes of a question."""

from __future__ import annotations

import pickle

import pytest

from cosmos_ray.foreign import shown
from cosmos_ray.refine.answers import NoWordsError, words_of

GOOD = "A wet street at dusk; the bus turns left."


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (GOOD, GOOD),
        (f"  {GOOD}\n", GOOD),
        ("A wet\nstreet\r\n\tat  dusk.", "A wet street at dusk."),
        (f'"{GOOD}"', GOOD),
        (f"\u201c{GOOD}\u201d", GOOD),
        ('A sign says "Stop" and "Go"', 'A sign says "Stop" and "Go"'),
        ('"Stop" says a sign, and "Go"', '"Stop" says a sign, and "Go"'),
        (f"<think>It is dusk.\nSo it is dark.</think>\n\n{GOOD}", GOOD),
        (f"It is dusk.\nSo it is dark.\n</THINK>\n{GOOD}", GOOD),
        (f"<think>One.</think> No. <think>Two.</think>\n{GOOD}", GOOD),
        ("A \x1b[31mred\x1b[0m car.", "A red car."),
        ("A \x1b]0;title\x07red\x9b2J car.", "A red car."),
        ("A red\x00 c\x07ar\x7f.\u202e", "A red car."),
        ("\ufeffAn old car.\u200b", "An old car."),
        ("नमस्ते, क्\u200dष on a sign.", "नमस्ते, क्\u200dष on a sign."),
        ("Ein Schild mit der Aufschrift \u00bbHalt\u00ab", "Ein Schild mit der Aufschrift \u00bbHalt\u00ab"),
        ("cars < 3 and trucks > 5", "cars < 3 and trucks > 5"),
        ("A driver says sorry, and I cannot turn left is on a sign.",) * 2,
        ("Sorry drivers wait at a light.",) * 2,
        ("I-95 at dusk; as an aid, lamps are lit.",) * 2,
    ],
)
def test_an_answer_becomes_a_caption_of_one_line(answer: str, words: str) -> None:
    found = words_of(answer, 512)
    assert found == words
    assert words_of(found, 512) == found
    assert "\\x1b" not in shown(found)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "found nothing"),
        (" \n\t\x1b[2J", "found nothing"),
        ('"..."', "found nothing"),
        (None, "found NoneType"),
        (7, "found int"),
        ({"text": GOOD}, "found dict"),
        ("<think>It is", "a thought that does not end"),
        (f"{GOOD} <Think>It is", "a thought that does not end"),
        (f"<think>It is</think> {GOOD} <think>or", "a thought that does not end"),
        ("<think>It is</think>", "found nothing"),
        ("<!DOCTYPE html><html><body>Sign in</body></html>", "found HTML"),
        (f"{GOOD}<br>{GOOD}", "found HTML"),
        ("<script>alert(1)</script>", "found HTML"),
        ("I'm sorry, but I can't help with that.", "found a refusal"),
        ("<think>Not this.</think>\n\n\u201cI\u2019m very sorry", "found a refusal"),
        ("Sorry, I can't assist with that request.", "found a refusal"),
        ("I cannot describe this scene.", "found a refusal"),
        ("I apologize, but that is not possible.", "found a refusal"),
        ("As an AI language model, I have no eyes.", "found a refusal"),
        ("word " * 900, "characters, expected at most 4096"),
        ("\x1b[0m" * 10**6, "characters, expected at most 4096"),
        ("x" * 10**7, "characters, expected at most 4096"),
    ],
)
def test_what_is_no_caption_is_refused_in_words(answer: object, why: str) -> None:
    with pytest.raises(NoWordsError, match=why) as raised:
        words_of(answer, 512)
    assert raised.value.is_rows
    assert raised.value.passes


def test_a_fault_crosses_processes_whole() -> None:
    fault = pickle.loads(pickle.dumps(NoWordsError("no", True, True, 2.5, 429)))
    assert (str(fault), fault.is_rows, fault.passes, fault.after_s, fault.status) == ("no", True, True, 2.5, 429)
