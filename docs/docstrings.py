"""Read the reStructuredText in docstrings, equations and roles of names, as the Markdown that the site is made from."""

import re
from typing import Any

from griffe import Extension, Object

BLOCK = re.compile(r"^\.\. math::(.*(?:\n[ \t]+\S.*)*)$", flags=re.MULTILINE)
EQUATION = re.compile(r":math:`([^`]+)`")
NAME = re.compile(r":\w+:(?=`)")


def markdown(text: str) -> str:
    """Return a docstring's text with its equations between the delimiters of LaTeX, and names as code."""
    text = BLOCK.sub(lambda match: f"\n\\[\n{match[1].strip()}\n\\]\n", text)
    return NAME.sub("", EQUATION.sub(r"\\(\1\\)", text))


class Docstrings(Extension):
    """Rewrites the docstrings that the pages of the reference show."""

    def on_object(self, *, obj: Object, **kwargs: Any) -> None:
        """Rewrite one docstring."""
        if obj.docstring is not None:
            obj.docstring.value = markdown(obj.docstring.value)
