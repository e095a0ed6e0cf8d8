"""`python -m runner.lab.kube --folder DIR --nodes FILE --bind ADDRESS:PORT`"""

from __future__ import annotations

import argparse
import logging
import os
import signal
from pathlib import Path

from runner.lab.kube import nodes
from runner.lab.kube.cluster import LabCluster
from runner.lab.kube.kubelet import Timing


def main() -> None:
    """Serve until SIGTERM or SIGINT. The kubeconfig lies in the folder once requests are taken."""
    parser = argparse.ArgumentParser(prog="python -m runner.lab.kube", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="objects, keys, kubeconfig")
    parser.add_argument("--nodes", type=Path, required=True, help="nodes.json of the lab")
    parser.add_argument("--bind", required=True, metavar="ADDRESS:PORT")
    options = parser.parse_args()
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    os.umask(0o077)
    address, _, port = options.bind.rpartition(":")
    # Blocked before any thread exists, so that only sigwait below receives them.
    ending = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)
    with LabCluster(
        nodes.read(options.nodes),
        workloads=True,
        folder=options.folder,
        address=address,
        port=int(port),
        timing=Timing(),
    ) as cluster:
        print(f"serving {cluster.url}", flush=True)
        signal.sigwait(ending)


if __name__ == "__main__":
    main()
