"""What the wheel leaves out: the local stack, the demo and the generator of docs/reference.md belong to a checkout."""

from __future__ import annotations

from setuptools import setup
from setuptools.command.build_py import build_py

LEFT_OUT = (
    "infra",
    "tidemark.demo",
    "tidemark.cli.demo",
    "tidemark.cli.doctor",
    "tidemark.cli.figures",
    "tidemark.cli.reference",
    "tidemark.cli.stack",
)


def is_left_out(module: str) -> bool:
    """Whether a module or package is part of a checkout alone."""
    return any(module == name or module.startswith(f"{name}.") for name in LEFT_OUT)


class BuildWheel(build_py):
    """Build all packages but those that are left out; an editable install has everything."""

    def run(self) -> None:
        """Build without the packages that are left out."""
        if not self.editable_mode:
            self.packages = [package for package in self.packages or [] if not is_left_out(package)]
        super().run()

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Name the modules of a package as (package, module, file)."""
        found: list[tuple[str, str, str]] = super().find_package_modules(package, package_dir)
        return [one for one in found if self.editable_mode or not is_left_out(f"{package}.{one[1]}")]


setup(cmdclass={"build_py": BuildWheel})
