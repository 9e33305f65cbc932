/**
 * DHCP for one network on this host: a dnsmasq that answers reservations and nothing else. Guarantees: found by its
 * arguments, so it outlives the agent; an address that was given to another VM is not held back for its former owner.
 */

import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { present } from '../../base/assert.ts';
import type { NetworkOnHost } from '../../core/ports/host-link.ts';
import { spawnDaemon } from '../../os/child-process.ts';
import { readTextBounded, writeFileAtomic } from '../../os/files.ts';
import { isRunning, type ProcessIdentity, readProcess, signalProcess } from '../../os/process-table.ts';
import { inScope } from '../../os/scope.ts';
import { isOnThisHost, processesWith } from '../incarnations.ts';
import { DAEMON_ENV, killProcess } from '../qemu/launch.ts';
import { bridgeName, METADATA_ADDRESS, rangeOf } from './names.ts';

export interface DhcpOptions {
  readonly runDir: string;
  /** Whether dnsmasq can give up root for `nobody` (it cannot in a user namespace of one user). */
  readonly dropsRoot: boolean;
  readonly mtu: number;
  /** The name servers that guests of networks with NAT are given. */
  readonly nameServers: readonly string[];
}

interface Server {
  readonly vni: number;
  readonly process: ProcessIdentity;
}

/** The user that dnsmasq becomes after it gave up root: `nobody` of every Linux distribution. */
const NOBODY_UID = 65_534;
const FILE_BYTES_MAX = 8 * 1024 * 1024;

/** The configuration file of a network with DHCP, and of the host's part in it only. */
export function dhcpConfiguration(network: NetworkOnHost, directory: string, options: DhcpOptions): string {
  const gateway = present(network.gateway, 'gateway of a network with DHCP');
  const { network: first, netmask } = rangeOf(gateway);
  const servers = network.nat ? options.nameServers : [];
  return [
    'port=0',
    'no-resolv',
    'no-hosts',
    `interface=${bridgeName(network.vni)}`,
    'except-interface=lo',
    'bind-interfaces',
    'dhcp-authoritative',
    'no-ping',
    // The reservations say which VM has which address: dnsmasq need not remember leases.
    'leasefile-ro',
    `dhcp-range=${first},static,${netmask},infinite`,
    `dhcp-hostsfile=${join(directory, 'hosts')}`,
    // An option without a value is not sent.
    network.nat ? `dhcp-option=option:router,${gateway.address}` : 'dhcp-option=option:router',
    // RFC 3442: who takes these routes ignores the router.
    ...(network.metadata === true
      ? [
          [
            'dhcp-option=option:classless-static-route',
            ...[`${METADATA_ADDRESS}/32`, gateway.address],
            ...(network.nat ? ['0.0.0.0/0', gateway.address] : []),
          ].join(','),
        ]
      : []),
    ['dhcp-option=option:dns-server', ...servers].join(','),
    `dhcp-option=option:mtu,${options.mtu}`,
    'pid-file',
    '',
  ].join('\n');
}

/** One line per reservation. */
export function dhcpHosts(reservations: NonNullable<NetworkOnHost['dhcp']>): string {
  const lines = reservations.map(({ mac, address, hostname }) => `${mac},${address},${hostname}\n`);
  return lines.sort().join('');
}

/** Starts, reloads, restarts and ends dnsmasqs so that exactly the networks with DHCP are served. */
export async function applyDhcp(networks: readonly NetworkOnHost[], options: DhcpOptions): Promise<void> {
  const wanted = networks.filter(({ dhcp, gateway }) => dhcp !== null && gateway !== null);
  const running = findServers(options.runDir);
  for (const server of running) {
    if (wanted.some(({ vni }) => vni === server.vni)) continue;
    await killProcess(server.process);
    await rm(directoryOf(server.vni, options), { recursive: true, force: true });
  }
  await Promise.all(
    wanted.map((network) =>
      serve(
        network,
        running.find(({ vni }) => vni === network.vni),
        options,
      ),
    ),
  );
}

async function serve(network: NetworkOnHost, running: Server | undefined, options: DhcpOptions): Promise<void> {
  const directory = directoryOf(network.vni, options);
  const configFile = join(directory, 'dnsmasq.conf');
  const hostsFile = join(directory, 'hosts');
  const config = dhcpConfiguration(network, directory, options);
  const hosts = dhcpHosts(network.dhcp ?? []);
  const [oldConfig, oldHosts] = await Promise.all([
    readTextBounded(configFile, FILE_BYTES_MAX),
    readTextBounded(hostsFile, FILE_BYTES_MAX),
  ]);
  const alive = running !== undefined && isRunning(running.process);
  if (alive && oldConfig === config && oldHosts === hosts) return;
  await mkdir(directory, { recursive: true });
  // Independent of the umask: dnsmasq reads the reservations after it has become nobody.
  await chmod(directory, 0o755);
  await writeFileAtomic(hostsFile, hosts, { mode: 0o644 });
  // dnsmasq keeps a lease in memory for ever: if a reservation was removed, only a new process forgets it.
  const kept = new Set(hosts.split('\n'));
  const onlyMore = oldHosts?.split('\n').every((line) => kept.has(line)) ?? false;
  if (alive && oldConfig === config && onlyMore) {
    signalProcess(running.process, 'SIGHUP');
    return;
  }
  if (alive) await killProcess(running.process);
  await writeFileAtomic(configFile, config, { mode: 0o644 });
  const user = options.dropsRoot ? ['--keep-in-foreground', '--user=nobody'] : ['--no-daemon'];
  const dnsmasq = ['dnsmasq', ...user, '--log-facility=/dev/null', configArgument(configFile)];
  const argv = inScope(dnsmasq, { slice: 'vms', name: `gp-dhcp-${network.vni}` });
  await spawnDaemon(argv, { env: DAEMON_ENV, cwd: '/' });
}

/** Finds the dnsmasqs that agents of this host started: as our own user, and as `nobody` after they gave up root. */
function findServers(runDir: string): readonly Server[] {
  const prefix = configArgument(join(runDir, 'net-'));
  return processesWith(Buffer.from(prefix)).flatMap(({ pid }) => {
    const record = readProcess(pid);
    const argument = record?.argv.find((candidate) => candidate.startsWith(prefix));
    const vni = /^(\d+)\/dnsmasq\.conf$/.exec(argument?.slice(prefix.length) ?? '')?.[1];
    if (record === undefined || vni === undefined || record.state === 'Z' || !isOnThisHost(pid)) return [];
    if (record.uid !== process.geteuid?.() && record.uid !== NOBODY_UID) return [];
    return [{ vni: Number(vni), process: { pid, startTicks: record.startTicks } }];
  });
}

function configArgument(path: string): string {
  return `--conf-file=${path}`;
}

function directoryOf(vni: number, { runDir }: DhcpOptions): string {
  return join(runDir, `net-${vni}`);
}
