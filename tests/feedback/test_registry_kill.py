"""Killed at any call of the operating system, a decision leaves one champion, whole, and the next command goes on."""

import subprocess
import sys
from pathlib import Path

import pytest

from clstm_core.artifacts.folder import file_sha256
from clstm_core.artifacts.places import Places
from clstm_core.feedback.registry import Registry

sys.path.insert(0, str(Path(__file__).parent))
from registry_kills import ACTIONS, promote, propose
from registry_makings import bundle, challenger

WHY = "because a test asks"
BEFORE = {"propose": ("new", None), "promote": ("old", "new"), "roll_back": ("new", None)}
AFTER = {"propose": ("new", "newer"), "promote": ("new", None), "roll_back": ("old", None)}
"""Champion and challenger before a decision takes effect, and after it has."""


def prepared(data, action):
    """A registry to which one decision is to be added."""
    registry = Registry(Places(data))
    bundle(data, "old")
    registry.appoint(data / "bundles" / "old", WHY)
    made = challenger(data, "new", champion=registry.current().champion.identity)
    registry.propose(made, data / "bundles" / "new", WHY)
    if action != "promote":
        promote(data)
    challenger(data, "newer", champion=registry.current().champion.identity)
    return registry


SLOW = [pytest.param(action, marks=pytest.mark.slow) for action in ACTIONS if action != "promote"]


@pytest.fixture(scope="module", params=["promote", *SLOW])
def killed(request, tmp_path_factory):
    """The decision, and copies of one registry, each after it was killed at another call; the last one was not."""
    root = tmp_path_factory.mktemp("kills")
    data = root / "data"
    prepared(data, request.param)
    command = [sys.executable, str(Path(__file__).with_name("registry_kills.py"))]
    command += [str(data), str(root / "work"), request.param]
    done = subprocess.run(command, check=False, timeout=600, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return request.param, root / "work", [line.split("|") for line in done.stdout.splitlines()], data


def hashes(folder):
    return {path.name: file_sha256(path) for path in sorted(folder.iterdir())}


def standing(state):
    return state.champion.run, state.challenger.run if state.challenger else None


def test_one_champion_whole_at_every_moment(killed):
    action, work, lines, data = killed
    found = []
    for number, ended, last in lines:
        registry = Registry(Places(work / number))
        state = registry.current()
        found.append(standing(state))
        assert hashes(registry.root / "current" / "champion") == hashes(data / "bundles" / state.champion.run), last
        if state.challenger is not None:
            state.challenger.verified()
        assert ended == "killed" or number == lines[-1][0]
    assert lines[-1][1] == "ended 0"
    assert len(lines) > 40, f"{len(lines)} calls"
    # one until a moment, the other from it on
    moment = found.index(AFTER[action])
    assert set(found[:moment]) == {BEFORE[action]}
    assert set(found[moment:]) == {AFTER[action]}
    assert 0 < moment < len(found) - 1


def test_the_next_command_goes_on_and_nothing_is_left(killed):
    _, work, lines, data = killed
    for number, _, last in lines:
        registry = Registry(Places(work / number))
        before = len(registry.history())
        propose(work / number)
        promote(work / number)
        state = registry.roll_back("back again")
        assert hashes(registry.root / "current" / "champion") == hashes(data / "bundles" / state.champion.run), last
        assert len(registry.history()) == before + 3
        rooms = {room: [path.name for path in (registry.root / room).iterdir()] for room in ("states", "bundles")}
        assert not [name for names in rooms.values() for name in names if name.startswith(".")], last
        assert len(rooms["states"]) == before + 3
        assert len(rooms["bundles"]) == 3
        assert {path.name for path in registry.root.iterdir()} == {"bundles", "current", "head.json", "lock", "states"}
