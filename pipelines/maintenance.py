"""What is done on the command line while no server runs: clean up, back up, restore."""

from __future__ import annotations

from pathlib import Path

from pipelines import cleanup
from pipelines.backup import back_up, restore
from pipelines.registry import Registry
from pipelines.settings import Settings


def clean_up(settings: Settings, *, dry_run: bool) -> list[str]:
    """Remove what had its time and what belongs to nothing, or tell what it would be; return lines to show.

    Raises:
        ConfigError: A server uses the data folder; its Admin tab does the same.
    """
    registry = Registry(settings.data_dir)
    try:
        work = cleanup.find if dry_run else cleanup.carry_out
        found = work(registry, settings, untouched_s=0.0)
    finally:
        registry.close()
    lines = [f"job {row['id']} ({row['type']}, {row['status']}, {row['updated_at']})" for row in found.jobs]
    lines += [f"upload {row['id']} ({row['created_at']})" for row in found.uploads]
    lines += [str(path.relative_to(settings.data_dir)) for path in found.orphans]
    return [*lines, found.sentence(done=not dry_run)]


def make_backup(settings: Settings, target: Path) -> list[str]:
    """Copy the registry to a file; return lines to show.

    Raises:
        ConfigError: There is no registry, it is damaged, or the file cannot be written.
    """
    rows = back_up(settings.data_dir, target)
    return [f"Backed up {rows} jobs and voices to {target}."]


def put_back(settings: Settings, source: Path) -> list[str]:
    """Put a backup in the registry's place; return lines to show.

    Raises:
        ConfigError: A server uses the data folder, or the file is no backup that can be read.
    """
    done = restore(settings.data_dir, source)
    lines = [f"Restored {done.rows} jobs and voices from {source}."]
    if done.aside is not None:
        lines.append(f"What was there before is kept in {done.aside}.")
    if done.lost:
        lines.append(f"{done.lost} voices of the backup have no files any more; delete them on the page.")
    if done.tokens:
        count = f"{done.tokens} personal token{'s' if done.tokens > 1 else ''}"
        lines.append(f"{count} came with it, valid even if revoked since; revoke them again on the page.")
    return lines
