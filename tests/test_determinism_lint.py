"""No wall clock, no unseeded randomness and no set order where results are made: read from the code itself.

A result that depends on the time, on a global generator or on the order of a set cannot be made again. What a library
does inside is out of sight here; what our code asks of it is not.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("env", "market", "audit", "options", "ppo", "model")

CLOCKS = {
    *(f"time.{name}" for name in ("time", "time_ns", "localtime", "gmtime", "ctime", "asctime", "strftime")),
    *("time.clock_gettime", "time.clock_gettime_ns", "time.monotonic", "time.monotonic_ns"),
    *(f"datetime.datetime.{name}" for name in ("now", "utcnow", "today")),
    "datetime.date.today",
}
"""Clocks that say when it is; `time.perf_counter` and `time.process_time` only measure how long something takes."""

ENTROPY = ("secrets.", "uuid.uuid1", "uuid.uuid4", "os.urandom", "os.getrandom", "random.SystemRandom")

SEEDED_BY_ARGUMENT = {
    "random.Random",
    "numpy.random.default_rng",
    "numpy.random.RandomState",
    "numpy.random.SeedSequence",
    *(f"numpy.random.{name}" for name in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")),
}
"""Generators that draw their seed from the machine when they are given none."""

NUMPY_TYPES = {"numpy.random.Generator", "numpy.random.BitGenerator"}

TORCH_DRAWS = {
    *(f"torch.{name}" for name in ("rand", "randn", "randint", "randperm", "normal", "poisson", "bernoulli")),
    "torch.multinomial",
}
"""Draw from torch's global generator unless `generator=` is given."""

TORCH_GLOBAL = {
    *("torch.rand_like", "torch.randn_like", "torch.randint_like", "torch.seed", "torch.cuda.seed", "torch.dropout"),
    *("torch.nn.Dropout", "torch.nn.functional.dropout", "torch.nn.RReLU", "torch.nn.functional.rrelu"),
}
"""Take no generator (in every version that we support), or a seed from the machine."""

SEEDED_METHODS = {"sample", "shuffle"}
"""Of tables and distributions: they draw from a global generator unless `seed=` or `generator=` is given."""

IN_PLACE_DRAWS = {
    *("random_", "uniform_", "normal_", "exponential_", "bernoulli_", "geometric_", "cauchy_", "log_normal_"),
}
"""Tensor methods that draw from the global generator unless `generator=` is given."""

INITIALISERS = "torch.nn.init."
"""Weights are drawn from torch's global generator, which the learner seeds before it builds a policy."""

ORDER_FREE = {"sorted", "set", "frozenset", "len", "min", "max", "any", "all"}
"""Give the same for every order of what they are given; `sum` does not (floats), `list`, `zip` and others neither."""

KEEP_ORDER = {
    *("list", "tuple", "enumerate", "iter", "next", "reversed", "zip", "map", "filter", "sum", "dict.fromkeys"),
    *("itertools.chain", "itertools.product", "itertools.combinations", "itertools.pairwise", "functools.reduce"),
    *("numpy.array", "numpy.asarray", "numpy.fromiter", "torch.tensor", "torch.as_tensor"),
    *("polars.Series", "polars.DataFrame", "math.fsum", "str"),
}
"""Hand on the order of what they are given, or add it up in that order."""

SET_METHODS = {"union", "intersection", "difference", "symmetric_difference"}


def offences(source: str) -> list[tuple[int, str]]:
    """Line and reason of everything forbidden in a module."""
    tree = ast.parse(source)
    return sorted({(node.lineno, reason) for node, reason in _Scope(tree, _aliases(tree), _set_members(tree)).walk()})


def _aliases(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, wherever it is imported: `np` -> numpy, `now` -> time.time."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                full = alias.name if alias.asname else alias.name.split(".")[0]
                names[alias.asname or full] = full
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _set_members(tree: ast.Module) -> frozenset[str]:
    """Names behind a dot that hold sets, and functions that give one: `.seen` of `self.seen = set()`, `closure()`."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            literal = isinstance(node.value, (ast.Set, ast.SetComp)) or (
                isinstance(node.value, ast.Call) and ast.unparse(node.value.func) in ("set", "frozenset")
            )
            names |= {f".{t.attr}" for t in node.targets if isinstance(t, ast.Attribute) and literal}
        elif isinstance(node, ast.AnnAssign) and _says_set(node.annotation):
            if isinstance(node.target, ast.Attribute):
                names.add(f".{node.target.attr}")
        elif isinstance(node, ast.ClassDef):
            fields = (part for part in node.body if isinstance(part, ast.AnnAssign) and _says_set(part.annotation))
            names |= {f".{part.target.id}" for part in fields if isinstance(part.target, ast.Name)}
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.returns and _says_set(node.returns):
            names |= {f"{node.name}()", f".{node.name}()"}
    return frozenset(names)


class _Scope:
    """A module or a function: which names hold sets in it, and what is wrong in it."""

    def __init__(self, node: ast.AST, aliases: dict[str, str], outer: frozenset[str]):
        self.node, self.aliases = node, aliases
        self.sets = outer
        calls = (call for call in self._own(node) if isinstance(call, ast.Call) and self._name(call.func) in ORDER_FREE)
        self.order_free = {argument for call in calls for argument in call.args}
        assigned: dict[str, bool] = {}
        for name, value, annotation in self._assignments():
            is_set = self._is_set(value) if value is not None else False
            if annotation is not None:
                is_set = is_set or _says_set(annotation)
            assigned[name] = assigned.get(name, False) or is_set
            self.sets = (self.sets | {name}) if assigned[name] else (self.sets - {name})

    def walk(self) -> Iterator[tuple[ast.AST, str]]:
        """Every offence in this scope and in those inside it."""
        for node in self._own(self.node):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
                yield from _Scope(node, self.aliases, self.sets).walk()
            elif reason := self._wrong(node):
                yield node, reason

    def _own(self, node: ast.AST) -> Iterator[ast.AST]:
        """Nodes of this scope; a nested function is given, not entered (but its decorators and defaults are)."""
        for child in ast.iter_child_nodes(node):
            yield child
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
                continue
            yield from self._own(child)

    def _assignments(self) -> Iterator[tuple[str, ast.AST | None, ast.AST | None]]:
        if isinstance(self.node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            spec = self.node.args
            for argument in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs):
                yield argument.arg, None, argument.annotation
        for node in self._own(self.node):
            if isinstance(node, ast.Assign):
                for target in node.targets:
                    if isinstance(target, ast.Name):
                        yield target.id, node.value, None
                    elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                        for part, value in zip(target.elts, node.value.elts, strict=False):
                            if isinstance(part, ast.Name):
                                yield part.id, value, None
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id, node.value, node.annotation
            elif isinstance(node, ast.NamedExpr):
                yield node.target.id, node.value, None

    def _name(self, node: ast.AST) -> str:
        """The dotted name of an expression with imports resolved; empty where it is none."""
        if isinstance(node, ast.Name):
            return self.aliases.get(node.id, node.id)
        if isinstance(node, ast.Attribute) and (base := self._name(node.value)):
            return f"{base}.{node.attr}"
        return ""

    def _is_set(self, node: ast.AST) -> bool:
        if isinstance(node, (ast.Set, ast.SetComp)):
            return True
        if isinstance(node, ast.Name):
            return node.id in self.sets
        if isinstance(node, ast.Attribute):
            return f".{node.attr}" in self.sets
        if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)):
            return any(self._is_set(side) or _is_keys(side) for side in (node.left, node.right))
        if isinstance(node, ast.IfExp):
            return self._is_set(node.body) or self._is_set(node.orelse)
        if isinstance(node, ast.BoolOp):
            return any(self._is_set(value) for value in node.values)
        if isinstance(node, ast.NamedExpr):
            return self._is_set(node.value)
        if not isinstance(node, ast.Call):
            return False
        if not isinstance(node.func, ast.Attribute):
            name = self._name(node.func)
            return name in ("set", "frozenset") or f"{name}()" in self.sets
        if node.func.attr in (*SET_METHODS, "copy"):
            return self._is_set(node.func.value)
        return f".{node.func.attr}()" in self.sets

    def _wrong(self, node: ast.AST) -> str:
        if isinstance(node, (ast.For, ast.AsyncFor)) and self._is_set(node.iter):
            return "iterates over a set"
        if isinstance(node, (ast.ListComp, ast.DictComp, ast.GeneratorExp)) and self._ordered_by_a_set(node):
            return "iterates over a set" if node not in self.order_free else ""
        if isinstance(node, ast.Starred) and self._is_set(node.value):
            return "unpacks a set in its order"
        if isinstance(node, ast.Assign) and self._is_set(node.value):
            return "unpacks a set in its order" if any(isinstance(t, ast.Tuple) for t in node.targets) else ""
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._named(self._name(node))
        return self._called(node) if isinstance(node, ast.Call) else ""

    def _named(self, name: str) -> str:
        """What may not even be mentioned, since it can be called under another name."""
        if name in CLOCKS:
            return f"{name} reads the clock"
        if name.startswith(ENTROPY) or name in TORCH_GLOBAL:
            return f"{name} draws without a seed of ours"
        stem = name.rpartition(".")[0]
        seeded = SEEDED_BY_ARGUMENT | NUMPY_TYPES
        if stem in ("random", "numpy.random") and name not in seeded and self._imported(name):
            return f"{name} draws from a global generator"
        return ""

    def _imported(self, name: str) -> bool:
        return name.partition(".")[0] in {full.partition(".")[0] for full in self.aliases.values()}

    def _called(self, node: ast.Call) -> str:
        name = self._name(node.func)
        keywords = {keyword.arg for keyword in node.keywords}
        if reason := self._asks_the_machine(node, name):
            return reason
        if name in SEEDED_BY_ARGUMENT and not _has_seed(node):
            return f"{name} without a seed"
        draws = name in TORCH_DRAWS
        if isinstance(node.func, ast.Attribute) and not draws:
            method = not name.startswith(INITIALISERS) and node.func.attr in IN_PLACE_DRAWS
            draws = method or (node.func.attr in ("multinomial", "bernoulli") and not name.startswith("torch."))
            draws = (draws or node.func.attr in SEEDED_METHODS) and not self._generator(node.func.value)
        if draws and not keywords & {"generator", "seed", None}:
            return f"{name or node.func.attr} without generator="
        if self._keeps_order(node, name) and any(self._is_set(argument) for argument in node.args):
            return "takes a set in its order"
        if isinstance(node.func, ast.Attribute) and node.func.attr == "pop" and self._is_set(node.func.value):
            return "pops from a set"
        return ""

    def _asks_the_machine(self, node: ast.Call, name: str) -> str:
        """What a call reads that no other run reads: the clock, or a seed of this process."""
        if name == "hash":
            return "hash() of a text differs from process to process"
        words = {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
        if name == "numpy.datetime64" and words & {"now", "today"}:
            return "numpy.datetime64 reads the clock"
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method in ("now", "utcnow", "today"):
            return f".{method}() reads the clock"
        if method == "seed" and not node.args:
            return ".seed() takes a seed from the machine"
        return ""

    def _ordered_by_a_set(self, node: ast.ListComp | ast.DictComp | ast.GeneratorExp) -> bool:
        return any(self._is_set(part.iter) for part in node.generators)

    def _keeps_order(self, node: ast.Call, name: str) -> bool:
        return name in KEEP_ORDER or (isinstance(node.func, ast.Attribute) and node.func.attr in ("join", "extend"))

    def _generator(self, node: ast.AST) -> bool:
        """Whether a draw's receiver is a numpy Generator by its name: those are seeded where they are made."""
        return isinstance(node, ast.Name) and node.id in ("rng", "generator")


def _is_keys(node: ast.AST) -> bool:
    """A dictionary's view: ordered itself, but a set once it is combined with another."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("keys", "items")


def _has_seed(node: ast.Call) -> bool:
    given = [*node.args, *(keyword.value for keyword in node.keywords)]
    return any(not (isinstance(value, ast.Constant) and value.value is None) for value in given)


def _says_set(annotation: ast.AST) -> bool:
    if isinstance(annotation, ast.BinOp):
        return _says_set(annotation.left) or _says_set(annotation.right)
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).split(".")[-1] == "Optional":
        return _says_set(annotation.slice)
    text = ast.unparse(annotation).strip("'\"")
    return text.split("[")[0].split(".")[-1] in {"set", "frozenset", "Set", "AbstractSet", "MutableSet", "FrozenSet"}


@pytest.mark.parametrize("room", ROOMS)
def test_results_depend_on_no_clock_no_chance_and_no_set_order(room):
    files = sorted((ROOT / "clstm_core" / room).rglob("*.py"))
    assert files
    found = [
        f"{path.relative_to(ROOT)}:{line} {reason}" for path in files for line, reason in offences(path.read_text())
    ]
    assert found == []


FORBIDDEN = {
    "import time\nx = time.time()": "reads the clock",
    "import time as t\nx = t.time_ns()": "reads the clock",
    "from time import time as now\nx = now()": "reads the clock",
    "from time import monotonic\nclock = monotonic": "reads the clock",
    "import datetime\nx = datetime.datetime.now()": "reads the clock",
    "import datetime as dt\nx = dt.datetime.utcnow()": "reads the clock",
    "from datetime import datetime, UTC\nx = datetime.now(UTC)": "reads the clock",
    "from datetime import date\ndef f():\n    return date.today()": "reads the clock",
    "def f():\n    from datetime import datetime\n    return datetime.today()": "reads the clock",
    "import random\nx = random.random()": "global generator",
    "import random as r\nr.shuffle(x)": "global generator",
    "from random import choice\nx = choice(y)": "global generator",
    "import random\nrandom.seed(0)": "global generator",
    "import random\nx = random.Random()": "without a seed",
    "import numpy as np\nx = np.random.normal()": "global generator",
    "import numpy\nnumpy.random.seed(1)": "global generator",
    "from numpy import random\nx = random.rand(3)": "global generator",
    "from numpy.random import rand\nx = rand(3)": "global generator",
    "import numpy as np\nrng = np.random.default_rng()": "without a seed",
    "import numpy as np\nrng = np.random.default_rng(None)": "without a seed",
    "import numpy as np\nrng = np.random.Generator(np.random.PCG64())": "without a seed",
    "from numpy.random import default_rng\nrng = default_rng(seed=None)": "without a seed",
    "import torch\nx = torch.rand(3)": "without generator",
    "import torch\nx = torch.randn(3, device='cpu')": "without generator",
    "import torch as T\nx = T.randint(0, 3, (2,))": "without generator",
    "from torch import randperm\nx = randperm(3)": "without generator",
    "import torch\nx = torch.multinomial(w, 1)": "without generator",
    "x = w.multinomial(1)": "without generator",
    "import torch\nx = torch.empty(3).exponential_()": "without generator",
    "x.uniform_(0, 1)": "without generator",
    "import torch\nx = torch.randn_like(y)": "without a seed",
    "import os\nx = os.urandom(8)": "without a seed",
    "import uuid\nx = uuid.uuid4()": "without a seed",
    "import secrets\nx = secrets.token_hex()": "without a seed",
    "import numpy as np\nx = np.datetime64('now')": "reads the clock",
    "import pandas\nx = pandas.Timestamp.now(zone)": "reads the clock",
    "import torch\ng = torch.Generator()\ng.seed()": "seed from the machine",
    "import torch\nx = torch.nn.Dropout(0.1)": "without a seed",
    "from torch.nn import functional as F\nx = F.dropout(y)": "without a seed",
    "x = table.sample(3)": "without generator",
    "x = series.shuffle()": "without generator",
    "x = torch.distributions.Normal(0, 1).sample()": "without generator",
    "x = hash('a') % 7": "from process to process",
    "def f(names: set[str] | None):\n    return list(names)": "takes a set in its order",
    "from typing import Optional\ndef f(a: Optional[set[str]]):\n    return list(a)": "takes a set in its order",
    "def f(names: 'frozenset[str]'):\n    return list(names)": "takes a set in its order",
    "for x in {1, 2}:\n    pass": "iterates over a set",
    "for x in set(y):\n    pass": "iterates over a set",
    "y = [x for x in frozenset(z)]": "iterates over a set",
    "y = {x: 1 for x in {a for a in b}}": "iterates over a set",
    "names = {a for a in b}\nfor x in names:\n    pass": "iterates over a set",
    "def f(names: set[str]):\n    return [x for x in names]": "iterates over a set",
    "def f():\n    seen: set[int] = set()\n    for x in seen:\n        pass": "iterates over a set",
    "a, b = set(x), set(y)\nfor c in a - b:\n    pass": "iterates over a set",
    "for x in set(a) | set(b):\n    pass": "iterates over a set",
    "for x in set(a).union(b):\n    pass": "iterates over a set",
    "seen = set()\ndef f():\n    for x in seen:\n        pass": "iterates over a set",
    "y = sum(x for x in set(z))": "iterates over a set",
    "class A:\n    def f(self):\n        self.s = set()\n        return [x for x in self.s]": "iterates over a set",
    "for key in a.keys() & b.keys():\n    pass": "iterates over a set",
    "class A:\n    seen: frozenset[str]\n    def f(self):\n        return list(self.seen)": "takes a set in its order",
    "def names() -> set[str]:\n    return x\ny = [a for a in names()]": "iterates over a set",
    "y = str({1, 2})": "takes a set in its order",
    "for i, x in enumerate({1, 2}):\n    pass": "takes a set in its order",
    "y = list(set(x))": "takes a set in its order",
    "y = tuple({1, 2})": "takes a set in its order",
    "y = ', '.join(set(x))": "takes a set in its order",
    "y = next(iter(set(x)))": "takes a set in its order",
    "import torch\ny = torch.tensor(list({1, 2}))": "takes a set in its order",
    "y = [*set(x)]": "unpacks a set",
    "f(*{1, 2})": "unpacks a set",
    "a, b = {1, 2}": "unpacks a set",
    "s = set(x)\ny = s.pop()": "pops from a set",
}
ALLOWED = (
    "import time\nx = time.perf_counter()",
    "from time import perf_counter\nx = perf_counter()",
    "from datetime import date, datetime\nx = datetime.fromtimestamp(0), date(2001, 1, 1)",
    "import random\nx = random.Random(3).random()",
    "import numpy as np\nrng = np.random.default_rng(3)\nx = rng.normal()",
    "import numpy as np\ndef f(rng: np.random.Generator):\n    return rng.random()",
    "import torch\nx = torch.rand(3, generator=g)",
    "import torch\nx = torch.empty(3).exponential_(generator=g)",
    "import torch\ndef f(**options):\n    return torch.rand(3, **options)",
    "import torch\ntorch.nn.init.normal_(w)",
    "from torch import nn\nnn.init.normal_(w, std=0.02)",
    "for x in sorted(set(y)):\n    pass",
    "x = table.sample(3, seed=1), rng.shuffle(y), generator.sample(3)",
    "import numpy as np\nx = np.datetime64('2001-01-01')",
    "def f(names: dict[str, set[str]]):\n    return list(names)",
    "seen = set()\nif x in seen:\n    seen.add(x)",
    "y = len(set(x)), max({1, 2}), {a for a in [1, 2]}",
    "for key in a.keys():\n    pass",
    "y = {a + 1 for a in {1, 2}}",
    "y = sorted(a for a in set(x)), any(a > b for a in set(x)), sorted([a for a in set(x)])",
    "names = set(x)\nnames = sorted(names)\ny = 'a' in set(x)",
    "names = ['a']\nfor x in names:\n    pass",
    "def f():\n    seen = set()\n    return seen\ndef g(seen):\n    for x in seen:\n        pass",
    "random = f()\nx = random.time()",
)


@pytest.mark.parametrize("source", FORBIDDEN)
def test_a_planted_offence_is_found(source):
    found = [reason for _, reason in offences(source)]
    assert any(FORBIDDEN[source] in reason for reason in found), found


@pytest.mark.parametrize("source", ALLOWED)
def test_what_is_reproducible_is_allowed(source):
    assert offences(source) == []


def test_an_offence_is_named_by_its_line():
    assert offences("import time\n\n\nx = time.time()\n") == [(4, "time.time reads the clock")]
