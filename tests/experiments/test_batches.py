"""A GPU whose memory is full: half as many splits at once, and the run goes on; one that never fits is named."""

from types import SimpleNamespace

import pytest
import torch

from grmp.errors import UserError
from grmp.experiments import batches
from grmp.experiments.batches import in_groups


@pytest.mark.parametrize(
    ("device", "wanted", "kind", "size"),
    [
        ("cpu", 0, "tune", 1),
        ("cpu", 3, "tune", 1),
        ("cuda", 0, "tune", 10),
        ("cuda", 3, "tune", 3),
        ("cuda", 0, "ridge", 1),
    ],
)
def test_what_is_done_is_kept_batch_by_batch(device, wanted, kind, size):
    """On a GPU all ten splits, or as many as the settings say; one on a CPU, where a batch would change the last bits."""
    params = SimpleNamespace(
        adapt=SimpleNamespace(splits_at_once=wanted), adapting=lambda name: name if name == "tune" else None
    )
    case = SimpleNamespace(params=params, device=torch.device(device), splits=SimpleNamespace(count=10))
    assert batches.at_once(case, kind) == size


def fits(most: int):
    def compute(splits):
        if len(splits) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")
        return [10 * s for s in splits]

    return compute


@pytest.mark.parametrize(("most", "groups"), [(10, [10]), (5, [5, 5]), (3, [2] * 5), (1, [1] * 10)])
def test_halved_until_it_fits_and_nothing_is_lost(most, groups, capsys):
    found = list(in_groups(fits(most), list(range(10)), 10, "a-b-1"))
    assert [len(splits) for splits, _, _ in found] == groups
    assert [s for splits, _, _ in found for s in splits] == list(range(10))
    assert [o for _, outcomes, _ in found for o in outcomes] == [10 * s for s in range(10)]
    told = capsys.readouterr().out
    assert ("a-b-1: 10 splits at once do not fit into the GPU's memory; going on with 5" in told) == (most < 10)


def test_libraries_that_ask_for_memory_of_their_own_count_too():
    def compute(splits):
        if len(splits) > 1:
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")
        return splits

    assert [len(splits) for splits, _, _ in in_groups(compute, [0, 1, 2], 3, "a-b-1")] == [1, 1, 1]

    def broken(_splits):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(in_groups(broken, [0], 1, "a-b-1"))


def test_one_split_that_does_not_fit_is_named():
    with pytest.raises(UserError, match=r"a-b-1: one split alone does not fit .* lower adapt.cache_gb"):
        list(in_groups(fits(0), [0, 1], 2, "a-b-1"))
