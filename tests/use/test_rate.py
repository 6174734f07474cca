"""The rating page's requests: nothing is lost, nothing is counted twice, repeats are hidden, raters are kept apart."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from grmp.data import ratings
from grmp.errors import UserError
from grmp.use import rate as room


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(20):
        Image.fromarray(np.full((8, 8, 3), 10 * i, np.uint8)).save(tmp_path / f"{i:02}.png")
    return tmp_path


def browser(folder: Path) -> TestClient:
    return TestClient(room.application(room.Session(folder)), base_url="http://127.0.0.1")


def vote(client: TestClient, rater: str, position: int, rating: int | None) -> dict:
    answer = client.post("/vote", json={"rater": rater, "position": position, "rating": rating})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_rating_is_on_the_disk_before_the_answer_and_survives_a_restart(folder: Path):
    client = browser(folder)
    shown = client.get("/next", params={"rater": "Ann"}).json()
    assert (shown["position"], shown["total"]) == (0, 23)
    assert client.get(f"/image/{shown['image']}").content[:4] == b"\x89PNG"
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


def test_a_key_pressed_twice_counts_once_and_other_values_are_refused(folder: Path):
    client = browser(folder)
    vote(client, "Ann", 0, 3)
    for position, rating, code in ((0, 3, 409), (1, 6, 422), (1, 2.5, 422), (7, 3, 409)):
        answer = client.post("/vote", json={"rater": "Ann", "position": position, "rating": rating})
        assert answer.status_code == code
    assert client.post("/vote", json={"rater": 'a,"b', "position": 0, "rating": 3}).status_code == 422
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
        for position, (name, again) in enumerate(session.schedule(rater)):
            vote(client, rater, position, 1 + int(name[:2]) // 5 + (shift if int(name[:2]) < 15 else 0) + 0 * again)
    found = client.get("/results").json()
    assert found["mos"]["00.png"] == 1.5
    assert found["mos"]["19.png"] == 4
    assert found["raters"]["Ann"]["rated"] == 20
    assert found["raters"]["Ann"]["mean_difference_of_repeats"] == 0
    assert found["raters"]["Bob"]["agreement"] > 0.9
    assert client.get("/next", params={"rater": "Ann"}).json()["image"] is None
    assert "SRCC with the others 0.9" in room.Session(folder).text()


def test_the_images_are_those_that_were_selected(folder: Path):
    pd.DataFrame({"image": ["03.png", "01.png"], "mos": ""}).to_csv(folder / "ratings.csv", index=False)
    assert room.Session(folder).names == ["03.png", "01.png"]
    pd.DataFrame({"image": ["33.png"], "mos": ""}).to_csv(folder / "ratings.csv", index=False)
    with pytest.raises(UserError, match=r"33\.png is not below"):
        room.Session(folder)


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
