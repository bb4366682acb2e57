"""Copies the licences of the crates that `tercet`, `tercet-worker` and `tercet-test-gpu` are built of.

    cargo metadata … | licences.py FOLDER

Each crate has a folder there, with the licence that its Cargo.toml names and the files of its source that speak of one.
"""

import json
import pathlib
import re
import shutil
import sys


def main() -> None:
    metadata = json.load(sys.stdin)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    ours = set(metadata["workspace_members"])
    waiting = [id for id in ours if packages[id]["name"] in ("tercet", "tercet-worker", "tercet-test-gpu")]
    built_of = set()
    while waiting:
        id = waiting.pop()
        if id in built_of:
            continue
        built_of.add(id)
        # Neither what only tests need nor what only build scripts do.
        waiting += [to["pkg"] for to in nodes[id]["deps"] if any(kind["kind"] is None for kind in to["dep_kinds"])]
    for package in (packages[id] for id in built_of - ours):
        source = pathlib.Path(package["manifest_path"]).parent
        folder = pathlib.Path(sys.argv[1]) / f"{package['name']}-{package['version']}"
        folder.mkdir(parents=True)
        said = package["license"] or package["license_file"]
        (folder / "LICENCE-NAME").write_text(f"{said}\n{package['repository'] or ''}\n", encoding="utf-8")
        for file in source.rglob("*"):
            if file.is_file() and re.match(r"(licen[cs]e|copying|notice|unlicense)", file.name, re.IGNORECASE):
                shutil.copyfile(file, folder / str(file.relative_to(source)).replace("/", "-"))


main()
