/**
 * Broken, truncated and memory-exhausting files: refused within bounds of time and memory, naming the file and the
 * remedy.
 */
import { strict as assert } from 'node:assert';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { auditPaths, type Files, reportOfFiles, withFiles } from './testing/run-audit.ts';
import { csvFiles, rvtoolsTabs, type Tabs } from './testing/seeded/rvtools.ts';
import { makeSeed } from './testing/seeded/seed.ts';
import { workbook, zip } from './testing/seeded/workbook.ts';

const SECONDS_MAX = 5;
const MEMORY_MIB_MAX = 256;
const seed = makeSeed({ seed: 1, hosts: 3, vmsPerHost: 3, guestClusters: 0 });

/** Returns the problems with the files; fails if they could be read. */
async function problemsOf(files: Files): Promise<readonly { file: string; problem: string; fix: string }[]> {
  return withFiles(files, async (directory) => {
    const outcome = await auditPaths(directory, ['.']);
    assert.equal(outcome.kind, 'unreadable');
    return outcome.kind === 'unreadable' ? outcome.problems : [];
  });
}

const MAIN = 'http://schemas.openxmlformats.org/spreadsheetml/2006/main';
const bookParts = (sheet: string, tab = 'vInfo') => ({
  'xl/workbook.xml': `<workbook xmlns="${MAIN}" xmlns:r="r"><sheets><sheet name="${tab}" sheetId="1" r:id="rId1"/></sheets></workbook>`,
  'xl/_rels/workbook.xml.rels':
    '<Relationships><Relationship Id="rId1" Target="worksheets/sheet1.xml"/></Relationships>',
  'xl/worksheets/sheet1.xml': sheet,
});
const bomb = `<worksheet><sheetData>${'<row r="1"></row>'.repeat(3_000_000)}</sheetData></worksheet>`;
const aliases = [
  'a: &a [x,x,x,x,x,x,x,x,x]',
  ...'bcdefghi'.split('').map((name, at) => `${name}: &${name} [${Array(9).fill(`*${'abcdefgh'[at]}`).join(',')}]`),
].join('\n');

const level = (number: number): string =>
  `<Obj RefId="${number}"><LST>${`<Ref RefId="${number - 1}"/>`.repeat(10)}</LST></Obj>`;
const clixmlBomb = `<Objs><Obj RefId="0"><LST><S>x</S></LST></Obj>${Array.from({ length: 30 }, (_, number) => level(number + 1)).join('')}</Objs>`;

const CASES: readonly (readonly [string, Files, RegExp])[] = [
  ['a workbook that grows a thousandfold', { 'bomb.xlsx': zip(bookParts(bomb), 9) }, /would grow to/],
  ['a workbook that is cut off', { 'cut.xlsx': workbook(rvtoolsTabs(seed)).slice(0, 3000) }, /not a complete workbook/],
  ['a zip that is no workbook', { 'no.xlsx': zip({ 'a.txt': 'a' }) }, /not a workbook/],
  [
    'a sheet with a DOCTYPE',
    { 'doctype.xlsx': zip(bookParts('<!DOCTYPE x [<!ENTITY a "b">]><worksheet/>')) },
    /DOCTYPE/,
  ],
  ['a bomb of aliases', { 'aliases.yaml': aliases }, /not YAML that can be used/],
  [
    'XML with a DOCTYPE',
    { 'vm.xml': '<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><domain><name>&a;</name></domain>' },
    /DOCTYPE/,
  ],
  ['XML that is cut off', { 'vm.xml': '<domain><name>a</name>' }, /not well-formed/],
  ['XML of a hundred thousand levels', { 'deep.xml': '<a>'.repeat(100_000) }, /nested deeper/],
  [
    'JSON that is cut off',
    { 'vms.json': '{"virtualMachines": [{"self": {"type": "VirtualMachine"' },
    /not complete JSON/,
  ],
  ['JSON of a hundred thousand levels', { 'deep.json': '['.repeat(100_000) }, /nested deeper/],
  ['whole JSON of a hundred thousand levels', { 'deep.json': `${'['.repeat(1e5)}${']'.repeat(1e5)}` }, /nested deeper/],
  ['CLIXML whose references grow tenfold thirty times', { 'bomb.clixml': clixmlBomb }, /references stand for more/],
  ['YAML of ten thousand levels', { 'deep.yaml': `${'['.repeat(1e4)}${']'.repeat(1e4)}` }, /not YAML that can be used/],
  [
    'two exports of RVTools in one directory',
    { 'one_tabvInfo.csv': 'VM,Host\na,b\n', 'two_tabvInfo.csv': 'VM,Host\nc,d\n' },
    /a second tab vInfo/,
  ],
  [
    'SCVMM cut off by ConvertTo-Json -Depth',
    { 'vms.json': JSON.stringify([{ VMCPath: 'C:\\a', VirtualHardDisks: 'disk1 disk2', HostName: 'a', Name: 'b' }]) },
    /cut it off at its depth/,
  ],
  [
    'Get-VM cut off by ConvertTo-Json -Depth',
    {
      'vm.json': JSON.stringify([
        {
          VMId: '1',
          Name: 'a',
          State: 2,
          ProcessorCount: 1,
          HardDrives: ['Microsoft.HyperV.PowerShell.HardDiskDrive'],
        },
      ]),
    },
    /cut it off at its depth/,
  ],
  [
    'UTF-16 that ends in half a character',
    {
      'RVTools_tabvInfo.csv': Buffer.concat([
        Buffer.from([0xff, 0xfe]),
        Buffer.from('VM,Host\n', 'utf16le'),
        Buffer.from([1]),
      ]),
    },
    /UTF-16/,
  ],
  ['a file that is no inventory', { 'notes.md': 'hello' }, /no file that is an inventory/],
];

for (const [name, files, expected] of CASES)
  it(`${name}: unreadable, with the file and what to do`, async () => {
    const [problem] = await problemsOf(files);
    assert.match(problem?.problem ?? '', expected);
    assert.ok((problem?.file ?? '') !== '');
    assert.match(problem?.fix ?? '', /\w+ .*\./);
  });

describe('as a process', () => {
  const heavy = CASES.filter(([name]) => /thousandfold|aliases|levels|tenfold/.test(name));
  for (const [name, files] of heavy)
    it(`${name}: exit 2 within ${SECONDS_MAX} s and ${MEMORY_MIB_MAX} MiB`, async () => {
      await withFiles(files, async (directory) => {
        const main = join(import.meta.dirname, '../cli/main.ts');
        const script = `process.on('exit', () => process.stderr.write('peak ' + process.resourceUsage().maxRSS)); process.argv.splice(1, 0, ${JSON.stringify(main)}); await import(${JSON.stringify(main)});`;
        const run = spawnSync(process.execPath, ['--input-type=module', '-e', script, '--', 'audit', '.'], {
          cwd: directory,
          timeout: SECONDS_MAX * 1000,
          encoding: 'utf8',
        });
        assert.equal(run.status, 2, `${run.error?.message ?? ''} ${run.stderr}`);
        const peakMib = Number(/peak (\d+)/.exec(run.stderr)?.[1]) / 1024;
        assert.ok(peakMib > 0 && peakMib < MEMORY_MIB_MAX, `${peakMib} MiB`);
        assert.match(run.stderr, /cannot be read: .*\./);
      });
    });
});

describe('odd and whole', () => {
  const verdicts = async (files: Files) => (await reportOfFiles(files)).hosts.map(({ verdict }) => verdict);
  const all = ['can', 'can', 'can'];

  it('UTF-16 with a byte order mark is read', async () => {
    const files = csvFiles(rvtoolsTabs(seed));
    const wide = Object.entries(files).map(
      ([name, text]) =>
        [name, Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(String(text), 'utf16le')])] as const,
    );
    assert.deepEqual(await verdicts(Object.fromEntries(wide)), all);
  });

  it('semicolons, and numbers with separators of thousands, are read', async () => {
    assert.deepEqual(await verdicts(csvFiles(rvtoolsTabs(seed), ';')), all);
    const tabs = rvtoolsTabs(seed);
    const grouped: Tabs = {
      ...tabs,
      vHost: (tabs['vHost'] ?? []).map((row) => row.map((cell) => (cell === '262144' ? '262,144' : cell))),
    };
    assert.deepEqual(await verdicts(csvFiles(grouped)), all);
  });

  it('columns with the tab before their name, and MB for MiB, are read', async () => {
    const names: Readonly<Record<string, string>> = {
      VM: 'VMName',
      'Size MiB': 'Size MB',
      'Capacity MiB': 'Capacity MB',
    };
    const renamed = Object.entries(rvtoolsTabs(seed)).map(
      ([tab, [head = [], ...rows]]) => [tab, [head.map((title) => `${tab}${names[title] ?? title}`), ...rows]] as const,
    );
    assert.deepEqual(await verdicts(csvFiles(Object.fromEntries(renamed))), all);
  });

  for (const style of ['inline', 'shared'] as const)
    it(`a workbook with ${style} texts gives what CSV gives`, async () => {
      const estate = makeSeed({ seed: 7, hosts: 4, vmsPerHost: 5, guestClusters: 4, ties: 1 });
      const plain = (text: string): string => text.replaceAll(/RVTools_tab\w+\.csv|a\.xlsx/g, 'FILE');
      const [book, csv] = [
        await reportOfFiles({ 'a.xlsx': workbook(rvtoolsTabs(estate), style) }),
        await reportOfFiles(csvFiles(rvtoolsTabs(estate))),
      ];
      assert.equal(
        plain(JSON.stringify([book.hosts, book.clusters, book.ties])),
        plain(JSON.stringify([csv.hosts, csv.clusters, csv.ties])),
      );
    });

  it('a prefix of the namespace, a dimension of a million rows and 990 blank rows do not matter', async () => {
    const rows = `<x:row r="1"><x:c r="A1" t="inlineStr"><x:is><x:t>VM</x:t></x:is></x:c></x:row>${Array.from({ length: 990 }, (_, row) => `<x:row r="${row + 2}"><x:c r="A${row + 2}"/></x:row>`).join('')}<x:row r="1048576"><x:c r="A1048576" t="inlineStr"><x:is><x:t>a&amp;b</x:t></x:is></x:c></x:row>`;
    const sheet = `<x:worksheet xmlns:x="${MAIN}"><x:dimension ref="A1:CL1048576"/><x:sheetData>${rows}</x:sheetData></x:worksheet>`;
    const report = await reportOfFiles({ 'a.xlsx': zip(bookParts(sheet)) });
    assert.equal(report.summary.vms, 1);
    assert.match(JSON.stringify(report.ties) + JSON.stringify(report.coverage), /vHost/);
  });
});
