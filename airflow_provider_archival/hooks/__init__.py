"""From an Airflow connection to a service: credentials, the base URL, and the one place that sends."""
