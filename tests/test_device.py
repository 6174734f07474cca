"""The device: memory that does not suffice, and what is measured."""

import pytest
import torch

from grmp.device import cpus, fits, free_bytes, peak, reset_peak

CPU = torch.device("cpu")


def test_fits_returns_the_result_or_none_when_the_memory_is_full():
    def full(error):
        raise error

    assert fits(lambda: [1, 2]) == [1, 2]
    assert fits(lambda: full(torch.OutOfMemoryError("CUDA out of memory"))) is None
    assert fits(lambda: full(RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"))) is None
    with pytest.raises(RuntimeError, match="something else"):
        fits(lambda: full(RuntimeError("something else")))


def test_measures_are_positive_and_the_peak_rises():
    assert cpus() >= 1
    assert free_bytes(CPU) > 2**20
    before = reset_peak(CPU)
    torch.ones(64 * 2**18).sum()  # 64 MiB
    high = peak(CPU)
    assert high is None or high > before + 48 * 2**20
