/** The QMP of simulated QEMUs beside that of a real one: the same commands, the same answers and refusals. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parseDiskId, parseGeneration, parseVmId } from '../../base/ids.ts';
import { sleep } from '../../base/sleep.ts';
import type { LaunchDisk } from '../../core/ports/host-link.ts';
import type { Execute } from '../../core/ports/qmp-dialer.ts';
import { spawnDaemon } from '../../os/child-process.ts';
import { systemClock } from '../../os/clock.ts';
import { type ProcessIdentity, signalProcess, waitGone } from '../../os/process-table.ts';
import { connectQmp } from '../../qmp/connect.ts';
import type { QmpSession } from '../../qmp/session.ts';
import { QmpError } from '../../wire/qmp/error.ts';
import { SimMachine } from '../machines/sim-machine.ts';
import { SimNetwork } from '../network/network.ts';
import { SimClock } from '../time/sim-clock.ts';
import { SimRandom } from '../time/sim-random.ts';
import { QemuProcess } from './qemu-process.ts';
import { executeOver } from './qmp-server.ts';

const DEADLINE_MS = 20_000;
/** In simulated time: longer than whatever one command begins. */
const SETTLE_MS = 5_000;
const ORDER = {
  ...{ vm: parseVmId('vm-0123456789ab'), vmName: 'web1', generation: parseGeneration(1), slot: 0 },
  incoming: false,
  disks: [],
};
const DISK: LaunchDisk = {
  disk: parseDiskId('disk-0000000000ff'),
  role: 'data',
  bus: 'virtio',
  readOnly: true,
  patienceMs: 1_000,
  export: { address: '10.1.0.9', port: 30_000, name: 'x', tlsName: 's1' },
};

let work = '';
let daemon: ProcessIdentity | undefined;
let session: QmpSession;

before(async () => {
  work = await mkdtemp(join(tmpdir(), 'gp-compliance-'));
  const path = join(work, 'qmp');
  const argv = [
    ...['qemu-system-x86_64', '-M', 'q35', '-m', '64', '-accel', 'tcg', '-nodefaults', '-display', 'none', '-S'],
    ...['-qmp', `unix:${path},server=on,wait=off`],
    ...['-blockdev', 'null-co,node-name=disk0,size=1048576,read-zeroes=on'],
    ...['-device', 'virtio-blk-pci,id=disk0,drive=disk0,werror=stop'],
  ];
  daemon = await spawnDaemon(argv, { stderrFile: join(work, 'stderr'), env: { ...process.env }, cwd: work });
  for (let attempt = 0; attempt < 400; attempt++) {
    const connection = await connectQmp({ kind: 'unix', path }, { deadlineMs: DEADLINE_MS });
    if (connection.outcome === 'answers') {
      session = connection.session;
      return;
    }
    await sleep(systemClock, 25);
  }
  throw new Error('QEMU did not start');
});
after(async () => {
  if (daemon !== undefined && signalProcess(daemon, 'SIGKILL')) await waitGone(daemon, DEADLINE_MS);
  await rm(work, { recursive: true });
});

interface World {
  readonly execute: Execute;
  /** Events so far. */
  readonly events: readonly string[];
}

function real(): World {
  const events: string[] = [];
  session.onEvent(({ name, data }) => events.push(textOf(name, data)));
  return {
    execute: (command, args) => session.execute(command, args, { deadlineMs: DEADLINE_MS }),
    events,
  };
}

function simulated(): World & { readonly settle: () => Promise<void> } {
  const clock = new SimClock();
  const random = new SimRandom(1);
  const qemu = new QemuProcess({ ...ORDER, disks: [DISK] }, new SimMachine('h1', clock).spawn('qemu'), {
    network: new SimNetwork(clock, random),
    random,
    storageAt: () => undefined,
    address: '10.1.0.1',
    note: () => undefined,
    say: () => undefined,
    qemuAt: () => undefined,
  });
  const events: string[] = [];
  const client = { isThere: () => true, onClosed: () => undefined };
  qemu.connect(21_000, { ...client, onEvent: ({ name, data }) => events.push(textOf(name, data)) });
  return {
    execute: (command, args) => executeOver((line) => qemu.qmp.answer(line), command, args),
    events,
    settle: () => clock.run(clock.monotonicMs() + SETTLE_MS),
  };
}

/** The status of a migration event; the name of any other event. */
function textOf(name: string, data: Readonly<Record<string, unknown>>): string {
  return name === 'MIGRATION' ? `${name} ${String(data['status'])}` : name;
}

/** What a command came to, as text: a refusal, or the fields of the answer that are named. */
async function outcome({ execute }: World, [command, args, fields]: Step): Promise<string> {
  try {
    const answer = await execute<Readonly<Record<string, unknown>>>(command, args);
    return JSON.stringify(fields === undefined ? {} : fields.map((field) => answer[field] ?? null));
  } catch (error) {
    if (error instanceof QmpError) return `${error.errorClass}: ${error.description}`;
    throw error;
  }
}

type Step = readonly [command: string, args?: object | undefined, fields?: readonly string[]];

const STEPS: readonly Step[] = [
  ['query-status', undefined, ['running', 'singlestep', 'status']],
  ['query-migrate', undefined, ['status']],
  ['query-migrate-parameters', undefined, ['downtime-limit']],
  ['nonsense'],
  ['cont', { nonsense: 1 }],
  ['migrate', {}],
  ['migrate-set-parameters', { nonsense: 1 }],
  ['migrate-set-parameters', { 'downtime-limit': 50 }],
  ['query-migrate-parameters', undefined, ['downtime-limit']],
  ['migrate-incoming', { uri: 'tcp:0.0.0.0:21004' }],
  ['migrate_cancel'],
  ['object-add', { 'qom-type': 'authz-simple', id: 'a', identity: 'CN=x' }],
  ['object-add', { 'qom-type': 'authz-simple', id: 'a', identity: 'CN=y' }],
  ['object-del', { id: 'a' }],
  ['object-del', { id: 'a' }],
  ['block-export-add', { type: 'nbd', id: 'activation', 'node-name': 'disk0', writable: false }],
  ['block-export-add', { type: 'nbd', id: 'activation', 'node-name': 'none', writable: false }],
  ['block-export-del', { id: 'activation', mode: 'hard' }],
  ['blockdev-del', { 'node-name': 'none' }],
  ['blockdev-del', { 'node-name': 'disk0' }],
  ['blockdev-add', { driver: 'iscsi', 'node-name': 'disk0', transport: 'tcp', portal: '10.1.0.9:3260', target: 'x' }],
  ['device_del', { id: 'none' }],
  ['qom-list', { path: '/nowhere' }],
  ['cont'],
  ['query-status', undefined, ['running', 'status']],
  ['cont'],
  ['stop'],
  ['query-status', undefined, ['running', 'status']],
  ['stop'],
  ['system_reset'],
  ['query-status', undefined, ['running', 'status']],
  ['migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] }],
  ['migrate', { uri: 'tcp:127.0.0.1:1' }],
  ['query-migrate', undefined, ['status']],
  ['query-status', undefined, ['running', 'status']],
];

test('commands, refusals, run states and events are the same', async () => {
  const [ours, qemus] = [simulated(), real()];
  for (const step of STEPS) {
    const what = `${step[0]} ${JSON.stringify(step[1] ?? {})}`;
    const [mine, theirs] = [await outcome(ours, step), await outcome(qemus, step)];
    assert.equal(mine, theirs, what);
    await ours.settle();
    for (let attempt = 0; attempt < 800 && qemus.events.length < ours.events.length; attempt++)
      await sleep(systemClock, 25);
    assert.deepEqual(ours.events, qemus.events, what);
  }
});
