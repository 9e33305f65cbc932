/** The dashboard and the alert rules of the package name only what control nodes serve. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { setUp } from './testing/asking.ts';

const DIRECTORY = join(import.meta.dirname, '../../../packaging/monitoring');

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly {
      readonly alert: string;
      readonly expr: string;
      readonly annotations: Readonly<Record<string, string>>;
    }[];
  }[];
}
interface Dashboard {
  readonly panels: readonly {
    readonly id: number;
    readonly targets: readonly { readonly expr: string; readonly legendFormat: string }[];
  }[];
}

const rules = async () =>
  (parse(await readFile(join(DIRECTORY, 'groundplane-alerts.yaml'), 'utf8')) as Rules).groups.flatMap(
    (group) => group.rules,
  );
const panels = async () =>
  (JSON.parse(await readFile(join(DIRECTORY, 'groundplane-dashboard.json'), 'utf8')) as Dashboard).panels;

/** The headers that a Prometheus server adds itself when it scrapes. */
const SCRAPED = new Set(['up', 'job', 'instance']);

test('every expression names metrics and labels that a leader serves', async (t) => {
  const { ask } = await setUp(t, {}, { hosts: 3, storageNodes: 1, controls: 3 });
  assert.equal((await ask('POST /v1/vms', { name: 'web9', image: 'tiny', start: false })).status, 201);
  const { text } = await ask('GET /metrics');
  const metrics = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name = '']) => name));
  const labels = new Set([...text.matchAll(/([a-z_]+)="/g)].map(([, name = '']) => name));
  labels.add('kind');
  const used = [
    ...(await rules()).map(({ expr, annotations }) => [expr, JSON.stringify(annotations)] as const),
    ...(await panels()).flatMap(({ targets }) =>
      targets.map(({ expr, legendFormat }) => [expr, legendFormat] as const),
    ),
  ];
  assert.ok(used.length > 20);
  const named = new Set<string>();
  for (const [expr, words] of used) {
    for (const [name] of expr.matchAll(/\bgroundplane_\w+/g)) {
      assert.ok(metrics.has(name), `${name} in ${expr}`);
      named.add(name);
    }
    const asked = [
      ...[...expr.matchAll(/([a-z_]+)\s*(?:=~|!~|!=|=)\s*"/g)].map(([, label = '']) => label),
      ...[...expr.matchAll(/\bby \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/)),
      ...[...words.matchAll(/\$labels\.(\w+)|\{\{(\w+)\}\}/g)].map(([, one, other]) => one ?? other ?? ''),
    ];
    for (const label of asked) assert.ok(labels.has(label) || SCRAPED.has(label), `label ${label} in ${expr} ${words}`);
    assert.equal(expr.split('(').length, expr.split(')').length, `parentheses of ${expr}`);
  }
  assert.deepEqual(
    [...metrics].filter((name) => !named.has(name)),
    [],
    'no panel and no rule shows it',
  );
});

test('every alert says what to do, and every panel and alert is one', async () => {
  const alerts = await rules();
  assert.equal(new Set(alerts.map(({ alert }) => alert)).size, alerts.length);
  for (const { alert, annotations } of alerts) {
    assert.match(alert, /^Groundplane[A-Z]/);
    assert.ok((annotations['summary'] ?? '').length > 10 && (annotations['action'] ?? '').length > 10, alert);
  }
  const ids = (await panels()).map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
});
