"""params.yaml -> frozen, typed settings. An unknown key or a wrong type is an error, never a default.

Every group of params.yaml is a class here, so that a DVC stage can depend on just the groups it reads. The settings
that carry a number in ``# departure N`` are those where the published code and a sound protocol differ; the numbers
are those of docs/departures.md. In the file they stand under ``protocols``, once for each protocol; here they are put
into the groups they belong to: ``load`` gives the settings under the first protocol, ``Params.under`` under another.
"""

from grmp.params.base import Fraction, Group, Natural, Positive, Rate
from grmp.params.file import Params, load
from grmp.params.grid import ACROSS, Grid, Run, RunKey, Shots, shots
from grmp.params.groups import (
    Adapt,
    AnyVariant,
    Architecture,
    Attribution,
    ContrastiveTraining,
    Data,
    Evaluate,
    InnerCurves,
    Pair,
    Paths,
    Pretrain,
    PretrainedBackbone,
    Prompts,
    Report,
    Splits,
    TrainedBackbone,
    Triplets,
    Variant,
)
from grmp.params.methods import META, STARTS, Distill, Fit, Method, Panel, Ridge, Tune, ZeroShot
from grmp.params.protocols import (
    DEPARTING,
    Protocol,
    ProtocolAdapt,
    ProtocolBackbone,
    ProtocolData,
    ProtocolPretrain,
    ProtocolPrompts,
    ProtocolSplits,
)

__all__ = [
    "ACROSS",
    "DEPARTING",
    "META",
    "STARTS",
    "Adapt",
    "AnyVariant",
    "Architecture",
    "Attribution",
    "ContrastiveTraining",
    "Data",
    "Distill",
    "Evaluate",
    "Fit",
    "Fraction",
    "Grid",
    "Group",
    "InnerCurves",
    "Method",
    "Natural",
    "Pair",
    "Panel",
    "Params",
    "Paths",
    "Positive",
    "Pretrain",
    "PretrainedBackbone",
    "Prompts",
    "Protocol",
    "ProtocolAdapt",
    "ProtocolBackbone",
    "ProtocolData",
    "ProtocolPretrain",
    "ProtocolPrompts",
    "ProtocolSplits",
    "Rate",
    "Report",
    "Ridge",
    "Run",
    "RunKey",
    "Shots",
    "Splits",
    "TrainedBackbone",
    "Triplets",
    "Tune",
    "Variant",
    "ZeroShot",
    "load",
    "shots",
]
