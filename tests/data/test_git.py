"""A commit is written as files whose git id is the commit's; what git cannot deliver is a failed source."""

import os
from pathlib import Path

import pytest

from grmp.data import git
from grmp.data.download import SourceFailed
from tests.data import layouts


@pytest.fixture
def repository(tmp_path: Path) -> tuple[str, str]:
    """Address of a commit, and its tree's id."""
    files = {"a b.txt": b"x\n", "a/c.bin": bytes(1000), "a.d/e": b"", "a/f/g": b"1"}
    commit, tree = layouts.commit(files, tmp_path / "origin")
    return f"git+file://{tmp_path}/origin/.git@{commit}", tree


def test_checkout_has_gits_id(repository, tmp_path):
    address, tree = repository
    git.checkout(address, tmp_path / "out", tmp_path / "cache")
    assert git.tree_id(tmp_path / "out") == tree
    (tmp_path / "out/a b.txt").chmod(0o755)
    assert git.tree_id(tmp_path / "out") != tree


def test_neither_the_users_settings_nor_a_killed_git_matter(repository, tmp_path, monkeypatch):
    address, tree = repository
    (tmp_path / "config").write_text("[core]\n\tautocrlf = true\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "config"))
    git.checkout(address, tmp_path / "one", tmp_path / "cache")
    (tmp_path / "cache/index.lock").touch()
    git.checkout(address, tmp_path / "two", tmp_path / "cache")
    assert git.tree_id(tmp_path / "one") == git.tree_id(tmp_path / "two") == tree


def test_a_terminal_shows_the_progress(repository, tmp_path, monkeypatch, capsys):
    git.checkout(repository[0], tmp_path / "quiet", tmp_path / "cache1")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    git.checkout(repository[0], tmp_path / "out", tmp_path / "cache2")
    assert "objects:" in capsys.readouterr().err
    with pytest.raises(SourceFailed, match=f"git: .*{'0' * 40}"):
        git.checkout(f"{repository[0].rpartition('@')[0]}@{'0' * 40}", tmp_path / "out2", tmp_path / "cache2")


def test_a_local_repository_of_another_user_is_read(repository, tmp_path):
    address, tree = repository
    if os.geteuid() == 0:  # git refuses to fetch from it
        for path in (tmp_path / "origin/.git", tmp_path / "origin"):
            os.chown(path, 65534, 65534)
    git.checkout(address, tmp_path / "out", tmp_path / "cache", local=tmp_path / "origin/.git")
    assert git.tree_id(tmp_path / "out") == tree


def test_what_is_not_there_is_reported(repository, tmp_path, monkeypatch):
    address, _ = repository
    with pytest.raises(SourceFailed, match="git: "):
        git.checkout(f"git+file://{tmp_path}/nowhere@{'0' * 40}", tmp_path / "out1", tmp_path / "cache1")
    with pytest.raises(SourceFailed, match=f"git: .*{'0' * 40}"):
        git.checkout(f"{address.rpartition('@')[0]}@{'0' * 40}", tmp_path / "out2", tmp_path / "cache2")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceFailed, match="git is not installed"):
        git.checkout(address, tmp_path / "out3", tmp_path / "cache3")
