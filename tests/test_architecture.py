"""Which module may import which: the layers of the two packages."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__"): path
    for source in (ROOT / "packages/diffenvs/src", ROOT / "packages/rpo/src")
    for path in sorted(source.rglob("*.py"))
}

# Modules that start with the first name must not import modules that start with one of the others.
FORBIDDEN = {
    "rpo": ["diffenvs", "warp"],
    "diffenvs": ["rpo", "stable_baselines3"],
    "diffenvs.model": ["diffenvs", "torch", "warp", "gymnasium"],
    "diffenvs.shapes": ["diffenvs", "torch", "warp", "gymnasium"],
    "diffenvs.fields": ["diffenvs", "torch", "warp", "gymnasium"],
    "diffenvs.quantities": ["diffenvs", "torch", "warp", "gymnasium"],
    "diffenvs.quaternions": ["diffenvs", "torch", "warp", "gymnasium"],
    "diffenvs.resistance": ["diffenvs", "torch", "warp", "gymnasium"],
    "diffenvs.mjcf": ["torch", "warp", "gymnasium", "diffenvs.simulator", "diffenvs.robots"],
    "diffenvs.spatial": ["diffenvs", "torch", "gymnasium"],
    "diffenvs.kernels": ["torch", "gymnasium", "diffenvs.simulator", "diffenvs.envs", "diffenvs.tasks"],
    "diffenvs.robots": ["torch", "warp", "gymnasium", "diffenvs.simulator"],
    "diffenvs.tasks": ["warp", "gymnasium", "diffenvs.simulator", "diffenvs.kernels", "diffenvs.envs"],
    "diffenvs.engine": ["gymnasium", "diffenvs.autograd", "diffenvs.simulator", "diffenvs.envs", "diffenvs.tasks"],
    "diffenvs.simulator": ["gymnasium", "diffenvs.envs", "diffenvs.tasks", "diffenvs.robots"],
    "diffenvs.tables": ["warp", "diffenvs.simulator", "diffenvs.envs"],
    "diffenvs.envs": ["warp", "diffenvs.kernels", "diffenvs.robots"],
}
# Imported all the same: the parts of a model; by a function, where the name is convenient for users; from an extra.
ALLOWED = {
    ("diffenvs.model", "diffenvs.mjcf"),
    ("diffenvs.fields", "diffenvs.quantities"),
    ("diffenvs.model", "diffenvs.fields"),
    ("diffenvs.model", "diffenvs.shapes"),
    ("diffenvs.model", "diffenvs.quantities"),
    ("diffenvs.model", "diffenvs.resistance"),
    ("diffenvs.resistance", "diffenvs.model"),
    ("diffenvs.resistance", "diffenvs.quaternions"),
    ("diffenvs.shapes", "diffenvs.fields"),
    ("diffenvs.shapes", "diffenvs.quantities"),
    ("diffenvs.shapes", "diffenvs.quaternions"),
    ("diffenvs.sb3", "stable_baselines3"),
}
STAGES = [name for name in SOURCES if name.startswith("diffenvs.kernels.") and not name.endswith("control_step")]
SHARED = ("diffenvs.kernels.arguments", "diffenvs.kernels.distance")
"""What stages may import: the structs of the kernel's arguments and the geometry of contact."""


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def starts_with(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


@pytest.mark.parametrize("layer", FORBIDDEN)
def test_layer_does_not_import_what_lies_above_or_beside_it(layer):
    modules = [name for name in SOURCES if starts_with(name, layer)]
    assert modules, f"no module {layer}"
    broken = [
        f"{name} imports {imported}"
        for name in modules
        for imported in sorted(imports(SOURCES[name]))
        for prefix in FORBIDDEN[layer]
        if starts_with(imported, prefix)
        and not any(starts_with(imported, allowed) for module, allowed in ALLOWED if module == name)
    ]
    assert not broken


@pytest.mark.parametrize("stage", STAGES)
def test_stage_of_the_physics_imports_no_other_stage(stage):
    shared = () if stage in SHARED else SHARED
    others = [name for name in imports(SOURCES[stage]) if starts_with(name, "diffenvs.kernels")]
    assert not [name for name in others if not any(starts_with(name, allowed) for allowed in shared)]
