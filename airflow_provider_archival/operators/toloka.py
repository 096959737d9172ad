"""Operators for Toloka: archive projects and pools."""

from __future__ import annotations

from airflow_provider_archival.operators.toloka_pool import TolokaArchivePoolOperator
from airflow_provider_archival.operators.toloka_project import TolokaArchiveProjectOperator

__all__ = ["TolokaArchivePoolOperator", "TolokaArchiveProjectOperator"]
