"""The client asks for what the worker has, by the same names with the same arguments."""

from __future__ import annotations

import inspect

import pytest

from trt_sweep.workers.client import WorkerClient
from trt_sweep.workers.worker import Worker

OWN = {"end"}  # of the client alone
METHODS = [name for name, value in vars(WorkerClient).items() if inspect.isfunction(value) and name[0] != "_"]


class Asked(WorkerClient):
    """Note what is asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[object, ...]]] = []

    def _ask(self, method: str, *arguments: object, **how: object) -> object:
        self.asked.append((method, arguments))
        return None

    def _step(self, method: str, *arguments: object) -> object:
        return self._ask(method, *arguments)


@pytest.mark.parametrize("name", sorted(set(METHODS) - OWN))
def test_each_question_reaches_the_method_of_its_name(name):
    theirs = inspect.signature(getattr(Worker, name))
    mine = inspect.signature(getattr(WorkerClient, name))
    limits = {"limits"} & set(mine.parameters)  # of the client: they hold for the call, and the worker knows none
    assert [*mine.parameters] == [*theirs.parameters, *limits]
    assert mine.return_annotation == theirs.return_annotation
    for parameter in theirs.parameters.values():
        assert mine.parameters[parameter.name].annotation == parameter.annotation
    client, values = Asked(), [object() for _ in list(mine.parameters)[1:]]
    getattr(client, name)(*values)
    assert client.asked == [(name, tuple(values[: len(values) - len(limits)]))]


def test_the_worker_has_nothing_that_no_client_asks_for():
    public = {name for name, value in vars(Worker).items() if inspect.isfunction(value) and name[0] != "_"}
    assert public - set(METHODS) == {"move", "aside"}  # by the process that it runs in; by the partition report
