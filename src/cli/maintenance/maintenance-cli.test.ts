/** `gp host drain` and `gp maintenance` against a simulated cluster. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
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
  assert.match(text, /^3 hosts in \d waves?: \d+ moves?\b/);
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

/** A plan in a file, as somebody approved it. */
async function approvedPlan(
  { gp, dir }: Awaited<ReturnType<typeof testCluster>>,
  options: string,
): Promise<{ readonly file: string; readonly hash: string }> {
  const { out, err, code } = await gp(words(`maintenance plan ${options} -o json`));
  assert.equal(code, 0, err);
  const file = join(dir, 'plan.json');
  await writeFile(file, out);
  return { file, hash: (JSON.parse(out) as { hash: string }).hash };
}

test('a roll runs its commands here, host by host, and its record is the evidence of the change', async (t) => {
  const cluster = await testCluster(t);
  const { gp, dir } = cluster;
  for (const name of ['web1', 'web2', 'web3']) await gp(words(`vm create ${name} --disk 1G`));
  const { file, hash } = await approvedPlan(cluster, '--hosts h1,h2');
  const log = join(dir, 'ran');
  const roll = ['maintenance', 'roll', '--plan', file, '--change', 'CHG123', '--reason', 'kernel'];
  const commands = ['--pre', `echo pre {host} >> ${log}`, '--run', `echo "run $GP_HOST" >> ${log}; echo patched`];
  const verify = ['--verify', `echo verify {host} >> ${log}`];
  const ended = await gp([...roll, ...commands, ...verify]);
  assert.equal(ended.code, 0, ended.err + ended.out);
  assert.match(ended.out, /State: +completed/);
  const ran = (await readFile(log, 'utf8')).trim().split('\n');
  for (const host of ['h1', 'h2'])
    assert.deepEqual(
      ran.filter((line) => line.endsWith(host)),
      [`pre ${host}`, `run ${host}`, `verify ${host}`],
    );
  const list = (await gp(words('maintenance list'))).out;
  const id =
    /^(roll-[0-9a-f]{12}) +2 in \d waves +completed +2 of 2 +\S+ +CHG123/m.exec(list)?.[1] ?? assert.fail(list);
  const markdown = (await gp(words(`maintenance show ${id} --as markdown`))).out;
  assert.match(markdown, new RegExp(`^# Record of ${id}`));
  assert.match(markdown, new RegExp(`\\| Approved plan \\| ${hash} \\|`));
  assert.match(markdown, /\| h[12] \| run \| .* \| succeeded \| .* \| Exit status 0 after/);
  assert.match(markdown, /### Guest clusters\n\nNone was touched\./);
  const csv = (await gp(words(`maintenance show ${id} --as csv`))).out.split('\r\n');
  assert.match(csv[0] ?? '', /^drain,hosts,who,change,vm,from,to/);
  assert.ok(csv.length >= 2 && csv.slice(1, -1).every((line) => line.includes(',CHG123,')), csv.join('\n'));
  const json = JSON.parse((await gp(words(`maintenance show ${id} -o json`))).out) as { state: string };
  assert.equal(json.state, 'completed');
  assert.equal((await gp(words(`maintenance abort ${id}`))).code, 5);
});

test('a roll is refused by a changed plan, and gone on with only by those who type its commands', async (t) => {
  const cluster = await testCluster(t);
  const { gp, dir } = cluster;
  await gp(words('vm create web1 --disk 1G'));
  const { file } = await approvedPlan(cluster, '--hosts h1,h2 --parallel 1');
  const roll = ['maintenance', 'roll', '--plan', file];
  const text = await readFile(file, 'utf8');
  await writeFile(file, text.replace('"maxUnavailable": 1', '"maxUnavailable": 2'));
  assert.match((await gp(roll)).err, /has the hash .*, and says that .* was approved/);
  await writeFile(file, '{}');
  assert.match((await gp(roll)).err, /The file is no plan/);
  await writeFile(file, text);
  assert.match((await gp([...roll, '--window', 'Samstag 22:00-04:00 UTC'])).err, /is not a valid window/);
  const freezes = join(dir, 'freezes');
  await writeFile(freezes, '# none\n2026-12-24 tomorrow Christmas\n');
  assert.match((await gp([...roll, '--freeze-file', freezes])).err, /Line 2 of the freeze file is no freeze/);
  assert.equal((await gp([...words('maintenance roll'), '--pre', 'true'])).code, 2);
  const begun = await gp([...roll, '--run', 'exit 3', '--no-wait', '-o', 'name']);
  assert.equal(begun.code, 0, begun.err);
  const id = begun.out.trim();
  assert.match((await gp(roll)).err, new RegExp(`${id} \\(running\\) has h\\d, h\\d already`));
  const blind = await gp(words(`maintenance roll --resume ${id}`));
  assert.deepEqual([blind.code, /--run 'exit 3'/.test(blind.err)], [2, true]);
  const interrupt = new AbortController();
  const running = gp([...words(`maintenance roll --resume ${id}`), '--run', 'exit 3'], {
    signal: interrupt.signal,
    onOut: (out) => {
      if (/has failed/.test(out)) interrupt.abort();
    },
  });
  const ended = await running;
  assert.equal(ended.code, 130, ended.out + ended.err);
  assert.match(ended.err, new RegExp(`gp maintenance roll --resume ${id}`));
  assert.match((await gp(words(`maintenance show ${id}`))).out, /Held: +h\d has failed: "run" failed: Exit status 3/);
  assert.match((await gp(words(`maintenance abort ${id}`))).out, /aborting/);
});
