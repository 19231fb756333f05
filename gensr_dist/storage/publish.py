"""Uploading a finished folder so that its manifest is never there without what it lists.

The old manifest goes first and the new one comes last. In between `.publishing.json` lists the names that belong to the
old and the new folder, so that a second try knows what the first one left. Objects that neither a manifest nor this
list names belong to somebody else: then nothing is touched.
"""

import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from gensr_dist.storage.folder import Folder, refuse_others

MANIFEST = "manifest.json"
UNFINISHED = ".publishing.json"


def announce(destination: Folder, names: Iterable[str]) -> None:
    """Take the manifest away from a remote folder that is about to change.

    Args:
        destination: a remote folder: missing, empty, or one that was published before.
        names: files that are going to be written.

    Raises:
        InputError: the destination holds files that were not published, or cannot be written.
    """
    ours = check_destination(destination)
    destination.put(UNFINISHED, json.dumps(sorted({*ours, *names})).encode())
    destination.delete(MANIFEST)


def publish(source: Path, destination: Folder, uploaded: Collection[str] = ()) -> None:
    """Make a remote folder hold exactly what a local one holds, and what was uploaded to it after `announce`.

    Interrupted at any point, it leaves no manifest, or a whole folder; the same call again finishes the work.

    Args:
        source: a finished folder, `manifest.json` in it.
        destination: a remote folder: missing, empty, or one that was published before.
        uploaded: files of the new folder that lie in the destination already.

    Raises:
        InputError: the destination holds files that were not published, or cannot be written.
    """
    fresh = Folder.at(source).sizes()
    assert MANIFEST in fresh, f"{source} lacks {MANIFEST}"
    announce(destination, [*fresh, *uploaded])
    with tqdm(desc="upload", total=sum(fresh.values()), unit="B", unit_scale=True, disable=None) as bar:
        for name in sorted(fresh.keys() - {MANIFEST}):
            destination.put(name, source / name)
            bar.update(fresh[name])
        for name in sorted(destination.sizes().keys() - fresh.keys() - {*uploaded, UNFINISHED}):
            destination.delete(name)
        destination.put(MANIFEST, source / MANIFEST)
        bar.update(fresh[MANIFEST])
    destination.delete(UNFINISHED)


def check_destination(destination: Folder) -> set[str]:
    """Names of the files in a remote folder, all of which were published before.

    Raises:
        InputError: there are others, or the storage cannot be read.
    """
    present = set(destination.sizes())
    known = {MANIFEST, UNFINISHED}
    if MANIFEST in present:
        known |= _listed(destination)
    if UNFINISHED in present:
        known |= _unfinished(destination)
    remedy = "give an empty folder, or delete them"
    refuse_others(destination.place, present - known, "files that no manifest lists", remedy)
    return present


def _listed(destination: Folder) -> set[str]:
    body = destination.read_json(MANIFEST, "delete the folder, or give an empty one")
    tables: list[Any] = [body.get("shards"), body.get("files")] if isinstance(body, dict) else []
    records = [record for table in tables if isinstance(table, list) for record in table]
    return {str(record.get("name")) for record in records if isinstance(record, dict)}


def _unfinished(destination: Folder) -> set[str]:
    names = destination.read_json(UNFINISHED, "delete the folder, or give an empty one")
    return {str(name) for name in names} if isinstance(names, list) else set()
