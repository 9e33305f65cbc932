import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { HostNetwork } from './host-network.ts';
import { networkPlan } from './testing/fake-machine.ts';

/** A network whose plans are made when they are let, in the order in which they are asked for. */
function network(): {
  readonly host: HostNetwork;
  readonly asked: number[];
  readonly next: (error?: Error) => Promise<void>;
} {
  const asked: number[] = [];
  const waiting: PromiseWithResolvers<void>[] = [];
  const host = new HostNetwork((plan) => {
    asked.push(plan.revision);
    const made = Promise.withResolvers<void>();
    waiting.push(made);
    return made.promise;
  });
  const next = async (error?: Error): Promise<void> => {
    while (waiting.length === 0) await Promise.resolve();
    const made = waiting.shift();
    if (error === undefined) made?.resolve();
    else made?.reject(error);
  };
  return { host, asked, next };
}

test('plans are put in force one at a time, in order; the same again is made again', async () => {
  const { host, asked, next } = network();
  const both = Promise.all([host.apply(networkPlan(2)), host.apply(networkPlan(5)), host.apply(networkPlan(5))]);
  await next();
  assert.deepEqual(asked, [2]);
  await next();
  await next();
  await both;
  assert.deepEqual([asked, host.revision], [[2, 5, 5], 5]);
});

test('an older plan is refused, also one that was overtaken while it waited', async () => {
  const { host, asked, next } = network();
  const newer = host.apply(networkPlan(5));
  const older = host.apply(networkPlan(4));
  await next();
  await newer;
  await assert.rejects(older, { code: 'stale-order', message: 'Plan 4 is older than plan 5 in force.' });
  assert.deepEqual(asked, [5]);
});

test('a plan that could not be made is not in force and holds up nobody', async () => {
  const { host, next } = network();
  const failing = host.apply(networkPlan(5));
  const older = host.apply(networkPlan(4));
  await next(new CodedError('failed', 'nft says no'));
  await assert.rejects(failing, /nft says no/);
  assert.equal(host.revision, 0);
  await next();
  await older;
  assert.equal(host.revision, 4);
});

test('a start is prepared by the newer plan, and refused where that has not its network', async () => {
  const { host, asked, next } = network();
  const applied = host.apply({ ...networkPlan(5), networks: [] });
  await next();
  await applied;
  const missing = { code: 'stale-order', message: 'Plan 5 has no network 100 on this host.' };
  await assert.rejects(host.prepare(networkPlan(4), [100]), missing);
  const prepared = host.prepare(networkPlan(6), [100]);
  await next();
  await prepared;
  assert.deepEqual([asked, host.revision], [[5, 6], 6]);
});
