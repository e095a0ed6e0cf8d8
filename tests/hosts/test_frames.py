"""The batch as text, run by the local shells, and its frames read back."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.hosts import frames as frames_module
from runner.hosts.frames import (
    OUTPUT_LIMIT,
    Batch,
    Frame,
    FrameError,
    FrameReader,
    change_batch,
    look_batch,
    new_word,
    prelude,
)
from runner.hosts.outcome import outcomes
from runner.hosts.remote import PRELUDE
from runner.hosts.script import Block, BlockResult, Command, Result

SHELLS = [[shell] for shell in ("dash", "bash") if shutil.which(shell)]
SHELLS = SHELLS or [["sh"]]

DEADLINE = 120


def run(batch: Batch, shell: Sequence[str] = ("sh",), before: bytes = b"") -> list[Frame]:
    """What the remote end would do, done here."""
    word = new_word()
    done = subprocess.run(
        [*shell, "-s"],
        input=before + prelude(word) + batch.text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE,
    )
    reader = FrameReader(word)
    frames = list(reader.feed(done.stdout))
    assert reader.ready
    assert reader.ended, done.stdout
    return frames


def result(command: Command, shell: Sequence[str] = ("sh",)) -> Result:
    """The result of one command."""
    (frame,) = run(look_batch([command]), shell)
    return frame.result


def ended(process: int) -> bool:
    """Whether it is gone, or only waits for its parent to notice."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return stat.rpartition(") ")[2].startswith("Z")


@pytest.mark.parametrize("brief", [False, True], ids=["run", "brief"])
@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: " ".join(shell))
class TestEveryShell:
    def test_streams_and_exit_codes_stay_apart(self, shell: list[str], brief: bool) -> None:
        done = result(Command("x", "printf out; printf err >&2; exit 7", brief=brief), shell)
        assert (done.rc, done.stdout, done.stderr) == (7, b"out", b"err")

    def test_a_body_with_every_byte_comes_back(self, shell: list[str], brief: bool) -> None:
        body = bytes(range(256)) * 300
        done = result(Command("x", "cat; cat >&2 <&0", stdin=body, brief=brief), shell)
        assert done.stdout == body

    def test_script_text_may_hold_quotes_and_any_character(
        self, shell: list[str], brief: bool
    ) -> None:
        text = """printf '%s\\n' "it's" 'a "b" `c` $d \\e' 'ü€'\n"""
        assert (
            result(Command("x", text, brief=brief), shell).text == 'it\'s\na "b" `c` $d \\e\nü€\n'
        )

    def test_a_syntax_error_fails_only_its_own_step(self, shell: list[str], brief: bool) -> None:
        steps = [Command("a", "if (", brief=brief), Command("b", "echo fine", brief=brief)]
        frames = run(look_batch(steps), shell)
        assert frames[0].result.rc != 0
        assert b"yntax" in frames[0].result.stderr
        assert frames[1].result.stdout == b"fine\n"

    def test_a_step_cannot_leave_anything_in_the_next_ones_way(
        self, shell: list[str], brief: bool
    ) -> None:
        wild = "cd /tmp; set -e; trap 'exit 9' EXIT; word=x; PATH=; exec 0<&- 1>&- 2>&-; exit 4"
        steps = [Command("a", wild, brief=brief), Command("b", "pwd; cat", brief=brief)]
        frames = run(look_batch(steps), shell)
        assert frames[0].result.rc in (4, 9)
        assert frames[1].result.stdout == b"/\n"

    def test_a_step_that_kills_its_own_shell_fails_alone(
        self, shell: list[str], brief: bool
    ) -> None:
        steps = [Command("a", "kill -9 $$", brief=brief), Command("b", "echo on", brief=brief)]
        frames = run(look_batch(steps), shell)
        assert frames[0].result.rc == 137
        assert not frames[0].result.timed_out
        assert frames[1].result.stdout == b"on\n"

    def test_what_takes_too_long_is_ended_with_its_children(
        self, shell: list[str], brief: bool, tmp_path: Path
    ) -> None:
        pid = tmp_path / "pid"
        child = f"sh -c 'echo $PPID >{pid}; exec sleep 1000'"
        long = Command("x", f"echo begun; ({child}; :) | cat; echo no", timeout=0.3, brief=brief)
        done = result(long, shell)
        assert done.timed_out
        assert done.stdout == b"begun\n"
        assert done.seconds >= 0.25
        assert ended(int(pid.read_text()))

    def test_124_alone_is_an_exit_code_like_any_other(self, shell: list[str], brief: bool) -> None:
        done = result(Command("x", "exit 124", brief=brief), shell)
        assert (done.rc, done.timed_out) == (124, False)

    def test_output_above_the_limit_is_dropped_and_said_so(
        self, shell: list[str], brief: bool
    ) -> None:
        flood = Command("x", "yes | head -c 100000000; echo end >&2; exit 5", brief=brief)
        done = result(flood, shell)
        assert done.truncated
        assert len(done.stdout) == OUTPUT_LIMIT
        assert done.rc == 5
        assert done.stderr.endswith(b"end\n")
        assert brief or done.stderr == b"end\n"

    def test_a_daemon_that_keeps_the_output_open_holds_nobody_up(
        self, shell: list[str], brief: bool
    ) -> None:
        start = Command("a", "sleep 1000 & echo $!", brief=brief)
        frames = run(look_batch([start, Command("b", "echo next", brief=brief)]), shell)
        daemon = int(frames[0].result.text)
        os.kill(daemon, signal.SIGTERM)  # Fails if it did not survive.
        assert frames[1].result.stdout == b"next\n"

    def test_many_steps_keep_their_output(self, shell: list[str], brief: bool) -> None:
        steps = [Command(str(n), f"echo {n}", brief=brief or n % 3 == 0) for n in range(40)]
        frames = run(look_batch(steps), shell)
        assert [(f.index, f.result.text) for f in frames] == [(n, f"{n}\n") for n in range(40)]


def test_a_brief_step_that_ignores_its_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames_module, "PRELUDE", PRELUDE.replace("limit + 5", "limit"))
    stubborn = "trap '' TERM; echo begun; sleep 1000; echo no"
    done = result(Command("x", stubborn, timeout=0.3, brief=True))
    assert done.timed_out
    assert done.stdout == b"begun\n"


def test_a_brief_step_can_write_no_large_file(tmp_path: Path) -> None:
    write = f"head -c 100000000 /dev/zero >{tmp_path}/file"
    done = result(Command("x", write, brief=True))
    assert done.rc != 0
    assert b"large" in done.stderr
    assert (tmp_path / "file").stat().st_size <= 2 * OUTPUT_LIMIT


def test_nothing_is_left_on_the_host(tmp_path: Path) -> None:
    where = result(Command("x", "echo ${0%/*}", stdin=b"body")).text.strip()
    assert Path(where).name.startswith("gpurun.")
    assert not Path(where).exists()


def test_the_folder_is_for_its_user_only() -> None:
    done = result(Command("x", "stat -c %a ${0%/*}"))
    assert done.text == "700\n"


def test_the_environment_is_predictable() -> None:
    done = result(Command("x", "echo $PATH; echo $LC_ALL; umask; pwd; cat"))
    path, locale, umask, folder = done.text.splitlines()
    assert path.startswith("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    assert locale in ("C.UTF-8", "C")
    assert (umask, folder) == ("0022", "/")


def test_neither_text_nor_body_shows_in_arguments_or_environment() -> None:
    spy = "tr '\\0' ' ' </proc/self/cmdline; cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    hidden = Command("x", f"# hidden-text\n{spy} 2>&1 | tr '\\0' '\\n'", stdin=b"hidden-body\xff")
    done = result(hidden)
    assert b"sh" in done.stdout
    assert b"hidden-" not in done.stdout


@pytest.mark.parametrize("cut", [0.3, 0.6, 0.9, 0.999])
def test_a_batch_that_arrives_in_part_does_nothing(tmp_path: Path, cut: float) -> None:
    touch = [Command(str(n), f"touch {tmp_path}/{n}") for n in range(5)]
    text = look_batch(touch).text.rstrip()
    start = prelude(new_word())
    part = start + text[: int(len(text) * cut)]
    subprocess.run(["sh", "-s"], input=part, capture_output=True, timeout=DEADLINE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("blocks", "says"), [(0, "no folder for temporary files"), (4, "no space or no right to write")]
)
def test_no_room_for_files_is_said_before_any_step(tmp_path: Path, blocks: int, says: str) -> None:
    full = f"ulimit -f {blocks}; trap '' XFSZ\n".encode()  # Every longer file fails to be written.
    batch = look_batch([Command("x", f"touch {tmp_path}/done", stdin=b"long " * 5000)])
    with pytest.raises(FrameError, match=says):
        run(batch, before=full)
    assert not (tmp_path / "done").exists()


class TestBlocks:
    def outcome(self, *blocks: Block) -> list[BlockResult]:
        frames = run(change_batch(blocks))
        return outcomes(blocks, {frame.index: frame.result for frame in frames})

    def test_done_means_reread(self, tmp_path: Path) -> None:
        block = Block(
            "b",
            Command("guard", f"! test -e {tmp_path}/f"),
            (Command("do", f"cat >{tmp_path}/f", stdin=b"new"), Command("also", "echo two")),
            (Command("seen", f"cat {tmp_path}/f"),),
        )
        (done,) = self.outcome(block)
        assert done.status == "done"
        assert done.reread is not None
        assert done.reread["seen"].stdout == b"new"
        assert [result.stdout for result in done.do] == [b"", b"two\n"]

    def test_drift_stops_before_anything_is_done(self, tmp_path: Path) -> None:
        touch = Command("do", f"touch {tmp_path}/f")
        drifted, after = self.outcome(
            Block("b", Command("guard", "echo other; false"), (touch,), (touch,)),
            Block("c", None, (touch,)),
        )
        assert (drifted.status, after.status) == ("drifted", "not run")
        assert drifted.guard is not None
        assert drifted.guard.stdout == b"other\n"
        assert list(tmp_path.iterdir()) == []

    def test_a_failure_ends_the_batch_but_is_reread(self, tmp_path: Path) -> None:
        touch = Command("no", f"touch {tmp_path}/f")
        seen = Command("seen", "echo half")
        good, bad, after = self.outcome(
            Block("a", None, (Command("do", "true"),)),
            Block("b", None, (Command("do", "false"), touch), (seen,)),
            Block("c", Command("guard", "true"), (touch,), (seen,)),
        )
        assert [good.status, bad.status, after.status] == ["done", "failed", "not run"]
        assert len(bad.do) == 1
        assert bad.reread is not None
        assert bad.reread["seen"].stdout == b"half\n"
        assert after.reread is None
        assert list(tmp_path.iterdir()) == []

    def test_a_block_may_be_only_a_guard_or_only_a_reread(self) -> None:
        first, second = self.outcome(
            Block("a", Command("guard", "true"), ()),
            Block("b", None, (), (Command("seen", "echo x"),)),
        )
        assert [first.status, second.status] == ["done", "done"]


anything = st.binary(max_size=300) | st.binary(max_size=20).map(lambda some: some * 5000)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(bodies=st.lists(anything, min_size=1, max_size=4), text=st.text(max_size=60))
def test_any_bytes_survive_the_way_there_and_back(bodies: list[bytes], text: str) -> None:
    said = text.replace("\0", "").encode("utf-8", "ignore").decode()
    commands = [Command(str(n), "cat", stdin=body) for n, body in enumerate(bodies)]
    commands.append(Command("said", f"printf %s {shlex.quote(said)}"))
    frames = run(look_batch(commands))
    assert [frame.result.stdout for frame in frames] == [*bodies, said.encode()]


def framed(word: str, steps: Sequence[tuple[int, bytes, bytes]]) -> bytes:
    """What a remote shell would answer."""
    stream = b""
    for index, (rc, out, err) in enumerate(steps):
        for mark, after in ((f"step {index} {rc} 1.00 1.50 0 60", out), ("out", err), ("err", b"")):
            stream += f"\n{word} {mark}\n".encode() + after
    return stream + f"\n{word} end\n".encode()


@settings(max_examples=50, deadline=None)
@given(
    steps=st.lists(st.tuples(st.integers(0, 255), st.binary(), st.binary()), max_size=5),
    noise=st.binary(max_size=200),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_frames_are_the_same_however_the_stream_is_cut_up(
    steps: list[tuple[int, bytes, bytes]], noise: bytes, sizes: list[int]
) -> None:
    reader = FrameReader("word-1")
    stream = noise + framed("word-1", steps)
    frames: list[Frame] = []
    position = 0
    while position < len(stream):
        size = sizes[position % len(sizes)]
        frames += reader.feed(stream[position : position + size])
        position += size
    assert reader.ended
    assert [(f.result.rc, f.result.stdout, f.result.stderr) for f in frames] == steps
    assert {f.result.seconds for f in frames} <= {0.5}


@settings(max_examples=30, deadline=None)
@given(steps=st.lists(st.tuples(st.just(0), st.binary(), st.binary()), min_size=1, max_size=3))
def test_a_stream_that_breaks_off_yields_only_whole_frames(
    steps: list[tuple[int, bytes, bytes]],
) -> None:
    reader = FrameReader("word-1")
    stream = framed("word-1", steps)
    frames = list(reader.feed(stream[: -len("\nword-1 err\n\nword-1 end\n")]))
    assert not reader.ended
    assert len(frames) == len(steps) - 1
