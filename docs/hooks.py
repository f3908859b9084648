"""What building the site adds: what is made from code, the pictures of the tasks, and equations that need no script."""

import ast
import html
import re
from pathlib import Path
from typing import Any

import command_line
from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

ROOT = Path(__file__).parents[1]
EQUATION = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', flags=re.DOTALL)
LEFT = re.compile(r'class="arithmatex"|:math:|\.\. math::')
CODE = re.compile(r"<(pre|code)\b.*?</\1>", flags=re.DOTALL)
OUTSIDE = re.compile(r"\[([^]]+)\]\(\.\./[^)]+\)")
TASK = re.compile(r"^## \w+/(\w+)-v\d+$", flags=re.MULTILINE)


def examples() -> str:
    """Return the sections of the examples: what each says of itself, and its code."""
    parts = []
    for path in sorted((ROOT / "examples").glob("*.py")):
        title, _, rest = (ast.get_docstring(ast.parse(path.read_text())) or path.name).partition("\n")
        block = f'??? example "examples/{path.name}"\n\n    ```python\n    --8<-- "examples/{path.name}"\n    ```'
        parts += [f"## {title.rstrip('.')}", rest.strip(), block]
    return "\n\n".join(part for part in parts if part) + "\n"


MADE = {"command_line.md": command_line.sections, "examples.md": examples}
"""What makes the rest of a page."""


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Fill the pages that are made from code, and show each task's picture below its headline.

    Links to files of the repository, for readers of the source, are text on the site.
    """
    markdown = OUTSIDE.sub(r"\1", markdown)
    if page.file.src_uri in MADE:
        return f"{markdown}\n{MADE[page.file.src_uri]()}"
    if page.file.src_uri != "tasks.md":
        return markdown

    def with_picture(headline: re.Match[str]) -> str:
        picture = f"pictures/{headline[1].lower()}.png"
        return f"{headline[0]}\n\n![{headline[1]}]({picture}){{ width=400 }}"

    return TASK.sub(with_picture, markdown)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:
    """Write equations as MathML, which browsers draw by themselves."""

    def equation(match: re.Match[str]) -> str:
        return convert(html.unescape(match[2]).strip(), display="block" if match[1] == "div" else "inline")

    content = EQUATION.sub(equation, content)
    if LEFT.search(CODE.sub("", content)):
        raise PluginError(f"an equation of {page.file.src_uri} is written in a way that was not understood.")
    return content
