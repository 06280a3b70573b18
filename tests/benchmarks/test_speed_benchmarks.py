"""The benchmarks of attacks and evaluations: what they count as what, and that they run."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    """A benchmark's module by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return __import__


def test_a_section_takes_the_place_of_its_own_kind(benchmark, tmp_path):
    report, page = benchmark("markdown_report"), tmp_path / "page.md"
    page.write_text("# Written by hand\n")
    report.write_section(page, "one", "1")
    report.write_section(page, "two", "2")
    page.write_text(page.read_text() + "\nAnd this too.\n")
    report.write_section(page, "one", "3")
    assert page.read_text() == (
        "# Written by hand\n\n<!-- one -->\n3\n<!-- end of one -->\n\n"
        "<!-- two -->\n2\n<!-- end of two -->\n\nAnd this too.\n"
    )


def test_a_command_names_no_folder_of_this_machine(benchmark, monkeypatch, tmp_path):
    report = benchmark("markdown_report")
    monkeypatch.setattr("sys.argv", [str(tmp_path / "benchmarks" / "speed.py")])
    data, net = str(tmp_path / "cifar"), str(tmp_path / "a.safetensors")
    words = ["--data", data, "--nets", net, "b", "--write", "x.md"]
    told = report.command([*words, "--only", "battery"])
    assert told == "python benchmarks/speed.py --data cifar --nets a.safetensors b --only battery"


def test_calls_take_turns_and_the_first_round_may_not_count(benchmark):
    timing, met = benchmark("timing"), []
    calls = {name: (lambda name=name: met.append(name)) for name in "ab"}
    found = timing.alternate(calls, 2, "cpu")
    assert met == ["a", "b"] * 3 and [len(seconds) for seconds in found.values()] == [2, 2]
    timing.alternate(calls, 1, "cpu", warm=False)
    assert met == ["a", "b"] * 4
    assert timing.median([3, 1, 2]) == 2 and timing.half_range([3, 1, 2]) == "±50 %"


def test_a_peer_goes_as_far_as_it_may(benchmark):
    peers, speed = benchmark("peer_attacks"), benchmark("attack_speed")
    net = speed.BaseNet()(10).eval()
    x, y = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(3)
    made = peers.pgd_of_peers(net, 0.03, 0.02, 3, ["torchattacks"])
    assert set(made) == {"torchattacks"}
    far = (made["torchattacks"](x, y) - x).abs().amax((1, 2, 3))
    assert far.tolist() == pytest.approx([0.03] * 3, abs=1e-6)


def test_what_is_timed_on_cuda_is_the_attack(benchmark):
    speed = benchmark("attack_speed")
    net, x, y = speed.BaseNet()(10).eval(), torch.rand(3, 3, 32, 32), torch.arange(3)
    attack = speed.PGD(speed.Linf(0.03), steps=2)
    called = attack(net, x, y, generator=torch.Generator().manual_seed(0))
    assert torch.equal(speed.replayed(net, attack, x, y)(), called)


def test_a_line_of_attack_speed(benchmark, monkeypatch, tmp_path, capsys):
    """Ratios to the quicker layout, to our layers, and to a peer, from seconds that are given."""
    speed, page = benchmark("attack_speed"), tmp_path / "page.md"
    taken = {
        "limit, channels_last": 4.0,
        "limit, contiguous": 5.0,
        "limit, our layers": 2.0,
        "ours": 2.5,
        "torchattacks": 6.0,
    }

    def alternate(calls, repeats, device):
        assert set(calls) == set(taken) and repeats == 2
        for call in calls.values():
            call()  # each of them runs
        return {name: [seconds] * repeats for name, seconds in taken.items()}

    monkeypatch.setattr(speed, "alternate", alternate)
    words = "--nets BaseNet --batch 2 --steps 1 --repeats 2 --peers torchattacks --device cpu"
    speed.main([*words.split(), "--write", str(page)])
    row = "| BaseNet | 2 | 4000.0 (channels_last) | 2000.0 | 2500.0 ±0 % | 1.60 | 0.80 | 2.40 |"
    assert row in capsys.readouterr().out and row in page.read_text()
    assert "<!-- attack_speed cpu BaseNet [2] -->" in page.read_text()
    assert "torchattacks 3" in page.read_text() and "foolbox" not in page.read_text().split("|")[0]


def test_a_net_without_quicker_layers_has_one_limit(benchmark):
    speed = benchmark("attack_speed")
    x, y = torch.rand(2, 3, 32, 32), torch.arange(2)
    calls = speed.contenders("WRN-16-4", x, y, 1, [])
    assert set(calls) == {"limit, channels_last", "limit, contiguous", "ours"}


@pytest.fixture
def judged(benchmark, monkeypatch):
    """The battery's benchmark with an untrained net, a short battery and a few images."""
    battery = benchmark("battery_speed")
    from adv import PGD, Battery

    attacks = ((f"a{i}", PGD(battery.Linf(eps), 2, eps / 2)) for i, eps in enumerate((0.01, 0.1)))
    short = Battery(tuple(attacks))
    monkeypatch.setattr(battery, "report_battery", lambda: short)
    monkeypatch.setattr(battery, "trained", lambda *_: battery.BaseNet()(10).eval())
    return battery


def test_batteries_are_compared_attack_by_attack(judged, tmp_path, capsys):
    page = tmp_path / "page.md"
    words = "--data digits --nets basenet --only battery --images 6 --repeats 1 --device cpu"
    judged.main([*words.split(), "--write", str(page)])
    rows = [line.split(" | ") for line in page.read_text().splitlines() if "| basenet" in line]
    peers = ["torchattacks", "torchattacks, channels_last"]
    assert [row[2] for row in rows] == ["ours", *peers] and rows[0][6] == "1.00 |"
    for row in rows:
        first, second = map(float, row[3].split())
        assert 0 <= second <= first <= 100 and float(row[4]) <= 100 * 2 / 6
    assert "6 test images, medians of 1" in capsys.readouterr().out


def test_how_far_theirs_is_from_ours_is_told(judged, capsys):
    args = type("Args", (), {"repeats": 1, "device": "cpu", "warm": False})
    calls = {"ours": lambda: (0.5, 0.2), "torchattacks": lambda: (0.51, 0.17)}
    ours, theirs = judged.rows("net", "task", calls, args)
    assert ours[3:5] == ["50.0 20.0", "0.0"] and theirs[3:5] == ["51.0 17.0", "3.0"]


def test_autoattack_meets_its_peer_with_the_published_steps(judged):
    net, args = (
        judged.BaseNet()(10).eval(),
        type("A", (), {"eps": 0.03, "only": "autoattack", "shipped": True}),
    )
    split = judged.load("digits").test.head(2)
    (task,) = judged.judges(net, split, 10, args).items()
    assert task[0] == "AutoAttack" and set(task[1]) == {
        "ours",
        "torchattacks, as published",
        "torchattacks, as it ships",
    }
    parts = judged.published(net, 0.03, 10).attacks
    assert [type(part).__name__ for part in parts] == ["APGD", "APGDT", "FAB", "Square"]
    assert [part.steps for part in parts[:3]] == [100] * 3 and parts[3].n_queries == 5000
