"""Three runs into one output at once: one goes on, the others say in a line that another is writing there.

python -m pytest -m campaign tests/robustness/test_three_runs.py
"""

from __future__ import annotations

from pathlib import Path

import pytest
from robustness.commands import Commands, said
from robustness.test_kills import KINDS, commands, inputs, written  # noqa: F401


@pytest.mark.campaign
@pytest.mark.parametrize("name", KINDS)
def test_of_three_runs_at_once_one_goes_on(
    name: str,
    inputs: Path,  # noqa: F811
    tmp_path: Path,
    commands: Commands,  # noqa: F811
) -> None:
    places = [tmp_path / number for number in ("alone", "first", "second", "third")]
    out = tmp_path / "results"
    for place in (*places, out):
        place.mkdir()
        for path in inputs.iterdir() if place != out else ():
            (place / path.name).symlink_to(path)
    alone, *three = places
    assert commands.run(KINDS[name], alone) == 0, said(alone)
    words = [str(out / word) if word.startswith("out") else word for word in KINDS[name]]
    begun = [commands.begin(words, place) for place in three]
    ended = {place: commands.wait(process) for place, process in zip(three, begun, strict=True)}
    assert sorted(ended.values()) == [0, 2, 2], [said(place)[-1:] for place in three]
    for place in (place for place, status in ended.items() if status):
        assert said(place)[-1].startswith(f"error: {out / 'out'}")
        assert said(place)[-1].endswith(
            "another run is writing there; wait until it has ended, or choose another name for this one"
        )
        assert len([line for line in said(place) if not line.startswith("note: ")]) == 1, said(place)
    # But for where the command says that it writes, every byte is as if it had been alone.
    found, expected = written(out), written(alone)
    assert found.keys() == expected.keys()
    assert [key for key in found if not key.endswith((".json", ".pt")) and found[key] != expected[key]] == []
