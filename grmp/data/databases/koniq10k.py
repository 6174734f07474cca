"""KonIQ-10k: 10,073 photographs, MOS from 1 to 5.

The publisher has two score files whose MOS columns are on different scales. The paper uses the scale from 1 to 5.
"""

import pandas as pd

from grmp.data.databases._entry import Database, Files, Scores
from grmp.data.databases._mirrors import official, pyiqa, pyiqa_table
from grmp.data.databases._readers import mean_of_votes, mirror_list, mirror_table


def scores_and_distributions(files: Files) -> pd.DataFrame:
    """``MOS`` is on the scale from 1 to 5 here, ``MOS_zscore`` is the other one."""
    t = pd.read_csv(files["koniq10k_scores_and_distributions.csv"], dtype={"image_name": str})
    return pd.DataFrame({"name": t["image_name"], "mos": t["MOS"], "mos_std": t["SD"]})


def distributions_sets(files: Files) -> pd.DataFrame:
    """``MOS`` is the z-score one here; the mean of the votes equals the other to 6e-12. ``set`` is the official split."""
    t = pd.read_csv(files["koniq10k_distributions_sets.csv"], dtype={"image_name": str})
    return pd.DataFrame({"name": t["image_name"], "mos": mean_of_votes(t), "mos_std": t["SD"], "set": t["set"]})


TABLE = pyiqa_table("KonIQ10k")
KONIQ10K = Database(
    "koniq10k",
    "KonIQ-10k",
    kind="authentic",
    scores=Scores(10073, 1.09615384615385, 4.31, 3.1619903, 0.5521741),
    sources=(
        official(
            "http://datasets.vqa.mmsp-kn.de/archives/",
            **{"koniq10k_1024x768.zip": 5_500_000_000, "koniq10k_scores_and_distributions.zip": 1_000_000},
        ),
        pyiqa("koniq10k.tgz", 6_348_641_188, TABLE, "18f4b664fed41ffdf37dd5cae6921901d86afddd952fdfa3d77eda25cc48370b"),
    ),
    readers=(scores_and_distributions, distributions_sets, mirror_list, mirror_table),
    prefer="1024x768",
    side=768,
    disk=7_500_000_000,
    pixels="1024x768",
    page="https://database.mmsp-kn.de/koniq-10k-database.html",
    by_hand="download koniq10k_1024x768.zip and koniq10k_scores_and_distributions.zip from the page into one folder",
    terms="Free for research; the images are under their Creative Commons licences; cite the paper.",
    citation="V. Hosu, H. Lin, T. Sziranyi, D. Saupe: KonIQ-10k: an ecologically valid database for deep learning of blind "
    "image quality assessment. IEEE TIP 29, 2020.",
)
