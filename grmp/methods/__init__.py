"""What is compared. Every file here that defines a subclass of ``params.Method`` is a kind of method, named after the file.

A kind is its settings class and a function ``prepare(ctx, method)``. ``prepare`` computes what all splits share and returns
a function from a list of split numbers to their results, in that order. Every method sees the same splits and the same K
labels. Files of kinds import torch inside functions, so that reading params.yaml does not wait for it.
"""

import importlib

from grmp.methods.context import RunContext, Splitwise


def prepare(ctx: RunContext, name: str) -> Splitwise:
    """The function that runs splits of the method ``name``, given by their numbers."""
    method = ctx.params.methods[name]
    run: Splitwise = importlib.import_module(f"{__name__}.{method.kind}").prepare(ctx, method)
    return run
