"""The table `nvidia-smi` prints without a request, as since R535."""

from __future__ import annotations

from .query import MEMORY_OF_A_PROCESS, Row
from .report import cuda_version, devices_of, process_rows
from .state import Answer, Gpu, State, model_of

WIDE = 89
"""Inner width."""

_GPU_RULE = """\
+-----------------------------------------+------------------------+----------------------+"""
_GPU_HEAD = """\
| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC |
| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. |
|                                         |                        |               MIG M. |
|=========================================+========================+======================|"""

_MIG_RULE = """\
+------------------+----------------------------------+-----------+-----------------------+"""
_MIG_HEAD = """\
+-----------------------------------------------------------------------------------------+
| MIG devices:                                                                            |
+------------------+----------------------------------+-----------+-----------------------+
| GPU  GI  CI  MIG |              Shared Memory-Usage |        Vol|        Shared         |
|      ID  ID  Dev |                Shared BAR1-Usage | SM     Unc| CE ENC  DEC  OFA  JPG |
|                  |                                  |        ECC|                       |
|==================+==================================+===========+=======================|"""

_PROCESS_HEAD = """\
+-----------------------------------------------------------------------------------------+
| Processes:                                                                              |
|  GPU   GI   CI              PID   Type   Process name                        GPU Memory |
|        ID   ID                                                               Usage      |
|=========================================================================================|"""


def overview(state: State, gpus: list[Gpu], _: dict[str, str]) -> Answer:
    """`nvidia-smi` alone."""
    driver = state["modules"]["nvidia"]
    cuda = cuda_version(driver)
    lines = [
        "Tue Jul 14 09:00:26 2026       ",
        f"+{'-' * WIDE}+",
        f"| NVIDIA-SMI {driver:<20}   Driver Version: {driver:<14} CUDA Version: {cuda:<9}|",
        _GPU_RULE,
        _GPU_HEAD,
    ]
    for gpu in (gpu for gpu in gpus if not gpu["lost"]):
        lines += [*_gpu_rows(Row(state, gpu, model_of(state))), _GPU_RULE]
    if any(gpu["mig"] for gpu in gpus):
        lines += ["", _MIG_HEAD, *_mig_rows(state, gpus)]
    lines += ["", _PROCESS_HEAD, *_process_rows(state, gpus), f"+{'-' * WIDE}+"]
    return Answer(0, "\n".join(lines) + "\n")


def _gpu_rows(row: Row) -> list[str]:
    gpu, model = row.gpu, row.model
    ecc, load = ("On", "N/A") if gpu["mig"] else ("0", row.load())
    mode = row.mode(gpu["mig"]).strip("[]")
    pending = "*" if gpu["mig"] != gpu["mig_pending"] else ""
    on = "On" if gpu["persistence"] else "Off"
    return [
        f"| {gpu['index']:3}  {model.product:<29}{on:>4}  |   {gpu['pci']} Off |{ecc:>21} |",
        f"| N/A   31C    P0             69W / {model.power_limit:4}W |"
        f" {row.used():7}MiB / {model.memory:6}MiB |{load:>8}      Default |",
        f"|{'':41}|{'':24}|{mode + pending:>21} |",
    ]


def _mig_rows(state: State, gpus: list[Gpu]) -> list[str]:
    lines: list[str] = []
    for gpu, one in [(each, one) for each in gpus for one in devices_of(state, each)]:
        p = one.profile
        sm = p.sm * one.compute["slices"] // p.slices
        lines += [
            f"| {gpu['index']:2} {one.instance['id']:4} {one.compute['id']:3} {one.number:3}  |"
            f" {9:15}MiB / {p.memory:5}MiB    |{sm:3} {0:6} |"
            f"{p.copy_engines:3}{p.encoders:4}{p.decoders:5}{p.ofa:5}{p.jpeg:5} |",
            f"|{'':18}| {0:15}MiB / {p.memory * 2 // 3:5}MiB    |{'':11}|{'':23}|",
            _MIG_RULE,
        ]
    return lines or [f"|{'  No MIG devices found':<{WIDE}}|", f"+{'-' * WIDE}+"]


def _process_rows(state: State, gpus: list[Gpu]) -> list[str]:
    rows = [
        f"|{gpu['index']:5}   {gi:>3}  {ci:>3} {pid:>16}      C   {name[:36]:<36}"
        f"{MEMORY_OF_A_PROCESS:>7}MiB |"
        for gpu in gpus
        for gi, ci, pid, name in process_rows(state, gpu)
    ]
    return rows or [f"|{'  No running processes found':<{WIDE}}|"]
