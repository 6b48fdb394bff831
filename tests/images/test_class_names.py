"""Class names as people and data sets write them mean the classifier's classes, and never the wrong ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bigroc_core.images import ImageError, class_folders, open_image_set, readable_names
from bigroc_core.images.classes import KnownClasses, class_table, parse_mapping
from bigroc_core.images.wordnet import folded, imagenet_class, imagenet_classes, in_imagenet_order

PHOTOS = Path(os.environ.get("BIGROC_DATA", Path(__file__).resolve().parents[3] / "shared")) / "photos"
NUMBERS = tuple(number for number, _ in imagenet_classes())
NAMES = tuple(name for _, name in imagenet_classes())
# The list that most programs had before 2023: two cranes and two maillots.
OLDER = tuple({"crane bird": "crane", "maillot, tank suit": "maillot"}.get(name, name) for name in NAMES)
WORDS = tuple(f"{name}, Some other words" for name in NAMES)


def test_the_table_is_imagenets_in_its_order():
    models = pytest.importorskip("torchvision.models")
    names = models.ResNet18_Weights.DEFAULT.meta["categories"]
    assert len(NAMES) == len(set(NUMBERS)) == 1000
    assert list(NUMBERS) == sorted(NUMBERS)
    different = [(ours, theirs) for ours, theirs in zip(NAMES, names, strict=True) if folded(ours) != folded(theirs)]
    assert len(different) <= 3


@pytest.mark.skipif(not PHOTOS.is_dir(), reason=f"there are no photographs in {PHOTOS}")
def test_the_table_names_photographs_as_their_files_do():
    for path in PHOTOS.iterdir():
        number, _, name = path.stem.partition("_")
        assert folded(name) == folded(dict(imagenet_classes())[number])
        assert imagenet_class(name) == imagenet_class(number) == NUMBERS.index(number)


@pytest.mark.parametrize("names", [NAMES, OLDER, WORDS, NUMBERS])
def test_wordnet_numbers_are_known_to_any_list_of_imagenets_names(names):
    assert in_imagenet_order(names)
    known = KnownClasses(names)
    assert [known.numbers(number) for number in NUMBERS] == [[index] for index in range(1000)]


def test_wordnet_numbers_are_known_to_a_few_of_imagenets_classes_in_any_order():
    known = KnownClasses(("Golf Ball", "tench", "church"))
    assert [known.numbers(number) for number in ("n01440764", "n03445777", "n03028079")] == [[1], [0], [2]]
    assert KnownClasses(("n03445777", "n01440764")).numbers("tench") == [1]
    # A crane of another list of classes may be the bird or the machine.
    for number in ("n02012849", "n03126707"):
        assert KnownClasses(("crane", "tench")).numbers(number) == []


@pytest.mark.parametrize("name", ["bald_eagle", "Bald Eagle", "BALD-EAGLE", "baldeagle", " bald  eagle"])
def test_case_blanks_and_marks_make_no_difference(tmp_path, name):
    (tmp_path / name.strip()).mkdir()
    (tmp_path / name.strip() / "a.png").write_bytes(b"x")
    images = open_image_set(tmp_path, 8, NAMES)
    assert images.labels.tolist() == [22]
    assert "bald eagle" in " ".join(images.notes)
    assert class_table("mine", [name], NAMES, "theirs", {}) == (22,)


def test_where_two_classes_are_the_same_but_for_that_the_name_as_it_stands_decides(tmp_path):
    known = KnownClasses(OLDER)
    dog, jacket = OLDER.index("Cardigan"), OLDER.index("cardigan")
    assert known.numbers("Cardigan") == [dog]
    assert known.numbers("cardigan") == [jacket]
    assert known.numbers("CARDIGAN") == [dog, jacket]
    cranes = [index for index, name in enumerate(OLDER) if name == "crane"]
    assert len(cranes) == 2
    for index in cranes:
        assert known.numbers(class_folders(OLDER)[index]) == [index]
    (tmp_path / "crane").mkdir()
    (tmp_path / "crane" / "a.png").write_bytes(b"x")
    with pytest.raises(
        ImageError, match=r"crane can be any of the classes 134 .*--map-classes crane=134.*'crane \(134\)'"
    ):
        open_image_set(tmp_path, 8, OLDER)
    assert open_image_set(tmp_path, 8, OLDER, {"crane": "517"}).labels.tolist() == [517]
    # In the list that tells them apart the name means the machine alone.
    assert open_image_set(tmp_path, 8, NAMES).labels.tolist() == [517]


def test_two_lists_of_imagenets_names_are_the_same_classes():
    for theirs in (OLDER, WORDS, NUMBERS):
        assert class_table("mine", NAMES, theirs, "theirs", {}) == tuple(range(1000))


def test_wordnet_numbers_of_a_set_of_its_own_stay_its_classes_and_can_be_named(tmp_path):
    for number in ("n01440764", "n03445777"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "a.png").write_bytes(b"x")
    images = open_image_set(tmp_path, 8)
    assert images.classes == ("n01440764", "n03445777")
    assert readable_names(images.classes) == ("tench", "golf ball")
    assert readable_names(("n02113186", "n02963159", "mine", "n99999999")) == (
        "Cardigan (n02113186)",
        "cardigan (n02963159)",
        "mine",
        "n99999999",
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_mapping_may_stand_in_a_file(tmp_path, encoding):
    path = tmp_path / "classes.txt"
    path.write_bytes("# of mine\r\ntench, Tinca tinca = fish\r\n\r\nb=7\r\n".encode(encoding))
    assert parse_mapping(f"@{path}") == {"tench, Tinca tinca": "fish", "b": "7"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a=b\nc\n", "line 2 of classes.txt has 'c'; expected one FROM=TO a line"),
        (b"a=b\n\na=c\n", "line 3 of classes.txt maps 'a' twice"),
        (b"# nothing\n", "maps no class"),
        (b"\xff\xfea", "could not be read"),
        (b"\x1b" * 50_000, r"line 1 of classes.txt has '\\x1b"),
    ],
)
def test_a_wrong_mapping_file_is_refused_with_its_line(tmp_path, content, reason):
    path = tmp_path / "classes.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason) as refused:
        parse_mapping(f"@{path}")
    assert len(str(refused.value)) < 1_000
    with pytest.raises(ValueError, match="is not a file"):
        parse_mapping(f"@{tmp_path}/none.txt")


def test_class_folders_fit_into_file_systems(tmp_path):
    names = ("😀" * 200, "😀" * 200 + "a", "a\ud800b", "plain")
    folders = class_folders(names)
    assert len(set(folders)) == 4
    for folder in folders:
        (tmp_path / folder).mkdir()
    assert folders[3] == "plain"
