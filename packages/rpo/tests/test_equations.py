import ast
import inspect
import re
from collections import Counter
from pathlib import Path

import rpo

EQUATIONS = {2, 4, 9, 10, 11, 12, 13, 14}
SOURCE = Path(inspect.getfile(rpo)).parent


def trees():
    return {path.name: ast.parse(path.read_text()) for path in SOURCE.rglob("*.py")}


def test_each_equation_of_the_paper_is_claimed_by_exactly_one_docstring():
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    claims = Counter(
        int(number)
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, documented)
        for number in re.findall(r"Eq\. \((\d+)\)", ast.get_docstring(node) or "")
    )
    assert claims == dict.fromkeys(EQUATIONS, 1)


def test_rpo_imports_no_simulator():
    for tree in trees().values():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("diffenvs", "warp") for name in names)


def test_all_names_the_public_surface():
    assert rpo.__all__ == sorted(rpo.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name))
    assert all(hasattr(rpo, name) for name in rpo.__all__)
