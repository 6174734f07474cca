"""params.yaml -> frozen, typed settings.

``schema`` has a class for every group, ``grid`` names the runs, ``load`` reads the file: ``load`` returns the settings under
the first protocol, ``Params.under`` under another one, ``Params.for_run`` those of one run.
"""

from grmp.params.grid import ACROSS, Grid, Group, Run, RunKey, Shots, shots
from grmp.params.load import Params, complete, load, merged, read
from grmp.params.schema import (
    STARTS,
    Ablation,
    Adapt,
    AnyVariant,
    Architecture,
    ContrastiveTraining,
    Evaluate,
    Fit,
    Method,
    Positive,
    Pretrain,
    PretrainedBackbone,
    Prompts,
    TrainedBackbone,
    Triplets,
    Tune,
    Variant,
)

__all__ = [
    "ACROSS",
    "STARTS",
    "Ablation",
    "Adapt",
    "AnyVariant",
    "Architecture",
    "ContrastiveTraining",
    "Evaluate",
    "Fit",
    "Grid",
    "Group",
    "Method",
    "Params",
    "Positive",
    "Pretrain",
    "PretrainedBackbone",
    "Prompts",
    "Run",
    "RunKey",
    "Shots",
    "TrainedBackbone",
    "Triplets",
    "Tune",
    "Variant",
    "complete",
    "load",
    "merged",
    "read",
    "shots",
]
