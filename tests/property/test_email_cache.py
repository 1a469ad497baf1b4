"""Addresses by the remembered domain come out as the library alone would have them."""

from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given
from hypothesis import strategies as st

from mergeline.domain.values import normalise

LOCALS = st.one_of(
    st.from_regex(r"[A-Za-z0-9._+@\"-]{0,70}", fullmatch=True),
    st.text(max_size=12),
    st.sampled_from(["a", "A.b", "x" * 64]),
)
DOMAINS = st.one_of(
    st.sampled_from(
        [
            "example.com",
            "EXAMPLE.com",
            "bücher.de",
            "xn--bcher-kva.de",
            "a.b",
            "localhost",
            "[127.0.0.1]",
            "ex_ample.com",
        ]
    ),
    st.from_regex(r"[A-Za-z0-9.-]{0,40}", fullmatch=True),
    st.from_regex(r"[a-z]{60}(\.[a-z]{60}){2}\.[a-z]{1,20}", fullmatch=True),
    st.text(max_size=10),
)


def by_library(value):
    try:
        return validate_email(value, check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


@given(LOCALS, DOMAINS)
@example("a", "b@c.de")
@example("a", "")
@example("x" * 32 + "." + "y" * 15, "z" * 60 + ".com")
@example("ß", "example.com")
def test_an_address_is_what_the_library_says(local, domain):
    value = f"{local}@{domain}".strip()
    assert normalise("email", value, None) == by_library(value)
