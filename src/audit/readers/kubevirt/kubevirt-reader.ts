/**
 * KubeVirt and OpenShift Virtualization: YAML or JSON of VMs, their instances, claims and nodes, as `kubectl get -o`
 * gives them.
 */
import { plainHost } from '../../estate/defaults.ts';
import { keyOf } from '../../estate/estate.ts';
import { evidence } from '../../estate/estate-builder.ts';
import type { Document, Reader } from '../document.ts';
import { ExportSite, sitesOf } from '../export-site.ts';
import { type Fields, fieldsOf, listOf, objectsAt, textAtPath, valueAt } from '../formats/values.ts';
import { type Claim, GuestReader, quantityMib } from './guests.ts';

const PLATFORM = 'kubevirt';
const FIX = 'Export with `kubectl get vms,vmis,pvc -A -o json` and `kubectl get nodes -o json`.';
const KINDS = new Set([
  'VirtualMachine',
  'VirtualMachineInstance',
  'Node',
  'PersistentVolumeClaim',
  'DataVolume',
  'NetworkAttachmentDefinition',
]);

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
    const hasNodes = (document: Document): boolean => objectsOf([document]).some(({ kind }) => kind === 'Node');
    for (const site of sitesOf(documents, [hasNodes])) {
      const objects = new ExportSite<string, Found>(PLATFORM, FIX, into, site.directory);
      for (const [kind, all] of Map.groupBy(objectsOf(site.documents), ({ kind: one }) => one)) objects.add(kind, all);
      readSite(objects);
    }
  },
};

function readSite(site: ExportSite<string, Found>): void {
  const needed = [
    ['VirtualMachineInstance', 'vms', 'the list of VirtualMachineInstances'],
    ['Node', 'hosts', 'the list of Nodes'],
    ['PersistentVolumeClaim', 'storage', 'the list of PersistentVolumeClaims'],
  ] as const;
  site.need(needed);
  const claims = new Map([...readDataVolumes(site), ...readClaims(site.of('PersistentVolumeClaim'))]);
  for (const node of site.of('Node')) readNode(node, site);
  for (const network of site.of('NetworkAttachmentDefinition')) readNetwork(network, site);
  const instances = site.of('VirtualMachineInstance');
  const reader = new GuestReader(site, claims, FIX);
  const running = new Set<string>();
  for (const { file, fields } of instances) {
    const name = ownerOf(fields) || textAtPath(fields, 'metadata', 'name');
    running.add(keyOf(textAtPath(fields, 'metadata', 'namespace'), name));
    reader.instance(file, fields);
  }
  for (const { file, fields } of site.of('VirtualMachine'))
    if (!running.has(keyOf(textAtPath(fields, 'metadata', 'namespace'), textAtPath(fields, 'metadata', 'name'))))
      reader.machine(file, fields, instances.length > 0);
  reader.finish();
}

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
    else if (KINDS.has(kind) && (version === 'v1' || /^(?:(?:cdi\.)?kubevirt|k8s\.cni\.cncf)\.io\//.test(version)))
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
function readDataVolumes(site: ExportSite<string, Found>): ReadonlyMap<string, Claim> {
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
  for (const { file, fields } of site.of('DataVolume')) add(file, textAtPath(fields, 'metadata', 'namespace'), fields);
  for (const { file, fields } of site.of('VirtualMachine'))
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

/**
 * Reads a network of Multus. The annotation `k8s.v1.cni.cncf.io/resourceName` names what a node must offer, such as a
 * bridge that the bridge marker found there; without the annotation, Multus attaches VMs on every node.
 */
function readNetwork({ file, fields }: Found, site: ExportSite<string, Found>): void {
  const name = `${textAtPath(fields, 'metadata', 'namespace')}/${textAtPath(fields, 'metadata', 'name')}`;
  const resource = textAtPath(fields, 'metadata', 'annotations', 'k8s.v1.cni.cncf.io/resourceName');
  const offers = ({ fields: node }: Found): boolean =>
    (quantityMib(textAtPath(node, 'status', 'allocatable', resource)) ?? 0) > 0;
  const hosts = new Set(
    site
      .of('Node')
      .filter(offers)
      .map((node) => site.key('node', textAtPath(node.fields, 'metadata', 'name'))),
  );
  site.into.network({
    key: site.key('network', name),
    name,
    reach: resource === '' ? { kind: 'every' } : { kind: 'hosts', hosts },
    isIsolated: false,
    evidence: evidence(file, 'NetworkAttachmentDefinition', name, 'resourceName', resource),
  });
}

function readNode({ file, fields }: Found, site: ExportSite<string, Found>): void {
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
  const cluster = site.into.cluster({ ...site.origin, key: site.key('cluster'), name: site.named('kubernetes') });
  site.into.host(
    plainHost({
      ...site.origin,
      key: site.key('node', name),
      name,
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
