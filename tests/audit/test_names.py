"""One name per proof: its file, its function, its sentence and its place in the verdict."""

import importlib
from pathlib import Path

import pytest

from clstm_core.audit import proofs
from clstm_core.audit.names import DESCRIPTIONS, PROOFS


def test_the_folder_of_proofs_shows_each_of_them_and_nothing_else() -> None:
    folder = Path(proofs.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} == {*PROOFS, "__init__"}


@pytest.mark.parametrize("name", PROOFS)
def test_a_proof_is_called_as_its_file_and_says_what_it_proves(name: str) -> None:
    module = importlib.import_module(f"clstm_core.audit.proofs.{name}")
    assert getattr(module, name).__module__ == module.__name__
    assert DESCRIPTIONS[name].endswith(".")
    assert DESCRIPTIONS[name].count(". ") == 0
