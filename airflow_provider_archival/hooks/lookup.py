"""Finds the hook for a kind of job: hooks are imported when the first is needed, not when a DAG is read."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_archival.api.jobs import JobKind
    from airflow_provider_archival.hooks.base import ServiceHook


def hook_for(kind: JobKind[Any], conn_id: str) -> ServiceHook:
    """Return the hook that carries requests for such jobs."""
    hook: ServiceHook = class_at(kind.hook)(conn_id)
    return hook


def class_at(path: str) -> Any:
    """Return the class at a path, such as ``package.module.Class``."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
