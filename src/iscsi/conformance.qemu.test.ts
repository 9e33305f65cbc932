import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { tryRun } from '../os/child-process.ts';
import { STANDALONE_TARGET, serveFile } from './serve.ts';

const GIB = 1024 ** 3;

async function served(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'gp-conformance-'));
  t.after(() => rm(directory, { recursive: true }));
  const serving = await serveFile({
    file: join(directory, 'disk'),
    sizeBytes: GIB,
    blockBytes: 512,
    host: '127.0.0.1',
    port: 0,
    onClosed: () => undefined,
  });
  t.after(() => serving.close());
  return `iscsi://127.0.0.1:${serving.port}/${STANDALONE_TARGET}/0`;
}

test("libiscsi's conformance suite: no failure, and no skip that docs/operating/scsi-target.md does not give a reason for", async (t) => {
  const url = await served(t);
  const { stdout, stderr } = await tryRun(['iscsi-test-cu', '-d', '-t', 'ALL', url], { deadlineMs: 240_000 });
  const output = `${stdout}\n${stderr}`;
  const summary = /tests\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)/.exec(output);
  assert.ok(summary !== null, output.slice(-2_000));
  const failures = output.split('\n').filter((line) => /^\s+\d+\. test_/.test(line));
  assert.equal(Number(summary[4]), 0, failures.join('\n'));
  assert.ok(Number(summary[2]) >= 230);
  const skips = new Set([...output.matchAll(/\[SKIPPED\] (.*)/g)].map(([, reason]) => reason?.trim()));
  const explained = [
    /^--allow-sanitize flag is not set/,
    /^EXTENDED_?COPY is not implemented/,
    /^RECEIVE_?COPY_?RESULTS? is not implemented/,
    /^Logical unit is not removable/,
    /^Logical unit is not write-protected/,
    /^Media is not removable/,
    /^Multipath unavailable/,
    /^Task Management function ?for ColdReset is not/,
    /^WRITEATOMIC16 is not implemented/,
    /^REPORT_SUPPORTED_OPCODES is not implemented/,
    /^WRITESAME1[06] does not support 0-blocks/,
    /^LBPPB < 2/,
    /^Logical unit does not have LBPWS10/,
  ];
  const others = [...skips].filter((skip) => !explained.some((reason) => reason.test(skip ?? '')));
  assert.deepEqual(others, []);
});

test("QEMU's tools write and read a disk through it", async (t) => {
  const url = await served(t);
  const io = async (command: string): Promise<string> => {
    const { stdout, stderr } = await tryRun(['qemu-io', '-f', 'raw', '-c', command, url], { deadlineMs: 60_000 });
    return `${stdout}${stderr}`;
  };
  await io('write -P 0x5a 1M 3M');
  assert.doesNotMatch(await io('read -P 0x5a 1M 3M'), /failed/);
  await io('discard 1M 2M');
  await io('flush');
  assert.doesNotMatch(await io('read -P 0x5a 3M 1M'), /failed/);
  assert.doesNotMatch(await io('read -P 0 1M 2M'), /failed/);
  assert.match(await io('read -P 1 1M 1M'), /failed/);
});
