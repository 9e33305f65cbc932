/** The compliance suite on the simulated cluster, with one member and with three. */
import { describe } from 'node:test';
import { type ComplianceWorld, checkEtcd } from '../../etcd/testing/compliance.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import { SimEtcd } from './sim-etcd.ts';
import { SimEtcdClient } from './sim-etcd-client.ts';
import { drive } from './testing/drive.ts';
import { PlainRoute } from './testing/plain-network.ts';

for (const members of [['m1'], ['m1', 'm2', 'm3']]) {
  describe(`${members.length} simulated member(s)`, () => checkEtcd(() => start(members)));
}

async function start(members: readonly string[]): Promise<ComplianceWorld> {
  const clock = new SimClock();
  const random = new SimRandom(7);
  const etcd = new SimEtcd({ members, clock, random });
  const connect = () => {
    const route = new PlainRoute(etcd, { clock, random });
    return { route, client: new SimEtcdClient({ etcd, route, clock }) };
  };
  const { client } = connect();
  return {
    etcd: client,
    spoilable: async () => {
      const behind = connect();
      const freeze = (what: 'answers' | 'all') => () => {
        behind.route.frozen = what;
      };
      return {
        etcd: behind.client,
        freeze: freeze('all'),
        mute: freeze('answers'),
        cut: () => behind.client.reset(),
        close: async () => behind.client.close(),
      };
    },
    compact: async (revision) => etcd.compact(revision),
    run: (body) => drive(clock, body),
    close: async () => client.close(),
  };
}
