"""Chat templates: the Jinja text that turns a conversation into what a model was trained on, read and rendered.

Rendered in a sandbox, with the settings and helpers that transformers gives its templates.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from kb.checkpoints.files import json_or_empty


def read(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """The template of a folder, from a file of its own or from ``settings``; None where there is none."""
    jinja = folder / "chat_template.jinja"
    if jinja.exists():
        return jinja.read_text(encoding="utf-8")
    template = settings.get("chat_template") or json_or_empty(folder / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several, by name
        named = {entry["name"]: entry["template"] for entry in template}
        template = named.get("default")
    return template


def render(template: str, variables: Mapping[str, Any]) -> str:
    """Fill in a template.

    Raises:
        ValueError: it refuses the variables, or is broken.
    """
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """``{% generation %}`` marks what the assistant wrote, for training; it changes no text."""

        tags = {"generation"}  # noqa: RUF012 (as Jinja declares it)

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> NoReturn:
        raise jinja2.TemplateError(message)

    def tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
        # Jinja's own filter escapes HTML characters.
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, Generation]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().strftime(pattern)
    try:
        return environment.from_string(template).render(**variables)
    except jinja2.TemplateError as error:
        raise ValueError(f"the chat template refused the conversation: {error}") from error
    except Exception as error:  # a template may divide by zero as well as refuse
        raise ValueError(f"the chat template refused the conversation: {type(error).__name__}: {error}") from error
