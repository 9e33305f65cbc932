/** Consoles in windows of their own: what is typed reaches the guest, what it says and draws reaches people. */
import assert from 'node:assert/strict';
import type { Page } from 'playwright-core';
import type { Stage } from './stage.ts';
import { section, vmBecomes, type WebStory } from './web-story.ts';
import { askApi, type Colour, type Talk } from './world.ts';

/** A guest's shell that has just begun loses what is typed before it reads. */
const TYPE_AGAIN_MS = 5_000;
const LOOK_MS = 100;
/** Of a picture that a guest has filled with one colour; a line of text may be on it. */
const SHARE_MIN = 0.8;

/** Opens a console of a VM from its page, in a window of its own. */
async function openWindow(page: Page, title: 'Serial console' | 'Graphical console'): Promise<Page> {
  const popup = page.waitForEvent('popup');
  await section(page, title).getByRole('button', { name: 'Open in a window' }).click();
  return await popup;
}

/** Waits until the line of a console's window says how it is. */
async function says(console: Page, what: string | RegExp): Promise<void> {
  await console.getByRole('status').filter({ hasText: what }).waitFor();
}

/** What the terminal of a console shows, line by line. */
async function screenOf(console: Page): Promise<string> {
  const rows = await console.locator('.xterm-rows > div').allTextContents();
  return rows.join('\n').replaceAll('\u00a0', ' ');
}

/** Waits until the terminal of a console shows something; false: it did not within `withinMs`. */
async function isShown(console: Page, pattern: RegExp, withinMs: number): Promise<boolean> {
  const endsMs = performance.now() + withinMs;
  while (!pattern.test(await screenOf(console))) {
    if (performance.now() > endsMs) return false;
    await console.waitForTimeout(LOOK_MS);
  }
  return true;
}

async function shows(stage: Stage, console: Page, pattern: RegExp): Promise<void> {
  if (await isShown(console, pattern, stage.world.showMs)) return;
  assert.fail(`no ${pattern} in:\n${await screenOf(console)}`);
}

/** Types until the guest answers. */
async function answers(stage: Stage, console: Page, { typed, answered }: Talk): Promise<void> {
  const endsMs = performance.now() + stage.world.showMs;
  do {
    await console.keyboard.type(typed);
    await console.keyboard.press('Enter');
    if (await isShown(console, answered, TYPE_AGAIN_MS)) return;
  } while (performance.now() < endsMs);
  assert.fail(`no ${answered} in:\n${await screenOf(console)}`);
}

/** What the canvas of a graphical console has: its most frequent colour, and a sum that tells pictures apart. */
interface Picture {
  readonly width: number;
  readonly colour: Colour;
  readonly share: number;
  readonly sum: number;
}

/** Reads the picture; null while there is none. */
async function pictureOf(console: Page): Promise<Picture | null> {
  return await console.evaluate(() => {
    const canvas = document.querySelector('main canvas');
    if (!(canvas instanceof HTMLCanvasElement) || canvas.width === 0 || canvas.height === 0) return null;
    const pixels = canvas.getContext('2d')?.getImageData(0, 0, canvas.width, canvas.height).data;
    if (pixels === undefined) return null;
    const counts = new Map<number, number>();
    let sum = 0;
    for (let at = 0; at < pixels.length; at += 4) {
      const colour = ((pixels[at] ?? 0) << 16) | ((pixels[at + 1] ?? 0) << 8) | (pixels[at + 2] ?? 0);
      counts.set(colour, (counts.get(colour) ?? 0) + 1);
      sum = (Math.imul(sum, 31) + colour) | 0;
    }
    const [most, count] = [...counts].reduce((best, each) => (each[1] > best[1] ? each : best));
    return {
      ...{ width: canvas.width, sum, share: count / (pixels.length / 4) },
      colour: [most >> 16, (most >> 8) & 255, most & 255] as const,
    };
  });
}

/** Waits for a picture that is mostly of a colour, and other than `than`. */
async function painted(console: Page, colour: Colour, withinMs: number, than?: Picture): Promise<Picture> {
  const endsMs = performance.now() + withinMs;
  for (;;) {
    const seen = await pictureOf(console);
    const isPainted = seen !== null && seen.share >= SHARE_MIN && seen.colour.join() === colour.join();
    if (isPainted && seen.sum !== than?.sum) return seen;
    assert.ok(performance.now() < endsMs, `not of ${colour.join()}, but ${JSON.stringify(seen)}`);
    await console.waitForTimeout(LOOK_MS);
  }
}

/** Types until the guest has drawn something else; keys that come while a display is connected anew are lost. */
async function draws(stage: Stage, console: Page, keys: string, { colour, than }: { colour: Colour; than: Picture }) {
  for (let times = 1; ; times++) {
    await console.keyboard.type(keys);
    try {
      return await painted(console, colour, TYPE_AGAIN_MS, than);
    } catch (error) {
      if (times * TYPE_AGAIN_MS > stage.world.showMs) throw error;
    }
  }
}

/** Migrates the VM by its page, and waits until it is another incarnation. */
async function migrate(stage: Stage, page: Page, vm: string): Promise<void> {
  await stage.go(page, `/vms/${vm}`);
  const generation = page
    .locator('.facts div')
    .filter({ hasText: /^Generation/ })
    .locator('dd');
  const before = Number(await generation.textContent());
  await page.getByRole('button', { name: 'Migrate' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Migrate' }).click();
  await generation.filter({ hasText: new RegExp(`^${before + 1}$`) }).waitFor();
  await vmBecomes(page, vm, 'running');
}

const serial: WebStory = {
  name: 'the serial console takes what is typed, prints what the guest answers, and goes on when the VM moves',
  async run(stage) {
    const { world } = stage;
    const page = await stage.page();
    await stage.go(page, `/vms/${world.dbVm}?tab=console`);
    const console = await openWindow(page, 'Serial console');
    await says(console, 'connected');
    await answers(stage, console, world.talk(world.dbVm, 1));
    await migrate(stage, page, world.dbVm);
    await shows(stage, console, new RegExp(`${world.dbVm} moved from h\\d+ to h\\d+, generation`));
    await says(console, 'connected');
    await answers(stage, console, world.talk(world.dbVm, 2));
  },
};

const shared: WebStory = {
  name: 'two people have the serial console open at once: one types, the other reads along, and takes it over',
  async run(stage) {
    const { world } = stage;
    const [one, two] = [await stage.page(), await stage.page()];
    for (const page of [one, two]) await stage.go(page, `/vms/${world.dbVm}?tab=console`);
    const first = await openWindow(one, 'Serial console');
    await says(first, 'connected');
    await answers(stage, first, world.talk(world.dbVm, 3));
    const second = await openWindow(two, 'Serial console');
    await says(second, 'connected');
    await shows(stage, second, /you read along; admin writes/);
    const said = world.talk(world.dbVm, 4);
    await answers(stage, first, said);
    await shows(stage, second, said.answered);
    await second.keyboard.type('x');
    await shows(stage, second, /what you type reaches nobody/);
    await second.getByRole('button', { name: 'Take over' }).click();
    await shows(stage, first, /admin took this console over/);
    await answers(stage, second, world.talk(world.dbVm, 5));
    // Whoever had it goes on to read along.
    await shows(stage, first, /you read along; admin writes/);
    await shows(stage, first, world.talk(world.dbVm, 5).answered);
  },
};

const display: WebStory = {
  name: 'the display shows what the guest draws, to two viewers at once, takes keys, and goes on when the VM moves',
  async run(stage) {
    const { world } = stage;
    await askApi(world.api, 'POST', '/v1/vms', { name: 'drawn1', image: 'tiny', display: 'vga' });
    const [one, two] = [await stage.page(), await stage.page()];
    await stage.go(one, '/vms/drawn1?tab=console');
    await vmBecomes(one, 'drawn1', 'running');
    const first = await openWindow(one, 'Graphical console');
    await says(first, 'connected');
    const { before, keys, after } = await world.draw('drawn1', 0);
    const seen = await painted(first, before, world.showMs);
    await stage.go(two, '/vms/drawn1?tab=console');
    const second = await openWindow(two, 'Graphical console');
    await painted(second, before, world.showMs);
    const drawn = await draws(stage, first, keys, { colour: after, than: seen });
    await painted(second, after, world.showMs, seen);
    await migrate(stage, one, 'drawn1');
    const again = await world.draw('drawn1', 1);
    const moved = await painted(first, again.before, world.showMs);
    assert.equal(moved.width, drawn.width);
    await painted(second, again.before, world.showMs);
    await draws(stage, second, again.keys, { colour: again.after, than: moved });
    await painted(first, again.after, world.showMs, moved);
    await askApi(world.api, 'DELETE', '/v1/vms/drawn1');
  },
};

export const consoles: readonly WebStory[] = [serial, shared, display];
