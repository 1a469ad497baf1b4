"""Normalising: once is enough, and case and spacing make no other value."""

import itertools

import phonenumbers
from hypothesis import assume, example, given
from hypothesis import strategies as st

from mergeline.domain.values import normalise

LOCAL_PARTS = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12),
    st.from_regex(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,20}", fullmatch=True),
)
DOMAINS = st.one_of(
    st.sampled_from(["example.com", "EXAMPLE.com", "bücher.example", "xn--bcher-kva.example", "straße.example"]),
    st.builds(
        "{}.example".format, st.text(st.characters(codec="utf-8", categories=["L", "Nd"]), min_size=1, max_size=8)
    ),
)
EMAILS = st.builds("{}@{}".format, LOCAL_PARTS, DOMAINS)
REGIONS = st.sampled_from(sorted(phonenumbers.SUPPORTED_REGIONS))


@given(EMAILS)
@example("\u0130@example.com")
@example("\u212a\u0301@example.com")
@example("\u03a3@example.com")
def test_an_email_is_normalised_once_and_for_all(email: str) -> None:
    stored = normalise("email", email, None)
    assume(stored is not None)
    assert normalise("email", stored, None) == stored
    assert stored == stored.lower()
    assert len(stored) <= 255


@given(EMAILS)
def test_the_case_of_an_ascii_email_does_not_matter(email: str) -> None:
    assume(email.isascii())
    assert normalise("email", email.upper(), None) == normalise("email", email.lower(), None)


@given(REGIONS, st.sampled_from([" ", "-", "."]))
def test_a_mobile_is_one_value_however_it_is_written(region: str, separator: str) -> None:
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assume(number is not None)
    digits = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")
    spaced = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL).replace(" ", separator)
    national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
    assert normalise("mobile", f"+{digits}", None) == digits
    assert normalise("mobile", digits, None) == digits
    assert normalise("mobile", spaced, region) == digits
    assert normalise("mobile", national, region) == digits


def by_library(value: str, region: str | None) -> str | None:
    for text, read_in in [(value, region)] * (region is not None) + [(f"+{value}", None)]:
        try:
            number = phonenumbers.parse(text, read_in)
        except phonenumbers.NumberParseException:
            continue
        if number.extension is None and phonenumbers.is_valid_number(number):
            return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164).removeprefix("+")
    return None


NUMBERS = st.sampled_from(["+44 7911 123456", "7911123456", "13800138000", "1 650 253 0000", "5511987654321", "", "12"])
SPACING = st.text(st.sampled_from(" \u00a0\u3000-.,;/~()+xX#1"), max_size=12)


@given(
    st.lists(st.tuples(SPACING, NUMBERS, SPACING), min_size=1, max_size=2), st.sampled_from([None, "GB", "US", "CN"])
)
@example([("", "+44  7911 \u00a0123456", "  ext.  7")], None)
@example([("", "7911123456", ",,7")], "GB")
def test_runs_of_spaces_say_nothing(parts: list[tuple[str, str, str]], region: str | None) -> None:
    value = "".join(itertools.chain.from_iterable(parts)).strip()
    assert normalise("mobile", value, region) == by_library(value, region)


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=30), st.one_of(st.none(), REGIONS))
def test_any_text_is_a_mobile_number_or_none(text: str, region: str | None) -> None:
    stored = normalise("mobile", text, region)
    assert stored is None or (stored.isdigit() and stored.isascii() and len(stored) <= 17)


@st.composite
def digits(draw: st.DrawFn) -> tuple[str, str]:
    """Digits near those of a real number of a region, behind every prefix that is dialled."""
    region = draw(REGIONS)
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    kinds = (metadata.mobile, metadata.fixed_line, metadata.toll_free, metadata.general_desc)
    examples = [kind.example_number for kind in kinds if kind is not None and kind.example_number] or ["1234567"]
    number = draw(st.one_of(st.sampled_from(examples), st.from_regex("[0-9]{1,18}", fullmatch=True)))
    at = draw(st.integers(0, len(number)))
    changed = number[:at] + draw(st.sampled_from(["", "", "", "5", "01"])) + number[at + draw(st.integers(0, 1)) :]
    prefixes = ["", "", str(metadata.country_code), str(metadata.country_code) * 2, "0", "00", "011", "1", "7"]
    return region, draw(st.sampled_from([*prefixes, metadata.national_prefix or "0"])) + changed


@given(digits())
@example(("TJ", "81093701234567"))
@example(("CU", "119375294911911"))
@example(("RU", "89012345678"))
@example(("VI", "7123456"))
@example(("IT", "3912345678"))
@example(("SM", "0549886377"))
def test_plain_digits_are_read_as_the_library_reads_them(number: tuple[str, str]) -> None:
    region, value = number
    assert normalise("mobile", value, region) == by_library(value, region)
