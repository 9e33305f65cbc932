/**
 * Writes the configuration of a role before its service starts: its argument is the role. Exit status 1: the machine's
 * configuration is wrong, or an interface has no address yet; the service manager tries again.
 */
import { chmod, mkdir } from 'node:fs/promises';
import { totalmem } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '../base/errors.ts';
import { readTextBounded, writeFileAtomic } from '../os/files.ts';
import { ownInterfaces } from '../os/own-addresses.ts';
import { readKnownControls } from '../rpc/known-controls.ts';
import { demandClusterFile } from './cluster-file.ts';
import { parseMachineConfig } from './machine-config.ts';
import type { Role } from './programs.ts';
import { roleConfigFile, roleStateDir } from './role-config.ts';
import { MACHINE_FILE, ROLE_CONFIG_DIR, RUN_DIR, STATE_DIR } from './units.ts';

const FILE_BYTES_MAX = 64 * 1024;
const ROLES: ReadonlyMap<string, Role> = new Map((['etcd', 'control', 'storage', 'agent'] as const).map((r) => [r, r]));

async function main(): Promise<void> {
  const { positionals } = parseArgs({ allowPositionals: true });
  const role = ROLES.get(positionals[0] ?? '');
  if (role === undefined) throw new CodedError('bad-input', 'Usage: configure-role.mjs etcd|control|storage|agent');
  const text = await readTextBounded(MACHINE_FILE, FILE_BYTES_MAX);
  if (text === undefined) throw new CodedError('not-found', `There is no configuration ${MACHINE_FILE}.`);
  const cluster = await demandClusterFile(STATE_DIR);
  // The service's last knowledge is newer than the state at joining.
  const controls = (await readKnownControls(roleStateDir(STATE_DIR, role))) ?? cluster.controls;
  const { name, content } = roleConfigFile(role, {
    machine: parseMachineConfig(text, MACHINE_FILE),
    cluster: { ...cluster, controls },
    interfaces: ownInterfaces(),
    stateDir: STATE_DIR,
    runDir: RUN_DIR,
    memoryBytes: totalmem(),
  });
  await mkdir(ROLE_CONFIG_DIR, { recursive: true });
  // Independent of the umask: QEMUs and disk daemons pass through the directory above.
  await chmod(RUN_DIR, 0o711);
  await writeFileAtomic(join(ROLE_CONFIG_DIR, name), content, { durable: false });
}

main().catch((error: unknown) => {
  process.stderr.write(`configure-role: ${messageOf(error)}\n`);
  process.exit(1);
});
