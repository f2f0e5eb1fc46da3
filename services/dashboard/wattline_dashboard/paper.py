"""Templates of what is printed: every text in them is escaped, and what steers or hides in it is seen."""

from __future__ import annotations

import jinja2

from wattline_dashboard.formats import visible

__all__ = ["template"]


def _seen(value: object) -> object:
    is_text = isinstance(value, str) and not hasattr(value, "__html__")  # else it is markup of ours
    return visible(str(value)) if is_text else value


_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("wattline_dashboard", "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    finalize=_seen,
)


def template(name: str) -> jinja2.Template:
    """Return a template of this package."""
    return _templates.get_template(name)
