"""Without a GPU a recording runs its function each time; tests/test_gpu.py replays."""

import torch

from grmp.clip.graphs import Recording


def test_runs_the_function_at_every_call():
    calls = []

    def function(x, y):
        calls.append(x)
        return (x + y,)

    recording = Recording()
    for i in range(3):
        assert recording(function, torch.full((2,), float(i)), torch.ones(2))[0].tolist() == [i + 1] * 2
    assert len(calls) == 3
    assert recording.graph is None
