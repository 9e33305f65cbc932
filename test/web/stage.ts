/**
 * A browser in front of a simulated cluster behind the real API, which serves the web interface as control nodes do.
 * Guarantees: a violation of the content security policy, an error thrown in a page or logged there is a failure of the
 * test (`faults`); browser and cluster end with `close`.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';

const ROOT = join(import.meta.dirname, '../..');
/** A large cluster takes its time. */
const START_MS = 600_000;
/** How long a page may take to show something, in ms: the machine may be busy. */
const SHOW_MS = 30_000;
const CHROMIUM = '/usr/bin/chromium';

/** Runs in every page before its own scripts. */
const TELL_VIOLATIONS = `addEventListener('securitypolicyviolation', (event) =>
  groundplaneViolation(event.violatedDirective + ' ' + event.blockedURI + ' in ' + event.sourceFile));`;

/** The options of the mock: numbers by option, such as hosts. */
export type Sizes = Readonly<Record<string, number>>;

/** One browser, one cluster. */
export class Stage {
  readonly #cluster: ChildProcess;
  readonly #browser: Browser;
  /** Address of the interface, without a path. */
  readonly origin: string;
  /** Path of the link that logs in once. */
  readonly link: string;
  readonly token: string;
  /** Address of the API for programs. */
  readonly apiOrigin: string;
  /** The faults of pages, whatever the test looked at. */
  readonly faults: string[] = [];

  private constructor(cluster: ChildProcess, browser: Browser, told: { ui: URL; token: string }) {
    this.#cluster = cluster;
    this.#browser = browser;
    this.origin = told.ui.origin;
    this.link = told.ui.pathname + told.ui.hash;
    this.token = told.token;
    this.apiOrigin = `http://127.0.0.1:${told.ui.port}`;
  }

  /** Builds the interface where it changed, starts the cluster, then the browser. */
  static async start(sizes: Sizes): Promise<Stage> {
    await run(['scripts/build-web.ts']);
    const options = Object.entries(sizes).flatMap(([name, value]) => [`--${name}`, String(value)]);
    const argv = ['scripts/mock-api.ts', '--port', '0', ...options];
    const cluster = spawn(process.execPath, argv, { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit'] });
    try {
      const told = await addressesOf(cluster);
      const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox', '--disable-gpu'] });
      return new Stage(cluster, browser, told);
    } catch (error) {
      cluster.kill('SIGKILL');
      throw error;
    }
  }

  /** A browser of its own: cookies, storage, size, appearance. */
  async context(options: { readonly width?: number; readonly dark?: boolean } = {}): Promise<BrowserContext> {
    const { width = 1_280, dark = false } = options;
    const context = await this.#browser.newContext({
      viewport: { width, height: 800 },
      colorScheme: dark ? 'dark' : 'light',
      reducedMotion: 'reduce',
    });
    context.setDefaultTimeout(SHOW_MS);
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
    await page.getByLabel('API token').fill(this.token);
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Cluster', level: 1 }).waitFor();
    return page;
  }

  /** Goes to a page of the interface and waits for its title. */
  async go(page: Page, path: string): Promise<void> {
    await page.goto(this.origin + path);
    await page.locator('h1').first().waitFor();
  }

  /** A fault of the simulated cluster, such as `kill-host h2`. */
  fault(line: string): void {
    this.#cluster.stdin?.write(`${line}\n`);
  }

  /** Freezes the server, or lets it continue: its connections stay open and silent. */
  freeze(isFrozen: boolean): void {
    this.#cluster.kill(isFrozen ? 'SIGSTOP' : 'SIGCONT');
  }

  /** Ends browser and cluster; fails if a page had a fault. */
  async close(): Promise<void> {
    this.freeze(false);
    await this.#browser.close();
    const ended = once(this.#cluster, 'exit');
    this.#cluster.kill('SIGTERM');
    await ended;
    assert.deepEqual(this.faults, []);
  }
}

async function run(argv: readonly string[]): Promise<void> {
  const child = spawn(process.execPath, argv, { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'] });
  const [code] = (await once(child, 'exit')) as [number | null];
  assert.equal(code, 0, argv.join(' '));
}

/** The addresses that the mock prints once it can be used. */
async function addressesOf(cluster: ChildProcess): Promise<{ ui: URL; token: string }> {
  assert.ok(cluster.stdout !== null);
  const lines = createInterface({ input: cluster.stdout, signal: AbortSignal.timeout(START_MS) });
  let ui: URL | null = null;
  for await (const line of lines) {
    const [name, value = ''] = line.split(/:\s+/, 2);
    if (name === 'UI') ui = new URL(value);
    if (name === 'Token' && ui !== null) return { ui, token: value };
  }
  throw new Error('The simulated cluster did not start.');
}
