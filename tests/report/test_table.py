"""One table, three files and html."""

from pathlib import Path

import pandas as pd
import pytest

from grmp.report.table import Table, merged, number, with_interval


@pytest.fixture
def table() -> Table:
    data = pd.DataFrame({"name": ["a_b", "<c> & 100%"], "value": [1 / 3, float("nan")]})
    shown = data.assign(value=["**0.333 [−0.100, 0.500]**", "–"])
    return Table(data, shown, "A caption with 5% & more", "Fill with `dvc repro a_b`.")


def test_csv_holds_plain_numbers(table: Table):
    assert table.csv() == "name,value\na_b,0.333333\n<c> & 100%,\n"


def test_markdown(table: Table):
    text = table.markdown()
    assert text.startswith("**A caption with 5% & more**\n\n| name")
    assert "| a_b        | **0.333 [−0.100, 0.500]** |" in text
    assert text.endswith("Fill with `dvc repro a_b`.\n")


def test_a_bar_does_not_split_a_cell():
    frame = pd.DataFrame({"x": ["a|b"]})
    assert "a\\|b" in Table(frame, frame, "").markdown()


def test_tex_is_escaped_and_aligned(table: Table):
    text = table.tex()
    assert r"\begin{tabular}{@{}lr@{}}" in text
    assert r"a\_b & \textbf{0.333 [$-$0.100, 0.500]} \\" in text
    assert r"\textless{}c\textgreater{} \& 100\% & -- \\" in text
    assert r"\caption{A caption with 5\% \& more}" in text
    assert r"\texttt{dvc repro a\_b}" in text


def test_html_is_escaped(table: Table):
    text = table.html()
    assert "&lt;c&gt; &amp; 100%" in text
    assert "<b>0.333 [−0.100, 0.500]</b>" in text
    assert "<code>dvc repro a_b</code>" in text
    assert '<td class="right"' in text


def test_files(table: Table, tmp_path: Path):
    table.save(tmp_path / "new/folder/one")
    assert sorted(p.name for p in (tmp_path / "new/folder").iterdir()) == ["one.csv", "one.md", "one.tex"]


def test_numbers_as_print_has_them():
    assert number(-0.1234) == "−0.123"
    assert number(float("nan")) == "–"
    assert with_interval(0.5, 0.4, 0.6) == "0.500 [0.400, 0.600]"
    assert with_interval(0.5, float("nan"), float("nan")) == "0.500"
    assert merged(pd.Series(["a", "a", "b", "a"])) == ["a", "", "b", "a"]
