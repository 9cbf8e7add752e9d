"""Programs of Kubernetes, built by Go once a machine: that takes minutes, so only `make kube-test` asks for them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from infra.local.paths import cache_dir, locked
from infra.local.progress import Progress
from infra.local.provision import once, run_program
from infra.versions import HELM, KUBECONFORM, KUBERNETES, KWOK
from tidemark.core.errors import UnavailableError

# Programs with a module of their own: package and version.
SINGLE: Mapping[str, tuple[str, str]] = {
    "helm": ("helm.sh/helm/v3/cmd/helm", HELM),
    "kubeconform": ("github.com/yannh/kubeconform/cmd/kubeconform", KUBECONFORM),
    "kwok": ("sigs.k8s.io/kwok/cmd/kwok", KWOK),
}
# Programs of one module, because Kubernetes asks for its own parts by paths that only its repository has.
CONTROL_PLANE: Mapping[str, str] = {
    "kube-apiserver": "k8s.io/kubernetes/cmd/kube-apiserver",
    "kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
    "kube-scheduler": "k8s.io/kubernetes/cmd/kube-scheduler",
    "kubectl": "k8s.io/kubernetes/cmd/kubectl",
    # The version that Kubernetes is tested with.
    "etcd": "go.etcd.io/etcd/server/v3",
}
_STAGED = re.compile(r"^\s*(k8s\.io/\S+) => \./staging/", re.MULTILINE)


def tool(name: str, progress: Progress) -> Path:
    """The path of a program, built when it is not there yet.

    Raises
    ------
    UnavailableError
        There is no Go, or the build failed three times; the message ends with the output of Go.
    """
    target = _target(name)
    with locked(cache_dir() / f".{target.name}.lock", wait=True, what=name):
        build = _single(name) if name in SINGLE else _of_kubernetes(name)
        once(target, progress, f"building {name} by Go (minutes, once a machine)", build)
    return target / name


def _target(name: str) -> Path:
    return cache_dir() / f"{name}-{SINGLE[name][1] if name in SINGLE else KUBERNETES}"


def _single(name: str) -> Callable[[Path], None]:
    package, version = SINGLE[name]
    return lambda target: run_program(
        [go_program(), "install", f"{package}@v{version}"], _environment(GOBIN=str(target))
    )


def _of_kubernetes(name: str) -> Callable[[Path], None]:
    def build(target: Path) -> None:
        module = cache_dir() / f"kubernetes-{KUBERNETES}-module"
        if not (module / "go.sum").is_file():
            _write_module(module)
        major, minor, _ = KUBERNETES.split(".")
        stamp = "k8s.io/component-base/version"
        flags = f"-s -w -X {stamp}.gitVersion=v{KUBERNETES} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
        command = [go_program(), "-C", str(module), "build", "-mod=mod", "-ldflags", flags, "-o", str(target / name)]
        run_program([*command, CONTROL_PLANE[name]], _environment())

    return build


def _write_module(module: Path) -> None:
    """A module that only requires Kubernetes, and says where its parts are published."""
    wanted = subprocess.run(
        [go_program(), "mod", "download", "-json", f"k8s.io/kubernetes@v{KUBERNETES}"],
        env=_environment(), check=True, capture_output=True, text=True,
    )  # fmt: skip
    names = _STAGED.findall(Path(json.loads(wanted.stdout)["GoMod"]).read_text("utf-8"))
    module.mkdir(parents=True, exist_ok=True)
    (module / "go.mod").write_text(go_mod(names), "utf-8")
    imports = "\n".join(f'\t_ "{package}"' for package in CONTROL_PLANE.values())
    (module / "tools.go").write_text(f"//go:build tools\n\npackage tools\n\nimport (\n{imports}\n)\n", "utf-8")
    run_program([go_program(), "-C", str(module), "mod", "tidy", "-e"], _environment())


def go_mod(names: list[str]) -> str:
    """The file go.mod that builds programs of Kubernetes outside of its repository.

    Parameters
    ----------
    names:
        Its parts that have modules of their own, whose versions are `v0.MINOR.PATCH`.
    """
    part = f"v0.{KUBERNETES.partition('.')[2]}"
    replaced = "\n".join(f"\t{name} => {name} {part}" for name in names)
    return (
        f"module tidemark.invalid/tools\n\ngo 1.26.0\n\ngodebug default=go1.26\n\n"
        f"require k8s.io/kubernetes v{KUBERNETES}\n\nreplace (\n{replaced}\n)\n"
    )


def _environment(**more: str) -> dict[str, str]:
    # No cgo: no C compiler is needed. No stamp: the folder may be inside a repository of somebody else.
    return {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", **more}


def go_program() -> str:
    """Go: of PATH, or where its own archive is unpacked to; raises UnavailableError where there is none."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        raise UnavailableError("there is no Go.", "install Go 1.26 or newer.")
    return found
