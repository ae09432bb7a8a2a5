"""Could prompts be refined? What doctor, `model check` and a job say of endpoints, packages and weights."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest
from random_qwen_vl import byte_tokenizer  # type: ignore[import-not-found]
from support.chat_server import MODEL, Answer, ChatServer, chat_server, refused

from cosmos_ray.cli.main import app, run
from cosmos_ray.clip.guardrail_rules import GuardrailRules
from cosmos_ray.clip.refiner_rules import NOT_REFINED, RefinerRules
from cosmos_ray.errors import UsageError
from cosmos_ray.models.bundle import hub
from cosmos_ray.models.bundle.bundle import load_bundle
from cosmos_ray.models.bundle.memory import (
    REFINER_BYTES,
    guardrail_bytes,
    memory_plan,
    memory_plans,
    refiner_line,
    stays_beside,
)
from cosmos_ray.refine import check
from cosmos_ray.refine.asks import Refining
from cosmos_ray.refine.check import check_refiner, findings_of


def levels(rules: RefinerRules) -> list[tuple[str, str]]:
    return [(found.level, found.message) for found in findings_of(rules)]


def endpoint(server: ChatServer, **more: Any) -> RefinerRules:
    return RefinerRules(**{"backend": "endpoint", "url": server.url, "model": MODEL, **more})


def test_nothing_is_looked_at_where_nothing_is_refined() -> None:
    assert levels(NOT_REFINED) == []


def test_an_endpoint_is_asked_for_its_models() -> None:
    with chat_server() as server:
        assert levels(endpoint(server)) == [("ok", f"{server.url} answers, with model {MODEL}")]
        assert levels(endpoint(server, model=None)) == [("ok", f"{server.url} answers, with model {MODEL}")]
        ((level, words),) = levels(endpoint(server, model="other"))
        assert (level, words) == ("unavailable", f"{server.url} has no model `other`: it has {MODEL}")
        server.models = None
        assert levels(endpoint(server)) == [("ok", f"{server.url} answers, and does not say which models it has")]
        gone = endpoint(server)
    assert [level for level, _ in levels(gone)] == ["unavailable"]


@pytest.mark.parametrize(("on_failure", "then"), [("keep", "are taken as they are"), ("fail", "fail their clips")])
def test_a_job_says_that_its_endpoint_is_out_and_begins(on_failure: str, then: str) -> None:
    with chat_server() as server:
        rules = endpoint(server, on_failure=on_failure)
    told: list[str] = []
    check_refiner(Refining(rules), told.append)
    assert len(told) == 1
    assert told[0].endswith(f"prompts that cannot be refined {then}")


def test_a_job_does_not_begin_with_a_key_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with chat_server() as server:
        server.list = lambda: refused(401)
        with pytest.raises(UsageError, match="COSMOS_RAY_REFINER_KEY"):
            check_refiner(Refining(endpoint(server)), print)
        server.list = lambda: Answer(b"", 302, {"Location": server.url})
        with pytest.raises(UsageError, match="answered 302"):
            check_refiner(Refining(endpoint(server)), print)


def test_a_local_model_is_a_folder_of_the_right_kind_with_its_weights(tmp_path: Path) -> None:
    rules = RefinerRules(backend="local", model=str(tmp_path))
    found = []
    for config in (None, "{", '{"model_type": "llama"}', '{"model_type": "qwen2_5_vl"}'):
        if config is not None:
            (tmp_path / "config.json").write_text(config)
        found += levels(rules)
    (tmp_path / "model.safetensors").write_bytes(b"")
    found += levels(rules)
    byte_tokenizer().save_pretrained(tmp_path)
    found += levels(rules)
    assert [level for level, _ in found] == ["problem"] * 5 + ["ok"]
    assert found[4][1] == f"{tmp_path}: its tokenizer cannot be loaded: it knows no words: are its files there?"
    assert [words.partition(": ")[2] for _, words in found[:4]] == [
        "found no readable config.json, expected a Qwen2.5-VL's",
        "found no readable config.json, expected a Qwen2.5-VL's",
        "found a model of type 'llama', expected qwen2_5_vl",
        "found no weights (or not all shards), expected them there",
    ]
    with pytest.raises(UsageError, match="expected a whole repository"):
        check_refiner(Refining(RefinerRules(backend="local", model=f"hf://a/b@{'0' * 40}/x.safetensors")), print)


def test_a_chat_template_that_is_no_use_is_found_before_a_gpu_is_taken(tmp_path: Path) -> None:
    """By `model check`, `doctor` and the job itself; what gangs would say is said."""
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = "{% for one in messages %}{{ one.content }}"
    tokenizer.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    (tmp_path / "model.safetensors").write_bytes(b"")
    rules = RefinerRules(backend="local", model=str(tmp_path))
    said = rf"^refiner: {tmp_path}: its chat template cannot be used: TemplateSyntaxError"
    with pytest.raises(UsageError, match=said):
        check_refiner(Refining(rules), print)
    (tmp_path / "chat_template.json").write_text("[]")
    assert "chat_template.json holds no chat template" in levels(rules)[0][1], "which comes first"


def test_a_local_model_that_is_out_of_reach_ends_the_job_before_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endpoint may come back; what is not on this machine and cannot be fetched will fail every clip."""
    monkeypatch.setattr(hub, "cached", lambda *_: None)
    monkeypatch.setattr(hub, "ask", lambda *_: hub.HubAnswer("unavailable", "no answer from the hub"))
    told: list[str] = []
    with pytest.raises(UsageError, match="refiner: no answer from the hub"):
        check_refiner(Refining(RefinerRules(backend="local")), told.append)
    assert told == []


def test_packages_that_are_missing_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    there = importlib.util.find_spec
    monkeypatch.setattr(check.importlib.util, "find_spec", lambda name: None if name == "PIL" else there(name))
    assert ("problem", "the local refiner needs pillow: pip install pillow") in levels(
        RefinerRules(backend="local", model="nowhere")
    )


def test_instructions_are_looked_at_too() -> None:
    ((level, words), *_) = levels(RefinerRules(backend="local", instructions="nowhere.txt", model="nowhere"))
    assert (level, "refiner.instructions: nowhere.txt cannot be read" in words) == ("problem", True)


def test_doctor_and_model_check_say_it(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with chat_server() as server:
        said = ["--set", "refiner.backend=endpoint", "--set", f"refiner.url={server.url}"]
        for command, name in ((["doctor"], MODEL), (["model", "check", "fake"], MODEL)):
            monkeypatch.setattr("sys.argv", ["cosmos-ray", *command, *said])
            assert run(app) == 0
            assert f"refiner: {server.url} answers, with model {name}" in capsys.readouterr().out
    for command, code in ((["doctor"], 1), (["model", "check", "fake"], 2)):
        monkeypatch.setattr("sys.argv", ["cosmos-ray", *command, *said])
        assert run(app) == code
        assert "does not answer" in capsys.readouterr().out


def test_the_memory_plan_says_whether_it_stays_on_the_gangs_gpu() -> None:
    """The published 2B model of seven views: beside it on 141 GB, and on 80 GB in gangs that leave room."""
    bundle = load_bundle("cosmos-predict2-2b-multiview")
    plans = {size: memory_plan(bundle, size) for size in (1, 8)}
    assert not stays_beside(plans[1], int(plans[1].total))
    assert stays_beside(plans[1], plans[1].total + REFINER_BYTES)
    with_one = memory_plans(bundle, refiner=REFINER_BYTES)[0]
    assert with_one.total == plans[1].total + REFINER_BYTES
    assert "refiner 19.1" in with_one.line()
    assert "refiner" not in plans[1].line()


def test_where_it_writes_is_said_for_each_size_of_gpu() -> None:
    bundle = load_bundle("cosmos-predict2-2b-multiview")
    plan = memory_plan(bundle, 2)
    assert refiner_line(plan).startswith("refiner (19.1 GB): on the first GPU of 80 GB or 141 GB (")
    checked = dataclasses.replace(plan, guardrails=guardrail_bytes(GuardrailRules(enabled=True), bundle))
    places = "on the first GPU of 141 GB, on the node's processors beside one of 80 GB"
    assert refiner_line(checked).startswith(f"refiner (19.1 GB): {places} (")
    nowhere = dataclasses.replace(plan, decode=200 * 10**9)
    assert ": on the node's processors beside one of 80 GB or 141 GB (" in refiner_line(nowhere)


def test_model_check_says_what_refiner_and_guardrails_take_together(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["refiner.backend=local", "guardrails.enabled=true"]
    monkeypatch.setattr("cosmos_ray.models.bundle.check.check_bundle", lambda _: [])
    monkeypatch.setattr("cosmos_ray.models.bundle.check.text_encoder_parameters", lambda _: None)

    def lines(*more: str) -> list[str]:
        words = [word for flag in (*flags, *more) for word in ("--set", flag)]
        monkeypatch.setattr("sys.argv", ["cosmos-ray", "model", "check", "cosmos-predict2-2b-multiview", *words])
        run(app)
        return [line.strip() for line in capsys.readouterr().out.splitlines()]

    found = lines()
    two = next(number for number, line in enumerate(found) if line.startswith("gang of 2: 74.8 GB"))
    assert "guardrails 19.9" in found[two]
    assert found[two + 1].startswith("refiner (19.1 GB): on the first GPU of 141 GB, on the node's processors")
    assert any(
        line.startswith("gang of 2: 93.9 GB") and "refiner 19.1" in line for line in lines("refiner.device=gang")
    )
    assert not any("refiner (" in line for line in lines("refiner.device=gang"))
