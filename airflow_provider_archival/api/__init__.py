"""What the two services say: requests as values, answers as typed values, errors. No I/O, no Airflow."""
