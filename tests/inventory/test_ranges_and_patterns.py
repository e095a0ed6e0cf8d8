"""Ranges in host names, words of lines, and patterns that choose hosts."""

import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.errors import InputError
from runner.inventory.patterns import Names, matching
from runner.inventory.ranges import expand, split_port
from runner.inventory.words import split_words

HOSTS = ["a1", "a2", "a3", "h1", "h2", "t1"]
GROUPS = {
    "all": tuple(HOSTS),
    "gpu": ("a1", "a2", "a3", "h1", "h2"),
    "a100": ("a1", "a2", "a3"),
    "h100": ("h1", "h2"),
    "t4": ("t1",),
    "empty": (),
}
VARIABLES: dict[str, dict[str, object]] = {
    "a1": {"rack": "r1", "kubernetes_labels": {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}},
    "a2": {"rack": "r2", "spare": True, "slot": 4, "list": [1]},
    "h1": {"rack": "r2", "kubernetes_labels": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}},
}
NAMES = Names(HOSTS, GROUPS, VARIABLES)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("gpu1", ["gpu1"]),
        ("gpu[1:3]", ["gpu1", "gpu2", "gpu3"]),
        ("gpu[01:07:3].x", ["gpu01.x", "gpu04.x", "gpu07.x"]),
        ("gpu[8:11]", ["gpu8", "gpu9", "gpu10", "gpu11"]),
        ("rack[a:c]", ["racka", "rackb", "rackc"]),
        ("[a:b][1:2]", ["a1", "a2", "b1", "b2"]),
        ("x[:2]", ["x0", "x1", "x2"]),
    ],
)
def test_ranges(pattern: str, names: list[str]) -> None:
    assert list(expand(pattern)) == names


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("x[3:1]", "runs backwards"),
        ("x[c:a]", "runs backwards"),
        ("x[1:]", "has no end"),
        ("x[01:100]", "need 2 digits"),
        ("x[a:5]", "from a letter to a number"),
        ("x[1:5:0]", "step must be a number"),
        ("x[aa:bb]", "neither of numbers nor of single letters"),
        ("x[0:99999999]", "more than 100000 hosts"),
    ],
)
def test_wrong_ranges(pattern: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        list(expand(pattern))


@pytest.mark.parametrize(
    ("text", "name", "port"),
    [
        ("gpu1", "gpu1", None),
        ("gpu1:2222", "gpu1", 2222),
        ("gpu[1:3]:2222", "gpu[1:3]", 2222),
        ("gpu[1:3]", "gpu[1:3]", None),
        ("[2001:db8::1]:22", "2001:db8::1", 22),
        ("2001:db8::1", "2001:db8::1", None),
    ],
)
def test_ports(text: str, name: str, port: int | None) -> None:
    assert split_port(text) == (name, port)


@given(
    start=st.integers(0, 300), length=st.integers(0, 200), step=st.integers(1, 9), pad=st.booleans()
)
@settings(deadline=None)
def test_ranges_are_counted_like_pythons(start: int, length: int, step: int, pad: bool) -> None:
    end = start + length
    width = len(str(end)) + 1 if pad else 0
    shown = [str(number).zfill(width) for number in (start, end)]
    found = list(expand(f"n[{shown[0]}:{shown[1]}:{step}].x"))
    assert found == [f"n{str(n).zfill(width)}.x" for n in range(start, end + 1, step)]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("all", HOSTS),
        ("*", HOSTS),
        ("a1", ["a1"]),
        ("a100:h100", ["a1", "a2", "a3", "h1", "h2"]),
        ("h1,a1", ["h1", "a1"]),
        ("gpu:&h100", ["h1", "h2"]),
        ("gpu:!a100", ["h1", "h2"]),
        ("gpu:!a2:&a100", ["a1", "a3"]),
        ("!a100", ["h1", "h2", "t1"]),
        ("a*", ["a1", "a2", "a3"]),
        ("?1", ["a1", "h1", "t1"]),
        ("~^(a|t)1$", ["a1", "t1"]),
        ("gpu[0]", ["a1"]),
        ("gpu[-1]", ["h2"]),
        ("gpu[1:3]", ["a2", "a3", "h1"]),
        ("gpu[3:]", ["h1", "h2"]),
        ("all:!gpu[0:3]", ["h2", "t1"]),
        ("gpu:!empty", ["a1", "a2", "a3", "h1", "h2"]),
        ("~(?:a|h)1$", ["a1", "h1"]),
        ("~[ah]{1,3}1$:!a1", ["h1"]),
        ("rack=r2", ["a2", "h1"]),
        ("a100:&rack=r2", ["a2"]),
        ("all:!rack=r*", ["a3", "h2", "t1"]),
        ("rack=r2[0]", ["a2"]),
        ("spare=true,slot=4", ["a2"]),
        ("nvidia.com/gpu.product=NVIDIA-H100-80GB-HBM3", ["h1"]),
    ],
)
def test_patterns(pattern: str, names: list[str]) -> None:
    assert matching(pattern, NAMES) == names


def test_patterns_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts.txt"
    path.write_text("# those that failed\na1\n\nh100  # both\n")
    assert matching(f"@{path}", NAMES) == ["a1", "h1", "h2"]
    with pytest.raises(InputError, match="cannot be read"):
        matching(f"@{tmp_path}/nowhere", NAMES)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("h10", "Did you mean h100"),
        ("gpu:!a9", "pattern 'a9' matches no host and no group"),
        ("x*", "Groups: gpu, a100, h100, t4, empty. Hosts: a1, a2, a3, h1, h2, t1."),
        ("gpu[9]", "gpu has only 5 hosts"),
        ("a100:&h100", "leaves no host"),
        ("empty", "leaves no host"),
        ("", "is empty"),
        ("~(", "is no regular expression"),
        ("gpu:&", "& stands without a name"),
        ("rack=r9", "matches no host\n    Values of rack: r1, r2."),
        ("shelf=1", "no host has a label or variable shelf"),
        ("list=1", "no host has a label or variable list"),
    ],
)
def test_patterns_that_choose_nothing(pattern: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        matching(pattern, NAMES)
    assert message in str(caught.value)


@given(st.text("ab=\"'\\# \t\n"))
@settings(deadline=None, max_examples=500)
def test_words_are_split_as_shlex_does(line: str) -> None:
    try:
        expected = shlex.split(line, comments=True)
    except ValueError:
        with pytest.raises(ValueError):
            split_words(line)
    else:
        assert split_words(line) == expected


names = st.sampled_from([*HOSTS, *(name for name in GROUPS if name != "empty")])


@given(first=names, second=names)
@settings(deadline=None)
def test_patterns_are_set_operations(first: str, second: str) -> None:
    def of(pattern: str) -> set[str]:
        try:
            return set(matching(pattern, NAMES))
        except InputError:
            return set()

    assert of(f"{first}:{second}") == of(first) | of(second)
    assert of(f"{first}:&{second}") == of(first) & of(second)
    assert of(f"{first}:!{second}") == of(first) - of(second)
    assert of(f"{first},{second}") == of(f"{second},{first}")
