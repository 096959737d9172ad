"""Archive Jira Cloud issues and Toloka projects from Apache Airflow."""

__version__ = "0.1.0"
