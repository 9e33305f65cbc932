/**
 * Makes the pictures of the README in docs/images: the web interface in Chromium over a simulated cluster, in which a
 * host is drained and another one dies. Run: npm run screenshots
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { simulatedWorld } from '../test/web/simulated-world.ts';
import { Stage } from '../test/web/stage.ts';
import { root } from './lib/steps.ts';

const FOLDER = join(root, 'docs/images');
const SIZE = { width: 1_360, height: 850 };
const SETTLED_MS = 1_500;

async function shoot(page: Page, name: string): Promise<void> {
  // Fonts, the canvas and the last requests.
  await page.waitForTimeout(SETTLED_MS);
  await page.screenshot({ path: join(FOLDER, `${name}.png`) });
}

async function main(): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  const stage = await Stage.start(() => simulatedWorld({ hosts: 48, vms: 620, 'storage-nodes': 3 }));
  try {
    const page = await stage.page({ width: SIZE.width });
    await page.setViewportSize(SIZE);
    await stage.go(page, '/hosts/h7?tab=drain');
    await page.locator('.bar-move').first().waitFor();
    await page.getByLabel('Reason').fill('new memory');
    await page.getByRole('button', { name: 'Begin the drain' }).click();
    await page.locator('.state-moved').nth(2).waitFor();
    await shoot(page, 'drain');
    await stage.world.fault('kill-host h19');
    await stage.go(page, '/');
    await page.getByRole('gridcell', { name: /^h19,.*(agent|quarantined)/ }).waitFor();
    await page.getByRole('gridcell', { name: /^h1,/ }).focus();
    await shoot(page, 'cluster');
    await stage.go(page, '/vms/web1');
    await shoot(page, 'vm');
    const dark = await stage.page({ width: SIZE.width, dark: true });
    await dark.setViewportSize(SIZE);
    await dark.getByRole('gridcell').first().waitFor();
    await shoot(dark, 'cluster-dark');
  } finally {
    await stage.close();
  }
}

await main();
