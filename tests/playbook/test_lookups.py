"""Lookups: what they find, when they look, and what they refuse."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from runner.errors import Origin
from runner.playbook import controller
from runner.playbook.document import Map, Seq, TemplateText
from runner.playbook.lookups import OWN, foreign_names, loop_variables
from runner.playbook.templates import TemplateProblem, holds, render, render_text

HERE = Origin("p.yaml", 3, 7)


@pytest.fixture(autouse=True)
def _new_run() -> Iterator[None]:
    controller.forget()
    yield
    controller.forget()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project: a playbook's folder with files/ and templates/, and the project's own above."""
    book = tmp_path / "playbooks"
    for place in (book / "files", book / "templates", tmp_path / "files", tmp_path / "templates"):
        place.mkdir(parents=True)
    (book / "files" / "key.pub").write_text("  ssh-ed25519 AAAA me\n\n")
    (book / "beside.txt").write_text("beside\n")
    (tmp_path / "files" / "shared.txt").write_text("of the project\n")
    (book / "templates" / "motd.j2").write_text("Welcome to {{ site }}{{ more | default('') }}\n")
    (book / "templates" / "bad.j2").write_text("one\n{{ nowhere }}\n")
    return book


def values(folder: Path, **own: Any) -> dict[str, Any]:
    """Variables of a playbook, all of them the user's own."""
    return {**own, "playbook_dir": str(folder), OWN: frozenset((*own, "playbook_dir"))}


def problem(text: str, variables: Mapping[str, Any]) -> str:
    with pytest.raises(TemplateProblem) as caught:
        render(text, variables, HERE)
    return str(caught.value.problem)


class TestFiles:
    @pytest.mark.parametrize(
        ("expression", "value"),
        [
            ("lookup('file', 'key.pub')", "  ssh-ed25519 AAAA me"),
            ("lookup('file', 'key.pub', rstrip=false)", "  ssh-ed25519 AAAA me\n\n"),
            ("lookup('file', 'key.pub', lstrip=true)", "ssh-ed25519 AAAA me"),
            ("lookup('ansible.builtin.file', 'beside.txt')", "beside"),
            ("lookup('file', 'shared.txt')", "of the project"),
            ("lookup('file', 'beside.txt', 'shared.txt')", "beside,of the project"),
            ("query('file', 'beside.txt', 'shared.txt')", ["beside", "of the project"]),
            ("lookup('file', 'nowhere', default='none')", "none"),
            ("lookup('file', 'nowhere', errors='ignore')", None),
            ("lookup('template', 'motd.j2')", "Welcome to lab\n"),
            ("lookup('template', 'motd.j2', template_vars={'more': '!'})", "Welcome to lab!\n"),
            ("lookup('file', name)", "beside"),
            ("query('fileglob', '*.txt') | map('basename')", ["beside.txt"]),
            ("query('fileglob', 'nowhere/*')", []),
            ("lookup('first_found', 'nowhere', 'beside.txt') | basename", "beside.txt"),
            ("lookup('first_found', ['nowhere', 'shared.txt']) | basename", "shared.txt"),
            (
                "lookup('first_found', {'files': ['beside.txt'], 'paths': ['x', '.']}) | basename",
                "beside.txt",
            ),
            (
                "lookup('first_found', files=['a', 'beside.txt'], paths='.') | basename",
                "beside.txt",
            ),
            ("query('first_found', ['nowhere'], skip=true)", []),
        ],
    )
    def test_are_found_beside_the_playbook(
        self, expression: str, value: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir("/")
        variables = values(folder, site="lab", name="beside.txt")
        assert render("{{ " + expression + " }}", variables, HERE) == value

    def test_an_absolute_path(self, folder: Path) -> None:
        path = str(folder / "beside.txt")
        assert render("{{ lookup('file', path) }}", values(folder, path=path), HERE) == "beside"

    def test_a_missing_one_tells_where_it_was_looked_for(self, folder: Path) -> None:
        text = problem("{{ lookup('file', 'nowhere.txt') }}", values(folder))
        assert text.startswith(
            "p.yaml:3:7: the template fails: lookup file: the file 'nowhere.txt'"
        )
        assert f"looked in {folder}/files, {folder} and {folder.parent}/files" in text

    def test_a_mistake_in_a_template_tells_its_line(self, folder: Path) -> None:
        text = problem("{{ lookup('template', 'bad.j2') }}", values(folder))
        assert text.startswith(f"{folder}/templates/bad.j2:2:1: variable nowhere is not defined")
        assert "used at p.yaml:3:7" in text

    def test_what_is_no_text_is_refused(self, folder: Path) -> None:
        (folder / "binary").write_bytes(b"\xff\xfe\x00")
        assert "is not UTF-8 text" in problem("{{ lookup('file', 'binary') }}", values(folder))

    def test_a_template_that_includes_itself_ends(self, folder: Path) -> None:
        (folder / "templates" / "loop.j2").write_text("{{ lookup('template', 'loop.j2') }}")
        problem("{{ lookup('template', 'loop.j2') }}", values(folder))


class TestEnvironment:
    def test_of_gpurun(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GPURUN_TEST_NAME", "value")
        monkeypatch.delenv("GPURUN_TEST_NONE", raising=False)
        variables = values(folder)
        assert render("{{ lookup('env', 'GPURUN_TEST_NAME') }}", variables, None) == "value"
        assert render("{{ lookup('env', 'GPURUN_TEST_NONE') }}", variables, None) == ""
        text = "{{ lookup('env', 'GPURUN_TEST_NONE', default='x') }}"
        assert render(text, variables, None) == "x"


class TestCommands:
    def test_run_in_the_playbooks_folder_without_input(self, folder: Path) -> None:
        variables = values(folder)
        assert render("{{ lookup('pipe', 'pwd') }}", variables, None) == str(folder)
        assert render("{{ lookup('pipe', 'cat; echo end') }}", variables, None) == "end"
        assert render("{{ query('lines', 'printf \"a\\nb\\n\"') }}", variables, None) == ["a", "b"]

    def test_a_failure_tells_code_and_stderr(self, folder: Path) -> None:
        text = problem("{{ lookup('pipe', 'echo why >&2; exit 3') }}", values(folder))
        assert "lookup pipe: `echo why >&2; exit 3` ended with exit code 3: why" in text

    def test_what_it_says_cannot_act_on_a_terminal(self, folder: Path) -> None:
        text = problem("{{ lookup('pipe', 'printf \"\\033[2J\" >&2; exit 1') }}", values(folder))
        assert "\x1b" not in text

    def test_errors_may_be_ignored(self, folder: Path) -> None:
        variables = values(folder)
        assert render("{{ lookup('pipe', 'exit 3', errors='ignore') }}", variables, None) is None
        assert render("{{ query('pipe', 'exit 3', errors='warn') }}", variables, None) == []
        text = "{{ lookup('pipe', 'exit 3', errors='ignore') | default('none', true) }}"
        assert render(text, variables, None) == "none"

    def test_one_that_does_not_end_is_killed(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(controller, "COMMAND_SECONDS", 0.2)
        for command in ("sleep 600", "sleep 600 & echo $! > pid; wait", "exec >&- 2>&-; sleep 600"):
            text = problem("{{ lookup('pipe', command) }}", values(folder, command=command))
            assert "takes longer than 0.2 seconds" in text
        left = int((folder / "pid").read_text())
        for _ in range(100):
            if not _alive(left):
                break
            time.sleep(0.05)
        assert not _alive(left)

    def test_one_that_prints_without_end_is_killed(self, folder: Path) -> None:
        for command in ("yes", "yes >&2"):
            text = problem("{{ lookup('pipe', '" + command + "') }}", values(folder))
            assert "prints more than 1000000 bytes" in text

    def test_a_name_with_a_nul_is_told(self, folder: Path) -> None:
        variables = values(folder, name="a\0b")
        assert "cannot be started" in problem("{{ lookup('pipe', name) }}", variables)
        assert "is not there" in problem("{{ lookup('file', name) }}", variables)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class TestOncePerRun:
    COUNT = "{{ lookup('pipe', 'echo x >> count; wc -l < count') | int }}"

    def test_equal_calls_look_once(self, folder: Path) -> None:
        for _ in range(3):
            assert render(self.COUNT, values(folder), None) == 1

    def test_also_from_many_hosts_at_a_time(self, folder: Path) -> None:
        found: list[Any] = []
        look = lambda: found.append(render(self.COUNT, values(folder), None))  # noqa: E731
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [1] * 8

    def test_a_new_run_looks_again(self, folder: Path) -> None:
        assert render(self.COUNT, values(folder), None) == 1
        controller.forget()
        assert render(self.COUNT, values(folder), None) == 2

    def test_a_failure_stays_one(self, folder: Path) -> None:
        text = "{{ lookup('pipe', 'test -e there || { touch there; exit 1; }') }}"
        problem(text, values(folder))
        problem(text, values(folder))

    def test_only_what_is_used_is_looked_up(self, folder: Path) -> None:
        variables = values(folder, unused=TemplateText("{{ lookup('pipe', 'touch made') }}"), n=1)
        assert render("{{ n if true else unused }}", variables, None) == 1
        assert render("{{ n or lookup('pipe', 'touch made') }}", variables, None) == 1
        assert not (folder / "made").exists()


class TestPlaces:
    """Lookups stand wherever an expression may."""

    def test_all(self, folder: Path) -> None:
        held = TemplateText("{{ lookup('file', 'beside.txt') }}")
        variables = values(folder, held=held, inside=Map({"a": Seq([held])}))
        assert render("{{ held }}", variables, None) == "beside"
        assert render("{{ inside.a[0] }}", variables, None) == "beside"
        assert render("x {{ lookup('file', 'beside.txt') }}", variables, None) == "x beside"
        assert holds("lookup('file', 'beside.txt') == 'beside'", variables, None)
        assert holds("'side' in held", variables, None)
        text = "{% for line in query('lines', 'echo a') %}{{ line }} {{ held }}{% endfor %}"
        assert render_text(text, variables, None, "x.j2") == "a beside"
        text = "{% macro f(n) %}{{ lookup('file', n) }}{% endmacro %}{{ f('beside.txt') }}"
        assert render_text(text, variables, None, "x.j2") == "beside"


HOST = {"stdout": "touch evil", "rc": 0}


class TestHostTextIsRefused:
    """What a host said chooses no command and no file of the controller."""

    @pytest.mark.parametrize(
        "expression",
        [
            "lookup('pipe', r.stdout)",
            "lookup('pipe', 'echo ' ~ r.stdout)",
            "lookup('pipe', 'echo ' ~ (r.stdout | quote))",
            "lookup('pipe', ['echo', r.stdout] | join(' '))",
            "lookup('pipe', 'echo %s' % r.stdout)",
            "lookup('pipe', 'a' if r.rc else 'b')",
            "lookup('pipe', *[r.stdout])",
            "lookup(*['pipe', r.stdout])",
            "query('lines', r.stdout)",
            "q('ansible.builtin.pipe', facts.os.id)",
            "lookup('file', r.stdout)",
            "lookup('file', 'x', default=r.stdout)",
            "lookup('template', facts.os.id ~ '.j2')",
            "lookup('template', 'motd.j2', template_vars={'site': r.stdout})",
            "lookup('fileglob', r.stdout)",
            "lookup('first_found', [r.stdout, 'beside.txt'])",
            "lookup('first_found', files=[r.stdout])",
            "lookup('env', r.stdout)",
            "lookup('pipe', via)",
            "lookup('pipe', deep.a[0])",
            "lookup('pipe', own ~ via)",
            "lookup('pipe', lookup('vars', 'r').stdout)",
            "lookup('pipe', lookup('vars', 'vi' ~ 'a'))",
            "lookup('pipe', lookup('vars', 'via'))",
            "lookup('pipe', lookup('template', 'motd.j2'))",
            "lookup('pipe', item)",
            "[r.stdout] | map('extract', {}) | list if false else lookup('pipe', r.stdout)",
        ],
    )
    def test_in_arguments(self, expression: str, folder: Path) -> None:
        variables = values(
            folder,
            own="echo",
            site="lab",
            via=TemplateText("{{ r.stdout }}"),
            deep=Map({"a": Seq([TemplateText("{{ via }}")])}),
        )
        variables |= {"r": HOST, "facts": {"os": {"id": "debian"}}, "item": "touch evil"}
        text = problem("{{ " + expression + " }}", variables)
        assert "the template is refused: lookup " in text or "called by its own name" in text
        assert not (folder / "evil").exists()

    @pytest.mark.parametrize(
        "template",
        [
            "{% set c = r.stdout %}{{ lookup('pipe', c) }}",
            "{% for c in [r.stdout] %}{{ lookup('pipe', c) }}{% endfor %}",
            "{% macro f(c) %}{{ lookup('pipe', c) }}{% endmacro %}{{ f(r.stdout) }}",
            "{% set n = namespace(c=r.stdout) %}{{ lookup('pipe', n.c) }}",
            "{% with c = r.stdout %}{{ lookup('pipe', c) }}{% endwith %}",
            "{% set c %}{{ r.stdout }}{% endset %}{{ lookup('pipe', c) }}",
            "{% call(c) f() %}{{ lookup('pipe', c) }}{% endcall %}{{ r.stdout }}",
        ],
    )
    def test_in_names_that_a_template_makes(self, template: str, folder: Path) -> None:
        variables = {**values(folder, f="x"), "r": HOST}
        with pytest.raises(TemplateProblem, match=r"\(r\)|not callable|undefined"):
            render_text(template, variables, None, "x.j2")
        assert not (folder / "evil").exists()

    def test_through_another_name_of_the_function(self, folder: Path) -> None:
        variables = {**values(folder), "r": HOST}
        text = problem("{% set l = lookup %}{{ l('pipe', r.stdout) }}", variables)
        assert "a lookup is called by its own name" in text
        text = problem("{{ lookup('pipe', r.stdout, gpurun_names=()) }}", variables)
        assert "no argument gpurun_names" in text
        text = problem("{{ lookup('pipe', r.stdout, **{'gpurun_names': ()}) }}", variables)
        assert not (folder / "evil").exists()

    def test_errors_ignore_does_not_hide_it(self, folder: Path) -> None:
        variables = {**values(folder), "r": HOST}
        problem("{{ lookup('pipe', r.stdout, errors='ignore') }}", variables)

    def test_what_reads_nothing_takes_it(self, folder: Path) -> None:
        variables = {**values(folder), "r": HOST}
        assert render("{{ query('items', [r.stdout], 1) }}", variables, None) == ["touch evil", 1]
        assert render("{{ lookup('vars', 'r').rc }}", variables, None) == 0

    def test_a_template_file_may_show_it(self, folder: Path) -> None:
        (folder / "templates" / "show.j2").write_text("It says {{ r.stdout }}.")
        variables = {**values(folder), "r": HOST}
        shown = render("{{ lookup('template', 'show.j2') }}", variables, None)
        assert shown == "It says touch evil."

    def test_own_text_is_taken(self, folder: Path) -> None:
        variables = values(folder, a="echo", b=TemplateText("{{ a }} hello"), f="beside.txt")
        variables["r"] = HOST
        assert render("{{ lookup('pipe', b ~ ' you') }}", variables, None) == "hello you"
        text = "{% for f in [f] %}{{ lookup('file', f) }}{% endfor %}"
        assert render(text, variables, None) == "beside"
        assert (
            render("{{ lookup('pipe', 'echo ' ~ lookup('file', f)) }}", variables, None) == "beside"
        )
        assert render("{{ r.rc ~ lookup('file', f) }}", variables, None) == "0beside"
        assert render("{{ lookup('pipe', 'echo ' ~ range(2) | join) }}", variables, None) == "01"


class TestWhereNamesComeFrom:
    VARIABLES: Mapping[str, Any] = {
        "own": "x",
        "chain": TemplateText("{{ own }}{{ other }}"),
        "other": TemplateText("{{ r.stdout }}"),
        "circle": TemplateText("{{ circle }}"),
        "r": HOST,
        OWN: frozenset({"own", "chain", "other", "circle"}),
    }

    def test_through_variables(self) -> None:
        assert foreign_names(["own"], self.VARIABLES) == set()
        assert foreign_names(["chain"], self.VARIABLES) == {"r"}
        assert foreign_names(["circle"], self.VARIABLES) == set()
        assert foreign_names(["nowhere", "range"], self.VARIABLES) == {"nowhere"}
        assert foreign_names(["own"], {"own": "x"}) == {"own"}

    def test_an_item_is_what_its_loop_is(self) -> None:
        for loop, own in (
            (Seq(["a", "b"]), True),
            (Seq([TemplateText("{{ own }}")]), True),
            (TemplateText("{{ own }}"), True),
            (TemplateText("{{ r.lines }}"), False),
            (Seq([TemplateText("{{ chain }}")]), False),
        ):
            found = loop_variables({**self.VARIABLES, "item": 1}, loop, {"item": "a"})
            assert found["item"] == "a"
            assert ("item" in found[OWN]) is own
        nested = loop_variables({**found, OWN: found[OWN] | {"item"}}, loop, {"item": "a"})
        assert "item" not in nested[OWN]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("lookup()", "name what to look up"),
        ("lookup('env', 'X', errors='maybe')", "errors='maybe' is none of strict, warn, ignore"),
        ("lookup('env', 'X', defualt=1)", "lookup env: there is no option defualt"),
        ("lookup('pipe', 'x', shell=true)", "there is no option shell; it takes none"),
        ("lookup(name, 'x')", "there is no lookup named nothing"),
        ("lookup('vars', 5)", "5 is not the name of a variable"),
        ("lookup('vars', 'gpurun own names')", "variable gpurun own names is not defined"),
    ],
)
def test_wrong_calls_are_told(expression: str, message: str, folder: Path) -> None:
    assert message in problem("{{ " + expression + " }}", values(folder, name="nothing"))


def test_the_set_of_own_names_is_out_of_reach(folder: Path) -> None:
    assert "own names" not in problem("{{ nothing_like_it }}", values(folder)).replace("-e", "")
