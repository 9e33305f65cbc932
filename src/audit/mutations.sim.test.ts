/**
 * Removing information from an export never makes a host drainable: "cannot" and "not proved" stay, or change into each
 * other.
 */
import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import { auditPaths, type Files, withFiles } from './testing/run-audit.ts';
import { WRITERS } from './testing/seeded/platforms.ts';
import { csvFiles, rvtoolsTabs, type Tabs } from './testing/seeded/rvtools.ts';
import { makeSeed } from './testing/seeded/seed.ts';

type Verdicts = ReadonlyMap<string, string>;

/** Returns the verdicts by host; empty if the files could not be read, which says nothing about any host. */
function verdictsOf(files: Files): Promise<Verdicts> {
  return withFiles(files, async (directory) => {
    const outcome = await auditPaths(directory, ['.']);
    return new Map(outcome.kind === 'report' ? outcome.report.hosts.map(({ host, verdict }) => [host, verdict]) : []);
  });
}

function assertNoBetter(before: Verdicts, after: Verdicts, what: string): void {
  // A host without a name is shown by its ID.
  for (const [host, verdict] of after)
    if (verdict === 'can' && before.has(host))
      assert.equal(before.get(host), 'can', `${host} became drainable without ${what}`);
  const can = (verdicts: Verdicts): number => [...verdicts.values()].filter((verdict) => verdict === 'can').length;
  assert.ok(can(after) <= can(before), `more hosts became drainable without ${what}`);
}

const estate = makeSeed({ seed: 11, hosts: 4, vmsPerHost: 4, guestClusters: 2, ties: 2 });
/** Three VMs apart on three hosts: no host can be drained, because of a rule that is written in one place. */
const tight = makeSeed({ seed: 12, hosts: 3, vmsPerHost: 2, guestClusters: 1, clusters: 'signs' });

function without(tabs: Tabs, tab: string, column: number): Tabs {
  const rows = (tabs[tab] ?? []).map((row) => row.filter((_cell, index) => index !== column));
  return { ...tabs, [tab]: rows };
}

describe('RVTools', () => {
  for (const [name, seed] of [
    ['ties', estate],
    ['signs', tight],
  ] as const)
    it(`${name}: without each tab, and without each column`, async () => {
      const tabs = rvtoolsTabs(seed);
      const before = await verdictsOf(csvFiles(tabs));
      for (const [tab, rows] of Object.entries(tabs)) {
        const rest = Object.fromEntries(Object.entries(tabs).filter(([other]) => other !== tab));
        assertNoBetter(before, await verdictsOf(csvFiles(rest)), `tab ${tab}`);
        for (const [column, title] of (rows[0] ?? []).entries())
          assertNoBetter(before, await verdictsOf(csvFiles(without(tabs, tab, column))), `${tab}.${title}`);
      }
    });
});

/** Returns the name of every field in a value. */
function fieldNames(value: unknown, names = new Set<string>()): ReadonlySet<string> {
  if (Array.isArray(value)) for (const one of value) fieldNames(one, names);
  else if (typeof value === 'object' && value !== null)
    for (const [name, inner] of Object.entries(value)) {
      names.add(name);
      fieldNames(inner, names);
    }
  return names;
}

function withoutField(value: unknown, name: string): unknown {
  if (Array.isArray(value)) return value.map((one) => withoutField(one, name));
  if (typeof value !== 'object' || value === null) return value;
  const rest = Object.entries(value).filter(([other]) => other !== name);
  return Object.fromEntries(rest.map(([other, inner]) => [other, withoutField(inner, name)]));
}

/** Fields whose absence means "none" on their platform: devices that are not passed through are not written. */
const ABSENT_MEANS_NONE: Readonly<Record<string, ReadonlySet<string>>> = {
  openstack: new Set(['pci_passthrough:alias', 'resources:VGPU']),
  ovirt: new Set(['host_device']),
};

for (const [platform, write] of Object.entries(WRITERS)) {
  if (platform === 'rvtools') continue;
  describe(platform, () => {
    it('without each file', async () => {
      const files = write(estate);
      const before = await verdictsOf(files);
      assert.ok([...before.values()].includes('cannot'));
      for (const name of Object.keys(files)) {
        const rest = Object.fromEntries(Object.entries(files).filter(([other]) => other !== name));
        assertNoBetter(before, await verdictsOf(rest), name);
      }
    });

    it('without each field of each JSON file', async () => {
      const files = write(estate);
      const before = await verdictsOf(files);
      for (const [name, text] of Object.entries(files)) {
        if (!name.endsWith('.json') || text === '') continue;
        const value: unknown = JSON.parse(String(text));
        for (const field of fieldNames(value)) {
          if (ABSENT_MEANS_NONE[platform]?.has(field) === true) continue;
          const cut = { ...files, [name]: JSON.stringify(withoutField(value, field)) };
          assertNoBetter(before, await verdictsOf(cut), `${name}: ${field}`);
        }
      }
      assert.ok(before.size > 0);
    });
  });
}
