"""`docs/tutorial.md` runs as it stands."""

import re

import pytest


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:No complete tensor found")  # torch.export's own
def test_the_tutorial_runs_as_it_stands(project_root, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = (project_root / "docs" / "tutorial.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 6
    names: dict[str, object] = {"__name__": "tutorial"}
    for block in blocks:
        exec(compile(block, "docs/tutorial.md", "exec"), names)
    study = names["study"]
    frame = study.trials  # type: ignore[attr-defined]
    assert len(frame) == 13 and (frame["state"] != "failed").all()
    points = frame[frame["state"] == "finished"][["natural_accuracy", "worst_case"]].to_numpy()
    for member in study.front:  # type: ignore[attr-defined]
        mine = [member.objectives[name] for name in ("natural_accuracy", "worst_case")]
        assert not ((points >= mine).all(1) & (points > mine).any(1)).any()
    assert (tmp_path / "tiny.pt2").is_file()
    assert "worst_case" in capsys.readouterr().out
