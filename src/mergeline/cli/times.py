"""A moment on the command line.

In: RFC 3339 with an offset, or how long ago. Out: a time in UTC. Never: a time of day without an offset, which would be
another one on another machine.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click
from pydantic_core import PydanticCustomError

from mergeline.domain.requests import instant

_AGO: Final = re.compile(r"(\d{1,6})([smhd])", re.ASCII)
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class MomentType(click.ParamType):
    """`2026-11-21T10:00:00Z`, or `90m`: so long ago (s, m, h or d)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """The moment, or a usage error."""
        if isinstance(value, datetime):
            return value
        ago = _AGO.fullmatch(value)
        try:
            return instant(value) if ago is None else datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        except (PydanticCustomError, OverflowError):
            self.fail("not a time like 2026-11-21T10:00:00Z, or 90m, 12h, 2d for so long ago", param, ctx)


moment_type = MomentType()
