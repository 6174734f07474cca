"""The device: memory that does not suffice, and what is measured."""

import pytest
import torch

from grmp.device import cpus, free_bytes, in_chunks, peak, reset_peak
from grmp.errors import UserError

CPU = torch.device("cpu")


def test_measures_are_positive_and_the_peak_rises():
    assert cpus() >= 1
    assert free_bytes(CPU) > 2**20
    before = reset_peak(CPU)
    torch.ones(64 * 2**18).sum()  # 64 MiB
    high = peak(CPU)
    assert high is None or high > before + 48 * 2**20


def at_most(most: int):
    def compute(splits):
        if len(splits) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return [10 * s for s in splits]

    return compute


@pytest.mark.parametrize(("most", "groups"), [(10, [10]), (3, [2] * 5), (1, [1] * 10)])
def test_halved_until_it_fits_and_nothing_is_lost(most, groups, capsys):
    found = list(in_chunks(at_most(most), list(range(10)), 10, "a-b-1: split", "adapt.batch"))
    assert [len(splits) for splits, _, _ in found] == groups
    assert [s for splits, _, _ in found for s in splits] == list(range(10))
    assert [o for _, outcomes, _ in found for o in outcomes] == [10 * s for s in range(10)]
    told = capsys.readouterr().out
    assert ("a-b-1: split: 10 do not fit into GPU memory together; continuing with 5" in told) == (most < 10)


def test_libraries_that_ask_for_memory_of_their_own_count_too():
    def compute(splits):
        if len(splits) > 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return splits

    assert [len(splits) for splits, _, _ in in_chunks(compute, [0, 1, 2], 3, "split", "adapt.batch")] == [1, 1, 1]

    def broken(_splits):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(in_chunks(broken, [0], 1, "split", "adapt.batch"))


def test_one_split_that_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"a-b-1: split does not fit .* lower adapt.batch"):
        list(in_chunks(at_most(0), [0, 1], 2, "a-b-1: split", "adapt.batch"))
