"""The simulator prints what real machines printed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runner.facts.nvidia import parse_gpus, parse_instances
from runner.hosts.script import Result
from runner.lab.gpu import add_client
from runner.lab.gpu.state import changing
from tests.gpu.transcripts import Node, refusal, session, transcript


def test_whole_life_of_seven_instances_on_an_h100_byte_for_byte(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80").at("00000000:16:00.0")
    for command, printed in session("mig-session.h100-80-7x1g.txt"):
        answer = node.run(command)
        assert (command, answer.out, answer.rc) == (command, printed, 0)


@pytest.mark.parametrize("name", ["mig-session.a100-40-3g3g.txt", "mig-session.a100-40-mixed.txt"])
def test_sessions_on_an_a100_in_the_same_order_with_the_same_ids(name: str, tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-40").at("00000000:36:00.0")
    node.smi("-mig 1")
    for command, printed in session(name):
        if "-cgi" in command:
            node.smi("mig -dci")
            node.smi("mig -dgi")
        if "-dci -ci" in command:
            break  # The rest of that session starts from another geometry than it showed.
        out = node.run(command).out
        if command.endswith("-lgi"):
            assert placements(out) == placements(printed)
        elif "-cgi" in command and "3g3g" in name:
            # This old transcript alone shows the ids of the two halves swapped in its table.
            assert out.splitlines() == printed.splitlines()
        else:
            assert out == printed


def placements(table: str) -> list[tuple[str, str]]:
    found = parse_instances(table, "")
    return sorted((one.profile, one.placement) for row in found.values() for one in row)


@pytest.mark.parametrize(
    ("model", "listing"),
    [
        ("A100-40", "mig-lgip.a100-40.txt"),
        ("A30", "mig-lgip.a30.txt"),
        ("H100-80", "mig-lgip.h100-80.txt"),
    ],
)
def test_profile_tables_byte_for_byte(model: str, listing: str, tmp_path: Path) -> None:
    node = Node(tmp_path, model)
    node.smi("-mig 1")
    assert node.smi("mig -lgip").out == transcript(listing)


def test_profile_rows_of_the_h200(tmp_path: Path) -> None:
    node = Node(tmp_path, "H200-141")
    node.smi("-mig 1")
    rows = [line.split() for line in node.smi("mig -lgip").out.splitlines()]
    for line in transcript("mig-lgip.h200.partial.txt").splitlines():
        if re.match(r"\|\s+\d", line):
            assert line.split() in rows


@pytest.mark.parametrize(
    ("model", "listing"),
    [("A100-40", "mig-lgipp.a100-40.txt"), ("H100-80", "mig-lgipp.h100-80.txt")],
)
def test_placements_byte_for_byte(model: str, listing: str, tmp_path: Path) -> None:
    node = Node(tmp_path, model)
    node.smi("-mig 1")
    assert node.smi("mig -lgipp").out == transcript(listing)


def test_placements_of_the_a30_but_for_the_profile_that_came_later(tmp_path: Path) -> None:
    node = Node(tmp_path, "A30")
    node.smi("-mig 1")
    lines = node.smi("mig -lgipp").out.splitlines()
    assert [x for x in lines if "ID  6" not in x] == transcript("mig-lgipp.a30.txt").splitlines()
    node.smi("mig -cgi 14,14,14,14 -C")
    assert node.smi("mig -lgi").out == transcript("mig-lgi.a30-4x1g.txt")


def test_compute_instances_of_a_split_3g(tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-40")
    node.smi("-mig 1")
    node.smi("mig -cgi 4g.20gb")
    node.smi("mig -dgi")
    node.smi("mig -cgi 3g.20gb:0")
    for command, printed in session("mig-lcip-lci.a100-40.txt"):
        answer = node.run(command)
        if command.endswith("-lci -gi 1"):
            # Newer drivers add the placement.
            names = [line.split()[1:7] for line in printed.splitlines() if "MIG" in line]
            assert [x.split()[1:7] for x in answer.out.splitlines() if "MIG" in x] == names
        elif "-cci" in command:
            # Real drivers name no id of the new compute instance in this old transcript.
            assert re.sub(r"ID +\d+ on", "on", answer.out) == printed
        else:
            words = [line.split() for line in printed.splitlines() if line.startswith("|  ")]
            shown = [line.split() for line in answer.out.splitlines() if line.startswith("|  ")]
            # The listing was taken when the instance was full.
            assert [w[:6] for w in shown] == [w[:6] for w in words]


@pytest.mark.parametrize(
    ("model", "create", "listing"),
    [
        ("H100-80", "1g.10gb," * 6 + "1g.10gb", "smi-L.h100-7x1g.10gb.txt"),
        ("H100-80", "3g.40gb,2g.20gb,1g.10gb,1g.10gb", "smi-L.h100-all-balanced.txt"),
        ("H100-80", "3g.40gb,2g.20gb,1g.10gb,1g.10gb", "cap.h100-mig-590.smi-L.txt"),
        ("H100-80", "", "cap.h100-590.smi-L.txt"),
    ],
)
def test_list_of_devices_but_for_uuids(
    model: str, create: str, listing: str, tmp_path: Path
) -> None:
    node = Node(tmp_path, model)
    if create:
        node.smi("-mig 1")
        node.smi(f"mig -cgi {create} -C")
    assert without_uuids(node.smi("-L").out) == without_uuids(transcript(listing))


def without_uuids(text: str) -> str:
    return re.sub(r"(GPU|MIG)-[0-9a-f-]{36}", r"\1-…", text)


def test_split_compute_instances_are_listed_like_on_the_h200(tmp_path: Path) -> None:
    node = Node(tmp_path, "H200-141")
    node.smi("-mig 1")
    node.smi("mig -cgi 3g.71gb")
    node.smi("mig -gi 2 -cci 1c.3g.71gb,2c.3g.71gb")
    node.smi("mig -cgi 2g.35gb,1g.18gb,1g.18gb -C")
    assert without_uuids(node.smi("-L").out) == without_uuids(
        transcript("cap.h200-mig-590.smi-L.txt")
    )


@pytest.mark.parametrize(
    ("mig", "capture"),
    [(True, "cap.h100-mig-590.smi.idle.txt"), (False, "cap.h100-590.smi.idle.txt")],
)
def test_overview_has_the_frame_of_the_real_one(mig: bool, capture: str, tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80", driver="590.48.01").at("00000000:00:09.0")
    if mig:
        node.smi("-mig 1")
        node.smi("mig -cgi 3g.40gb,2g.20gb,1g.10gb,1g.10gb -C")
    assert measures_hidden(node.smi().out) == measures_hidden(transcript(capture))


def measures_hidden(text: str) -> list[str]:
    """Lines without date, and measured numbers (temperature, power, memory in use) as 0."""
    text = re.sub(r" +\d+MiB /", " 0MiB /", text)
    text = re.sub(r"0MiB / +\d+MiB    \|           \|", "0MiB / BAR1 |", text)
    text = re.sub(r"N/A +\d+C +P0 +\d+W", "N/A 0C P0 0W", text)
    return text.splitlines()[1:]


def test_report_in_text_has_the_lines_of_the_real_one(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    node.smi("-mig 1")
    node.smi("mig -cgi 3g.40gb,2g.20gb,1g.10gb,1g.10gb -C")
    real = transcript("cap.h100-mig-590.smi-q.idle.txt").splitlines()
    shown = node.smi("-q").out.splitlines()
    assert {"GPU Instance ID", "MIG Mode", "Multiprocessor count"} <= labels(shown)
    for label in (
        "        GPU Instance ID",
        "        Index",
        "                Multiprocessor count",
    ):
        ours = [x for x in shown if x.startswith(label + " ")][:4]
        theirs = [x for x in real if x.startswith(label + " ")][:4]
        assert ours == theirs


def labels(lines: list[str]) -> set[str]:
    return {line.partition(":")[0].strip() for line in lines}


def test_csv_and_help_agree_with_the_captures(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    head, row = transcript("cap.h100-590.query-gpu.idle.txt").splitlines()[:2]
    real = dict(zip(head.split(", "), row.split(", "), strict=True))
    same = "count,name,mig.mode.current,memory.total,pci.device_id,compute_cap,utilization.gpu"
    same += ",remapped_rows.pending,remapped_rows.correctable,persistence_mode,power.limit"
    head, row = node.smi(f"--query-gpu={same} --format=csv").out.splitlines()
    shown = dict(zip(head.split(", "), row.split(", "), strict=True))
    assert shown.items() <= {**real, "power.limit [W]": real.get("power.limit [W]", "")}.items()
    offered = set(re.findall(r'"([^"]+)"', transcript("cap.h100-mig-590.help-query-gpu.txt")))
    old = {"reset_status.reset_required", "reset_status.drain_and_reset_recommended"}
    assert set(re.findall(r'"([^"]+)"', node.smi("--help-query-gpu").out)) - old <= offered


def test_mig_hides_what_belongs_to_the_whole_gpu(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    node.smi("-mig 1")
    head, row = transcript("cap.h100-mig-590.query-gpu.idle.txt").splitlines()[:2]
    real = dict(zip(head.split(", "), row.split(", "), strict=True))
    fields = ("utilization.gpu [%]", "remapped_rows.pending", "mig.mode.current")
    asked = ",".join(field.split()[0] for field in fields)
    shown = node.smi(f"--query-gpu={asked} --format=csv,noheader").out.strip().split(", ")
    assert shown == [real[field] for field in fields]


def test_compute_apps_carry_the_uuid_of_the_whole_gpu(tmp_path: Path) -> None:
    node = Node(tmp_path, "H100-80")
    ask = "--query-compute-apps=gpu_uuid,pid,process_name,used_memory --format=csv"
    idle = node.smi(ask).out
    assert idle == "gpu_uuid, pid, process_name, used_gpu_memory [MiB]\n"
    node.smi("-mig 1")
    node.smi("mig -cgi 1g.10gb -C")
    device = re.findall(r"MIG-[0-9a-f-]{36}", node.smi("-L").out)[0]
    add_client(tmp_path, "pod", 21180, "/root/tools/memhog", [device])
    (row,) = node.smi(ask).out.splitlines()[1:]
    assert re.fullmatch(r"GPU-[0-9a-f-]{36}, 21180, /root/tools/memhog, 1024 MiB", row)


@pytest.mark.parametrize(
    ("model", "name"),
    [("A100-80", "smi-q-x.a100-sxm4-v12.xml.txt"), ("T4", "smi-q-x.tesla-t4.xml.txt")],
)
def test_xml_is_read_by_the_parser_of_the_real_one(model: str, name: str, tmp_path: Path) -> None:
    node = Node(tmp_path, model)
    # The A100's report was cut to one of four GPUs before it was published.
    real = transcript(name).replace("<attached_gpus>4<", "<attached_gpus>1<")
    ours, theirs = (
        parse_gpus(Result(0, text.encode()))[0] for text in (node.smi("-q -x").out, real)
    )
    assert (ours.product, ours.device, ours.memory) == (
        theirs.product,
        theirs.device,
        theirs.memory,
    )
    assert ours.mig_capable is theirs.mig_capable


def test_xml_has_only_elements_the_real_one_has(tmp_path: Path) -> None:
    node = Node(tmp_path, "A100-80")
    node.smi("-mig 1")
    node.smi("mig -cgi 1g.10gb -C")
    add_client(tmp_path, "pod", 7, "python", [0])
    real = transcript("smi-q-x.a100-sxm4-v12.xml.txt") + transcript("smi-q-x.tesla-t4.xml.txt")
    elements = re.compile(r"<(\w+)")
    assert set(elements.findall(node.smi("-q -x").out)) <= set(elements.findall(real))


class TestRefusals:
    def test_pending_because_somebody_has_the_gpu_open(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40").at("00000000:07:00.0")
        add_client(tmp_path, "pod", 7, "python", [0])
        answer = node.smi("-mig 1")
        assert (answer.out, answer.rc) == (refusal("enable while a process holds the GPU"), 0)

    def test_pending_because_the_reset_is_not_exposed(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40").at("00000000:00:03.0")
        not_resettable(node)
        answer = node.smi("-mig 1")
        assert (answer.out, answer.rc) == (refusal("enable in a VM"), 0)
        answer = node.smi("--gpu-reset")
        assert (answer.out, answer.rc) == (refusal("reset in a pass-through VM"), 255)

    def test_pending_disable(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40").at("00000000:C1:00.0")
        node.smi("-mig 1")
        add_client(tmp_path, "plugin", 7, "nvidia-device-plugin", [0])
        answer = node.smi("-mig 0")
        assert (answer.out, answer.rc) == (refusal("disable, same shapes"), 0)

    def test_gpu_without_mig(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "T4").at("00000000:21:00.0")
        answer = node.smi("-mig 1")
        assert (answer.out, answer.rc) == (refusal("unsupported GPU"), 0)
        answer = node.smi("mig -lgip")
        assert (answer.out, answer.rc) == (refusal("no MIG GPUs"), 6)

    def test_mig_off(self, tmp_path: Path) -> None:
        answer = Node(tmp_path, "H100-80").smi("mig -cgi 19 -C")
        assert (answer.out, answer.rc) == (refusal("MIG capable but mode disabled"), 6)

    def test_nothing_to_list(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.smi("-mig 1")
        answers = [node.smi("mig -lgi"), node.smi("mig -lci")]
        assert "".join(answer.out for answer in answers) == refusal("nothing to list")
        assert [answer.rc for answer in answers] == [6, 6]

    def test_too_many_and_the_first_stay(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40")
        node.smi("-mig 1")
        answer = node.smi("mig -cgi 9,9,9")
        assert answer.out.endswith(refusal("-cgi 9,9,9 on A100-40")) and answer.rc == 23
        assert placements(node.smi("mig -lgi").out) == [("3g.20gb", "0:4"), ("3g.20gb", "4:4")]

    def test_small_ones_first_leave_no_half(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "A100-40")
        node.smi("-mig 1")
        answer = node.smi("mig -cgi 19,19,14,9")
        assert answer.out == refusal("-cgi 19,19,14,9 on A100-40")
        node.smi("mig -dgi")
        assert node.smi("mig -cgi 9,19,14,19").rc == 0

    def test_profile_of_another_gpu(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.smi("-mig 1")
        answer = node.smi("mig -cgi 7g.40gb -C")
        assert (answer.out, answer.rc) == (refusal("unknown / wrong-for-this-GPU profile"), 2)

    def test_whole_gpu_open_while_creating(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.smi("-mig 1")
        add_client(tmp_path, "x", 7, "Xorg", [0])
        answer = node.smi("mig -cgi 14 -C")
        assert (answer.out, answer.rc) == (refusal("-cgi while a process"), 19)

    def test_gpu_instance_before_its_compute_instance(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80")
        node.smi("-mig 1")
        node.smi("mig -cgi 3g.40gb,2g.20gb -C")
        answer = node.smi("mig -gi 3 -dgi")
        assert (answer.out, answer.rc) == (refusal("-dgi before -dci"), 19)

    def test_reset_while_somebody_has_the_gpu_open(self, tmp_path: Path) -> None:
        node = Node(tmp_path, "H100-80").at("00000000:8B:00.0")
        add_client(tmp_path, "exporter", 7, "dcgm-exporter", [0])
        answer = node.smi("--gpu-reset -i 0")
        assert (answer.out, answer.rc) == (refusal("reset refused (newer wording"), 255)

    def test_reset(self, tmp_path: Path) -> None:
        answer = Node(tmp_path, "A100-40").at("00000000:C1:00.0").smi("-r -i 0")
        assert (answer.out, answer.rc) == (refusal("reset ok"), 0)

    def test_unknown_field_fails_the_whole_query(self, tmp_path: Path) -> None:
        answer = Node(tmp_path, "H100-80").smi("--query-gpu=index,cuda_version --format=csv")
        wanted = refusal("bad field", "errors.driver-and-query.txt")
        assert (answer.out, answer.rc) == (wanted, 2)


def not_resettable(node: Node) -> None:
    with changing(node.root) as state:
        state["gpus"][0]["resettable"] = False


def test_links_are_shown_as_the_real_command_does(tmp_path: Path) -> None:
    text = transcript("cap.h100-590.nvlink-s.txt")
    shown = Node(tmp_path, "H100-80").smi("nvlink -s").out
    assert re.sub(r"GPU-[0-9a-f-]+", "GPU", shown) == re.sub(r"GPU-[0-9a-f-]+", "GPU", text)
