"""KonIQ-10k's size: minutes, 8 GB of disk; memory stays bounded."""

import pytest

from tests.data import full_size


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_koniq_at_full_size(shared, tmp_path):
    numbers = full_size.measure(tmp_path, shared)
    assert numbers["array"]["pictures"] == 10073
    assert numbers["array"]["bytes"] == 10073 * 3 * 244 * 244 + 128
    assert numbers["prepare"]["anonymous"] < 1000, "MB beyond the mapped file"
    assert numbers["fetch"]["anonymous"] < 1000
