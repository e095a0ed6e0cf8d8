"""`uri` works on the machine gpurun runs on: looks are asked in a plan, all else in an apply."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.plays import statuses
from tests.engine.test_delegate import Both
from tests.engine.test_run import Connection
from tests.files.web import Site, serving

PLAY = """\
- name: asks
  hosts: a
  become: true
  preconditions:
    - uri: {{url: {0}/state}}
      register: state
    - assert: {{that: state.json.ok}}
  tasks:
    - name: told
      uri: {{url: "{0}/hosts/{{{{ inventory_hostname }}}}", method: POST, status_code: 200}}
      register: told
    - debug: {{msg: "{{{{ told.stdout }}}}"}}
  verify:
    - uri: {{url: {0}/after}}
      register: after
      until: after.status == 200
      retries: 2
      delay: 0
"""


@pytest.fixture
def site() -> Iterator[Site]:
    pages: dict[str, bytes | int | str] = {
        "/state": b'{"ok": true}',
        "/hosts/a": b"thanks",
        "/after": b"{}",
    }
    with serving(pages) as site:
        yield site


def test_a_look_in_a_plan_and_a_post_in_an_apply(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = Both(tmp_path, PLAY.format(site.url), monkeypatch)
    (state,) = both.run("plan")
    assert state.plan is not None
    assert statuses(state.plan) == ["ok", "ok", "change", "deferred"]
    step = state.plan.steps[2]
    assert (step.delegate, step.context and step.context.become) == ("localhost", False)
    assert [request.method for request in site.requests] == ["GET"]
    (state,) = both.run()
    assert state.result is not None and state.result.status == "changed", state.result
    assert both.changed == ["localhost"]
    assert [f"{r.method} {r.path}" for r in site.requests[1:]].count("POST /hosts/a") == 1
    assert site.requests[-1].path == "/after"
    assert "localhost" in Connection.opened


def test_a_precondition_that_is_not_met_leaves_the_host_alone(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pages["/state"] = 503
    both = Both(tmp_path, PLAY.format(site.url), monkeypatch)
    (state,) = both.run()
    assert state.result is not None
    assert "status 503, expected 200" in state.result.reason
    assert both.changed == []
