"""The page of the tasks is what their code says."""

from pathlib import Path

from diffenvs import TASKS
from diffenvs.tables import page

PAGE = Path(__file__).parents[1] / "docs/tasks.md"


def test_page_of_the_tasks_is_what_their_code_says_now():
    own = [id for id in TASKS if id.startswith("diffenvs/")]
    assert PAGE.read_text() == page(own), "run `python -m diffenvs.tables > docs/tasks.md`"
