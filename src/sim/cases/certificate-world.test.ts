import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CertificateMistake, playCertificates } from './certificate-world.ts';

const SEEDS = 20;
const SEEDS_MAX = 200;

test('certificates are renewed, denied and changed to another authority while machines come and go', async () => {
  for (let seed = 1; seed <= SEEDS; seed++) assert.deepEqual(await playCertificates(seed), [], `seed ${seed}`);
});

const MISTAKES: readonly CertificateMistake[] = [
  {
    says: 'a leader hands out a certificate although its machine was removed meanwhile',
    rule: 'C1-issued-is-recorded',
    plant: (ports) => ({
      ...ports,
      store: {
        ...bound(ports),
        commit: async (commit) => {
          await ports.store.commit(commit);
          return 'committed';
        },
      },
    }),
  },
  {
    says: 'a leader does not look whether a host was declared lost and denied: it is renewed while its record is there',
    rule: 'C4-removals-stand',
    plant: (ports) => {
      const { store } = ports;
      const forgetful = {
        ...bound(ports),
        commit: (commit: Parameters<typeof store.commit>[0]) => store.commit(commit),
        get snapshot() {
          const hosts = [...store.snapshot.hosts].map(([name, { value, revision }]) => {
            const { lost: _, ...record } = value;
            return [name, { value: record, revision }] as const;
          });
          const certificates = [...store.snapshot.certificates].map(
            ([id, { value, revision }]) => [id, { value: { ...value, removed: null }, revision }] as const,
          );
          return { ...store.snapshot, hosts: new Map(hosts), certificates: new Map(certificates) };
        },
      };
      return { ...ports, store: forgetful };
    },
  },
  {
    says: 'machines are not told who was removed',
    rule: 'C2-removed-are-denied',
    plant: (ports) => ({
      ...ports,
      identities: {
        ...ports.identities,
        give: (machine, order, options) => {
          const denied = { identities: [], certificates: [] };
          return ports.identities.give(machine, { ...order, trust: { ...order.trust, denied } }, options);
        },
      },
    }),
  },
];

function bound({ store }: Parameters<CertificateMistake['plant']>[0]) {
  return {
    term: store.term,
    leads: () => store.leads(),
    get snapshot() {
      return store.snapshot;
    },
  };
}

for (const mistake of MISTAKES) {
  test(`planted and noticed: ${mistake.says}`, async () => {
    for (let seed = 1; seed <= SEEDS_MAX; seed++)
      if ((await playCertificates(seed, mistake)).includes(mistake.rule)) return;
    assert.fail(`${SEEDS_MAX} seeds did not notice it.`);
  });
}
