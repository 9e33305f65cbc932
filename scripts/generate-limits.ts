/**
 * Writes docs/operating/limits.md, made of src/core/model/limits.ts. `--check` writes nothing and fails if the file is
 * out of date. Run: node scripts/generate-limits.ts [--check]
 */
import { readFile, writeFile } from 'node:fs/promises';
import { type Layer, LIMITS, type Limit } from '../src/core/model/limits.ts';

const FILE = 'docs/operating/limits.md';
const PATH = new URL(`../${FILE}`, import.meta.url);
const LINE_CHARS_MAX = 120;
const BYTE_UNITS = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB'] as const;
const WHERE: Readonly<Record<Layer, string>> = {
  API: 'the API (HTTP 400 or 413, before anything is looked up; 503 where too many are open)',
  admission: 'the server, before it records anything (HTTP 400 or 409, with what to do)',
  join: 'the server, when a machine joins for the first time',
  agent: 'a host’s agent, when it is ordered to start a VM',
  storage: 'a storage service, when it is ordered to make or grant a disk, or sent a file',
  target: 'the iSCSI target of a storage node',
};
const HEAD = `# Limits

Generated from src/core/model/limits.ts by scripts/generate-limits.ts: change the table there. Each number is checked
where a request is accepted, and again by every part below that would meet it, with the same number: what is accepted is
not refused later for its size.

`;
const TAIL = `## Who refuses

${Object.entries(WHERE)
  .map(([layer, where]) => `- **${layer}**: ${where}`)
  .join('\n')}

A start that a host or a storage node refuses for a mistake of the order itself (a VM recorded by an older version, a
kernel that QEMU does not boot) is not tried for ever: two hosts are asked, or one where there is no other. Then the VM
stops, its task fails with the reason, an event \`start-refused\` says it, and \`gp vm show\` shows it under "Because".
Start it again once the reason is gone. Whatever may pass (no answer, no room, an older version) is tried again, up to
once a minute.
`;

/** Formats a number with its unit; bytes in the largest unit that gives a whole number. */
function amount(value: number, unit: Limit['unit']): string {
  if (unit === 'ms') return value % 1000 === 0 && value > 0 ? `${grouped(value / 1000)} s` : `${value} ms`;
  if (unit !== 'bytes')
    return `${grouped(value)}${unit === 'number' ? '' : ` ${value === 1 ? unit.replace(/s$/, '') : unit}`}`;
  let [amountLeft, index] = [value, 0];
  while (amountLeft > 0 && amountLeft % 1024 === 0 && index < BYTE_UNITS.length - 1) {
    amountLeft /= 1024;
    index++;
  }
  return `${grouped(amountLeft)} ${BYTE_UNITS[index] ?? ''}`;
}

function grouped(value: number): string {
  return value.toLocaleString('en-US');
}

function line({ what, min, max, unit, step, reason, refusedBy }: Limit): string {
  const least = min > (unit === 'number' ? -1 : 1) ? `${amount(min, unit)} to ` : '';
  const steps = step === undefined ? '' : `, in steps of ${amount(step, unit)}`;
  return wrapped(
    `- **${what}**: ${least === '' ? 'at most ' : least}${amount(max, unit)}${steps}. ${reason} Refused by: ${refusedBy.join(', ')}.`,
  );
}

/** Wraps text at 120 characters; lines after the first are indented. */
function wrapped(text: string): string {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < LINE_CHARS_MAX) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(last === undefined ? word : `  ${word}`);
  }
  return lines.join('\n');
}

/** Returns the text of docs/operating/limits.md. */
export function limitsDocument(): string {
  const limits: readonly Limit[] = Object.values(LIMITS);
  const subjects = [...new Set(limits.map(({ subject }) => subject))];
  const sections = subjects.map(
    (subject) =>
      `## ${subject}\n\n${limits
        .filter((limit) => limit.subject === subject)
        .map(line)
        .join('\n')}\n`,
  );
  return `${HEAD}${sections.join('\n')}\n${TAIL}`;
}

/** Returns true if the committed document matches the table. */
export async function isLimitsDocumentCurrent(): Promise<boolean> {
  return (await readFile(PATH, 'utf8').catch(() => '')) === limitsDocument();
}

async function main(): Promise<void> {
  if (!process.argv.includes('--check')) return writeFile(PATH, limitsDocument());
  if (await isLimitsDocumentCurrent()) return;
  console.error(`${FILE} is out of date: run node scripts/generate-limits.ts`);
  process.exitCode = 1;
}

if (import.meta.main) await main();
