/** Faults of the lab one upon the other: `restore` mends the cluster after each two of them. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { CodedError } from '../base/errors.ts';
import { type LabRequest, labCall, labStatus } from './client.ts';
import { AGENT, StandInLab } from './testing/stand-in-lab.ts';

let lab: StandInLab;

before(async () => {
  lab = await StandInLab.start();
});
after(() => lab.end());

/** The faults of each kind of machine, one of each; `restore` undoes all of them. */
const PAIRED: Readonly<Record<'h1' | 'c1' | 's1', readonly Omit<LabRequest, 'target'>[]>> = {
  h1: [
    { verb: 'freeze-agent' },
    { verb: 'kill-host' },
    { verb: 'cut-host' },
    { verb: 'kill-agent' },
    { verb: 'cut-storage' },
    { verb: 'wipe-host' },
    { verb: 'thaw' },
  ],
  c1: [
    { verb: 'freeze-server' },
    { verb: 'kill-server' },
    { verb: 'kill-etcd' },
    { verb: 'cut-control' },
    { verb: 'thaw' },
  ],
  s1: [
    { verb: 'kill-storage' },
    { verb: 'kill-storage', serviceOnly: true },
    { verb: 'cut-storage' },
    { verb: 'cut-control' },
  ],
};

/** Does it, or is refused because the machine is off. */
async function inject(request: LabRequest): Promise<void> {
  await labCall(lab.dir, request).catch((error: unknown) => {
    if (!(error instanceof CodedError && error.code === 'conflict')) throw error;
  });
}

async function mended(what: string): Promise<void> {
  await labCall(lab.dir, { verb: 'restore' });
  await lab.answers('h2', AGENT, /^h1/);
  await lab.answers('h1', ['10.78.1.1', 7444], /^s1/);
  await lab.answers('h1', ['10.77.0.11', 7440], /^c1/);
  await lab.answers('h1', ['10.77.0.11', 2379], /^c1/);
  for (const { name, power, cutFrom, processes } of await labStatus(lab.dir)) {
    assert.deepEqual([power, cutFrom], ['on', []], `${name} after ${what}`);
    for (const [role, { state }] of Object.entries(processes))
      assert.equal(state, 'running', `${role} of ${name} after ${what}`);
  }
}

test('after every pair of faults restore mends the cluster', { timeout: 300_000 }, async () => {
  const kinds = Object.entries(PAIRED).map(([target, faults]) => ({
    target,
    pairs: faults.flatMap((first) => faults.map((second) => [first, second] as const)),
  }));
  // Machines of different kinds have nothing to do with each other's faults: their pairs are tried together.
  const rounds = Math.max(...kinds.map(({ pairs }) => pairs.length));
  for (let round = 0; round < rounds; round++) {
    const chosen = kinds.map(({ target, pairs }) => ({ target, pair: pairs[round % pairs.length] ?? [] }));
    for (const nth of [0, 1])
      await Promise.all(
        chosen.flatMap(({ target, pair }) => (pair[nth] === undefined ? [] : [inject({ ...pair[nth], target })])),
      );
    await mended(JSON.stringify(chosen));
  }
});

test('after any fault and then a power failure of everything, or the other way round, restore mends the cluster', {
  timeout: 300_000,
}, async () => {
  const rounds = Math.max(...Object.values(PAIRED).map((faults) => faults.length));
  for (let round = 0; round < rounds; round++) {
    const chosen = Object.entries(PAIRED).map(
      ([target, faults]) => ({ ...faults[round % faults.length], target }) as LabRequest,
    );
    for (const order of ['before', 'after']) {
      if (order === 'before') await Promise.all(chosen.map(inject));
      await labCall(lab.dir, { verb: 'kill-everything' });
      if (order === 'after') await Promise.all(chosen.map(inject));
      await mended(`${order}: ${JSON.stringify(chosen)}`);
    }
  }
});
