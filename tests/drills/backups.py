"""Backups of a Postgres that runs: a physical one that is put back or run elsewhere, and a logical
dump."""

import os
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from service.local.environment import minimal_environment
from service.local.folders import make_folder
from service.local.postgres import NAME
from service.local.postgres_binaries import find_binaries
from service.local.postgres_cluster import Cluster, find_cluster
from service.local.server import Server

TIMEOUT = 120.0  # seconds that one of Postgres's programs may take


def _run(server: Server, cluster: Cluster, program: str, *arguments: str) -> None:
    """Run one of Postgres's programs against the server, as the user whose files the cluster's
    are."""
    binaries = find_binaries(cluster.user, cluster.major_version())
    address = urlsplit(server.url)
    user = cluster.user_to_change_to()
    subprocess.run(  # noqa: S603
        [
            str(binaries.folder / program),
            *("-h", str(address.hostname), "-p", str(address.port), "-U", NAME, "-w"),
            *arguments,
        ],
        env=minimal_environment() | {"PGPASSWORD": str(address.password)},
        cwd="/",
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else [],
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=TIMEOUT,
    )


def _empty_folder(cluster: Cluster, name: str) -> Path:
    """An empty folder beside the cluster's data, of the cluster's user."""
    folder = cluster.folder / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    os.chown(folder, cluster.user.uid, cluster.user.gid)
    return folder


def take_backup(server: Server, folder: Path) -> Path:
    """Back up the data of the running server, whose cluster is that of `folder`; where it is."""
    cluster = find_cluster(folder)
    backup = _empty_folder(cluster, "backup")
    _base_backup(server, cluster, backup)
    return backup


def _base_backup(server: Server, cluster: Cluster, target: Path) -> None:
    quick = ("--checkpoint=fast", "--wal-method=stream", "--no-sync", "--no-manifest")
    _run(server, cluster, "pg_basebackup", "-D", str(target), *quick)


def put_back(server: Server, folder: Path, backup: Path) -> None:
    """Stop the server, put the backup in the place of its data, and start it again, on its port."""
    cluster = find_cluster(folder)
    server.child.stop()
    shutil.rmtree(cluster.data)
    backup.rename(cluster.data)
    server.start()


def copy_cluster(server: Server, folder: Path, other: Path) -> None:
    """Copy the data of the running server, whose cluster is that of `folder`, into `other`, for
    another server to run there."""
    original, copy = find_cluster(folder), find_cluster(make_folder(other))
    copy.password_file.write_text(original.password_file.read_text())
    data = copy.create_empty()
    _base_backup(server, copy_user(original, copy), data)
    data.rename(copy.data)


def copy_user(original: Cluster, copy: Cluster) -> Cluster:
    """The original, as the user whose files the copy's are to be."""
    return Cluster(original.folder, copy.user)


def dump(server: Server, folder: Path, file: Path) -> Path:
    """Dump the database of the running server, whose cluster is that of `folder`; where it is."""
    cluster = find_cluster(folder)
    target = _empty_folder(cluster, "dump") / file.name
    _run(server, cluster, "pg_dump", "-d", "postgres", "-Fc", "-f", str(target))
    shutil.copy(target, file)
    return file


def restore_dump(server: Server, folder: Path, file: Path) -> None:
    """Restore a dump into the empty database of another server."""
    cluster = find_cluster(folder)
    source = _empty_folder(cluster, "dump") / file.name
    shutil.copy(file, source)
    os.chown(source, cluster.user.uid, cluster.user.gid)
    options = ("--exit-on-error", "--no-owner", "--single-transaction")
    _run(server, cluster, "pg_restore", "-d", "postgres", *options, str(source))
