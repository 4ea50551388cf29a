"""gunicorn's configuration of the service with a worker that gives up on a caller after a second."""

from execution_project import web_worker
from execution_project.web import *  # noqa: F403 -- a configuration is the module's names

PATIENCE_SECONDS = 1

web_worker.REQUEST_SECONDS = float(PATIENCE_SECONDS)
web_worker.SEND_SECONDS = PATIENCE_SECONDS
