/** Stories that hold on any cluster, simulated or real (world.ts). */
import assert from 'node:assert/strict';
import type { Locator, Page } from 'playwright-core';
import type { Stage } from './stage.ts';
import { hostOf, requestsOf, section, sign, vmBecomes, type WebStory } from './web-story.ts';
import { askApi } from './world.ts';

/** How soon a page says that it hears nothing, and how soon it is live again when it can be. */
export const LOST_MS = 2_000;
export const HEALED_MS = 3_000;
/** How often the page of a VM asks for its use of resources. */
const FIGURES_MS = 2_000;
/** VMs of a task over many that are asked at a time, and more than these. */
const ASKED_AT_ONCE = 48;
const MANY = 60;

const logIn: WebStory = {
  name: 'a one-time link logs in once, and its secret leaves the address',
  async run(stage) {
    const page = await (await stage.context()).newPage();
    await page.goto(stage.origin + stage.world.link);
    await page.getByRole('heading', { name: 'Cluster', level: 1 }).waitFor();
    assert.equal(new URL(page.url()).hash, '');
    const cookies = await page.context().cookies();
    assert.ok(cookies.every(({ httpOnly, sameSite }) => httpOnly && sameSite === 'Strict'));
    const stored = await page.evaluate(() =>
      JSON.stringify([localStorage, sessionStorage].map((kept) => Object.entries(kept))),
    );
    assert.doesNotMatch(stored, /gp_/);
    const other = await (await stage.context()).newPage();
    await other.goto(stage.origin + stage.world.link);
    await other.getByRole('alert').waitFor();
  },
};

const logOut: WebStory = {
  name: 'a session is needed, and logging out ends it',
  async run(stage) {
    const page = await stage.page();
    await page.getByRole('button', { name: 'Menu' }).click();
    await page.getByRole('menuitem', { name: 'Log out' }).click();
    await page.getByLabel('API token').waitFor();
    await page.goto(`${stage.origin}/vms`);
    await page.getByLabel('API token').waitFor();
    assert.match(page.url(), /\/login\?to=/);
  },
};

const create: WebStory = {
  name: 'a VM is created by the form, seen to run, and stopped',
  async run(stage) {
    const page = await stage.page();
    await stage.go(page, '/vms/new');
    await page.getByLabel('Name').fill('made1');
    await page.getByLabel('Image').selectOption('tiny');
    await page.getByLabel('Network').selectOption('lan');
    assert.match(
      await page.locator('.gp-command code').textContent(),
      /^gp vm create made1 --image tiny --network lan$/,
    );
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await vmBecomes(page, 'made1', 'running');
    await page.getByRole('button', { name: 'Stop' }).click();
    await vmBecomes(page, 'made1', 'stopped');
  },
};

const admission: WebStory = {
  name: 'a form says at once what admission would say, and asks for what is typed last only',
  async run(stage) {
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
    await stage.go(page, `/vms/${stage.world.dbVm}?tab=edit`);
    await page.getByLabel('Memory in MiB').fill('2048');
    await says.filter({ hasText: stage.world.dbVm }).waitFor();
  },
};

const refusal: WebStory = {
  name: 'a refusal is shown in the words of the API, with what to do',
  async run(stage) {
    const page = await stage.page();
    await stage.go(page, '/vms/new');
    await page.getByLabel('Name').fill('web1');
    await page.getByLabel('Image').selectOption('tiny');
    await page.getByRole('button', { name: 'Create', exact: true }).click();
    await page.getByRole('alert').filter({ hasText: 'web1' }).waitFor();
    assert.match(page.url(), /\/vms\/new$/);
  },
};

const ties: WebStory = {
  name: 'a tie is refused while it is typed, signed for in the form, listed, and signed anew',
  async run(stage) {
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
    await askApi(stage.world.api, 'DELETE', '/v1/vms/tied1');
    await row.waitFor({ state: 'detached' });
    await page.getByRole('link', { name: 'Cluster', exact: true }).click();
    await debts.getByRole('link', { name: String(before - 1), exact: true }).waitFor();
  },
};

const sameHosts: WebStory = {
  name: 'picture, grid and table tell of the same hosts',
  async run(stage) {
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
  },
};

const figures: WebStory = {
  name: 'what a VM uses is plotted, asked for only while somebody looks, and says its sources',
  async run(stage) {
    const page = await stage.page();
    let asked = 0;
    page.on('request', (request) => {
      if (request.url().endsWith('/figures')) asked += 1;
    });
    await stage.go(page, `/vms/${stage.world.dbVm}?tab=figures`);
    await page.getByRole('img', { name: /^Processor time, of .* busy: 0\.\d\d$/ }).waitFor();
    await page.getByRole('img', { name: /^Disks\. read: .*\/s, written: .*\/s$/ }).waitFor();
    assert.ok(asked >= 2, String(asked));
    await page.getByRole('tab', { name: 'Overview' }).click();
    const then = asked;
    await page.waitForTimeout(FIGURES_MS + 500);
    assert.ok(asked <= then + 1, `${asked - then} more requests on another page`);
  },
};

const guest: WebStory = {
  name: 'the page of a VM has what its guest says of itself',
  async run(stage) {
    const page = await stage.page();
    await stage.go(page, `/vms/${stage.world.dbVm}`);
    await section(page, 'What its guest says').locator('dd', { hasText: stage.world.guestSystem }).waitFor();
  },
};

const drain: WebStory = {
  name: 'a host is drained with the timeline before and during, and taken back',
  async run(stage) {
    const page = await stage.page();
    await stage.go(page, `/vms/${stage.world.dbVm}`);
    const host = await hostOf(page);
    await stage.go(page, `/hosts/${host}?tab=drain`);
    await page.locator('.bar-move.state-foretold').first().waitFor();
    const planned = await page.locator('.bar-move').count();
    assert.ok(planned > 0);
    await page.getByLabel('Reason').fill('new memory');
    await page.getByRole('button', { name: 'Begin the drain' }).click();
    await page.getByRole('heading', { name: `Drain of ${host}`, level: 1 }).waitFor();
    if (stage.world.movesAreSeen) await page.locator('.bar-move.state-moving').first().waitFor();
    await page.locator('.facts .mark', { hasText: 'drained' }).waitFor();
    assert.equal(await page.locator('.bar-move.state-moved').count(), planned);
    await stage.go(page, `/hosts/${host}`);
    await page.getByRole('button', { name: 'Take back into service' }).click();
    await page.locator('.page-head .mark', { hasText: 'in service' }).waitFor();
  },
};

const lost: WebStory = {
  name: 'a lost connection is shown within 2 s, and heals by itself',
  async run(stage) {
    const page = await stage.page();
    await page.locator('.live-sign', { hasText: 'Live' }).waitFor();
    await stage.world.freeze(true);
    const frozenMs = performance.now();
    await page.getByRole('alert').filter({ hasText: 'connection' }).waitFor();
    const shownMs = performance.now() - frozenMs;
    await stage.world.freeze(false);
    const backMs = performance.now();
    await page.locator('.live-sign', { hasText: 'Live' }).waitFor();
    const healedMs = performance.now() - backMs;
    assert.ok(shownMs <= LOST_MS + 500, `shown after ${Math.round(shownMs)} ms`);
    assert.ok(healedMs <= HEALED_MS, `healed after ${Math.round(healedMs)} ms`);
  },
};

const plug: WebStory = {
  name: 'a plug is pulled on the page of faults: the VM runs elsewhere, and all is undone',
  async run(stage) {
    const vm = stage.world.dbVm;
    const page = await stage.page();
    await stage.go(page, `/vms/${vm}`);
    const host = await hostOf(page);
    await page.getByRole('link', { name: 'Faults', exact: true }).click();
    const machine = page.getByRole('region', { name: host, exact: true });
    await machine.getByRole('link', { name: vm }).waitFor();
    await machine.getByRole('button', { name: `Faults of ${host}…` }).click();
    await page.getByRole('menuitem', { name: /^kill-host/ }).click();
    await machine.locator('.mark', { hasText: 'off' }).waitFor();
    assert.equal(await page.locator('.gp-command code').textContent(), `gp lab kill-host ${host}`);
    const said = section(page, 'The cluster’s reaction').getByRole('row');
    // The verdict, the fence and the start are events of the VM, as they happen.
    await said.filter({ hasText: /lost/ }).filter({ hasText: vm }).first().waitFor();
    await machine.getByRole('link', { name: vm }).waitFor({ state: 'detached' });
    await page.locator('.lab-machine').filter({ hasText: vm }).filter({ hasText: 'running' }).waitFor();
    await said
      .filter({ hasText: /running/ })
      .filter({ hasText: vm })
      .first()
      .waitFor();
    await page.getByRole('button', { name: 'Undo all faults' }).click();
    await machine.locator('header .mark', { hasText: 'on' }).waitFor();
  },
};

const hostDies: WebStory = {
  name: 'a host that dies is seen on the page, without a reload',
  async run(stage) {
    const page = await stage.page();
    await stage.go(page, `/vms/${stage.world.dbVm}`);
    const host = await hostOf(page);
    await page.getByRole('link', { name: 'Cluster', exact: true }).click();
    await page.getByRole('gridcell', { name: new RegExp(`^${host},`) }).waitFor();
    await stage.world.fault(`kill-host ${host}`);
    await page.getByRole('gridcell', { name: new RegExp(`^${host},.*(agent does not answer|quarantined)`) }).waitFor();
    await stage.world.fault('restore');
    const cell = page.getByRole('gridcell', { name: new RegExp(`^${host},(?!.*(agent does not answer|quarantined))`) });
    await cell.waitFor();
    assert.equal(await cell.count(), 1);
  },
};

/** The row of a task over many VMs on the page of tasks. */
const bulkTask = (page: Page, kind: string): Locator =>
  page.getByRole('table', { name: 'Tasks' }).getByRole('row').filter({ hasText: kind }).first();

/** Selects all VMs that a search finds, and has one thing done to all of them: by how many requests. */
async function actOnAll(stage: Stage, page: Page, query: string, action: string): Promise<number> {
  await stage.go(page, `/vms?${query}`);
  const posts = requestsOf(page, 'POST');
  await page.getByRole('checkbox', { name: 'Select all that are shown' }).check();
  const selected = await page.getByText(/^[0-9]+ selected$/).textContent();
  await page.locator('.bulk').getByRole('button', { name: action }).click();
  await page.getByRole('dialog').getByRole('button', { name: action }).click();
  await page.getByRole('dialog').waitFor({ state: 'detached' });
  assert.deepEqual(posts, ['/v1/vms/actions']);
  return Number(selected?.split(' ')[0]);
}

const bulkStop: WebStory = {
  name: 'many VMs are stopped by one request and one task',
  async run(stage) {
    const page = await stage.page();
    const count = await actOnAll(stage, page, 'cluster=&q=tier%3Dweb', 'Stop');
    assert.equal(count, stage.world.webVms.length);
    await page.locator('.tray-last', { hasText: `${count} of ${count} VMs` }).waitFor();
    await page
      .getByRole('table', { name: 'VMs' })
      .getByRole('row', { name: /running/ })
      .waitFor({ state: 'detached' });
    await page.getByRole('link', { name: 'All tasks' }).click();
    await bulkTask(page, 'vms.stop')
      .filter({ hasText: `${count} succeeded.` })
      .waitFor();
  },
};

const bulkCancel: WebStory = {
  name: 'a task over many VMs is cancelled: those that were asked go on, the others are never asked',
  async run(stage) {
    const { world } = stage;
    const names = Array.from({ length: MANY }, (_, n) => `many${n + 1}`);
    for (const name of names)
      await askApi(world.api, 'POST', '/v1/vms', { name, image: 'tiny', labels: { tier: 'many' }, start: false });
    const page = await stage.page();
    await world.holdDeletions(true);
    assert.equal(await actOnAll(stage, page, 'q=tier%3Dmany', 'Delete'), MANY);
    await page.getByRole('link', { name: 'All tasks' }).click();
    const task = bulkTask(page, 'vms.delete');
    await task.filter({ hasText: `${ASKED_AT_ONCE} running` }).waitFor();
    await task.getByRole('button', { name: 'Cancel' }).click();
    await task.filter({ hasText: `${MANY - ASKED_AT_ONCE} cancelled` }).waitFor();
    await world.holdDeletions(false);
    await task
      .filter({ hasText: 'cancelled' })
      .filter({ hasText: `${ASKED_AT_ONCE} succeeded` })
      .waitFor();
    assert.equal(await actOnAll(stage, page, 'q=tier%3Dmany', 'Delete'), MANY - ASKED_AT_ONCE);
    await page
      .getByRole('row', { name: /many\d/ })
      .first()
      .waitFor({ state: 'detached' });
  },
};

export const anyCluster: readonly WebStory[] = [
  logIn,
  logOut,
  create,
  admission,
  refusal,
  ties,
  sameHosts,
  figures,
  guest,
  drain,
  lost,
  plug,
  hostDies,
  bulkCancel,
  bulkStop,
];
