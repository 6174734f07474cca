"""The line under every figure: the same for the same run, and honest about changed code."""

import subprocess
from pathlib import Path

from grmp.report.provenance import commit, provenance
from grmp.report.world import World


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_commit_is_that_of_the_code(tmp_path: Path):
    assert commit(tmp_path) == "not in git"
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == "not in git"  # no commit yet
    (tmp_path / "grmp").mkdir()
    (tmp_path / "grmp/code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "code")
    first = commit(tmp_path)
    assert len(first) == 10
    (tmp_path / "results.csv").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "results")
    assert commit(tmp_path) == first  # results do not change what the code was
    (tmp_path / "grmp/code.py").write_text("2")
    assert commit(tmp_path) == f"{first}+"


def test_line(collected: Path, world: Path):
    line = provenance(World.open(collected), "few_shot")
    assert line == provenance(World.open(collected), "few_shot")
    assert line.startswith("stage notebook@few_shot · settings ")
    (world / "results/scores.csv").write_text("changed")
    other = provenance(World.open(world), "few_shot")
    same = [a == b for a, b in zip(line.split(" · "), other.split(" · "), strict=True)]
    assert same == [True, True, False, True, True]
