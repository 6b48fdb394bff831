"""A visitor's own checkpoint is theirs alone, goes with them, and is refused by one sentence where it cannot be."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import pickle
import shlex
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr
import pytest
import torch
from gradio.state_holder import SessionState
from starlette.datastructures import QueryParams

import bigroc_core as bc
from bigroc_core.catalogue import classifier_cards, classifier_named, models_of_a_run
from bigroc_core.classifiers import own
from bigroc_core.classifiers.architectures import new_network
from bigroc_core.cli.classifier_options import add_classifier, classifier_of
from bigroc_core.experiments.boost import BoostRequest, boost
from bigroc_core.experiments.boost_files import made_with
from bigroc_core.experiments.snippets import as_command, as_python
from bigroc_core.limits import MAX_OWN_CHECKPOINT_BYTES, MAX_OWN_CHECKPOINTS, MIB
from bigroc_core.ui import evaluate_tab, forms, links
from bigroc_core.ui.own_checkpoint import entry_of, know_visitors, lay_out

NAMES = "red,green,blue"


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is there."""
    monkeypatch.setattr(own, "_OWN", {})


@pytest.fixture(autouse=True, scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where uploads come to lie."""
    with pytest.MonkeyPatch.context() as patch:
        made = tmp_path_factory.mktemp("uploads")
        patch.setenv("GRADIO_TEMP_DIR", str(made))
        yield made


def page_of(allowed: bool) -> gr.Blocks:
    """The box for a checkpoint, and a control that names a classifier."""
    with gr.Blocks() as page:
        connect = lay_out(allowed)
        chosen = forms.control(BoostRequest, "classifier")
        connect([chosen])
        gr.Button().click(lambda name: name, chosen, gr.Textbox(), api_name="choose")
    know_visitors(page, allowed)
    return page


@pytest.fixture(scope="module")
def page(folder: Path) -> gr.Blocks:
    return page_of(True)


def call(page: gr.Blocks, name: str, values: list[Any], visitor: str = "ann") -> Any:
    """What an endpoint answers a visitor."""
    function = next(one for one in page.fns.values() if name in (one.api_name, one.targets[0][1]))
    asked = page.process_api(
        function, values, SessionState(page), request=gr.Request(session_hash=visitor), session_hash=visitor
    )
    with ThreadPoolExecutor(1) as thread:  # the browser of other tests keeps this one's loop busy
        return thread.submit(asyncio.run, asked).result()["data"]


def uploaded(contents: Any, name: str = "mine.pt") -> Path:
    """A file as Gradio has received it. contents: its bytes, or what torch.save writes."""
    folder = Path(os.environ["GRADIO_TEMP_DIR"]) / os.urandom(8).hex()
    folder.mkdir(parents=True)
    if isinstance(contents, bytes):
        (folder / name).write_bytes(contents)
    else:
        torch.save(contents, folder / name)
    return folder / name


def send(page: gr.Blocks, path: Path, *told: Any, visitor: str = "ann") -> str:
    file = {"path": str(path), "meta": {"_type": "gradio.FileData"}}
    values = [*told, *(None for _ in range(4 - len(told)))]
    return str(call(page, "own_checkpoint", [file, *values], visitor)[0])


def weights(classes: int = 3, arch: str = "resnet9") -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return new_network(arch, classes).state_dict()


def test_it_is_offered_to_its_visitor_alone_and_goes_with_them(page: gr.Blocks, folder: Path, caplog: Any) -> None:
    path = uploaded(weights())
    assert folder in path.parents
    said = send(page, path, "resnet9", 3, 32, NAMES)
    assert "3 classes" in said
    assert "made for 32×32" in said
    assert "robust? its card does not say" in said
    assert call(page, "choose", ["mine.pt"]) == ["mine.pt"]
    with pytest.raises(gr.Error, match="one of"):
        call(page, "choose", ["mine.pt"], visitor="bob")
    assert not list(folder.rglob("mine.pt"))
    with own.visited_by("ann"):
        assert classifier_cards()["mine.pt"].classes == ("red", "green", "blue")
        kept = weakref.ref(classifier_named("mine.pt", "cpu"))
        assert "mine.pt" in bc.load_classifier("mine.pt").card.title
        *_, run = boost(BoostRequest(classifier="mine.pt", target="Estimated", count=2, steps=1), "cpu")
        assert made_with(run.settings)["weights"]["mine.pt"]
    assert "mine.pt" not in classifier_cards()
    call(page, "unload", [], visitor="bob")
    assert kept() is not None
    call(page, "unload", [])
    gc.collect()
    assert kept() is None
    with pytest.raises(gr.Error, match="one of"):
        call(page, "choose", ["mine.pt"])
    assert "mine" not in caplog.text


def test_the_next_file_takes_the_place_of_the_one_before_under_another_name(page: gr.Blocks) -> None:
    send(page, uploaded(weights()), "resnet9")
    with own.visited_by("ann"):
        kept = weakref.ref(classifier_named("mine.pt", "cpu"))
    assert "mine.pt (2)" in send(page, uploaded(weights(4)), "resnet9")
    gc.collect()
    assert kept() is None
    with own.visited_by("ann"):
        assert "mine.pt" not in classifier_cards()
        assert len(classifier_cards()["mine.pt (2)"].classes) == 4


def test_it_goes_after_an_hour_without_use(page: gr.Blocks, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []

    class Later:
        daemon = False

        def __init__(self, _seconds: float, look: Any) -> None:
            looks.append(look)

        def start(self) -> None:
            pass

        def cancel(self) -> None:
            pass

    monkeypatch.setattr("threading.Timer", Later)
    send(page, uploaded(weights()), "resnet9")
    looks.pop()()
    assert own._OWN
    own._OWN["ann"].used -= 10**6
    looks.pop()()
    assert not own._OWN
    assert not looks


def test_copied_code_loads_the_same_file_and_says_that_it_is_the_visitors_own(
    page: gr.Blocks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send(page, uploaded(weights()), "resnet9", 3, 48, NAMES)
    send(page, uploaded(weights()), "resnet9", 3, 48, NAMES)
    with own.visited_by("ann"):
        request = BoostRequest(classifier="mine.pt (2)", target="Estimated", count=2, steps=1)
        settings = request.settings()
        python, command, told = as_python(settings), as_command(settings), made_with(settings)
        card = classifier_cards()["mine.pt (2)"]
    assert "mine.pt is your own file" in command
    assert "mine.pt is your own file" in told["own_checkpoint"]
    monkeypatch.chdir(tmp_path)
    torch.save(weights(), tmp_path / "mine.pt")
    line = next(line for line in python.splitlines() if line.startswith("classifier = "))
    scope: dict[str, Any] = {"bc": bc}
    exec(line, scope)
    parser = argparse.ArgumentParser()
    add_classifier(parser)
    words = shlex.split(command, comments=True)
    options, _ = parser.parse_known_args(words[words.index("--classifier") :])
    with models_of_a_run():
        commanded = classifier_of(options, "cpu")
    for loaded in (scope["classifier"], commanded):
        assert loaded.card.classes == card.classes
        assert loaded.card.input_size == card.input_size == (48, 48)


class _Runs:
    def __reduce__(self) -> Any:
        return (os.mkdir, ("it-ran",))


def broken() -> dict[str, torch.Tensor]:
    state = weights()
    next(iter(state.values()))[0] = float("nan")
    return state


# What is sent, what is said of it, and what the sentence has to say.
BAD = {
    "another architecture": (lambda: weights(), ("resnet18",), "do not fit together"),
    "a pickle": (lambda: pickle.dumps(_Runs()), ("resnet9",), "is refused: it needs"),
    "a pickle inside": (lambda: {**weights(), "hook": _Runs()}, ("resnet9",), "is refused: it needs"),
    "a head of other classes": (lambda: weights(7), ("resnet9", 10), "has 7 classes, not the 10"),
    "weights that are not finite": (broken, ("resnet9",), "not finite"),
    "a program": (lambda: b"MZ\x90\x00" + bytes(4096), ("resnet9",), "neither safetensors nor"),
    "two gigabytes declared": (
        lambda: (2**31).to_bytes(8, "little") + b"{" + bytes(4096),
        ("resnet9",),
        "its header says 2,147,483,648",
    ),
    "no architecture": (lambda: weights(), (), "choose the architecture"),
    "one that is not listed": (lambda: weights(), ("timm:vit_giant",), "one of the list"),
    "other names than classes": (lambda: weights(), ("resnet9", 3, 32, "red, green"), "2 class names, and 3"),
    "a size of no image": (lambda: weights(), ("resnet9", 3, 10**6), "the input size must be"),
}


@pytest.mark.parametrize("which", BAD)
def test_what_cannot_be_used_is_one_sentence_that_names_no_path(which: str, page: gr.Blocks, folder: Path) -> None:
    made, told, expected = BAD[which]
    path = uploaded(made())
    with pytest.raises(gr.Error) as refused:
        send(page, path, *told)
    message = str(refused.value.message)
    assert expected in message.lower()
    assert "\n" not in message
    assert str(folder) not in message
    assert not refused.value.print_exception
    assert not Path("it-ran").exists()
    assert not own._OWN


def test_two_gigabytes_are_refused_before_they_are_opened() -> None:
    path = uploaded(b"")
    with path.open("r+b") as file:
        file.truncate(2**31)  # of which the disk keeps nothing
    most = MAX_OWN_CHECKPOINT_BYTES // MIB
    with own.visited_by("ann"), pytest.raises(ValueError, match=f"2,048 MiB, and a checkpoint may have {most}"):
        own.read_own_classifier(path, entry_of("resnet9", None, None, None), lambda _: pytest.fail("it was opened"))
    assert not path.exists()


def test_no_more_are_kept_than_the_limit(page: gr.Blocks) -> None:
    send(page, uploaded(weights()), "resnet9")
    for other in range(1, MAX_OWN_CHECKPOINTS):
        own._OWN[str(other)] = own._OWN["ann"]
    with pytest.raises(gr.Error, match="other visitors are here already"):
        send(page, uploaded(weights()), "resnet9", visitor="late")
    assert "mine.pt" in send(page, uploaded(weights()), "resnet9")


def test_a_host_that_does_not_allow_it_shows_nothing_and_refuses() -> None:
    page = page_of(False)
    assert [block.visible for block in page.blocks.values() if block.elem_id == "own-checkpoint"] == [False]
    with pytest.raises(gr.Error, match="--allow-checkpoints"):
        send(page, uploaded(weights()), "resnet9")
    assert not own._OWN


def test_a_link_to_it_says_why_it_is_not_restored() -> None:
    with gr.Blocks():
        shared = {name: forms.control(BoostRequest, name) for name in ("classifier", "steps")}
    values, problems = links.read(QueryParams("classifier=mine.pt (2)&steps=7"), shared)
    assert values == {"steps": 7}
    assert problems == ["classifier: mine.pt (2) is somebody's own file, which no link restores: upload it again"]


def test_an_evaluation_by_it_ends_when_its_visitor_leaves(page: gr.Blocks) -> None:
    send(page, uploaded(weights()), "resnet9")
    told: list[str] = []
    with own.visited_by("ann"):
        report = evaluate_tab._while_there("mine.pt", lambda text, *_: told.append(text))
        report("at work", 0.1)
        own.forget_own_classifier()
        with pytest.raises(ValueError, match="went when you left"):
            report("at work", 0.2)
    assert told == ["at work"]
