"""Compiling a kernel and keeping it: whatever the cache holds or wherever it lies, a process gets a whole library."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clstm_core.native import build

pytestmark = pytest.mark.skipif(build.compiler() is None, reason="no C++ compiler")
ASK = "from clstm_core.native import build; library = build.load('norm'); print(library and library.units() > 0)"


def asked(cache: Path | str, **more: str) -> str:
    """What a process of its own says of a kernel, with the user's caches in `cache`."""
    said = subprocess.run(
        [sys.executable, "-c", ASK],
        env={**os.environ, "XDG_CACHE_HOME": str(cache), **more},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert said.returncode == 0, (said.returncode, said.stderr)
    return said.stdout.strip()


def libraries(cache: Path) -> list[Path]:
    return list((cache / "clstm-options").glob("norm-*.so"))


@pytest.mark.parametrize("name", sorted(source.stem for source in build.SOURCES.glob("*.cpp")))
def test_every_kernel_is_to_be_had_where_there_is_a_compiler(name):
    """Or the tests of kernels, which are left out where there are none, would say nothing of one that is broken."""
    assert not build.why_not(name)
    assert build.EXPORTED.findall((build.SOURCES / f"{name}.cpp").read_text())


def test_a_library_is_compiled_once(tmp_path):
    assert asked(tmp_path) == "True"
    (library,) = libraries(tmp_path)
    first = library.stat().st_mtime_ns
    assert asked(tmp_path) == "True"
    assert [kept.stat().st_mtime_ns for kept in libraries(tmp_path)] == [first]


@pytest.mark.parametrize("left", [0.0, 0.3, 0.9])
@pytest.mark.parametrize("rest", ["gone", "zeros"])
def test_a_library_that_is_not_whole_is_made_anew(tmp_path, left, rest):
    asked(tmp_path)
    (library,) = libraries(tmp_path)
    whole = library.read_bytes()
    cut = whole[: int(left * len(whole))]
    library.write_bytes(cut if rest == "gone" else cut.ljust(len(whole), b"\0"))
    assert asked(tmp_path) == "True"
    assert libraries(tmp_path)[0].read_bytes() == whole


def test_two_processes_at_once_both_get_it(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    both = [
        subprocess.Popen([sys.executable, "-c", ASK], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=300)[0].strip() for process in both] == ["True", "True"]
    assert {entry.suffix for entry in (tmp_path / "clstm-options").iterdir()} == {".so"}


def test_a_user_without_a_home_gets_kernels_too(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def home(_: type[Path]) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", classmethod(home))
    assert os.access(build.cache_folder.__wrapped__(), os.W_OK)


def test_what_cannot_be_kept_leaves_nothing_behind(tmp_path):
    shared, temporary = tmp_path / "shared", tmp_path / "temporary"
    for folder in (shared / "clstm-options", temporary):
        folder.mkdir(parents=True)
    (shared / "clstm-options").chmod(0o777)
    assert asked(shared, TMPDIR=str(temporary)) == "True"
    assert list(temporary.iterdir()) == []
    assert list((shared / "clstm-options").iterdir()) == []


def test_a_cache_does_not_lie_wherever_a_process_is_started(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert build.cache_folder.__wrapped__() == tmp_path / "home" / ".cache" / "clstm-options"


LEAVES = 'while [ "$1" != -o ]; do shift; done; '  # $2 is what the compiler is to make
STRANGE = {
    "fails": "exit 1",
    "dies": "kill -9 $$",
    "makes nothing": "echo nothing made",
    "makes no library": f"{LEAVES} echo no library > $2",
    "makes an empty library": f"{LEAVES} echo | c++ -shared -fPIC -x c++ -o $2 -",
    "speaks Latin-1": r"printf 'c++ fran\347ais\n'; printf 'erreur\377\n' >&2; exit 1",
}


@pytest.mark.parametrize("script", STRANGE.values(), ids=STRANGE)
def test_a_compiler_that_leaves_no_kernel_leaves_the_work_to_torch(tmp_path, script):
    compiler = tmp_path / "broken-compiler"
    compiler.write_text(f"#!/bin/sh\n{script}\n")
    compiler.chmod(0o755)
    assert asked(tmp_path / "cache", CXX=str(compiler)) == "None"
    assert list((tmp_path / "cache" / "clstm-options").iterdir()) == []


def test_what_a_killed_compiler_left_is_swept_away_and_what_one_is_making_is_not(tmp_path):
    cache = tmp_path / "clstm-options"
    left, making = cache / f"{build.MAKING}left", cache / f"{build.MAKING}now"
    for folder in (left, making):
        folder.mkdir(parents=True)
    cache.chmod(0o700)
    (left / "norm.so").write_text("half")
    long_ago = left.stat().st_mtime - 3 * build.LONGEST_S
    os.utime(left, (long_ago, long_ago))
    assert asked(tmp_path) == "True"
    assert not left.exists()
    assert making.exists()
