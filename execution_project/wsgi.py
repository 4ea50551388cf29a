"""The web application that gunicorn serves."""

import os
import sys

from django.core.wsgi import get_wsgi_application

from execution_project.start_checks import refuse_unsafe_start
from execution_project.waits import Kind, hold

# Of gunicorn: the application cannot be loaded, so stop instead of starting the worker again and again.
APP_LOAD_ERROR = 4

hold(Kind.WEB)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execution_project.settings")
try:
    application = get_wsgi_application()
    refuse_unsafe_start()
except SystemExit as refusal:
    print(refusal, file=sys.stderr)  # noqa: T201 -- logging may not be set up yet
    raise SystemExit(APP_LOAD_ERROR) from None
