"""Each mistake in `problems/*.yaml` is told as the text file beside it says."""

from pathlib import Path

import pytest

from runner.errors import InputError
from runner.playbook.load import load_playbook

CASES = Path(__file__).parent / "problems"
NAMES = sorted(path.stem for path in CASES.glob("*.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_mistake_is_told(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CASES)
    with pytest.raises(InputError) as caught:
        load_playbook(Path(f"{name}.yaml"))
    assert f"{caught.value}\n" == (CASES / f"{name}.txt").read_text()


def test_every_case_has_its_text() -> None:
    assert sorted(path.stem for path in CASES.glob("*.txt")) == NAMES


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- hosts: gpu\n  name: caf\xe9\n", "p.yaml:2:12: byte 0xe9 is not UTF-8 text"),
        (b"\x7fELF\x02\x01\x01\x00", "control character"),
        (b"- hosts: gpu\n  name: a\x00b\n", "p.yaml:2:1: a control character"),
        (b"[" * 100_000, "nested"),
        (b"- " * 500 + b"x", "nested more than 100 levels"),
        (b"#" * 10_000_001, "larger than 10 MB"),
    ],
    ids=["latin1", "binary", "nul", "brackets", "dashes", "huge"],
)
def test_files_that_are_no_playbook(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_playbook(path)
    assert message in str(caught.value)


def test_aliases_that_expand_without_end(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    lines = ["- hosts: gpu", "  vars:", "    a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match="aliases expand to more than"):
        load_playbook(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_playbook(tmp_path / "nowhere.yaml")
    with pytest.raises(InputError, match="is a folder"):
        load_playbook(tmp_path)


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"\xef\xbb\xbf- hosts: gpu\r\n  become: true\r\n")
    assert load_playbook(path).plays[0].become is True
