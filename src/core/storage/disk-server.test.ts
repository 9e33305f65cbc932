import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CodedError } from '../../base/errors.ts';
import { parseDiskId, parseGeneration, parseVmId } from '../../base/ids.ts';
import type { Daemon, DaemonProcess, DiskBackend, Grant } from '../ports/disk-backend.ts';
import { DiskServer } from './disk-server.ts';

const VM = parseVmId('vm-0123456789ab');
const DISK = parseDiskId('disk-0123456789ab');
const PORT = 30_001;
const g = parseGeneration;
const granted = (generation: number): Grant => ({ vm: VM, generation: g(generation), readOnly: false });

/** A node with one disk, whose daemon records its orders. */
class Node {
  /** The orders in sequence: `+2` an export, `-1` one removed, `1,2` who may connect, `nobody` a fence. */
  readonly said: string[] = [];
  /** Commands and ends that fail, in the notation of `said`, or `kill`. */
  readonly failing = new Set<string>();
  /** Pauses that have not been ended. */
  readonly pauses: (() => void)[] = [];
  /** The connected generations, by the keys of their connections; and how often the test looked. */
  connected: readonly string[] = [];
  looks = 0;
  readonly server: DiskServer;
  #pid = 100;
  #exports = new Map<number, Grant>();
  #isMarked = false;

  constructor() {
    this.server = new DiskServer({
      disk: DISK,
      clock: {
        monotonicMs: () => 0,
        wallMs: () => 0,
        after: (_delayMs, callback) => {
          this.pauses.push(callback);
          return () => undefined;
        },
      },
      log: { info: () => undefined, warn: () => undefined },
      disks: this.#backend() as DiskBackend,
      onLost: () => undefined,
    });
  }

  get pid(): number {
    return this.#pid;
  }

  get isMarked(): boolean {
    return this.#isMarked;
  }

  /** Leaves the daemon as an earlier service left it. */
  leave(grants: readonly Grant[], { isMarked }: { readonly isMarked: boolean }): DaemonProcess {
    this.#exports = new Map(grants.map((grant) => [grant.generation, grant]));
    this.#isMarked = isMarked;
    return this.#process();
  }

  grant(generation: number): Promise<void> {
    return this.server.grant(granted(generation), { port: PORT, check: () => undefined });
  }

  fence(below: number): Promise<readonly number[]> {
    return this.server.revoke(({ generation }) => generation < below);
  }

  #process(): DaemonProcess {
    return { pid: this.#pid, startTicks: 1, disk: DISK, port: PORT };
  }

  async #does(what: string, effect: () => void): Promise<void> {
    this.said.push(what);
    if (this.failing.has(what)) throw new CodedError('failed', `${what} fails.`);
    effect();
  }

  #end(): Promise<void> {
    return this.#does('kill', () => {
      this.#pid++;
      this.#exports.clear();
      this.#isMarked = false;
    });
  }

  #backend(): Partial<DiskBackend> {
    return {
      findDaemons: () => (this.#exports.size > 0 ? [this.#process()] : []),
      killDaemon: () => this.#end(),
      adoptDaemon: async () => this.#daemon(),
      startDaemon: async (_disk, { grants }) => {
        this.said.push('start');
        this.leave(grants, { isMarked: false });
        return this.#daemon();
      },
      connectionsTo: async () => {
        this.looks++;
        return this.connected.map((key) => ({ key, address: key }));
      },
    };
  }

  #daemon(): Daemon {
    return {
      isRunning: true,
      closed: new Promise(() => undefined),
      grants: async () => [...this.#exports.values()],
      admit: (grants) =>
        this.#does(grants.map(({ generation }) => generation).join(), () => {
          this.#isMarked = false;
        }),
      admitNobody: () =>
        this.#does('nobody', () => {
          this.#isMarked = true;
        }),
      isFencing: async () => this.#isMarked,
      addExport: (grant) => this.#does(`+${grant.generation}`, () => this.#exports.set(grant.generation, grant)),
      removeExport: ({ generation }) => this.#does(`-${generation}`, () => this.#exports.delete(generation)),
      boundLog: async () => undefined,
      kill: () => this.#end(),
      release: () => undefined,
    };
  }
}

test('while a fence cuts nobody new may connect; who is left may again a while after its answer', async () => {
  const node = new Node();
  await node.grant(1);
  await node.grant(2);
  node.said.length = 0;
  node.pauses.length = 0;
  assert.deepEqual(await node.fence(2), [1]);
  assert.deepEqual(node.said, ['nobody', '-1']);
  assert.equal(node.isMarked, true);
  for (const end of node.pauses.splice(0)) end();
  await node.grant(3);
  assert.deepEqual(node.said, ['nobody', '-1', '2', '+3', '2,3']);
  assert.equal(node.isMarked, false);
  // A fence that comes in the meantime holds until it is over itself.
  await node.fence(3);
  node.failing.add('-3').add('kill');
  node.said.length = 0;
  await assert.rejects(node.fence(4));
  for (const end of node.pauses.splice(0)) end();
  await node.server.run(async () => undefined);
  assert.deepEqual([node.said, node.isMarked], [['nobody', '-3', 'kill'], true]);
});

test('a fence that could not be told is carried out by the end of the daemon', async () => {
  for (const failing of ['nobody', '-1']) {
    const node = new Node();
    await node.grant(1);
    await node.grant(2);
    node.failing.add(failing);
    node.said.length = 0;
    assert.deepEqual(await node.fence(2), [1]);
    assert.deepEqual(node.said, ['nobody', '-1', 'kill', 'start']);
    assert.equal(node.isMarked, false);
  }
});

test('while something may still be served that nobody could take back, nothing is granted until its daemon is gone', async () => {
  const node = new Node();
  await node.grant(1);
  for (const failing of ['+2', 'kill']) node.failing.add(failing);
  await assert.rejects(node.grant(2));
  node.said.length = 0;
  await assert.rejects(node.grant(3));
  await assert.rejects(node.fence(1));
  assert.deepEqual(node.said, ['kill', 'kill']);
  node.failing.clear();
  assert.deepEqual(await node.fence(1), [2, 3]);
  await node.grant(3);
  assert.deepEqual(node.said.slice(2), ['kill', 'start']);
  assert.deepEqual(node.server.grants, [granted(1), granted(3)]);
});

test('a daemon that will not admit those who are left after a fence is started anew', async () => {
  const node = new Node();
  await node.grant(1);
  await node.grant(2);
  await node.fence(2);
  node.failing.add('2');
  node.said.length = 0;
  for (const end of node.pauses.splice(0)) end();
  await node.server.run(async () => undefined);
  assert.deepEqual([node.said, node.isMarked], [['2', 'kill', 'start'], false]);
});

test('a newcomer is looked for until it is connected, or alone, and not when nobody stands still for it', async () => {
  const node = new Node();
  await node.grant(1);
  assert.equal(node.pauses.length, 0);
  const passes = async (): Promise<number> => {
    const before = node.looks;
    for (const end of node.pauses.splice(0)) end();
    await new Promise((resolve) => setImmediate(resolve));
    return node.looks - before;
  };
  node.connected = ['h1'];
  await node.grant(2);
  assert.deepEqual([await passes(), await passes()], [1, 1]);
  node.connected = ['h1', 'h2'];
  assert.deepEqual([await passes(), await passes(), node.pauses.length], [1, 0, 0]);
  await node.grant(3);
  assert.equal(await passes(), 1);
  node.connected = ['h2'];
  await node.fence(3);
  assert.deepEqual([await passes(), await passes(), node.pauses.length], [0, 0, 0]);
});

test('a daemon is taken over as it is, one in the middle of a fence started anew with what it exports', async () => {
  const calm = new Node();
  await calm.server.adopt(calm.leave([granted(1), granted(2)], { isMarked: false }), VM);
  assert.deepEqual(calm.said, ['1,2']);
  const fencing = new Node();
  await fencing.server.adopt(fencing.leave([granted(2)], { isMarked: true }), VM);
  assert.deepEqual(fencing.said, ['kill', 'start']);
  assert.deepEqual([fencing.isMarked, fencing.server.grants], [false, [granted(2)]]);
});
