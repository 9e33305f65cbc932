#!/bin/sh
# Run by mmdebstrap with the new system's root as $1, after the guest's own files (guest/cluster/root) were put there.
set -eu
root=$1

# Packages whose dependencies are larger than they are, and of which the guest needs only files: LLVM for PostgreSQL's compiler, the
# libraries of every cloud for fence agents.
mkdir "$root/tmp/debs"
(cd "$root/tmp/debs" && apt-get download -q fence-agents postgresql-15 postgresql-client-15 >&2)
for deb in "$root"/tmp/debs/*.deb; do
  dpkg-deb --fsys-tarfile "$deb" | tar --extract --keep-directory-symlink --directory "$root" --exclude '*/share/doc/*' --exclude '*/share/man/*' \
    --exclude '*/share/locale/*' --exclude '*/bitcode/*' --exclude './lib/systemd/*' --exclude './etc/init.d/*'
done
rm -rf "$root/tmp/debs"
find "$root/usr/sbin" -name 'fence_*' ! -name fence_scsi -delete
chroot "$root" python3 -m compileall -q /usr/share/fence

# An empty database, copied to the shared disk by the first member that gets it: initdb takes half a minute under software emulation.
chroot "$root" useradd --system --home-dir /var/lib/postgresql --shell /bin/sh postgres
mkdir -p "$root/usr/lib/groundplane" "$root/srv/sql"
chroot "$root" install -d -o postgres -g postgres /usr/lib/groundplane/data
chroot "$root" setpriv --reuid postgres --regid postgres --clear-groups env LC_ALL=C \
  /usr/lib/postgresql/15/bin/initdb --pgdata /usr/lib/groundplane/data --auth trust --wal-segsize 1 --no-locale \
  --encoding UTF8 --no-instructions >&2
cat >>"$root/usr/lib/groundplane/data/postgresql.conf" <<'CONF'
unix_socket_directories = '/run/postgresql'
listen_addresses = ''
dynamic_shared_memory_type = mmap
shared_buffers = 16MB
max_connections = 20
min_wal_size = 4MB
max_wal_size = 32MB
jit = off
logging_collector = off
CONF

# What is copied is kept small: one database is enough.
printf '%s\n' "update pg_database set datistemplate = false where datname = 'template0';" 'drop database template0;' \
  'drop database postgres;' | chroot "$root" setpriv --reuid postgres --regid postgres --clear-groups \
  /usr/lib/postgresql/15/bin/postgres --single -D /usr/lib/groundplane/data template1 >&2

rm -rf "$root"/usr/share/perl "$root"/usr/lib/*/perl "$root"/usr/lib/*/gconv "$root"/usr/share/misc \
  "$root"/usr/share/postgresql/15/man "$root"/usr/share/zoneinfo/right "$root"/var/lib/apt/lists/* "$root"/var/cache/* \
  "$root"/usr/lib/udev/hwdb.d "$root"/etc/corosync/corosync.conf
: >"$root/etc/machine-id"
