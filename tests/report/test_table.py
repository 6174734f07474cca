"""One table in three forms."""

import html
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from markdown_it import MarkdownIt

from grmp.report.table import Table, merged, number, p_value, with_interval


@pytest.fixture
def table() -> Table:
    data = pd.DataFrame({"name": ["a_b", "<c> & 100%"], "value": [1 / 3, float("nan")]})
    shown = data.assign(value=["**0.333 [−0.100, 0.500]**", "–"])
    return Table(data, shown, "A caption with 5% & more", "Fill with `dvc repro a_b`.")


def test_markdown(table: Table):
    text = table.markdown()
    assert text.startswith("**A caption with 5% & more**\n\n| name")
    assert "| a_b         | **0.333 [−0.100, 0.500]** |" in text
    assert text.endswith("Fill with `dvc repro a_b`.\n")


def test_tex_is_escaped_and_aligned(table: Table):
    text = table.tex("note-one")
    assert r"\begin{tabular}{@{}lr@{}}" in text
    assert r"a\_b & \textbf{0.333 [$-$0.100, 0.500]} \\" in text
    assert r"\textless{}c\textgreater{} \& 100\% & -- \\" in text
    assert r"\caption{A caption with 5\% \& more}" in text
    assert r"\texttt{dvc repro a\_b}" in text
    assert r"\label{tab:note-one}" in text
    assert "[" not in table.short().shown["value"].iloc[0]


def test_bold_values_stay_bold_above_their_intervals():
    frame = pd.DataFrame({f"column {i}": ["**0.333 [0.100, 0.500]**"] for i in range(6)})
    text = Table(frame, frame, "").tex("wide")
    assert r"\shortstack[r]{\textbf{0.333} \\ {}\textbf{[0.100, 0.500]}}" in text
    assert "**" not in text


@pytest.mark.parametrize("text", ["<script>x</script>", "[x](http://x.org)", "{download}`x`", "\\<b>", "a | b"])
def test_markup_in_a_cell_is_text(text: str):
    frame = pd.DataFrame({"x": [text]})
    page = MarkdownIt().enable("table").render(Table(frame, frame, "").markdown())
    assert f'<td style="text-align:left">{html.escape(text, quote=False)}</td>'.replace("`x`", "<code>x</code>") in page


def test_files(table: Table, tmp_path: Path):
    table.save(tmp_path / "new/folder/one", "note-one")
    written = sorted(p.name for p in (tmp_path / "new/folder").iterdir())
    assert written == ["one.csv", "one.md", "one.tex", "one_short.tex"]
    text = (tmp_path / "new/folder/one.csv").read_text()
    assert text == "name,value\na_b,0.333333\n<c> & 100%,\n", "plain numbers"


def test_numbers_as_print_has_them():
    assert number(-0.1234) == "−0.123"
    assert number(float("nan")) == "–"
    assert with_interval(0.5, 0.4, 0.6) == "0.500 [0.400, 0.600]"
    assert with_interval(0.5, float("nan"), float("nan")) == "0.500"
    assert merged(pd.Series(["a", "a", "b", "a"])) == ["a", "", "b", "a"]


def test_selected_rows_and_columns():
    frame = pd.DataFrame(
        {"Database": ["a", "", "b"], "Method": ["x", "y", "x"], "SRCC": ["0.1 [0.0, 0.2]", "0.2", "0.3"]}
    )
    found = Table(frame, frame, "").select(["Database", "SRCC"], Method=["y"]).shown
    assert found.to_numpy().tolist() == [["a", "0.2"]]


def test_the_short_form_has_no_interval():
    frame = pd.DataFrame({"Mean": ["0.1 [0.0, 0.2]"], "Over splits": ["[0.05, 0.15]"], "Role": ["–"]})
    assert Table(frame, frame, "").short().shown.to_dict("records") == [{"Mean": "0.1", "Role": "–"}]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="needs TeX")
def test_no_table_is_wider_than_a_page(executed: Path, tmp_path: Path):
    """Every table of every notebook compiles with booktabs and tabularx alone, and none is wider than the page."""
    files = sorted((executed / "results/tables").glob("*/*.tex"))
    assert len(files) > 15
    assert too_wide(files, tmp_path) == []


def too_wide(files: list[Path], folder: Path) -> list[str]:
    """What TeX says of tables that are wider than the page; raises AssertionError if one does not compile."""
    inputs = "\\clearpage\n".join(f"\\input{{{file}}}\n" for file in files)
    (folder / "all.tex").write_text(
        "\\documentclass[10pt,twocolumn]{article}\n\\usepackage[T1]{fontenc}\\usepackage{booktabs,tabularx}\n"
        "\\setlength{\\textwidth}{496pt}\\setlength{\\columnsep}{20pt}\n"
        f"\\begin{{document}}\n{inputs}\\end{{document}}\n"
    )
    run = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    log = subprocess.run(run, cwd=folder, capture_output=True, timeout=120, check=False).stdout.decode(errors="replace")
    assert (folder / "all.pdf").is_file(), log[-2000:]
    wide = [line for line in log.splitlines() if "Overfull \\hbox" in line]
    return [line for line in wide if float(line.split("(")[1].split("pt")[0]) > 1]


def test_a_p_value_is_never_shown_as_zero():
    shown = [p_value(p) for p in (0.0, 0.0004, 0.0006, 0.25, float("nan"))]
    assert shown == ["<0.001", "<0.001", "0.001", "0.250", "–"]
