"""How Flower is started: with a bound for the tasks that it keeps, which an operator may set otherwise."""

from flower.command import is_flower_option
from tornado.options import OptionParser

from execution_project.flower import MOST_TASKS, command_line


def kept(*given: str) -> int:
    """Return how many tasks Flower keeps with these options."""
    parser = OptionParser()
    parser.define("max_tasks", type=int, default=100_000)
    parser.define("port", type=int, default=0)
    words = command_line(given)
    assert words[:4] == ["celery", "--quiet", "--app=execution_project", "flower"]
    assert all(is_flower_option(word) for word in words[4:])
    parser.parse_command_line(["flower", *words[4:]])
    return int(parser.max_tasks)


def test_flower_keeps_no_more_tasks_than_it_is_told() -> None:
    assert (kept(), kept("--port=5555"), kept("--max-tasks=7")) == (MOST_TASKS, MOST_TASKS, 7)
