"""The chart, without Helm: values fit their schema, settings are settings, and what it repeats is what it repeats.

What Helm makes of it is tested on a real API server: tests/kube.
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from infra import versions
from infra.kubernetes.schemas import write
from infra.kubernetes.tools import CONTROL_PLANE, go_mod
from infra.local import flink_conf
from tidemark.core.names import Names
from tidemark.core.settings import Settings
from tidemark.serve.roles import ROLES

ROOT = Path(__file__).parents[3]
CHART = ROOT / "infra/helm/tidemark"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
EXAMPLES = ("small", "large")


def merged(base: Any, over: Any) -> Any:
    """Values as Helm merges them: maps by key, and nothing takes a key away."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    both = {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}
    return {key: value for key, value in both.items() if value is not None}


def of_example(name: str) -> Any:
    return merged(VALUES, yaml.safe_load((CHART / f"examples/{name}.yaml").read_text()))


def test_defaults_and_examples_fit_the_schema() -> None:
    Draft7Validator.check_schema(SCHEMA)
    for values in (VALUES, *map(of_example, EXAMPLES)):
        assert [error.message for error in Draft7Validator(SCHEMA).iter_errors(values)] == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("flink", "taskmanager"), {}),
        (("serve", "api", "roles"), ["biller"]),
        (("flink", "taskManager", "resources", "limits", "memory"), "6.5Gi"),
        (("secrets", "postgres", "password"), "x"),
        (("settings", "flink", "state_dir"), "/var/lib"),
    ],
)
def test_a_value_that_means_nothing_does_not(path: tuple[str, ...], value: Any) -> None:
    wrong = value
    for key in reversed(path):
        wrong = {key: wrong}
    assert [*Draft7Validator(SCHEMA).iter_errors(merged(VALUES, wrong))]


@pytest.mark.parametrize("name", ["default", *EXAMPLES])
def test_settings_of_values_are_settings(name: str) -> None:
    given = (VALUES if name == "default" else of_example(name))["settings"]
    files = {"sasl_password_file": "/x", "ssl_ca_file": "/y"} if "sasl_mechanism" in given["kafka"] else {}
    Settings(**merged(given, {"kafka": files}))


def test_every_role_can_run_and_the_defaults_run_those_that_are_configured_anywhere() -> None:
    roles = SCHEMA["properties"]["serve"]["additionalProperties"]["anyOf"][1]["properties"]["roles"]["items"]["enum"]
    assert roles == [*ROLES]
    always = {name for name, role in ROLES.items() if not role.missing(Settings())}
    assert always <= {role for entry in VALUES["serve"].values() for role in entry["roles"]}


def test_versions_are_those_of_the_project() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert chart["appVersion"] == project["version"]
    assert VALUES["flink"]["flinkVersion"] == f"v{versions.FLINK.rpartition('.')[0].replace('.', '_')}"
    assert VALUES["strimzi"]["version"] == versions.KAFKA


def test_rules_and_rights_are_those_of_the_other_deployments() -> None:
    assert (CHART / "files/rules.yaml").resolve() == ROOT / "infra/prometheus/rules.yaml"
    assert (CHART / "files/acls.yaml").resolve() == ROOT / "schemas/kafka/acls.yaml"


def test_topics_of_rights_are_the_names_of_the_live_run() -> None:
    text = (CHART / "templates/strimzi.yaml").read_text()
    (line,) = re.findall(r"\$topics := dict (.*?) }}", text)
    words = re.findall(r'"([^"]+)"', line)
    given, settings = dict(zip(words[::2], words[1::2], strict=True)), Settings()
    own = {"events": settings.topics.events, "redrive": settings.topics.redrive}
    assert given == own | {name: getattr(Names(""), name) for name in given.keys() - own}


def test_scratch_space_of_flink_is_made_before_it_starts_in_an_empty_folder() -> None:
    work = flink_conf.image_values()["work_dir"]
    made = f"mkdir -p {work}/tmp"  # noqa: S108 - inside a container
    assert made in (CHART / "templates/flink.yaml").read_text()
    assert made in (ROOT / "infra/image_entrypoint.sh").read_text()


def test_no_value_is_a_secret() -> None:
    # A Secret is named, and exists.
    for template in (CHART / "templates").iterdir():
        assert "kind: Secret" not in template.read_text(), template.name


def test_what_is_no_template_is_yaml() -> None:
    for path in [*CHART.glob("*.yaml"), *CHART.glob("examples/*.yaml")]:
        assert yaml.safe_load(path.read_text()), path


def test_programs_of_kubernetes_are_built_from_parts_of_one_version() -> None:
    text = go_mod(["k8s.io/api", "k8s.io/client-go"])
    part = f"v0.{versions.KUBERNETES.partition('.')[2]}"
    assert f"require k8s.io/kubernetes v{versions.KUBERNETES}" in text
    assert f"\tk8s.io/client-go => k8s.io/client-go {part}" in text
    assert "kube-apiserver" in CONTROL_PLANE


def test_a_schema_for_kubeconform_has_what_it_refers_to_and_takes_no_other_member(tmp_path: Path) -> None:
    kind = {"group": "batch.example", "kind": "Job", "version": "v1"}
    openapi = {
        "definitions": {
            "Job": {"properties": {"spec": {"$ref": "#/definitions/Spec"}}, "x-kubernetes-group-version-kind": [kind]},
            "Spec": {"properties": {"port": {"format": "int-or-string", "type": "string"}}},
            "Other": {},
        }
    }
    assert write(openapi, tmp_path) == 1
    schema = json.loads((tmp_path / "job-batch-v1.json").read_text())
    validator = Draft7Validator(schema)
    assert not [*validator.iter_errors({"spec": {"port": 1}})]
    assert [*validator.iter_errors({"spec": {"prot": 1}})]
    assert set(schema["definitions"]) == {"Job", "Spec"}
