/** KubeVirt and OpenShift Virtualization: YAML or JSON of VMs, their instances, claims and nodes, as `kubectl get -o` gives them. */
import { plainHost } from '../../estate/defaults.ts';
import { keyOf } from '../../estate/estate.ts';
import { type EstateBuilder, evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { type Fields, fieldsOf, listOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';
import { type Claim, GuestReader, quantityMib } from './guests.ts';

const PLATFORM = 'kubevirt';
const GROUP = 'kubevirt';
const FIX = 'Export with `kubectl get vms,vmis,pvc -A -o json` and `kubectl get nodes -o json`.';
const KINDS = new Set(['VirtualMachine', 'VirtualMachineInstance', 'Node', 'PersistentVolumeClaim', 'DataVolume']);

interface Found {
  readonly file: string;
  readonly kind: string;
  readonly fields: Fields;
}

/** The reader of KubeVirt. */
export const kubevirtReader: Reader = {
  platform: PLATFORM,
  claims: (document) => objectsOf([document]).length > 0,
  read: (documents, into) => {
    for (const { file } of documents) into.source(PLATFORM, file);
    const objects = objectsOf(documents);
    const of = (kind: string): readonly Found[] => objects.filter((one) => one.kind === kind);
    const claims = new Map([...readDataVolumes(of), ...readClaims(of('PersistentVolumeClaim'))]);
    for (const node of of('Node')) readNode(node, into);
    tellFiles(of, into);
    const instances = of('VirtualMachineInstance');
    const reader = new GuestReader(into, claims, GROUP, FIX);
    const running = new Set<string>();
    for (const { file, fields } of instances) {
      const owner = ownerOf(fields);
      running.add(
        keyOf(
          textAtPath(fields, 'metadata', 'namespace'),
          owner === '' ? textAtPath(fields, 'metadata', 'name') : owner,
        ),
      );
      reader.instance(file, fields);
    }
    for (const { file, fields } of of('VirtualMachine'))
      if (!running.has(keyOf(textAtPath(fields, 'metadata', 'namespace'), textAtPath(fields, 'metadata', 'name'))))
        reader.machine(file, fields, instances.length > 0);
    reader.finish();
  },
};

/**
 * Returns the objects of known kinds, also from lists. A node counts only beside VMs: any Kubernetes cluster has nodes.
 */
function objectsOf(documents: readonly Document[]): readonly Found[] {
  const found: Found[] = [];
  const visit = (value: unknown, file: string): void => {
    const fields = fieldsOf(value);
    const kind = textAtPath(fields, 'kind');
    const version = textAtPath(fields, 'apiVersion');
    if (kind === 'List' || kind.endsWith('List'))
      for (const item of objectsAt(fields, 'items'))
        visit({ kind: kind.slice(0, -4), apiVersion: version, ...item }, file);
    else if (KINDS.has(kind) && (version === 'v1' || /^(?:cdi\.)?kubevirt\.io\//.test(version)))
      found.push({ file, kind, fields });
    else if (Array.isArray(value)) for (const one of value) visit(one, file);
  };
  for (const document of documents)
    if (document.kind === 'data') for (const value of document.values) visit(value, document.file);
  return found;
}

function ownerOf(fields: Fields): string {
  const owner = objectsAt(fields, 'metadata', 'ownerReferences').find(
    (one) => textAtPath(one, 'kind') === 'VirtualMachine',
  );
  return textAtPath(owner, 'name');
}

/**
 * Returns claims. Data volumes create claims of the same name, and VMs contain templates of data volumes; an exported
 * claim has more information.
 */
function readDataVolumes(of: (kind: string) => readonly Found[]): ReadonlyMap<string, Claim> {
  const claims = new Map<string, Claim>();
  const add = (file: string, namespace: string, fields: Fields): void => {
    const name = textAtPath(fields, 'metadata', 'name');
    const spec = valueAt(fields, 'spec', 'storage') ?? valueAt(fields, 'spec', 'pvc');
    const modes = valueAt(spec, 'accessModes');
    const mib = quantityMib(textAtPath(spec, 'resources', 'requests', 'storage'));
    if (Array.isArray(modes) && modes.length > 0)
      claims.set(keyOf(namespace, name), {
        file,
        name,
        modes: modes.map(String),
        sizeGib: mib === null ? null : mib / 1024,
      });
  };
  for (const { file, fields } of of('DataVolume')) add(file, textAtPath(fields, 'metadata', 'namespace'), fields);
  for (const { file, fields } of of('VirtualMachine'))
    for (const template of objectsAt(fields, 'spec', 'dataVolumeTemplates'))
      add(file, textAtPath(fields, 'metadata', 'namespace'), template);
  return claims;
}

function readClaims(claims: readonly Found[]): ReadonlyMap<string, Claim> {
  return new Map(
    claims.map(({ file, fields }) => {
      const name = textAtPath(fields, 'metadata', 'name');
      const modes = listOf(valueAt(fields, 'status', 'accessModes') ?? valueAt(fields, 'spec', 'accessModes')).map(
        String,
      );
      const bytes = quantityMib(textAtPath(fields, 'spec', 'resources', 'requests', 'storage'));
      const key = keyOf(textAtPath(fields, 'metadata', 'namespace'), name);
      return [key, { file, name, modes, sizeGib: bytes === null ? null : bytes / 1024 }] as const;
    }),
  );
}

function readNode({ file, fields }: Found, into: EstateBuilder): void {
  const name = textAtPath(fields, 'metadata', 'name');
  const labels = fieldsOf(valueAt(fields, 'metadata', 'labels'));
  const ready = objectsAt(fields, 'status', 'conditions').find((one) => textAtPath(one, 'type') === 'Ready');
  const isReady = textAtPath(ready, 'status') === 'True';
  const taints = objectsAt(fields, 'spec', 'taints').filter((taint) =>
    /^NoSchedule$|^NoExecute$/.test(textAtPath(taint, 'effect')),
  );
  const isAway =
    valueAt(fields, 'spec', 'unschedulable') === true || !isReady || labels['kubevirt.io/schedulable'] !== 'true';
  const model = Object.keys(labels).find((label) => label.startsWith('host-model-cpu.node.kubevirt.io/'));
  const cluster = into.cluster({
    key: keyOf(PLATFORM, 'cluster'),
    name: 'kubernetes',
    platform: PLATFORM,
    group: GROUP,
  });
  into.host(
    plainHost({
      key: keyOf(PLATFORM, 'node', name),
      name,
      platform: PLATFORM,
      group: GROUP,
      cluster,
      memoryMib: quantityMib(textAtPath(fields, 'status', 'allocatable', 'memory')),
      state: ready === undefined ? 'unknown' : isAway || taints.length > 0 ? 'out of service' : 'in service',
      // Guests get the cluster's CPU model unless they ask for the host's own.
      cpu: '',
      cpuModel: model?.slice(model.indexOf('/') + 1) ?? null,
      labels: Object.fromEntries(Object.entries(labels).map(([label, value]) => [label, String(value)])),
      evidence: evidence(file, 'Node', name, 'status.conditions', textAtPath(ready, 'status')),
    }),
  );
}

function tellFiles(of: (kind: string) => readonly Found[], into: EstateBuilder): void {
  const needed = [
    ['VirtualMachineInstance', 'vms'],
    ['Node', 'hosts'],
    ['PersistentVolumeClaim', 'storage'],
  ] as const;
  for (const [kind, aspect] of needed)
    if (of(kind).length === 0)
      into.gap({
        platform: PLATFORM,
        group: GROUP,
        aspect,
        kind: 'file',
        file: '',
        part: `objects of kind ${kind}`,
        fix: FIX,
      });
}
