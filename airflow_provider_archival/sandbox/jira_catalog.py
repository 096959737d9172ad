"""What never changes in the sandbox's Jira: projects, statuses, issue types, labels, users, known issues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_provider_archival.sandbox import credentials


@dataclass(frozen=True)
class Project:
    """A project; ``share`` says how many of the seeded issues it gets, relative to the others."""

    id: int
    key: str
    name: str
    kind: Literal["software", "service management", "business", "product discovery"]
    issue_types: tuple[int, ...]
    share: int = 0
    is_licensed: bool = True
    is_archived: bool = False


@dataclass(frozen=True)
class Status:
    id: int
    name: str
    category: Literal["To Do", "In Progress", "Done"]


@dataclass(frozen=True)
class IssueType:
    id: int
    name: str
    is_subtask: bool = False


@dataclass(frozen=True)
class User:
    """Somebody with an account; ``id`` is the number that tasks give as ``submittedBy``."""

    id: int
    account_id: str
    name: str
    email: str = ""
    kind: Literal["atlassian", "app"] = "atlassian"
    is_admin: bool = False


EPIC, STORY, TASK, SUBTASK, BUG, SERVICE_REQUEST, INCIDENT = range(10000, 10007)
ISSUE_TYPES = (
    IssueType(EPIC, "Epic"),
    IssueType(STORY, "Story"),
    IssueType(TASK, "Task"),
    IssueType(SUBTASK, "Sub-task", is_subtask=True),
    IssueType(BUG, "Bug"),
    IssueType(SERVICE_REQUEST, "Service Request"),
    IssueType(INCIDENT, "Incident"),
)

TO_DO, IN_PROGRESS, IN_REVIEW, WAITING, DONE, CLOSED = 10000, 3, 10001, 10002, 10003, 6
STATUSES = (
    Status(TO_DO, "To Do", "To Do"),
    Status(IN_PROGRESS, "In Progress", "In Progress"),
    Status(IN_REVIEW, "In Review", "In Progress"),
    Status(WAITING, "Waiting for customer", "In Progress"),
    Status(DONE, "Done", "Done"),
    Status(CLOSED, "Closed", "Done"),
)

_SOFTWARE, _SERVICE, _BUSINESS = (EPIC, STORY, TASK, BUG), (SERVICE_REQUEST, INCIDENT, TASK), (TASK, EPIC)
DEMO = Project(10000, "DEMO", "Demo", "software", _SOFTWARE)
UNLICENSED = Project(10006, "UNL", "Ideas", "product discovery", (TASK,), 4, is_licensed=False)
ARCHIVED = Project(10007, "OLD", "Old Shop", "software", _SOFTWARE, 4, is_archived=True)
PROJECTS = (
    DEMO,
    Project(10001, "WEB", "Web Shop", "software", _SOFTWARE, 30),
    Project(10002, "APP", "Mobile App", "software", _SOFTWARE, 20),
    Project(10003, "DESK", "Service Desk", "service management", _SERVICE, 22),
    Project(10004, "FIN", "Finance", "business", _BUSINESS, 12),
    Project(10005, "HR", "People and Hiring", "business", _BUSINESS, 8),
    UNLICENSED,
    ARCHIVED,
)
PROJECT_BY_ID = {project.id: project for project in PROJECTS}
PROJECT_BY_KEY = {project.key: project for project in PROJECTS}

# A label's place in here is its bit in an issue's ``labels``.
LABELS = ("backend", "frontend", "security", "customer", "documentation", "regression", "legacy", "tech-debt")

ADMIN = User(10000, "sandbox-account-admin", "Alex Admin", credentials.JIRA_ADMIN_EMAIL, is_admin=True)
MEMBER = User(10001, "sandbox-account-member", "Mika Member", credentials.JIRA_MEMBER_EMAIL)
SERVICE_ACCOUNT = User(10002, "sandbox-account-service", "Service Account", kind="app", is_admin=True)
USERS = (
    ADMIN,
    MEMBER,
    SERVICE_ACCOUNT,
    User(10003, "sandbox-account-ada", "Ada Byron", "ada@example.com"),
    User(10004, "sandbox-account-grace", "Grace Brewster", "grace@example.com"),
    User(10005, "sandbox-account-linus", "Linus Pauling", "linus@example.com"),
    User(10006, "sandbox-account-mary", "Mary Shaw", "mary@example.com"),
    User(10007, "sandbox-account-niels", "Niels Abel", "niels@example.com"),
)
# Another admin, who has nothing to do with the seeded issues, and no login: the control acts for them.
COLLEAGUE = User(10008, "sandbox-account-colleague", "Robin Colleague", is_admin=True)
USER_BY_ID = {user.id: user for user in (*USERS, COLLEAGUE)}
USER_BY_ACCOUNT = {user.account_id: user for user in USER_BY_ID.values()}

# The issues that every sandbox has, whatever its seed. The project DEMO has five issues and no others.
PARENT_ISSUE, SUBTASK_ISSUES = "DEMO-1", ("DEMO-2", "DEMO-3")
OLD_ISSUE, RECENT_ISSUE = "DEMO-4", "DEMO-5"
UNLICENSED_ISSUE, ARCHIVED_PROJECT_ISSUE = "UNL-1", "OLD-1"
MISSING_ISSUE = "DEMO-404"


def account_id(user_id: int | None) -> str | None:
    return None if user_id is None else USER_BY_ID[user_id].account_id
