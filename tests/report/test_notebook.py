"""Notebooks run in a world's folder, twice with the same bytes, offline, and leave nothing when they fail."""

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import jupytext
import nbformat
import pytest
import yaml

from grmp.errors import UserError
from grmp.params import load
from grmp.report.notebook import check_parameters, execute, execute_all, parameters
from grmp.report.site import build
from tests.report.sample import NOTEBOOKS, ROOT, make_settings, settings


class Page(HTMLParser):
    """Tags with their attributes; complains of a tag that is closed in the wrong place."""

    VOID = frozenset({"meta", "img", "br", "link", "hr", "input", "col"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:  # <img/>
            return
        assert self.open
        assert self.open.pop() == tag, self.getpos()

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def outputs(world: Path, name: str) -> list[dict]:
    notebook = nbformat.read(world / "results/notebooks" / f"{name}.ipynb", as_version=4)
    return [o for cell in notebook.cells for o in cell.get("outputs", [])]


# of the sample world: none of the paper's databases, no method that differs in reading the test split alone
HOLES = {"summary": ["claims"], "selection": ["reading"]}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_notebook_shows_and_saves(executed: Path, name: str):
    found = outputs(executed, name)
    notes = [o["metadata"]["grmp"] for o in found if "grmp" in o.get("metadata", {})]
    assert notes
    assert [n["name"] for n in notes if n["kind"] == "hole"] == HOLES.get(name, [])
    assert {o["output_type"] for o in found} == {"display_data"}
    for note in (n for n in notes if n["kind"] != "hole"):
        folder, endings = {"figure": ("figures", "png pdf svg"), "table": ("tables", "csv md tex")}[note["kind"]]
        for ending in endings.split():
            assert (executed / "results" / folder / name / f"{note['name']}.{ending}").stat().st_size > 0
        assert re.search(rf"notebook {name} · settings \w{{12}} · scores \w{{12}} · code .* · Python 3", note["line"])
        assert note["kind"] == "table" or len(note["alt"]) > 20


def shown_figures(world: Path, name: str) -> list[str]:
    """The figures' files in the order in which the notebook shows them; each is there."""
    notes = [o["metadata"].get("grmp", {}) for o in outputs(world, name)]
    files = [f"{note['name']}.svg" for note in notes if note.get("kind") == "figure"]
    assert all((world / "results/figures" / name / file).is_file() for file in files)
    return files


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_pages_need_no_network(executed: Path, name: str):
    text = (executed / "results/notebooks" / f"{name}.html").read_text()
    page = Page(text)
    assert not page.of("script")
    assert not re.search(r"https?://|@import|url\(", text)
    assert all(image["alt"] and image["width"] and image["height"] for image in page.of("img"))
    assert [str(i["src"]).removeprefix(f"../figures/{name}/") for i in page.of("img")] == shown_figures(executed, name)
    assert "base64" not in text  # a figure is kept once, in results/figures


def test_two_runs_same_bytes(executed: Path, tmp_path: Path):
    world = shutil.copytree(executed, tmp_path / "world")
    for name in ("databases", "selection", "cost"):
        execute(name, world / "params.yaml")
    build(load(world / "params.yaml"), world / "results")
    files = sorted(p.relative_to(executed) for p in (executed / "results").rglob("*") if p.is_file())
    assert len(files) > 40
    differ = [str(f) for f in files if (executed / f).read_bytes() != (world / f).read_bytes()]
    assert differ == []


def test_every_link_of_the_site_resolves(executed: Path):
    site = executed / "results/site"
    page = Page((site / "index.html").read_text())
    ids = [a["id"] for _, a in page.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in page.of("a")] + [a["src"] for a in page.of("img")]
    assert len(links) > 40
    for link in links:
        assert link
        assert not re.match(r"\w+:", link), link
        if link.startswith("#"):
            assert link[1:] in ids
        else:
            assert (site / unquote(link)).is_file(), link


def test_every_picture_of_the_site_has_size_and_words(executed: Path):
    images = Page((executed / "results/site/index.html").read_text()).of("img")
    assert len(images) == len(list((executed / "results/figures").rglob("*.svg")))
    for image in images:
        assert len(image["alt"] or "") > 20
        assert int(image["width"] or 0) > 100
        assert int(image["height"] or 0) > 50


def test_the_site_says_what_was_run(executed: Path):
    text = (executed / "results/site/index.html").read_text()
    assert "<title>A miniature world</title>" in text
    assert "66 of 66 runs" in text
    assert "The opinions of alpha, beta are <b>simulated</b>" in text
    assert "The runs took 8.2 minutes" in text
    assert text.count("<b>Not run yet:</b>") == sum(len(names) for names in HOLES.values())
    claims = "The paper's claims and what was found here</caption>"
    assert html.unescape(text).count(claims) == 1  # the main result, at the top
    assert text.count("Few-shot assessment: 25, 50 labelled pictures</caption>") == 1


def test_nothing_run_is_holes_with_their_commands(tmp_path: Path):
    make_settings(tmp_path)
    (tmp_path / "params.yaml").write_text(
        yaml.safe_dump(
            settings()
            | {"report": {"notebooks": ["databases", "meta_training", "few_shot"], "title": "<b>Nothing</b> & more"}}
        )
    )
    execute("few_shot", tmp_path / "params.yaml")
    execute("meta_training", tmp_path / "params.yaml")
    build(load(tmp_path / "params.yaml"), tmp_path / "results")
    text = (tmp_path / "results/site/index.html").read_text()
    Page(text)
    assert "<title>&lt;b&gt;Nothing&lt;/b&gt; &amp; more</title>" in text
    assert "0 of 66 runs" in text
    for stage in ("sweep", "pretrain", "pretrain@reptile"):
        assert f"<code>dvc repro {stage}</code>" in text, stage
    for command in ("grmp notebooks databases", "grmp run alpha zero_shot 25 --protocol sound"):
        assert f"<code>{command}</code>" in text, command
    assert list((tmp_path / "results/figures/few_shot").iterdir()) == []


def test_damaged_records_stand_on_the_page(executed: Path, tmp_path: Path):
    world = shutil.copytree(executed, tmp_path / "world")
    (world / "results/excluded.csv").write_text("record,reason\nalpha/meta/25,run.json is <missing>\n")
    build(load(world / "params.yaml"), world / "results")
    assert '<td class="left">run.json is &lt;missing&gt;</td>' in (world / "results/site/index.html").read_text()


def test_a_notebook_from_elsewhere_brings_no_script(executed: Path, tmp_path: Path):
    world = shutil.copytree(executed, tmp_path / "world")
    path = world / "results/notebooks/few_shot.ipynb"
    whole = path.read_text()
    hostile = "<script>alert(1)</script><td onclick='alert(2)' class='left'>x</td><a href='javascript:alert(3)'>y</a>"
    assert "</tbody>" in whole
    path.write_text(whole.replace("</tbody>", hostile + "</tbody>", 1))
    build(load(world / "params.yaml"), world / "results")
    page = (world / "results/site/index.html").read_text()
    assert "&lt;script&gt;alert(1)" in page
    assert '<td class="left">x</td>' in page
    assert "onclick" not in page
    assert "<a href='javascript" not in page


def test_parameters_are_typed():
    notebook = jupytext.read(ROOT / "notebooks/predictions.py")
    known = parameters(notebook)
    assert known["methods"] == (
        "list[str]",
        [],
        "at most five fit a page; empty: the first and the last four of params.yaml",
    )
    given = check_parameters("predictions", notebook, ["methods=[grmp, ridge]", "shots=25", "root=."])
    assert given == {"methods": ["grmp", "ridge"], "shots": 25, "root": "."}


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_every_notebook_takes_a_root(name: str):
    assert parameters(jupytext.read(ROOT / f"notebooks/{name}.py"))["root"][:2] == ("str", ".")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "shoots=[50]",
            r"has no parameter 'shoots'; known: root: str = '\.'; protocol: str = ''; shots: list\[int\] = \[\]",
        ),
        ("shots=50", r"shots must be list\[int\], got '50'; known: world"),
        ("shots=[a]", r"shots must be list\[int\]"),
        ("shots=[1.5]", r"shots must be list\[int\]"),
        ("shots=[", r"shots must be list\[int\]"),
        ("shots", "has no parameter"),
    ],
)
def test_bad_parameters_stop_before_anything_runs(world: Path, text: str, message: str):
    kept = world / "results/tables/few_shot/kept.csv"
    kept.parent.mkdir(parents=True)
    kept.touch()
    with pytest.raises(UserError, match=message):
        execute("few_shot", world / "params.yaml", [text])
    assert kept.exists()
    assert not (world / "results/notebooks").exists()


def test_a_parameter_reaches_the_notebook(world: Path):
    execute("few_shot", world / "params.yaml", ["shots=[50]"])
    head = (world / "results/tables/few_shot/scores.md").read_text().splitlines()[2]
    assert "SRCC, 50" in head
    assert "SRCC, 25" not in head


def test_unknown_notebook(world: Path):
    for name in ("few_shots", "../few_shot"):
        with pytest.raises(UserError, match=r"no notebook .* known: ablation, cost, cross_dataset, databases"):
            execute(name, world / "params.yaml")


def test_a_failing_notebook_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its code lies elsewhere; a kernelspec of the user's, named like ours, is not asked."""
    code, world = tmp_path / "code", tmp_path / "world"
    (code / "notebooks").mkdir(parents=True)
    (code / "notebooks/bad.py").write_text(
        "# %% tags=['parameters']\nworld: str = '.'\n# %%\nfrom pathlib import Path\n"
        "Path('results/figures/bad/one.png').write_text('half')\n# %%\nprint('before')\nraise KeyError('a\\nb')\n"
    )
    make_settings(world)
    raw = settings() | {"paths": {"code": "../code"}}
    (world / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    spec = tmp_path / "jupyter/kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": ["/bin/false"], "display_name": "Wrong", "language": "python"}))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    with pytest.raises(UserError) as raised:
        execute("bad", world / "params.yaml")
    assert str(raised.value) == "a notebook cell failed, KeyError: 'a\\nb' (in the cell that begins: print('before'))"
    assert not (world / "results/notebooks").exists()
    assert [p for p in (world / "results").rglob("*") if p.is_file() and p.suffix != ".lock"] == []


def test_a_user_error_in_a_notebook_is_its_own_line(world: Path):
    (world / "results/scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"^results/scores\.csv was written by another version"):
        execute("few_shot", world / "params.yaml")


def test_one_failing_notebook_leaves_the_others_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    code, world = tmp_path / "code", tmp_path / "world"
    (code / "notebooks").mkdir(parents=True)
    head = "# %% tags=['parameters']\nworld: str = '.'\n# %%\n"
    (code / "notebooks/good.py").write_text(f"{head}print('fine')\n")
    (code / "notebooks/bad.py").write_text(f"{head}raise ValueError('no')\n")
    make_settings(world)
    raw = settings() | {"paths": {"code": "../code"}, "report": {"notebooks": ["bad", "good"], "title": "Two"}}
    (world / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(UserError, match=r"^1 of 2 notebooks failed, see above; try one with: grmp notebooks bad$"):
        execute_all(world / "params.yaml")
    assert "notebook bad: a notebook cell failed, ValueError: no" in capsys.readouterr().out
    assert [p.name for p in (world / "results/notebooks").glob("*.ipynb")] == ["good.ipynb"]
