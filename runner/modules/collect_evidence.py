"""`collect_evidence`: what a host says of its GPUs, kept where a reset or a reboot cannot reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

from pydantic import Field, StrictBool

from runner.hosts.script import Command
from runner.modules.base import Arguments, Change, Collect, Context, Module, Outcome, Probe

MIB = 1024 * 1024
DEADLINE = 30.0
"""Seconds of an ordinary look: nvidia-smi may hang on a GPU that is broken."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look: the name of its file, what to run, and how long it may take in seconds."""

    file: str
    shell: str
    timeout: float = DEADLINE


_NVIDIA = "10de:"
LOOKS = (
    Look("kernel/dmesg.txt", "dmesg --decode --time-format=iso 2>/dev/null || dmesg"),
    Look("kernel/journal.txt", "journalctl -k -b 0 -o short-iso --no-pager", 60.0),
    Look("kernel/journal-previous-boot.txt", "journalctl -k -b -1 -o short-iso --no-pager", 60.0),
    Look("kernel/uname.txt", "uname -a; cat /proc/cmdline"),
    Look("kernel/modules.txt", "lsmod"),
    Look("kernel/secure-boot.txt", "mokutil --sb-state"),
    Look("nvidia-smi/table.txt", "nvidia-smi"),
    Look("nvidia-smi/list.txt", "nvidia-smi -L"),
    Look("nvidia-smi/query.txt", "nvidia-smi -q"),
    Look("nvidia-smi/query.xml", "nvidia-smi -q -x"),
    Look("nvidia-smi/topology.txt", "nvidia-smi topo -m"),
    Look("nvidia-smi/nvlink.txt", "nvidia-smi nvlink -s"),
    Look("nvidia-smi/mig.txt", "nvidia-smi mig -lgi; nvidia-smi mig -lci"),
    Look(
        "nvidia-smi/processes.csv",
        "nvidia-smi --query-compute-apps=gpu_uuid,pid,process_name,used_memory --format=csv",
    ),
    Look(
        "nvidia-smi/retired-pages.csv",
        "nvidia-smi --query-retired-pages=gpu_uuid,retired_pages.address,retired_pages.cause"
        " --format=csv",
    ),
    Look(
        "nvidia-smi/remapped-rows.csv",
        "nvidia-smi --query-remapped-rows=gpu_uuid,remapped_rows.correctable,"
        "remapped_rows.uncorrectable,remapped_rows.pending,remapped_rows.failure --format=csv",
    ),
    Look("driver/version.txt", "cat /proc/driver/nvidia/version"),
    Look("driver/params.txt", "cat /proc/driver/nvidia/params"),
    Look("driver/gpus.txt", "tail -n +1 /proc/driver/nvidia/gpus/*/information"),
    Look("driver/module.txt", "modinfo nvidia"),
    Look("driver/dkms.txt", "dkms status"),
    Look("driver/packages.txt", "dpkg -l | grep -i -e nvidia -e cuda -e containerd"),
    Look("driver/held.txt", "apt-mark showhold"),
    Look("driver/open-by.txt", "fuser -v /dev/nvidia*"),
    Look("pci/lspci.txt", f"lspci -Dnnvvv -d {_NVIDIA}"),
    Look("network/infiniband.txt", "ibstat; rdma link"),
    Look("runtime/containerd.toml", "containerd config dump"),
    Look("runtime/pods.txt", "crictl info; crictl pods; crictl ps -a"),
    Look("runtime/xids.json", "cat /var/lib/gpurun/xids.json"),
    Look("dcgm/health.txt", "dcgmi health -g 0 -c", 60.0),
)
UNITS = "-u kubelet -u containerd -u 'nvidia-*' -u 'dcgm*'"
BUG_REPORT = """\
t=$(mktemp -d) && trap 'rm -rf "$t"' EXIT
nvidia-bug-report.sh --safe-mode --output-file "$t/report" >/dev/null && zcat "$t"/report*"""


class CollectEvidenceArguments(Arguments):
    folder: str = Field(
        "",
        description="Folder on the machine gpurun runs on; by default `evidence` beside the "
        "journal.",
    )
    hours: float = Field(24.0, gt=0, description="How far back the logs of services go.")
    limit_mib: float = Field(
        2.0, gt=0, le=7, description="The most that is kept of one look: its end."
    )
    bug_report: StrictBool = Field(
        False, description="Run nvidia-bug-report.sh too, which takes minutes."
    )


class CollectEvidence(Module[CollectEvidenceArguments]):
    """Keeps what a host says of its GPUs in an archive on the machine gpurun runs on.

    Logs of the kernel and of services, nvidia-smi in all its forms, the driver's files and
    packages, PCI, containerd, DCGM, and the node as the cluster has it. Every look has a deadline
    of its own, and one that fails or hangs stops none of the others. `HOST-TIME.tar.gz` holds a
    file of each, and `manifest.json` with what was run, how it ended, and every SHA-256.
    Secrets that gpurun knows, and what looks like one, are taken out; only its owner can read it.

    Nothing on the host is changed. It collects in every apply: give the task a `when`, or use the
    playbook `collect-evidence`.
    """

    name = "collect_evidence"
    arguments = CollectEvidenceArguments
    examples = (
        """\
- name: what is known, before anything is changed
  collect_evidence: {}
  when: remedy.action != "none"
""",
    )

    def probes(self, args: CollectEvidenceArguments, context: Context) -> Sequence[Probe]:
        return ()

    def plan(
        self, args: CollectEvidenceArguments, observed: Mapping[str, Any], context: Context
    ) -> Outcome:
        if not context.notified:
            return Outcome()
        looks = _looks(args)
        limit = int(args.limit_mib * MIB)
        where = args.folder or "evidence beside the journal"
        action = Collect(
            tuple(
                Command(
                    look.file,
                    bounded(look.shell, look.timeout, limit),
                    timeout=look.timeout + 15,
                    become=context.become,
                    user=context.user,
                )
                for look in looks
            ),
            {look.file: look.shell for look in looks},
            args.folder,
        )
        return Outcome(
            (
                Change(
                    summary=f"keep what {len(looks)} looks show, here in {where}",
                    do=(action,),
                    after={"files": [look.file for look in looks]},
                ),
            )
        )


def _looks(args: CollectEvidenceArguments) -> tuple[Look, ...]:
    since = f"-{int(args.hours * 60)}min"
    more = [
        Look(
            "services/journal.txt",
            f"journalctl {UNITS} --since={quote(since)} -o short-iso --no-pager",
            60.0,
        )
    ]
    if args.bug_report:
        more.append(Look("nvidia-bug-report.txt", BUG_REPORT, 600.0))
    return (*LOOKS, *more)


def bounded(shell: str, timeout: float, limit: int) -> str:
    """Shell that runs another text, ends it at its deadline, and prints the last `limit` bytes of
    what it said; its exit status is that of the text."""
    run = f"timeout -k 5 {timeout:g} sh -c {quote('LC_ALL=C; export LC_ALL; ' + shell)}"
    return (
        "exec 3>&1\n"
        f"rc=$({{ {{ {run} 3>&- 4>&- 2>&1 </dev/null; echo $? >&4; }} | "
        f"tail -c {limit} >&3; }} 4>&1)\n"
        'exit "$rc"'
    )
