"""Looking and changing over a real sshd: what comes back, what is counted, what breaks."""

from __future__ import annotations

import getpass
import hashlib
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.counting_proxy import CountingProxy
from runner.errors import UnreachableError
from runner.hosts import connection as connection_module
from runner.hosts import shell
from runner.hosts.connection import _AGE, Connection, HostError, LostError
from runner.hosts.errors import SilentError
from runner.hosts.script import Block, Command, Result
from tests.hosts.conftest import Sshd

DEADLINE = 120.0


def until(holds: Callable[[], bool]) -> None:
    """Waits for a condition."""
    waited = threading.Event()
    for _ in range(int(DEADLINE * 50)):
        if holds():
            return
        waited.wait(0.02)
    raise AssertionError("the condition never held")


@pytest.fixture
def proxy(sshd: Sshd) -> Iterator[CountingProxy]:
    """A line to the server that counts and can be cut."""
    with CountingProxy("127.0.0.1", sshd.port) as line:
        yield line


def test_look_keeps_exit_codes_and_streams_apart(sshd: Sshd) -> None:
    commands = [
        Command("good", "echo out; echo err >&2", become=False),
        Command("bad", "printf no-newline; exit 3", become=False),
        Command("body", "cat", stdin=b"a\0b\xff\n\n", become=False),
        Command("who", "id -un", become=False),
    ]
    with Connection(sshd.host()) as connection:
        results = connection.look(commands)
    assert list(results) == ["good", "bad", "body", "who"]
    good = results["good"]
    assert (good.rc, good.stdout, good.stderr) == (0, b"out\n", b"err\n")
    assert (results["bad"].rc, results["bad"].stdout) == (3, b"no-newline")
    assert results["body"].stdout == b"a\0b\xff\n\n"
    assert results["who"].text == f"{getpass.getuser()}\n"


def test_nothing_to_look_at_or_change_is_no_exchange(sshd: Sshd, proxy: CountingProxy) -> None:
    with Connection(sshd.through(proxy.port)) as connection:
        before = proxy.counts.turns
        assert connection.look([]) == {}
        assert connection.change([]) == []
        assert proxy.counts.turns == before


def test_twenty_files_take_at_most_ten_round_trips(
    sshd: Sshd, proxy: CountingProxy, tmp_path: Path
) -> None:
    looks = [Command(f"look {n}", f"cat {tmp_path}/{n}.conf", become=False) for n in range(20)]
    blocks = [
        Block(
            f"file {n}",
            Command("guard", f"! test -e {tmp_path}/{n}.conf", become=False),
            (Command("write", f"cat >{tmp_path}/{n}.conf", b"key = 1\n" * 30, become=False),),
            (Command("seen", f"cat {tmp_path}/{n}.conf", become=False),),
        )
        for n in range(20)
    ]
    with Connection(sshd.through(proxy.port)) as connection:
        connection.look(looks)
        # 4 to log in, 1 to open a channel, 1 to start the shell, 1 for all the looking; on a line
        # with delay the last two are one, as the shell's start is not waited for.
        assert proxy.counts.turns <= 7
        results = connection.change(blocks)
        assert proxy.counts.turns <= 8
    assert proxy.counts.connections == 1
    assert proxy.counts.sent < 40_000
    assert [result.status for result in results] == ["done"] * 20


def test_a_large_body_arrives_whole(sshd: Sshd) -> None:
    body = bytes(range(256)) * 12_000
    count = Command("x", "sha256sum", stdin=body, become=False)
    with Connection(sshd.host()) as connection:
        assert connection.look([count])["x"].text.split()[0] == hashlib.sha256(body).hexdigest()


def test_output_beyond_the_limit_stays_on_the_host(sshd: Sshd, proxy: CountingProxy) -> None:
    flood = Command("x", "yes | head -c 200000000", become=False)
    with Connection(sshd.through(proxy.port)) as connection:
        result = connection.look([flood])["x"]
    assert (result.rc, result.truncated) == (0, True)
    assert proxy.counts.received < 20_000_000


def test_the_noise_of_a_login_is_passed_over(sshd: Sshd) -> None:
    noise = "echo Welcome to node-1; printf 'no newline'; echo warning >&2"
    options = f'command="{noise}; exec sh -c \\"$SSH_ORIGINAL_COMMAND\\""'
    host = sshd.host(key_file=sshd.extra_key("noisy", options))
    with Connection(host) as connection:
        assert connection.look([Command("x", "echo x", become=False)])["x"].stdout == b"x\n"


@pytest.mark.parametrize(
    ("name", "forced", "says"),
    [
        (
            "nologin",
            "echo This account is currently not available.; exit 1",
            "This account is currently not available",
        ),
        ("silent", "exit 1", "ended without a word"),
        ("rude", r"printf '\033[2Jgone\n'; exit 2", r"\\x1b\[2Jgone"),
    ],
)
def test_a_login_without_a_shell_says_what_it_said(
    sshd: Sshd, name: str, forced: str, says: str
) -> None:
    host = sshd.host(key_file=sshd.extra_key(name, f'command="{forced}"'))
    with Connection(host) as connection, pytest.raises(HostError, match=says) as caught:
        connection.look([Command("x", "true", become=False)])
    assert not isinstance(caught.value, UnreachableError)
    assert "node-1" in caught.value.message
    assert "\x1b" not in str(caught.value)


class TestPrivileges:
    """`become` is tried with a sudo of our own in front of the real one; see test_become."""

    def test_a_block_of_both_privileges_goes_step_by_step(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr(
            Connection, "_user_for", lambda self, step: step.user if step.become else ""
        )
        real = Connection._exchange

        def spy(self: Connection, user: str, *rest: object) -> dict[int, Result]:
            asked.append(user)
            return real(self, "", *rest)  # type: ignore[arg-type]

        monkeypatch.setattr(Connection, "_exchange", spy)
        mixed = Block(
            "b",
            Command("guard", "true"),
            (Command("do", "false", become=False), Command("no", "true")),
            (Command("seen", "echo x"),),
        )
        pure = Block("a", Command("guard", "true"), (Command("do", "true"),))
        with Connection(sshd.host()) as connection:
            results = connection.change([pure, pure, mixed, pure])
        assert [result.status for result in results] == ["done", "done", "failed", "not run"]
        assert asked == ["root", "root", "", "root"]
        assert results[2].reread is not None
        assert results[2].reread["seen"].stdout == b"x\n"


class TestBroken:
    def test_a_cut_names_the_last_finished_step_and_ends_the_batch(
        self, sshd: Sshd, proxy: CountingProxy, tmp_path: Path
    ) -> None:
        gate, begun, third = tmp_path / "gate", tmp_path / "begun", tmp_path / "third"
        gate.touch()
        steps = [
            Command("one", "echo ${0%/*}", become=False),
            Command(
                "two", f"touch {begun}; while test -e {gate}; do sleep 0.05; done", become=False
            ),
            Command("three", f"touch {third}", become=False),
        ]

        def quiet() -> bool:
            """Nothing more is on its way: what step one printed has arrived."""
            seen = proxy.counts.received
            time.sleep(2)
            return seen == proxy.counts.received

        def cut() -> None:
            until(begun.exists)
            until(quiet)
            proxy.cut()

        cutter = threading.Thread(target=cut)
        cutter.start()
        with Connection(sshd.through(proxy.port)) as connection:
            with pytest.raises(LostError, match="last finished step is 'one'") as caught:
                connection.look(steps)
            cutter.join()
            assert caught.value.running == "two"
            folder = Path(caught.value.finished["one"].text.strip())
            gate.unlink()
            # The step under way ends by itself, nothing follows, and nothing is left behind.
            until(lambda: not folder.exists())
            assert not third.exists()
            # And the connection can be used again.
            assert connection.look(steps[:1])["one"].rc == 0

    def test_a_cut_during_brief_changes_lets_none_follow(
        self, sshd: Sshd, proxy: CountingProxy, tmp_path: Path
    ) -> None:
        gate, begun, second = tmp_path / "gate", tmp_path / "begun", tmp_path / "second"
        gate.touch()
        wait = f"echo ${{0%/*}} >{begun}; while test -e {gate}; do sleep 0.05; done"
        texts = {"one": wait, "two": f"touch {second}", "three": f"touch {second}"}
        blocks = [
            Block(key, None, (Command(key, text, become=False, brief=True),))
            for key, text in texts.items()
        ]

        def cut() -> None:
            until(lambda: begun.exists() and bool(begun.read_text()))
            proxy.cut()

        cutter = threading.Thread(target=cut)
        cutter.start()
        lost = pytest.raises(LostError, match="may have had its effect")
        with Connection(sshd.through(proxy.port)) as connection, lost:
            connection.change(blocks)
        cutter.join()
        folder = Path(begun.read_text().strip())
        time.sleep(0.5)  # The server notices.
        gate.unlink()
        until(lambda: not folder.exists())
        assert not second.exists()

    def test_silence_beyond_every_deadline_ends_the_wait(
        self, sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = tmp_path / "gate"
        gate.touch()
        wait = Command("wait", f"while test -e {gate}; do sleep 0.05; done", become=False)
        monkeypatch.setattr(shell, "MARGIN", 0.5 - wait.timeout - 8)
        with Connection(sshd.host()) as connection, pytest.raises(LostError, match="no answer for"):
            connection.look([wait])
        gate.unlink()

    def test_a_killed_remote_shell_is_a_lost_connection(self, sshd: Sshd) -> None:
        kill = Command("kill", "rm -r ${0%/*}; kill -9 $(ps -o ppid= -p $PPID)", become=False)
        with Connection(sshd.host()) as connection, pytest.raises(LostError, match="no step"):
            connection.look([kill])


class TestReboot:
    """Nothing is really rebooted here: what the host answers is told in advance."""

    def reboot(
        self,
        sshd: Sshd,
        monkeypatch: pytest.MonkeyPatch,
        told: list[str | int | Exception],
        timeout: float = DEADLINE,
    ) -> None:
        def look(self: Connection, commands: list[Command]) -> dict[str, Result]:
            answer = told.pop(0) if len(told) > 1 else told[0]
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, int):
                return {commands[0].key: Result(answer, stderr=b"refused\x1b")}
            return {commands[0].key: Result(0, answer.encode())}

        monkeypatch.setattr(Connection, "look", look)
        monkeypatch.setattr(connection_module, "_POLL", 0.001)
        Connection(sshd.host()).reboot(timeout)

    def test_back_means_another_boot_id(self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
        lost = LostError("lost", "", {}, "reboot")
        down = UnreachableError("refuses connections")
        told: list[str | int | Exception] = ["boot-1", lost, "boot-1", down, down, "boot-2", "x"]
        self.reboot(sshd, monkeypatch, told)
        assert told == ["x"]

    def test_a_session_that_ends_well_is_as_good(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.reboot(sshd, monkeypatch, ["boot-1", 0, "boot-2"])

    def test_a_host_that_stays_away_is_unreachable(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        down = UnreachableError("it refuses connections")
        with pytest.raises(UnreachableError, match=r"not come back.*refuses connections"):
            self.reboot(sshd, monkeypatch, ["boot-1", 0, down], timeout=0.01)

    def test_a_host_that_never_went_down_has_not_rebooted(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(UnreachableError, match="still runs the old boot"):
            self.reboot(sshd, monkeypatch, ["boot-1", 0, "boot-1"], timeout=0.01)

    def test_a_refusal_is_told_at_once(self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(HostError, match=r"does not reboot: refused\\x1b"):
            self.reboot(sshd, monkeypatch, ["boot-1", 1])

    def test_a_boot_id_that_cannot_be_read_stops_the_reboot(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(HostError, match="boot id is unknown"):
            self.reboot(sshd, monkeypatch, [1])

    def power_cycle(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch, told: list[str | int | Exception]
    ) -> None:
        real = Connection.reboot
        monkeypatch.setattr(
            Connection, "reboot", lambda self, timeout: real(self, timeout, lambda: None)
        )
        self.reboot(sshd, monkeypatch, told, timeout=0.5)

    def test_a_power_cycle_is_another_boot_id_too(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        down = SilentError("refuses connections")
        told: list[str | int | Exception] = ["boot-1", "boot-1", down, "boot-2", "x"]
        self.power_cycle(sshd, monkeypatch, told)
        assert told == ["x"]

    def test_of_a_host_that_did_not_answer_its_first_process_tells(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        down = SilentError("refuses connections")
        told: list[str | int | Exception] = [down, down, "86400", "0", "x"]
        self.power_cycle(sshd, monkeypatch, told)
        assert told == ["x"]

    def test_a_host_that_answers_again_by_itself_has_not_lost_its_power(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(UnreachableError, match="still runs the old boot"):
            self.power_cycle(sshd, monkeypatch, [SilentError("down"), "86400"])

    def test_the_age_of_the_first_process_is_read_from_proc(self) -> None:
        done = subprocess.run(["sh", "-c", _AGE.shell], capture_output=True, text=True, check=True)
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        assert 0 <= int(done.stdout) <= uptime

    def test_a_host_that_lets_nobody_in_keeps_its_power(
        self, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with pytest.raises(UnreachableError, match="login refused"):
            self.power_cycle(sshd, monkeypatch, [UnreachableError("login refused"), "boot-2"])
