/** Serial consoles: one holder at a time, open through moves and restarts of the VM. */
import assert from 'node:assert/strict';
import type { Duplex } from 'node:stream';
import { CodedError } from '../../src/base/errors.ts';
import { openConsole } from '../../src/client/console.ts';
import { runningQemus } from '../stories/guests.ts';
import type { StoryCluster } from '../stories/story-cluster.ts';
import { type Case, createTiny, deleteVms, gp, until, untilVm, vmOf } from './case.ts';
import { Guest } from './guest.ts';

/** Collects the output of a console, and whether it has ended. */
class Reader {
  text = '';
  ended = false;
  readonly stream: Duplex;

  constructor(stream: Duplex) {
    this.stream = stream;
    stream.on('data', (chunk: Buffer) => {
      this.text += chunk.toString('latin1');
    });
    stream.on('error', () => undefined);
    stream.once('close', () => {
      this.ended = true;
    });
  }

  says(pattern: RegExp): Promise<RegExpExecArray> {
    return until(`the console says ${pattern}`, () => pattern.exec(this.text) ?? undefined, {
      seen: () => this.text.slice(-400),
    });
  }

  /** Types a sum until the guest's shell prints its result: input before the shell reads is lost. */
  async answers(sum: number): Promise<void> {
    const wanted = new RegExp(`sum${sum}\\b`);
    const ask = (): RegExpExecArray | undefined => {
      const found = wanted.exec(this.text);
      if (found === null) this.stream.write(`echo sum$((${sum - 1}+1))\n`);
      return found ?? undefined;
    };
    await until(`the guest answers sum${sum}`, ask, { seen: () => this.text.slice(-400) });
  }
}

const follows: Case = {
  name: 'an open console goes on after a live migration and after a crash, and ends with the VM',
  async run(cluster: StoryCluster) {
    await createTiny(cluster, 'con1');
    const guest = await Guest.open(cluster, 'con1');
    guest.close();
    const console = new Reader(await openConsole(cluster.target, 'con1'));
    await console.answers(11);
    const { host, id } = await vmOf(cluster, 'con1');
    await gp(cluster, ['vm', 'migrate', 'con1']);
    const moved = await console.says(/con1 moved from (\S+) to (\S+), generation 2; what it printed in between/);
    assert.equal(moved[1], host);
    await console.answers(22);
    const qemu = await until('the QEMU of con1', () => runningQemus().find(({ vm }) => vm === id));
    process.kill(qemu.process.pid, 'SIGKILL');
    await untilVm(cluster, 'con1', { verdict: 'running', generation: 3 });
    await console.says(/con1 was started again .*generation 3/);
    await console.answers(33);
    assert.equal(console.ended, false);
    await gp(cluster, ['vm', 'stop', 'con1', '--hard']);
    await console.says(/con1 was stopped/);
    await until('the console ends', () => console.ended || undefined);
    await deleteVms(cluster, ['con1']);
  },
};

const takeOver: Case = {
  name: 'a held console is refused with its holder, and taken over: the holder is told who took it',
  async run(cluster: StoryCluster) {
    await createTiny(cluster, 'con2');
    const first = new Reader(await openConsole(cluster.target, 'con2'));
    await first.answers(44);
    await assert.rejects(openConsole(cluster.target, 'con2'), (error: unknown) => {
      assert.ok(error instanceof CodedError && error.code === 'conflict');
      assert.match(error.message, /The console of con2 is held by admin, since .*Z, through c1/);
      return true;
    });
    assert.equal(first.ended, false);
    const second = new Reader(await openConsole(cluster.target, 'con2', { takeOver: true }));
    await first.says(/admin took this console over/);
    await until('the first console ends', () => first.ended || undefined);
    await second.answers(55);
    second.stream.destroy();
    await deleteVms(cluster, ['con2']);
  },
};

export const consoles: readonly Case[] = [follows, takeOver];
