"""Puts the shipped playbooks, templates and inventory example into the package.

They lie at the top of the repository, where people look for them; `runner/shipped.py` finds them in
both places. Everything else about the package is in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("playbooks/**/*", "templates/**/*", "inventory/*.example.yaml", "deploy/*.yaml")


class BuildWithShipped(build_py):
    """Copies what matches SHIPPED beside the code; an editable install reads the repository's."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "runner" / "_shipped"
        shutil.rmtree(target, ignore_errors=True)
        for pattern in SHIPPED:
            for path in filter(Path.is_file, Path().glob(pattern)):
                (target / path.parent).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target / path)


setup(cmdclass={"build_py": BuildWithShipped})
