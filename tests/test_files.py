"""Files and folders appear whole or not at all, and a place that cannot be written is named in one line."""

from pathlib import Path

import pytest

from grmp.errors import UserError
from grmp.files import allocate, claim, listing, survey, whole, whole_folder, write_text


def test_replaces_and_leaves_nothing_beside(tmp_path):
    for text in ("one", "two"):
        write_text(tmp_path / "a/file", text)
        with whole_folder(tmp_path / "a/folder") as folder:
            (folder / "f").write_text(text)
    assert (tmp_path / "a/file").read_text() == (tmp_path / "a/folder/f").read_text() == "two"
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("kind", [whole, whole_folder])
def test_a_failure_inside_keeps_the_old_one(tmp_path, kind):
    target = tmp_path / "t"
    with kind(target) as beside:
        (beside / "f" if kind is whole_folder else beside).write_text("old")
    with pytest.raises(ZeroDivisionError), kind(target) as beside:  # noqa: PT012
        (beside / "f" if kind is whole_folder else beside).write_text("new")
        raise ZeroDivisionError
    assert (target / "f" if kind is whole_folder else target).read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["t"]


@pytest.mark.parametrize("kind", [whole, whole_folder])
def test_a_place_that_cannot_be_written_is_named(tmp_path, kind):
    (tmp_path / "file").write_text("in the way")
    with (
        pytest.raises(UserError, match=r"cannot write .*file/t: .*; free some space") as caught,
        kind(tmp_path / "file/t"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_file_never_replaces_a_folder(tmp_path):
    (tmp_path / "t/mine").mkdir(parents=True)
    with pytest.raises(UserError, match="cannot write"):
        write_text(tmp_path / "t", "text")
    assert (tmp_path / "t/mine").is_dir()


def test_a_sparse_file_takes_its_space(tmp_path):
    with (tmp_path / "a").open("wb") as file:
        file.truncate(10**6)
    assert (tmp_path / "a").stat().st_blocks == 0
    allocate(tmp_path / "a")
    assert (tmp_path / "a").stat().st_blocks * 512 >= 10**6


def test_a_device_is_not_replaced_and_a_link_stays(tmp_path):
    with pytest.raises(UserError, match="/dev/null is not a regular file"):
        claim(Path("/dev/null"))
    target, link = tmp_path / "elsewhere/a.txt", tmp_path / "a.txt"
    target.parent.mkdir()
    link.symlink_to(target)
    for text in ("one", "two"):  # the target is made, then replaced
        write_text(link, text)
        assert link.is_symlink()
        assert target.read_text() == text
    assert len(list(target.parent.iterdir())) == 1


def test_the_folder_itself_is_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cannot write"):
        write_text(Path(), "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [whole, whole_folder])
def test_what_a_killed_writer_left_goes_and_neighbours_stay(tmp_path, kind):
    (tmp_path / ".t.4711.partial").write_text("half")
    (tmp_path / ".t.abc.old").mkdir()
    (tmp_path / ".t.abc.old/t").write_text("replaced")
    (tmp_path / ".tt.4711.partial").write_text("of another file, perhaps being written")
    with kind(tmp_path / "t") as beside:
        (beside / "f" if kind is whole_folder else beside).write_text("whole")
    assert sorted(p.name for p in tmp_path.iterdir()) == [".tt.4711.partial", "t"]


def test_what_a_survey_leaves_out_is_counted(tmp_path):
    names = ["a.jpg", "b/c.txt", ".hidden", "@eaDir/a.jpg/thumb.jpg", "$Recycle.Bin/x.jpg", "b/.git/x", "b/.git/y/z"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("four")
    (tmp_path / "linked").symlink_to(tmp_path / "b")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "same.jpg").symlink_to(tmp_path / "a.jpg")
    found, left_out = survey(tmp_path)
    assert found == listing(tmp_path) == [("a.jpg", 4), ("b/c.txt", 4), ("same.jpg", 4)]
    assert left_out == {
        "hidden": 1,
        "in @eaDir": 1,
        "in $Recycle.Bin": 1,
        "in hidden folders": 2,
        "links to folders": 1,
        "broken links or no files": 1,
    }
