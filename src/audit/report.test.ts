/** The forms of a report, redaction, prices, and exit codes. */
import { strict as assert } from 'node:assert';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { runCli } from '../cli/run-cli.ts';
import { TIES } from './estate/estate.ts';
import { pricesOf } from './report/costs.ts';
import { reportCsv } from './report/csv.ts';
import { reportHtml } from './report/html.ts';
import { reportText } from './report/text.ts';
import { TIE_WORDS } from './report/words.ts';
import { INVENTORIES, reportOf, reportOfFiles, withFiles } from './testing/run-audit.ts';
import { WRITERS } from './testing/seeded/platforms.ts';
import { makeSeed } from './testing/seeded/seed.ts';

const estate = makeSeed({ seed: 21, hosts: 5, vmsPerHost: 5, guestClusters: 3, ties: 2 });
const files = WRITERS['proxmox']?.(estate) ?? {};

/** Runs the command as a user does. */
async function gp(cwd: string, ...args: readonly string[]): Promise<{ code: number; out: string; err: string }> {
  const told = { out: '', err: '', code: 0 };
  const code = await runCli(
    args,
    {
      out: (text) => {
        told.out += String(text);
      },
      err: (text) => {
        told.err += text;
      },
      setExitCode: (exit) => {
        told.code = exit;
      },
      stdin: process.stdin,
      outIsTty: false,
      errIsTty: false,
      env: {},
      cwd,
      signal: new AbortController().signal,
      killSignal: new AbortController().signal,
    },
    'test',
  );
  return { ...told, code: code === 0 ? told.code : code };
}

describe('text', () => {
  it('tells coverage, hosts, clusters, ties, loss of a host and cures in this order', async () => {
    const text = reportText(await reportOfFiles(files));
    const titles = ['COVERAGE', 'HOSTS THAT CANNOT BE DRAINED', 'GUEST CLUSTERS', 'TIES', 'LOSS OF A HOST', 'CURES'];
    assert.deepEqual(
      titles.toSorted((a, b) => text.indexOf(a) - text.indexOf(b)),
      titles,
    );
    for (const title of titles) assert.ok(text.includes(title), title);
    for (const line of text.split('\n')) assert.doesNotMatch(line, /undefined|\[object|NaN|%/);
  });

  it('a name steers no terminal and makes no line of its own', async () => {
    const evil = JSON.stringify({
      servers: [
        {
          id: '1',
          name: 'a\u001b[2J\nHOSTS',
          status: 'ACTIVE',
          flavor: { ram: 1, vcpus: 1, extra_specs: { 'pci_passthrough:alias': 'x\u202e' } },
        },
      ],
    });
    const text = reportText(await reportOfFiles({ 'servers.json': evil }));
    assert.match(text, /a\\u\{1b\}\[2J\\u\{a\}HOSTS uses a device of its host: x\\u\{202e\}/);
  });

  it('has words for every kind of tie', () => {
    assert.deepEqual(Object.keys(TIE_WORDS).toSorted(), [...TIES].toSorted());
  });
});

describe('html', () => {
  it('is one file from which no request leaves, and shows nothing as markup', async () => {
    const evil = Object.fromEntries(
      Object.entries(files).map(([name, text]) => [
        name,
        String(text).replaceAll('name: sqla0x-1', 'name: <img/src=x>'),
      ]),
    );
    const html = reportHtml(await reportOfFiles(evil));
    assert.match(html, /default-src 'none'/);
    assert.doesNotMatch(html, /<img|src=["']|href="(?!#|data:,")|url\(|@import|https?:/);
    assert.match(html, /&lt;img\/src=x&gt;/);
    assert.match(html, /<svg/);
    assert.match(html, /type="search"/);
  });
});

/** Returns the contrast of two colours `#rgb` or `#rrggbb`, as WCAG 2 defines it. */
function contrast(one: string, other: string): number {
  const light = (colour: string): number => {
    const digits = colour.length === 4 ? colour.replace(/[0-9a-f]/g, '$&$&') : colour;
    const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
      const part = Number.parseInt(digits.slice(at, at + 2), 16) / 255;
      return part <= 0.040_45 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const [low = 0, high = 0] = [light(one), light(other)].toSorted((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

describe('html on a screen and on paper', () => {
  it('has words in colours that can be read in the light and the dark scheme, and printed', async () => {
    const html = reportHtml(await reportOfFiles(files));
    const schemes = [...html.matchAll(/:root \{([^}]*)\}/g)].map(([, text = '']) =>
      Object.fromEntries([...text.matchAll(/--(\w+): (#[0-9a-f]{3,6});/g)].map(([, name, colour]) => [name, colour])),
    );
    assert.equal(schemes.length, 3);
    for (const scheme of schemes)
      for (const name of ['cannot', 'doubt', 'can', 'tie', 'soft'])
        for (const ground of ['page', 'tile'])
          assert.ok(contrast(scheme[name] ?? '', scheme[ground] ?? '') >= 4.5, `${name} on ${ground}`);
  });

  it('names each cell by its column where the columns stand below each other, and jumps only within the page', async () => {
    const html = reportHtml(await reportOfFiles(files));
    assert.match(html, /<td data-head="host">node000<\/td>/);
    const ids = new Set([...html.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id));
    for (const [, id] of html.matchAll(/href="#([^"]+)"/g)) assert.ok(ids.has(id), id);
  });
});

describe('csv', () => {
  it('has a line per host and reason, names what else it frees, and computes nothing', async () => {
    const report = await reportOf(INVENTORIES, ['hyperv']);
    const [head = '', ...lines] = reportCsv(report).trim().split('\r\n');
    assert.equal(
      head,
      'ticket_key,host,vm,owner,reason,evidence,cure,downtime_min,approvals,gib,cost,confidence,also_frees',
    );
    assert.equal(
      lines.length,
      report.hosts.reduce((sum, { reasons }) => sum + reasons.length, 0),
    );
    const [ticket] = report.tickets;
    assert.ok(ticket);
    const formula = reportCsv({ ...report, tickets: [{ ...ticket, vm: '=cmd()', alsoFrees: ['h1', 'h2'] }] });
    assert.match(formula, /,'=cmd\(\),/);
    assert.match(formula, /,certain,h1 h2\r\n$/);
  });
});

describe('cures', () => {
  it('are cheapest first, count what they free, and have a price only with prices', async () => {
    const free = await reportOfFiles(files);
    assert.deepEqual(
      free.cures.map(({ text }) => text),
      ['eject 1 CD', 'replace the host devices of 1 VM'],
    );
    assert.deepEqual(
      free.cures.map(({ frees, freesSoFar }) => [frees, freesSoFar]),
      [
        [['node001'], 1],
        [['node000'], 2],
      ],
    );
    assert.deepEqual(
      free.cures.map(({ cost }) => cost),
      ['', ''],
    );
    const prices = pricesOf('currency: EUR\napproval: 80\ndowntime_minute: 2.5\n');
    assert.ok(typeof prices !== 'string');
    const priced = await reportOfFiles(files, { prices });
    assert.deepEqual(
      priced.cures.map(({ cost }) => cost),
      ['0 EUR', '117.5 EUR'],
    );
  });

  it('prices that cannot be used are told', () => {
    for (const text of ['a: [', 'approval: -1', 'approval: x', 'approvals: 1', '[]', 'currency: 5', '*a'])
      assert.equal(typeof pricesOf(text), 'string', text);
  });
});

describe('redacted', () => {
  for (const [platform, write] of Object.entries(WRITERS))
    it(`${platform}: no name of the estate is in any form, and equal names stay equal`, async () => {
      const seed = makeSeed({ seed: 22, hosts: 4, vmsPerHost: 4, guestClusters: 3, ties: 2 });
      const [plain, report] = [await reportOfFiles(write(seed)), await reportOfFiles(write(seed), { redact: true })];
      const text = [JSON.stringify(report), reportHtml(report), reportText(report), reportCsv(report)].join('\n');
      for (const name of [...seed.hosts, ...seed.vms.map(({ name: vm }) => vm), 'san1', 'Prod', 'Volume1', 'nfs1'])
        assert.ok(!text.includes(name), `${name} is in it`);
      assert.deepEqual(report.summary, plain.summary);
      const vms = new Set(report.hosts.flatMap(({ vms: on }) => on));
      for (const { vms: members } of report.clusters) for (const { vm } of members) assert.ok(vms.has(vm), vm);
    });
});

describe('the command', () => {
  it('exits with 0, 1, 2 and 3 for nothing, findings, unreadable and too little', async () => {
    const whole = WRITERS['proxmox']?.(makeSeed({ seed: 1, hosts: 3, vmsPerHost: 2, guestClusters: 0 })) ?? {};
    await withFiles(whole, async (directory) => {
      assert.equal((await gp(directory, 'audit', '.')).code, 0);
      assert.equal((await gp(directory, 'audit', 'nowhere')).code, 2);
      assert.equal((await gp(directory, 'audit', '--from', 'ovirt', '.')).code, 2);
    });
    await withFiles(files, async (directory) => {
      assert.equal((await gp(directory, 'audit', '.')).code, 1);
      assert.equal((await gp(directory, 'audit', '--fail-on', 'undrainable', '.')).code, 1);
      assert.equal((await gp(directory, 'audit', '--fail-on', 'cluster', '.')).code, 1);
    });
    const { code, out } = await gp(INVENTORIES, 'audit', 'kubevirt/vmi-migratable.yaml');
    assert.equal(code, 3);
    assert.match(out, /the list of Nodes is not among the files/);
  });

  it('explains one finding, writes to a file, and says which file it cannot read', async () => {
    await withFiles({ ...files, 'costs.txt': 'approval: x' }, async (directory) => {
      const explained = await gp(directory, 'audit', 'pve', 'resources.json', 'networks', '--explain', 'h1');
      assert.match(explained.out, /^H1 {2}node000 .*cannot be drained[\s\S]*see .*hostpci0/);
      assert.equal((await gp(directory, 'audit', '.', '--explain', 'H99')).code, 2);
      await gp(directory, 'audit', '.', '--format', 'html', '--out', 'report.html');
      assert.ok(existsSync(join(directory, 'report.html')));
      assert.match(readFileSync(join(directory, 'report.html'), 'utf8'), /^<!doctype html>/);
      const lost = await gp(directory, 'audit', '.', '--out', 'nowhere/report.txt');
      assert.equal(lost.code, 2);
      assert.match(lost.err, /The file of --out cannot be written \(ENOENT\).*Name a file in a directory that exists/);
      const wrong = await gp(directory, 'audit', '.', '--costs', 'costs.txt');
      assert.equal(wrong.code, 2);
      assert.match(wrong.err, /approval is not a number/);
      assert.equal((await gp(directory, 'audit', '.', '--costs', 'none.yaml')).code, 2);
    });
    await withFiles({ 'vms.json': '{' }, async (directory) => {
      const { err, code } = await gp(directory, 'audit', '.');
      assert.equal(code, 2);
      assert.match(err, /vms\.json cannot be read: it is not complete JSON.*\n.*No report was made/);
    });
  });
});
