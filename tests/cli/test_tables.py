"""P2's tables: every number has a command that gives it, and a second run computes none of them again."""

from __future__ import annotations

import json
import re
import resource
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch

from bigroc_core.__main__ import build_parser, main
from bigroc_core.boosting import BoostConfig
from bigroc_core.cards import CIFAR10_CLASSES, Card
from bigroc_core.classifiers.networks import build_network
from bigroc_core.classifiers.registry import load_classifier
from bigroc_core.cli.evaluate import measurement_of
from bigroc_core.evaluation import Evaluation, Way
from bigroc_core.evaluation.comparison import ERRORS, Row
from bigroc_core.evaluation.inception import Metric
from bigroc_core.experiments import tables as measuring
from bigroc_core.experiments.measured_tables import cells, clearly_below
from bigroc_core.experiments.measurement import Measurement
from bigroc_core.experiments.measuring import Beside
from bigroc_core.experiments.sweep import Sweeping
from bigroc_core.experiments.tables import Rows, TablesRequest, swept, timesteps_of
from bigroc_core.generators.registry import embedded_generators
from bigroc_core.places import HOME
from bigroc_core.training.checkpoint import export

JOINT, ROBUST = "cifar10-joint", "cifar10-robust"


def small_classifier(folder: Path, name: str, seed: int, l0: float | None) -> None:
    torch.manual_seed(seed)
    card = Card(
        name=name,
        kind="classifier",
        architecture="resnet9",
        arguments={"width": 2},
        classes=CIFAR10_CLASSES,
        input_size=(32, 32),
        l0=l0,
    )
    export(build_network("resnet9", classes=10, width=2), card, folder)


@pytest.mark.parametrize(
    "config",
    [
        BoostConfig(eps=1.6, steps=10, loss="combined", stop_at="l0"),
        BoostConfig(eps=0.03, steps=7, norm="linf"),
        BoostConfig(eps=2, steps=4, step_size=0.1, loss="bce", stop_at=0.9, l0=2.5),
        BoostConfig(eps=1, steps=3, step_size=2, gradient="raw"),
    ],
)
def test_a_way_is_what_its_text_says(config):
    main_way = Way(load_classifier(ROBUST), BoostConfig(eps=9, steps=99, step_size=1.5, stop_at=0.2, norm="l2"))
    way = Beside.parse(Beside.of(JOINT, config).text).way(main_way)
    assert way.classifier.card.name == JOINT
    assert way.config == config


def request(**more) -> TablesRequest:
    roles = {"joint": JOINT, "vanilla": "cifar10-joint-vanilla", "classifier": ROBUST, "judge": "cifar10-judge"}
    return TablesRequest(**roles, consistency="cifar10-ct", **more)


@pytest.mark.parametrize("seed", [1_000_000, 2**41])
def test_a_printed_command_measures_the_same(seed):
    card = embedded_generators()["cifar10-dcgan"]
    robust = BoostConfig(eps=1.2, steps=10, stop_at=0.99)
    joint = BoostConfig(eps=2.4, steps=8, loss="combined", stop_at="l0")
    rows = Rows(card.name, card, {"robust joint": (JOINT, joint)})
    asked = rows.measurement(request(seeds=(4, 5), debias_seed=seed), robust, 300)
    printed = measurement_of(build_parser().parse_args(shlex.split(asked.command)[3:]))
    assert printed == asked
    assert (asked.images, asked.count, asked.seeds, asked.debias) == ("generator:cifar10-dcgan", 300, (4, 5), 1000)
    assert printed.beside[0].way(Way(load_classifier(ROBUST), robust)).config == joint


def test_commands_name_the_data_but_not_where_they_lie():
    measurement = Measurement(images="set.npz", classifier=ROBUST, config=BoostConfig(), data=Path("far/away/data.zip"))
    sweeping = Sweeping(images="set.npz", classifier=ROBUST, configs=(BoostConfig(),), data=measurement.data)
    for command in (measurement.command, sweeping.command):
        assert build_parser().parse_args(shlex.split(command)[3:]).data == Path("data.zip")


def test_the_published_rows_are_told_again_by_their_commands():
    page = json.loads((HOME / "RESULTS.json").read_text("utf-8"))
    made = measuring.Tables(request(debias_seed=2**41, others=("cifar10-dcgan", "cifar10-ssgan")), "cpu")

    def as_measured(command: str) -> str:
        """But for ε and T, which some presets have left since; the page names the ones that it was measured at."""
        return re.sub(r"((?:--)?(?:eps|steps)[ =])\S+?(?=[ ,]|$)", r"\1…", command)

    told = [as_measured(made.asked(rows).command) for rows in made.rows()]
    assert told == [as_measured(page["measured"][rows.name]["command"]) for rows in made.rows()]


def test_below_means_beyond_the_error_bar_seed_by_seed():
    assert clearly_below([1.0, 2.0, 3.0], [1.1, 2.1, 3.12])
    assert not clearly_below([1.0, 2.0, 3.0], [1.1, 1.9, 3.12])
    assert not clearly_below([1.0], [2.0])
    none, better = {"distance": [2.0, 2.2], "gain": [0, 0]}, {"distance": [1.0, 1.1], "gain": [0.5, 0.5]}
    assert cells([none, better, None], first=True) == ["2.100 ± 0.141", "**1.050 ± 0.071 (50.0 ± 0.0 %)**", "–"]
    assert cells([better, none], first=True)[1] == "2.100 ± 0.141 (0.0 ± 0.0 %)"


def test_timesteps_are_the_cards_or_evenly_spaced():
    card = Card(name="c", kind="generator", architecture="diffusers", arguments={"timesteps": {"2": [123, 0]}})
    assert timesteps_of(card, 2) == "123,0"
    assert timesteps_of(card, 4) == "150,100,50,0"


def test_a_missing_preset_names_the_command_that_finds_it():
    card = Card(name="c", kind="generator", architecture="dcgan")
    with pytest.raises(ValueError, match=r"sweep generator:c --classifier cifar10-joint .*--debias 1000 --write-card"):
        swept(card, JOINT, "--loss combined --stop-at l0")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "page.txt"], "must end in .md"),
        (["--joint", ROBUST], "is no joint model"),
        (["--others", "nobody"], "no embedded generator 'nobody'"),
        (["--joint", "nobody"], "nobody"),
        (["--vanilla", JOINT], "another model than"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["tables", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_every_table_and_a_second_run_boosts_nothing_for_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIGROC_CACHE", str(tmp_path / "cache"))
    for seed, (name, l0) in enumerate([("judge", None), ("robust", None), ("joint", 0.7), ("vanilla", 0.6)]):
        small_classifier(tmp_path, name, seed, l0)
    pixels = np.random.default_rng(0).integers(0, 256, (5_030, 32, 32, 3), dtype=np.uint8)
    np.savez(
        tmp_path / "data.npz",
        x_train=pixels,
        y_train=np.zeros(5_030, np.uint8),
        x_test=pixels[:9],
        y_test=np.zeros(9, np.uint8),
    )
    configs = {
        "joint.safetensors": BoostConfig(eps=1.0, steps=1, loss="combined", stop_at="l0"),
        "robust.safetensors": BoostConfig(eps=1, steps=1),
    }
    monkeypatch.setattr(measuring, "swept", lambda card, classifier, sweep: configs[classifier])
    monkeypatch.setattr(measuring, "CURVE_PGD", (1, 2))
    monkeypatch.setattr(measuring, "CURVE_CONSISTENCY", (1, 3))
    models = [word for role in ("judge", "joint", "vanilla") for word in (f"--{role}", f"{role}.safetensors")]
    words = [
        "tables",
        *models,
        "--classifier",
        "robust.safetensors",
        "--others",
        "cifar10-cgan",
        "--count",
        "18",
        "--curve-count",
        "18",
        "--seeds",
        "0",
        "1",
        "--timed",
        "2",
        "--data",
        "data.npz",
        "--output",
        "page.md",
    ]
    assert main(words) == 0
    page = (tmp_path / "page.md").read_text("utf-8")
    for title in ("Table 1", "Table 2", "Table 3", "Early stopping", "Quality against time", "Commands"):
        assert f"## {title}" in page
    assert "–" not in page.split("## Commands")[0].replace("classifier–discriminator", "")
    numbers = json.loads((tmp_path / "page.json").read_text("utf-8"))
    assert set(numbers["measured"]) == {"cifar10-ct", "cifar10-ct?num_inference_steps=2", "cifar10-cgan"}
    one, two = (
        numbers["measured"][name]["rows"]["none"]["distance"]
        for name in ("cifar10-ct", "cifar10-ct?num_inference_steps=2")
    )
    assert one != two
    assert set(numbers["measured"]["cifar10-ct"]["rows"]) == {
        "none",
        "robust classifier",
        "non-robust joint",
        "robust joint",
        "ce",
        "bce",
        "ce-bce",
    }
    assert all(one["returned_bit_for_bit"] for one in numbers["stopping"].values())
    assert list(numbers["stopping"]) == [
        "cifar10-ct",
        "cifar10-cgan",
        "CIFAR-10 test images",
        "cifar10-ct?num_inference_steps=2",
    ]
    assert {(p["consistency_steps"], p["pgd_steps"]) for p in numbers["curve"]} == {(1, 0), (1, 1), (1, 2), (3, 0)}
    assert (tmp_path / "page-curve.png").read_bytes().startswith(b"\x89PNG")
    for command in [one["command"] for one in numbers["measured"].values()]:
        assert command in page

    def forbidden(*_args, **_options):
        raise AssertionError("everything was measured before")

    monkeypatch.setattr("bigroc_core.evaluation.comparison.boost", forbidden)
    assert main([*words, "--only", "1", "2", "3"]) == 0
    again = json.loads((tmp_path / "page.json").read_text("utf-8"))
    assert again["measured"] == numbers["measured"]


def test_rows_of_an_earlier_page_are_kept_while_their_command_and_models_are_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    measured: list[str] = []

    def fake(page, asked):
        measured.append(asked.images)
        rows_of = next(one for one in page.rows() if f"generator:{one.name}" == asked.images)
        row = Row("", {Metric("distance", "judge", False): (2.0, 1.0), ERRORS: (0.5, 0.5)}, (1.0, 1.0))
        rows = (row,) * (2 + len(rows_of.ways))
        return Evaluation(asked.images, "judge", "", 2, (0, 1), BoostConfig(eps=1, steps=1), rows)

    monkeypatch.setattr(measuring.Tables, "evaluate", fake)
    monkeypatch.setattr(measuring.Tables, "stop_early", lambda *_: None)
    monkeypatch.setattr(measuring.Tables, "stop_early_on_real", lambda *_: None)
    words = ["tables", "--only", "2", "--others", "cifar10-cgan", "cifar10-ssgan", "--output", "page.md"]
    assert main(words) == 0
    assert measured == ["generator:cifar10-cgan", "generator:cifar10-ssgan"]
    kept = (tmp_path / "page.json").read_bytes()
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "| cifar10-cgan, which the joint model was trained on | 1.500" in page
    assert "| cifar10-ssgan | 1.500" in page

    def killed(*_):
        raise KeyboardInterrupt

    # Not even a run that is killed at its start loses them.
    with monkeypatch.context() as patch:
        patch.setattr(measuring.Tables, "measure", killed)
        assert main(words) == 130
    assert set(json.loads((tmp_path / "page.json").read_bytes())["measured"]) == {"cifar10-cgan", "cifar10-ssgan"}
    assert main(words) == 0
    assert len(measured) == 2
    assert (tmp_path / "page.json").read_bytes() == kept

    # Nor do they go where there is no room for what is new.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        assert main(words) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "error: [Errno 27] page.json could not be written (File too large)" in capsys.readouterr().err
    assert (tmp_path / "page.json").read_bytes() == kept
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.json", "page.md"]

    # Other weights of one generator, then other settings of all.
    real = measuring.checkpoint_hash
    monkeypatch.setattr(measuring, "checkpoint_hash", lambda name: "f" * 64 if name == "cifar10-ssgan" else real(name))
    assert main(words) == 0
    assert measured[2:] == ["generator:cifar10-ssgan"]
    assert main([*words, "--count", "7"]) == 0
    assert measured[3:] == ["generator:cifar10-cgan", "generator:cifar10-ssgan"]
    (tmp_path / "page.json").write_text("[]", "utf-8")
    assert main([*words, "--count", "7"]) == 0
    assert len(measured) == 7

    # Other data, by another name or by their contents; the same ones in another place.
    words = [*words[:4], "cifar10-cgan", *words[6:]]
    place, elsewhere, other = tmp_path / "data.npz", tmp_path / "moved" / "data.npz", tmp_path / "other.npz"
    elsewhere.parent.mkdir()
    for name, seed in ((place, 0), (elsewhere, 0), (other, 1)):
        save_data(name, seed)
    for path, times in ((place, 1), (place, 0), (elsewhere, 0), (other, 1)):
        assert main([*words, "--data", str(path)]) == 0
        assert len(measured) - 7 == times
        del measured[7:]
    kept = json.loads((tmp_path / "page.json").read_text("utf-8"))["measured"]["cifar10-cgan"]
    assert "--data other.npz" in kept["command"]
    save_data(other, 2)
    assert main([*words, "--data", str(other)]) == 0
    assert main(words) == 0
    assert len(measured) - 7 == 2


def save_data(path, seed):
    """CIFAR-10's form, with just more images than are held out."""
    pixels = np.random.default_rng(seed).integers(0, 256, (5_001, 32, 32, 3), dtype=np.uint8)
    labels = np.zeros(5_001, np.uint8)
    np.savez(path, x_train=pixels, y_train=labels, x_test=pixels[:9], y_test=labels[:9])
