"""True values and selections, against closed forms, brute force and simulated searches."""

import itertools

import numpy as np
import pytest
from scipy.stats import norm, t

from search.finals.seed_noise import PRIOR_DOF
from search.finals.selection import (
    BETA,
    UNTOLD,
    choose_next,
    front_membership,
    front_probability,
    is_clearly_dominated,
    select_candidates,
    select_front,
)
from search.finals.true_values import bootstrap_images, sample_means, sample_true_values
from search.record.pareto import front


def test_clearly_dominated_is_what_brute_force_says():
    rng = np.random.default_rng(0)
    for _ in range(100):
        n = int(rng.integers(1, 9))
        p, sd = rng.integers(0, 5, (n, 2)) / 4, rng.uniform(0, 0.4, (n, 2))
        z = float(rng.uniform(0, 2))
        want = [
            any(
                all(p[j, m] - p[i, m] > z * np.hypot(sd[i, m], sd[j, m]) for m in range(2))
                for j in range(n)
            )
            for i in range(n)
        ]
        assert is_clearly_dominated(p, sd, z).tolist() == want
        pairs = np.hypot(sd[:, None], sd[None])
        assert is_clearly_dominated(p, pairs, z).tolist() == want
        kept = select_candidates(p, sd, z=z)
        assert sorted(kept) == [i for i in range(n) if not want[i]]
        assert select_candidates(p, sd, 2, z=z) == kept[:2]


def test_without_noise_the_candidates_are_the_front():
    p = np.random.default_rng(1).random((60, 2))
    assert sorted(select_candidates(p, [0.0, 0.0])) == np.flatnonzero(front(p)).tolist()
    assert select_candidates(np.empty((0, 2)), [0.1, 0.1]) == []


def test_the_likeliest_candidate_comes_first():
    p = [[0.5, 0.5], [0.51, 0.51], [0.1, 0.9], [0.0, 0.0]]
    assert select_candidates(p, [0.02, 0.02]) == [2, 1, 0]


def test_membership_is_what_brute_force_says():
    draws = np.random.default_rng(2).integers(0, 6, (400, 7, 2))
    want = np.mean([front(draw) for draw in draws], axis=0)
    assert front_probability(draws) == pytest.approx(want)
    assert front_probability(np.zeros((10, 3, 2))).tolist() == [
        1.0,
        1.0,
        1.0,
    ]  # equal ones all stay


def test_p_on_the_front_of_two_gaussians_is_the_closed_form():
    """With independent noise, b is off the front if a is ahead in both objectives."""
    gap, sd = np.array([0.3, -0.1]), np.array([0.4, 0.2])
    rng = np.random.default_rng(3)
    a, b = (mean + sd * rng.standard_normal((200_000, 2)) for mean in (gap, np.zeros(2)))
    ahead = norm.cdf(gap / (sd * np.sqrt(2)))
    want = [1 - np.prod(1 - ahead), 1 - np.prod(ahead)]
    assert front_probability(np.stack([a, b], 1)) == pytest.approx(
        want, abs=4 * 0.5 / np.sqrt(200_000)
    )


def test_the_posterior_of_equal_seeds_is_a_t_around_their_mean():
    """With a single value the guess is the scale of the t distribution; checked by quantiles."""
    values, sd = [[[0.5, 60.0]]], [0.02, 5.0]
    draws = sample_means(values, sd, draws=100_000)[:, 0]
    for m, (centre, spread) in enumerate(zip([0.5, 60.0], sd, strict=True)):
        low, high = np.quantile(draws[:, m], [0.025, 0.975])
        want = t.ppf(0.975, PRIOR_DOF) * spread
        assert (low, high) == pytest.approx((centre - want, centre + want), rel=0.02)


def test_the_posterior_narrows_with_seeds_and_knows_correlation():
    rng = np.random.default_rng(4)
    many = rng.multivariate_normal([0, 0], [[1, -0.8], [-0.8, 1]], 400)
    few, lots = many[:4], many
    draws = sample_means([few, lots], [1.0, 1.0])
    assert draws.std(axis=0)[1] == pytest.approx([1 / 20, 1 / 20], rel=0.15)
    assert np.asarray(np.corrcoef(draws[:, 1].T))[0, 1] == pytest.approx(-0.8, abs=0.08)
    assert (draws.std(axis=0)[0] > 0.3).all()
    with pytest.raises(ValueError, match="without a fresh value"):
        sample_means([few, np.empty((0, 2))], [1, 1])


def test_one_wild_finalist_does_not_widen_the_others():
    calm = [np.random.default_rng(s).normal(0, 0.01, (4, 2)) for s in range(5)]
    wild = np.array([[0.0, 0.0], [0.5, 0.5], [-0.5, -0.5], [0.1, -0.1]])
    draws = sample_means([*calm, wild], [0.01, 0.01])
    spread = draws.std(axis=0)
    assert (spread[-1] > 3 * spread[:-1].max()).all()


def test_the_interval_of_a_mean_covers_it_as_often_as_it_says():
    """200 simulated studies of 5 finalists with 3 seeds; the guess of the noise is wrong."""
    rng, hits = np.random.default_rng(5), []
    for study in range(200):
        truth = rng.random((5, 2))
        values = truth[:, None] + 0.02 * rng.standard_normal((5, 3, 2))
        draws = sample_means(list(values), [0.015, 0.03], draws=500, seed=study)
        low, high = np.quantile(draws, [0.025, 0.975], axis=0)
        hits += ((low <= truth) & (truth <= high)).ravel().tolist()
    assert 0.93 < np.mean(hits) < 0.99


def test_the_images_bootstrap_has_the_binomial_spread_and_keeps_pairs():
    rng = np.random.default_rng(6)
    one = (rng.random(400) < 0.8).astype(float)
    deviations = bootstrap_images([[one, one], [one, 1 - one]], draws=4000)
    want = np.sqrt(one.mean() * (1 - one.mean()) / 400)
    assert deviations.std(axis=0) == pytest.approx(np.full((2, 2), want), rel=0.05)
    assert deviations[:, 0] == pytest.approx(deviations[:, 0, [0]].repeat(2, 1))
    assert deviations[:, 1, 0] == pytest.approx(-deviations[:, 1, 1])
    shifted = sample_means([[[0.8, 0.8]], [[0.8, 0.2]]], [1e-9, 1e-9], images=deviations)
    assert shifted.std(axis=0) == pytest.approx(np.full((2, 2), want), rel=0.05)


def test_the_next_seed_goes_where_membership_is_least_certain():
    assert choose_next([1.0, 0.5, 0.9], [2, 2, 2]) == 1
    assert choose_next([1.0, 0.5, 0.9], [2, 0, 2]) == 1
    assert choose_next([0.5, 0.5], [2, 0]) == 1
    assert choose_next([0.5, 0.4], [3, 1]) == 1  # a fourth seed tells less than a second
    assert choose_next([0.5, 0.5], [2, 2], [3.0, 1.0]) == 1
    assert choose_next([0.99, 0.02, 1.0], [1, 1, 1]) is None
    assert choose_next([0.99, 0.02, 1.0], [2, 1, 1], min_seeds=2) == 1


def test_racing_spends_on_the_uncertain_pair():
    """Of nearly equal and clearly different points, the equal ones get nearly all further seeds."""
    truth = np.array([[0.9, 0.1], [0.5, 0.5], [0.503, 0.497], [0.501, 0.499], [0.1, 0.9]])
    truth[3] = [0.4985, 0.4985]  # beaten or not by 1: hard to say
    rng = np.random.default_rng(7)
    values = [[point + 0.005 * rng.standard_normal(2)] for point in truth]
    for step in range(25):
        chances = front_probability(sample_means(values, [0.005, 0.005], draws=500, seed=step))
        i = choose_next(chances, [len(v) for v in values])
        if i is None:
            break
        values[i].append(truth[i] + 0.005 * rng.standard_normal(2))
    spent = [len(v) for v in values]
    assert spent[0] == spent[4] == 1
    assert sum(spent[1:4]) > 10


def expected_score(membership, chosen):
    both = membership[:, chosen].sum(axis=1)
    precision, recall = both / len(chosen), both / membership.sum(axis=1)
    with np.errstate(invalid="ignore"):
        scores = (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)
    return np.mean(np.where(both > 0, scores, 0.0))


def test_the_reported_front_has_the_largest_expected_score_of_all_sets():
    rng = np.random.default_rng(8)
    for _ in range(60):
        n = int(rng.integers(1, 7))
        membership = front_membership(rng.random(n)[:, None] * 0.5 + rng.random((40, n, 2)))
        among = np.sort(rng.choice(n, int(rng.integers(1, n + 1)), replace=False))
        alone = len(among) == 1 or np.sort(membership[:, among].mean(axis=0))[-2] < UNTOLD
        best = max(
            expected_score(membership, among[list(some)])
            for size in range(1 if alone else 2, len(among) + 1)
            for some in itertools.combinations(range(len(among)), size)
        )
        found = among[select_front(membership, among.tolist())]
        assert expected_score(membership, found) == pytest.approx(best)


def test_members_that_exclude_each_other_are_reported_together():
    """Of two trials one is on the front, nobody knows which: both are reported, even at .7."""
    first = np.arange(100) < 70
    assert select_front(np.stack([first, ~first], 1)).tolist() == [True, True]
    first = np.arange(100) < 90
    assert select_front(np.stack([first, ~first], 1)).tolist() == [True, False]
    assert select_front(np.zeros((5, 0), bool)).tolist() == []


SD = np.array([0.01, 0.015])


def simulated(seed: int, trials: int = 60, budget: int = 15):
    """Simulate a search and its finals: true values, search values, finalists, their values."""
    rng, sd = np.random.default_rng(seed), SD
    x, waste = rng.random(trials), rng.exponential(0.03, trials)
    truth = np.stack([0.9 - 0.4 * x**2 - waste, 0.2 + 0.4 * x - waste], 1)
    seen = truth + sd * rng.standard_normal(truth.shape)
    chosen = select_candidates(seen, sd, budget - budget // 3)
    values = [[truth[i] + sd * rng.standard_normal(2)] for i in chosen]
    for step in range(budget - len(chosen)):
        chances = front_probability(sample_means(values, sd, draws=200, seed=step))
        i = choose_next(chances, [len(v) for v in values])
        if i is None:
            break
        values[i].append(truth[chosen[i]] + sd * rng.standard_normal(2))
    fresh = dict(zip(chosen, map(np.array, values), strict=True))
    membership = front_membership(sample_true_values(seen, fresh, sd, draws=400, seed=seed))
    return truth, seen, fresh, membership


@pytest.fixture(scope="module")
def studies():
    return [simulated(seed) for seed in range(120)]


def f1(reported, true):
    return 2 * (reported & true).sum() / (reported.sum() + true.sum())


def test_finals_undo_the_winners_curse_and_report_a_truer_front(studies):
    """60 simulated searches of 60 trials: search scores are too optimistic, fresh seeds are not."""
    flattery, unbiased, before, after = [], [], [], []
    for truth, seen, fresh, membership in studies[:60]:
        really, naive = front(truth), front(seen)
        flattery.append(np.mean(seen[naive] - truth[naive]))
        unbiased.append(np.mean([v.mean(axis=0) - truth[i] for i, v in fresh.items()]))
        before.append(f1(naive, really))
        after.append(f1(select_front(membership), really))
    for errors, biased in ((flattery, True), (unbiased, False)):
        half = 2.66 * np.std(errors, ddof=1) / np.sqrt(60)  # 99 % interval, t with 59 degrees
        assert (abs(np.mean(errors)) > half) == biased
    assert np.mean(flattery) > 0.003
    assert np.mean(after) > np.mean(before) + 0.02


def test_p_on_the_front_is_as_often_true_as_it_says(studies):
    """7,200 trials: P is calibrated; of finalists alone, without the other trials, it is too high.

    The trials lie anywhere here. Where a sampler has gathered them at the front it is closer:
    `docs/search.md` has both.
    """
    rows: tuple[list[float | bool], ...] = [], [], [], [], []
    for seed, (truth, _, fresh, membership) in enumerate(studies):
        chosen, really = list(fresh), front(truth)
        means = sample_means(list(fresh.values()), SD, draws=400, seed=seed)
        rows[0].extend(membership.mean(axis=0).tolist())
        rows[1].extend(front_probability(means).tolist())
        rows[2].extend(really.tolist())
        rows[3].extend(really[chosen].tolist())
        rows[4].extend(membership.mean(axis=0)[chosen].tolist())
    said, alone, true, among, said_of_them = map(np.array, rows)
    assert abs(said.mean() - true.mean()) < 0.08
    for low, high in ((0.05, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        here = (said >= low) & (said < high)
        n, share, mean = here.sum(), true[here].mean(), said[here].mean()
        assert n > 50
        assert share > mean - 0.03  # promises no more than comes true
        assert share < mean + 0.15
    sure = alone > 0.95
    error = np.sqrt(among[sure].mean() * (1 - among[sure].mean()) / sure.sum())
    assert among[sure].mean() < alone[sure].mean() - 3 * error
    assert np.mean((said_of_them - among) ** 2) < np.mean((alone - among) ** 2)


def test_what_is_plausible_is_the_mean_of_all_values_where_none_lies_near():
    """Without neighbours the posterior is normal around the trial's own mean."""
    fresh, far = np.array([[0.3, 0.4], [0.5, 0.2]]), [5.0, -5.0]
    draws = sample_true_values([[0.4, 0.6], far], {0: fresh}, [0.1, 0.1], draws=20_000)
    low, high = fresh.mean(axis=0), np.array([0.4, 0.6])
    middle = draws[:, 0].mean(axis=0)
    assert (
        (np.minimum(low, high) <= middle + 0.01) & (middle <= np.maximum(low, high) + 0.01)
    ).all()
    assert draws[:, 1].mean(axis=0) == pytest.approx(far, abs=0.01)
    assert (draws[:, 0].std(axis=0) < draws[:, 1].std(axis=0)).all()


def test_a_lucky_value_is_drawn_back_to_where_others_lie():
    crowd = np.random.default_rng(9).normal(0.5, 0.02, (40, 2))
    lucky = crowd.mean(axis=0) + 0.06
    draws = sample_true_values([*crowd, lucky], {}, [0.03, 0.03], draws=2000)[:, -1]
    assert (draws.mean(axis=0) < lucky - 0.01).all()


def test_a_search_on_few_images_says_less_than_fresh_seeds():
    """If search values are far from fresh ones, the mean is that of the fresh ones."""
    rng = np.random.default_rng(10)
    truth = np.stack([np.linspace(0, 1, 8), np.linspace(1, 0, 8)], 1)
    fresh = {i: t + 0.001 * rng.standard_normal((2, 2)) for i, t in enumerate(truth)}
    seen = truth + 0.02 * rng.standard_normal(truth.shape)
    middle = sample_true_values(seen, fresh, [0.001, 0.001]).mean(axis=0)
    assert np.abs(middle - truth).max() < 0.004 < np.abs(seen - truth).max()
