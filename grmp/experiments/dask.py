"""Runs on the workers of a Dask cluster, which ``dask worker``, dask-jobqueue or dask-kubernetes started (docs/sweep.md)."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from grmp.errors import UserError, one_line
from grmp.pool import call

if TYPE_CHECKING:
    from distributed import Client

WAIT = "30s"  # for the scheduler to answer


def connect(address: str) -> "Client":
    """A client of the scheduler at ``address``, such as ``tcp://host:8786``.

    Raises UserError if Dask is not installed, nothing answers there, or a worker would compute two runs in one process.
    """
    try:
        from distributed import Client
    except ImportError:
        raise UserError("--cluster with an address needs Dask; install it with: pip install distributed") from None
    try:
        client = Client(address, timeout=WAIT)
    except (OSError, ValueError) as error:
        raise UserError(f"no Dask scheduler at {address}: {one_line(error)}; start one with: dask scheduler") from None
    if max(client.nthreads().values(), default=1) > 1:  # threads of one process share torch's settings
        client.close()
        raise UserError(f"a worker of {address} has several threads; start it with: dask worker {address} --nthreads 1")
    return client


def work(do: Callable[[Any], Any], items: Sequence[Any], address: str) -> Iterator[tuple[Any, str, Any]]:
    """Call ``do`` on all ``items`` and yield (item, "done" or "failed", result or reason) of each as it ends.

    The item of a worker that is killed goes to another one; Dask gives up on an item that has taken several workers with it.
    """
    from distributed import as_completed

    with connect(address) as client:
        # not pure: the same call in a later sweep is another one, since the files that it reads may have changed
        waiting = {client.submit(call, do, item, pure=False): item for item in items}
        for future in as_completed(waiting):
            error = future.exception()
            yield waiting[future], *(("failed", one_line(error, 300)) if error else future.result())
