"""What makes something is done once for each key, whoever asks how often; and a session ends with the password that began it."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from karat.app.keys import UnknownKeyError
from karat.app.people import People
from karat.app.repeating import Asking, done_once
from karat.store.answers import KEPT, LONGEST
from karat.store.store import Store
from karat.words.errors import BusyError, SpecError
from karat.words.specs import Spec


class Made(Spec):
    number: int


class World:
    """A store in which time goes on by hand, and something that counts how often it was made."""

    def __init__(self, folder: Path) -> None:
        self.now, self.made = 1000.0, 0
        self.store = Store.open(folder, clock=lambda: self.now)

    def make(self) -> Made:
        self.made += 1
        return Made(number=self.made)

    def ask(self, once: str | None, *, asked: str = "it", owner: str = "ann", secret: bool = False) -> Made:
        asking = None if once is None else Asking(owner=owner, once=once, asked=asked)
        return done_once(self.store, asking, Made, self.make, secret=secret)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_request_that_is_sent_again_is_answered(world: World) -> None:
    assert [world.ask("one").number for _ in range(3)] == [1, 1, 1]
    assert [world.ask("two").number, world.ask("one", owner="bob").number, world.ask(None).number] == [2, 3, 4]
    with pytest.raises(BusyError, match="another request"):
        world.ask("one", asked="something else")
    world.now += KEPT + 1
    assert world.ask("one", asked="something else").number == 5
    world.now += KEPT + 1
    world.store.answers.forget()
    assert world.ask("one").number == 6


def test_a_secret_is_not_kept(world: World) -> None:
    assert world.ask("key", secret=True).number == 1
    with pytest.raises(BusyError, match="secret"):
        world.ask("key", secret=True)
    assert world.made == 1
    assert world.store.answers.begin("ann", "key", "it") == ""


def test_what_failed_is_done_again_and_what_died_is_not_waited_for(world: World) -> None:
    def fail() -> Made:
        raise SpecError("No.", repair="Yes.")

    asking = Asking(owner="ann", once="one", asked="it")
    with pytest.raises(SpecError):
        done_once(world.store, asking, Made, fail)
    assert world.ask("one").number == 1
    assert world.store.answers.begin("ann", "died", "it") is None
    with pytest.raises(BusyError, match="being done"):
        world.ask("died")
    world.now += LONGEST + 1
    assert world.ask("died").number == 2


def test_of_many_at_once_one_is_done(world: World) -> None:
    def ask(_: int) -> int | None:
        try:
            return world.ask("one").number
        except BusyError:
            return None

    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(ask, range(24)))
    assert answers <= {1, None}
    assert world.made == 1


def test_a_session_ends_with_its_password(world: World) -> None:
    people = People(world.store)
    people.add("ann", "a long password", "reviewer")
    with pytest.raises(SpecError, match="already"):
        people.add("ann", "another password", "admin")
    people.sign_in("ann", "a long password")
    since = people.now()
    assert people.caller("ann", since=since).name == "ann"
    world.now += 1
    people.change("ann", role="trainer")
    assert "train" in people.caller("ann", since=since).scopes
    people.change("ann", password="another password")
    with pytest.raises(UnknownKeyError, match="password was changed"):
        people.caller("ann", since=since)
    assert people.caller("ann", since=people.now()).name == "ann"
    world.now += 1
    people.change("ann", left=True)
    people.change("ann", left=False)
    with pytest.raises(UnknownKeyError):
        people.caller("ann", since=world.now - 0.5)
