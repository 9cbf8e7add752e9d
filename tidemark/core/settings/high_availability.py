"""Options of a standby JobManager on the local stack; elsewhere Flink's own configuration has them."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from tidemark.core.settings.addresses import Brokers, PlainPath
from tidemark.core.settings.section import Section

Mode = Literal["none", "zookeeper", "kubernetes"]


class HighAvailabilitySettings(Section):
    """Two JobManagers on the local stack, of which one leads (docs/high-availability.md)."""

    mode: Mode = Field("none", description="Who elects the JobManager that leads: `none`, `zookeeper`, `kubernetes`.")
    storage_dir: str = Field(
        "", description="URI of the plans of running jobs, `file:` or `s3:`; below the folder of state when empty."
    )
    cluster_id: str = Field(
        "tidemark",
        pattern=r"^[a-z][a-z0-9-]{0,44}$",
        description="Name of this cluster among those that share a store.",
    )
    failover_s: int = Field(
        8, ge=4, le=120, description="A JobManager that leads and is silent for so long loses its place."
    )
    zookeeper: Brokers | None = Field(
        None, description="Servers of ZooKeeper, host:port[,host:port]; the stack starts one of its own when empty."
    )
    kubeconfig: PlainPath | None = Field(
        None, description="File with the address and the credentials of a Kubernetes API, whose ConfigMaps are used."
    )
    namespace: str = Field("default", pattern=r"^[a-z0-9-]{1,63}$", description="Namespace of these ConfigMaps.")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.mode == "kubernetes" and self.kubeconfig is None:
            raise ValueError("mode kubernetes needs kubeconfig")
        if self.mode != "kubernetes" and self.kubeconfig is not None:
            raise ValueError(f"kubeconfig without effect: mode is {self.mode}")
        if self.mode != "zookeeper" and self.zookeeper is not None:
            raise ValueError(f"zookeeper without effect: mode is {self.mode}")
        return self

    @property
    def starts_zookeeper(self) -> bool:
        """Whether the local stack runs a ZooKeeper."""
        return self.mode == "zookeeper" and self.zookeeper is None
