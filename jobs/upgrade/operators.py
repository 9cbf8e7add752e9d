"""Operators of a plan and of a checkpoint by the ids that Flink finds state by; asked of Flink's own classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyflink.java_gateway import get_gateway
from pyflink.table import TableEnvironment

from jobs.upgrade.fit import Kept


def number_from_one(env: TableEnvironment) -> None:
    """Number the operators that are planned next as a client does that has planned nothing before, as `flink run`."""
    loader = env._j_tenv.getPlanner().getClass().getClassLoader()  # noqa: SLF001 - as below
    counter = loader.loadClass("org.apache.flink.table.planner.plan.nodes.exec.ExecNodeContext")
    gateway = get_gateway()
    none = gateway.new_array(gateway.jvm.Class, 0)
    counter.getMethod("resetIdCounter", none).invoke(None, gateway.new_array(gateway.jvm.Object, 0))


def of_plan(env: TableEnvironment, plan: dict[str, Any]) -> dict[str, str]:
    """Names of the operators of a compiled plan, by id."""
    jvm = get_gateway().jvm
    planner = env._j_tenv.getPlanner()  # noqa: SLF001 - PyFlink has no other way to a plan's operators
    reference = jvm.org.apache.flink.table.api.PlanReference.fromJsonString(json.dumps(plan))
    return of_transformations(planner.translatePlan(planner.loadPlan(reference)))


def of_transformations(transformations: Any) -> dict[str, str]:
    """Names of the operators that Java transformations become, by id."""
    jvm = get_gateway().jvm
    generator = jvm.org.apache.flink.streaming.api.graph.StreamGraphGenerator(
        transformations,
        jvm.org.apache.flink.api.common.ExecutionConfig(),
        jvm.org.apache.flink.streaming.api.environment.CheckpointConfig(),
    )
    return of_graph(generator.generate().getJobGraph())


def of_graph(graph: Any) -> dict[str, str]:
    """Names of the operators of a job graph, by id."""
    pairs = [pair for vertex in _each(graph.getVertices()) for pair in _each(vertex.getOperatorIDs())]
    return {_id(pair): _named(pair.getUserDefinedOperatorUid(), pair.getUserDefinedOperatorName()) for pair in pairs}


def of_checkpoint(metadata: Path) -> list[Kept]:
    """Operators with state of a checkpoint or savepoint, of its file `_metadata`."""
    jvm = get_gateway().jvm
    loader = jvm.Thread.currentThread().getContextClassLoader()
    stream = jvm.java.io.DataInputStream(jvm.java.io.FileInputStream(str(metadata)))
    try:
        read = jvm.org.apache.flink.runtime.checkpoint.Checkpoints.loadCheckpointMetadata(
            stream, loader, metadata.parent.absolute().as_uri()
        )
    finally:
        stream.close()
    return [_kept(one) for one in _each(read.getOperatorStates()) if _has_state(one)]


def _kept(state: Any) -> Kept:
    name = _named(state.getOperatorUid(), state.getOperatorName())
    return Kept(str(state.getOperatorID().toString()), name, int(state.getStateSize()), int(state.getMaxParallelism()))


def _has_state(state: Any) -> bool:
    """Whether there is anything to restore; operators that keep nothing are in a checkpoint too."""
    return state.getCoordinatorState() is not None or any(one.hasState() for one in _each(state.getStates()))


def _each(iterable: Any) -> Iterator[Any]:
    """The elements of an Iterable of Java."""
    iterator = iterable.iterator()
    while iterator.hasNext():
        yield iterator.next()


def _id(pair: Any) -> str:
    own = pair.getUserDefinedOperatorID()
    return str((own.get() if own.isPresent() else pair.getGeneratedOperatorID()).toString())


def _named(uid: Any, name: Any) -> str:
    return " ".join(text for text in (_text(uid), _text(name)) if text)


def _text(value: Any) -> str:
    """A text of Java, which may be an Optional."""
    if value is not None and not isinstance(value, str):
        value = value.orElse(None)
    return str(value) if value else ""
