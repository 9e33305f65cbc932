import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkTidy, findingLine } from './check-tidy.ts';
import { knownNames } from './names.ts';
import { RULES } from './rules.ts';
import { sourceOf } from './source.ts';

/** The rules that one file breaks, in the order they were found. */
function brokenBy(path: string, text: string): string[] {
  const source = sourceOf(path, text);
  const known = knownNames([source], [path, 'src/agent/orders.ts', 'docs/decisions/0014-shared-disks.md']);
  return checkTidy([source], { rules: RULES, exceptions: [], known }).map((finding) => finding.rule);
}

const LONG_BODY = 'x();\n'.repeat(75);
const DOC = '/** A doc. */\n';

/** One planted violation per line: rule, where, what. */
const PLANTED: readonly (readonly [string, string, string])[] = [
  ['clock-in-core', 'src/core/a.ts', 'const a = Date.now();'],
  ['clock-in-core', 'src/base/a.ts', 'const a = Math.random();'],
  ['clock-in-core', 'src/wire/a.ts', 'const a = new Date();'],
  ['clock-in-core', 'src/core/a.ts', 'setTimeout(() => {}, 1);'],
  ['clock-in-core', 'src/core/a.ts', 'globalThis.setInterval(() => {}, 1);'],
  ['console', 'src/agent/a.ts', "console.log('x');"],
  ['long-function', 'src/agent/a.ts', `function a() {\n${LONG_BODY}}`],
  ['long-function', 'src/agent/a.ts', `const a = () => {\n${LONG_BODY}};`],
  ['long-function', 'src/agent/a.ts', `class A { b() {\n${LONG_BODY}} }`],
  ['long-file', 'src/agent/a.ts', 'x();\n'.repeat(701)],
  ['missing-name', 'docs/a.md', 'See `src/agent/gone.ts`.'],
  ['missing-name', 'docs/a.md', 'See src/agents.'],
  ['missing-name', 'docs/a.md', 'Call `runOrders()`.'],
  ['missing-name', 'src/agent/a.ts', '// See agent/gone.ts.'],
  ['missing-name', 'src/agent/a.ts', 'const a = 1; // At most ORDERS_MAX.'],
  ['missing-name', 'src/agent/a.ts', '/** As runOrders does it. */\nconst a = 1;'],
  ['sleep-in-test', 'test/a.ts', 'await new Promise((r) => setTimeout(r, 5));'],
  ['sleep-in-test', 'test/a.ts', 'await new Promise((r) => { setTimeout(r, 5); });'],
  ['sleep-in-test', 'src/agent/a.test.ts', "import { setTimeout } from 'node:timers/promises';"],
  ['only', 'test/a.ts', 'test.only("a", f);'],
  ['only', 'test/a.ts', 'test("a", { only: true }, f);'],
  ['skip-without-reason', 'test/a.ts', 'it.skip("a", f);'],
  ['skip-without-reason', 'test/a.ts', 'test.todo("a");'],
  ['skip-without-reason', 'test/a.ts', 't.skip();'],
  ['skip-without-reason', 'test/a.ts', 'test("a", { skip: true }, f);'],
  ['lookup', 'src/agent/a.ts', 'const KINDS: Readonly<Record<string, number>> = { a: 1 };\nconst b = KINDS[word];'],
  ['lookup', 'src/agent/a.ts', 'function a(all: Record<string, number>, word: string) { all[word] = 1; }'],
  [
    'lookup',
    'src/agent/a.ts',
    'class A { readonly #all: Record<string, number> = {}; a(b: string) { return this.#all[b]; } }',
  ],
  ['lookup', 'src/agent/a.ts', 'const a = vm.spec.labels[key] !== undefined;'],
  ['any', 'src/agent/a.ts', 'const a = b as any;'],
  ['any', 'scripts/a.ts', 'let a: any;'],
  ['type-check-off', 'src/agent/a.ts', `// @ts-${'ignore'}\nx();`],
  ['file-name', 'src/agent/someFile.ts', 'x();'],
  ['file-name', 'src/agent/some_file.ts', 'x();'],
  ['barrel', 'src/agent/index.ts', 'x();'],
  ['barrel', 'src/agent/a.ts', "export * from './b.ts';"],
  ['unfinished', 'docs/a.md', `TO${'DO'}: later`],
  ['unfinished', 'src/agent/a.ts', `x(); // FIX${'ME'}`],
  ['default-export', 'src/agent/a.ts', 'export default 1;'],
  ['default-export', 'src/agent/a.ts', `${DOC}export default function a() {}`],
  ['default-export', 'src/agent/a.ts', 'export { a as default };'],
  ['child-process', 'src/agent/a.ts', "import { spawn } from 'node:child_process';"],
  ['child-process', 'src/agent/a.ts', "const a = await import('child_process');"],
  ['test-without-assertion', 'src/agent/a.test.ts', 'test("a", () => { x(); });'],
  ['undocumented', 'src/agent/a.ts', 'export function a() {}'],
  ['undocumented', 'src/agent/a.ts', 'export const a = () => 1;'],
  ['undocumented', 'src/agent/a.ts', 'export class A {}'],
  ['registry-host', 'docs/a.md', `see https://registry.${'example'}.org/x`],
];

for (const [rule, path, text] of PLANTED) {
  test(`finds ${rule} in ${path}: ${text.slice(0, 40).replaceAll('\n', ' ')}`, () => {
    assert.deepEqual(brokenBy(path, text), [rule]);
  });
}

test('every rule has a planted violation', () => {
  const planted = new Set(PLANTED.map(([rule]) => rule));
  assert.deepEqual(
    RULES.map((rule) => rule.name).filter((name) => !planted.has(name)),
    [],
  );
});

/** Code that looks like a violation and is not one. */
const HARMLESS: readonly (readonly [string, string])[] = [
  ['src/agent/a.ts', 'const a = Date.now();'],
  [
    'src/agent/a.ts',
    'function a(all: Record<string, number>, word: string) { return Object.hasOwn(all, word) ? all[word] : 0; }',
  ],
  ['src/agent/a.ts', "const ALL: Readonly<Record<'a' | 'b', number>> = { a: 1, b: 2 };\nconst c = ALL[kind];"],
  ['src/agent/a.ts', "const ALL: Record<string, number> = { a: 1 };\nconst b = ALL['a'];"],
  ['src/core/a.ts', 'const a = new Date(0);'],
  ['src/core/a.test.ts', 'test("a", () => { assert.ok(Date.now()); });'],
  ['src/core/a.ts', "const a = 'Date.now() and setTimeout() // any';"],
  ['src/cli/a.ts', "console.log('x');"],
  ['test/a.ts', 'await new Promise((r) => socket.once("close", r));'],
  ['test/a.ts', 'test("a", { skip: isRoot ? false : "needs root" }, f);'],
  ['test/a.ts', 't.skip("needs root");'],
  ['test/a.ts', `describe("a", () => {\n${LONG_BODY}});`],
  ['src/agent/some-file.qemu.test.ts', 'test("a", () => { verify(); });'],
  ['src/agent/a.test.ts', 'function sure() { assert.ok(1); }\ntest("a", () => { sure(); });'],
  ['src/agent/a.ts', `${DOC}export const a = () => 1;\nexport const b = () => 2;`],
  ['src/os/a.ts', "import { spawn } from 'node:child_process';"],
  ['src/agent/a.ts', "export { a } from './a-b.ts';"],
  ['docs/a.md', 'mktemp /tmp/a.XXXXXX, see www.debian.org'],
  [
    'docs/a.md',
    'See `src/agent/orders.ts`, `orders.ts`, src/agent and docs/decisions/0014; `KillMode`; OpenStack; `a.b`.',
  ],
  ['src/agent/a.ts', 'const ordersMax = 1; // See agent/orders.ts; `ordersMax` counts. MaxCmdSN, iSCSI, GiB.'],
];

for (const [path, text] of HARMLESS) {
  test(`lets pass in ${path}: ${text.slice(0, 40).replaceAll('\n', ' ')}`, () => {
    assert.deepEqual(brokenBy(path, text), []);
  });
}

test('an exception covers its name in its file and nothing else', () => {
  const sources = [sourceOf('scripts/a.ts', 'let a: any;'), sourceOf('scripts/b.ts', 'let a: any;')];
  const exceptions = [{ rule: 'any', file: 'scripts/a.ts', reason: 'planted' }];
  const findings = checkTidy(sources, { rules: RULES, exceptions, known: knownNames([], []) });
  assert.deepEqual(
    findings.map(({ file, rule }) => `${file} ${rule}`),
    ['scripts/b.ts any'],
  );
});

test('an exception that is not needed is a finding', () => {
  const exceptions = [{ rule: 'any', file: 'scripts/a.ts', reason: 'planted' }];
  const [finding] = checkTidy([], { rules: RULES, exceptions, known: knownNames([], []) });
  assert.equal(finding?.rule, 'unused-exception');
});

test('a finding names file, line, rule, replacement and reason', () => {
  const [finding] = checkTidy([sourceOf('scripts/a.ts', 'x();\nlet a: any;')], {
    rules: RULES,
    exceptions: [],
    known: knownNames([], []),
  });
  assert.ok(finding !== undefined);
  assert.match(findingLine(finding), /^scripts\/a\.ts:2 any: any: unknown, and a check \(any switches/);
});
