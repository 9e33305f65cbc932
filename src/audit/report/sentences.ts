/** Makes sentences of findings. Each sentence begins with its subject; names go through the report's naming. */
import { counted } from '../../base/counted.ts';
import { listed } from '../../base/listed.ts';
import type { Evidence, Gap, Vm } from '../estate/estate.ts';
import type { CureKind } from '../findings/cures.ts';
import type { ClusterFinding } from '../findings/guest-clusters.ts';
import type { LossFinding } from '../findings/loss.ts';
import type { Doubt, Reason } from '../findings/reasons.ts';
import type { Naming } from './naming.ts';
import { CONFIDENCE_WORDS, PERMIT_WORDS, SIGN_WORDS, TIE_WORDS } from './words.ts';

const NAMES_MAX = 6;

/** Formats memory for people. */
function memoryText(mib: number): string {
  return mib < 10_240 ? `${Math.round(mib)} MiB` : `${Math.round(mib / 102.4) / 10} GiB`;
}

function vmName(vm: Vm, naming: Naming): string {
  return naming.name('vm', vm.name);
}

function quoted(naming: Naming, kind: string, text: string): string {
  return text === '' ? '' : ` "${naming.name(kind, text)}"`;
}

/** Explains why a host cannot be drained. */
export function reasonText(reason: Reason, naming: Naming): string {
  switch (reason.kind) {
    case 'tie': {
      const subject = naming.name('value', reason.tie.subject);
      const words = TIE_WORDS[reason.tie.kind].text;
      return `${vmName(reason.vm, naming)} ${words}${subject === '' ? '' : `: ${subject}`}`;
    }
    case 'storage':
      return `${vmName(reason.vm, naming)} has a disk on storage${quoted(naming, 'storage', reason.storage)} that no other host in service has`;
    case 'media':
      return `${vmName(reason.vm, naming)} has a CD image inserted on storage${quoted(naming, 'storage', reason.storage)} that no other host in service has`;
    case 'network': {
      const network = quoted(naming, 'network', reason.network);
      return reason.isIsolated
        ? `${vmName(reason.vm, naming)} is on network${network}, which does not leave its host`
        : `${vmName(reason.vm, naming)} is on network${network}, which no other host in service has`;
    }
    case 'no common host':
      return `${vmName(reason.vm, naming)} has no other host that has all of its disks and networks and meets its rules`;
    case 'no target':
      return `its cluster has no other host in service, and ${counted(reason.vms, 'VM')} ${reason.vms === 1 ? 'runs' : 'run'} here`;
    case 'too large':
      return `${vmName(reason.vm, naming)} has ${memoryText(reason.neededMib)}, the largest other host ${memoryText(reason.largestMib)}`;
    case 'memory':
      return `its VMs need ${memoryText(reason.neededMib)}, the other ${counted(reason.hosts, 'host')} of the cluster have ${memoryText(reason.freeMib)} free`;
    case 'together': {
      const rule = quoted(naming, 'rule', reason.rule.name);
      const why =
        reason.largestMib === null
          ? 'and no other host can take all of them'
          : `they need ${memoryText(reason.neededMib)}, and the largest other host has ${memoryText(reason.largestMib)}`;
      return `rule${rule} keeps ${counted(reason.members, 'VM')} on one host, ${why}`;
    }
    case 'rule':
      return `rule${quoted(naming, 'rule', reason.rule.name)} keeps ${counted(reason.members, 'VM')} apart, ${counted(reason.hosts, 'other host')} would be left for them`;
  }
}

/** Describes information that an export lacks. */
export function gapText(gap: Gap, naming: Naming): string {
  const { kind, part, column, count, example } = gap;
  const file = gap.file === '' ? '' : ` in ${naming.file(gap.file)}`;
  const such = example === '' ? '' : `, for example ${naming.name('value', example)}`;
  switch (kind) {
    case 'file': {
      const site = gap.file === '' ? '' : ` of ${naming.file(gap.file)}`;
      return `${part} is not among the files${site}${count === 0 ? '' : ` (${counted(count, 'time')})`}`;
    }
    case 'tab':
      return `tab ${part} is missing${file}`;
    case 'column':
      return `${part === '' ? '' : `${part}: `}${column} is missing${file}${count === 0 ? '' : ` (${counted(count, 'time')})`}`;
    case 'join':
      return `${part}: ${column} names something that is not in the export (${counted(count, 'time')}${such})${file}`;
    case 'twin':
      return `${part} and ${gap.platform} describe the same site, with ${counted(count, 'host')} in common${file === '' ? '' : ` (${naming.file(gap.file)})`}: each host is counted once`;
    case 'value':
      return `${part}: ${column} cannot be read (${counted(count, 'time')}${such})${file}`;
  }
}

/** Explains why a host is not proved to be drainable. */
export function doubtText(doubt: Doubt, naming: Naming): string {
  switch (doubt.kind) {
    case 'gap':
      return gapText(doubt.gap, naming);
    case 'unknown': {
      const { evidence } = doubt.unknown;
      const value = evidence.value === '' ? 'is not in the export' : `says "${naming.name('value', evidence.value)}"`;
      return `${vmName(doubt.vm, naming)}: ${[evidence.part, evidence.column].filter((text) => text !== '').join(' ')} ${value}`;
    }
    case 'if running': {
      const name = vmName(doubt.vm, naming);
      return doubt.reason === null
        ? `the export does not say whether ${name} runs`
        : `if it runs, which the export does not say: ${reasonText(doubt.reason, naming)}`;
    }
    case 'reach':
      return `${vmName(doubt.vm, naming)}: the export does not say which hosts have ${doubt.what}${quoted(naming, doubt.what, doubt.name)}`;
    case 'cpu':
      return `${vmName(doubt.vm, naming)}: no other host is known to have a processor to which it can move live`;
    case 'memory unknown':
      return `the export does not give the memory of ${doubt.of === 'host' ? 'host' : 'VM'} ${naming.name(doubt.of, doubt.name)}`;
    case 'overcommit':
      return `its VMs fit only if memory is overcommitted: ${memoryText(doubt.neededMib)} configured, ${memoryText(doubt.freeMib)} free`;
    case 'no placement found': {
      const names = listed(doubt.vms.map((vm) => vmName(vm, naming)));
      return `no placement was found for ${names}, though the sum of free memory would be enough`;
    }
    case 'count':
      return `the host reports ${counted(doubt.said, 'running VM')}, the export lists ${doubt.listed} on it`;
    case 'reserve': {
      const left =
        doubt.leftMib === null
          ? 'no host would be left to lose'
          : `${memoryText(doubt.neededMib)} of reserved memory would have ${memoryText(doubt.leftMib)}`;
      return `the cluster keeps room for the loss of ${counted(doubt.lost, 'host')}; with this host out of service ${left}, and the platform may refuse to evacuate it`;
    }
    case 'state unknown':
      return 'the export does not say whether the host is in service';
    case 'no cluster':
      return 'the export does not name the cluster of the host';
  }
}

/** Returns the places of a reason or doubt in the export. */
export function evidenceOf(finding: Reason | Doubt): readonly Evidence[] {
  switch (finding.kind) {
    case 'tie':
      return [finding.tie.evidence];
    case 'too large':
      return [finding.vm.evidence];
    case 'rule':
    case 'together':
      return [finding.rule.evidence];
    case 'unknown':
      return [finding.unknown.evidence];
    case 'if running':
      return finding.reason === null ? [finding.vm.evidence] : evidenceOf(finding.reason);
    case 'no placement found':
      return finding.vms.slice(0, NAMES_MAX).map(({ evidence }) => evidence);
    case 'memory':
    case 'overcommit':
      return finding.evidence;
    case 'gap':
      return [];
    default:
      return [finding.evidence];
  }
}

/** Describes a group of VMs. */
export function clusterText(finding: ClusterFinding, naming: Naming): string {
  const names = listed(finding.vms.map((vm) => vmName(vm, naming)));
  const disks = finding.identities.map(({ kind, name }) => `${kind} ${naming.name('value', name)}`);
  const permits = finding.permits.map((permit) => PERMIT_WORDS[permit]);
  const { word } = CONFIDENCE_WORDS[finding.confidence];
  const over = disks.length === 0 ? '' : ` over ${listed(disks, 3)}`;
  const by = permits.length === 0 ? '' : `, permitted by ${permits.join(' and ')}`;
  return `${word}: ${names}${over}${by}`;
}

/** Describes the signs of a group, one sentence each. */
export function signTexts(finding: ClusterFinding, naming: Naming): readonly string[] {
  return finding.signs.map(({ family, subject }) => {
    const shown = ['words', 'addresses', 'bus'].includes(family) ? subject : naming.name('value', subject);
    return `${SIGN_WORDS[family]}${shown === '' ? '' : `: ${shown}`}`;
  });
}

/** Describes the consequences of a host's loss. */
export function lossText(finding: LossFinding): string {
  const need = `${memoryText(finding.neededMib)} configured, ${memoryText(finding.freeMib)} free elsewhere`;
  const bound =
    finding.bound.length === 0
      ? ''
      : `; ${counted(finding.bound.length, 'VM')} bound to the host ${finding.bound.length === 1 ? 'stays' : 'stay'} down`;
  switch (finding.verdict) {
    case 'covered':
      if (finding.neededMib === 0 && bound !== '') return `none of its VMs can start on another host${bound}`;
      return `its VMs can start on other hosts (${need})${bound}`;
    case 'covered by reserved memory':
      return `its VMs can start on other hosts only if memory is overcommitted (${need})${bound}`;
    case 'not covered':
      return `${counted(finding.unplaced.length, 'VM')} would not fit on other hosts (${need})${bound}`;
    case 'not proved':
      return `it is not proved that its VMs fit on other hosts${bound}`;
  }
}

/** Describes an action, with its count. */
export function cureText(kind: CureKind, items: number): string {
  switch (kind) {
    case 'eject media':
      return `eject ${counted(items, 'CD')}`;
    case 'add the network to the other hosts':
      return `add ${counted(items, 'network')} to the other hosts`;
    case 'give the other hosts the storage':
      return `give the other hosts the storage and networks of ${counted(items, 'VM')}`;
    case 'move disks to shared storage':
      return `move the disks of ${counted(items, 'VM')} to shared storage`;
    case 'lift the rule':
      return `lift or loosen ${counted(items, 'rule')}`;
    case 'give the network an uplink':
      return `give ${counted(items, 'network')} an uplink, the same on every host`;
    case 'detach the usb device':
      return `detach the USB devices of ${counted(items, 'VM')}, or serve them over the network`;
    case 'take away the cpu pin':
      return `take the CPU pin from ${counted(items, 'VM')}`;
    case 'make the serial port a network port':
      return `make the serial ports of ${counted(items, 'VM')} network ports`;
    case 'replace the device':
      return `replace the host devices of ${counted(items, 'VM')}`;
    case 'agree on a time to shut the vm down':
      return `agree with the owners on a time to shut ${counted(items, 'VM')} down`;
    case 'add memory or a host':
      return `add memory or a host in ${counted(items, 'place')}`;
  }
}
