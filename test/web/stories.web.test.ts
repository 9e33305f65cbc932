/** The actions of people in the web interface, in a real browser. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import type { Locator, Page } from 'playwright-core';
import { CountingProxy } from './counting-proxy.ts';
import { Stage } from './stage.ts';

const LOST_MS = 2_000;
const HEALED_MS = 3_000;
/** How often the page of a VM asks for its use of resources. */
const FIGURES_MS = 2_000;

let stage: Stage;
before(async () => {
  stage = await Stage.start({ hosts: 4, vms: 8, speed: 5 });
});
after(() => stage.close());

/** Waits until a VM is in a state, by its page. */
async function vmBecomes(page: Page, name: string, state: string): Promise<void> {
  await page.getByRole('heading', { name, level: 1 }).waitFor();
  await page.locator('.page-head .mark', { hasText: state }).waitFor();
}

/** A request of a program beside the browser. */
async function ask(method: 'POST' | 'DELETE', path: string, body?: object): Promise<void> {
  const authorization = `Bearer ${stage.token}`;
  const sent =
    body === undefined
      ? { headers: { authorization } }
      : { headers: { authorization, 'content-type': 'application/json' }, body: JSON.stringify(body) };
  const answer = await fetch(stage.apiOrigin + path, { method, ...sent });
  assert.ok(answer.ok, `${method} ${path}: ${await answer.text()}`);
}

/** Signs in the form within `place`. */
async function sign(place: Page | Locator, owner: string, until: string): Promise<void> {
  await place.getByLabel('Who answers for it').fill(owner);
  await place.getByLabel('Why it is accepted').fill('a licence');
  await place.getByLabel('Until').fill(until);
}

test('a one-time link logs in once, and its secret leaves the address', async () => {
  const page = await (await stage.context()).newPage();
  await page.goto(stage.origin + stage.link);
  await page.getByRole('heading', { name: 'Cluster', level: 1 }).waitFor();
  assert.equal(new URL(page.url()).hash, '');
  const cookies = await page.context().cookies();
  assert.ok(cookies.every(({ httpOnly, sameSite }) => httpOnly && sameSite === 'Strict'));
  const stored = await page.evaluate(() =>
    JSON.stringify([localStorage, sessionStorage].map((kept) => Object.entries(kept))),
  );
  assert.doesNotMatch(stored, /gp_/);
  const other = await (await stage.context()).newPage();
  await other.goto(stage.origin + stage.link);
  await other.getByRole('alert').waitFor();
});

test('a session is needed, and logging out ends it', async () => {
  const page = await stage.page();
  await page.getByRole('button', { name: 'Menu' }).click();
  await page.getByRole('menuitem', { name: 'Log out' }).click();
  await page.getByLabel('API token').waitFor();
  await page.goto(`${stage.origin}/vms`);
  await page.getByLabel('API token').waitFor();
  assert.match(page.url(), /\/login\?to=/);
});

test('a VM is created by the form, seen to run, and stopped', async () => {
  const page = await stage.page();
  await stage.go(page, '/vms/new');
  await page.getByLabel('Name').fill('made1');
  await page.getByLabel('Image').selectOption('tiny');
  await page.getByLabel('Network').selectOption('lan');
  assert.match(await page.locator('.gp-command code').textContent(), /^gp vm create made1 --image tiny --network lan$/);
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await vmBecomes(page, 'made1', 'running');
  await page.getByRole('button', { name: 'Stop' }).click();
  await vmBecomes(page, 'made1', 'stopped');
});

test('a form says at once what admission would say, and asks for what is typed last only', async () => {
  const page = await stage.page();
  await stage.go(page, '/vms/new');
  const asked: string[] = [];
  page.on('request', (request) => {
    if (request.url().endsWith('/v1/vms/check')) asked.push((request.postDataJSON() as { name: string }).name);
  });
  const says = page.getByRole('status', { name: 'The cluster’s answer' });
  await page.getByLabel('Image').selectOption('tiny');
  await page.getByLabel('Name').pressSequentially('web1', { delay: 20 });
  await says.filter({ hasText: /A VM named web1 exists\.\s*Nothing was created\./ }).waitFor();
  await page.getByLabel('Name').fill('new1');
  await says.filter({ hasText: /new1 would be created, its disks on s[12]\./ }).waitFor();
  await page.getByLabel('Memory in MiB').fill('33554432');
  await says.filter({ hasText: /Nothing was created|at most/ }).waitFor();
  // A change of the cluster in the meantime asks once more; a name that was typed half is never asked for.
  assert.deepEqual([...new Set(asked)], ['web1', 'new1']);
  await stage.go(page, '/vms/web3?tab=edit');
  await page.getByLabel('Memory in MiB').fill('2048');
  await says.filter({ hasText: 'web3' }).waitFor();
});

test('a refusal is shown in the words of the API, with what to do', async () => {
  const page = await stage.page();
  await stage.go(page, '/vms/new');
  await page.getByLabel('Name').fill('web1');
  await page.getByLabel('Image').selectOption('tiny');
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByRole('alert').filter({ hasText: 'web1' }).waitFor();
  assert.match(page.url(), /\/vms\/new$/);
});

test('a tie is refused while it is typed, signed for in the form, listed, and signed anew', async () => {
  const page = await stage.page();
  await stage.go(page, '/vms/new');
  await page.getByLabel('Name').fill('tied1');
  await page.getByLabel('Image').selectOption('tiny');
  await page.getByLabel('Only on host').selectOption('h1');
  await page.getByLabel('Start it at once').uncheck();
  await page
    .getByRole('status', { name: 'The cluster’s answer' })
    .filter({ hasText: 'tied1 is pinned to h1' })
    .waitFor();
  await page.getByRole('list', { name: 'Ties' }).filter({ hasText: 'tied1 is pinned to h1' }).waitFor();
  await sign(page, 'ann', '2100-01-31');
  const command = (await page.locator('.gp-command code').textContent()) ?? '';
  assert.match(command, / --pin h1 --no-start --accept --owner ann --reason 'a licence' --until 2100-01-31$/);
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await vmBecomes(page, 'tied1', 'stopped');
  await page.getByRole('link', { name: 'Cluster', exact: true }).click();
  const debts = page.locator('.figure', { hasText: 'Debts' });
  const before = Number(await debts.getByRole('link').textContent());
  await debts.getByRole('link').click();
  const row = page.getByRole('table', { name: 'Ties and debts' }).getByRole('row').filter({ hasText: 'tied1' });
  await row.filter({ hasText: /signed.*ann.*2100-0[12].*a licence.*pinned/ }).waitFor();
  await row.getByRole('button', { name: 'Sign anew' }).click();
  const dialog = page.getByRole('dialog');
  await sign(dialog, 'bob', '2101-01-31');
  await dialog.getByRole('button', { name: 'Sign anew' }).click();
  await row.filter({ hasText: /bob.*2101-0[12]/ }).waitFor();
  await stage.go(page, '/vms/tied1?tab=edit');
  await page.getByLabel('Only on host').selectOption('h2');
  await page.getByRole('list', { name: 'Ties' }).filter({ hasText: 'tied1 is pinned to h2' }).waitFor();
  await sign(page, 'carl', '2102-01-31');
  await page.getByRole('button', { name: 'Save changes' }).click();
  await page.getByRole('link', { name: 'Ties and debts', exact: true }).click();
  await row.filter({ hasText: /tied1 is pinned to h2.*carl/ }).waitFor();
  // The event that ends the debt arrives here.
  await ask('DELETE', '/v1/vms/tied1');
  await row.waitFor({ state: 'detached' });
  await page.getByRole('link', { name: 'Cluster', exact: true }).click();
  await debts.getByRole('link', { name: String(before - 1), exact: true }).waitFor();
});

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
  for (const name of names) await ask('DELETE', `/v1/vms/${name}`);
});

test('a host is drained with the timeline before and during, and taken back', async () => {
  const page = await stage.page();
  await stage.go(page, '/hosts/h1?tab=drain');
  await page.locator('.bar-move.state-foretold').first().waitFor();
  const planned = await page.locator('.bar-move').count();
  assert.ok(planned > 0);
  await page.getByLabel('Reason').fill('new memory');
  await page.getByRole('button', { name: 'Begin the drain' }).click();
  await page.getByRole('heading', { name: 'Drain of h1', level: 1 }).waitFor();
  await page.locator('.facts .mark', { hasText: 'drained' }).waitFor({ timeout: 120_000 });
  assert.equal(await page.locator('.bar-move.state-moved').count(), planned);
  await stage.go(page, '/hosts/h1');
  await page.getByRole('button', { name: 'Take back into service' }).click();
  await page.locator('.page-head .mark', { hasText: 'in service' }).waitFor();
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
  assert.match(
    (await page.locator('.gp-command code').textContent()) ?? '',
    /^gp guest-cluster set sql --notice 90000ms --quiet 'Mon-Fri 08:00-18:00 UTC'$/,
  );
  await page.getByRole('button', { name: 'Save changes' }).click();
  await page.locator('.facts dd', { hasText: '1 min 30 s' }).waitFor();
  await page.locator('.facts dd', { hasText: 'Mon-Fri 08:00-18:00 UTC' }).waitFor();
});

test('many VMs are stopped by one request and one task', async () => {
  const page = await stage.page();
  await stage.go(page, '/vms?cluster=&q=tier%3Dweb');
  const posts: string[] = [];
  page.on('request', (request) => {
    if (request.method() === 'POST') posts.push(new URL(request.url()).pathname);
  });
  await page.getByRole('checkbox', { name: 'Select all that are shown' }).check();
  const selected = await page.getByText(/^[0-9]+ selected$/).textContent();
  await page.locator('.bulk').getByRole('button', { name: 'Stop' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Stop' }).click();
  const [count] = (selected ?? '').split(' ');
  await page.locator('.tray-last', { hasText: `${count} of ${count} VMs` }).waitFor();
  assert.deepEqual(posts, ['/v1/vms/actions']);
  await page
    .getByRole('table', { name: 'VMs' })
    .getByRole('row', { name: /running/ })
    .waitFor({ state: 'detached' });
});

test('what a VM uses is plotted, asked for only while somebody looks, and says its sources', async () => {
  const page = await stage.page();
  let asked = 0;
  page.on('request', (request) => {
    if (request.url().endsWith('/figures')) asked += 1;
  });
  await stage.go(page, '/vms/web3?tab=figures');
  await page.getByRole('img', { name: /^Processor time, of .* busy: 0\.\d\d$/ }).waitFor();
  await page.getByRole('img', { name: /^Disks\. read: .*\/s, written: .*\/s$/ }).waitFor();
  assert.ok(asked >= 2, String(asked));
  await page.getByRole('tab', { name: 'Overview' }).click();
  const then = asked;
  await page.waitForTimeout(FIGURES_MS + 500);
  assert.ok(asked <= then + 1, `${asked - then} more requests on another page`);
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

test('picture, grid and table tell of the same hosts', async () => {
  const page = await stage.page();
  const cells = page.getByRole('gridcell');
  await cells.first().waitFor();
  const labels = await cells.evaluateAll((all) => all.map((cell) => cell.getAttribute('aria-label') ?? ''));
  await page.getByRole('button', { name: 'Table' }).click();
  const table = page.getByRole('table', { name: 'Hosts' });
  await table.getByRole('row').nth(labels.length).waitFor();
  for (const label of labels) {
    const [name = '', used = ''] = label.split(', ');
    const row = table.getByRole('row').filter({ has: page.getByRole('link', { name, exact: true }) });
    assert.ok((await row.textContent()).includes(used.replace(' used', '')), `${label}: ${await row.textContent()}`);
  }
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
        await page.getByLabel('API token').fill(stage.token);
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

test('a lost connection is shown within 2 s, and heals by itself', async () => {
  const page = await stage.page();
  await page.locator('.live-sign', { hasText: 'Live' }).waitFor();
  stage.freeze(true);
  const frozenMs = performance.now();
  await page.getByRole('alert').filter({ hasText: 'connection' }).waitFor();
  const shownMs = performance.now() - frozenMs;
  stage.freeze(false);
  const backMs = performance.now();
  await page.locator('.live-sign', { hasText: 'Live' }).waitFor();
  const healedMs = performance.now() - backMs;
  assert.ok(shownMs <= LOST_MS + 500, `shown after ${Math.round(shownMs)} ms`);
  assert.ok(healedMs <= HEALED_MS, `healed after ${Math.round(healedMs)} ms`);
});

test('a plug is pulled on the page of faults: the VM runs elsewhere, and all is undone', async () => {
  const page = await stage.page();
  await stage.go(page, '/vms/web6');
  const host = (await page.locator('.facts a[href^="/hosts/"]').textContent()) ?? '';
  await page.getByRole('link', { name: 'Faults', exact: true }).click();
  const machine = page.getByRole('region', { name: host, exact: true });
  await machine.getByRole('link', { name: 'web6' }).waitFor();
  await machine.getByRole('button', { name: `Faults of ${host}…` }).click();
  await page.getByRole('menuitem', { name: /^kill-host/ }).click();
  await machine.locator('.mark', { hasText: 'off' }).waitFor();
  assert.equal(await page.locator('.gp-command code').textContent(), `gp lab kill-host ${host}`);
  await machine.getByRole('link', { name: 'web6' }).waitFor({ state: 'detached', timeout: 60_000 });
  await page.getByRole('link', { name: 'web6' }).waitFor();
  await page.getByRole('button', { name: 'Undo all faults' }).click();
  await machine.locator('header .mark', { hasText: 'on' }).waitFor();
});

test('a host that dies is seen on the page, without a reload', async () => {
  const page = await stage.page();
  // This VM runs throughout this file: no test stops VMs of its tier.
  await stage.go(page, '/vms/web3');
  const host = (await page.locator('.facts a[href^="/hosts/"]').textContent()) ?? '';
  await page.getByRole('link', { name: 'Cluster', exact: true }).click();
  await page.getByRole('gridcell', { name: new RegExp(`^${host},`) }).waitFor();
  stage.fault(`kill-host ${host}`);
  await page.getByRole('gridcell', { name: new RegExp(`^${host},.*(agent does not answer|quarantined)`) }).waitFor();
  stage.fault('restore');
  const cell = page.getByRole('gridcell', { name: new RegExp(`^${host},(?!.*(agent does not answer|quarantined))`) });
  await cell.waitFor();
  assert.equal(await cell.count(), 1);
});
