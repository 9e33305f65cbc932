/** The input of forms about VMs, and the requests and commands made from it. Pure. */
import type { components } from '../../../../src/client/generated/schema.d.ts';
import { gpCommand, sizeWord } from '../../ui/gp-commands.ts';

export type CreateVm = components['schemas']['CreateVm'];
export type PatchVm = components['schemas']['PatchVm'];

const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** Fields as texts, as somebody typed them. Sizes are in MiB and GiB. */
export interface NewVm {
  readonly name: string;
  readonly image: string;
  readonly network: string;
  readonly vcpus: string;
  readonly memoryMib: string;
  readonly diskGib: string;
  readonly labels: string;
  readonly antiAffinity: string;
  readonly restartPolicy: string;
  /** Empty: any host. */
  readonly pin: string;
  readonly userData: string;
  readonly hasDisplay: boolean;
  readonly isStarted: boolean;
}

export const NEW_VM: NewVm = {
  ...{ name: '', image: '', network: '', vcpus: '', memoryMib: '', diskGib: '', labels: '' },
  ...{ antiAffinity: '', restartPolicy: '', pin: '', userData: '', hasDisplay: false, isStarted: true },
};

/** `tier=db owner=ann` as an object; words without a = are keys without a value. */
export function labelsOf(text: string): Record<string, string> {
  const words = text.split(/[\s,]+/).filter((word) => word !== '');
  return Object.fromEntries(
    words.map((word) => {
      const at = word.indexOf('=');
      return at === -1 ? [word, ''] : [word.slice(0, at), word.slice(at + 1)];
    }),
  );
}

/** Labels as text. */
export function labelsText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(' ');
}

/** The request that creates the VM. What is empty is left to the image and the cluster. */
export function createRequest(form: NewVm): CreateVm {
  const labels = labelsOf(form.labels);
  return {
    name: form.name,
    start: form.isStarted,
    ...(form.image === '' ? {} : { image: form.image }),
    ...(form.network === '' ? {} : { networks: [form.network] }),
    ...(form.vcpus === '' ? {} : { vcpus: Number(form.vcpus) }),
    ...(form.memoryMib === '' ? {} : { memoryBytes: Number(form.memoryMib) * MIB }),
    ...(form.diskGib === '' ? {} : { disks: [diskOf(form)] }),
    ...(Object.keys(labels).length === 0 ? {} : { labels }),
    ...(form.antiAffinity === '' ? {} : { antiAffinity: form.antiAffinity }),
    ...(form.restartPolicy === ''
      ? {}
      : { restartPolicy: form.restartPolicy as NonNullable<CreateVm['restartPolicy']> }),
    ...(form.pin === '' ? {} : { pin: form.pin }),
    ...(form.hasDisplay ? { display: 'vga' } : {}),
    ...(form.userData === '' ? {} : { cloudInit: { userData: form.userData } }),
  };
}

function diskOf({ image, diskGib }: NewVm): NonNullable<CreateVm['disks']>[number] {
  const sizeBytes = Number(diskGib) * GIB;
  return image === '' ? { sizeBytes } : { image, sizeBytes };
}

/** The command that does the same. */
export function createCommand(form: NewVm): string {
  const disk = form.diskGib === '' ? null : sizeWord(Number(form.diskGib) * GIB);
  return gpCommand(['vm', 'create', form.name === '' ? 'NAME' : form.name], {
    ...{ image: form.image, network: form.network, vcpus: form.vcpus },
    memory: form.memoryMib === '' ? null : sizeWord(Number(form.memoryMib) * MIB),
    disk: disk === null ? null : form.image === '' ? disk : `image=${form.image},size=${disk}`,
    label: Object.entries(labelsOf(form.labels)).map(([key, value]) => `${key}=${value}`),
    ...{ 'anti-affinity': form.antiAffinity, 'restart-policy': form.restartPolicy, pin: form.pin },
    display: form.hasDisplay ? 'vga' : null,
    ...{ 'user-data': form.userData === '' ? null : 'FILE', 'no-start': !form.isStarted },
  });
}

/** Fields that change of a VM. */
export interface EditedVm {
  readonly vcpus: string;
  readonly memoryMib: string;
  readonly labels: string;
  readonly antiAffinity: string;
  readonly restartPolicy: string;
  /** Empty: any host. */
  readonly pin: string;
}

/** The hosts to choose from; the one that is chosen is among them although it may be gone. */
export function pinChoices(pin: string, hosts: readonly string[]): readonly string[] {
  return pin === '' || hosts.includes(pin) ? hosts : [pin, ...hosts];
}

/** Only the differences between two states of the form. */
export function patchRequest(before: EditedVm, after: EditedVm): PatchVm {
  const changed = (field: keyof EditedVm): boolean => before[field].trim() !== after[field].trim();
  return {
    ...(changed('vcpus') ? { vcpus: Number(after.vcpus) } : {}),
    ...(changed('memoryMib') ? { memoryBytes: Number(after.memoryMib) * MIB } : {}),
    ...(changed('labels') ? { labels: labelsOf(after.labels) } : {}),
    ...(changed('antiAffinity') ? { antiAffinity: after.antiAffinity === '' ? null : after.antiAffinity } : {}),
    ...(changed('pin') ? { pin: after.pin === '' ? null : after.pin } : {}),
    ...(changed('restartPolicy')
      ? { restartPolicy: after.restartPolicy as NonNullable<PatchVm['restartPolicy']> }
      : {}),
  };
}

/** The command that does the same. */
export function patchCommand(vm: string, patch: PatchVm): string {
  const labels = patch.labels === undefined ? null : Object.entries(patch.labels);
  return gpCommand(['vm', 'set', vm], {
    vcpus: patch.vcpus ?? null,
    memory: patch.memoryBytes === undefined ? null : sizeWord(patch.memoryBytes),
    label: (labels ?? []).map(([key, value]) => `${key}=${value}`),
    'no-labels': labels?.length === 0,
    'anti-affinity': patch.antiAffinity ?? null,
    'no-anti-affinity': patch.antiAffinity === null,
    'restart-policy': patch.restartPolicy ?? null,
    pin: patch.pin ?? null,
    'no-pin': patch.pin === null,
  });
}
