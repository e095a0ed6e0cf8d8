"""python -m benchmarks: as root; brings up a lab of its own and takes it down at the end."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import click

from benchmarks import commands, drains, plans, round_trips, tools
from benchmarks.counting_proxy import CountingProxy
from benchmarks.table import Row, table
from benchmarks.targets import Target, direct, write
from runner.errors import GpurunError
from runner.lab import lifecycle
from runner.lab.layout import Lab, Node, NodeSpec, find_lab

LAB = "lab-bench"
COMMANDS = "commands"
DRAINS = "drains"
PLANS = "plans"
CASES = ("1full", "4full", "50light", COMMANDS, DRAINS, PLANS)
_WITHOUT_LAB = {COMMANDS: commands.measure, DRAINS: drains.measure, PLANS: plans.measure}
LIMIT = 600.0
"""Seconds that one call of a tool may take."""


@click.command()
@click.option("--case", "cases", multiple=True, type=click.Choice(CASES), help="Default: all.")
@click.option(
    "--delay",
    "delays",
    multiple=True,
    type=click.IntRange(0, 1000),
    help="Round trip between client and nodes, ms. Default: 0 and 20.",
)
def main(cases: tuple[str, ...], delays: tuple[int, ...]) -> None:
    """gpurun, ansible-core and pyinfra on the same lab nodes, side by side."""
    click.echo(machine())
    for case in cases or CASES:
        if case in _WITHOUT_LAB:
            click.echo(_WITHOUT_LAB[case]())
            continue
        count, profile = int(case.rstrip("abcdefghijklmnopqrstuvwxyz")), case.lstrip("0123456789")
        with bench_lab(count, profile) as (lab, nodes):
            if profile == "light":
                count_round_trips(lab, nodes[0])
            for delay in delays or (0, 20):
                click.echo(table(compare(lab, nodes, delay)))
    load = os.getloadavg()[0]
    click.echo(f"Load average at the end: {load:.1f} (the benchmark itself causes some)")


def machine() -> str:
    """What was measured, where and when."""
    versions = ", ".join(f"{tool} {tools.version(tool)}" for tool in tools.installed())
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return (
        f"{today}, {os.cpu_count()} CPUs ({platform.machine()}), Linux {platform.release()}, "
        f"Python {platform.python_version()}; {versions}\n"
        f"Load average before: {os.getloadavg()[0]:.1f}"
    )


@contextlib.contextmanager
def bench_lab(count: int, profile: str) -> Iterator[tuple[Lab, list[Node]]]:
    """A fresh lab of so many nodes; gone afterwards."""
    lab = find_lab(LAB)
    specs = [NodeSpec(f"n{number}", "T4", 1) for number in range(1, count + 1)]
    with tempfile.TemporaryDirectory() as folder:
        lifecycle.down(lab, quiet)
        try:
            yield lab, lifecycle.up(lab, specs, profile, Path(folder) / "lab.yaml", quiet)
        finally:
            lifecycle.down(lab, quiet)


def quiet(text: str) -> None:
    """Progress of the lab goes to nobody."""


def count_round_trips(lab: Lab, node: Node) -> None:
    """Prints what twenty small files cost on the wire."""
    with tempfile.TemporaryDirectory() as folder:
        counted = round_trips.measure(direct(node), lab.key, Path(folder))
    for name, counts in (("changed", counted.changed), ("unchanged", counted.unchanged)):
        click.echo(
            f"20 small files, {name}: {counts.turns} round trips, "
            f"{counts.sent} bytes sent, {counts.received} received"
        )


def compare(lab: Lab, nodes: Sequence[Node], delay: int) -> list[Row]:
    """Every installed tool on fresh nodes, then once more with nothing to change."""
    case = f"{len(nodes)} {nodes[0].profile}, {delay} ms"
    rows = []
    for tool in tools.installed():
        lifecycle.reset(lab, (), quiet)
        with tempfile.TemporaryDirectory() as folder, line(nodes, delay) as targets:
            files = write(Path(folder), targets, lab.key)
            tools.prepare(files, nodes[0].profile == "full")
            first, second = (tools.measure(tool, files, lab.cgroup, LIMIT) for _ in range(2))
        rows.append(Row(case, tool, first, second))
        click.echo(f"{case}: {tool} {first.seconds:.1f} s, {second.seconds:.1f} s", err=True)
    return rows


@contextlib.contextmanager
def line(nodes: Sequence[Node], delay: int) -> Iterator[list[Target]]:
    """The nodes as targets; with a delay each behind a proxy that holds everything up."""
    targets = [direct(node) for node in nodes]
    with contextlib.ExitStack() as proxies:
        if delay:
            for index, target in enumerate(targets):
                proxy = CountingProxy(target.address, target.port, delay=delay / 2000)
                proxies.enter_context(proxy)
                targets[index] = replace(target, address="127.0.0.1", port=proxy.port)
        yield targets


if __name__ == "__main__":
    try:
        main()
    except (GpurunError, RuntimeError) as error:
        raise SystemExit(f"benchmarks: {error}") from error
