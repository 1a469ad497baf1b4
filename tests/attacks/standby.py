"""A standby of an embedded PostgreSQL: a copy of its files, kept up to date by streaming, that can be promoted."""

import os
import pwd
import shutil

import asyncpg

from mergeline import embedded

PROMOTED_WITHIN_S = 60


class Standby(embedded.Postgres):
    """Start it while its primary runs."""

    def __init__(self, primary):
        super().__init__()
        self._primary = primary

    async def be_waited_for(self):
        """From now on the primary answers no commit before it is written here too."""
        connection = await asyncpg.connect(self._primary.database_url)
        try:
            await connection.execute("alter system set synchronous_standby_names = '*'")
            await connection.execute("select pg_reload_conf()")
            while await connection.fetchval("select count(*) from pg_stat_replication where sync_state = 'sync'") != 1:
                await connection.execute("select pg_sleep(0.05)")
        finally:
            await connection.close()

    async def lose_touch(self):
        """From now on nothing of what the primary writes gets here."""
        connection = await asyncpg.connect(self.database_url)
        try:
            await connection.execute("alter system set primary_conninfo = ''")
            await connection.execute("select pg_reload_conf()")
            while await connection.fetchval("select count(*) from pg_stat_wal_receiver"):
                await connection.execute("select pg_sleep(0.05)")
        finally:
            await connection.close()

    async def promote(self):
        """Become the primary."""
        connection = await asyncpg.connect(self.database_url)
        try:
            assert await connection.fetchval("select pg_promote(true, $1)", PROMOTED_WITHIN_S)
        finally:
            await connection.close()

    def _steps(self, folder):
        data, home = folder / "data", self._reachable_home(folder)
        steps = []
        if not (data / "PG_VERSION").exists():
            shutil.rmtree(data, ignore_errors=True)
            data.mkdir(mode=0o700)
            shutil.copy(self._primary._password_file, self._password_file)
            copy = [str(home / "bin" / "pg_basebackup"), "-D", str(data), "-d", self._primary.database_url]
            steps.append([*copy, "--wal-method=stream", "--checkpoint=fast", "--write-recovery-conf", "--no-sync"])
        if user := self._user():
            account = pwd.getpwnam(user)
            for path in (data, self._password_file):
                os.chown(path, account.pw_uid, account.pw_gid)
        settings = [word for name, value in self._settings().items() for word in ("-c", f"{name}={value}")]
        return [*steps, [str(home / "bin" / "postgres"), "-D", str(data), *settings]]
