#!/usr/bin/env python
"""Django's command line."""

import os
import sys

from execution_project.command_line import main

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execution_project.settings")
    main(sys.argv)
