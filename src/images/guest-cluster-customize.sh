#!/bin/sh
# Run by mmdebstrap with the new system's root as $1, once the packages and the guest's own files (guest/cluster/root) are unpacked. No package is
# configured, because that takes longer than all the rest: what the guest needs of it is done here.
set -eu
root=$1

cp "$root/usr/share/base-passwd/passwd.master" "$root/etc/passwd"
cp "$root/usr/share/base-passwd/group.master" "$root/etc/group"
cp "$root/usr/share/libc-bin/nsswitch.conf" "$root/usr/share/base-files/profile" "$root/etc"
echo 'haclient:x:101:' >>"$root/etc/group"
echo 'hacluster:x:101:101::/var/lib/pacemaker:/usr/sbin/nologin' >>"$root/etc/passwd"
echo 'postgres:x:102:' >>"$root/etc/group"
echo 'postgres:x:102:102::/var/lib/postgresql:/bin/sh' >>"$root/etc/passwd"
chroot "$root" ldconfig
mkdir "$root/mnt"
rmdir "$root/var/run" "$root/var/lock"
ln -s /run "$root/var/run"
ln -s /run/lock "$root/var/lock"
(cd "$root/var" && chown -R 101:101 lib/pacemaker log/pacemaker && chmod 750 lib/pacemaker/* && chmod 770 log/pacemaker)

# Packages whose dependencies are larger than they are, and of which the guest needs only files: LLVM for PostgreSQL's compiler, the
# libraries of every cloud for fence agents.
mkdir "$root/tmp/debs"
(cd "$root/tmp/debs" && apt-get download -q fence-agents postgresql-15 postgresql-client-15 >&2)
for deb in "$root"/tmp/debs/*.deb; do
  dpkg-deb --fsys-tarfile "$deb" | tar --extract --keep-directory-symlink --directory "$root" --exclude '*/bitcode/*' \
    --exclude './lib/systemd/*' --exclude './etc/init.d/*'
done
rm -rf "$root/tmp/debs"
find "$root/usr/sbin" -name 'fence_*' ! -name fence_scsi -delete
# The common functions of fence agents ask web servers through curl, which fence_scsi does not, and loading it takes longer than the rest.
echo 'class error(Exception): pass' >"$root/usr/share/fence/pycurl.py"
# Python keeps compiled what is imported, not what is run: the agent is imported, once here.
mv "$root/usr/sbin/fence_scsi" "$root/usr/share/fence/fence_scsi.py"
cat >"$root/usr/sbin/fence_scsi" <<'PYTHON'
#!/usr/bin/python3
import sys
sys.path.append('/usr/share/fence')
from fence_scsi import main
main()
PYTHON
chmod +x "$root/usr/sbin/fence_scsi"
chroot "$root" env --ignore-environment /usr/sbin/fence_scsi -o metadata >/dev/null
# The agent that asks the metadata service is Debian's own, unmodified: what it imports is compiled here.
chroot "$root" env --ignore-environment OCF_ROOT=/usr/lib/ocf /usr/lib/ocf/resource.d/heartbeat/azure-events-az meta-data >/dev/null

# An empty database, copied to the shared disk by the first member that gets it: initdb takes half a minute under software emulation.
mkdir -p "$root/usr/lib/groundplane/shared" "$root/srv/sql"
chroot "$root" install -d -o postgres -g postgres /usr/lib/groundplane/shared/data
chroot "$root" setpriv --reuid postgres --regid postgres --clear-groups env LC_ALL=C \
  /usr/lib/postgresql/15/bin/initdb --pgdata /usr/lib/groundplane/shared/data --auth trust --wal-segsize 1 --no-locale \
  --encoding UTF8 --no-instructions >&2
cat >>"$root/usr/lib/groundplane/shared/data/postgresql.conf" <<'CONF'
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

# What is copied is kept small: one database and one segment of log are enough.
printf '%s\n' "update pg_database set datistemplate = false where datname = 'template0';" 'drop database template0;' \
  'drop database postgres;' | chroot "$root" setpriv --reuid postgres --regid postgres --clear-groups \
  /usr/lib/postgresql/15/bin/postgres --single -D /usr/lib/groundplane/shared/data template1 >&2
chroot "$root" setpriv --reuid postgres --regid postgres --clear-groups \
  /usr/lib/postgresql/15/bin/pg_resetwal --pgdata /usr/lib/groundplane/shared/data >&2

# Whatever no program of the guest reads: the disk is copied often.
rm -rf "$root"/usr/bin/*perl* "$root"/usr/share/perl* "$root"/usr/lib/*/perl* "$root"/usr/lib/*/libperl* "$root"/usr/lib/*/gconv \
  "$root"/usr/share/doc "$root"/usr/share/man "$root"/usr/share/locale "$root"/usr/share/misc "$root"/usr/share/postgresql/15/man \
  "$root"/usr/share/zoneinfo/right "$root"/var/lib/apt/lists/* "$root"/var/cache/* "$root"/usr/lib/udev/hwdb.d \
  "$root"/etc/corosync/corosync.conf
: >"$root/etc/machine-id"
