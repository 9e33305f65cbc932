/** What the tidy rules look at: a file as text and, where it is TypeScript or JavaScript, as a syntax tree. */
import ts from 'typescript';

/** One file, its path relative to the clone and with forward slashes. */
export type Source = {
  readonly path: string;
  readonly text: string;
  readonly tree: ts.SourceFile | undefined;
  /** Every node of the tree: each rule walks through all of them. */
  readonly nodes: readonly ts.Node[];
};

/** A place that breaks a rule. `name`: the function, identifier or word, by which an exception can name it. */
export type Hit = { readonly line: number; readonly name: string };

/** Turns a file's text into the form that the rules use. */
export function sourceOf(path: string, text: string): Source {
  const isCode = /\.(tsx?|mjs|cjs)$/.test(path);
  const tree = isCode ? ts.createSourceFile(path, text, ts.ScriptTarget.ES2024, true) : undefined;
  return { path, text, tree, nodes: tree === undefined ? [] : nodesOf(tree) };
}

/** Every node of the tree below `node`, itself first. */
export function nodesOf(node: ts.Node): ts.Node[] {
  const found: ts.Node[] = [];
  const add = (each: ts.Node): void => {
    found.push(each);
    for (const child of each.getChildren()) add(child);
  };
  add(node);
  return found;
}

/** The hit for a node of this source's tree. */
export function hitAt(source: Source, node: ts.Node, name: string): Hit {
  const line = source.tree?.getLineAndCharacterOfPosition(node.getStart()).line ?? 0;
  return { line: line + 1, name };
}

/** Hits wherever `pattern` (with the flags g and m) matches the text. */
export function* hitsInText(source: Source, pattern: RegExp): Generator<Hit> {
  for (const match of source.text.matchAll(pattern)) {
    yield { line: source.text.slice(0, match.index).split('\n').length, name: match[0] };
  }
}

/** "a.b" for the call a.b(...), "a" for a(...), otherwise the callee's text. */
export function calleeOf(call: ts.CallExpression | ts.NewExpression): string {
  return call.expression.getText();
}

/** The name of a function: its own, or that of the thing that it is assigned to. */
export function functionName(node: ts.SignatureDeclaration): string {
  if (node.name !== undefined) return node.name.getText();
  const { parent } = node;
  if (ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent)) return parent.name.getText();
  const first = ts.isCallExpression(parent) ? parent.arguments[0] : undefined;
  if (first !== undefined && ts.isStringLiteralLike(first)) return first.text;
  return '(anonymous)';
}

/** True for a function that has a body of its own. */
export function isFunction(node: ts.Node): node is ts.FunctionLikeDeclaration {
  return ts.isFunctionLike(node) && 'body' in node && node.body !== undefined;
}
