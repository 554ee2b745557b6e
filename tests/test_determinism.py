"""Nothing in the market, the env or the audit asks a clock, draws without a seed, or depends on the order of a set."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("env", "market", "audit", "options")

CLOCKS = {
    "time.time",
    "time.time_ns",
    "time.localtime",
    "time.gmtime",
    "time.ctime",
    "time.strftime",
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
}
"""What day or hour it is; `perf_counter` may measure how long something took, which decides nothing."""

UNSEEDED = ("os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "secrets.", "random.SystemRandom")
TORCH_DRAWS = {"bernoulli", "multinomial", "normal", "poisson", "rand", "randn", "randint", "randperm"}
TORCH_DRAWS |= {f"{name}_like" for name in ("rand", "randn", "randint")}
IN_PLACE_DRAWS = {
    "bernoulli_",
    "cauchy_",
    "exponential_",
    "geometric_",
    "log_normal_",
    "normal_",
    "random_",
    "uniform_",
}
ORDERLESS = {"sorted", "set", "frozenset", "min", "max", "any", "all", "len", "bool", "isinstance"}
SEQUENCES = {"list", "tuple", "enumerate", "iter", "next", "zip", "map", "filter", "reversed", "join", "sum"}
SEQUENCES |= {"fromkeys", "fromiter", "extend", "array", "asarray", "tensor", "chain", "Series"}
SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}


def faults(source: str) -> list[str]:
    """`line N: what` for each of them in a module."""
    tree = ast.parse(source)
    found = {*calls(tree), *set_orders(tree)}
    return [f"line {line}: {what}" for line, what in sorted(found)]


def calls(tree: ast.AST) -> Iterator[tuple[int, str]]:
    known = modules(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name, options = dotted(node.func, known), {option.arg for option in node.keywords}
        given = [*node.args, *(option.value for option in node.keywords)]
        bare = all(isinstance(value, ast.Constant) and value.value is None for value in given)
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if name in CLOCKS or (name == "numpy.datetime64" and is_now(given)):
            yield node.lineno, f"{name} asks what time it is"
        elif name.startswith(UNSEEDED) or name == "hash":
            yield node.lineno, f"{name} differs from process to process"
        elif name.startswith("numpy.random."):
            if bare or not (name == "numpy.random.default_rng" or name.rpartition(".")[2][0].isupper()):
                yield node.lineno, f"{name} draws without a seed"
        elif name.startswith("random.") and (name != "random.Random" or bare):
            yield node.lineno, f"{name} draws without a seed"
        elif name.startswith("torch.") and name.removeprefix("torch.") in TORCH_DRAWS:
            if "generator" not in options:
                yield node.lineno, f"{name} draws without a generator"
        elif method == "seed" and bare:
            yield node.lineno, ".seed() takes one from the system"
        elif method in IN_PLACE_DRAWS | {"multinomial", "bernoulli"} and "generator" not in options:
            yield node.lineno, f".{method} draws without a generator"


def is_now(given: list[ast.expr]) -> bool:
    return any(isinstance(value, ast.Constant) and value.value in ("now", "today") for value in given)


def modules(tree: ast.AST) -> dict[str, str]:
    """What each imported name stands for."""
    known = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            known |= {
                a.asname or a.name.split(".")[0]: a.name if a.asname else a.name.split(".")[0] for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and node.module:
            known |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return known


def dotted(node: ast.expr, known: dict[str, str]) -> str:
    """The full name of what is called; empty for anything but names of modules and builtins."""
    if isinstance(node, ast.Attribute):
        base = dotted(node.value, known)
        return f"{base}.{node.attr}" if base and base != "hash" else ""
    if isinstance(node, ast.Name):
        return known.get(node.id, "hash" if node.id == "hash" else "")
    return ""


def set_orders(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Places where the order of a set's elements gets out."""
    forgiven = {
        id(argument)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ORDERLESS
        for argument in node.args
    }
    for scope in scopes(tree):
        names = {"": False}
        for node in own(scope):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            if isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
                names |= {t.id: is_set(node.value, names) for t in targets if isinstance(t, ast.Name)}
        for node in own(scope):
            if isinstance(node, ast.For) and is_set(node.iter, names):
                yield node.lineno, "a loop over a set"
            elif isinstance(node, (ast.ListComp, ast.GeneratorExp, ast.DictComp)) and id(node) not in forgiven:
                if any(is_set(part.iter, names) for part in node.generators):
                    yield node.lineno, "a comprehension over a set"
            elif isinstance(node, ast.Starred) and is_set(node.value, names) and id(node) not in starred_in_sets(scope):
                yield node.lineno, "a set unpacked"
            elif isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
                taken = any(is_set(argument, names) for argument in node.args)
                if taken and name in SEQUENCES:
                    yield node.lineno, f"{name} of a set"
                if name == "pop" and isinstance(node.func, ast.Attribute) and is_set(node.func.value, names):
                    yield node.lineno, "an element popped from a set"


def starred_in_sets(scope: ast.AST) -> set[int]:
    """`{*a, *b}` makes a set of sets and shows no order."""
    return {id(element) for node in ast.walk(scope) if isinstance(node, ast.Set) for element in node.elts}


def scopes(tree: ast.AST) -> Iterator[ast.AST]:
    yield tree
    yield from (node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)))


def own(scope: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a scope in the order of the text, those of functions inside it left out."""
    for child in ast.iter_child_nodes(scope):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        yield child
        yield from own(child)


def is_set(node: ast.expr, names: dict[str, bool]) -> bool:
    if isinstance(node, (ast.Set, ast.SetComp)):
        return True
    if isinstance(node, ast.Name):
        return names.get(node.id, False)
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)):
        return any(is_set(side, names) or is_keys(side) for side in (node.left, node.right))
    if isinstance(node, ast.IfExp):
        return is_set(node.body, names) or is_set(node.orelse, names)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.func.id in {"set", "frozenset"}
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return node.func.attr in SET_METHODS and is_set(node.func.value, names)
    return False


def is_keys(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"keys", "items"}


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_neither_asks_the_clock_nor_draws_unseeded_nor_walks_a_set(room):
    paths = sorted((ROOT / "clstm_core" / room).rglob("*.py"))
    assert len(paths) > 2
    wrong = [f"{path.relative_to(ROOT)} {fault}" for path in paths for fault in faults(path.read_text())]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "planted",
    [
        "import time\ntime.time()",
        "from time import time as now\nnow()",
        "from datetime import datetime, UTC\ndatetime.now(UTC)",
        "import datetime as dt\ndt.date.today()",
        "import numpy as np\nnp.random.normal()",
        "import numpy as np\nnp.random.default_rng()",
        "import random\nrandom.shuffle([1, 2])",
        "import random\nrandom.Random()",
        "import torch\ntorch.rand(3)",
        "import torch\ntorch.multinomial(torch.ones(3), 1)",
        "def f(x):\n    return x.uniform_()",
        "import uuid\nuuid.uuid4()",
        "import numpy as np\nnp.datetime64('now')",
        "import numpy as np\nnp.random.Generator(np.random.PCG64())",
        "import numpy as np\nnp.random.default_rng(None)",
        "def f(generator):\n    generator.seed()",
        "hash('a')",
        "for x in {1, 2}:\n    pass",
        "a = [x for x in set('ab')]",
        "def f(a, b):\n    left = set(a) - set(b)\n    return [*left]",
        "def f(a, b):\n    for key in a.keys() & b.keys():\n        yield key",
        "', '.join({'a', 'b'})",
        "names = frozenset('ab')\nfirst = list(names)",
        "def f(a):\n    return set(a).pop()",
        "def f(a):\n    return dict.fromkeys(set(a))",
    ],
)
def test_a_planted_fault_is_found(planted):
    assert len(faults(planted)) == 1


@pytest.mark.parametrize(
    "sound",
    [
        "import time\nbegan = time.perf_counter()",
        "import numpy as np\nnp.random.default_rng(3).normal()",
        "import random\nrandom.Random(7).random()",
        "import torch\ng = torch.Generator().manual_seed(1)\ntorch.rand(3, generator=g)",
        "from datetime import datetime, UTC\ndatetime(2024, 1, 2, tzinfo=UTC)",
        "for x in sorted({1, 2}):\n    pass",
        "a = sorted(x + 1 for x in {1, 2})",
        "b = {x + 1 for x in {1, 2}}",
        "a = {*'ab'} | {*'cd'}\nok = 'a' in a and len(a)",
        "def f(a, b):\n    return any(x > 1 for x in set(a) | set(b))",
        "def f(mask_a, mask_b):\n    return [x for x in mask_a & mask_b]",
    ],
)
def test_what_is_sound_stays_unnamed(sound):
    assert faults(sound) == []
