/**
 * Log lines as JSON on standard output, one object a line: time, level, component, name, message, fields.
 * Guarantees: fields named like secrets are never written; a line is written whole.
 */

export interface Log {
  info(message: string, fields?: Readonly<Record<string, unknown>>): void;
  warn(message: string, fields?: Readonly<Record<string, unknown>>): void;
}

const SECRET = /(token|secret|password|key(pem)?)$/i;

/** A log of one process. */
export function createLog(about: { readonly component: string; readonly name: string }): Log {
  const write = (level: 'info' | 'warn', message: string, fields: Readonly<Record<string, unknown>> = {}): void => {
    const line = { time: new Date().toISOString(), level, ...about, message, ...fields };
    process.stdout.write(`${JSON.stringify(line, (name, value) => (SECRET.test(name) ? '(not shown)' : value))}\n`);
  };
  return {
    info: (message, fields) => write('info', message, fields),
    warn: (message, fields) => write('warn', message, fields),
  };
}
