"""Normalised values: what an identifier is compared by and stored as (SPEC section 2).

In: a type and a trimmed value, and the org's default region. Out: the stored form, or None where the value is no
such thing. Never: a look-up outside the process (no DNS, no carrier).
"""

from functools import lru_cache
from typing import Final

import phonenumbers
from email_validator import EmailNotValidError, validate_email

CACHE_MAX: Final = 65_536
"""Values whose normalised form a process remembers."""


@lru_cache(CACHE_MAX)
def normalise(identifier_type: str, value: str, default_region: str | None) -> str | None:
    """The stored form of a trimmed value: e-mail lower-cased, mobile in E.164 digits without `+`, others as is.

    Args:
        identifier_type: one of SPEC section 1.
        value: trimmed.
        default_region: ISO 3166 code that national mobile numbers are read in, or None.
    """
    if identifier_type == "email":
        return _email(value)
    if identifier_type == "mobile":
        return _mobile(value, default_region)
    return value


def is_region(code: str) -> bool:
    """Whether libphonenumber knows the region."""
    return code in phonenumbers.SUPPORTED_REGIONS


def _email(value: str) -> str | None:
    try:
        return validate_email(value, check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


def _mobile(value: str, default_region: str | None) -> str | None:
    readings = ((value, default_region), (f"+{value}", None)) if default_region else ((f"+{value}", None),)
    for text, region in readings:
        try:
            number = phonenumbers.parse(text, region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")
    return None
