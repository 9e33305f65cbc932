import assert from 'node:assert/strict';
import { test } from 'node:test';
import { modelOf } from '../maintenance/model.ts';
import { planRoll } from '../maintenance/roll.ts';
import { aHost, aVm, estateOf, hostName } from '../maintenance/testing/small-estate.ts';
import { rollRefusal } from './drains.ts';

const GIB = 1024;
const LIMITS = { maxUnavailable: 1, perRack: null, releaseAfter: null } as const;

test('a roll that leaves no room for a loss names its own hosts, not those that might be lost', () => {
  const size = { memoryMib: 10 * GIB };
  const vms = [aVm('a', 'h1', { memoryMib: 2 * GIB }), aVm('b', 'h2', { memoryMib: 6 * GIB })];
  const hosts = ['h1', 'h2', 'h3'].map((name) => aHost(name, size));
  const model = modelOf(
    estateOf({ hosts, vms: [...vms, aVm('c', 'h3', { memoryMib: 6 * GIB })], policy: { keepRoomForLoss: true } }),
  );
  const names = [hostName('h1')];
  const outcome = planRoll(model, { ...LIMITS, hosts: names });
  assert(outcome.kind === 'refused');
  assert.equal(outcome.obstacle, 'no-room-for-loss');
  const { message, advice, hosts: about } = rollRefusal(model, names, outcome);
  const why = 'no room would be left for the loss of a host: b would have no place';
  assert.equal(message, `h1 cannot be drained now: ${why}.`);
  assert.equal(advice, 'Nothing was changed.', 'b has a place now');
  assert.deepEqual(about, []);
});

test('a roll names its hosts whose VMs have no place', () => {
  const size = { memoryMib: 10 * GIB };
  const hosts = [aHost('h1', { memoryMib: 6 * GIB }), aHost('h2', size), aHost('h3', size)];
  const vms = [aVm('a', 'h1', { memoryMib: GIB }), aVm('b', 'h2', { memoryMib: 8 * GIB })];
  const model = modelOf(estateOf({ hosts, vms: [...vms, aVm('c', 'h3', { memoryMib: 8 * GIB })] }));
  const names = ['h1', 'h2'].map(hostName);
  const outcome = planRoll(model, { ...LIMITS, hosts: names });
  assert(outcome.kind === 'refused');
  const { message, hosts: about } = rollRefusal(model, names, outcome);
  assert.equal(message, 'h2 cannot be drained now: no host can take b.');
  assert.deepEqual(about, ['h2']);
});

test('a refusal that names no VM is a whole sentence all the same', () => {
  const model = modelOf(estateOf({ hosts: [aHost('h1')] }));
  const names = [hostName('h1')];
  const outcome = { kind: 'refused', vms: [], proven: false, wavesDone: 0 } as const;
  assert.equal(
    rollRefusal(model, names, { ...outcome, obstacle: 'no-order' }).message,
    'h1 cannot be drained now: no order of the moves was found in which every host has room for each VM.',
  );
  assert.equal(
    rollRefusal(model, names, { ...outcome, obstacle: 'no-room-for-loss' }).message,
    'h1 cannot be drained now: no room would be left for the loss of a host.',
  );
});
