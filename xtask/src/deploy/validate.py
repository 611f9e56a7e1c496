"""Holds each manifest of a file against the schema that Kubernetes has for its kind."""
import sys

import kubernetes_validate
import yaml

version, path = sys.argv[1:]
checked, others = {}, {}
with open(path, encoding="utf-8") as file:
    for manifest in yaml.safe_load_all(file):
        if manifest is None:
            continue
        kind = manifest["kind"]
        if manifest["apiVersion"].startswith("monitoring.coreos.com/"):
            others[kind] = others.get(kind, 0) + 1
            continue
        name = manifest["metadata"]["name"]
        try:
            kubernetes_validate.validate(manifest, version, strict=True)
        except Exception as error:
            sys.exit(f"{kind} {name}: {error}")
        checked[kind] = checked.get(kind, 0) + 1
print(", ".join(checked), "fit" if checked else "nothing", end="")
print(f"; no schema for {', '.join(others)}" if others else "")
