"""cluster.yaml follows Ray's own schema."""

import json
from pathlib import Path

import jsonschema
import ray.autoscaler
import yaml
from processes import PROJECT


def test_cluster_yaml_follows_the_schema_of_ray() -> None:
    schema = json.loads((Path(ray.autoscaler.__file__).parent / "ray-schema.json").read_text())
    jsonschema.validate(yaml.safe_load((PROJECT / "cluster.yaml").read_text()), schema)
