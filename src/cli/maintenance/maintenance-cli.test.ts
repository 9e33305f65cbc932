/** `gp host drain` and `gp maintenance` against a simulated cluster. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { testCluster } from '../testing/test-cluster.ts';

const words = (line: string): string[] => line.split(' ');

test('maintenance of many hosts is planned wave after wave, with a hash of what is approved', async (t) => {
  const { gp } = await testCluster(t);
  const planned = await gp(words('maintenance plan --hosts all --max-unavailable 2 --parallel 1 -o json'));
  assert.equal(planned.code, 0, planned.err);
  const plan = JSON.parse(planned.out) as { hash: string; waves: { hosts: string[] }[] };
  assert.match(plan.hash, /^[0-9a-f]{64}$/);
  assert.deepEqual(plan.waves.flatMap(({ hosts }) => hosts).sort(), ['h1', 'h2', 'h3']);
  const text = (await gp(words('maintenance plan --hosts all --max-unavailable 2 --parallel 1'))).out;
  assert.match(text, /^3 hosts in \d waves: \d+ moves/);
  assert.match(text, /^Wave 1: h\d/m);
  assert.match(text, new RegExp(`^Hash ${plan.hash}$`, 'm'), 'the same state gives the same plan');
  const some = await gp(words('maintenance plan --hosts h2,h3 -o name'));
  assert.match(some.out, /^[0-9a-f]{64}\n$/);
  assert.notEqual(some.out.trim(), plan.hash);
  assert.equal((await gp(words('maintenance plan --hosts h2,h77'))).code, 4);
  const rack = await gp(words('maintenance plan --hosts rack=r9'));
  assert.match(rack.err, /No host is in rack r9/);
  assert.equal((await gp(words('maintenance plan --hosts all --max-unavailable 51'))).code, 2);
  await gp(words('host drain h3'));
  assert.match((await gp(words('maintenance plan --hosts all'))).err, /h3 is in maintenance already/);
});

test('a host is drained by a plan that is shown first, and taken back', async (t) => {
  const { gp } = await testCluster(t);
  for (const name of ['web1', 'web2', 'web3']) await gp(words(`vm create ${name} --disk 1G`));
  const { host } = JSON.parse((await gp(words('vm show web1 -o json'))).out) as { readonly host: string };
  const plan = await gp(words(`host drain ${host} --dry-run`));
  assert.match(plan.out, new RegExp(`^${host}: [1-3] moves?, .*\\nMOVE +VM +FROM +TO .*\\n0 +web\\d +${host} +h\\d`));
  assert.match((await gp(words('maintenance list'))).out, /^ID +HOSTS[^\n]*\n$/, 'nothing was begun');
  const drained = await gp([...words(`host drain ${host} --change CHG123 --reason`), 'new memory']);
  assert.equal(drained.code, 0, drained.err);
  assert.match(drained.out, /State: +drained/);
  assert.match((await gp(words('host list'))).out, new RegExp(`^${host} .* drained `, 'm'));
  assert.match((await gp(words(`host show ${host}`))).out, /Maintenance: +drained since .*: new memory/);
  const [{ id }] = JSON.parse((await gp(words('maintenance list -o json'))).out) as [{ readonly id: string }];
  assert.match((await gp(words(`maintenance show ${id}`))).out, /Change: +CHG123[\s\S]*\n0 +web\d .* moved /);
  assert.equal((await gp(words(`vm migrate web1 --to ${host}`))).code, 1, 'a host in maintenance takes nothing');
  assert.equal((await gp(words(`host drain ${host}`))).code, 5, 'it is in maintenance already');
  assert.equal((await gp(words(`maintenance cancel ${id}`))).code, 5, 'it is over');
  assert.equal((await gp(words(`host undrain ${host}`))).out, `${host} is in service again\n`);
  assert.equal((await gp(words(`host undrain ${host}`))).code, 5);
  assert.equal((await gp(words('host drain h77'))).code, 4);
  assert.equal((await gp(words(`host drain ${host} --parallel none`))).code, 2);
});
