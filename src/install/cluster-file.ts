/**
 * A machine's file about its cluster, read when its services start: the control nodes, so that it finds etcd again, and
 * the settings with which this machine's etcd member begins. The truth is in etcd; the services keep the list of
 * control nodes in this file up to date while they run.
 */
import { join } from 'node:path';
import { CodedError } from '../base/errors.ts';
import { readJsonFile, writeFileAtomic } from '../os/files.ts';
import { arrayOf, object, oneOf, optional, type Parsed, text } from '../rpc/parse.ts';

const address = text({ charsMax: 15, pattern: /^\d+\.\d+\.\d+\.\d+$/ });
const controlNode = object({ name: text({ charsMax: 40 }), address });

const parseCluster = object({
  controls: arrayOf(controlNode, { itemsMax: 16 }),
  /** SHA-256 of the administrator's token. On control nodes. */
  adminTokenSha256: optional(text({ charsMax: 64, pattern: /^[0-9a-f]{64}$/ })),
  /** How this machine's etcd member begins. On control nodes only. */
  etcd: optional(object({ state: oneOf('new', 'existing'), members: arrayOf(controlNode, { itemsMax: 16 }) })),
});

export type ClusterFile = Parsed<typeof parseCluster>;

/** The file in the directory of the machine's state. */
function clusterFile(stateDir: string): string {
  return join(stateDir, 'cluster.json');
}

/** Reads the file; undefined if there is none. CodedError 'bad-input' that names the fault. */
export async function readClusterFile(stateDir: string): Promise<ClusterFile | undefined> {
  const value = await readJsonFile(clusterFile(stateDir));
  return value === undefined ? undefined : parseCluster(value, clusterFile(stateDir));
}

/** Reads the file. CodedError 'not-found' on a machine that is in no cluster. */
export async function demandClusterFile(stateDir: string): Promise<ClusterFile> {
  const found = await readClusterFile(stateDir);
  if (found !== undefined) return found;
  throw new CodedError('not-found', `This machine is in no cluster: there is no ${clusterFile(stateDir)}.`, {
    advice: 'Begin a cluster with `gp init`, or join one with `gp join`.',
  });
}

/** Writes the file. */
export async function writeClusterFile(stateDir: string, content: ClusterFile): Promise<void> {
  await writeFileAtomic(clusterFile(stateDir), `${JSON.stringify(content, null, 2)}\n`);
}
