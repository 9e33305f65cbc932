/**
 * The layout of the directory of a one-machine cluster. All files of a cluster are in there and nowhere else; every
 * directory is 0700. Guarantees: the paths of the sockets fit into a socket address.
 *   DIR/cluster.json            the shape: numbers of hosts, control and storage nodes
 *   DIR/context.json            how clients reach it: URL, CA, token file
 *   DIR/lab.json                the processes that run it now
 *   DIR/lab.sock                fault injection, while it runs
 *   DIR/lab.log                 what the outer process and the room said (with `--detach`)
 *   DIR/admin-token             the administrator's API token, 0600
 *   DIR/ca.pem                  the authority's certificate, for clients
 *   DIR/authority/              the authority: ca-cert.pem, ca-key.pem; seen by control nodes only
 *   DIR/cache/                  built images, and compiled code where it cannot be kept beside the packages; may be removed at any time
 *   DIR/machines/NAME/          one machine's disk, the only one of these that the machine itself sees:
 *     config/ROLE.json            configuration of a role (agent, storage, control)
 *     log/ROLE.log, ROLE.log.1    what its processes said, bounded
 *     state/                      what the role keeps: its identity
 *     join-token                  one-time token, while it is joining; 0600
 *     etcd/                       a control node's etcd member
 *     failpoint                   a control node's: where its leader shall crash (tests)
 *     api.sock                    a control node's API, for the user's side of the wall
 *     pool/                       a storage node's disks and images
 */

import { join, resolve } from 'node:path';
import { CodedError } from '../base/errors.ts';

/** sockaddr_un holds 108 bytes with the final NUL (unix(7)). */
const SOCKET_PATH_BYTES_MAX = 107;
/** Every machine has a file system of its own there: a directory in it would be hidden. */
const HIDDEN_BY_MACHINES = '/run';

export interface MachineLayout {
  readonly dir: string;
  readonly configDir: string;
  readonly logDir: string;
  readonly stateDir: string;
  readonly joinTokenFile: string;
  readonly etcdDir: string;
  readonly failpointFile: string;
  readonly apiSocket: string;
  readonly poolDir: string;
}

export interface LabLayout {
  /** Absolute. */
  readonly dir: string;
  readonly clusterFile: string;
  readonly contextFile: string;
  readonly runningFile: string;
  readonly labSocket: string;
  readonly logFile: string;
  readonly adminTokenFile: string;
  readonly caFile: string;
  readonly authorityDir: string;
  readonly cacheDir: string;
  readonly machinesDir: string;
  machine(name: string): MachineLayout;
}

/** A machine's `runDir`: on a file system in memory that is gone when the machine is off. */
export const MACHINE_RUN_DIR = '/run/groundplane';

/**
 * The path of a storage node's pool (DIR/machines/NAME/pool) on the machine itself: all users can pass through every
 * directory above it.
 */
export const MACHINE_POOL_DIR = '/run/pool';

/**
 * The layout of `dir`. CodedError 'bad-input' when its sockets' paths would be too long, or when it lies under /run.
 */
export function labLayout(dir: string): LabLayout {
  const root = resolve(dir);
  if (root === HIDDEN_BY_MACHINES || root.startsWith(`${HIDDEN_BY_MACHINES}/`)) {
    throw new CodedError('bad-input', `${root} lies under ${HIDDEN_BY_MACHINES}, which is lost at the next boot.`, {
      advice: 'Nothing was changed. Choose a directory on a disk with --dir.',
    });
  }
  const machinesDir = join(root, 'machines');
  const machine = (name: string): MachineLayout => machineLayout(join(machinesDir, name));
  checkSocketPath(root, machine('c1').apiSocket);
  return {
    dir: root,
    clusterFile: join(root, 'cluster.json'),
    contextFile: join(root, 'context.json'),
    runningFile: join(root, 'lab.json'),
    labSocket: join(root, 'lab.sock'),
    logFile: join(root, 'lab.log'),
    adminTokenFile: join(root, 'admin-token'),
    caFile: join(root, 'ca.pem'),
    authorityDir: join(root, 'authority'),
    cacheDir: join(root, 'cache'),
    machinesDir,
    machine,
  };
}

function machineLayout(dir: string): MachineLayout {
  return {
    dir,
    configDir: join(dir, 'config'),
    logDir: join(dir, 'log'),
    stateDir: join(dir, 'state'),
    joinTokenFile: join(dir, 'join-token'),
    etcdDir: join(dir, 'etcd'),
    failpointFile: join(dir, 'failpoint'),
    apiSocket: join(dir, 'api.sock'),
    poolDir: join(dir, 'pool'),
  };
}

function checkSocketPath(root: string, longest: string): void {
  const tooManyBytes = Buffer.byteLength(longest) - SOCKET_PATH_BYTES_MAX;
  if (tooManyBytes <= 0) return;
  throw new CodedError('bad-input', `The path ${root} is ${tooManyBytes} bytes too long for the sockets in it.`, {
    advice: 'Nothing was changed. Choose a shorter one with --dir.',
  });
}
