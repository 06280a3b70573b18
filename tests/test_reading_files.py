"""No file is unpickled or executed, but for the places listed here with their reasons."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = [
    ROOT / "launch.py",
    *(p for part in ("adv", "search", "spaces") for p in ROOT.glob(f"{part}/**/*.py")),
]

# Safe with this argument, written out at the call.
GUARDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
    "np.lib.format.read_array": ("allow_pickle", False),
}
# These run what a file holds, or may do so.
DANGEROUS = {
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "cloudpickle.load", "cloudpickle.loads"),
    *("dill.load", "dill.loads", "joblib.load", "marshal.load", "marshal.loads", "shelve.open"),
    *("yaml.load", "yaml.unsafe_load", "pandas.read_pickle", "pd.read_pickle", "torch.jit.load"),
    *("torch.package.PackageImporter", "runpy.run_path", "eval", "exec", "os.system", "os.popen"),
    *("importlib.util.spec_from_file_location", "torch.hub.load", "np.genfromtxt"),
}
ALLOWED = {
    ("search/backends/tune_adapters.py", "pickle.loads"): (
        "the error of a lost worker, which Tune has written moments ago into a temporary folder of "
        "mode 0700; no file of a run folder"
    ),
    ("search/backends/trial_server.py", "pickle.loads"): (
        "the run that the driver has sent through a socket that only these two processes hold"
    ),
    ("adv/user_code.py", "importlib.util.spec_from_file_location"): (
        "a file that the user has named on the command line; it refuses every other one"
    ),
    ("adv/exporting/course_template.py", "exec"): (
        "the module that the exporter has just put together from this project's own source"
    ),
}


def calls(source: str) -> Iterator[tuple[str, ast.Call]]:
    """Yield each call of a name or of a dotted name, under the name as it was imported."""
    tree = ast.parse(source)
    origin: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            origin |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
        if isinstance(node, ast.Import):
            origin |= {a.asname: a.name for a in node.names if a.asname and a.name != "numpy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, _, rest = ast.unparse(node.func).partition(".")
            known = origin.get(first, first)
            yield (f"{known}.{rest}" if rest else known), node


def guarded(name: str, call: ast.Call) -> bool:
    argument, value = GUARDED[name]
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    said = given.get(argument)
    return isinstance(said, ast.Constant) and said.value is value


def faults(source: str) -> set[str]:
    """Return the dangerous calls in a source text."""
    found = set()
    for name, call in calls(source):
        if name in DANGEROUS or (name in GUARDED and not guarded(name, call)):
            found.add(name)
    return found


def test_each_dangerous_call_has_a_reason():
    found = {
        (str(path.relative_to(ROOT)), name) for path in FILES for name in faults(path.read_text())
    }
    assert found - ALLOWED.keys() == set(), "do it otherwise, or give the reason in ALLOWED"
    assert ALLOWED.keys() - found == set(), "take what is gone out of ALLOWED"


@pytest.mark.parametrize(
    "source",
    [
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=safe)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "from pickle import loads as read\nread(data)",
        "import pickle as p\np.Unpickler(file).load()",
        "eval(text)",
    ],
)
def test_a_dangerous_call_is_seen(source):
    assert faults(source)


def test_guarded_calls_are_fine():
    assert not faults(
        "torch.load(p, weights_only=True)\nnet.eval()\nnp.load(p, allow_pickle=False)"
    )
