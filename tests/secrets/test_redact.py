"""No form of a secret is left in a text, whatever stands around it."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
import textwrap
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from runner.secrets.redact import Redactor, mark

TOKEN = 's3cr3t/tök\'en+"x"&y'


def redactor(*secrets: str, name: str = "t") -> Redactor:
    made = Redactor()
    for secret in secrets:
        made.add(secret, name)
    return made


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda s: json.dumps({"k": s}),
    "JSON in Unicode": lambda s: json.dumps([s], ensure_ascii=False),
    "URL": lambda s: f"https://h/?t={quote(s)}&x",
    "URL, all quoted": lambda s: quote(s, safe=""),
    "form": lambda s: f"t={quote_plus(s)}",
    "URL in small letters": lambda s: re.sub("%..", lambda m: m[0].lower(), quote_plus(s)),
    "one word of a shell": shlex.quote,
    "quoted for a shell by hand": lambda s: "'" + s.replace("'", "'\\''") + "'",
    "HTML": lambda s: f"<b>{html.escape(s)}</b>",
    "Python": repr,
    "Python, told by Python": lambda s: repr(RuntimeError(repr(s) + repr(s))),
    "JSON in JSON": lambda s: json.dumps(json.dumps({"k": json.dumps(s)})),
    "base64": b64,
    "base64 with a line end": lambda s: b64(s + "\n"),
    "base64 after one byte": lambda s: b64("u" + s),
    "base64 after two bytes": lambda s: b64("u:" + s + "more"),
    "base64 for URLs": lambda s: base64.urlsafe_b64encode(s.encode()).decode(),
    "base64 in lines": lambda s: base64.encodebytes(b"x" * 60 + s.encode() + b"y" * 60).decode(),
    "folded": lambda s: "\n".join(textwrap.wrap(f"before {s} after", 9)),
    "folded in a diff": lambda s: "+ab" + s[:7] + "\n+" + s[7:],
    "folded and indented": lambda s: s[:5] + "\r\n      " + s[5:],
    "folded by a shell": lambda s: s[:5] + "\\\n" + s[5:],
    "folded inside Python's text": lambda s: (
        repr("x" + s[:6] + "\n" + s[6:]).replace("\\'", "'").strip("'\"")
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_taken_out(form: str) -> None:
    secret = "swordfish-4711" if "folded" in form else TOKEN
    shown = redactor(secret)(f"before {FORMS[form](secret)} after")
    assert mark("t") in shown
    assert left(secret, shown) == []


def left(secret: str, text: str) -> list[str]:
    """The forms of a secret in a text, in the text without line breaks too."""
    pieces = [secret, json.dumps(secret)[1:-1], quote(secret), quote_plus(secret)]
    # Of base64 what does not depend on the neighbours, without a digit at the end.
    for before in range(3):
        coded = base64.b64encode(b"\0" * before + secret.encode()).decode().rstrip("=")
        pieces.append(coded[4 if before else 0 : -1])
    unfolded = re.sub(r"\s*\r?\n[-+]?\s*", "", text)
    return [piece for piece in pieces if piece in text or piece in unfolded]


_PLAIN = st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Zl", "Zp"))
SECRETS = st.text(_PLAIN, min_size=8, max_size=40).filter(lambda s: len(s.strip()) >= 8)
AROUND = st.text(max_size=40)


@given(SECRETS, AROUND, AROUND, st.sampled_from(sorted(set(FORMS) - {"folded"})))
@example("00000000", "0", "0", "plain")
@settings(max_examples=200, deadline=None)
def test_nothing_of_a_secret_is_left(secret: str, before: str, after: str, form: str) -> None:
    assume("secret:" not in secret)
    shown = redactor(secret)(f"{before}{FORMS[form](secret)}{after}")
    assert left(secret, shown) == []
    assert redactor(secret)(shown) == shown


@given(st.lists(SECRETS, min_size=1, max_size=5), st.text(max_size=200))
def test_text_without_a_secret_is_left_alone(secrets: list[str], text: str) -> None:
    redact = redactor(*secrets)
    if not redact.found_in(text):
        assert redact(text) == text


def test_the_mark_names_the_secret_and_stays_when_redacted_again() -> None:
    redact = redactor("secret", name="of all names")
    assert redact("the secret") == "the «secret:of all names»"
    assert redact(redact("the secret")) == "the «secret:of all names»"


def test_the_longest_of_several_is_taken() -> None:
    redact = Redactor()
    redact.add("swordfish", "short")
    redact.add("swordfish-2", "long")
    assert redact("a swordfish-2 b swordfish") == "a «secret:long» b «secret:short»"


def test_each_line_of_a_secret_is_one_but_not_the_armour_of_a_key() -> None:
    key = "-----BEGIN KEY-----\nbGluZSBvbmU\nbGluZSB0d28\n-----END KEY-----"
    shown = redactor(key)("a bGluZSB0d28 b -----BEGIN KEY----- c bGluZSBvbmU")
    assert shown == "a «secret:t» b -----BEGIN KEY----- c «secret:t»"


def test_a_short_secret_is_named_and_not_replaced() -> None:
    redact = redactor("abc", name="pin")
    assert redact("abc") == "abc"
    assert redact.short == {"pin"}


def test_data_is_redacted_at_any_depth_with_keys_numbers_and_objects() -> None:
    class Thing:
        def __str__(self) -> str:
            return "holds 12345678"

    redact = redactor("12345678")
    found = redact.data({"12345678": [("x12345678",), 12345678, 5, None, True, Thing()]})
    assert found == {mark("t"): [["x" + mark("t")], mark("t"), 5, None, True, "holds " + mark("t")]}


def test_an_everyday_word_is_taken_out_but_not_looked_for() -> None:
    redact = Redactor()
    redact.add("ubuntu", "sudo password", everyday=True)
    assert redact("runuser -u ubuntu") == "runuser -u «secret:sudo password»"
    assert redact.found_in("runuser -u ubuntu") == ""


def test_many_secrets_in_a_large_text() -> None:
    redact = Redactor()
    for number in range(300):
        redact.add(f"token-{number * 7919:08d}-{number}", f"t{number}")
    text = "".join(f"line {n} of what a host printed, token-{n}\n" for n in range(20_000))
    assert redact(text + "token-00007919-1") == text + mark("t1")
