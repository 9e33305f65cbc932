/**
 * A browser in front of a cluster (world.ts), which serves the web interface as control nodes do.
 * Guarantees: a violation of the content security policy, an error thrown in a page or logged there is a failure of the
 * test (`faults`); browser and cluster end with `close`.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import type { World } from './world.ts';

const ROOT = join(import.meta.dirname, '../..');
const CHROMIUM = '/usr/bin/chromium';

/** Runs in every page before its own scripts. */
const TELL_VIOLATIONS = `addEventListener('securitypolicyviolation', (event) =>
  groundplaneViolation(event.violatedDirective + ' ' + event.blockedURI + ' in ' + event.sourceFile));`;

/** One browser, one cluster. */
export class Stage<W extends World = World> {
  readonly world: W;
  readonly #browser: Browser;
  /** The faults of pages, whatever the test looked at. */
  readonly faults: string[] = [];

  private constructor(world: W, browser: Browser) {
    this.world = world;
    this.#browser = browser;
  }

  /** Builds the interface where it changed, starts the cluster, then the browser. */
  static async start<W extends World>(startWorld: () => Promise<W>): Promise<Stage<W>> {
    await run(['scripts/build-web.ts']);
    const world = await startWorld();
    try {
      const args = ['--no-sandbox', '--disable-gpu', ...world.browserArguments];
      return new Stage(world, await chromium.launch({ executablePath: CHROMIUM, args }));
    } catch (error) {
      await world.end();
      throw error;
    }
  }

  /** Address of the interface, without a path. */
  get origin(): string {
    return this.world.origin;
  }

  /** A browser of its own: cookies, storage, size, appearance. */
  async context(options: { readonly width?: number; readonly dark?: boolean } = {}): Promise<BrowserContext> {
    const { width = 1_280, dark = false } = options;
    const context = await this.#browser.newContext({
      viewport: { width, height: 800 },
      colorScheme: dark ? 'dark' : 'light',
      reducedMotion: 'reduce',
    });
    context.setDefaultTimeout(this.world.showMs);
    context.on('weberror', (error) => this.faults.push(`thrown: ${error.error().message}`));
    context.on('console', (message) => {
      if (message.type() === 'error' && !/Failed to load resource/.test(message.text()))
        this.faults.push(`logged: ${message.text()}`);
    });
    await context.exposeFunction('groundplaneViolation', (what: string) => this.faults.push(`policy: ${what}`));
    await context.addInitScript({ content: TELL_VIOLATIONS });
    return context;
  }

  /** A page that is logged in by the token, at the first page. */
  async page(options: Parameters<Stage['context']>[0] = {}): Promise<Page> {
    const page = await (await this.context(options)).newPage();
    await page.goto(`${this.origin}/login`);
    await page.getByLabel('API token').fill(this.world.token);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Cluster', level: 1 }).waitFor();
    return page;
  }

  /** Goes to a page of the interface and waits for its title. */
  async go(page: Page, path: string): Promise<void> {
    await page.goto(this.origin + path);
    await page.locator('h1').first().waitFor();
  }

  /** Closes every page, so that no story sees what another one left open. */
  async closePages(): Promise<void> {
    for (const context of this.#browser.contexts()) await context.close();
  }

  /** Ends browser and cluster; fails if a page had a fault. */
  async close(): Promise<void> {
    try {
      await this.#browser.close();
    } finally {
      await this.world.end();
    }
    assert.deepEqual(this.faults, []);
  }
}

async function run(argv: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, argv, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  assert.equal(code, 0, argv.join(' '));
}
