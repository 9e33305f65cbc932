/**
 * The web interface in real Chromium over a simulated cluster behind the real API: what it loads before the first view,
 * how long that takes, how fast it answers while the cluster changes, how many event streams a browser holds. And over
 * a real one-machine cluster: when a page misses its server, and when it is live again after the server's return.
 */
import type { CDPSession, Page } from 'playwright-core';
import { sleep } from '../src/base/sleep.ts';
import { systemClock } from '../src/os/clock.ts';
import { monotonicMs } from '../src/os/monotonic.ts';
import { CountingProxy } from '../test/web/counting-proxy.ts';
import { type Outage, outageOf } from '../test/web/outage.ts';
import { RealWorld } from '../test/web/real-world.ts';
import { simulatedWorld } from '../test/web/simulated-world.ts';
import { Stage } from '../test/web/stage.ts';
import { atMost, type BenchContext, type BenchResult } from './lib/bench.ts';
import { percentile } from './lib/stats.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
const SCRIPT_KIB_MAX = 250;
const FIRST_VIEW_MS_MAX = 2_000;
const INTERACTION_MS_MAX = 100;
const TASK_MS_MAX = 200;
const HEAP_MIB_MAX = 200;
const TABS = 8;
const DOWN_MS = 10_000;
const LOST_MS_MAX = 2_000;
const HEALED_MS_MAX = 3_000;
const CHANGES_PER_SECOND = 200;
const CHANGE_EVERY_MS = 100;

/** Runs in the page before its own scripts: interactions and long tasks as the browser measures them. */
const OBSERVE = `globalThis.seen = { interactions: [], tasks: [] };
new PerformanceObserver((list) => {
  for (const { interactionId, duration } of list.getEntries()) if (interactionId > 0) seen.interactions.push(duration);
}).observe({ type: 'event', durationThreshold: 16, buffered: true });
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) seen.tasks.push(duration);
}).observe({ type: 'longtask', buffered: true });`;

interface Observed {
  readonly interactions: readonly number[];
  readonly tasks: readonly number[];
}

/** `--hosts 300 --vms 6000 --minutes 1`. */
export async function webBench(context: BenchContext): Promise<BenchResult> {
  const hosts = context.number('hosts', 300);
  const vms = context.number('vms', 6_000);
  const minutes = context.number('minutes', 1);
  context.say(`a simulated cluster of ${hosts} hosts and ${vms} VMs starts`);
  const outage = await serverKilled(context);
  const stage = await Stage.start(() => simulatedWorld({ hosts, vms, 'storage-nodes': 6 }));
  try {
    const first = await firstView(stage, hosts);
    context.say(`first view after ${Math.round(first.ms)} ms, ${Math.round(first.scriptBytes / KIB)} KiB of scripts`);
    const watches = await watchesOf(stage);
    const work = await whileChanging(stage, { vms, minutes, context });
    const p95 = percentile(
      [...work.interactions].sort((a, b) => a - b),
      95,
    );
    const task = Math.max(0, ...work.tasks);
    const bar = (figure: string, max: number, measured: number, unit: string) =>
      atMost(figure, { max, measured: Math.round(measured), unit });
    return {
      bars: [
        bar('JavaScript before the first view, gzipped', SCRIPT_KIB_MAX, first.scriptBytes / KIB, 'KiB'),
        bar('first view', FIRST_VIEW_MS_MAX, first.ms, 'ms'),
        bar(`p95 of an interaction at ${CHANGES_PER_SECOND} changes a second`, INTERACTION_MS_MAX, p95, 'ms'),
        bar('longest task', TASK_MS_MAX, task, 'ms'),
        bar(`heap after ${minutes} minutes`, HEAP_MIB_MAX, work.heapBytes / MIB, 'MiB'),
        bar(`watch connections of ${TABS} tabs`, 1, watches, 'connections'),
        bar(`server killed for ${DOWN_MS / 1_000} s: shown`, LOST_MS_MAX, outage.shownMs, 'ms'),
        bar(`server killed for ${DOWN_MS / 1_000} s: healed after its return`, HEALED_MS_MAX, outage.healedMs, 'ms'),
      ],
      summary: { hosts, vms, minutes, changesPerSecond: work.changesPerSecond, interactions: work.interactions.length },
      samples: { interactionsMs: work.interactions, longTasksMs: work.tasks },
      method: [
        'The cluster, its API and the browser share one machine; the API is the real one over src/sim in real time.',
        'First view: from the address, logged in, with an empty cache, until the picture has a cell for every host.',
        'Server killed: SIGKILL to the only server of a one-machine cluster; its return is its first answer to a program.',
        'Interactions and long tasks: Event Timing and Long Tasks of the browser, while labels of VMs change.',
      ],
    };
  } finally {
    await stage.close();
  }
}

/** A page whose server dies and comes back, on a real cluster without VMs. */
async function serverKilled(context: BenchContext): Promise<Outage> {
  context.say('a one-machine cluster starts, whose server is killed');
  const stage = await Stage.start(() => RealWorld.start({ hasVms: false }));
  try {
    return await outageOf(await stage.page(), stage.world, DOWN_MS);
  } finally {
    await stage.close();
  }
}

/** How many event streams the tabs of one browser hold, once all of them are live. */
async function watchesOf(stage: Stage): Promise<number> {
  const proxy = await CountingProxy.start(new URL(stage.origin));
  const context = await stage.context();
  try {
    for (let tab = 0; tab < TABS; tab++) {
      const page = await context.newPage();
      await page.goto(`${proxy.origin}/login`);
      // The first tab logs in for all of them.
      if (tab === 0) {
        await page.getByLabel('API token').fill(stage.world.token);
        await page.keyboard.press('Enter');
        await page.getByRole('heading', { name: 'Cluster', level: 1 }).waitFor();
      }
      await page.goto(`${proxy.origin}/networks`);
      await page.locator('.live-sign', { hasText: 'Live' }).waitFor();
    }
    return proxy.openOf('/v1/watch');
  } finally {
    await context.close();
    await proxy.close();
  }
}

/** The time from entering the address to a picture with all hosts in it, logged in, with an empty cache. */
async function firstView(stage: Stage, hosts: number): Promise<{ ms: number; scriptBytes: number }> {
  const page = await stage.page();
  await page
    .getByRole('gridcell')
    .nth(hosts - 1)
    .waitFor();
  const session = await page.context().newCDPSession(page);
  await session.send('Network.enable');
  await session.send('Network.setCacheDisabled', { cacheDisabled: true });
  const scripts = scriptBytes(session);
  const startedMs = monotonicMs();
  await page.goto(stage.origin);
  await page
    .getByRole('gridcell')
    .nth(hosts - 1)
    .waitFor();
  const ms = monotonicMs() - startedMs;
  await page.context().close();
  return { ms, scriptBytes: scripts() };
}

/** Counts what scripts take on the wire. */
function scriptBytes(session: CDPSession): () => number {
  const scripts = new Set<string>();
  let bytes = 0;
  session.on('Network.responseReceived', ({ requestId, type }) => {
    if (type === 'Script') scripts.add(requestId);
  });
  session.on('Network.loadingFinished', ({ requestId, encodedDataLength }) => {
    if (scripts.has(requestId)) bytes += encodedDataLength;
  });
  return () => bytes;
}

interface Work {
  readonly vms: number;
  readonly minutes: number;
  readonly context: BenchContext;
}

/** Somebody works with the interface while VMs change. */
async function whileChanging(stage: Stage, { vms, minutes, context }: Work) {
  const page = await stage.page();
  await page.addInitScript({ content: OBSERVE });
  const ending = new AbortController();
  const changing = changeVms(stage, vms, ending.signal);
  const startedMs = monotonicMs();
  try {
    while (monotonicMs() - startedMs < minutes * 60_000) {
      context.signal.throwIfAborted();
      await workOnce(page, stage);
    }
    const observed = (await page.evaluate('seen')) as Observed;
    const heapBytes = (await page.evaluate('performance.memory.usedJSHeapSize')) as number;
    const seconds = (monotonicMs() - startedMs) / 1_000;
    return { ...observed, heapBytes, changesPerSecond: Math.round(changing.count() / seconds) };
  } finally {
    ending.abort();
    await changing.ended;
    await page.context().close();
  }
}

/** One round through the interface: without reloads, so that what the browser observed stays. */
async function workOnce(page: Page, stage: Stage): Promise<void> {
  if (!(await page.evaluate('"seen" in globalThis'))) await stage.go(page, '/');
  await page.getByRole('link', { name: 'Cluster', exact: true }).first().click();
  await page.getByRole('gridcell').first().focus();
  for (const key of ['ArrowRight', 'ArrowDown', 'ArrowRight', 'ArrowLeft']) await page.keyboard.press(key);
  await page.getByRole('button', { name: 'Zoom in' }).click();
  await page.getByRole('button', { name: 'Show the whole cluster' }).click();
  await page.getByRole('link', { name: 'VMs', exact: true }).first().click();
  await page.getByRole('searchbox', { name: 'Search' }).pressSequentially('web12');
  await page.getByRole('button', { name: 'Memory' }).click();
  await page.getByRole('button', { name: 'Clear' }).click();
  await page.keyboard.press('Control+k');
  await page.keyboard.type('web77');
  await page.keyboard.press('Escape');
}

/** Changes labels of VMs, this many a second, until told to end. */
function changeVms(stage: Stage, vms: number, signal: AbortSignal): { ended: Promise<void>; count: () => number } {
  let count = 0;
  const change = async (n: number): Promise<void> => {
    const answer = await fetch(`${stage.world.api.origin}/v1/vms/web${1 + (n % vms)}`, {
      method: 'PATCH',
      headers: { authorization: `Bearer ${stage.world.token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ labels: { tier: 'web', turn: String(n) } }),
    });
    if (answer.ok) count += 1;
    await answer.body?.cancel();
  };
  const run = async (): Promise<void> => {
    for (let n = 0; !signal.aborted; ) {
      const dueMs = monotonicMs() + CHANGE_EVERY_MS;
      const some = Array.from({ length: (CHANGES_PER_SECOND * CHANGE_EVERY_MS) / 1_000 }, () => change(n++));
      await Promise.all(some);
      await sleep(systemClock, Math.max(0, dueMs - monotonicMs()));
    }
  };
  return { ended: run(), count: () => count };
}
