/**
 * Runs on a machine of the cluster (`gp lab exec`): reads etcd with given credentials. Standard input: EtcdQuestion as
 * JSON. Standard output: `N keys`, or `refused` with the reason.
 */
import { messageOf } from '../../src/base/errors.ts';
import { EtcdClient } from '../../src/etcd/client.ts';
import type { Credentials } from '../../src/pki/credentials.ts';

/** The etcd member to ask, and the identity to ask as. */
export interface EtcdQuestion {
  readonly endpoint: string;
  readonly credentials: Credentials;
}

let input = '';
for await (const chunk of process.stdin) input += String(chunk);
const { endpoint, credentials } = JSON.parse(input) as EtcdQuestion;
const client = new EtcdClient({ endpoints: [endpoint], tls: credentials, deadlineMsDefault: 5_000 });
try {
  const { entries } = await client.list('/gp/');
  process.stdout.write(`${entries.length} keys`);
} catch (error) {
  process.stdout.write(`refused: ${messageOf(error)}`);
} finally {
  client.close();
}
