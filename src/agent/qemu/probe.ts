/**
 * Finds out whether this machine can run guests under KVM. Guarantees: KVM is only reported when a guest really ran
 * under it: on machines without hardware virtualization /dev/kvm may open, make a VM, and hang in the firmware.
 */

import { constants } from 'node:fs';
import { access, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CodedError, messageOf } from '../../base/errors.ts';
import { run, tryRun } from '../../os/child-process.ts';
import { isRecord } from '../../rpc/parse.ts';
import { MACHINE_TYPE } from './arguments.ts';

export interface AcceleratorProbe {
  readonly accelerator: 'kvm' | 'tcg';
  /** `baseline` and QEMU's names of the CPU models that can be offered here in full. */
  readonly cpuModels: readonly string[];
  /** The reason why it is not KVM, for people; null if it is, or if KVM was not asked for. */
  readonly reason: string | null;
}

const KVM_DEADLINE_MS = 4_000;
const MODELS_DEADLINE_MS = 10_000;
const DEBUG_EXIT_PORT = 0xf4;
const DEBUG_EXIT_VALUE = 0x10;
/** QEMU's isa-debug-exit: status = (value << 1) | 1. */
const DEBUG_EXIT_STATUS = (DEBUG_EXIT_VALUE << 1) | 1;

/**
 * A disk whose boot sector ends its machine: mov al, value; out port, al; then halt. As large as a disk with a
 * cylinder: the firmware does not boot from a smaller one.
 */
export function exitDisk(): Uint8Array {
  const disk = new Uint8Array(1024 ** 2);
  disk.set([0xb0, DEBUG_EXIT_VALUE, 0xe6, DEBUG_EXIT_PORT, 0xf4, 0xeb, 0xfd]);
  disk.set([0x55, 0xaa], 510);
  return disk;
}

/**
 * Never throws: if nothing can be found out, the result is TCG with the baseline model. `directory` is for a file of 1
 * MiB.
 */
export async function probeAccelerator(
  wanted: 'auto' | 'kvm' | 'tcg',
  directory: string,
  uid: number | null = null,
): Promise<AcceleratorProbe> {
  let reason: string | null = null;
  if (wanted !== 'tcg') {
    // A probe guest that runs as root proves nothing for QEMUs that run as users of their own.
    reason = (uid === null ? null : await whyNotOpened(uid)) ?? (await whyNotKvm(directory));
    if (reason === null) return { accelerator: 'kvm', cpuModels: await cpuModels('kvm'), reason };
  }
  return { accelerator: 'tcg', cpuModels: await cpuModels('tcg'), reason };
}

/** The reason why a user cannot open /dev/kvm, or null if it can. */
async function whyNotOpened(uid: number): Promise<string | null> {
  const asUser = ['setpriv', '--reuid', `${uid}`, '--regid', `${uid}`, '--clear-groups', '--'];
  try {
    const argv = [...asUser, 'test', '-r', '/dev/kvm', '-a', '-w', '/dev/kvm'];
    const { exitCode } = await tryRun(argv, { deadlineMs: KVM_DEADLINE_MS });
    return exitCode === 0 ? null : '/dev/kvm cannot be opened by the users that QEMU runs as.';
  } catch (error) {
    return messageOf(error);
  }
}

/** null when a guest ran under KVM. */
async function whyNotKvm(directory: string): Promise<string | null> {
  try {
    await access('/dev/kvm', constants.R_OK | constants.W_OK);
  } catch {
    return '/dev/kvm is missing or may not be opened: load the kernel module and check its permissions.';
  }
  let work: string | undefined;
  try {
    work = await mkdtemp(join(directory, 'probe-'));
    await writeFile(join(work, 'disk'), exitDisk());
    const argv = [
      ...['qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
      ...['-machine', MACHINE_TYPE, '-accel', 'kvm', '-m', '16M'],
      ...['-drive', `file=${join(work, 'disk')},format=raw,snapshot=on`],
      ...['-device', `isa-debug-exit,iobase=${DEBUG_EXIT_PORT},iosize=4`],
    ];
    const { exitCode, stderr } = await tryRun(argv, { deadlineMs: KVM_DEADLINE_MS });
    if (exitCode === DEBUG_EXIT_STATUS) return null;
    return `A probe guest did not run under KVM (status ${exitCode}): ${stderr.trim().split('\n').at(-1) ?? ''}`;
  } catch (error) {
    if (error instanceof CodedError && error.code === 'deadline')
      return `/dev/kvm opens, but a probe guest did not get through its firmware within ${KVM_DEADLINE_MS} ms.`;
    return messageOf(error);
  } finally {
    if (work !== undefined) await rm(work, { recursive: true, force: true });
  }
}

/** QMP query-cpu-definitions (CpuDefinitionInfo): models that can be migrated and that lack no feature. */
async function cpuModels(accelerator: 'kvm' | 'tcg'): Promise<readonly string[]> {
  try {
    const { stdout } = await run(
      [
        ...['qemu-system-x86_64', '-nodefaults', '-no-user-config', '-display', 'none', '-S', '-qmp', 'stdio'],
        ...['-machine', MACHINE_TYPE, '-accel', accelerator, '-m', '16M'],
      ],
      {
        deadlineMs: MODELS_DEADLINE_MS,
        input: '{"execute":"qmp_capabilities"}\n{"execute":"query-cpu-definitions"}\n{"execute":"quit"}\n',
      },
    );
    return ['baseline', ...parseCpuDefinitions(stdout)];
  } catch {
    return ['baseline'];
  }
}

/** The usable models in QEMU's output, sorted. */
export function parseCpuDefinitions(printed: string): readonly string[] {
  for (const line of printed.split('\n')) {
    if (!line.includes('"unavailable-features"')) continue;
    const answer: unknown = JSON.parse(line);
    const definitions: unknown = isRecord(answer) ? answer['return'] : undefined;
    if (!Array.isArray(definitions)) continue;
    const usable = definitions.filter(isRecord).filter((definition) => {
      const missing: unknown = definition['unavailable-features'];
      return definition['migration-safe'] === true && Array.isArray(missing) && missing.length === 0;
    });
    return usable
      .map(({ name }) => name)
      .filter((name) => typeof name === 'string')
      .sort();
  }
  return [];
}
