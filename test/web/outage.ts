/** How a page takes the death of its server: when it says so, and when it is live again after the server's return. */
import type { Page } from 'playwright-core';
import { sleep } from '../../src/base/sleep.ts';
import { systemClock } from '../../src/os/clock.ts';
import { until } from '../acceptance/case.ts';
import type { RealWorld } from './real-world.ts';
import { askApi } from './world.ts';

/** What was measured, in ms. */
export interface Outage {
  /** From the server's death until the page says that the connection is lost. */
  readonly shownMs: number;
  /** From the server's first answer after its return until the page is live. */
  readonly healedMs: number;
}

/** Kills the only server for so long while the page is open. */
export async function outageOf(page: Page, world: RealWorld, downMs: number): Promise<Outage> {
  const live = page.locator('.live-sign', { hasText: 'Live' });
  await live.waitFor();
  await world.fault('kill-server c1');
  const diedMs = performance.now();
  await page.getByRole('alert').filter({ hasText: 'connection' }).waitFor();
  const shownMs = performance.now() - diedMs;
  await sleep(systemClock, Math.max(0, downMs - shownMs));
  await world.fault('restore c1');
  const answers = (): Promise<true | undefined> =>
    askApi(world.api, 'GET', '/v1/session').then(
      () => true as const,
      () => undefined,
    );
  await until('the server answers', answers);
  const backMs = performance.now();
  await live.waitFor();
  return { shownMs, healedMs: performance.now() - backMs };
}
