"""Tasks of the project; `nox --list` shows them. The README has the commands that set up a fresh machine."""

import sys

import nox

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["tests", "lint", "types"]
PROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, *groups: str) -> None:
    """Install both packages, pinned, into the environment that runs nox.

    All sessions share it: PyTorch with CUDA would otherwise take several gigabytes for each.
    """
    if sys.prefix == sys.base_prefix:
        session.error("run nox from a virtual environment: the commands are in README.md")
    dependencies = nox.project.dependency_groups(PROJECT, *groups)
    session.run(sys.executable, "-m", "pip", "install", "--quiet", "-r", "requirements.txt", *dependencies)


@nox.session(venv_backend="none")
def train(session: nox.Session) -> None:
    """Train RPO; arguments after `--` go to `rpo train`."""
    install(session)
    # After Ctrl-C the training ends its window and saves it, which takes it seconds.
    session.run(sys.executable, "-m", "rpo", "train", *session.posargs, interrupt_timeout=60)


@nox.session(venv_backend="none")
def tests(session: nox.Session) -> None:
    """Run the tests; arguments after `--` go to pytest."""
    install(session, "test")
    session.run(sys.executable, "-m", "pytest", *session.posargs)


@nox.session(venv_backend="none")
def slow(session: nox.Session) -> None:
    """Run the tests that take long."""
    install(session, "slow")
    session.run(sys.executable, "-m", "pytest", "-m", "slow", *session.posargs)


@nox.session(venv_backend="none")
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    install(session, "lint")
    session.run(sys.executable, "-m", "ruff", "check")
    session.run(sys.executable, "-m", "ruff", "format", "--check")


@nox.session(venv_backend="none")
def types(session: nox.Session) -> None:
    """Check types."""
    install(session, "types", "docs")  # the site's scripts are checked too
    session.run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable)


@nox.session(venv_backend="none")
def docs(session: nox.Session) -> None:
    """Build the documentation into site/; a warning fails. `-- serve` shows it while it is written."""
    install(session, "docs")
    command = session.posargs or ["build"]
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # the theme's note on the future of its foundations
    session.run(sys.executable, "-m", "mkdocs", *command, "--strict", env=quiet)


@nox.session(venv_backend="none")
def bench(session: nox.Session) -> None:
    """Print the tables of simulation speed and of what a training iteration spends."""
    install(session)
    session.run(sys.executable, "benchmarks/simulation_speed.py", *session.posargs)
    session.run(sys.executable, "benchmarks/training_iteration.py")
