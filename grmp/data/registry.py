"""One entry a database, plain data: where it is, what is in it, what its terms are.

Adding a database means adding an entry here, and to ``readers`` a reader if its score file is of a new kind. Counts, ranges,
means and standard deviations were measured on the published scores; sizes marked ``about`` are the publisher's rounding.
"""

from dataclasses import dataclass
from typing import Any

from grmp.data.sources import KONSTANZ, NEW, OLD, Source, cityu, official, pyiqa, waterloo
from grmp.errors import UserError


@dataclass(frozen=True)
class Database:
    """What is known of a database before it is fetched."""

    name: str
    title: str
    kind: str  # synthetic, authentic or simulated
    readers: tuple[str, ...]  # score files in the order of preference, see readers.READERS
    sources: tuple[Source, ...]
    count: int  # scored pictures; 0: not checked
    low: float  # measured range of the scores: quality is 0 at the worse end
    high: float
    mean: float  # 0 with sd 0: not checked
    sd: float
    higher_better: bool
    disk: int  # bytes unpacked, estimated; twice this is the bound on what is unpacked
    page: str
    by_hand: str  # how to get it where no source can be downloaded
    terms: str
    citation: str
    prefer: str = ""  # folder to take a picture from where copies of several sizes exist

    @property
    def download(self) -> int:
        """Bytes to download from the first source."""
        return sum(file.size for file in self.sources[0].files) if self.sources else 0


def _measured(count: int, low: float, high: float, mean: float, sd: float) -> dict[str, Any]:
    return {"count": count, "low": low, "high": high, "mean": mean, "sd": sd}


def _simulated(name: str, title: str) -> Database:
    return Database(
        name,
        title,
        "simulated",
        ("table",),
        (),
        **_measured(0, 1.0, 5.0, 0.0, 0.0),
        higher_better=True,
        disk=50_000_000,
        page="rendered here, from photographs that scikit-image carries and drawn scenes",
        by_hand="",
        terms="No terms: the opinions are simulated; no human gave them.",
        citation="The simulated world of this project (docs/databases.md).",
    )


_ENTRIES = (
    Database(
        "live",
        "LIVE Image Quality Assessment Database, release 2",
        kind="synthetic",
        readers=("live", "list", "meta"),
        sources=(
            pyiqa(
                "live.tgz", 721_190_291, "LIVEIQA", "0c23e0ba0d503dd7bfc3d5588fc3e94672e381759881e497c41ca814aa4d9d8f"
            ),
            cityu("live.zip", 720_496_542, "b6188c1014dd5b5537ee2d0b7f676cd14dae8c24a2d8e07692e6a45a73d3ecd9"),
            waterloo("LIVE", 1_200_000_000, OLD, "54236e765401b4f82455f77b98ad56a3e04c128ef7d7bf5a587a08df12216e53"),
        ),
        **_measured(779, -2.6400150164096132, 111.77469352631448, 48.5812464, 27.3221563),
        higher_better=False,
        disk=1_400_000_000,
        page="http://live.ece.utexas.edu/research/quality/subjective.htm",
        by_hand="fill in the form on the page for the password of databaserelease2.zip (it must hold dmos_realigned.mat)",
        terms="Free use, copy and distribution with the copyright notice and citation (University of Texas at Austin).",
        citation="H. R. Sheikh, M. F. Sabir, A. C. Bovik: A statistical evaluation of recent full reference image quality "
        "assessment algorithms. IEEE TIP 15(11), 2006.",
    ),
    Database(
        "csiq",
        "Categorical Subjective Image Quality (CSIQ)",
        kind="synthetic",
        readers=("csiq", "csiq_label", "list", "meta"),
        sources=(
            official(
                "https://s2.smu.edu/~eclarson/csiq/",
                **{"dst_imgs.zip": 370_000_000, "src_imgs.zip": 13_000_000, "csiq.DMOS.xlsx": 100_000},
            ),
            pyiqa("csiq.tgz", 379_062_485, "CSIQ", "e34c372c98e751c5490dadeb536e37666296b6c4f651df30cc04c0547ffee5b0"),
            cityu("csiq.zip", 777_572_050, "4bc3e15a6b843c6dc0dcb81b45b530faab606fa874275851b33d926be0fe4d96", "CSIQ"),
            waterloo("CSIQ", 400_000_000, NEW, "15ade3db558e2a282e12657173f6cd25be8ec3e73eb68fce94cfaa4917317996"),
        ),
        **_measured(866, 0.0, 1.0, 0.3507443, 0.2625294),
        higher_better=False,
        disk=800_000_000,
        page="https://s2.smu.edu/~eclarson/csiq.html",
        by_hand="download csiq/dst_imgs.zip, csiq/src_imgs.zip and csiq/csiq.DMOS.xlsx from the page into one folder",
        terms="Public for research; cite the paper.",
        citation="E. C. Larson, D. M. Chandler: Most apparent distortion: full-reference image quality assessment and the role "
        "of strategy. Journal of Electronic Imaging 19(1), 2010.",
    ),
    Database(
        "tid2013",
        "Tampere Image Database 2013",
        kind="synthetic",
        readers=("tid2013", "list", "meta"),
        sources=(
            pyiqa("tid2013.tgz", 1_230_000_000, "TID2013"),
            waterloo("TID2013", 1_800_000_000, OLD, "39a2e1caad3e47dadf049f9b0c2301cadbf5d54fcfbd867cc2e675185bbe4101"),
        ),
        **_measured(3000, 0.24242, 7.2143, 4.4746576, 1.2396735),
        higher_better=True,
        disk=2_000_000_000,
        page="http://www.ponomarenko.info/tid2013.htm",
        by_hand="the official archive is a .rar, which no Python library unpacks: unpack it yourself and give the folder",
        terms="Free for research and education without fee, with the notice and citation; do not modify the database.",
        citation="N. Ponomarenko et al.: Image database TID2013: peculiarities, results and perspectives. Signal Processing: "
        "Image Communication 30, 2015.",
    ),
    Database(
        "kadid10k",
        "KADID-10k (Konstanz Artificially Distorted Image quality Database)",
        kind="synthetic",
        readers=("kadid10k", "list", "meta"),
        sources=(
            official(f"https://{KONSTANZ}", **{"kadid10k.zip": 3_070_000_000}),
            pyiqa("kadid10k.tgz", 3_070_000_000, "KADID10k"),
            cityu(
                "kadid10k.zip",
                3_069_802_102,
                "81efe25c7137e5c003d7747ea7ddf24262794584e451f530f29a40eb548d6784",
                "KADID10k",
            ),
            waterloo(
                "KADID-10k", 3_100_000_000, NEW, "b5691f886089550cff1ae4b385398a7ad4cbaee62daf6ffee2090ff22108a030"
            ),
        ),
        **_measured(10125, 1.0, 4.93, 3.0326331, 1.0826262),
        higher_better=True,  # its column is called dmos, its values are MOS
        disk=3_300_000_000,
        page="https://database.mmsp-kn.de/kadid-10k-database.html",
        by_hand="download kadid10k.zip from the page",
        terms="Free for research; cite the paper.",
        citation="H. Lin, V. Hosu, D. Saupe: KADID-10k: a large-scale artificially distorted IQA database. QoMEX 2019.",
    ),
    Database(
        "koniq10k",
        "KonIQ-10k",
        kind="authentic",
        readers=("koniq10k", "koniq10k_sets", "list", "meta"),
        sources=(
            official(
                f"http://{KONSTANZ}",
                **{"koniq10k_1024x768.zip": 5_500_000_000, "koniq10k_scores_and_distributions.zip": 1_000_000},
            ),
            pyiqa(
                "koniq10k.tgz",
                6_348_641_188,
                "KonIQ10k",
                "18f4b664fed41ffdf37dd5cae6921901d86afddd952fdfa3d77eda25cc48370b",
            ),
            cityu(
                "koniq.zip",
                5_583_358_818,
                "67322424abb57558988e1fd2fa67e2889ef516042eda59d9f885540d1693e890",
                "KonIQ10k",
            ),
            waterloo(
                "KonIQ-10k", 5_600_000_000, OLD, "efe94a5be74c18967db65b4d2b93327851387161ebd7be4dd3546a961372d500"
            ),
        ),
        **_measured(10073, 1.09615384615385, 4.31, 3.1619903, 0.5521741),
        higher_better=True,
        disk=7_500_000_000,
        page="https://database.mmsp-kn.de/koniq-10k-database.html",
        by_hand="download koniq10k_1024x768.zip and koniq10k_scores_and_distributions.zip from the page into one folder",
        terms="Free for research; the pictures are under their Creative Commons licences; cite the paper.",
        citation="V. Hosu, H. Lin, T. Sziranyi, D. Saupe: KonIQ-10k: an ecologically valid database for deep learning of blind "
        "image quality assessment. IEEE TIP 29, 2020.",
        prefer="1024x768",
    ),
    Database(
        "livec",
        "LIVE In the Wild Image Quality Challenge (LIVE Challenge, CLIVE)",
        kind="authentic",
        readers=("livec", "list", "meta"),
        sources=(
            pyiqa(
                "live_challenge.tgz",
                326_000_000,
                "LIVEChallenge",
                "cdd7a6227de40df10cfd5daf8d19894e95200fa0ca5655bbe50fd433d3b31f25",
            ),
            cityu(
                "livec.zip",
                334_612_078,
                "7369492f6c7f6964588776abb9e5e103bdbd7a06e5e2cbbc0c16f64405816d0e",
                "LIVEChallenge",
            ),
        ),
        **_measured(1162, 3.42, 92.4319526627219, 55.4013250, 20.2964753),
        higher_better=True,
        disk=600_000_000,
        page="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
        by_hand="fill in the form on the page for the password of the archive with ChallengeDB_release/",
        terms="Free use, copy and distribution with the copyright notice and citation (University of Texas at Austin).",
        citation="D. Ghadiyaram, A. C. Bovik: Massive online crowdsourced study of subjective and objective picture quality. "
        "IEEE TIP 25(1), 2016.",
    ),
    Database(
        "spaq",
        "Smartphone Photography Attribute and Quality (SPAQ)",
        kind="authentic",
        readers=("spaq", "list", "meta"),
        sources=(
            pyiqa("spaq.tgz", 34_800_000_000, "SPAQ"),
            cityu(
                "spaq.zip", 2_614_126_313, "f37eccc9946620daffdda9963fa06b01e929d5e8ff07becc7d69fad51be87316", "SPAQ"
            ),
            waterloo("SPAQ", 35_000_000_000, NEW, "93b0ddea09c47a5fe122ca2b16cad29640dd23ebc1ec37eafda54471330c1711"),
        ),
        **_measured(11125, 2.0, 96.0, 50.3178885, 20.9013556),
        higher_better=True,
        disk=36_000_000_000,
        page="https://github.com/h4nwei/SPAQ",
        by_hand="download TestImage and Annotations through the page's Baidu or Google Drive links",
        terms="Research use only.",
        citation="Y. Fang, H. Zhu, Y. Zeng, K. Ma, Z. Wang: Perceptual quality assessment of smartphone photography. "
        "CVPR 2020.",
    ),
    Database(
        "flive",
        "FLIVE (PaQ-2-PiQ), whole pictures",
        kind="authentic",
        readers=("flive", "meta"),
        sources=(
            pyiqa(
                "flive.tgz", 5_414_976_833, "FLIVE", "85d257ebb00b99ff998e6aa4276be5cbd4762699874f57bcbf3261e441961696"
            ),
        ),
        **_measured(39810, 0.0, 94.3332343725568, 72.1324650, 6.1623962),
        higher_better=True,
        disk=6_500_000_000,
        page="https://github.com/baidut/PaQ-2-PiQ",
        by_hand="follow the page to the pictures and labels_image.csv",
        terms="CC BY-NC-SA 4.0.",
        citation="Z. Ying et al.: From patches to pictures (PaQ-2-PiQ): mapping the perceptual space of picture quality. "
        "CVPR 2020.",
    ),
    Database(
        "pipal",
        "PIPAL (Perceptual Image Processing ALgorithms), public part",
        kind="synthetic",
        readers=("pipal", "list", "meta"),
        sources=(
            pyiqa("pipal.tar", 6_000_000_000, "PIPAL"),
            waterloo("PIPAL", 6_000_000_000, NEW, "2caebc5f3a7e02ce6744dbcd705ea96fc7b929d8c0d0db010c3c56c895c2b64c"),
        ),
        **_measured(23200, 916.7136, 1835.9856, 1448.9595867, 121.5025006),
        higher_better=True,
        disk=8_000_000_000,
        page="https://www.jasongt.com/projectpages/pipal.html",
        by_hand="download Train_Ref, Distortion_1 to Distortion_4 and Train_Label from the page into one folder",
        terms="Research use only.",
        citation="J. Gu et al.: PIPAL: a large-scale image quality assessment dataset for perceptual image restoration. "
        "ECCV 2020.",
    ),
    _simulated("sim_pre1", "Simulated: pre-training, first half of the distortions"),
    _simulated("sim_pre2", "Simulated: pre-training, second half of the distortions"),
    _simulated("sim_syn1", "Simulated: single distortions, as in LIVE"),
    _simulated("sim_syn2", "Simulated: single distortions, as in CSIQ"),
    _simulated("sim_wild", "Simulated: mixed distortions, as in LIVE Challenge"),
)
DATABASES: dict[str, Database] = {entry.name: entry for entry in _ENTRIES}


def get(name: str) -> Database:
    """The entry called ``name``.

    Raises
    ------
    UserError
        If there is none.
    """
    if name not in DATABASES:
        raise UserError(f"no database '{name}'; known: {', '.join(DATABASES)}")
    return DATABASES[name]
