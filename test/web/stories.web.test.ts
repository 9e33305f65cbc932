/** The actions of people in the web interface, in a real browser in front of a simulated cluster. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Page } from 'playwright-core';
import { anyCluster } from './any-cluster.ts';
import { consoles } from './consoles.ts';
import { CountingProxy } from './counting-proxy.ts';
import { simulatedWorld } from './simulated-world.ts';
import { Stage } from './stage.ts';
import { sign, tellWeb, vmBecomes } from './web-story.ts';
import { askApi } from './world.ts';

let stage: Stage;
before(async () => {
  stage = await Stage.start(() => simulatedWorld({ hosts: 4, vms: 8, speed: 5 }));
});
after(() => stage.close());

tellWeb([...anyCluster, ...consoles], () => stage);

/** A request of a program beside the browser. */
const ask = (method: 'POST' | 'DELETE', path: string, body?: object): Promise<unknown> =>
  askApi(stage.world.api, method, path, body);

test('a start that leaves hosts which cannot be drained is refused with the reasons, and made when signed', async () => {
  const names = ['apart1', 'apart2', 'apart3', 'apart4'];
  for (const name of names)
    await ask('POST', '/v1/vms', { name, image: 'tiny', antiAffinity: 'apart', start: name !== 'apart4' });
  const page = await stage.page();
  await stage.go(page, '/vms/apart4');
  await page.getByRole('button', { name: 'Start' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('row', { name: /^h1 cannot be drained .*apart/ }).waitFor();
  assert.equal(await page.locator('.notice.tone-bad').count(), 0, 'it is said once');
  await sign(dialog, 'ann', '2100-01-31');
  await dialog.getByRole('button', { name: 'Start' }).click();
  await vmBecomes(page, 'apart4', 'running');
  await stage.go(page, '/ties?q=apart4');
  const row = page.getByRole('table', { name: 'Ties and debts' }).getByRole('row').filter({ hasText: 'apart4' });
  await row.filter({ hasText: /h1, h2, h3, h4/ }).waitFor();
  // In the picture it is a line, and the same in words beside it.
  await page.getByRole('link', { name: 'Cluster', exact: true }).click();
  await page.getByRole('gridcell', { name: /^h1,/ }).focus();
  await page.getByRole('list', { name: 'Ties and debts' }).filter({ hasText: 'apart4' }).waitFor();
  for (const name of names) await ask('DELETE', `/v1/vms/${name}`);
});

test('many hosts are planned, rolled wave after wave with work by hand, and the record is exported', async () => {
  const page = await stage.page();
  await stage.go(page, '/maintenance/plan?hosts=h3,h4');
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await page.locator('.roll-bar.bar-foretold').first().waitFor();
  assert.equal(await page.locator('.roll-names .roll-lane').count(), 2);
  await page.getByLabel('Change number').fill('CHG4711');
  await page.getByLabel('Windows').fill('Mon-Sun 00:00-24:00 UTC');
  await page.getByLabel('Work on an empty host').fill('new memory into {host}');
  const posted = page.waitForRequest((request) => request.url().endsWith('/v1/rolls'));
  await page.getByRole('button', { name: 'Approve and begin' }).click();
  const { hash, windows } = (await posted).postDataJSON() as { hash: string; windows: string[] };
  assert.deepEqual([hash.length, windows], [64, ['Mon-Sun 00:00-24:00 UTC']]);
  await page.getByRole('heading', { name: /^roll-/, level: 1 }).waitFor();
  for (let host = 1; host <= 2; host++) {
    await page.getByRole('button', { name: 'Work by hand' }).click();
    await page.getByRole('dialog').getByLabel('What was done').fill(`module ${host}`);
    await page.getByRole('dialog').getByRole('button', { name: 'It succeeded' }).click();
    await page.getByRole('cell', { name: `work succeeded: module ${host}` }).waitFor();
  }
  await page.locator('.page-head .mark', { hasText: 'completed' }).waitFor();
  await page.getByRole('button', { name: 'Export' }).click();
  const saved = page.waitForEvent('download');
  await page.getByRole('menuitem', { name: /^Markdown/ }).click();
  const markdown = readFileSync(await (await saved).path(), 'utf8');
  assert.match(markdown, /\| Change \| CHG4711 \|/);
  assert.match(markdown, /\| succeeded \| admin:by-hand \| module 1 \|/);
  await stage.go(page, '/maintenance/rolls');
  await page.getByRole('row', { name: /completed.*2 of 2.*CHG4711/ }).waitFor();
});

test('a plan that is refused says what stands in the way of which host', async () => {
  const page = await stage.page();
  await stage.go(page, '/maintenance/plan?hosts=h77');
  await page.getByRole('button', { name: 'Plan', exact: true }).click();
  await page.getByRole('alert').filter({ hasText: 'h77' }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Approve and begin' }).count(), 0);
});

test('what a guest cluster bears is changed where it is shown, and a wrong window is refused by the API', async () => {
  const page = await stage.page();
  await stage.go(page, '/guest-clusters/sql');
  await page.getByLabel('Notice before a move, seconds').fill('90');
  await page.getByLabel('Quiet hours').fill('Mon-Fri 25:00-18:00 UTC');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await page.getByRole('alert').filter({ hasText: '25:00' }).waitFor();
  await page.getByLabel('Quiet hours').fill('Mon-Fri 08:00-18:00 UTC');
  await page.getByLabel('Ready check, a command').fill('pg_isready -q');
  await page.getByLabel('Waited for it, seconds').fill('60');
  assert.match(
    (await page.locator('.gp-command code').textContent()) ?? '',
    /^gp guest-cluster set sql --notice 90000ms --ready-check 'pg_isready -q' --ready-within 60000ms --quiet 'Mon-Fri 08:00-18:00 UTC'$/,
  );
  await page.getByRole('button', { name: 'Save changes' }).click();
  await page.locator('.facts dd', { hasText: '1 min 30 s' }).waitFor();
  await page.locator('.facts dd', { hasText: 'Mon-Fri 08:00-18:00 UTC' }).waitFor();
  await page.locator('.facts dd', { hasText: 'pg_isready -q, for 1 min at the longest' }).waitFor();
});

test('what is not allowed says why', async () => {
  const page = await stage.page();
  await stage.go(page, '/vms/web1');
  await page.getByRole('button', { name: 'More' }).click();
  const item = page.getByRole('menuitem', { name: /^Delete/ });
  assert.match((await item.textContent()) ?? '', /member of guest cluster sql/);
  assert.equal(await item.getAttribute('aria-disabled'), 'true');
});

test('search, filters and order are in the address and survive a reload', async () => {
  const page = await stage.page();
  await stage.go(page, '/vms');
  const rows = page.getByRole('table', { name: 'VMs' }).getByRole('row');
  await page.getByRole('searchbox', { name: 'Search' }).fill('web2');
  await rows.filter({ hasText: 'web3' }).waitFor({ state: 'detached' });
  await page.getByRole('button', { name: 'Memory' }).click();
  assert.match(page.url(), /\?q=web2&sort=memory$/);
  await page.reload();
  await rows.filter({ hasText: 'web2' }).first().waitFor();
  assert.equal(await rows.count(), 2);
});

test('with the keyboard alone a VM is created and a host drained', async () => {
  const page = await stage.page();
  const { keyboard } = page;
  const choose = async (typed: string): Promise<void> => {
    await keyboard.press('Control+k');
    await page.getByRole('combobox', { name: 'Find objects and actions' }).waitFor();
    await keyboard.type(typed);
    await page
      .getByRole('option', { selected: true })
      .filter({ hasText: new RegExp(typed, 'i') })
      .waitFor();
    await keyboard.press('Enter');
  };
  const tabTo = async (name: string): Promise<void> => {
    for (let presses = 0; presses < 200; presses++) {
      const label = await page.evaluate(() => {
        const element = document.activeElement;
        const labels =
          element instanceof HTMLInputElement || element instanceof HTMLSelectElement ? element.labels : null;
        return (labels?.[0]?.textContent ?? element?.textContent ?? '').replace(' *', '').trim();
      });
      if (label === name) return;
      await keyboard.press('Tab');
    }
    assert.fail(`Tab does not lead to ${name}.`);
  };
  await choose('create vm');
  await page.getByRole('heading', { name: 'Create VM', level: 1 }).waitFor();
  await tabTo('Name');
  await keyboard.type('keys1');
  await tabTo('Image');
  await keyboard.type('tiny');
  await tabTo('Create');
  await keyboard.press('Enter');
  await vmBecomes(page, 'keys1', 'running');
  await choose('drain host h2');
  await page.locator('.bar-move').first().waitFor();
  await tabTo('Begin the drain');
  await keyboard.press('Enter');
  await page.locator('.facts .mark', { hasText: 'drained' }).waitFor({ timeout: 120_000 });
});

test('eight tabs of one browser have one watch between them, and all of them hear of a change', async () => {
  const proxy = await CountingProxy.start(new URL(stage.origin));
  try {
    const context = await stage.context();
    const pages: Page[] = [];
    for (let tab = 0; tab < 8; tab++) {
      const page = await context.newPage();
      pages.push(page);
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
    assert.equal(proxy.openOf('/v1/watch'), 1);
    await ask('POST', '/v1/networks', { name: 'tabs', cidr: '10.88.0.0/24' });
    for (const page of pages) await page.getByRole('row').filter({ hasText: 'tabs' }).waitFor();
    assert.equal(proxy.openOf('/v1/watch'), 1);
    await context.close();
  } finally {
    await proxy.close();
  }
});
