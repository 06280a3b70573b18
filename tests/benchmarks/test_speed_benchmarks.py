"""The benchmarks of attacks and evaluations: what they count as what, and that they run."""

from __future__ import annotations

import inspect
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stand_ins
import torch
from torch import nn


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


def test_a_peer_goes_as_far_as_it_may(benchmark, torchattacks):
    peers, speed = benchmark("peer_attacks"), benchmark("attack_speed")
    net = speed.BaseNet()(10).eval()
    x, y = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(3)
    made = peers.pgd_of_peers(net, 0.03, 0.02, 3, ["torchattacks"])
    assert set(made) == {"torchattacks"}
    far = (made["torchattacks"](x, y) - x).abs().amax((1, 2, 3))
    assert far.tolist() == pytest.approx([0.03] * 3, abs=1e-6)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("attack_speed", "--nets BaseNet --batch 2 --peers torchattacks"),
        ("battery_speed", "--data digits --nets basenet"),
        ("train_speed", "--nets basenet --peers torchattacks"),
    ],
)
def test_a_peer_that_is_missing_is_named_in_one_line(benchmark, monkeypatch, module, words):
    script = benchmark(module)
    monkeypatch.setitem(sys.modules, "torchattacks", None)  # an import of it fails
    with pytest.raises(SystemExit) as left:
        script.main(words.split())
    assert left.value.code == "torchattacks is not installed: see benchmarks/README.md"


def test_an_error_inside_a_peer_is_not_taken_for_its_absence(benchmark, monkeypatch, tmp_path):
    (tmp_path / "broken_peer.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="a_module_that_nobody_has"):
        benchmark("peer_attacks").import_peer("broken_peer")


def test_foolbox_and_art_are_called_as_they_are_meant_to_be(benchmark, monkeypatch):
    """Stand-ins that note their settings and move each image as far as they may."""
    noted = {}

    def note(name, **settings):
        noted[name] = settings
        return SimpleNamespace(**settings)

    class LinfPGD:
        def __init__(self, *, abs_stepsize, steps):
            note("foolbox", abs_stepsize=abs_stepsize, steps=steps)

        def run(self, model, x, y, *, epsilon):
            assert model.bounds == (0, 1)
            return x + epsilon

    class Descent:
        def __init__(self, classifier, *, eps, **settings):
            self.eps = note("art", eps=eps, **settings).eps

        def generate(self, x, y):
            return x + np.float32(self.eps)

    modules: dict[str, Any] = {
        name: ModuleType(name)
        for name in (
            "foolbox",
            "art",
            "art.attacks",
            "art.attacks.evasion",
            "art.estimators",
            "art.estimators.classification",
        )
    }
    modules["foolbox"].PyTorchModel = lambda net, bounds: SimpleNamespace(bounds=bounds)
    modules["foolbox"].attacks = SimpleNamespace(LinfPGD=LinfPGD)
    modules["art.attacks.evasion"].ProjectedGradientDescentPyTorch = Descent
    modules["art.estimators.classification"].PyTorchClassifier = lambda *args, **kw: note(
        "classifier", args=args[2:], **kw
    )
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    peers, x, y = benchmark("peer_attacks"), torch.full((2, 3, 4, 4), 0.5), torch.arange(2)
    made = peers.pgd_of_peers(nn.Linear(1, 1), 0.03, 0.02, 3, peers.PEERS[1:])
    for attack in made.values():
        assert torch.allclose(attack(x, y) - x, torch.tensor(0.03))
    assert list(made) == list(peers.PEERS[1:])
    assert noted["foolbox"] == {"abs_stepsize": 0.02, "steps": 3}
    assert noted["art"] == {
        "eps": 0.03,
        "eps_step": 0.02,
        "max_iter": 3,
        "num_random_init": 1,
        "batch_size": 2,
        "verbose": False,
    }
    assert noted["classifier"] == {
        "args": ((3, 32, 32), 10),
        "clip_values": (0, 1),
        "device_type": "cpu",
    }


@pytest.mark.parametrize("peer", ["foolbox", "adversarial-robustness-toolbox"])
def test_the_installed_foolbox_and_art_go_as_far_as_they_may(benchmark, peer):
    peers, speed = benchmark("peer_attacks"), benchmark("attack_speed")
    pytest.importorskip(peers.MODULES.get(peer, peer))
    net = speed.BaseNet()(10).eval()
    x, y = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.arange(3)
    adv = peers.pgd_of_peers(net, 0.03, 0.02, 3, [peer])[peer](x, y)
    assert (adv - x).abs().amax((1, 2, 3)).tolist() == pytest.approx([0.03] * 3, abs=1e-6)


def test_the_stand_in_takes_what_torchattacks_takes():
    real = pytest.importorskip("torchattacks")
    for attack in stand_ins.ATTACKS:
        theirs = inspect.signature(getattr(real, attack.__name__)).parameters
        ours = inspect.signature(attack).parameters
        assert set(ours) <= set(theirs), attack.__name__


def test_what_is_timed_on_cuda_is_the_attack(benchmark):
    speed = benchmark("attack_speed")
    net, x, y = speed.BaseNet()(10).eval(), torch.rand(3, 3, 32, 32), torch.arange(3)
    attack = speed.PGD(speed.Linf(0.03), steps=2)
    called = attack(net, x, y, generator=torch.Generator().manual_seed(0))
    assert torch.equal(speed.capture_attack(net, attack, x, y)(), called)


def test_a_line_of_attack_speed(benchmark, torchattacks, monkeypatch, tmp_path, capsys):
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
    monkeypatch.setattr(battery, "train_net", lambda *_: battery.BaseNet()(10).eval())
    return battery


def test_batteries_are_compared_attack_by_attack(judged, torchattacks, tmp_path, capsys):
    page = tmp_path / "page.md"
    words = "--data digits --nets basenet --only battery --images 6 --repeats 1 --device cpu"
    judged.main([*words.split(), "--write", str(page)])
    rows = [line.split(" | ") for line in page.read_text().splitlines() if "| basenet" in line]
    peers = ["torchattacks", "torchattacks, channels_last"]
    assert [row[2] for row in rows] == ["ours", *peers] and rows[0][6] == "1.00 (1.00 to 1.00) |"
    for row in rows:
        first, second = map(float, row[3].split())
        assert 0 <= second <= first <= 100 and float(row[4]) <= 100 * 2 / 6
    assert "6 test images, medians of 1" in capsys.readouterr().out


def test_how_far_theirs_is_from_ours_is_told(judged, capsys):
    args = type("Args", (), {"repeats": 1, "device": "cpu", "warm": False})
    calls = {"ours": lambda: (0.5, 0.2), "torchattacks": lambda: (0.51, 0.17)}
    ours, theirs = judged.compare("net", "task", calls, args)
    assert ours[3:5] == ["50.0 20.0", "0.0"] and theirs[3:5] == ["51.0 17.0", "3.0"]


def test_autoattack_meets_its_peer_with_the_published_steps(judged, torchattacks):
    net, args = (
        judged.BaseNet()(10).eval(),
        type("A", (), {"eps": 0.03, "only": "autoattack", "shipped": True}),
    )
    split = judged.load("digits").test.head(2)
    (task,) = judged.evaluations(net, split, 10, args).items()
    assert task[0] == "AutoAttack" and set(task[1]) == {
        "ours",
        "torchattacks, as published",
        "torchattacks, as it ships",
    }
    parts = judged.published_autoattack(net, 0.03, 10).attacks
    assert [type(part).__name__ for part in parts] == ["APGD", "APGDT", "FAB", "Square"]
    assert [part.steps for part in parts[:3]] == [100] * 3 and parts[3].n_queries == 5000


def test_square_meets_its_peer_with_as_many_queries(judged, torchattacks):
    net = judged.BaseNet()(10).eval()
    args = type("A", (), {"eps": 0.03, "only": "square", "queries": 3})
    split = judged.load("digits").test.head(4)
    predicted = net(split.images.float() / 255).argmax(1)
    labels = torch.cat([predicted[:3], (predicted[3:] + 1) % 10])  # the last one is misclassified
    (task,) = judged.evaluations(net, judged.Split(split.images, labels), 10, args).items()
    assert task[0] == "Square, 3 queries" and set(task[1]) == {"ours", "torchattacks"}
    assert all(0 <= accuracy <= 1 for call in task[1].values() for accuracy in call())


def test_the_plain_loop_of_random_nets_takes_five_draws_and_no_momentum(benchmark):
    speed = benchmark("random_speed")
    both = speed.make_batteries("margin", votes=9)
    plain, ours = both["plain"], both["ours"]
    assert ours == speed.margin_battery(votes=9) and ours.draws < plain.draws == 5
    assert all(attack.momentum == 0 for _, attack in plain.attacks)
    assert [a.ball for _, a in plain.attacks] == [a.ball for _, a in ours.attacks]
    report = speed.make_batteries("report", votes=9)
    assert report["plain"] == report["ours"] == speed.report_battery(votes=9)


def test_differences_of_random_nets_are_means_over_images(benchmark):
    speed = benchmark("random_speed")
    ones, half = torch.ones(3, 4).bool(), torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [1, 1, 0, 0]])
    assert speed.mean_difference([ones], [half.bool()])[0] == 50
    assert speed.mean_loss([half.bool(), ones]) == 25


@pytest.mark.slow
def test_random_nets_are_compared_with_the_plain_loop(benchmark, capsys):
    speed = benchmark("random_speed")
    words = "--data digits --only noise --images 8 --train-images 32 --epochs 1 --repeats 1"
    speed.main([*words.split(), "--votes", "5"])
    row = next(line for line in capsys.readouterr().out.splitlines() if "basenet noise" in line)
    assert len(row.split("|")) == len(speed.HEADS) + 2
