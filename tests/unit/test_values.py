"""Normalised values: e-mail addresses, mobile numbers, everything else (SPEC section 2)."""

import pytest

from mergeline.domain.requests import IdentifierType
from mergeline.domain.values import is_region, normalise

TYPES = IdentifierType.__args__


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        pytest.param("jane@example.com", "jane@example.com", id="as it is"),
        pytest.param("Jane.DOE@Example.COM", "jane.doe@example.com", id="lower-cased, local part too"),
        pytest.param("jane+shop@example.com", "jane+shop@example.com", id="a tag stays"),
        pytest.param("j.a.n.e@gmail.com", "j.a.n.e@gmail.com", id="dots stay"),
        pytest.param("JÜRGEN@example.com", "jürgen@example.com", id="letters beyond ASCII"),
        pytest.param("u\u0308@example.com", "ü@example.com", id="composed (NFC)"),
        pytest.param("jane@BÜCHER.example", "jane@bücher.example", id="international domain"),
        pytest.param("jane@xn--bcher-kva.example", "jane@bücher.example", id="the same domain in Punycode"),
        pytest.param("\u212aim@example.com", "kim@example.com", id="Kelvin sign is a K"),
        pytest.param("x" * 64 + "@example.com", "x" * 64 + "@example.com", id="64 characters before the @"),
        pytest.param("jane", None, id="no @"),
        pytest.param("jane@", None, id="no domain"),
        pytest.param("@example.com", None, id="no local part"),
        pytest.param("jane@example", None, id="no dot in the domain"),
        pytest.param("jane@@example.com", None, id="two @"),
        pytest.param("jane doe@example.com", None, id="a space"),
        pytest.param("jane..doe@example.com", None, id="two dots"),
        pytest.param(".jane@example.com", None, id="a leading dot"),
        pytest.param("jane@example..com", None, id="two dots in the domain"),
        pytest.param("jane@-example.com", None, id="a leading hyphen"),
        pytest.param("Jane <jane@example.com>", None, id="a display name"),
        pytest.param("jane@[127.0.0.1]", None, id="an address literal"),
        pytest.param("jane@" + "x." * 125 + "example", None, id="over 254 characters"),
        pytest.param("jane@localhost", None, id="a special-use domain"),
    ],
)
def test_email(value: str, stored: str | None) -> None:
    assert normalise("email", value, None) == stored


@pytest.mark.parametrize(
    ("value", "region", "stored"),
    [
        pytest.param("+8613800138000", None, "8613800138000", id="E.164"),
        pytest.param("8613800138000", None, "8613800138000", id="without plus: read with one"),
        pytest.param("+86 138-0013-8000", None, "8613800138000", id="separators go"),
        pytest.param("(+86) 138 0013 8000", "CN", "8613800138000", id="brackets go"),
        pytest.param("13800138000", None, None, id="national without a region is no number"),
        pytest.param("13800138000", "CN", "8613800138000", id="national with the region"),
        pytest.param("8613800138000", "CN", "8613800138000", id="its country code without plus"),
        pytest.param("07911 123456", "GB", "447911123456", id="a trunk zero goes"),
        pytest.param("447911123456", "GB", "447911123456", id="country code without plus, another region"),
        pytest.param("+16502530000", "CN", "16502530000", id="a plus beats the region"),
        pytest.param("16502530000", "CN", "8616502530000", id="the region comes first"),
        pytest.param("16502530000", "GB", "16502530000", id="then with a plus in front"),
        pytest.param(
            "\u0668\u0666\u0661\u0663\u0668\u0660\u0660\u0661\u0663\u0668\u0660\u0660\u0660",
            None,
            "8613800138000",
            id="digits of another script",
        ),
        pytest.param("+12125550123 ext. 5", None, None, id="an extension is somebody else"),
        pytest.param("13800138000;ext=12", "CN", None, id="an extension in a parameter"),
        pytest.param("13800138000#5", "CN", None, id="an extension behind a hash"),
        pytest.param("+86", None, None, id="too short"),
        pytest.param("+999123456789", None, None, id="no such country code"),
        pytest.param("hello", "CN", None, id="no number"),
        pytest.param("+12001230101", None, None, id="possible, but not valid"),
        pytest.param("1" * 255, "CN", None, id="255 digits"),
    ],
)
def test_mobile(value: str, region: str | None, stored: str | None) -> None:
    assert normalise("mobile", value, region) == stored


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind not in ("email", "mobile")])
def test_other_types_are_kept_as_they_are(kind: str) -> None:
    composed = ("e\u0301", "\u00e9", "\u212b", "\uff21")  # which Unicode's normal forms would change
    for value in ("TS11", "ts11", "+86 138", "Jane@Example.com", "Ünï ©ode", "0", "a  b", "a\u00a0b", *composed):
        assert normalise(kind, value, "CN") == value


@pytest.mark.parametrize(("code", "known"), [("CN", True), ("US", True), ("cn", False), ("ZZ", False), ("", False)])
def test_regions(code: str, known: bool) -> None:
    assert is_region(code) is known
