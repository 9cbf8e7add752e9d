"""The chart on a real API server: everything it makes is accepted as it stands, installed, upgraded and rolled back."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.kubernetes import schemas
from infra.kubernetes.cluster import Cluster
from infra.kubernetes.tools import tool
from infra.local.progress import Lines
from infra.service_settings import STANDARD_PORTS
from jobs.flink.rest import wait_until
from tests.kube.conftest import CHART, parsed, values
from tidemark.core.settings import Settings

OPERATOR = ["--set", "flink.mode=operator"]
EVERYTHING = [
    *values("large"), "--set",
    "hooks.acls=true,secrets.kafka.admin=a,secrets.s3=b,networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8",
]  # fmt: skip
WAYS = {
    "default": [], "small": values("small"), "large": values("large"), "operator": OPERATOR, "everything": EVERYTHING
}  # fmt: skip
QUERY_SERVICE = 6125
# Ready pods by Deployment.
SMALL = {"t-all": 1, "t-jobmanager": 1, "t-resubmit": 1, "t-taskmanager": 1, "t-web": 1}
LARGE = {
    "t-api": 3, "t-archive": 2, "t-billing": 2, "t-jobmanager": 2, "t-pipeline": 3, "t-reconcile": 1,
    "t-taskmanager": 4, "t-web": 2,
}  # fmt: skip
ways = pytest.mark.parametrize("way", WAYS)


def rendered(cluster: Cluster, *arguments: str) -> str:
    return cluster.helm("template", "t", str(CHART), "--validate", *arguments)


@ways
def test_the_api_server_accepts_every_resource_and_knows_every_field(cluster: Cluster, way: str) -> None:
    text = rendered(cluster, *WAYS[way])
    dry = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--output", "name", "--filename", "-"]
    assert len(cluster.kubectl(*dry, given=text).split()) == len(parsed(text)) > 15


def test_a_field_that_is_misspelt_is_refused(cluster: Cluster) -> None:
    text = rendered(cluster).replace("terminationGracePeriodSeconds", "terminationGraceSeconds", 1)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        cluster.kubectl(
            "apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", "-", given=text
        )
    assert "terminationGraceSeconds" in refused.value.stderr


@ways
def test_helm_lints_and_kubeconform_agrees(cluster: Cluster, way: str, tmp_path: Path) -> None:
    cluster.helm("lint", "--strict", "--kube-version", "1.37.0", str(CHART), *WAYS[way])
    assert schemas.write(cluster.api("/openapi/v2"), tmp_path) > 80
    command = [str(tool("kubeconform", Lines())), "-strict", "-summary"]
    command += ["-schema-location", f"{tmp_path}/{schemas.LOCATION}"]
    text = rendered(cluster, *WAYS[way])
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"Valid: {len(parsed(text))}, Invalid: 0, Errors: 0, Skipped: 0" in done.stdout


@ways
def test_the_settings_file_is_one(cluster: Cluster, way: str) -> None:
    texts = [
        one["data"]["settings.yaml"]
        for one in parsed(rendered(cluster, *WAYS[way]))
        if one["kind"] == "ConfigMap" and "settings.yaml" in one["data"]
    ]
    assert len(texts) == 2
    assert texts[0] == texts[1]
    settings = Settings(**yaml.safe_load(texts[0]))
    assert settings.api.listen.endswith(":8080")
    assert settings.postgres.passfile == Path("/run/tidemark/pgpass")
    assert settings.health.jobs == (
        ("meter", "rollup", "anomaly") if way in {"large", "everything"} else ("meter", "rollup")
    )


def test_it_is_installed_upgraded_and_rolled_back(cluster: Cluster) -> None:
    # Given a namespace in which only pods of Kubernetes' strictest standard may run, ...
    cluster.kubectl("create", "namespace", "one")
    cluster.kubectl("label", "namespace", "one", "pod-security.kubernetes.io/enforce=restricted")
    cluster.kubectl("apply", "--filename", "-", given=yaml.safe_dump_all(claim("one", "tidemark-state")))
    upgrade = ["upgrade", "--install", "t", str(CHART), "--namespace", "one", "--wait", "--timeout", "3m"]
    # ... when it is installed, ...
    cluster.helm(*upgrade, *values("small"))
    becomes(cluster, SMALL)
    # ... its jobs submitted once more by hand, ...
    cluster.kubectl("--namespace", "one", "create", "job", "--from=cronjob/t-submit", "by-hand")
    cluster.kubectl("--namespace", "one", "wait", "--for=condition=Complete", "--timeout=60s", "job/by-hand")
    cluster.kubectl("--namespace", "one", "delete", "job/by-hand")
    # ... upgraded to many processes of another image, ...
    cluster.helm(*upgrade, *values("large"), "--set", "flink.taskManager.scratch.storageClassName=")
    becomes(cluster, LARGE)
    # ... and rolled back, then every pod is there again, and hooks have left no Job.
    cluster.helm("rollback", "t", "1", "--namespace", "one", "--wait", "--timeout", "3m")
    becomes(cluster, SMALL)
    assert cluster.kubectl("--namespace", "one", "get", "jobs", "--output", "name") == ""
    cluster.helm("uninstall", "t", "--namespace", "one", "--wait", "--timeout", "2m")
    left = cluster.kubectl("--namespace", "one", "get", "deployments,services,poddisruptionbudgets", "--output", "name")
    assert left == ""


def claim(namespace: str, name: str) -> list[dict[str, Any]]:
    """A claim and the volume for it, which nobody looks into."""
    common: dict[str, Any] = {"storageClassName": "", "accessModes": ["ReadWriteMany"]}
    where = {"capacity": {"storage": "1Gi"}, "hostPath": {"path": "/nowhere"}}
    asked = {"volumeName": name, "resources": {"requests": {"storage": "1Gi"}}}
    head = {"apiVersion": "v1", "metadata": {"name": name}}
    return [
        {**head, "kind": "PersistentVolume", "spec": {**common, **where}},
        {
            **head, "kind": "PersistentVolumeClaim", "metadata": {"name": name, "namespace": namespace},
            "spec": {**common, **asked},
        },
    ]  # fmt: skip


def becomes(cluster: Cluster, pods: dict[str, int]) -> None:
    # Helm does not wait for pods that are too many.
    wait_until(lambda: ready(cluster, "one") == pods, 60, f"pods to be {pods}")


def ready(cluster: Cluster, namespace: str) -> dict[str, int]:
    """Ready pods by Deployment."""
    document = yaml.safe_load(cluster.kubectl("--namespace", namespace, "get", "deployments", "--output", "yaml"))
    return {one["metadata"]["name"]: one["status"].get("readyReplicas", 0) for one in document["items"]}


def test_passwords_are_where_the_settings_say_and_nobody_else_reads_them(cluster: Cluster, tmp_path: Path) -> None:
    found = {
        one["metadata"]["name"]: one
        for one in parsed(rendered(cluster, *values("large")))
        if one["kind"] == "Deployment"
    }
    secrets = {"postgres-ops/pgpass", "postgres-ledger/pgpass", "kafka-operator/password", "kafka-meter/password"}
    for secret in secrets:
        file = tmp_path / "etc/tidemark" / secret
        file.parent.mkdir(parents=True)
        # Without an end of its line, as `kubectl create secret` takes a file.
        file.write_text(f"*:*:*:of-{secret.partition('/')[0]}:secret")
    made = {name: passwords(found[f"t-{name}"], tmp_path) for name in ("billing", "taskmanager")}
    assert made["billing"] == {
        "pgpass": "*:*:*:of-postgres-ledger:secret\n*:*:*:of-postgres-ops:secret\n",
        "operator.properties": "password=*:*:*:of-kafka-operator:secret\n",
    }
    assert made["taskmanager"]["meter.properties"] == (
        "username=tidemark-meter\npassword=*:*:*:of-kafka-meter:secret\n"
    )


def passwords(deployment: dict[str, Any], folder: Path) -> dict[str, str]:
    """What the init container of a Deployment writes, its folders being below one here."""
    (container,) = deployment["spec"]["template"]["spec"]["initContainers"]
    run = folder / "run/tidemark"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    command = [re.sub(r"/(etc|run)/tidemark", rf"{folder}/\1/tidemark", one) for one in container["command"]]
    subprocess.run(command, check=True)
    assert all(one.stat().st_mode & 0o077 == 0 for one in run.iterdir())
    return {one.name: one.read_text() for one in run.iterdir()}


def test_secrets_of_receivers_and_files_that_settings_name_are_mounted_where_they_are_needed(cluster: Cluster) -> None:
    made = parsed(rendered(cluster, *values("large"), "--set", "secrets.files.postgres=postgres-ca"))
    (settings,) = {one["data"]["settings.yaml"] for one in made if "settings.yaml" in one.get("data", {})}
    folder = Settings(**yaml.safe_load(settings)).delivery.secrets_dir
    mounted = {one["metadata"]["name"]: mounts(one) for one in made if one["kind"] == "Deployment"}
    assert [name for name, folders in mounted.items() if folders.get(str(folder)) == "tidemark-receivers"] == [
        "t-pipeline"
    ]
    assert {folders["/etc/tidemark/files-postgres"] for folders in mounted.values()} == {"postgres-ca"}


def test_pods_of_the_operator_are_as_those_of_deployments(cluster: Cluster) -> None:
    asked = {"flink.stateClaim": "shared", "flink.nodeSelector.disk": "nvme", "image.pullSecrets[0].name": "registry"}
    given = ["--set", ",".join(f"{name}={value}" for name, value in asked.items())]
    made = {one["kind"]: one for one in parsed(rendered(cluster, *OPERATOR, *given))}["FlinkDeployment"]["spec"]
    deployed = {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in parsed(rendered(cluster, *given))
        if one["kind"] == "Deployment"
    }
    for component in ("jobManager", "taskManager"):
        pod, other = made[component]["podTemplate"], deployed[f"t-{component.lower()}"]
        # What network policies and monitors select.
        assert pod["metadata"]["labels"] == other["metadata"]["labels"]
        assert {name: other["spec"][name] for name in pod["spec"].keys() - {"containers"}} == {
            name: value for name, value in pod["spec"].items() if name != "containers"
        }
        (container,), (usual,) = pod["spec"]["containers"], other["spec"]["containers"]
        assert container["volumeMounts"] == usual["volumeMounts"]
        assert container["securityContext"].items() <= usual["securityContext"].items()
    assert [made[component]["resource"]["cpu"] for component in ("jobManager", "taskManager")] == [0.5, 2]


def mounts(deployment: dict[str, Any]) -> dict[str, str]:
    """Secrets of a Deployment by the folder that its container has them in."""
    pod = deployment["spec"]["template"]["spec"]
    secrets = {one["name"]: one["secret"]["secretName"] for one in pod["volumes"] if "secret" in one}
    (container,) = pod["containers"]
    return {one["mountPath"]: secrets[one["name"]] for one in container["volumeMounts"] if one["name"] in secrets}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("serve.api.roles[0]=biller", "/serve/api"),
        ("flink.state_dir=s3://x", "additional properties"),
        ("settings.flink.state_dir=/local", "/settings/flink/state_dir"),
        ("image.flink.digest=latest", "/image/flink/digest"),
    ],
)
def test_values_that_mean_nothing_are_refused(cluster: Cluster, wrong: str, why: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(cluster, "--set", wrong)
    assert why in refused.value.stderr


@ways
def test_no_port_of_a_task_manager_is_open_but_those_of_flink(cluster: Cluster, way: str) -> None:
    found = parsed(rendered(cluster, *WAYS[way]))
    labels = {"app.kubernetes.io/name": "tidemark", "app.kubernetes.io/instance": "t"}
    labels["app.kubernetes.io/component"] = "taskmanager"
    policies = [one for one in found if one["kind"] == "NetworkPolicy" and selects(one["spec"]["podSelector"], labels)]
    ports = {port["port"] for one in policies for rule in one["spec"]["ingress"] for port in rule["ports"]}
    flink = {STANDARD_PORTS[name] for name in ("flink_rpc", "flink_blob", "flink_task_rpc", "flink_task_data")}
    assert ports == {"metrics", QUERY_SERVICE, *flink}


def test_a_process_gets_requests_while_what_answers_them_is_ready(cluster: Cluster) -> None:
    found = parsed(rendered(cluster, *values("small"))) + parsed(rendered(cluster))
    asked = {
        one["metadata"]["name"]: container["readinessProbe"]["httpGet"]["path"]
        for one in found
        if one["kind"] == "Deployment"
        for container in one["spec"]["template"]["spec"]["containers"]
        if container["name"] == "serve"
    }
    assert (asked["t-all"], asked["t-api"], asked["t-web"]) == ("/readyz/api", "/readyz/api", "/readyz/web")
    assert asked["t-pipeline"] == "/readyz"


def test_zookeeper_elects_where_it_is_named(cluster: Cluster) -> None:
    found = parsed(rendered(cluster, "--set", "flink.zookeeper=zk-1:2181\\,zk-2:2181", "--set", "flink.failoverS=6"))
    for component in ("jobmanager", "taskmanager"):
        (pod,) = [one for one in found if one["kind"] == "Deployment" and one["metadata"]["name"] == f"t-{component}"]
        given = pod["spec"]["template"]["spec"]["containers"][0]["args"]
        prefix = "high-availability.zookeeper"
        assert {f"{prefix}.quorum=zk-1:2181,zk-2:2181", f"{prefix}.client.session-timeout=6s"} <= set(given)
        assert not any("kubernetes" in one for one in given)


def test_what_submits_jobs_again_has_the_client_of_flink(cluster: Cluster) -> None:
    found = {
        one["metadata"]["name"]: one
        for one in parsed(rendered(cluster, *values("small")))
        if one["kind"] == "Deployment"
    }
    (container,) = found["t-resubmit"]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == found["t-jobmanager"]["spec"]["template"]["spec"]["containers"][0]["image"]
    assert "FLINK_LOG_DIR" in {one["name"] for one in container["env"]}


def test_flink_listens_where_it_may_be_reached(cluster: Cluster) -> None:
    (manager,) = [
        one
        for one in parsed(rendered(cluster))
        if one["metadata"]["name"] == "t-jobmanager" and one["kind"] == "Deployment"
    ]
    (container,) = manager["spec"]["template"]["spec"]["containers"]
    # Both are any free port where nothing is said.
    assert f"high-availability.jobmanager.port={STANDARD_PORTS['flink_rpc']}" in container["args"]
    assert f"metrics.internal.query-service.port={QUERY_SERVICE}" in container["args"]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of pods selects these labels."""
    expressions = selector.get("matchExpressions", [])
    assert all(one["operator"] == "In" for one in expressions)
    return selector.get("matchLabels", {}).items() <= labels.items() and all(
        labels.get(one["key"]) in one["values"] for one in expressions
    )
