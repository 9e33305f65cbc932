/**
 * Checks whether this machine can run a one-machine cluster at all, before anything is made. Guarantees: every missing
 * thing is named together with the command that installs it.
 */

import { access, constants } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { tryRun } from '../os/child-process.ts';
import { readTextBounded } from '../os/files.ts';

const PROBE_DEADLINE_MS = 10_000;
/** The directories of the administrator's programs; not in an ordinary user's PATH on Debian. */
const SYSTEM_PATH = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];

/** Program -> Debian package, of what the lab itself starts. */
const LAB_PROGRAMS: Readonly<Record<string, string>> = {
  unshare: 'util-linux',
  nsenter: 'util-linux',
  setpriv: 'util-linux',
  flock: 'util-linux',
  mount: 'mount',
  hostname: 'hostname',
  find: 'findutils',
  ip: 'iproute2',
  nft: 'nftables',
  tini: 'tini',
};

/** The programs that the roles start on the machines. */
const ROLE_PROGRAMS: Readonly<Record<string, string>> = {
  etcd: 'etcd-server',
  'qemu-system-x86_64': 'qemu-system-x86',
  'qemu-img': 'qemu-utils',
  'qemu-storage-daemon': 'qemu-system-common',
};

export interface Isolation {
  /** True: the room gets a user namespace, in which we are root. */
  readonly userNamespace: boolean;
}

/** PATH with the administrator's directories added at its end. */
export function systemPath(path: string | undefined): string {
  const given = (path ?? '').split(delimiter).filter((entry) => entry !== '');
  return [...new Set([...given, ...SYSTEM_PATH])].join(delimiter);
}

/**
 * Finds out how the room can be made. CodedError 'not-installed' naming the missing packages, 'forbidden' naming what
 * keeps us from making namespaces.
 */
export async function checkPrerequisites(options: {
  readonly bare: boolean;
  readonly outside: boolean;
}): Promise<Isolation> {
  await checkPrograms({
    ...LAB_PROGRAMS,
    ...(options.bare ? {} : ROLE_PROGRAMS),
    ...(options.outside ? { slirp4netns: 'slirp4netns' } : {}),
  });
  const isolation = await probeNamespaces();
  if (!options.bare) await checkTun();
  return isolation;
}

async function checkPrograms(programs: Readonly<Record<string, string>>): Promise<void> {
  const missing: string[] = [];
  for (const [program, debianPackage] of Object.entries(programs)) {
    if (!(await isInstalled(program))) missing.push(debianPackage);
  }
  if (missing.length === 0) return;
  const packages = [...new Set(missing)].sort().join(' ');
  throw new CodedError('not-installed', `Programs that a one-machine cluster needs are missing: ${packages}.`, {
    advice: `Install them as root: apt-get install --no-install-recommends ${packages}`,
  });
}

async function isInstalled(program: string): Promise<boolean> {
  for (const directory of systemPath(process.env['PATH']).split(delimiter)) {
    try {
      await access(join(directory, program), constants.X_OK);
      return true;
    } catch {
      // The program is not in this directory.
    }
  }
  return false;
}

async function probeNamespaces(): Promise<Isolation> {
  const root = process.geteuid?.() === 0;
  const kinds = ['--mount', '--net', '--pid', '--uts', '--fork', '--mount-proc', '--'];
  // For root, too, a user namespace is the second choice: in a container root may lack CAP_SYS_ADMIN.
  let said = '';
  for (const userNamespace of root ? [false, true] : [true]) {
    const argv = ['unshare', ...(userNamespace ? ['--user', '--map-root-user'] : []), ...kinds, 'mount'];
    const tmpfs = ['-t', 'tmpfs', 'none', '/run'];
    const result = await tryRun([...argv, ...tmpfs], {
      deadlineMs: PROBE_DEADLINE_MS,
      env: { ...process.env, PATH: systemPath(process.env['PATH']) },
    });
    if (result.exitCode === 0) return { userNamespace };
    said = result.stderr.trim();
  }
  throw new CodedError('forbidden', `This machine does not let us make namespaces: ${said}`, {
    advice: `Nothing was changed. ${await namespaceAdvice(root)}`,
  });
}

async function namespaceAdvice(root: boolean): Promise<string> {
  if (root) return 'This container needs the capability CAP_SYS_ADMIN and CAP_NET_ADMIN.';
  const switches = [
    ['kernel.unprivileged_userns_clone', '0', '1'],
    ['kernel.apparmor_restrict_unprivileged_userns', '1', '0'],
    ['user.max_user_namespaces', '0', '10000'],
  ] as const;
  for (const [name, off, on] of switches) {
    const value = await readTextBounded(`/proc/sys/${name.replaceAll('.', '/')}`, 100).catch(() => undefined);
    if (value?.trim() === off) return `Allow it as root with \`sysctl -w ${name}=${on}\`, or run this as root.`;
  }
  return 'Run this as root.';
}

async function checkTun(): Promise<void> {
  try {
    await access('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch (cause) {
    throw new CodedError('forbidden', 'We may not open /dev/net/tun, which the networks of VMs need.', {
      cause,
      advice: 'Nothing was changed. As root: modprobe tun; chmod 0666 /dev/net/tun. Or run this as root.',
    });
  }
}
