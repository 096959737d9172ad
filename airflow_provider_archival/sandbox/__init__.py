"""A local Jira Cloud and Toloka to try DAGs on; needs the extra ``sandbox``."""
