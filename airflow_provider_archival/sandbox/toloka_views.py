"""Toloka's projects, pools, trainings and operations as its API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_archival.sandbox.jobs import CANCELLING, DONE, QUEUED, RUNNING
from airflow_provider_archival.sandbox.toloka_listing import written

REQUESTER_ID = "566ec2b0ff0deeaae5f9d500629de162"
_OWNER = {"id": REQUESTER_ID, "myself": True}
_STATUSES = {QUEUED: "PENDING", RUNNING: "RUNNING", CANCELLING: "RUNNING", DONE: "SUCCESS"}

Row = Mapping[str, Any]


def requester() -> dict[str, Any]:
    return {
        "id": REQUESTER_ID,
        "balance": 121.3,
        "public_name": {"EN": "Sandbox Requester"},
        "company": {"id": "eaf25678e128e14dea651d8c32471f21", "superintendent_id": REQUESTER_ID},
    }


def project(row: Row) -> dict[str, Any]:
    return {
        "id": str(row["id"]),
        "owner": _OWNER,
        "public_name": row["public_name"],
        "public_description": "A project of the sandbox",
        "private_comment": row["private_comment"],
        "status": row["status"],
        "created": written(row["created"]),
        "assignments_issuing_type": "AUTOMATED",
        "task_spec": {
            "input_spec": {"image": {"type": "url", "required": True, "hidden": False}},
            "output_spec": {"result": {"type": "string", "required": True, "hidden": False}},
            "view_spec": {"type": "classic", "markup": "", "script": "", "styles": ""},
        },
    }


def pool(row: Row) -> dict[str, Any]:
    shown = {
        **_pool_or_training(row),
        "type": "REGULAR",
        "private_name": f"Pool {row['id']}",
        "will_expire": written(row["created"] + 3650 * 86400),
        "reward_per_assignment": 0.01,
        "may_contain_adult_content": False,
        "assignment_max_duration_seconds": 600,
        "auto_accept_solutions": True,
        "defaults": {"default_overlap_for_new_task_suites": 1},
        "priority": 0,
    }
    if row["training_id"] is not None:
        shown["quality_control"] = {
            "training_requirement": {
                "training_pool_id": str(row["training_id"]),
                "training_passing_skill_value": 80,
            }
        }
    return shown


def training(row: Row) -> dict[str, Any]:
    return {
        **_pool_or_training(row),
        "private_name": f"Training {row['id']}",
        "may_contain_adult_content": False,
        "assignment_max_duration_seconds": 600,
        "mix_tasks_in_creation_order": True,
        "shuffle_tasks_in_task_suite": True,
        "training_tasks_in_task_suite_count": 10,
        "task_suites_required_to_pass": 1,
        "retry_training_after_days": 14,
        "inherited_instructions": True,
        "public_instructions": "",
    }


def _pool_or_training(row: Row) -> dict[str, Any]:
    shown = {
        "id": str(row["id"]),
        "project_id": str(row["project_id"]),
        "owner": _OWNER,
        "status": row["status"],
        "created": written(row["created"]),
    }
    for name in ("last_started", "last_stopped"):
        if row[name] is not None:
            shown[name] = written(row[name])
    if row["last_stopped"] is not None:
        shown["last_close_reason"] = "MANUAL"
    return shown


def status_of(job_status: str) -> str:
    return _STATUSES.get(job_status, "FAIL")


def operation(row: Row) -> dict[str, Any]:
    """Show an operation; what isn't known yet is absent."""
    shown = {
        "id": row["id"],
        "type": row["type"],
        "status": row["status"],
        "submitted": written(row["submitted"]),
        "parameters": row["parameters"],
    }
    for name in ("started", "finished"):
        if row[name] is not None:
            shown[name] = written(row[name])
    for name in ("progress", "details"):
        if row[name] is not None:
            shown[name] = row[name]
    return {**shown, **row["shown"]}
