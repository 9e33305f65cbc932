import assert from 'node:assert/strict';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { BACKUP_FAILURE_CHARS_MAX } from '../../core/model/backup.ts';
import { ManualClock } from '../../core/ports/testing/manual-clock.ts';
import { type PagedRecords, pagesOf, readBackup } from '../../etcd/backup-file.ts';
import { EtcdCompacted, EtcdUnavailable } from '../../etcd/errors.ts';
import { until } from '../../os/testing/until.ts';
import { BackupKeeper, type BackupKeeperOptions } from './backup-keeper.ts';
import { DirectoryPlace } from './backup-place.ts';

const HOUR_MS = 3_600_000;
const AGAIN_MS = 300_000;
const silent = { info: () => undefined, warn: () => undefined };
const entry = (key: string, value = '{}') => ({ key, value, createRevision: 1, modRevision: 1, lease: '0' });
const listing = {
  list: async (prefix: string) => ({
    revision: 7,
    entries: [entry('/gp/election/1'), entry('/gp/vm/1'), entry('/gp/vm/2')].filter(({ key }) =>
      key.startsWith(prefix),
    ),
  }),
};

async function setUp(t: TestContext, more: Partial<BackupKeeperOptions> = {}, { hasCopy = false } = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'gp-keeper-test-'));
  const clock = new ManualClock();
  const bytesMax = more.bytesMax ?? 1_000_000;
  const local = new DirectoryPlace({ kind: 'local', where: join(dir, 'backups'), control: 'c1', bytesMax });
  const copy = new DirectoryPlace({ kind: 'directory', where: join(dir, 'mounted/gp'), control: 'c1', bytesMax });
  const keeper = new BackupKeeper({
    ...{ control: 'c1', clock, log: silent, etcd: pagesOf(listing), local, copies: hasCopy ? [copy] : [] },
    ...{ everyMs: HOUR_MS, keep: 3, bytesMax },
    ...more,
  });
  t.after(async () => {
    keeper.stop();
    await rm(dir, { recursive: true });
  });
  keeper.start();
  const files = (): Promise<readonly string[]> => readdir(local.where).catch(() => []);
  /** Time passes in looks of the keeper, whose work is of real time. */
  const pass = async (ms: number, what: string, isSo: () => boolean | Promise<boolean>): Promise<void> => {
    await clock.advance(ms);
    await until(what, isSo, { deadlineMs: 10_000 });
  };
  const count = (number: number) => async () => keeper.places()[0]?.backups.length === number;
  return { keeper, clock, dir, local, copy, files, pass, count };
}

test('a backup is made at once and every hour, whole, for its owner alone; the oldest goes', async (t) => {
  const { local, files, pass, count, keeper } = await setUp(t);
  await until('the first backup', count(1));
  const [first = ''] = await files();
  const text = await readFile(join(local.where, first), 'utf8');
  assert.deepEqual(
    readBackup(text, first).records.map(({ key }) => key),
    ['/gp/vm/1', '/gp/vm/2'],
  );
  assert.equal((await stat(join(local.where, first))).mode & 0o777, 0o600);
  await pass(HOUR_MS, 'the second', count(2));
  await pass(HOUR_MS, 'the third', count(3));
  await pass(
    HOUR_MS,
    'the first is gone',
    async () => (await files()).length === 3 && !(await files()).includes(first),
  );
  assert.equal(keeper.places()[0]?.failure, null);
});

test('what etcd refuses is told of, and tried again; what was begun leaves nothing', async (t) => {
  let refuses = true;
  const etcd: PagedRecords = {
    async *pages(prefix, request) {
      if (!refuses) yield* pagesOf(listing).pages(prefix, request);
      else if (prefix === '/gp/') {
        yield { revision: 7, total: 3, entries: [entry('/gp/vm/1')] };
        throw new EtcdUnavailable('etcd went away');
      }
    },
  };
  const { keeper, files, pass, count } = await setUp(t, { etcd });
  await until('the failure', () => keeper.places()[0]?.failure !== null);
  assert.match(keeper.places()[0]?.failure?.message ?? '', /etcd went away/);
  assert.deepEqual(await files(), []);
  refuses = false;
  await pass(AGAIN_MS, 'the next attempt', count(1));
  assert.equal(keeper.places()[0]?.failure, null);
});

test('history that is compacted while it is read costs no backup', async (t) => {
  let compactions = 2;
  const etcd: PagedRecords = {
    async *pages(prefix, request) {
      if (prefix === '/gp/' && compactions-- > 0) {
        yield { revision: 6, total: 3, entries: [entry('/gp/vm/1')] };
        throw new EtcdCompacted(7);
      }
      yield* pagesOf(listing).pages(prefix, request);
    },
  };
  const { keeper, count } = await setUp(t, { etcd });
  await until('a backup', count(1));
  assert.equal(keeper.places()[0]?.backups[0]?.revision, 7);
});

test('a copy goes to a directory that is there; one that is not is never made, and told of', async (t) => {
  const { keeper, copy, dir, pass } = await setUp(t, {}, { hasCopy: true });
  await until('the failure', () => keeper.places()[1]?.failure !== null);
  assert.match(keeper.places()[1]?.failure?.message ?? '', /ENOENT/);
  assert.equal(keeper.places()[1]?.lastAt, null);
  assert.deepEqual(await readdir(dir), ['backups']);
  await mkdir(copy.where, { recursive: true });
  await writeFile(join(copy.where, 'notes'), 'somebody else’s');
  const cutOff = (control: string): string => `${control}-20261130T010000Z-r7.gpbackup.0123456789ab.tmp`;
  for (const control of ['c1', 'c2']) await writeFile(join(copy.where, cutOff(control)), 'half');
  await pass(AGAIN_MS, 'the copy', () => keeper.places()[1]?.lastAt !== null);
  const [{ file = '' } = {}] = keeper.places()[0]?.backups ?? [];
  assert.deepEqual((await readdir(copy.where)).toSorted(), [file, 'notes', cutOff('c2')].toSorted());
  assert.equal((await stat(join(copy.where, file))).mode & 0o777, 0o600);
});

test('a restarted server goes on from the files that are there, and takes away what was cut off', async (t) => {
  const { keeper, local, clock, count, files } = await setUp(t);
  await until('the first backup', count(1));
  keeper.stop();
  await writeFile(join(local.where, 'c1-x.gpbackup.0123.tmp'), 'half');
  await chmod(local.where, 0o755);
  const options = { control: 'c1', clock, log: silent, etcd: pagesOf(listing), local, copies: [] };
  const next = new BackupKeeper({ ...options, everyMs: HOUR_MS, keep: 3, bytesMax: 1_000_000 });
  t.after(() => next.stop());
  next.start();
  await until('it has looked', () => next.places()[0]?.lastAt !== null);
  assert.equal((await files()).length, 1, 'the backup is fresh, and nothing else is there');
  assert.equal((await stat(local.where)).mode & 0o777, 0o700);
});

test('a directory whose file system hangs keeps no other place from its backups, and is asked once', async (t) => {
  const answers: ((found: readonly []) => void)[] = [];
  const list = (): Promise<readonly []> => new Promise((resolve) => answers.push(resolve));
  const hanging = { kind: 'directory', where: '/mnt/dead', list, copy: async () => undefined } as const;
  const { keeper, pass, count, clock } = await setUp(t, { copies: [{ ...hanging, delete: async () => undefined }] });
  await until('it is asked', () => answers.length === 1);
  await pass(600_000, 'the failure', () => keeper.places()[1]?.failure !== null);
  assert.match(keeper.places()[1]?.failure?.message ?? '', /^\/mnt\/dead did not take it within 600 s/);
  await clock.advance(20_000);
  await pass(HOUR_MS, 'the next backup', count(2));
  await clock.advance(AGAIN_MS);
  assert.equal(answers.length, 1);
  answers[0]?.([]);
  await until('it is asked again', async () => {
    await clock.advance(20_000);
    return answers.length > 1;
  });
});

test('backups of a clock that was ahead neither replace others nor bring a new one at every look', async (t) => {
  const { keeper, local, clock, pass, count, files } = await setUp(t);
  await until('the first backup', count(1));
  keeper.stop();
  const [first = ''] = await files();
  const ahead = ['01', '02', '03'].map((hour) => `c1-20990101T${hour}0000Z-r7.gpbackup`);
  for (const file of ahead) await writeFile(join(local.where, file), 'x');
  const options = { control: 'c1', clock, log: silent, etcd: pagesOf(listing), local, copies: [] };
  const next = new BackupKeeper({ ...options, everyMs: HOUR_MS, keep: 3, bytesMax: 1_000_000 });
  t.after(() => next.stop());
  next.start();
  await until('it has looked', () => next.places()[0]?.backups.length === 4);
  assert.equal(next.places()[0]?.backups.at(-1)?.file, first);
  await pass(HOUR_MS, 'the next backup', async () => (await files()).length === 3);
  assert.deepEqual(
    (await files()).filter((file) => ahead.includes(file)),
    ahead.slice(2),
  );
  await clock.advance(60_000);
  assert((await files()).includes(first));
});

test('a failure is told of at a length that other control nodes take', async (t) => {
  const etcd: PagedRecords = {
    async *pages() {
      yield { revision: 7, total: 1, entries: [] };
      throw new Error('x'.repeat(50_000));
    },
  };
  const { keeper } = await setUp(t, { etcd });
  await until('the failure', () => keeper.places()[0]?.failure !== null);
  assert.equal(keeper.places()[0]?.failure?.message.length, BACKUP_FAILURE_CHARS_MAX);
});

test('a backup leaves room in its file system, and is never larger than one that can be read', async (t) => {
  const { dir } = await setUp(t);
  const place = { kind: 'local', where: dir, control: 'c1', bytesMax: 1024 ** 3 } as const;
  const { bavail, bsize } = await statfs(dir);
  // Nothing of it is written: each piece is looked at before.
  const of = async function* (bytes: number) {
    yield Buffer.alloc(bytes);
  };
  const full = new DirectoryPlace({ ...place, reserveBytes: bavail * bsize - 100 * 1024 ** 2 });
  await assert.rejects(full.write('a', of(500 * 1024 ** 2)), { code: 'no-capacity', message: /MiB of room left/ });
  const roomy = new DirectoryPlace({ ...place, reserveBytes: -(1024 ** 4) });
  await assert.rejects(roomy.write('a', of(2 ** 29)), { code: 'too-large', message: /larger than 536870911 bytes/ });
  assert.deepEqual(
    (await readdir(dir)).filter((entry) => entry !== 'backups'),
    [],
  );
});

test('a backup beyond the bound is not kept, and one reader at a time is served', async (t) => {
  const { keeper, files } = await setUp(t, { bytesMax: 40 });
  await until('the failure', () => keeper.places()[0]?.failure !== null);
  assert.match(keeper.places()[0]?.failure?.message ?? '', /larger than 40 bytes/);
  assert.deepEqual(await files(), []);
  const { signal } = new AbortController();
  const first = keeper.read(signal);
  await first.next();
  await assert.rejects(keeper.read(signal).next(), { code: 'unavailable', message: /hands out another backup/ });
  await first.return();
  assert.equal((await keeper.read(signal).next()).done, false);
});

test('120,000 records hold the event loop up for less than 50 ms at a time', async (t) => {
  const value = JSON.stringify({ spec: 'x'.repeat(1_500) });
  const etcd: PagedRecords = {
    async *pages(prefix, { pageEntries = 0 }) {
      const total = prefix === '/gp/' ? 120_000 : 0;
      for (let from = 0; from === 0 || from < total; from += pageEntries) {
        await new Promise((resolve) => setImmediate(resolve));
        const entries = Array.from({ length: Math.min(pageEntries, total - from) }, (_, i) =>
          entry(`/gp/vm/${from + i}`, value),
        );
        yield { revision: 7, total, entries };
      }
    },
  };
  const turns = watchTurns();
  const { count } = await setUp(t, { etcd, bytesMax: 1024 ** 3 });
  await until('the backup', count(1));
  const longestMs = turns.end();
  assert(longestMs > 0 && longestMs < 50, `${longestMs} ms`);
});

/** Measures the longest turn in processor time: whatever else the machine does. */
function watchTurns(): { readonly end: () => number } {
  const spentUs = (): number => {
    const { user, system } = process.threadCpuUsage();
    return user + system;
  };
  let longestUs = 0;
  let last = spentUs();
  let next = setImmediate(function look() {
    const now = spentUs();
    longestUs = Math.max(longestUs, now - last);
    last = now;
    next = setImmediate(look);
  });
  return {
    end: () => {
      clearImmediate(next);
      return longestUs / 1_000;
    },
  };
}
