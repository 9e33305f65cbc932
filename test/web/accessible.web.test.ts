/** axe finds nothing on any page, light and dark, wide and narrow. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import type { Page } from 'playwright-core';
import { simulatedWorld } from './simulated-world.ts';
import { Stage } from './stage.ts';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const PAGES = [
  '/',
  '/?as=table',
  '/hosts',
  '/hosts/h1',
  '/hosts/h1?tab=drain',
  '/vms',
  '/vms/new',
  '/vms/web1',
  '/vms/web1?tab=console',
  '/vms/web1?tab=figures',
  '/vms/web1?tab=history',
  '/vms/web1?tab=edit',
  '/vms/web1?do=migrate',
  '/guest-clusters',
  '/guest-clusters/sql',
  '/maintenance',
  '/maintenance/plan',
  '/maintenance/rolls',
  'ROLL',
  '/ties',
  '/ties?tab=reasons',
  '/tasks',
  '/events',
  '/storage',
  '/storage/s1',
  '/networks',
  '/networks/lan',
  '/networks?do=create',
  '/images',
  '/images/tiny',
  '/images?do=upload',
  '/settings',
  '/faults',
  '/login',
];

let stage: Stage;
/** Pages that only this cluster has, by their names in PAGES. */
const made = new Map<string, string>();
before(async () => {
  stage = await Stage.start(() => simulatedWorld({ hosts: 4, vms: 8, speed: 5 }));
  const page = await stage.page();
  await stage.go(page, '/maintenance/plan?hosts=h4');
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  // The roll waits for a person to do the work, and stays as it is.
  await page.getByLabel('Work on an empty host').fill('by hand');
  await page.getByRole('button', { name: 'Approve and begin' }).click();
  await page.getByRole('button', { name: 'Work by hand' }).waitFor();
  made.set('ROLL', new URL(page.url()).pathname);
});
after(() => stage.close());

/** The findings of axe, a line for each place. */
async function findingsOf(page: Page): Promise<readonly string[]> {
  return await page.evaluate(async () => {
    const { axe } = globalThis as unknown as { axe: typeof import('axe-core') };
    const { violations } = await axe.run(document, { resultTypes: ['violations'] });
    return violations.flatMap(({ id, nodes }) =>
      nodes.map(({ html, failureSummary }) => `${id}: ${html} ${failureSummary}`),
    );
  });
}

for (const width of [1_280, 390])
  for (const dark of [false, true])
    test(`no page has a finding: ${width} px, ${dark ? 'dark' : 'light'}`, async () => {
      const page = await stage.page({ width, dark });
      const found: string[] = [];
      for (const path of PAGES) {
        await stage.go(page, made.get(path) ?? path);
        await page.locator('.waiting').first().waitFor({ state: 'detached' });
        // Through the debugger, which the content security policy does not hold back.
        await page.evaluate(AXE);
        found.push(...(await findingsOf(page)).map((finding) => `${path} ${finding}`));
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        if (overflow > 0) found.push(`${path} is ${overflow} px wider than the window`);
      }
      assert.deepEqual(found, []);
    });
