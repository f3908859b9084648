"""The page of the tasks is what their code says."""

import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs/tasks.md"


def test_page_of_the_tasks_is_what_its_command_writes_now():
    command = PAGE.read_text().partition("Generated: ")[2].partition(" > docs/tasks.md -->")[0].split()
    assert command == ["python", "-m", "diffenvs.tables"]
    # A process of its own: tests and examples register tasks of their own in this one.
    made = subprocess.run([sys.executable, *command[1:]], capture_output=True, text=True, check=True)
    assert made.stdout == PAGE.read_text(), "run `python -m diffenvs.tables > docs/tasks.md`"
