"""Normalised values: what an identifier is compared by and stored as (SPEC section 2).

In: a type and a trimmed value, and the org's default region. Out: the stored form, or None where the value is no
such thing. Never: a look-up outside the process (no DNS, no carrier).
"""

import re
from functools import lru_cache
from typing import Any, Final, NamedTuple

import phonenumbers
from email_validator import EmailNotValidError, validate_email

CACHE_MAX: Final = 65_536
"""Values whose normalised form a process remembers."""


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


_PLAIN_LOCAL: Final = re.compile(r"[A-Za-z0-9_-]{1,32}(?:\.[A-Za-z0-9_-]{1,15}){0,2}", re.ASCII)
"""Local parts that need no library: letters, digits, `_`, `-`, and single dots between them, below 64 characters."""
ADDRESS_MAX: Final = 254
"""Characters of an address that is certainly not too long."""


@lru_cache(CACHE_MAX)
def _email(value: str) -> str | None:
    local, at, domain = value.partition("@")
    if at and _PLAIN_LOCAL.fullmatch(local):
        # Many addresses, few domains: what the library says of a domain does not depend on such a local part.
        known = _domain(domain)
        if known is None or len(local) + 1 + len(known) <= ADDRESS_MAX:
            return known and f"{local.lower()}@{known}"
    return _by_library(value)


@lru_cache(CACHE_MAX)
def _domain(domain: str) -> str | None:
    """The normalised domain, lower-cased; None where no address can have it."""
    address = _by_library(f"a@{domain}")
    return address.removeprefix("a@") if address is not None else None


def _by_library(value: str) -> str | None:
    try:
        return validate_email(value, check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


_SPACES: Final = re.compile("[ \u00a0]{2,}")
"""libphonenumber reads many spaces like one, but its patterns take cubic time for a long run of them."""


@lru_cache(CACHE_MAX)
def _mobile(value: str, default_region: str | None) -> str | None:
    value = _SPACES.sub(" ", value)
    readings = ((value, default_region), (f"+{value}", None)) if default_region else ((f"+{value}", None),)
    for text, region in readings:
        number = _plain_number(text, region) if region else None
        if number is None:
            try:
                number = phonenumbers.parse(text, region)
            except phonenumbers.NumberParseException:
                continue
        # An extension is another person behind the same switchboard, and E.164 has no place for it.
        if number.extension is None and phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")
    return None


_NOTHING: Final = "(?!)"
NATIONAL_DIGITS: Final = range(3, 18)
"""Digits of a national number, the country code apart, that libphonenumber reads without a second thought."""


class _Region(NamedTuple):
    """What decides how plain digits are read, from libphonenumber's own metadata."""

    country_code: int
    country_digits: str
    international: re.Pattern[str]
    national: re.Pattern[str]
    longest: int


@lru_cache(len(phonenumbers.SUPPORTED_REGIONS))
def _region(code: str) -> _Region:
    metadata: Any = phonenumbers.PhoneMetadata.metadata_for_region(code)
    lengths = metadata.general_desc
    return _Region(
        country_code=metadata.country_code,
        country_digits=str(metadata.country_code),
        international=re.compile(metadata.international_prefix or _NOTHING),
        national=re.compile(metadata.national_prefix_for_parsing or _NOTHING),
        longest=max(*lengths.possible_length, *lengths.possible_length_local_only, 0),
    )


def _plain_number(value: str, region_code: str) -> phonenumbers.PhoneNumber | None:
    """What `phonenumbers.parse` reads, where that is plain: a third of its work; None where it must say itself.

    Plain are ASCII digits without a prefix of any kind, with the region's country code only where they are too many
    for a national number, since only then it is no part of one.
    """
    region = _region(region_code)
    if not (value.isascii() and value.isdigit()) or region.international.match(value):
        return None
    national = value
    if value.startswith(region.country_digits):
        if len(value) <= region.longest:
            return None
        national = value[len(region.country_digits) :]
    if len(national) not in NATIONAL_DIGITS or national[0] == "0" or region.national.match(national):
        return None
    return phonenumbers.PhoneNumber(country_code=region.country_code, national_number=int(national))
