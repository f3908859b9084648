"""`rpo compare`."""

import json

import numpy as np
import pytest
from matplotlib.image import imread

from rpo import RPOConfig, SAPOConfig, plotting
from rpo.cli import main
from rpo.comparison import Aggregate, Run, group_runs
from rpo.logs import ProgressTable
from rpo.runs import RunFolder, RunSettings, write_json
from rpo.statistics import confidence_interval, interquartile_mean


@pytest.fixture
def make_run(tmp_path):
    """A function that makes the folder of a run with the given last return and settings."""

    def make(score, *, evaluated=True, episodes=128, windows=range(1, 6), **settings):
        values = {"algorithm": "RPO", "env": "a/B-v0", "num_envs": 2, "env_args": {}, "steps": 80, "seed": 0}
        run = RunFolder.create(tmp_path, RunSettings(**{**values, "config": RPOConfig(), **settings}))
        table = ProgressTable(run.progress)
        table.write({"time/total_timesteps": 8}, {})  # no episode has ended yet
        for window in windows:
            table.write({"time/total_timesteps": 16 * window, "rollout/ep_rew_mean": score * window / 5}, {})
        table.close()
        if evaluated:
            means = {"deterministic": score + 10, "stochastic": score}
            results = {policy: {"mean": mean, "episodes": episodes} for policy, mean in means.items()}
            write_json(run.evaluation, {"steps": 16 * windows[-1], **results})
        return run.path

    return make


def groups_of(*paths):
    return group_runs(Run.read(path) for path in paths)


def test_group_has_the_runs_that_differ_in_seed_device_module_and_origin_only(make_run):
    paths = [
        make_run(1.0, seed=1, preset="paper", versions={"torch": "2.13.0"}),
        make_run(2.0, seed=0, device="cpu", env="some.module:a/B-v0"),
        make_run(3.0, config=RPOConfig(kl_coef=0.0)),
        make_run(4.0, env="a/C-v0"),
        make_run(5.0, env="a/C-v0", env_args={"cost": 0}, steps=160),
    ]
    groups = groups_of(*paths)
    assert [(group.task, group.label, [run.settings.seed for run in group.runs]) for group in groups] == [
        ("a/B-v0", "RPO (kl_coef=0.5)", [0, 1]),
        ("a/B-v0", "RPO (kl_coef=0.0)", [0]),
        ("a/C-v0", "RPO (steps=80)", [0]),
        ("a/C-v0", "RPO (steps=160, env_args.cost=0)", [0]),
    ]


def test_equal_numbers_are_one_setting_and_flags_are_none(make_run):
    limits = ({"bonus": 0, "limits": [1, 2]}, {"bonus": 0, "limits": None})
    all_args = ({"bonus": 0}, {"bonus": 0.0}, {"bonus": False}, *limits)
    groups = groups_of(*(make_run(1.0, seed=seed, env_args=args) for seed, args in enumerate(all_args)))
    assert sorted((group.label, [run.settings.seed for run in group.runs]) for group in groups) == [
        ("RPO (env_args.bonus=0)", [0, 1]),
        ("RPO (env_args.bonus=0, env_args.limits=None)", [4]),
        ("RPO (env_args.bonus=0, env_args.limits=[1, 2])", [3]),
        ("RPO (env_args.bonus=False)", [2]),
    ]
    with pytest.raises(ValueError, match="have the same settings and the same seed"):
        groups_of(*(make_run(1.0, env_args={"bonus": zero}) for zero in (0, 0.0)))


def test_scores_are_the_interquartile_means_of_the_runs_evaluations(make_run):
    scores = np.array([5.0, 1.0, 100.0, 3.0, -50.0])
    (group,) = groups_of(*(make_run(score, seed=seed) for seed, score in enumerate(scores)))
    for policy, shift in (("deterministic", 10), ("stochastic", 0)):
        score = group.evaluated(policy)
        assert score.iqm == pytest.approx(interquartile_mean(scores + shift))
        assert score.interval == pytest.approx(confidence_interval(scores + shift))
        assert (score.mean, score.std) == pytest.approx(((scores + shift).mean(), scores.std()))
        assert score.runs == 5
    assert group.trained().iqm == pytest.approx(interquartile_mean(scores))


def test_curve_is_that_of_the_steps_which_all_runs_have(make_run):
    (group,) = groups_of(make_run(10.0, seed=0), make_run(20.0, seed=1, windows=range(2, 5)))
    curve = group.curve()
    assert (curve.steps[0], curve.steps[-1]) == (32, 64)
    np.testing.assert_allclose(curve.iqm, 15.0 * curve.steps / 80)  # both are straight lines through zero
    np.testing.assert_allclose(curve.low, 10.0 * curve.steps / 80)
    np.testing.assert_allclose(curve.high, 20.0 * curve.steps / 80)


def test_runs_with_the_same_seed_are_refused(make_run):
    first, second = make_run(1.0), make_run(2.0)
    with pytest.raises(SystemExit, match=f"{first} and {second} have the same settings and the same seed"):
        main(["compare", str(first), str(second)])


def test_comparison_prints_a_table_and_writes_numbers_and_a_picture(make_run, tmp_path, capsys):
    runs = [make_run(1000.0 + seed, seed=seed) for seed in range(4)]
    runs += [make_run(500.0, algorithm="SAPO", config=SAPOConfig()), make_run(7.0, env="a/C-v0", evaluated=False)]
    main(["compare", *map(str, runs), "--output", str(tmp_path / "figures" / "all")])
    captured = capsys.readouterr()
    cells = [line.split() for line in captured.out.splitlines()]
    assert cells[1][:6] == ["a/B-v0", "RPO", "4", "80", "1011.5", "[1010.0,"]
    assert cells[2] == ["a/B-v0", "SAPO", "1", "80", "510.0", "500.0", "500.0"]
    assert cells[3] == ["a/C-v0", "RPO", "1", "80", "not", "evaluated", "not", "evaluated", "7.0"]
    assert captured.err == f"not evaluated after its last step: rpo evaluate {runs[-1]}\n"
    numbers = json.loads((tmp_path / "figures" / "all.json").read_text())["groups"]
    assert [(group["task"], group["label"], group["seeds"]) for group in numbers] == [
        ("a/B-v0", "RPO", [0, 1, 2, 3]),
        ("a/B-v0", "SAPO", [0]),
        ("a/C-v0", "RPO", [0]),
    ]
    assert numbers[0]["deterministic"]["iqm"] == pytest.approx(1011.5)
    assert numbers[1]["deterministic"]["interval"] is None
    assert numbers[2]["stochastic"] is None
    assert imread(tmp_path / "figures" / "all.png").shape[2] == 4


def test_run_that_was_trained_on_after_its_evaluation_is_named(make_run, tmp_path, capsys):
    run = make_run(1.0)
    score = {"mean": 1, "episodes": 128}
    write_json(RunFolder(run).evaluation, {"steps": 48, "deterministic": score, "stochastic": score})
    main(["compare", str(run), "--output", str(tmp_path / "out")])
    assert f"not evaluated after its last step: rpo evaluate {run}" in capsys.readouterr().err


def test_evaluations_over_other_numbers_of_episodes_are_told_of(make_run, tmp_path, capsys):
    runs = [str(make_run(1.0, seed=seed, episodes=episodes)) for seed, episodes in enumerate((128, 16, 128))]
    main(["compare", *runs, "--output", str(tmp_path / "out")])
    assert capsys.readouterr().err.splitlines() == [
        f"evaluated over 16 episodes: {runs[1]}",
        f"evaluated over 128 episodes: {runs[0]} {runs[2]}",
    ]


def test_algorithms_differ_in_colour_line_and_marker():
    for part in zip(*plotting.STYLES, strict=True):
        assert len(set(part)) == len(plotting.STYLES)


def test_more_algorithms_than_styles_are_refused(make_run, tmp_path):
    runs = [make_run(1.0, config=RPOConfig(kl_coef=float(k))) for k in range(len(plotting.STYLES) + 1)]
    with pytest.raises(ValueError, match=r"A picture tells 6 algorithms apart. Got 7: RPO .kl_coef=0.0., "):
        plotting.comparison(groups_of(*runs), tmp_path / "picture.png")
    assert not (tmp_path / "picture.png").exists()


def test_mistakes_end_with_one_message(make_run, tmp_path):
    with pytest.raises(SystemExit, match="rpo compare needs the folders of runs"):
        main(["compare"])
    with pytest.raises(SystemExit, match=r"There is no run in .*nowhere"):
        main(["compare", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match="has nothing to compare yet: no training episode has ended"):
        main(["compare", str(make_run(1.0, windows=range(0), evaluated=False))])
    run = RunFolder(make_run(1.0))
    run.progress.unlink()
    with pytest.raises(SystemExit, match=rf"{run.path} has nothing to compare: progress\.csv is missing"):
        main(["compare", str(run.path)])


def test_evaluation_that_cannot_be_read_is_told_with_its_file(make_run):
    run = RunFolder(make_run(1.0))
    run.evaluation.write_text("{")
    with pytest.raises(SystemExit, match=f"rpo: {run.evaluation} does not hold what was asked for: Expecting property"):
        main(["compare", str(run.path)])


def test_group_without_scores_has_no_statistics():
    assert Aggregate.of([]) is None
