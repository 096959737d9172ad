"""The sandbox's fixtures, in an environment in which the package itself is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

pytest_plugins = ["airflow_provider_archival.sandbox.pytest_plugin"]
