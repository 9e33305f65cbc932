/**
 * For a test file: one real etcd of one member, started before the file's first test and stopped after its last. It is
 * empty when a test begins, and the stores that follow it are closed when the test ends.
 */
import { after, afterEach, before, beforeEach } from 'node:test';
import { present } from '../../base/assert.ts';
import { EtcdClient } from '../../etcd/client.ts';
import { startCluster, type TestCluster } from '../../etcd/testing/etcd-cluster.ts';
import { type RunningStore, startStore, wipe } from './records.ts';

export interface EtcdOfFile extends Pick<TestCluster, 'clientOptions' | 'signal'> {
  /** The address of its member. */
  readonly address: string;
  /**
   * Starts a store that follows etcd until the test ends. `endpoints`: instead of the member's address. `watchLateMs`:
   * by how much its watch lags.
   */
  follow(options?: { readonly endpoints?: readonly string[]; readonly watchLateMs?: number }): Promise<RunningStore>;
}

/**
 * Registers the file's hooks; call this once, before the file's own hooks. Nothing of the answer may be used outside a
 * test.
 */
export function etcdOfFile(): EtcdOfFile {
  let cluster: TestCluster | undefined;
  const followers: RunningStore[] = [];
  const standing = (): TestCluster => present(cluster, 'the etcd of this file');
  before(async () => {
    cluster = await startCluster(1);
  });
  after(() => cluster?.stop());
  beforeEach(async () => {
    const client = new EtcdClient(standing().clientOptions());
    await wipe(client);
    client.close();
  });
  afterEach(() => Promise.all(followers.splice(0).map((follower) => follower.close())));
  return {
    clientOptions: (endpoints) => standing().clientOptions(endpoints),
    signal: (name, signal) => standing().signal(name, signal),
    get address() {
      return present(standing().members[0], 'its member').clientAddress;
    },
    follow: async ({ endpoints, ...options } = {}) => {
      const follower = await startStore(standing().clientOptions(endpoints), options);
      followers.push(follower);
      return follower;
    },
  };
}
