/**
 * The command line of one etcd member (3.4 and 3.5). Pure: others write the certificates and own the process.
 * Guarantees: clients and peers are let in only with a certificate; no secret is in the argv (file names only); every
 * write is synced to disk before it is acknowledged; history and size are bounded.
 */
import { CodedError } from '../base/errors.ts';

export interface EtcdMemberOptions {
  /** Name of this member, unique in the cluster: letters, digits, dots, dashes. */
  readonly name: string;
  readonly dataDir: string;
  /** `host:port` to listen on for clients; the first is announced to other members. */
  readonly clientAddresses: readonly string[];
  /** `host:port` to listen on for other members. */
  readonly peerAddress: string;
  /** All members at the time of the cluster's start, this one included. */
  readonly initialCluster: readonly { readonly name: string; readonly peerAddress: string }[];
  /** `existing` for a member that joins a running cluster; default `new`. Ignored once the data directory is filled. */
  readonly initialClusterState?: 'new' | 'existing';
  /** Keeps clusters apart that ever shared addresses: the cluster's identifier. */
  readonly clusterToken: string;
  readonly tls: EtcdMemberTls;
  /** The time between heartbeats of the leader, default 100 ms. */
  readonly heartbeatMs?: number;
  /** Time without a heartbeat until an election, default 1000 ms; at least five heartbeats, at most 50,000 ms. */
  readonly electionMs?: number;
  /** Size of the database above which writes are refused, default 2 GiB. */
  readonly quotaBytes?: number;
  /** Revisions of history kept, looked at every five minutes, default 50,000. */
  readonly historyRevisions?: number;
  /** The architecture of the machine, as in `process.arch`. */
  readonly arch?: string;
}

/**
 * One authority signs the certificates of all processes of a cluster, but only some of these processes are clients of
 * etcd, and clients have different rights. Two names keep the other processes out during the handshake: one that a
 * client's certificate must hold, and one that a member's must (src/pki: control nodes' certificates hold both, storage
 * nodes' the first, hosts' and QEMUs' none). Clients are told apart by their common names (authorization.ts). Without
 * the second name, etcd (3.4.23, seen) requires the source address of a member among its certificate's IP names, and
 * otherwise asks DNS whether one of its DNS names has that address.
 *
 * File names. Each certificate is used to serve and to connect: it needs both extended key usages (or none), and as
 * names the one that clients verify (`serverName` of the client) and the host of its peer address (an IP address as an
 * IP).
 */
export interface EtcdMemberTls {
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly peerCaFile: string;
  readonly peerCertFile: string;
  readonly peerKeyFile: string;
  /** The DNS name that a client's certificate must hold: the CA's other certificates cannot connect to etcd. */
  readonly clientName: string;
  /** The DNS name that a member's certificate must hold. */
  readonly peerName: string;
}

export interface EtcdCommand {
  readonly program: 'etcd';
  readonly argv: readonly string[];
  /** Add these to a minimal environment: etcd takes any `ETCD_…` variable as an option. */
  readonly env: Readonly<Record<string, string>>;
  /** The shortest possible lease: shorter ones are raised to this. */
  readonly leaseTtlSecondsMin: number;
}

const HEARTBEAT_MS = 100;
const ELECTION_MS = 1_000;
const ELECTION_MS_MAX = 50_000;
/** Default size of the database, in bytes, above which etcd refuses writes. */
export const ETCD_QUOTA_BYTES = 2 * 1024 ** 3;
const HISTORY_REVISIONS = 50_000;

/**
 * etcd's shortest lease: one and a half election timeouts, rounded up to seconds; so 2 s needs at most 1333 ms at a
 * heartbeat of 100 ms, and 1 s at most 600 ms. (etcdserver: `(3 * electionTicks) / 2 * heartbeat`, in integers.)
 */
export function leaseTtlSecondsMin(timing: { heartbeatMs: number; electionMs: number }): number {
  const electionTicks = Math.floor(timing.electionMs / timing.heartbeatMs);
  return Math.ceil((Math.floor((3 * electionTicks) / 2) * timing.heartbeatMs) / 1_000);
}

/** The command for one member. Throws bad-input for values that etcd would refuse or that would split its argv. */
export function etcdCommand(options: EtcdMemberOptions): EtcdCommand {
  const heartbeatMs = options.heartbeatMs ?? HEARTBEAT_MS;
  const electionMs = options.electionMs ?? ELECTION_MS;
  check(options, { heartbeatMs, electionMs });
  const clientUrls = options.clientAddresses.map((address) => `https://${address}`);
  const peerUrl = `https://${options.peerAddress}`;
  const cluster = options.initialCluster.map(({ name, peerAddress }) => `${name}=https://${peerAddress}`).join(',');
  const flags: Record<string, string> = {
    name: options.name,
    'data-dir': options.dataDir,
    'listen-client-urls': clientUrls.join(','),
    'advertise-client-urls': clientUrls[0] ?? '',
    'listen-peer-urls': peerUrl,
    'initial-advertise-peer-urls': peerUrl,
    'initial-cluster': cluster,
    'initial-cluster-state': options.initialClusterState ?? 'new',
    'initial-cluster-token': options.clusterToken,
    ...tlsFlags(options.tls),
    'heartbeat-interval': String(heartbeatMs),
    'election-timeout': String(electionMs),
    // A member that comes back does not disturb a leader that the others hear.
    'pre-vote': 'true',
    'quota-backend-bytes': String(options.quotaBytes ?? ETCD_QUOTA_BYTES),
    'auto-compaction-mode': 'revision',
    'auto-compaction-retention': String(options.historyRevisions ?? HISTORY_REVISIONS),
    // Our clients ping every 2 s; below this minimum etcd would drop their connections.
    'grpc-keepalive-min-time': '1s',
    'grpc-keepalive-interval': '10s',
    'grpc-keepalive-timeout': '5s',
    // Moves a quiet watch's revision on, so that compaction does not overtake it.
    'experimental-watch-progress-notify-interval': '10s',
    'enable-grpc-gateway': 'false',
    logger: 'zap',
    'log-level': 'warn',
    'log-outputs': 'stderr',
  };
  return {
    program: 'etcd',
    argv: Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`),
    // etcd 3.4 starts on arm64 only with this permission.
    env: options.arch === 'arm64' ? { ETCD_UNSUPPORTED_ARCH: 'arm64' } : {},
    leaseTtlSecondsMin: leaseTtlSecondsMin({ heartbeatMs, electionMs }),
  };
}

function tlsFlags(tls: EtcdMemberTls): Record<string, string> {
  return {
    'client-cert-auth': 'true',
    'trusted-ca-file': tls.caFile,
    'cert-file': tls.certFile,
    'key-file': tls.keyFile,
    'peer-client-cert-auth': 'true',
    'peer-trusted-ca-file': tls.peerCaFile,
    'peer-cert-file': tls.peerCertFile,
    'peer-key-file': tls.peerKeyFile,
    'client-cert-allowed-hostname': tls.clientName,
    ...peerNameFlags(tls.peerName),
  };
}

/**
 * By default etcd also requires the *source* address of a peer among its certificate's names, which fails on machines
 * with several addresses (and on loopback). The name in a certificate of our authority is the stronger proof.
 */
function peerNameFlags(peerName: string): Record<string, string> {
  return { 'peer-cert-allowed-hostname': peerName, 'experimental-peer-skip-client-san-verification': 'true' };
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9.-]{0,62}$/;
const ADDRESS = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):\d{1,5}$/;

function check(options: EtcdMemberOptions, timing: { heartbeatMs: number; electionMs: number }): void {
  const bad = (what: string): never => {
    throw new CodedError('bad-input', `Not a usable etcd member: ${what}.`);
  };
  for (const name of [options.name, ...options.initialCluster.map((member) => member.name)]) {
    if (!NAME.test(name)) bad(`the name ${JSON.stringify(name)}`);
  }
  const peers = [options.peerAddress, ...options.initialCluster.map((member) => member.peerAddress)];
  for (const address of [...options.clientAddresses, ...peers]) {
    if (!ADDRESS.test(address)) bad(`the address ${JSON.stringify(address)} (wanted host:port)`);
  }
  if (options.clientAddresses.length === 0) bad('it has no address for clients');
  const own = options.initialCluster.find((member) => member.name === options.name);
  if (own?.peerAddress !== options.peerAddress) bad('the initial cluster does not name it with its peer address');
  if (timing.electionMs < 5 * timing.heartbeatMs) bad('the election timeout is below five heartbeats');
  if (timing.electionMs > ELECTION_MS_MAX) bad(`the election timeout is above ${ELECTION_MS_MAX} ms`);
}
