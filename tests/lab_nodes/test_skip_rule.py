"""In CI a skipped test is a failure, unless its reason says that it is allowed."""

from __future__ import annotations

import pytest

from tests.conftest import SkipRule

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [("no GPU here", pytest.ExitCode.TESTS_FAILED), ("allowed: no IPv6", pytest.ExitCode.OK)],
)
def test_skips(pytester: pytest.Pytester, reason: str, expected: pytest.ExitCode) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.skip(reason={reason!r})
        def test_marked(): pass

        def test_in_the_middle(): pytest.skip({reason!r})

        @pytest.mark.xfail
        def test_known_to_fail(): assert False
        """
    )
    assert pytester.inline_run(plugins=[SkipRule()]).ret == expected
