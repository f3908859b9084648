"""Train a run undisturbed (RUNS/whole), and others whose process is killed, each of which another process ends.

python kill_runs.py RUNS moments NUMBER    RUNS/moments is killed so many times, at random moments
python kill_runs.py RUNS operations STEP   RUNS/<n> is killed before its n-th file operation, for n = STEP, 2 STEP, ...

The processes are copies of this one, which spares them the imports.
"""

import itertools
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

import systems  # noqa: F401  # registers the environment
import torch
from small_runs import ENV, SMALL, only_run

from rpo.cli import main

ARGS = ["train", *SMALL, "--critic-epochs", "1", "--steps", "480", "--checkpoint-every", "16"]
OPERATIONS = {"open", "os.mkdir", "os.remove", "os.rename", "shutil.rmtree"}


def fork(function, *args):
    """Run a function in a copy of this process, and return its id."""
    assert threading.active_count() == 1
    child = os.fork()
    if child == 0:
        function(*args)
        sys.stdout.flush()
        os._exit(0)
    return child


def was_killed(child):
    """Wait for a child, and return whether it was killed; nothing else may have gone wrong in it."""
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL)
    return status != 0


def train_or_go_on(runs):
    """Do what a user does who finds the machine restarted."""
    try:
        run = only_run(runs)
    except ValueError:  # it had not come so far as to have a folder
        main([*ARGS, "--runs", str(runs)])
    else:
        main(["train", "--resume", str(run.path)])


def train_up_to(runs, number):
    """Train, and kill this process before its file operation of that number in the folder of runs."""
    count = 0

    def hook(event, arguments):
        nonlocal count
        if event in OPERATIONS and str(arguments[0]).startswith(str(runs)):
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    train_or_go_on(runs)


def kill_at_moments(runs, kills, seconds):
    """Kill a run at random moments of its training, all before its end."""
    for _ in range(kills):
        child = fork(train_or_go_on, runs)
        while not list(runs.glob(f"{ENV}/rpo/[!.]*/config.json")):
            time.sleep(0.001)
        time.sleep(random.uniform(0, 0.8 * seconds / kills))
        os.kill(child, signal.SIGKILL)
        assert was_killed(child)
    assert not was_killed(fork(train_or_go_on, runs))


def kill_before_operations(folder, step):
    """Kill one run before each of every so many file operations, until there are no more."""
    for number in itertools.count(step, step):
        runs = folder / str(number)
        killed = was_killed(fork(train_up_to, runs, number))
        assert not was_killed(fork(train_or_go_on, runs))
        if not killed:
            break


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, mode, number = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    train_or_go_on(folder / "whole")
    whole = only_run(folder / "whole")
    if mode == "moments":
        seconds = whole.model.stat().st_mtime - whole.settings.stat().st_mtime
        kill_at_moments(folder / "moments", number, seconds)
    else:
        kill_before_operations(folder, number)
