"""Files on a disk that fills, and logs of processes that were killed."""

import errno
import os

import numpy as np
import pytest
from full_disk import disk_with_room_for
from stable_baselines3.common.logger import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rpo.files import remove_unfinished, replacing
from rpo.logs import ProgressTable, read_progress, tensorboard_from
from rpo.runs import write_json


@pytest.fixture
def old(tmp_path):
    path = tmp_path / "values.json"
    write_json(path, {"a": 1})
    return path


@pytest.mark.parametrize("room", [0, 1, 100])
def test_disk_that_fills_leaves_the_old_file_and_no_other(old, room):
    before = old.read_bytes()
    with disk_with_room_for(room), pytest.raises(OSError, match="File too large"):
        write_json(old, {"a": list(range(1000))})
    assert old.read_bytes() == before
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_disk_that_fails_when_the_file_is_complete_leaves_the_old_one_too(old, step, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = old.read_bytes()
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left on device"):
        write_json(old, {"a": 2})
    assert old.read_bytes() == before
    assert list(old.parent.iterdir()) == [old]


def test_file_is_on_the_disk_before_it_is_moved(old, monkeypatch):
    calls = []
    for step in ("fsync", "replace"):
        real = getattr(os, step)
        monkeypatch.setattr(os, step, lambda *args, step=step, real=real: (calls.append(step), real(*args)))
    write_json(old, {"a": 2})
    assert calls == ["fsync", "replace"]


def test_what_a_killed_process_left_is_removed(old, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda *_: None)  # killed before it, and so without clean-up
        with replacing(old) as temporary:
            temporary.write_text("half of")
    assert len(list(old.parent.iterdir())) == 2
    remove_unfinished(old.with_name("other.json"))
    assert len(list(old.parent.iterdir())) == 2
    remove_unfinished(old)
    assert list(old.parent.iterdir()) == [old]


# ------------------------------------------------------------------------------------------------------------- logs


def write_rows(table, *rows):
    for row in rows:
        table.write(row, {})


def test_table_takes_columns_as_they_come_in_their_order(tmp_path):
    table = ProgressTable(tmp_path / "progress.csv")
    write_rows(table, {"b": 1, "a": 2.5}, {"a": 3, "c": 4}, {"b": 5})
    table.close()
    assert (tmp_path / "progress.csv").read_text() == "b,a,c\n1,2.5,\n,3,4\n5,,\n"


def test_table_shows_numpy_s_numbers_as_those_that_a_checkpoint_keeps(tmp_path):
    table = ProgressTable(tmp_path / "progress.csv")
    write_rows(table, {"float32": np.float32(0.1), "float64": np.float64(0.1), "int64": np.int64(3)})
    table.close()
    assert (tmp_path / "progress.csv").read_text() == "float32,float64,int64\n0.10000000149011612,0.1,3\n"


def test_table_leaves_out_what_is_excluded(tmp_path):
    table = ProgressTable(tmp_path / "progress.csv")
    table.write({"a": 1, "b": 2}, {"a": ("csv",), "b": None})
    table.close()
    assert read_progress(tmp_path / "progress.csv") == [{"b": "2"}]


def test_table_is_whole_after_every_row_while_it_is_open(tmp_path):
    path = tmp_path / "progress.csv"
    table = ProgressTable(path)
    for i in range(4):
        write_rows(table, {"a": i, f"new{i}": i})
        assert [row["a"] for row in read_progress(path)] == [str(k) for k in range(i + 1)]
    table.close()


@pytest.mark.parametrize("kept", [0, 5, 6, 7])
def test_row_that_a_killed_process_tore_is_left_out(tmp_path, kept):
    path = tmp_path / "progress.csv"
    path.write_text("a,b\n1,2\n" + "34,567\n"[:kept])
    expected = [{"a": "1", "b": "2"}, {"a": "34", "b": "567"}][: 2 if kept == 7 else 1]
    assert read_progress(path) == expected


def test_disk_that_fills_while_a_column_is_added_leaves_the_old_table(tmp_path):
    path = tmp_path / "progress.csv"
    table = ProgressTable(path)
    write_rows(table, {"a": 1}, {"a": 2})
    before = path.read_bytes()
    with disk_with_room_for(len(before)), pytest.raises(OSError, match="File too large"):
        write_rows(table, {"a": 3, "new": 4})
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def log(folder, resumed_at, steps):
    logger = Logger(None, [tensorboard_from(folder, resumed_at)])
    for step in steps:
        logger.record("value", 10 * step)
        logger.dump(step)
    return logger


def test_resumed_events_have_neither_gaps_nor_doubles(tmp_path):
    log(tmp_path, 0, [1, 2, 3, 4])  # killed: never closed
    log(tmp_path, 2, [3, 4, 5]).close()
    first, second = (path.name.split(".")[3] for path in sorted(tmp_path.iterdir()))
    assert first < second  # in the order of names, whatever process and count stand behind the second
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("value")
    assert [(event.step, event.value) for event in events] == [(step, 10.0 * step) for step in range(1, 6)]
