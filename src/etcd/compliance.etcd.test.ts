/** The compliance suite on a real member. */
import { EtcdClient } from './client.ts';
import { type ComplianceWorld, checkEtcd, type SpoilableEtcd } from './testing/compliance.ts';
import { startCluster, startProxy } from './testing/etcd-cluster.ts';

checkEtcd(async (): Promise<ComplianceWorld> => {
  const cluster = await startCluster(1);
  const etcd = new EtcdClient(cluster.clientOptions());
  const spoilable = async (): Promise<SpoilableEtcd> => {
    const proxy = await startProxy(cluster.members[0]?.clientAddress ?? '');
    const behind = new EtcdClient(cluster.clientOptions([proxy.address]));
    return {
      etcd: behind,
      freeze: () => proxy.freeze(),
      mute: () => proxy.mute(),
      cut: () => void proxy.cut(),
      close: async () => {
        behind.close();
        await proxy.close();
      },
    };
  };
  return {
    etcd,
    spoilable,
    compact: (revision) => etcd.compact(revision),
    run: (body) => body(),
    close: async () => {
      etcd.close();
      await cluster.stop();
    },
  };
});
