import numpy as np
import pytest

from rpo.statistics import confidence_interval, interquartile_mean

SCORES = np.random.default_rng(0).normal(np.array([[0.0], [1.0]]), size=(2, 12))
# Of SCORES by rliable 1.2.0: aggregate_iqm, and get_interval_estimates with 50,000 resamples.
RLIABLE_MEANS = [-0.00570381065820859, 0.7464049884172269]
RLIABLE_INTERVALS = [(-0.45410432930575867, 0.4700252761952874), (0.2559736173564664, 1.3373087262119407)]


def test_interquartile_mean_leaves_out_a_quarter_at_each_end():
    scores = np.array([3.0, 100.0, 1.0, 2.0, -100.0, 4.0, 5.0, 6.0])
    assert interquartile_mean(scores) == pytest.approx((2 + 3 + 4 + 5) / 4)
    assert interquartile_mean(scores[:3]) == pytest.approx(scores[:3].mean())
    curves = np.stack([scores, 10 * scores], axis=1)
    np.testing.assert_allclose(interquartile_mean(curves), [3.5, 35.0])


@pytest.mark.parametrize("group", [0, 1])
def test_numbers_are_those_of_rliable(group):
    assert interquartile_mean(SCORES[group]) == pytest.approx(RLIABLE_MEANS[group], rel=1e-12)
    low, high = confidence_interval(SCORES[group], resamples=10_000)
    # Two bootstraps differ by their draws; the 90 % interval would be off by 0.07.
    np.testing.assert_allclose([low, high], RLIABLE_INTERVALS[group], atol=0.03)


def test_interval_is_reproducible_and_of_each_point_of_a_curve():
    curves = np.random.default_rng(1).normal(size=(5, 7))
    first, again = (confidence_interval(curves, resamples=200) for _ in range(2))
    assert np.array_equal(first, again)
    low, high = first
    assert low.shape == high.shape == (7,)
    np.testing.assert_allclose(confidence_interval(curves[:, 3], resamples=200), (low[3], high[3]))
    wider = confidence_interval(curves, level=0.99, resamples=200)
    assert (wider[0] <= low).all()
    assert (wider[1] >= high).all()


def test_one_run_says_nothing_about_others():
    assert np.isnan(confidence_interval(np.array([5.0]))).all()
