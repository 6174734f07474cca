"""Time of a sweep, estimated from its records."""

from grmp.experiments import progress
from grmp.params import RunKey


def test_estimates_come_from_the_nearest_record():
    known = {RunKey("p", "a", "m", 50): 10.0, RunKey("p", "a", "m", 100): 15.0, RunKey("p", "b", "m", 50): 99.0}
    assert progress.estimate(RunKey("p", "a", "m", 50), known) == 10
    assert progress.estimate(RunKey("p", "a", "m", 200), known) in (10, 15)
    assert progress.estimate(RunKey("q", "b", "m", 50), known) == 99
    assert progress.estimate(RunKey("p", "a", "m", "20pct"), known) in (10, 15)
    assert progress.estimate(RunKey("p", "a", "other", 50), known) is None
    assert progress.total([RunKey("p", "a", "m", 50), RunKey("p", "a", "x", 1)], known, 3) == (30, 1)


def test_time_left_is_that_of_the_runs_that_are_left(tmp_path, capsys):
    cheap, dear = RunKey("sound", "target", "ridge", 6), RunKey("sound", "target", "grmp", 6)
    seen = progress.Progress([cheap, dear, RunKey("sound", "target", "grmp", 12)], 2, tmp_path, 3)
    assert seen.left() == "unknown time"
    seen.known = {RunKey("sound", "other", "ridge", 6): 1.0, RunKey("sound", "other", "grmp", 6): 100.0}
    seen.update(cheap, "computed")
    assert "done 1 of 3, running 2, failed 0" in capsys.readouterr().out
    assert seen.left() == "about 5 min"  # two runs of three splits at once
    seen.update(dear, "failed", "no")
    assert "done 1 of 3, running 1, failed 1" in capsys.readouterr().out
