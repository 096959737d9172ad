"""Run one DAG run with ``dag.test()`` of Airflow 2.11: ``python run_inline.py ASKED.json RESULT.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow.models.dagbag import DagBag

asked = json.loads(Path(sys.argv[1]).read_text())
dag = DagBag(include_examples=False).get_dag(asked["dag_id"])
run = dag.test(run_conf=asked["conf"])
task = run.get_task_instance("job")
told = {"state": run.state, "tries": task.try_number, "value": task.xcom_pull("job")}
result = Path(sys.argv[2])
result.with_suffix(".new").write_text(json.dumps(told))
result.with_suffix(".new").rename(result)
