"""`rpo plot`."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from rpo import RPOConfig, SAPOConfig, plotting
from rpo.cli import main
from rpo.comparison import Run, group_runs
from rpo.logs import ProgressTable, read_progress
from rpo.runs import RunFolder, RunSettings, write_json

WINDOWS = 8


@pytest.fixture
def make_run(tmp_path):
    """A function that makes the folder of a run with random numbers in its log."""

    def make(*, window=16, windows=WINDOWS, clipping=True, **settings):
        values = {"algorithm": "RPO", "env": "a/B-v0", "num_envs": 2, "env_args": {}, "steps": 80, "seed": 0}
        run = RunFolder.create(tmp_path, RunSettings(**{**values, "config": RPOConfig(), **settings}))
        random = np.random.default_rng(settings.get("seed", 0))
        table = ProgressTable(run.progress)
        for i in range(windows):
            row = {"time/total_timesteps": window * (i + 1), "time/time_elapsed": 3 * i, "train/kl": random.random()}
            if i > 0:  # at first no episode has ended
                row["rollout/ep_rew_mean"] = random.random()
            if clipping:
                row["train/clip_fraction"] = random.random()
            row |= {f"action_grad_mean_by_step/{step:02d}": random.random() for step in range(4)}
            table.write(row, {})
        table.close()
        return run.path

    return make


def draw(paths):
    """Axes of the drawn figure, which is not written."""
    return plotting.training(group_runs(Run.read(path) for path in paths), []).axes


def assert_legible(figure):
    """Assert that no panel is squeezed, and that panels with their texts and the key are whole and do not overlap."""
    figure.draw_without_rendering()  # warns where the layout does not work out
    drawn = [axes for axes in figure.axes if axes.axison]
    page, panels = figure.bbox.padded(1.0), [axes.get_window_extent() for axes in drawn]
    assert all(panel.width > 0.2 * page.width and panel.height > 150 for panel in panels)
    boxes = [axes.get_tightbbox() for axes in drawn]
    boxes += [key.get_window_extent() for owner in (*figure.axes, *figure.subfigs) for key in keys_of(owner)]
    assert len(boxes) == len(drawn) + len(figure.subfigs)
    assert all(page.x0 < box.x0 and box.x1 < page.x1 and page.y0 < box.y0 and box.y1 < page.y1 for box in boxes)
    assert all(box.count_overlaps(boxes) == 1 for box in boxes)  # itself


def keys_of(owner):
    keys = [owner.get_legend()] if isinstance(owner, Axes) else owner.legends
    return [key for key in keys if key is not None]


def column(path, name):
    return np.array([float(row[name] or "nan") for row in read_progress(RunFolder(path).progress)])


def gradients(path):
    return [column(path, f"action_grad_mean_by_step/{step:02d}")[-WINDOWS // 4 :].mean() for step in range(4)]


def test_curve_of_a_run_has_the_numbers_of_its_log(make_run):
    path = make_run()
    axes = draw([path])
    for panel, (x, y, *_) in zip(axes, plotting.TRAINING_PANELS, strict=False):
        (line,) = panel.lines
        known = np.isfinite(column(path, y))
        assert np.array_equal(line.get_xdata(), column(path, x)[known])
        assert np.array_equal(line.get_ydata(), column(path, y)[known])
        assert not panel.collections  # one run has no spread
    (line,) = axes[4].lines
    np.testing.assert_allclose(line.get_ydata(), gradients(path))
    assert list(line.get_xdata()) == [0, 1, 2, 3]


def test_axes_have_units_short_numbers_and_a_scale_that_shows_small_divergences(make_run):
    axes = draw([make_run(window=100_000)])
    assert axes[1].get_xlabel() == "wall time [s]"
    assert axes[0].xaxis.get_major_formatter()(400_000) == "400k"
    assert axes[2].get_ylabel().endswith("[nat]")
    assert [panel.get_yscale() for panel in axes[:5]] == ["linear", "linear", "log", "linear", "log"]


def test_seeds_of_an_algorithm_become_one_curve_with_a_band(make_run):
    paths = [make_run(seed=seed) for seed in range(3)]
    axes = draw(paths)
    values = {2: [column(path, "train/kl") for path in paths], 4: [gradients(path) for path in paths]}
    for panel, runs in values.items():
        (line,), (band,) = axes[panel].lines, axes[panel].collections
        mean, std = np.mean(runs, axis=0), np.std(runs, axis=0)
        np.testing.assert_allclose(line.get_ydata(), mean)
        box = band.get_paths()[0].vertices[:, 1]
        assert box.min() == pytest.approx((mean - std).min())
        assert box.max() == pytest.approx((mean + std).max())
    assert [text.get_text() for text in axes[5].get_legend().get_texts()] == ["RPO, 3\N{NO-BREAK SPACE}seeds"]


def test_seeds_with_other_points_are_compared_where_all_have_some(make_run):
    paths = [make_run(seed=0), make_run(seed=1, window=32, windows=3)]
    (line,) = draw(paths)[2].lines
    points = np.array([32.0, 48.0, 64.0, 80.0, 96.0])
    second = np.interp(points, column(paths[1], "time/total_timesteps"), column(paths[1], "train/kl"))
    assert np.array_equal(line.get_xdata(), points)
    np.testing.assert_allclose(line.get_ydata(), (column(paths[0], "train/kl")[1:6] + second) / 2)


def test_algorithms_share_panels_and_tasks_do_not(make_run):
    paths = [
        make_run(),
        make_run(algorithm="SAPO", config=SAPOConfig(), clipping=False),
        make_run(env="a/C-v0", algorithm="SAPO", config=SAPOConfig(), clipping=False),
    ]
    axes = draw(paths)
    assert [len(panel.lines) for panel in axes] == [2, 2, 2, 1, 2, 0, 1, 1, 1, 0, 1, 0]
    assert [text.get_text() for text in axes[9].texts] == ["not logged"]
    looks = [(line.get_color(), line.get_linestyle(), line.get_marker()) for line in axes[0].lines]
    assert all(first != second for first, second in zip(*looks, strict=True))
    assert axes[6].lines[0].get_color() == axes[0].lines[1].get_color()


def test_pictures_of_runs_that_differ_in_much_are_legible(make_run, tmp_path):
    paths = [make_run(env="a/C-v0"), make_run(algorithm="SAPO", config=SAPOConfig())]
    for k in range(5):
        config = RPOConfig(hidden_sizes=(k + 1, 8), policy_epochs=k + 1, kl_coef=k / 8, learning_rate=0.1 + k)
        run = make_run(config=config, steps=80_000 * k, env_args={"action_cost": k / 8, "early_termination": k == 0})
        write_json(RunFolder(run).evaluation, {name: {"mean": 1000.0 * k} for name in plotting.POLICIES})
        paths.append(run)
    for chosen in (paths[1:], paths[:4:3]):  # six groups of one task; two tasks
        groups = group_runs(Run.read(path) for path in chosen)
        assert_legible(plotting.comparison(groups, tmp_path / "comparison.png"))
        assert_legible(plotting.training(groups, []))


def test_long_names_stand_in_the_key_only(make_run, tmp_path):
    paths = [make_run(config=RPOConfig(policy_epochs=k)) for k in (1, 2)]
    paths += [make_run(seed=7, env="a/C-v0"), make_run(algorithm="SAPO", config=SAPOConfig())]
    figure = plotting.comparison(group_runs(Run.read(path) for path in paths), tmp_path / "comparison.png")
    ticks = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in figure.axes[1::2]]
    assert ticks == [["RPO 1", "RPO 2", "SAPO"], ["RPO"]]
    keys = [
        [text.get_text().replace("\N{NO-BREAK SPACE}", " ") for text in keys_of(b)[0].texts] for b in figure.subfigs
    ]
    first = ["RPO 1 (policy_epochs=1), 1 seed", "RPO 2 (policy_epochs=2), 1 seed", "SAPO, 1 seed"]
    assert keys == [first, ["RPO, 1 seed"]]


def test_pictures_are_png_and_svg_on_solid_white(make_run, tmp_path, capsys):
    main(["plot", str(make_run()), "--output", str(tmp_path / "figures" / "all")])
    png, svg = (tmp_path / "figures" / f"all.{ending}" for ending in ("png", "svg"))
    assert capsys.readouterr().out == f"  {png}\n  {svg}\n"
    pixels = imread(png)
    assert (pixels[..., 3] == 1.0).all()
    assert (pixels[0, 0] == 1.0).all()
    assert "<svg" in svg.read_text()


def test_mistakes_end_with_one_message_and_leave_nothing(make_run, tmp_path):
    output = ["--output", str(tmp_path / "figures" / "all")]
    with pytest.raises(SystemExit, match="rpo plot needs the folders of runs"):
        main(["plot", *output])
    with pytest.raises(SystemExit, match=r"There is no run in .*nowhere"):
        main(["plot", str(tmp_path / "nowhere"), *output])
    with pytest.raises(SystemExit, match="no training episode has ended"):
        main(["plot", str(make_run(windows=0)), *output])
    many = [str(make_run(config=RPOConfig(kl_coef=float(k)))) for k in range(len(plotting.STYLES) + 1)]
    with pytest.raises(SystemExit, match=r"A picture tells 6 algorithms apart\. Got 7"):
        main(["plot", *many, *output])
    assert not list((tmp_path / "figures").glob("*"))
