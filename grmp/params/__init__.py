"""params.yaml -> frozen, typed settings.

``schema`` has a class for every group, ``grid`` names the runs, ``load`` reads the file: ``load`` returns the settings under
the first protocol, ``Params.under`` under another one, ``Params.for_run`` those of one run.
"""

from grmp.params.grid import ACROSS, Grid, Name, RunKey, Shots, shots
from grmp.params.load import Params, load, merged, method_settings, read, validate
from grmp.params.schema import (
    Ablation,
    Adapt,
    Evaluate,
    Fit,
    Method,
    Pair,
    Positive,
    Pretrain,
    PretrainedBackbone,
    Prompts,
    ShippedBackbone,
    Triplets,
    Tune,
    Variant,
    need,
)
