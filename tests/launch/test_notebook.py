"""`docs/notebook.ipynb` runs from the first cell to the last, and is stored without output."""

import nbformat
import pytest
from nbclient import NotebookClient


def test_the_notebook_is_stored_without_output(project_root):
    book = nbformat.read(project_root / "docs" / "notebook.ipynb", 4)
    nbformat.validate(book)
    assert not any(cell.get("outputs") for cell in book.cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the kernel's own packages
def test_the_notebook_runs(project_root, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(project_root))
    book = nbformat.read(project_root / "docs" / "notebook.ipynb", 4)
    NotebookClient(book, timeout=120, resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    assert any("95 % Wilson intervals" in output.get("text", "") for output in outputs)
    assert (tmp_path / "runs" / "notebook" / "ledger.jsonl").is_file()
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    assert kinds.count("application/vnd.plotly.v1+json") == 3
