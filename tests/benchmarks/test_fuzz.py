"""Damaged files of each kind, at random: each is read, or refused in one line."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
FUZZ = settings(deadline=None, suppress_health_check=QUIET)


@pytest.fixture
def targets(benchmark):
    """Return the module with the readers, and what damages their files."""
    return benchmark("fuzz_targets")


@settings(FUZZ, max_examples=100)
@given(st.binary(max_size=60))
def test_a_damaged_ledger_is_read_or_refused_in_one_line(targets, tmp_path, data):
    targets.read_ledger(data, tmp_path)


@pytest.mark.slow
@settings(FUZZ, max_examples=60)
@given(st.binary(max_size=60))
def test_a_damaged_ledger_is_refused_or_all_works_that_follows(targets, data):
    targets.run_target("ledger", data)


@pytest.mark.parametrize("name", ["table", "checkpoint", "expression", "npz", "image"])
@pytest.mark.filterwarnings("ignore")  # of Pillow and numpy, on what they repair
def test_another_damaged_file(targets, name):
    @settings(FUZZ, max_examples=40)
    @given(st.binary(max_size=60))
    def feed(data):
        targets.run_target(name, data)

    feed()


def test_damage_is_of_many_kinds_and_always_the_same_for_the_same_bytes(targets):
    inputs = [bytes([n, 7 * n % 256]) * 30 for n in range(60)]
    ledgers = [targets.damage_ledger(targets.Choices(data)) for data in inputs]
    assert ledgers == [targets.damage_ledger(targets.Choices(data)) for data in inputs]
    assert len(set(ledgers)) > 20
    whole = targets.good_ledgers()
    assert [json.loads(json.dumps(events)) for events in whole] == list(whole)


def test_an_input_can_be_read_again(benchmark, capsys):
    assert benchmark("fuzz").main(["--target", "expression", "--input", "0000"]) == 0
    assert capsys.readouterr().out == "expression: nothing found\n"
