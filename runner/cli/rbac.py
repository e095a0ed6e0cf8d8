"""gpurun rbac: what a cluster has to allow gpurun."""

from __future__ import annotations

import click


@click.command()
def rbac() -> int:
    """Print a service account and the roles it needs: gpurun rbac | kubectl apply -f -

    Its comments say what each permission is for. The tests of gpurun prove that it is enough, and
    that nothing in it is too much.
    """
    from runner.shipped import shipped

    click.echo((shipped() / "deploy" / "rbac.yaml").read_text(), nl=False)
    return 0
