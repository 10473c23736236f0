"""Groups come from a table or from sub-folders; what cannot be used is named in a line."""

import pytest

from labels.names import stem
from pipeline.group_membership import Member, groups_of
from regions.finding import RegionFiles

NAMES = ["a.png", "b.svs", "c.png"]


@pytest.mark.parametrize(
    "text",
    [
        "image,group\na.png,control\nb,treated\nother.png,treated\n",
        "\ufeffGroup;Image\ncontrol;a.png\ntreated;b.svs\n\n;c.png\n",
        "image\tage\tgroup\na\t3\tcontrol\nb\t4\ttreated\n",
    ],
)
def test_a_table_names_groups_with_or_without_endings(tmp_path, text):
    (tmp_path / "groups.csv").write_text(text, encoding="utf-8")
    found = groups_of(NAMES, str(tmp_path / "groups.csv"))
    assert found == {"a.png": Member("control"), "b.svs": Member("treated")}


def test_a_table_may_name_patients_and_those_of_several_groups_are_said(tmp_path, capsys):
    (tmp_path / "groups.csv").write_text(
        "Patient,group,image\n1,x,a\n1,y,b\n2,y,c\nshort\n \n", encoding="utf-8"
    )
    found = groups_of(NAMES, str(tmp_path / "groups.csv"))
    expected = [Member("x", "1"), Member("y", "1"), Member("y", "2")]
    assert found == dict(zip(NAMES, expected, strict=True))
    assert "patients in several groups (1); the tests are not paired" in capsys.readouterr().err


def test_ome_tiffs_are_known_by_their_short_names_and_unknown_rows_are_named(tmp_path, capsys):
    table = tmp_path / "groups.csv"
    table.write_text("image,group\na,x\nb.ome,y\nC,y\n", encoding="utf-8")
    found = groups_of(["a.ome.tif", "b.ome.tiff", "c.svs"], str(table))
    assert found == {"a.ome.tif": Member("x"), "b.ome.tiff": Member("y")}
    assert "1 row names no image here (C)" in capsys.readouterr().err


def test_a_letter_may_be_stored_in_two_ways(tmp_path):
    composed, apart = "Pr\u00e4.png", "Pra\u0308.png"
    for in_table, name in ((composed, apart), (apart, composed)):
        (tmp_path / "groups.csv").write_text(f"image,group\n{in_table},x\n", encoding="utf-8")
        assert groups_of([name], str(tmp_path / "groups.csv")) == {name: Member("x")}
        (tmp_path / in_table).with_suffix(".geojson").write_text("{}")
        found = RegionFiles().of(tmp_path / name)
        assert found == (tmp_path / in_table).with_suffix(".geojson")
        found.unlink()
    assert stem(tmp_path / composed) == stem(tmp_path / apart)


def test_sub_folders_are_groups():
    names = ["top.png", "control/a.png", "treated/a.png", "treated/deep/b.png"]
    treated = Member("treated")
    expected = {names[1]: Member("control"), names[2]: treated, names[3]: treated}
    assert groups_of(names, "folders") == expected
    assert groups_of(names, None) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected the columns image and group"),
        ("file,group\na.png,x\n", "found file, group"),
        ("image,group\nz.png,x\n", "expected the names of images"),
        ("image,group\na.png,x\na.png,x\na.png,y\n", "a.png is in two rows of .*, x and y; keep"),
        (
            "image,group,patient\na.png,x,1\nb,x,\nc,x\n",
            r"expected a patient of every .* none of 2 images \(b.svs, c.png\)",
        ),
        ("image,group,patient\na.png,x,1\na.png,x,2\n", ".*, x, patient 1 and x, patient 2; keep"),
    ],
)
def test_a_table_that_cannot_be_used_is_named(tmp_path, text, reason):
    (tmp_path / "groups.csv").write_text(text)
    with pytest.raises(ValueError, match=f"GROUPS: .*{reason}"):
        groups_of(NAMES, str(tmp_path / "groups.csv"))


def test_a_missing_table_and_images_without_sub_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="GROUPS: expected a CSV table or 'folders'"):
        groups_of(NAMES, str(tmp_path / "none.csv"))
    with pytest.raises(ValueError, match="GROUPS: expected images in sub-folders"):
        groups_of(NAMES, "folders")
