"""The simulated databases of grmp.data.simulated: rendered on this machine, no download."""

import pandas as pd

from grmp.data.databases._entry import Database, Files, Scores


def rendered_scores(files: Files) -> pd.DataFrame:
    """``scores.csv`` as the renderer writes it."""
    return pd.read_csv(files["scores.csv"], dtype={"reference": str}).rename(columns={"image": "name"})


def _entry(name: str, title: str) -> Database:
    return Database(
        name,
        f"Simulated: {title}",
        kind="simulated",
        scores=Scores(0, 1.0, 5.0),
        sources=(),
        readers=(rendered_scores,),
        disk=50_000_000,
        page="made here, from photographs that scikit-image contains and from rendered scenes",
        by_hand="",
        terms="No terms: the ratings are simulated; no person gave them.",
        citation="The simulated databases of this project (docs/databases.md).",
    )


SIM_PRE1 = _entry("sim_pre1", "pre-training, four photographs")
SIM_PRE2 = _entry("sim_pre2", "pre-training, four other photographs")
SIM_SYN1 = _entry("sim_syn1", "single distortions, as in LIVE")
SIM_WILD = _entry("sim_wild", "mixed distortions, as in LIVE Challenge")
