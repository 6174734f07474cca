"""The rating page's requests: nothing is lost, nothing is counted twice, repeats are hidden, raters are kept apart."""

import io
import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from filelock import FileLock
from PIL import Image, ImageCms

from grmp.data import decode, ratings
from grmp.errors import UserError
from grmp.use import rate as room
from tests.report.browser import PROGRAM, Browser
from tests.report.browser import browser as chromium
from tests.use.conftest import serving


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(20):
        Image.fromarray(np.full((8, 8, 3), 10 * i, np.uint8)).save(tmp_path / f"{i:02}.png")
    return tmp_path


def browser(folder: Path) -> TestClient:
    return TestClient(room.application(room.Session(folder)), base_url="http://127.0.0.1")


def vote(client: TestClient, rater: str, position: int, rating: int | None) -> dict:
    shown = client.get("/next", params={"rater": rater}).json()["image"]
    answer = client.post("/vote", json={"rater": rater, "position": position, "image": shown, "rating": rating})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_a_name_that_cannot_be_saved_is_refused_at_the_start(folder: Path):
    (folder / "00.png").rename(folder / os.fsdecode(b"caf\xe9.png"))
    with pytest.raises(UserError, match=r"not UTF-8.* rename the file"):
        room.Session(folder)


def test_a_rating_that_is_no_number_is_named_and_kept(folder: Path):
    (folder / room.VOTES).write_text('image,rater,mos\n01.png,Ann,"3,5"\n02.png,Ann,\n')
    assert room.Session(folder).votes["mos"].tolist() == pytest.approx([3.5, np.nan], nan_ok=True)
    (folder / room.VOTES).write_text("image,rater,mos\n01.png,Ann,3\n02.png,Ann,good\n")
    with pytest.raises(UserError, match="line 3: 'mos' is not a number"):
        room.Session(folder)


def test_every_rating_is_on_the_disk_before_the_answer_and_survives_a_restart(folder: Path):
    client = browser(folder)
    shown = client.get("/next", params={"rater": "Ann"}).json()
    assert (shown["position"], shown["total"]) == (0, 23)
    assert client.get(shown["address"]).content == (folder / shown["image"]).read_bytes()
    for i, rating in enumerate([5, 4, None]):
        vote(client, "Ann", i, rating)
        assert len(pd.read_csv(folder / room.VOTES)) == i + 1
    later = browser(folder)
    assert later.get("/next", params={"rater": "Ann"}).json()["position"] == 3
    assert later.get("/next", params={"rater": "Bob"}).json()["position"] == 0
    assert later.post("/undo", params={"rater": "Bob"}).json()["position"] == 0
    assert later.post("/undo", params={"rater": "Ann"}).json()["position"] == 2
    assert pd.read_csv(folder / room.VOTES)["mos"].tolist() == [5, 4]
    assert later.post("/undo", params={"rater": "Ann"}).json()["position"] == 1


def test_a_rating_is_for_the_image_that_was_shown(folder: Path):
    """Also where images were added and the server restarted, while the page stayed open and the browser keeps images."""
    shown = browser(folder).get("/next", params={"rater": "Ann"}).json()
    for i in range(9):
        Image.fromarray(np.full((8, 8, 3), 7 * i, np.uint8)).save(folder / f"a{i}.png")
    later = browser(folder)
    now = later.get("/next", params={"rater": "Ann"}).json()
    assert now["image"] != shown["image"]
    assert not {now["address"], *now["ahead"]} & {shown["address"], *shown["ahead"]}
    given = {"rater": "Ann", "position": 0, "rating": 5}
    assert later.post("/vote", json=given | {"image": shown["image"]}).status_code == 409
    assert later.post("/vote", json=given | {"image": now["image"]}).status_code == 200
    assert pd.read_csv(folder / room.VOTES)["image"].tolist() == [now["image"]]


def full(path: Path, text: str) -> None:
    raise UserError(f"cannot write {path}: No space left on device")


def test_a_rating_that_cannot_be_saved_does_not_count(folder: Path, monkeypatch: pytest.MonkeyPatch):
    client = browser(folder)
    vote(client, "Ann", 0, 3)
    shown = client.get("/next", params={"rater": "Ann"}).json()
    given = {"rater": "Ann", "position": 1, "image": shown["image"], "rating": 5}
    with monkeypatch.context() as patch:
        patch.setattr(room, "write_text", full)
        for path, sent in (("/vote", {"json": given}), ("/undo", {"params": {"rater": "Ann"}})):
            answer = client.post(path, **sent)
            assert answer.status_code == 507
            assert "No space left" in answer.json()["detail"]
            assert client.get("/next", params={"rater": "Ann"}).json() == shown
    vote(client, "Ann", 1, 5)
    assert pd.read_csv(folder / room.VOTES)["mos"].tolist() == [3, 5]


def test_columns_of_the_user_are_kept(folder: Path):
    (folder / room.VOTES).write_text("Image,rater,reference,mos,My Note,\n01.png,Ann,dune,3,a\n")
    vote(browser(folder), "Bob", 0, 4)
    votes = pd.read_csv(folder / room.VOTES, keep_default_na=False)
    assert list(votes) == [*room.COLUMNS, "reference", "My Note"]
    assert votes["reference"].tolist() == ["dune", ""]
    assert votes["My Note"].tolist() == ["a", ""]
    assert votes["rater"].tolist() == ["Ann", "Bob"]


def test_what_was_changed_elsewhere_is_not_overwritten(folder: Path):
    client, file = browser(folder), folder / room.VOTES
    vote(client, "Ann", 0, 3)
    edited = file.read_text().replace(",3,", ",4,")
    file.write_text(edited)
    assert client.post("/undo", params={"rater": "Ann"}).status_code == 507
    shown = client.get("/next", params={"rater": "Ann"}).json()["image"]
    answer = client.post("/vote", json={"rater": "Ann", "position": 1, "image": shown, "rating": 5})
    assert "votes.csv was changed elsewhere; end grmp rate with Ctrl-C" in answer.json()["detail"]
    assert file.read_text() == edited
    vote(browser(folder), "Ann", 1, 5)
    assert pd.read_csv(file)["mos"].tolist() == [4, 5]


def test_a_folder_that_is_not_there_and_a_table_with_a_column_twice_are_named(folder: Path):
    with pytest.raises(UserError, match="typo is not a folder"):
        room.serve(folder / "typo", 8765)
    assert not (folder / "typo").exists()
    (folder / room.VOTES).write_text("image,rater,mos,note,note\n01.png,Ann,3,a,b\n")
    with pytest.raises(UserError, match=r"votes\.csv: two columns are called 'note'"):
        room.Session(folder)


def test_a_second_page_for_the_same_folder_is_refused(folder: Path):
    with FileLock(folder / f".{room.VOTES}.lock"), pytest.raises(UserError, match="being rated by another grmp rate"):
        room.serve(folder, 8765)


def test_a_key_pressed_twice_counts_once_and_other_values_are_refused(folder: Path):
    client = browser(folder)
    vote(client, "Ann", 0, 3)
    for position, rating, code in ((0, 3, 409), (1, 6, 422), (1, 2.5, 422), (7, 3, 409)):
        given = {"rater": "Ann", "position": position, "image": "00.png", "rating": rating}
        assert client.post("/vote", json=given).status_code == code
    given = {"rater": 'a,"b', "position": 0, "image": "00.png", "rating": 3}
    assert client.post("/vote", json=given).status_code == 422
    assert len(pd.read_csv(folder / room.VOTES)) == 1
    assert client.get("/image/99").status_code == 404
    assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 400  # DNS rebinding


def test_repeats_come_late_and_raters_see_different_orders(folder: Path):
    session = room.Session(folder)
    plan, other = session.schedule("Ann"), session.schedule("Bob")
    assert plan == session.schedule("Ann")
    assert plan != other
    assert sorted(name for name, again in plan if not again) == session.names
    for name in [name for name, again in plan if again]:
        seen = [i for i, (shown, _) in enumerate(plan) if shown == name]
        assert len(seen) == 2
        assert seen[1] - seen[0] > 5


def test_mos_agreement_and_consistency_have_known_values(folder: Path):
    client, session = browser(folder), room.Session(folder)
    for rater, shift in (("Ann", 0), ("Bob", 1)):
        for position, (name, _) in enumerate(session.schedule(rater)):
            vote(client, rater, position, 1 + int(name[:2]) // 5 + (shift if int(name[:2]) < 15 else 0))
    found = room.Session(folder).results()
    assert found["mos"]["00.png"] == 1.5
    assert found["mos"]["19.png"] == 4
    assert found["raters"]["Ann"]["rated"] == 20
    assert found["raters"]["Ann"]["mean_difference_of_repeats"] == 0
    assert found["raters"]["Bob"]["agreement"] > 0.9
    assert client.get("/next", params={"rater": "Ann"}).json()["image"] is None
    assert "SRCC with the others 0.9" in room.Session(folder).text()


def test_the_mos_is_the_one_that_train_learns_from(folder: Path):
    """Of Ann's two ratings their mean, which counts as much as Bob's one; an image that she skipped at first counts, too."""
    rows = "00.png,Ann,1,0\n00.png,Ann,4,1\n00.png,Bob,5,0\n01.png,Ann,,0\n01.png,Ann,2,1\n"
    (folder / room.VOTES).write_text("image,rater,mos,repeat\n" + rows)
    found = room.Session(folder).results()
    assert found["mos"] == {"00.png": 3.75, "01.png": 2}
    assert found["mos"] == ratings.read(folder / room.VOTES).set_index("image")["mos"].to_dict()
    assert found["raters"]["Ann"]["mean_difference_of_repeats"] == 3


def test_the_images_are_those_that_were_selected(folder: Path):
    for listed in (["03.png", "01.png"], ["./03.PNG", "01.png", "01.png"]):
        pd.DataFrame({"image": listed, "mos": ""}).to_csv(folder / "ratings.csv", index=False)
        assert room.Session(folder).names == ["03.png", "01.png"]
    pd.DataFrame({"image": ["33.png"], "mos": ""}).to_csv(folder / "ratings.csv", index=False)
    with pytest.raises(UserError, match=r"1 of 1 images are not below .*: 33\.png"):
        room.Session(folder)


def test_a_list_without_images_is_named(folder: Path):
    (folder / "ratings.csv").write_text("image,mos\n")
    with pytest.raises(UserError, match=r"ratings\.csv names no images; add some, or delete it"):
        room.Session(folder)


def test_files_that_are_left_out_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("grmp.use.serve.listen", lambda *_, **__: None)
    for name in (room.VOTES, "notes.txt"):
        (folder / name).write_text("image,rater,mos\n")
    room.serve(folder, 8765)
    assert capsys.readouterr().err == "left out: 1 .txt\n"  # neither the ratings nor their lock


def test_a_browser_gets_what_is_scored(folder: Path):
    """A TIFF as PNG and of an animation the first frame; other files as they are."""
    grey = Image.open(folder / "10.png")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    grey.save(folder / "a.tif", icc_profile=profile)
    more = {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]}
    grey.save(folder / "b.gif", **more)
    grey.save(folder / "c.jpg", "MPO", **more)
    session = room.Session(folder)
    client = TestClient(room.application(session), base_url="http://127.0.0.1")
    for name in ("a.tif", "b.gif"):
        answer = client.get(f"/image/{session.names.index(name)}")
        assert answer.headers["content-type"] == "image/png"
        with Image.open(io.BytesIO(answer.content)) as shown:
            assert np.array_equal(shown, decode.load(folder / name, displayed=True))
            assert (getattr(shown, "n_frames", 1), shown.info) == (1, {})
    (folder / "00.png").write_bytes(b"broken")
    for name in ("00.png", "c.jpg"):
        assert client.get(f"/image/{session.names.index(name)}").content == (folder / name).read_bytes()


def test_train_reads_the_ratings_of_the_page(folder: Path):
    client = browser(folder)
    for i, rating in enumerate([5, 4, 3, 1]):
        vote(client, "Ann", i, rating)
    found = ratings.read(folder / room.VOTES)
    assert sorted(found["mos"]) == [1, 3, 4, 5]


def test_images_added_later_are_shown(folder: Path):
    client = browser(folder)
    for i in range(23):
        vote(client, "Ann", i, 3)
    for i in range(5):
        Image.fromarray(np.full((8, 8, 3), 7 * i, np.uint8)).save(folder / f"new{i}.png")
    session = room.Session(folder)
    left = [name for name, repeat in session.schedule("Ann")[session.position("Ann") :] if not repeat]
    assert sorted(left) == [f"new{i}.png" for i in range(5)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """Six images wider than a phone, and the address of their page."""
    folder = tmp_path_factory.mktemp("served")
    for i in range(6):
        Image.fromarray(np.full((300, 500, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")
    with serving(room.application(room.Session(folder))) as address:
        yield folder, address


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


def press(tab: Browser, *keys: str) -> None:
    """Keys of a keyboard, as the page's user presses them."""
    for key in keys:
        text = {"Enter": "\r", "Tab": ""}.get(key, key)
        tab.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=ord(text or "\t"))
        tab.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def until(tab: Browser, expression: str, wanted: str) -> None:
    """Wait until the value of a JavaScript expression contains a text."""
    end, found = time.monotonic() + 10, ""
    while wanted not in found:
        assert time.monotonic() < end, f"{wanted!r} is not in {found!r}"
        found = tab.ask(expression)


def status(tab: Browser, said: str) -> None:
    until(tab, "document.getElementById('progress').textContent", said)
    until(tab, "String(state.image === null || shown)", "true")  # keys are for the image that is on the screen


def start(tab: Browser, address: str, rater: str, width: int = 1200) -> None:
    tab.open(address, width)
    until(tab, "document.activeElement.id", "name")  # a browser gives the focus after it has loaded the page
    tab.call("Input.insertText", text=rater)
    press(tab, "Enter")
    status(tab, "Image 1 of 9")


needs_chromium = pytest.mark.skipif(PROGRAM is None, reason="no Chromium on the path")


@needs_chromium
def test_a_keyboard_is_enough_and_every_key_is_saved_at_once(tab: Browser, served: tuple[Path, str]):
    folder, address = served
    start(tab, address, "Ann")

    def votes() -> list[float]:
        table = pd.read_csv(folder / room.VOTES)
        return table.loc[table["rater"] == "Ann", "mos"].fillna(0).tolist()

    press(tab, "4")
    tab.ask("rate(1)")  # at once: the answer, or the second image, is not there yet
    status(tab, "Image 2")
    assert votes() == [4]
    press(tab, "u")
    status(tab, "Image 1")
    assert votes() == []
    press(tab, "s")
    status(tab, "Image 2")
    assert votes() == [0]
    tab.ask("document.getElementById('frame').focus()")
    press(tab, "Tab", "Enter")  # the first grade
    status(tab, "Image 3")
    assert votes() == [0, 5]
    for i, key in enumerate("1234512", 4):
        press(tab, key)
        status(tab, f"Image {i}" if i < 10 else "All 9 images are rated")
    assert votes() == [0, 5, 1, 2, 3, 4, 5, 1, 2]
    table = pd.read_csv(folder / room.VOTES).query("rater == 'Ann'")
    assert table["repeat"].tolist() == [0] * 6 + [1] * 3
    press(tab, "5")  # nothing is left to rate
    assert tab.ask("getComputedStyle(document.getElementById('grades')).display") == "none"
    assert len(votes()) == 9
    assert tab.complaints() == []
    assert all(url.startswith(address) for url in tab.requests())


@needs_chromium
def test_the_page_says_that_a_rating_was_not_saved_and_stays(
    tab: Browser, served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
):
    start(tab, served[1], "Joe")
    with monkeypatch.context() as patch:
        patch.setattr(room, "write_text", full)
        press(tab, "4")
        status(tab, "Not saved: cannot write")
    assert "No space left on device" in tab.ask("document.getElementById('progress').textContent")
    press(tab, "4")
    status(tab, "Image 2")


@needs_chromium
def test_a_phone_shows_true_pixels_and_buttons_for_a_finger(tab: Browser, served: tuple[Path, str]):
    start(tab, served[1], "Bob", width=390)
    assert tab.ask("document.getElementById('image').decode()") is None
    assert tab.ask("document.getElementById('image').getBoundingClientRect().width") == 500
    assert tab.ask("document.documentElement.scrollWidth <= innerWidth")
    boxes = """[...document.querySelectorAll('main button')].map(b => b.getBoundingClientRect()).map(
        b => [b.width, b.height, b.left, b.right, b.bottom])"""
    for width, height, left, right, bottom in tab.ask(boxes):
        assert min(width, height) >= 44
        assert left >= 0
        assert right <= 390
        assert bottom <= 844  # seen without scrolling
    tab.ask("document.querySelector('[data-rating=\"2\"]').click()")
    status(tab, "Image 2")


@needs_chromium
def test_a_screen_reader_finds_a_name_for_everything(tab: Browser, served: tuple[Path, str]):
    def named() -> list[tuple[str, str]]:
        nodes = tab.call("Accessibility.getFullAXTree")["nodes"]
        roles = {"button", "textbox", "image", "region", "group", "status"}
        found = [(n["role"]["value"], n.get("name", {}).get("value", "")) for n in nodes if not n["ignored"]]
        return [(role, name) for role, name in found if role in roles]

    tab.open(served[1])
    assert named() == [("textbox", "Your name"), ("button", "Start")]
    start(tab, served[1], "Eve")
    tab.ask("document.getElementById('image').decode()")
    grades = ("5 Excellent", "4 Good", "3 Fair", "2 Poor", "1 Bad")
    assert [name for role, name in named() if role == "button"] == ["Undo", "Skip", *grades]
    assert {"status", "region", "image", "group"} <= {role for role, _ in named()}
    assert all(name for role, name in named() if role != "status")
