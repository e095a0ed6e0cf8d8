"""dnf's table of a transaction in forms that the fixtures do not have."""

from __future__ import annotations

from runner.facts.dnf import RpmStep, transaction_of

TABLE = """\
Dependencies resolved.
================================================================================
 Package                  Arch       Version                   Repository  Size
================================================================================
Installing:
 kmod-nvidia-open-dkms-with-a-name-that-fills-a-line
                          noarch     3:580.65.06-1.el9         cuda       5.6 k
     replacing  old-driver.x86_64 1.0-1
Installing weak dependencies:
 tool                     noarch     2.0-1                     lab        5.4 k

Transaction Summary
================================================================================
Install  2 Packages
Operation aborted.
"""


def test_a_long_name_stands_in_a_line_of_its_own_and_replaced_packages_go() -> None:
    found = transaction_of(TABLE.splitlines(), 1, {"old-driver": "0:1.0-1"})
    assert found.steps == (
        RpmStep("kmod-nvidia-open-dkms-with-a-name-that-fills-a-line", "", "3:580.65.06-1.el9"),
        RpmStep("old-driver", "0:1.0-1", ""),
        RpmStep("tool", "", "0:2.0-1"),
    )
