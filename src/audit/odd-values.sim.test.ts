/** Exports in which any field holds anything: a report or a refusal, never an error of this program. */
import { strict as assert } from 'node:assert';
import { describe, it } from 'node:test';
import { explainText, reportText } from './report/text.ts';
import { auditPaths, type Files, reportOfFiles, withFiles } from './testing/run-audit.ts';
import { WRITERS } from './testing/seeded/platforms.ts';
import { makeSeed } from './testing/seeded/seed.ts';

const estate = makeSeed({ seed: 61, hosts: 2, vmsPerHost: 2, guestClusters: 1, ties: 2 });
const ODD = [null, 0, -1, '', '__proto__', 'x'.repeat(1000), [], [null], [[]], {}, { value: null }, true] as const;

/** Returns the value with each field of that name replaced. */
function withField(value: unknown, name: string, odd: unknown): unknown {
  if (Array.isArray(value)) return value.map((one) => withField(one, name, odd));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([field, inner]) => [field, field === name ? odd : withField(inner, name, odd)]),
  );
}

function fieldNames(value: unknown, names = new Set<string>()): ReadonlySet<string> {
  if (Array.isArray(value)) for (const one of value) fieldNames(one, names);
  else if (typeof value === 'object' && value !== null)
    for (const [name, inner] of Object.entries(value)) {
      names.add(name);
      fieldNames(inner, names);
    }
  return names;
}

async function survives(files: Files, what: string): Promise<void> {
  await withFiles(files, async (directory) => {
    try {
      const outcome = await auditPaths(directory, ['.'], { hints: true });
      if (outcome.kind === 'report') reportText(outcome.report);
    } catch (error) {
      assert.fail(`${what}: ${error instanceof Error ? error.stack : String(error)}`);
    }
  });
}

for (const [platform, write] of Object.entries(WRITERS))
  describe(platform, () => {
    it('each field with a value of another type', async () => {
      const files = write(estate);
      for (const [name, text] of Object.entries(files)) {
        if (!name.endsWith('.json') || text === '') continue;
        const value: unknown = JSON.parse(String(text));
        for (const field of fieldNames(value))
          for (const odd of ODD)
            await survives(
              { ...files, [name]: JSON.stringify(withField(value, field, odd)) },
              `${name}: ${field} = ${JSON.stringify(odd)?.slice(0, 30)}`,
            );
      }
    });

    it('each file with another file in its place, and cut in half', async () => {
      const files = Object.entries(write(estate)).slice(0, 12);
      for (const [name, text] of files) {
        await survives({ ...Object.fromEntries(files), [name]: String(text).slice(0, text.length / 2) }, name);
        for (const [, wrong] of files) await survives({ ...Object.fromEntries(files), [name]: wrong }, name);
      }
    });
  });

it('names of devices and fields steer no terminal', async () => {
  const write = WRITERS['vsphere'] ?? assert.fail();
  const evil = Object.entries(write(estate)).map(
    ([name, text]) => [name, String(text).replaceAll('PCI device 0', 'PCI \\u001b[2J device')] as const,
  );
  const report = await reportOfFiles(Object.fromEntries(evil));
  const tie = report.ties.find(({ kind }) => kind === 'host device') ?? assert.fail('no tie');
  assert.ok(!`${reportText(report)}${explainText(report, tie.id)}`.includes('\u001b'));
});
