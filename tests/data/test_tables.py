"""Tables as people save them: what is written, and the rating that comes out or the cause that is named."""

import io
import unicodedata
from pathlib import Path

import pandas as pd
import pytest

from grmp.data import labels, tables
from grmp.errors import UserError

ROWS = [("a.jpg", 3.5), ("sub/b.jpg", 2.0), ("NA", 4.25)]


def comma(separator: str) -> str:
    return f"image{separator}mos\n" + "".join(f"{n}{separator}{str(m).replace('.', ',')}\n" for n, m in ROWS)


PLAIN = "image,mos\n" + "".join(f"{name},{mos}\n" for name, mos in ROWS)
ACCENT = PLAIN.replace("a.jpg", "é.jpg")
EXCEL = io.BytesIO()
pd.DataFrame({"image": ["a.jpg"], "mos": [3.5]}).to_excel(EXCEL, index=False)
READ = {  # name -> bytes of the table; all of them say ROWS
    "plain": PLAIN.encode(),
    "mark of UTF-8": PLAIN.encode("utf-8-sig"),
    "mark of UTF-8 twice": b"\xef\xbb\xbf" + PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-be"),
    "Windows line ends": PLAIN.replace("\n", "\r\n").encode(),
    "old Mac line ends": PLAIN.replace("\n", "\r").encode(),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "decimal commas, semicolons": comma(";").encode(),
    "decimal commas, tabs": comma("\t").encode(),
    "quoted decimal commas": (
        "image,mos\n" + "".join(f'"{n}","{str(m).replace(".", ",")}"\n' for n, m in ROWS)
    ).encode(),
    "Excel's first line": b"sep=;\n" + PLAIN.replace(",", ";").encode(),
    "Excel's first line, capitals, in UTF-16": ("SEP=;\r\n" + comma(";")).encode("utf-16"),
    "quotation marks behind spaces": ('"image", "mos"\n' + "".join(f'"{n}", "{m}"\n' for n, m in ROWS)).encode(),
    "a column's name of two lines": ('image,"a\nb",mos\n' + "".join(f"{n},,{m}\n" for n, m in ROWS)).encode(),
    "separators at the end": PLAIN.replace("\n", ",,\n").encode(),
    "blank and empty rows": PLAIN.replace("\n", "\n\n,,\n").encode(),
    "blank lines first": b"\n \n" + PLAIN.encode(),
    "no line end": PLAIN.strip().encode(),
    "spaces": PLAIN.replace(",", " , ").encode(),
    "capitals": PLAIN.replace("image,mos", "Image,MOS").encode(),
    "index column": (",image,mos\n" + "".join(f"{i},{n},{m}\n" for i, (n, m) in enumerate(ROWS))).encode(),
    "more columns": ("image,note,mos\n" + "".join(f'{n},"a, b",{m}\n' for n, m in ROWS)).encode(),
    "a cell of two lines": ("image,note,mos\n" + "".join(f'{n},"a\nb",{m}\n' for n, m in ROWS)).encode(),
    "three decimals": PLAIN.replace("3.5", "3.500").replace("2.0", "2").replace("4.25", "4.250").encode(),
    "short rows": ("image,mos,note\n" + "".join(f"{n},{m}\n" for n, m in ROWS)).encode(),
}
REFUSED = {  # what is said
    "decimal commas, two columns": (comma(",").encode(), "line 2: has 3 cells, the header 2; put names and numbers"),
    "decimal commas, a note": (
        comma(",").replace("image,mos", "image,mos,note").encode(),
        "line 2: '3,5' may be two columns or a decimal comma",
    ),
    "a decimal comma in one row, a note": (
        b"image,mos,note\na.jpg,4.25\nb.jpg,3,5\nc.jpg,2.5\n",
        "line 3: '3,5' may be two columns or a decimal comma",
    ),
    "another separator in one row": (
        PLAIN.replace(",4.25", ";4.25").encode(),
        "line 4: '.*;4.25' has a semicolon where the header has a comma",
    ),
    "a decimal comma in one row, notes in others": (
        b"image,mos,note\na.jpg,4,good\nb.jpg,3,5\nc.jpg,2,\n",
        "line 3: '3,5' may be two columns or a decimal comma",
    ),
    "another separator in one row, a note": (
        PLAIN.replace("mos", "mos,note").replace("NA,4.25", "NA;4.25;good").encode(),
        "line 4: 'NA;4.25;good' has a semicolon where the header has a comma",
    ),
    "another separator and a decimal comma in one row": (
        PLAIN.replace(",", ";").replace("NA;4.25", "NA\t4,25").encode(),
        "line 4: 'NA\t4,25' has a tab where the header has a semicolon",
    ),
    "after a column's name of two lines": (b'image,"a\nb",mos\na.jpg,,3\nb.jpg,,x\n', "line 4: 'mos' is not a number"),
    "comma and point": (
        PLAIN.replace(",", ";").replace("3.5", "3,5").encode(),
        "line 2: has a comma where others have",
    ),
    "separators of thousands": (
        b"image;mos\na.jpg;987\nb.jpg;1,234\n",
        r"line 3: may have a separator of thousands, remove it \('1,234'\)",
    ),
    "points of thousands": (b"image;mos\na.jpg;987\nb.jpg;1.234\n", "line 3: may have a separator of thousands"),
    "out of range": (PLAIN.replace("4.25", "1e400").encode(), r"line 4: 'mos' is not a number \('1e400'\)"),
    "text": (PLAIN.replace("4.25", "good").encode(), r"line 4: 'mos' is not a number \('good'\)"),
    "after blank lines": (PLAIN.replace("\n", "\n\n").replace("4.25", "inf").encode(), "line 7: 'mos' is not a number"),
    "after a cell of two lines": (
        b'image,note,mos\na.jpg,"a\nb",3\nb.jpg,c,x\n',
        "line 4: 'mos' is not a number",
    ),
    "empty": (b"", "has no column 'image'"),
    "only a name": (PLAIN.replace("NA,4.25", "NA").encode(), "line 4: 'mos' is not a number"),
    "a name with a comma": (PLAIN.replace("a.jpg", "a,b.jpg").encode(), "line 2: has 3 cells"),
    "open quotation": (PLAIN.replace("NA", '"NA').encode(), "line 4: .*is a quotation mark missing"),
    "twice": (b"image,mos,mos\na,1,2\n", "has the column 'mos' twice"),
    "other names": (b"file;score\na;1\n", "has no column 'image'; its columns are file, score"),
    "Excel": (EXCEL.getvalue(), "it is an Excel or OpenDocument file; save it as CSV in UTF-8"),
    "a zero byte": (PLAIN.replace("a.jpg", "a\0.jpg").encode(), "not text in a known encoding"),
    "binary": (bytes(range(256)), "not text in a known encoding"),
}


def ratings(path: Path) -> list[tuple[str, float]]:
    table = tables.read(path, ("image", "mos"))
    return list(zip(table["image"], tables.numbers(path, table, "mos"), strict=True))


@pytest.mark.parametrize("name", READ)
def test_read(tmp_path: Path, name: str):
    (tmp_path / "t.csv").write_bytes(READ[name])
    assert ratings(tmp_path / "t.csv") == ROWS


@pytest.mark.parametrize("name", REFUSED)
def test_refused(tmp_path: Path, name: str):
    content, said = REFUSED[name]
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UserError, match=said) as caught:
        ratings(tmp_path / "t.csv")
    assert "\n" not in str(caught.value)


def test_exponents_of_three_digits_are_read(tmp_path: Path):
    """As a score may have that is a tiny probability."""
    (tmp_path / "t.csv").write_text("image,mos\na.jpg,1.3e-104\nb.jpg,2E+100\n")
    assert ratings(tmp_path / "t.csv") == [("a.jpg", 1.3e-104), ("b.jpg", 2e100)]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_names_in_every_encoding(tmp_path: Path, encoding: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.csv").write_bytes(ACCENT.encode(encoding))
    assert ratings(tmp_path / "t.csv")[0] == ("é.jpg", 3.5)
    assert ("read as Windows-1252" in capsys.readouterr().err) == (encoding in ("latin-1", "cp1252"))


@pytest.mark.parametrize("last", ["2,345", "0,234", "2,34", "2"])
def test_commas_that_may_separate_thousands_get_a_note(tmp_path: Path, last: str, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "t.csv").write_text(f"image;mos\na.jpg;1,234\nb.jpg;{last}\n")
    assert ratings(tmp_path / "t.csv") == [("a.jpg", 1.234), ("b.jpg", float(last.replace(",", ".")))]
    said = capsys.readouterr().err
    assert ("'1,234' is read as 1.234" in said) == (last == "2,345")
    assert said.count("\n") == (last == "2,345")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("written", ["é/Ö.JPG", "é\\ö.jpg", " é/ö.jpg ", "ö.jpg"])
def test_names_are_found_in_any_form(tmp_path: Path, form: str, written: str):
    path = tmp_path / unicodedata.normalize(form, "é/ö.jpg")
    path.parent.mkdir()
    path.touch()
    for spelled in ("NFC", "NFD"):
        assert labels.candidates([unicodedata.normalize(spelled, written)], tmp_path) == [[path]]


def test_a_number_beside_a_number_is_noted_where_it_may_be_a_decimal_comma(tmp_path: Path, capsys):
    """Every row lacks the last column, which nobody filled; or the reference is a number."""
    path = tmp_path / "ratings.csv"
    path.write_text("image,mos,reference,note\na.jpg,3,5,s1\nb.jpg,4,0,s2\n")
    assert tables.numbers(path, tables.read(path, ["image", "mos"]), "mos").tolist() == [3, 4]
    said = "line 2: '3,5' is read as two columns, 'mos' and 'reference'; quote all of 'mos' if it is one number"
    assert said in capsys.readouterr().err
    path.write_text('image,mos,reference,note\na.jpg,"3,5",s1,good\nb.jpg,"4,0",s2,good\n')
    assert tables.numbers(path, tables.read(path, ["image", "mos"]), "mos").tolist() == [3.5, 4]
    assert not capsys.readouterr().err
    path.write_text("image,rater,mos,repeat,time\na.jpg,Ann,3,0,12:00\n")  # as `grmp rate` writes them
    assert tables.numbers(path, tables.read(path, ["image", "mos"]), "mos").tolist() == [3]
    assert not capsys.readouterr().err


@pytest.mark.parametrize("mark", [";", "\t"])
def test_whole_numbers_side_by_side_are_two_columns_unless_commas_separate(tmp_path: Path, mark: str):
    path = tmp_path / "r.csv"
    path.write_text("image,mos,raters\na.jpg,1,5\nb.jpg,4,6\n".replace(",", mark))
    table = tables.read(path, ("image", "mos"))
    assert tables.numbers(path, table[table["mos"] != ""].copy(), "mos").tolist() == [1, 4]
