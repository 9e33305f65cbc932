/**
 * The systemd units of an installed machine, as texts. Pure. Guarantees: a unit starts only where its role was set up
 * (its credentials or its identity exist); stopping, restarting and upgrading a unit ends no QEMU, no disk daemon and
 * no target: those are in scopes of slices of their own (os/scope.ts), and what a service started outside of a scope is
 * left alone nevertheless (KillMode=process).
 * Each unit first writes the role's configuration from the machine's (configure-role.ts) to a file system that is empty
 * after a boot: an address that belongs to an interface is looked up each time.
 */
import { SLICES } from '../os/scope.ts';
import { type NodeRole, nodeArguments, type Role } from './programs.ts';

/** The directory of the package's files. */
const PACKAGE_DIR = '/usr/lib/groundplane';
/** The configuration of the machine: the only file that people edit. */
export const MACHINE_FILE = '/etc/groundplane/machine.yaml';
/** The administrator's context on a control node: how `gp` reaches the cluster. */
export const ADMIN_DIR = '/etc/groundplane/admin';
/** The directory of the machine's state. */
export const STATE_DIR = '/var/lib/groundplane';
/** Sockets and credentials of what runs; empty after a boot. */
export const RUN_DIR = '/run/groundplane';
/** The configurations of the roles, as they were made at each role's last start. */
export const ROLE_CONFIG_DIR = `${RUN_DIR}/config`;
const NODE = `${PACKAGE_DIR}/node`;
const CONFIGURE = `${NODE} ${PACKAGE_DIR}/lib/install/configure-role.mjs`;
/** A process that does not beat for this long is ended and restarted, in s: as in a one-machine cluster. */
const WATCHDOG_S = 30;

/** Returns the name of a role's unit. */
export function unitOf(role: Role): string {
  return `groundplane-${role}.service`;
}

const DESCRIPTION: Readonly<Record<Role, string>> = {
  etcd: "Groundplane: this machine's member of etcd",
  control: 'Groundplane: server of a control node',
  storage: 'Groundplane: storage service',
  agent: 'Groundplane: agent of a host',
};

/** Sandboxing that every role takes. */
const CONFINED: readonly string[] = [
  'NoNewPrivileges=yes',
  'ProtectSystem=strict',
  'PrivateMounts=yes',
  'PrivateTmp=yes',
  'ProtectKernelTunables=yes',
  'ProtectHome=yes',
  'ProtectClock=yes',
  'ProtectHostname=yes',
  'ProtectKernelLogs=yes',
  'ProtectKernelModules=yes',
  'ProtectControlGroups=yes',
  'RestrictNamespaces=yes',
  'RestrictRealtime=yes',
  'RestrictSUIDSGID=yes',
  'LockPersonality=yes',
  'SystemCallArchitectures=native',
  'UMask=0077',
];

/** Calls that a role makes: those of ordinary services, and those by which it changes its children's users. */
const CALLS = ['SystemCallFilter=@system-service', 'SystemCallErrorNumber=EPERM'];

const SANDBOX: Readonly<Record<Role, readonly string[]>> = {
  etcd: [
    ...CONFINED,
    ...CALLS,
    'SystemCallFilter=~@privileged @resources',
    'CapabilityBoundingSet=',
    'DevicePolicy=closed',
    'PrivateDevices=yes',
    'PrivateUsers=yes',
    'ProtectProc=invisible',
    'ProcSubset=pid',
    'MemoryDenyWriteExecute=yes',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX',
    'StateDirectory=groundplane/etcd',
  ],
  control: [
    ...CONFINED,
    ...CALLS,
    'SystemCallFilter=~@privileged @resources',
    // nft: the filter of etcd's ports.
    'CapabilityBoundingSet=CAP_NET_ADMIN',
    'DevicePolicy=closed',
    'PrivateDevices=yes',
    'ProtectProc=invisible',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK',
    'StateDirectory=groundplane/control',
    // Copies of backups go where other file systems are mounted.
    'ReadWritePaths=-/srv -/mnt -/media',
  ],
  storage: [
    ...CONFINED,
    ...CALLS,
    // Files of disks belong to the users of their daemons, which are signalled and found by /proc.
    'CapabilityBoundingSet=CAP_NET_ADMIN CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETUID CAP_SETGID CAP_KILL CAP_SYS_PTRACE',
    'DevicePolicy=closed',
    'PrivateDevices=yes',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK',
    // A pool may be anywhere, but not where the system is.
    'StateDirectory=groundplane/storage',
    `ReadWritePaths=${STATE_DIR} -/srv -/mnt -/media`,
  ],
  agent: [
    ...CONFINED,
    ...CALLS,
    // QEMU confines itself further (-sandbox): without this call it knows no such option.
    'SystemCallFilter=seccomp',
    // Bridges, tunnels, taps and rules; QEMUs run as users of their own, without any capability (SETPCAP).
    'CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_RAW CAP_NET_BIND_SERVICE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETUID CAP_SETGID CAP_SETPCAP CAP_KILL CAP_SYS_PTRACE',
    'DevicePolicy=closed',
    'DeviceAllow=/dev/kvm rw',
    'DeviceAllow=/dev/net/tun rw',
    'RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK AF_PACKET',
    // /proc/sys/net: forwarding of guests' networks and the time-outs of connections.
    'StateDirectory=groundplane/agent',
    'ReadWritePaths=/proc/sys/net',
  ],
};

/** The file whose presence shows that the role was set up on this machine. */
const SET_UP: Readonly<Record<Role, string>> = {
  etcd: `${STATE_DIR}/control/credentials/ca-cert.pem`,
  control: `${STATE_DIR}/control/credentials/ca-cert.pem`,
  storage: `${STATE_DIR}/storage/identity/ca-cert.pem`,
  agent: `${STATE_DIR}/agent/identity/ca-cert.pem`,
};

function command(role: Role): readonly string[] {
  if (role === 'etcd')
    return [
      `EnvironmentFile=-${ROLE_CONFIG_DIR}/etcd.env`,
      // etcd says that it is ready when it has joined its cluster.
      'ExecStart=/usr/bin/etcd',
      'LimitNOFILE=65536',
    ];
  return [
    'Environment=NODE_ENV=production MALLOC_ARENA_MAX=1 GROUNDPLANE_SCOPES=yes',
    `ExecStart=${[NODE, ...nodeArguments(role)].join(' ')} ${PACKAGE_DIR}/lib/${role}/main.mjs --config ${ROLE_CONFIG_DIR}/${role}.json`,
    `WatchdogSec=${WATCHDOG_S}s`,
    'WatchdogSignal=SIGKILL',
    'LimitNOFILE=65536',
  ];
}

/** Processes that a service leaves running are not ended with it. */
function leavesRunning(role: Role): readonly string[] {
  return role === 'agent' || role === 'storage' ? ['KillMode=process', 'OOMPolicy=continue'] : [];
}

function service(role: Role): string {
  const lines = [
    '[Unit]',
    `Description=${DESCRIPTION[role]}`,
    'Documentation=file:///usr/share/doc/groundplane/README.md',
    'Wants=network-online.target',
    `After=network-online.target${role === 'control' || role === 'storage' ? ` ${unitOf('etcd')}` : ''}`,
    `ConditionPathExists=${SET_UP[role]}`,
    // Restarted for ever: the thing that it waits for may come back after any time.
    'StartLimitIntervalSec=0',
    '',
    '[Service]',
    'Type=notify',
    'NotifyAccess=all',
    `ExecStartPre=${role === 'etcd' ? '+' : ''}${CONFIGURE} ${role}`,
    ...command(role),
    'Restart=always',
    'RestartSec=200ms',
    // A service waits for etcd, or for the machine that it joins by, before it is ready.
    'TimeoutStartSec=infinity',
    'TimeoutStopSec=20s',
    ...leavesRunning(role),
    'RuntimeDirectory=groundplane',
    'RuntimeDirectoryMode=0711',
    'RuntimeDirectoryPreserve=yes',
    'StateDirectoryMode=0700',
    ...SANDBOX[role],
    '',
    '[Install]',
    'WantedBy=multi-user.target',
    '',
  ];
  return lines.join('\n');
}

function slice(what: string): string {
  return [
    '[Unit]',
    `Description=Groundplane: ${what}`,
    '',
    '[Slice]',
    'CPUAccounting=yes',
    'MemoryAccounting=yes',
    '',
  ].join('\n');
}

/** Returns all unit files by name. */
export function unitFiles(): ReadonlyMap<string, string> {
  const roles: readonly (NodeRole | 'etcd')[] = ['etcd', 'control', 'storage', 'agent'];
  return new Map([
    ...roles.map((role) => [unitOf(role), service(role)] as const),
    [SLICES.vms, slice('virtual machines')],
    [SLICES.disks, slice('daemons that serve disks')],
    // Debian starts an etcd for everybody when etcd-server is installed. One that never ran is not begun by installing
    // Groundplane, whose members are another unit; one that ran before goes on.
    [
      'etcd.service.d/50-groundplane.conf',
      [
        '# Debian starts an etcd of its own when etcd-server is installed. Groundplane runs its members as',
        '# groundplane-etcd.service: an etcd that never ran does not begin to, and one that ran before goes on.',
        '[Unit]',
        'ConditionDirectoryNotEmpty=/var/lib/etcd/default',
        '',
      ].join('\n'),
    ],
  ]);
}
