"""A file of users whose passwords are hashed at toy cost; real in everything else."""

from __future__ import annotations

from pathlib import Path

from argon2 import PasswordHasher

from pipelines.users.accounts import Accounts

CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
ADMIN = "root"


def password_of(name: str) -> str:
    return f"the password of {name}"


def accounts_of(folder: Path, *names: str) -> Accounts:
    """Accounts of these names; the one called root is an admin."""
    accounts = Accounts(folder / "users.json", hasher=CHEAP)
    for name in names:
        accounts.put(name, password_of(name), admin=name == ADMIN)
    return accounts
