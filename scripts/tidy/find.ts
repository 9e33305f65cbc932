/**
 * What each tidy rule looks for, one function per rule. The rules themselves, with their reasons, are data in rules.ts.
 */
import ts from 'typescript';
import { calleeOf, functionName, type Hit, hitAt, isFunction, nodesOf, type Source } from './source.ts';

const FUNCTION_LINES_MAX = 70;
const FILE_LINES_MAX = 700;

const CLOCKS = new Set(['Date.now', 'Math.random', 'performance.now']);
const TIMERS = new Set(['setTimeout', 'setInterval', 'setImmediate']);
const TEST_CALLS = new Set(['test', 'it']);
const TEST_GROUPS = new Set(['test', 'it', 'describe', 'suite']);
const ASSERTING = /^(assert|expect|check|verify|require)|(^|\.)assert\b/i;

/** Uses of the machine's clock, randomness or timers. */
export function* clocks(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    if (ts.isCallExpression(node)) {
      const callee = calleeOf(node).replace(/^globalThis\./, '');
      if (CLOCKS.has(callee) || TIMERS.has(callee)) yield hitAt(source, node, callee);
    }
    const isNow = ts.isNewExpression(node) && calleeOf(node) === 'Date' && (node.arguments?.length ?? 0) === 0;
    if (isNow) yield hitAt(source, node, 'new Date()');
  }
}

/** Uses of the global console. */
export function* consoles(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    const isConsole = ts.isPropertyAccessExpression(node) && node.expression.getText() === 'console';
    if (isConsole) yield hitAt(source, node, node.getText());
  }
}

/** Functions over 70 lines; the body of a describe() is a list of functions, not one. */
export function* longFunctions(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    if (!isFunction(node)) continue;
    const { parent } = node;
    if (ts.isCallExpression(parent) && ['describe', 'suite'].includes(calleeOf(parent))) continue;
    const lines = node.getText().split('\n').length;
    if (lines > FUNCTION_LINES_MAX) yield hitAt(source, node, functionName(node));
  }
}

/** A file over 700 lines. */
export function* longFiles(source: Source): Generator<Hit> {
  const lines = source.text.split('\n').length - 1;
  if (lines > FILE_LINES_MAX) yield { line: lines, name: source.path };
}

/** Promises that only a timer settles, and Node's promised timers. */
export function* sleeps(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    if (ts.isImportDeclaration(node) && /timers\/promises['"]$/.test(node.moduleSpecifier.getText())) {
      yield hitAt(source, node, 'timers/promises');
    }
    if (!ts.isNewExpression(node) || calleeOf(node) !== 'Promise') continue;
    const body = node.arguments?.[0];
    if (body === undefined || !isFunction(body) || body.body === undefined) continue;
    if (/^\{?\s*(return\s+|void\s+)?setTimeout\(/.test(body.body.getText())) yield hitAt(source, node, 'sleep');
  }
}

/** Tests singled out: test.only, or the option only. */
export function* onlyTests(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    if (ts.isCallExpression(node) && /^(test|it|describe|suite)\.only$/.test(calleeOf(node))) {
      yield hitAt(source, node, calleeOf(node));
    }
    if (isTestOption(node, 'only')) yield hitAt(source, node, 'only');
  }
}

/** Tests left out without saying why. A reason is a text: {skip: 'why'} or t.skip('why'). */
export function* skippedTests(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    if (ts.isCallExpression(node)) {
      const [object, method] = calleeOf(node).split('.');
      if (method !== 'skip' && method !== 'todo') continue;
      const isGroup = TEST_GROUPS.has(object ?? '');
      if (isGroup || node.arguments.length === 0) yield hitAt(source, node, calleeOf(node));
    }
    const isBare = isTestOption(node, 'skip') && node.initializer.kind === ts.SyntaxKind.TrueKeyword;
    if (isBare) yield hitAt(source, node, 'skip: true');
  }
}

/** The type any. */
export function* anyTypes(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    if (node.kind === ts.SyntaxKind.AnyKeyword) yield hitAt(source, node, 'any');
  }
}

/** A file whose name is not kebab-case. */
export function* fileNames(source: Source): Generator<Hit> {
  const base = source.path.split('/').at(-1) ?? '';
  const kebab =
    /^\.?[a-z0-9]+(-[a-z0-9]+)*(\.(sim|spin|etcd|net|qemu|story|web|long))?(\.(test|d|config))?\.(tsx?|mjs|cjs)$/;
  if (source.tree !== undefined && !kebab.test(base)) yield { line: 1, name: base };
}

/** Modules named `index`, and modules that only pass others on. */
export function* barrels(source: Source): Generator<Hit> {
  if (/(^|\/)index\.(tsx?|mjs)$/.test(source.path)) yield { line: 1, name: 'index' };
  for (const node of source.nodes) {
    const passesAll = ts.isExportDeclaration(node) && node.exportClause === undefined;
    if (passesAll) yield hitAt(source, node, 'export *');
  }
}

/** Default exports. */
export function* defaultExports(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    if (ts.isExportAssignment(node) || node.kind === ts.SyntaxKind.DefaultKeyword) {
      const isExport = ts.isExportAssignment(node) || isDefaultModifier(node);
      if (isExport) yield hitAt(source, node, 'default');
    }
    const isRenamed = ts.isExportSpecifier(node) && node.name.text === 'default';
    if (isRenamed) yield hitAt(source, node, 'default');
  }
}

/** Imports of Node's child_process. */
export function* childProcesses(source: Source): Generator<Hit> {
  for (const node of source.nodes) {
    const isLiteral = ts.isStringLiteral(node) && /^(node:)?child_process$/.test(node.text);
    if (isLiteral) yield hitAt(source, node, 'child_process');
  }
}

/** Tests that cannot fail: without an assertion, and without a call to a function of the file that asserts. */
export function* testsWithoutAssertion(source: Source): Generator<Hit> {
  const asserting = assertingFunctions(source);
  for (const node of source.nodes) {
    if (!ts.isCallExpression(node) || !TEST_CALLS.has(calleeOf(node))) continue;
    const body = node.arguments.at(-1);
    if (body === undefined || !isFunction(body)) continue;
    if (!asserts(body, asserting)) yield hitAt(source, node, functionName(body));
  }
}

/**
 * Exported functions and classes without a doc comment. One comment also covers the one-liners that directly follow it.
 */
export function* undocumented(source: Source): Generator<Hit> {
  let coveredTo = -1;
  for (const statement of source.tree?.statements ?? []) {
    const first = hitAt(source, statement, '').line;
    const last = first + statement.getText().split('\n').length - 1;
    const isDocumented = ts.getJSDocCommentsAndTags(statement).length > 0;
    if (isDocumented || (first === last && first === coveredTo + 1)) {
      coveredTo = last;
      continue;
    }
    const modifiers = ts.canHaveModifiers(statement) ? (ts.getModifiers(statement) ?? []) : [];
    if (!modifiers.some((modifier) => modifier.kind === ts.SyntaxKind.ExportKeyword)) continue;
    const name = documentable(statement);
    if (name !== undefined) yield hitAt(source, statement, name);
  }
}

function isTestOption(node: ts.Node, option: string): node is ts.PropertyAssignment {
  if (!ts.isPropertyAssignment(node) || node.name.getText() !== option) return false;
  const call = node.parent.parent;
  return ts.isCallExpression(call) && TEST_GROUPS.has(calleeOf(call).split('.')[0] ?? '');
}

function isDefaultModifier(node: ts.Node): boolean {
  return ts.canHaveModifiers(node.parent) && (ts.getModifiers(node.parent) ?? []).some((modifier) => modifier === node);
}

function documentable(statement: ts.Statement): string | undefined {
  if (ts.isClassDeclaration(statement)) return statement.name?.text ?? 'default';
  if (ts.isFunctionDeclaration(statement)) {
    // For overloads, the first declaration carries the comment.
    return statement.body === undefined ? undefined : (statement.name?.text ?? 'default');
  }
  if (!ts.isVariableStatement(statement)) return undefined;
  const functions = statement.declarationList.declarations.filter(
    ({ initializer }) => initializer !== undefined && isFunction(initializer),
  );
  return functions[0]?.name.getText();
}

function asserts(node: ts.Node, asserting: ReadonlySet<string>): boolean {
  return nodesOf(node).some((inner) => {
    if (!ts.isCallExpression(inner)) return false;
    const callee = calleeOf(inner);
    return ASSERTING.test(callee) || asserting.has(callee);
  });
}

/** Names of the file's functions that assert, directly or through each other. */
function assertingFunctions(source: Source): ReadonlySet<string> {
  const functions = source.nodes.filter(isFunction);
  const names = new Set<string>();
  for (let before = -1; before !== names.size; ) {
    before = names.size;
    for (const node of functions) if (asserts(node, names)) names.add(functionName(node));
  }
  return names;
}

/** Fields of etcd records that are objects whose keys come from users or other processes. */
const KEYED_FIELDS: ReadonlySet<string> = new Set(['labels', 'reservations', 'registeredAt']);

/**
 * Finds lookups with a computed key in objects that have a prototype. A preceding `Object.hasOwn` on the same object in
 * the same function makes a lookup acceptable.
 */
export function* lookups(source: Source): Generator<Hit> {
  const keyed = new Set(KEYED_FIELDS);
  for (const node of source.nodes) {
    const isDeclared = ts.isVariableDeclaration(node) || ts.isPropertyDeclaration(node) || ts.isParameter(node);
    if (isDeclared && /^(Readonly<)?Record<string,/.test(node.type?.getText() ?? '')) keyed.add(node.name.getText());
  }
  for (const node of source.nodes) {
    if (!ts.isElementAccessExpression(node) || ts.isStringLiteralLike(node.argumentExpression)) continue;
    const object = node.expression.getText();
    if (!keyed.has(object.split('.').at(-1) ?? '')) continue;
    let within: ts.Node = node.parent;
    while (!isFunction(within) && !ts.isSourceFile(within)) within = within.parent;
    const hasNoPrototype = new RegExp(`\\b${object.replaceAll(/\W/g, '\\$&')}\\b[^;]*= Object\\.create\\(null\\)`);
    if (within.getText().includes(`Object.hasOwn(${object}, `) || hasNoPrototype.test(within.getText())) continue;
    yield hitAt(source, node, node.getText());
  }
}
