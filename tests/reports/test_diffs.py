"""What the difference of a file shows: all that differs, and nothing that is secret."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.modules.base import FileDiff
from runner.modules.files.change import difference
from runner.modules.files.state import FileState, with_content
from runner.reports.diffs import changed_keys, diff_text
from runner.reports.highlight import CHANGED, highlighted
from runner.secrets.redact import KNOWN


def shown(before: str | None, after: str | None, path: str = "/etc/x") -> list[str]:
    return diff_text(FileDiff(path, before, after)).split("\n")


def of_bytes(before: bytes, after: bytes) -> str:
    state = FileState("/etc/x", "file", mode=0o644)
    return diff_text(difference(with_content(state, before), with_content(state, after)))


def test_mode_owner_and_content_are_one_block() -> None:
    attributes = (("mode", "0644", "4750"), ("owner", "root", "ops"))
    assert diff_text(FileDiff("/etc/x", "a\nb\n", "a\nc\n", attributes)).splitlines() == [
        "mode: 0644 (rw-r--r--) -> 4750 (rwsr-x---)",
        "owner: root -> ops",
        "--- /etc/x (before)",
        "+++ /etc/x (after)",
        "@@ -1,2 +1,2 @@",
        " a",
        "-b",
        "+c",
    ]


# ---- what cannot be seen ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "removed", "added"),
    [
        ("a \n", "a\n", "-a·", "+a"),
        ("a\t \n", "a\n", "-a→·", "+a"),
        ("a: b\n", "a:\tb\n", "-a:·b", "+a:→b"),
        ("\tb c\n", "    b c\n", "-→b·c", "+····b·c"),
        ("a\r\n", "a\n", "-a␍", "+a"),
        ("a", "a\n", "-\\ no newline at end of file", ""),
        ("a\u00a0b\n", "a b\n", "-a\\u00a0b", "+a·b"),
        ("a b c\n", "a  b d\n", "-a b c", "+a  b d"),
    ],
)
def test_invisible_differences_are_made_visible(
    before: str, after: str, removed: str, added: str
) -> None:
    lines = shown(before, after)
    assert removed in lines
    assert not added or added in lines


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (b"a\nb\n", b"a\r\nb\r\n", "line ends: LF -> CRLF"),
        (b"a\r\nb\n", b"a\nb\n", "line ends: LF and CRLF -> LF"),
        (b"\xef\xbb\xbfa\n", b"a\n", "byte order mark: yes -> none"),
        (b"f\xfcr\n", "f\u00fcr\n".encode(), "encoding: not UTF-8 -> UTF-8"),
    ],
)
def test_what_holds_for_a_whole_file_is_said(before: bytes, after: bytes, note: str) -> None:
    assert note in of_bytes(before, after).splitlines()


def test_text_of_another_encoding_is_compared_line_by_line() -> None:
    lines = of_bytes(b"Z\xfcrich\nother\n", "Z\u00fcrich\nother\n".encode()).splitlines()
    assert "-Z\\xfcrich" in lines and "+Z\u00fcrich" in lines and " other" in lines


BYTES = st.lists(st.sampled_from([b"a", b" ", b"\t", b"\r", b"\n", b"\xe4", b"\xef\xbb\xbf"]))


@given(BYTES, BYTES)
def test_files_that_differ_never_look_the_same(before: list[bytes], after: list[bytes]) -> None:
    old, new = b"".join(before), b"".join(after)
    if old == new:
        return
    lines = of_bytes(old, new).split("\n")
    hunks = lines[next(n for n, line in enumerate(lines) if line.startswith("@@")) :]
    removed = [line[1:] for line in hunks if line.startswith("-")]
    added = [line[1:] for line in hunks if line.startswith("+")]
    assert removed != added


def test_a_binary_file_is_its_size_its_digest_and_where_it_begins_to_differ() -> None:
    text = of_bytes(b"\x00\x01\x02", b"\x00\x01\x03\x04")
    assert "(binary; the first difference is at byte 3)" in text
    assert "-(3 bytes, sha256 ae4b3280e56e2faf83f414a6e3dabe9d" in text
    assert "+(4 bytes" in text


def test_a_large_file_is_its_size_and_its_digest() -> None:
    text = of_bytes(b"x" * (1024 * 1024 + 1), b"small\n")
    assert "(more than 1024 KiB: compared by SHA-256)" in text
    assert "-(1048577 bytes, sha256 " in text and len(text) < 1000


# ---- secrets ---------------------------------------------------------------------------------


def test_sensitive_content_is_not_shown() -> None:
    diff = FileDiff("/x.json", '{"a": "hunter2"}', '{"a": "hunter3"}', sensitive=True)
    assert "hunter" not in diff_text(diff)
    assert changed_keys(diff) == []


def test_keys_hide_secrets_inside_their_value() -> None:
    KNOWN.add("hunter2-token", "token")
    (key,) = changed_keys(FileDiff("/x.yaml", "a: Bearer old-token", "a: Bearer hunter2-token"))
    assert key["after"] == '"Bearer «secret:token»"'
    assert "old-token" not in key["before"]


# ---- keys ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "before", "after", "keys"),
    [
        (
            "/etc/x.toml",
            "[plugins]\n",
            '[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia]\na = 1\n',
            ['+ plugins."io.containerd.grpc.v1.cri".containerd.runtimes.nvidia'],
        ),
        ("/etc/x.json", '{"a": {"b": 1}}', '{"a": {"b": true}}', ["a.b 1 -> true"]),
        ("/etc/x.yaml", "a: [1]\nb: x\n", "a: [1, 2]\n", ["a [1] -> [1, 2]", "- b"]),
        ("/etc/x.yml", "a: 1\n", "a: 1\nb: null\n", ["+ b = null"]),
        ("/etc/x.conf", "a: 1\n", "a: 2\n", []),
        ("/etc/x.json", "{broken", '{"a": 1}', []),
        ("/etc/x.yaml", "- a\n", "- b\n", []),
        ("/etc/x.json", None, '{"a": 1}', []),
    ],
)
def test_documents_are_compared_by_key(
    path: str, before: str | None, after: str, keys: list[str]
) -> None:
    from runner.modules.files.summary import KeyChange

    found = changed_keys(FileDiff(path, before, after))
    assert [str(KeyChange(**key)) for key in found] == keys  # type: ignore[arg-type]


def test_an_edit_that_changes_no_value_is_said_to_be_one() -> None:
    note = "(keys and values are the same: comments, order or layout differ)"
    assert note in shown("a = 1 # one\n", "a = 1\n", "/etc/x.toml")
    assert note not in shown("a = 1 # one\n", "a = 2\n", "/etc/x.toml")
    KNOWN.add("hunter2-token", "token")
    assert note not in shown('a = "old"\n# x\n', 'a = "hunter2-token"\n', "/etc/x.toml")


def test_aliases_that_make_much_of_little_are_not_followed() -> None:
    bomb = "a0: &a0 [x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
    )
    assert changed_keys(FileDiff("/etc/x.yaml", bomb, "a0: 1\n")) == []


# ---- words -----------------------------------------------------------------------------------


def marked(before: str, after: str) -> list[str]:
    """The words that stand out, with the sign of their line."""
    return [
        text.plain[0] + text.plain[span.start : span.end]
        for text in highlighted(shown(before, after))
        for span in text.spans
        if span.style == CHANGED
    ]


def test_words_that_differ_stand_out() -> None:
    assert marked("port = 8080 # web\n", "port = 9090 # web\n") == ["-8080", "+9090"]
    assert marked("a b\n", "a c b\n") == ["+c "]


def test_lines_are_compared_with_the_ones_in_whose_place_they_came() -> None:
    before, after = "alpha = 1\nbeta = 2\n", "new line here\nalpha = 3\nbeta = 2\n"
    assert marked(before, after) == ["-1", "+3"]


def test_lines_that_have_nothing_in_common_are_not_compared() -> None:
    assert marked("alpha\n", "0123456789\n") == []


def test_colours_change_no_character() -> None:
    lines = shown("a b\n--- x\n", "a c\n+++ x\n")
    assert [text.plain for text in highlighted(lines)] == lines
